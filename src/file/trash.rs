//! The trash: a deleted file waits there, without an image, until it is restored or its time is up.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};

use super::remove;
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

/// What a deletion took away.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted {
    pub file: FileId,
    /// The image that went with it.
    pub image: Option<ImageId>,
    /// The file in the trash; `None` when it is gone for good.
    pub trashed: Option<Model>,
}

/// Deletes a file and its image: to the trash, or for good when asked to, when the workspace keeps no trash, and when the
/// file has no bytes to restore. It is out of every list when this returns; what could not be removed from the account
/// or the byte store by then, the worker removes.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`.
pub async fn delete(app: &App, viewer: &Viewer, id: FileId, permanently: bool) -> Result<Deleted> {
    viewer.require(Scope::FilesWrite)?;
    let file = editable::find_file(app, viewer, id).await.map_err(|e| e.at("id"))?;
    // Bytes that are missing today may be back tomorrow.
    let lost = file.failure.as_ref().is_some_and(|why| why.code == Code::BytesMissing.as_str());
    let for_good = permanently || file.status != Status::Ready && !lost;
    if file.deleted_at.is_some() && !for_good {
        return Ok(Deleted { file: id, image: None, trashed: Some(file) });
    }
    let workspace = workspace::by_id_unscoped(file.workspace_id).one(&app.db.read).await?;
    let days = workspace.filter(|_| !for_good).map_or(0, |workspace| workspace.trash_days);
    let app = app.clone();
    // A deletion that has begun goes on, even if the client has left.
    job::run_to_end(async move {
        match days {
            0 => delete_for_good(&app, id).await,
            days => put_in(&app, &file, TimeDelta::days(i64::from(days))).await,
        }
    })
    .await
}

/// Takes a file out of the trash and, if it had an image, provisions one again with the same settings.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`; `CONFLICT` for a file that is not in the trash. What stands in the way of the image is shown
/// on the file, which is restored all the same.
pub async fn restore(app: &App, viewer: &Viewer, id: FileId) -> Result<Model> {
    viewer.require(Scope::FilesWrite)?;
    let file = editable::find_file(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let task_app = app.clone();
    let file = job::run_to_end(async move { take_out(&task_app, &file).await }).await?;
    Ok(file::visible_to(&viewer.access())
        .filter(file::COLUMN.id.eq(id))
        .one(&app.db.read)
        .await?
        .unwrap_or(file))
}

async fn take_out(app: &App, file: &Model) -> Result<Model> {
    let id = file.id;
    let now = next_updated_at(app.clock.now(), file.updated_at);
    let imaged = file.intent.as_ref().is_some_and(|intent| intent.image.is_some());
    let transaction = app.db.begin().await?;
    let restored = Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::val(None::<DateTime<Utc>>))
        // If this process ends before the image is on its way, the worker makes it.
        .col_expr(Column::DueAt, Expr::val(imaged.then(|| app.lease(now))))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.deleted_at.is_not_null())
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = restored.into_iter().next() else {
        return Err(Error::refuse(Code::Conflict, "This file is not in the trash.").at("id"));
    };
    rows::event::append(&transaction, EventKind::FileRestored, file.workspace_id, id, None, now).await?;
    transaction.commit().await?;
    app.crash_point("file-restored").await;
    if imaged {
        let (task_app, row) = (app.clone(), file.clone());
        job::run_within_answer_time(app, async move {
            provision::reprovision::provision_restored(&task_app, &row).await
        })
        .await;
    }
    Ok(file)
}

/// Deletes a claimed file for good, because its time in the trash is over.
pub(super) async fn purge(app: &App, file: &Model) -> Result<()> {
    match mark(app, file.id, Some(file.attempts)).await? {
        Some((file, _)) => remove(app, &file).await,
        // Restored, or deleted for good by somebody else.
        None => Ok(()),
    }
}

