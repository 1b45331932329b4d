//! The trash: a deleted file is kept there without an image until it is restored or its retention time is over.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};

use super::{find_visible, remove};
use crate::app::App;
use crate::auth::{Viewer, editable};
use crate::entity::api_token::Scope;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, ImageStatus, Intent, Model, Status};
use crate::entity::image::{self as image_entity, State};
use crate::entity::{Failure, workspace};
use crate::error::{Code, Error, Result};
use crate::id::{FileId, ImageId};
use crate::rows::revision::next_updated_at;
use crate::{job, provision, rows};

/// The result of a deletion.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedFile {
    pub id: FileId,
    /// The image that was deleted with it.
    pub image_id: Option<ImageId>,
    /// The file in the trash; `None` when it was deleted permanently.
    pub trashed: Option<Model>,
}

/// Moves a file to the trash, or deletes it permanently: on request, when the workspace has no trash, and when the file
/// has no bytes to restore. In both cases its image is deleted. When this returns, no list shows the file; the worker
/// removes what is still in the account and the byte store.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`.
pub async fn delete(app: &App, viewer: &Viewer, id: FileId, permanently: bool) -> Result<DeletedFile> {
    viewer.require(Scope::FilesWrite)?;
    let file = editable::find_file(app, viewer, id).await.map_err(|e| e.at("id"))?;
    // The byte store may find missing bytes again, so such a file can still be restored.
    let bytes_missing =
        file.failure.as_ref().is_some_and(|failure| failure.code == Code::BytesMissing.as_str());
    let permanently = permanently || file.status != Status::Ready && !bytes_missing;
    if file.deleted_at.is_some() && !permanently {
        return Ok(DeletedFile { id, image_id: None, trashed: Some(file) });
    }
    let workspace = workspace::by_id_unscoped(file.workspace_id).one(&app.db.read).await?;
    let days = workspace.filter(|_| !permanently).map_or(0, |workspace| workspace.trash_days);
    let app = app.clone();
    // Runs to its end even if the client disconnects.
    job::run_to_end(async move {
        match days {
            0 => delete_permanently(&app, id).await,
            days => move_to_trash(&app, &file, TimeDelta::days(i64::from(days))).await,
        }
    })
    .await
}

/// Takes a file out of the trash and, if it had an image, provisions one with the same settings.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`; `CONFLICT` for a file that is not in the trash. If the image cannot be provisioned, the file
/// is restored and shows the reason.
pub async fn restore(app: &App, viewer: &Viewer, id: FileId) -> Result<Model> {
    viewer.require(Scope::FilesWrite)?;
    let file = editable::find_file(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let task_app = app.clone();
    let file = job::run_to_end(async move { restore_row(&task_app, &file).await }).await?;
    Ok(find_visible(app, viewer, id).await?.unwrap_or(file))
}

async fn restore_row(app: &App, file: &Model) -> Result<Model> {
    let id = file.id;
    let now = next_updated_at(app.clock.now(), file.updated_at);
    let had_image = file.intent.as_ref().is_some_and(|intent| intent.image.is_some());
    let transaction = app.db.begin().await?;
    let restored = Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::val(None::<DateTime<Utc>>))
        // If this process ends before it provisions the image, the worker does.
        .col_expr(Column::DueAt, Expr::val(had_image.then(|| app.lease(now))))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.deleted_at.is_not_null())
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = restored.into_iter().next() else {
        return Err(Error::refuse(Code::Conflict, "This file is not in the trash.").at("id"));
    };
    rows::event::append_for_file(&transaction, EventKind::FileRestored, &file, now).await?;
    transaction.commit().await?;
    app.crash_point("file-restored").await;
    if had_image {
        let (task_app, row) = (app.clone(), file.clone());
        job::run_within_answer_time(app, async move {
            provision::reprovision::provision_restored(&task_app, &row).await
        })
        .await;
    }
    Ok(file)
}

/// Permanently deletes a claimed file whose time in the trash is over.
pub(super) async fn purge(app: &App, file: &Model) -> Result<()> {
    match mark_removed(app, file.id, Some(file.attempts)).await? {
        Some((file, _)) => remove(app, &file).await,
        // It was restored or permanently deleted in the meantime.
        None => Ok(()),
    }
}

