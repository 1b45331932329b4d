//! Reads the stored bytes of files, and checks that the store has them.
//!
//! A store can lose bytes: a disk may lose its last writes, a folder may be restored from an older copy, an object may be
//! deleted. Missing bytes are detected when they are read, and by a periodic check of some files. The file is then `FAILED`
//! with `BYTES_MISSING`, and `READY` again if a check finds the bytes.

use std::ops::Range;
use std::sync::PoisonError;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use uuid::Uuid;

use crate::app::App;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, Model, Status};
use crate::entity::{Failure, columns};
use crate::error::{Code, Error, Result, bytes_missing};
use crate::rows;
use crate::storage::BlobKey;

/// Number of files read from the database at once.
const PAGE_SIZE: u64 = 500;
/// Maximum number of pages checked in one sweep.
const MAX_PAGES: usize = 20;
/// The columns of a file that a check reads.
const CHECKED: [Column; 6] =
    [Column::Id, Column::WorkspaceId, Column::Status, Column::Size, Column::BlobId, Column::Failure];
/// Number of concurrent requests to the store.
const CONCURRENCY: usize = 16;

/// The bytes of a file.
///
/// # Errors
/// `BYTES_MISSING`, which is recorded on every file that has these bytes.
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
            mark_missing(app, &[blob_id]).await?;
            Err(bytes_missing())
        }
    }
}

/// Requires that the store has the bytes of a file.
///
/// # Errors
/// `BYTES_MISSING`, which is recorded on every file that has these bytes.
pub async fn require(app: &App, file: &Model) -> Result<()> {
    if is_stored(app, file).await? {
        return Ok(());
    }
    if let Some(blob_id) = file.blob_id {
        mark_missing(app, &[blob_id]).await?;
    }
    Err(bytes_missing())
}

/// The `blob_id` of a file if the store has its bytes. If it does not, that is recorded as by [`require`].
pub async fn verified_blob_of(app: &App, file: &Model) -> Result<Option<Uuid>> {
    match require(app, file).await {
        Ok(()) => Ok(file.blob_id),
        Err(Error::Refusal(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Checks some files, and records on them that their bytes are missing, or are stored again. The first check after a start
/// begins with the newest file; each further one continues where the last one ended.
pub async fn check_some(app: &App) -> Result<()> {
    for _ in 0..MAX_PAGES {
        let before = *app.last_checked_file.lock().unwrap_or_else(PoisonError::into_inner);
        let page = file::stored_unscoped(before).order_by_desc(Column::Id).limit(PAGE_SIZE);
        let files = columns::fetch(&app.db.read, page, &CHECKED).await?;
        let last = files.last().map(|file| file.id);
        let checks = stream::iter(files).map(|file| async move { check(app, &file).await });
        let results: Vec<Result<Option<Uuid>>> = checks.buffer_unordered(CONCURRENCY).collect().await;
        let store_works = results.iter().any(Result::is_ok);
        let mut missing = Vec::new();
        for result in results {
            match result {
                Ok(blob_id) => missing.extend(blob_id),
                // The next check begins at this page again.
                Err(problem) if !store_works => return Err(problem),
                // A single object that cannot be checked does not stop the check of the others.
                Err(problem) => problem.log(),
            }
        }
        mark_missing(app, &missing).await?;
        *app.last_checked_file.lock().unwrap_or_else(PoisonError::into_inner) = last;
        if last.is_none() {
            break;
        }
    }
    Ok(())
}

/// Checks a file, and makes it ready if its bytes were missing and are stored again. Returns its blob if that is missing and the
/// file does not say so yet.
async fn check(app: &App, file: &Model) -> Result<Option<Uuid>> {
    let marked_missing =
        file.failure.as_ref().is_some_and(|failure| failure.code == Code::BytesMissing.as_str());
    match (is_stored(app, file).await?, file.status) {
        (false, Status::Ready) => Ok(file.blob_id),
        (true, Status::Failed) if marked_missing => mark_ready(app, file).await.map(|()| None),
        _ => Ok(None),
    }
}

/// Whether the store has the bytes of a file, in full length.
async fn is_stored(app: &App, file: &Model) -> Result<bool> {
    let Some(blob_id) = file.blob_id else { return Ok(false) };
    Ok(app.blobs.size(BlobKey::Original(blob_id)).await? == Some(size(file)))
}

/// Fails every file that has any of these blobs, in one transaction: a store that has lost much is recorded in a few.
async fn mark_missing(app: &App, blob_ids: &[Uuid]) -> Result<()> {
    if blob_ids.is_empty() {
        return Ok(());
    }
    let now = app.clock.now();
    let failure = Failure::from(bytes_missing().public());
    let transaction = app.db.begin().await?;
    let marked = Entity::update_many()
        .col_expr(Column::Status, Status::Failed.into())
        .col_expr(Column::Failure, Expr::val(failure))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(columns::is_one_of(&transaction, Column::BlobId, blob_ids.iter().copied()))
        .filter(Column::Status.eq(Status::Ready))
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    for file in &marked {
        let blob = file.blob_id.map(tracing::field::display);
        tracing::error!(file = %file.id, blob, "the bytes of a file are missing from the store");
    }
    rows::event::append_for_files(&transaction, EventKind::FileFailed, &marked, now).await?;
    Ok(transaction.commit().await?)
}

/// Makes a file ready again whose bytes the store has again.
async fn mark_ready(app: &App, file: &Model) -> Result<()> {
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
        rows::event::append_for_file(&transaction, EventKind::FileReady, file, now).await?;
    }
    Ok(transaction.commit().await?)
}

fn size(file: &Model) -> u64 {
    u64::try_from(file.size).unwrap_or_default()
}
