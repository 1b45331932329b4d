//! Whether the bytes of files are where their rows say.
//!
//! A store can lose what it has taken: a disk without its last writes, a folder that was restored from an older copy, an
//! object that somebody deleted. Whoever reads such bytes finds out, and so does a look at some of the files now and
//! then. The file is `FAILED` with `BYTES_MISSING` from then on, and `READY` again if the bytes come back.

use std::ops::Range;
use std::sync::PoisonError;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use uuid::Uuid;

use crate::app::App;
use crate::entity::Failure;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, Model, Status};
use crate::error::{Code, Error, Result, bytes_missing};
use crate::rows;
use crate::storage::BlobKey;

/// Files looked up in one statement.
const PAGE: u64 = 500;
/// Most of such statements in one round.
const PAGES: usize = 20;
/// Questions to the store at once.
const AT_ONCE: usize = 16;

/// The bytes of a file.
///
/// # Errors
/// `BYTES_MISSING`, which the file says from then on.
pub async fn read(app: &App, file: &Model) -> Result<BoxStream<'static, object_store::Result<Bytes>>> {
    read_range(app, file, 0..size(file)).await
}

/// Part of the bytes of a file, with the same errors.
pub async fn read_range(
    app: &App,
    file: &Model,
    range: Range<u64>,
) -> Result<BoxStream<'static, object_store::Result<Bytes>>> {
    let Some(blob_id) = file.blob_id else { return Err(bytes_missing()) };
    match app.blobs.get_range(BlobKey::Original(blob_id), size(file), range).await? {
        Some(bytes) => Ok(bytes),
        None => {
            mark_missing(app, blob_id).await?;
            Err(bytes_missing())
        }
    }
}

/// Demands that the bytes of a file are there.
///
/// # Errors
/// `BYTES_MISSING`, which the file says from then on.
pub async fn require(app: &App, file: &Model) -> Result<()> {
    if find(app, file).await? {
        return Ok(());
    }
    if let Some(blob_id) = file.blob_id {
        mark_missing(app, blob_id).await?;
    }
    Err(bytes_missing())
}

/// Where the bytes of a file lie, if they are there. If not, the file says so from then on.
pub async fn verified_blob_of(app: &App, file: &Model) -> Result<Option<Uuid>> {
    match require(app, file).await {
        Ok(()) => Ok(file.blob_id),
        Err(Error::Refusal(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Looks at some files, the newest first after a start, and marks those whose bytes are missing, or are there again.
/// Each round goes on where the last one stopped.
pub async fn check_some(app: &App) -> Result<()> {
    for _ in 0..PAGES {
        let before = *app.last_checked_file.lock().unwrap_or_else(PoisonError::into_inner);
        let page = file::stored_unscoped(before).order_by_desc(Column::Id).limit(PAGE);
        let files = page.all(&app.db.read).await?;
        let last = files.last().map(|file| file.id);
        let looks = stream::iter(files).map(|file| async move { check(app, &file).await });
        let looks: Vec<Result<()>> = looks.buffer_unordered(AT_ONCE).collect().await;
        let looked = looks.iter().any(Result::is_ok);
        for problem in looks.into_iter().filter_map(Result::err) {
            if !looked {
                // The store does not work: the next round begins here again.
                return Err(problem);
            }
            // One object that cannot be looked at keeps no other from being looked at.
            problem.log();
        }
        *app.last_checked_file.lock().unwrap_or_else(PoisonError::into_inner) = last;
        if last.is_none() {
            break;
        }
    }
    Ok(())
}

async fn check(app: &App, file: &Model) -> Result<()> {
    let Some(blob_id) = file.blob_id else { return Ok(()) };
    let missed = file.failure.as_ref().is_some_and(|failure| failure.code == Code::BytesMissing.as_str());
    match (find(app, file).await?, file.status) {
        (false, Status::Ready) => mark_missing(app, blob_id).await,
        (true, Status::Failed) if missed => mark_found(app, file).await,
        _ => Ok(()),
    }
}

/// Whether the store has as many bytes of a file as it should.
async fn find(app: &App, file: &Model) -> Result<bool> {
    let Some(blob_id) = file.blob_id else { return Ok(false) };
    Ok(app.blobs.size(BlobKey::Original(blob_id)).await? == Some(size(file)))
}

/// Shows on every file that owns these bytes that they are gone.
async fn mark_missing(app: &App, blob_id: Uuid) -> Result<()> {
    let now = app.clock.now();
    let failure = Failure::from(bytes_missing().public());
    let transaction = app.db.begin().await?;
    let marked = Entity::update_many()
        .col_expr(Column::Status, Status::Failed.into())
        .col_expr(Column::Failure, Expr::val(failure))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.blob_id.eq(blob_id))
        .filter(Column::Status.eq(Status::Ready))
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    for file in &marked {
        tracing::error!(file = %file.id, blob = %blob_id, "the bytes of a file are missing from the store");
        let kind = EventKind::FileFailed;
        rows::event::append(&transaction, kind, file.workspace_id, file.id, None, now).await?;
    }
    Ok(transaction.commit().await?)
}

/// Shows on a file that its bytes are there again.
async fn mark_found(app: &App, file: &Model) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let marked = Entity::update_many()
        .col_expr(Column::Status, Status::Ready.into())
        .col_expr(Column::Failure, Expr::val(None::<Failure>))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(file.id))
        .filter(Column::Status.eq(Status::Failed))
        .filter(file::COLUMN.blob_id.is_not_null())
        .filter(file::COLUMN.removed_at.is_null())
        .exec(&transaction)
        .await?;
    if marked.rows_affected > 0 {
        tracing::warn!(file = %file.id, "the bytes of a file are in the store again");
        let kind = EventKind::FileReady;
        rows::event::append(&transaction, kind, file.workspace_id, file.id, None, now).await?;
    }
    Ok(transaction.commit().await?)
}

fn size(file: &Model) -> u64 {
    u64::try_from(file.size).unwrap_or_default()
}