async fn delete_permanently(app: &App, id: FileId) -> Result<DeletedFile> {
    let Some((file, image_id)) = mark_removed(app, id, None).await? else {
        return Err(Error::not_found("file").at("id"));
    };
    app.crash_point("file-marked").await;
    let task_app = app.clone();
    job::run_within_answer_time(app, async move { remove(&task_app, &file).await }).await;
    Ok(DeletedFile { id, image_id, trashed: None })
}

/// Marks a file and its image as removed and returns the file with the id of its provisioned image. With
/// `claimed_attempt`, only a file that is still in the trash and claimed for that attempt is marked.
async fn mark_removed(
    app: &App,
    id: FileId,
    claimed_attempt: Option<i32>,
) -> Result<Option<(Model, Option<ImageId>)>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let mut mark = Entity::update_many()
        .col_expr(Column::RemovedAt, Expr::val(now))
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.removed_at.is_null());
    if let Some(attempts) = claimed_attempt {
        mark = mark.filter(file::COLUMN.deleted_at.is_not_null()).filter(file::COLUMN.attempts.eq(attempts));
    }
    let marked = mark.exec_with_returning(&transaction).await?;
    let Some(file) = marked.into_iter().next() else { return Ok(None) };
    let image = mark_image_removed(&transaction, &file, now).await?;
    let image_id = provisioned_id(image.as_ref());
    rows::direct_upload::cancel_open_of(&transaction, id, now).await?;
    rows::event::append(&transaction, EventKind::FilePurged, file.workspace_id, id, image_id, now).await?;
    transaction.commit().await?;
    Ok(Some((file, image_id)))
}

async fn move_to_trash(app: &App, file: &Model, retention: TimeDelta) -> Result<DeletedFile> {
    let now = next_updated_at(app.clock.now(), file.updated_at);
    let transaction = app.db.begin().await?;
    // The file's row is locked before the image's: the order in which every transaction locks them.
    let locked = Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::val(now))
        .col_expr(Column::DueAt, Expr::val(now + retention))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(file.id))
        .filter(file::COLUMN.deleted_at.is_null())
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = locked.into_iter().next() else { return Err(Error::not_found("file").at("id")) };
    let image = mark_image_removed(&transaction, &file, now).await?;
    let trashed = keep_image_settings(&transaction, file, image.as_ref()).await?;
    let image_id = provisioned_id(image.as_ref());
    rows::event::append(
        &transaction,
        EventKind::FileTrashed,
        trashed.workspace_id,
        trashed.id,
        image_id,
        now,
    )
    .await?;
    transaction.commit().await?;
    app.crash_point("file-trashed").await;
    if let Some(image) = image {
        provision::remove::remove_marked(app, image.id).await;
    }
    Ok(DeletedFile { id: trashed.id, image_id, trashed: Some(trashed) })
}

/// Stores the settings of a deleted image on its file, for [`restore`].
async fn keep_image_settings(
    transaction: &impl ConnectionTrait,
    file: Model,
    image: Option<&image_entity::Model>,
) -> Result<Model> {
    let intent = Intent { image: image.map(image_entity::Model::settings), ..Intent::default() };
    let status = match file.image_status {
        ImageStatus::NotApplicable => ImageStatus::NotApplicable,
        _ => ImageStatus::Removed,
    };
    let updated = Entity::update_many()
        .col_expr(Column::Intent, Expr::val(intent))
        .col_expr(Column::ImageStatus, status.into())
        .col_expr(Column::ImageFailure, Expr::val(None::<Failure>))
        .filter(file::COLUMN.id.eq(file.id))
        .exec_with_returning(transaction)
        .await?;
    Ok(updated.into_iter().next().unwrap_or(file))
}

/// Marks the image of a file that is being deleted, with an event if it was provisioned. Returns the row as it was before.
async fn mark_image_removed(
    transaction: &impl ConnectionTrait,
    file: &Model,
    now: DateTime<Utc>,
) -> Result<Option<image_entity::Model>> {
    let in_progress = file.image_status == ImageStatus::InProgress;
    let image = rows::image::mark_removed(transaction, file.id, in_progress, now).await?;
    if let Some(image) = image.as_ref().filter(|image| image.state == State::Ready) {
        rows::event::append_for_image(transaction, EventKind::ImageDeleted, image, now).await?;
    }
    Ok(image)
}

fn provisioned_id(image: Option<&image_entity::Model>) -> Option<ImageId> {
    image.filter(|image| image.state == State::Ready).map(|image| image.id)
}