async fn delete_for_good(app: &App, id: FileId) -> Result<Deleted> {
    let Some((file, image)) = mark(app, id, None).await? else {
        return Err(Error::not_found("file").at("id"));
    };
    app.crash_point("file-marked").await;
    let task_app = app.clone();
    job::run_within_answer_time(app, async move { remove(&task_app, &file).await }).await;
    Ok(Deleted { file: id, image, trashed: None })
}

/// Makes a file invisible for good; answers it and the image that was shown. With `purging`, only if it is still the
/// trashed file of that attempt.
async fn mark(app: &App, id: FileId, purging: Option<i32>) -> Result<Option<(Model, Option<ImageId>)>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let mut mark = Entity::update_many()
        .col_expr(Column::RemovedAt, Expr::val(now))
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.removed_at.is_null());
    if let Some(attempts) = purging {
        mark = mark.filter(file::COLUMN.deleted_at.is_not_null()).filter(file::COLUMN.attempts.eq(attempts));
    }
    let marked = mark.exec_with_returning(&transaction).await?;
    let Some(file) = marked.into_iter().next() else { return Ok(None) };
    let shown = take_image(&transaction, &file, now).await?.filter(|image| image.state == State::Ready);
    let shown = shown.map(|image| image.id);
    rows::direct_upload::cancel_open_of(&transaction, id, now).await?;
    rows::event::append(&transaction, EventKind::FilePurged, file.workspace_id, id, shown, now).await?;
    transaction.commit().await?;
    Ok(Some((file, shown)))
}

async fn put_in(app: &App, file: &Model, stay: TimeDelta) -> Result<Deleted> {
    let now = next_updated_at(app.clock.now(), file.updated_at);
    let transaction = app.db.begin().await?;
    // Locks the file first, as everybody does who writes file and image.
    let locked = Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::val(now))
        .col_expr(Column::DueAt, Expr::val(now + stay))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(file.id))
        .filter(file::COLUMN.deleted_at.is_null())
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = locked.into_iter().next() else { return Err(Error::not_found("file").at("id")) };
    let image = take_image(&transaction, &file, now).await?;
    let intent = Intent { image: image.as_ref().map(image_entity::Model::settings), ..Intent::default() };
    let status = match file.image_status {
        ImageStatus::NotApplicable => ImageStatus::NotApplicable,
        _ => ImageStatus::Removed,
    };
    let trashed = Entity::update_many()
        .col_expr(Column::Intent, Expr::val(intent))
        .col_expr(Column::ImageStatus, status.into())
        .col_expr(Column::ImageFailure, Expr::val(None::<Failure>))
        .filter(file::COLUMN.id.eq(file.id))
        .exec_with_returning(&transaction)
        .await?;
    let trashed = trashed.into_iter().next().unwrap_or(file);
    let shown = image.as_ref().filter(|image| image.state == State::Ready).map(|image| image.id);
    rows::event::append(&transaction, EventKind::FileTrashed, trashed.workspace_id, trashed.id, shown, now)
        .await?;
    transaction.commit().await?;
    app.crash_point("file-trashed").await;
    if let Some(image) = image {
        provision::remove::remove_marked(app, image.id).await;
    }
    Ok(Deleted { file: trashed.id, image: shown, trashed: Some(trashed) })
}

/// Marks the image of a file that is being deleted and says so; answers the row as it was.
async fn take_image(
    transaction: &impl ConnectionTrait,
    file: &Model,
    now: DateTime<Utc>,
) -> Result<Option<image_entity::Model>> {
    let sending = file.image_status == ImageStatus::InProgress;
    let image = rows::image::mark_removed(transaction, file.id, sending, now).await?;
    if let Some(image) = image.as_ref().filter(|image| image.state == State::Ready) {
        let kind = EventKind::ImageDeleted;
        rows::event::append(transaction, kind, file.workspace_id, file.id, Some(image.id), now).await?;
    }
    Ok(image)
}
