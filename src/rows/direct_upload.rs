//! The end of direct uploads: completed, cancelled, expired or failed.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, UpdateMany, sea_query::Expr};

use crate::entity::direct_upload::{self, Column, Entity, Model, Status, Transport};
use crate::entity::event::EventKind;
use crate::entity::{Failure, file};
use crate::error::Result;
use crate::id::FileId;
use crate::rows;

/// Ends an upload whose bytes were received; returns false if it had ended already. The row becomes due if the worker has to
/// delete the object of a presigned URL from the byte store.
pub async fn end_completed(
    transaction: &impl ConnectionTrait,
    upload: &Model,
    size: i64,
    now: DateTime<Utc>,
) -> Result<bool> {
    let due_at = upload.upload_url.as_ref().filter(|_| upload.transport == Transport::Put).map(|_| now);
    let ended = end_statement(upload, Status::Completed, None, due_at, now)
        .col_expr(Column::BytesReceived, Expr::val(size))
        .exec(transaction)
        .await?;
    Ok(ended.rows_affected == 1)
}

/// Changes the status of an open upload; returns false if it is not open any more.
pub async fn end(
    transaction: &impl ConnectionTrait,
    upload: &Model,
    status: Status,
    failure: Option<Failure>,
    due_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let ended = end_statement(upload, status, failure, due_at, now).exec(transaction).await?;
    Ok(ended.rows_affected == 1)
}

fn end_statement(
    upload: &Model,
    status: Status,
    failure: Option<Failure>,
    due_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::Status, status.into())
        .col_expr(Column::Failure, Expr::val(failure))
        .col_expr(Column::UploadUrl, Expr::val(None::<String>))
        .col_expr(Column::DueAt, Expr::val(due_at))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::Status.eq(Status::Open))
}

/// Cancels the open direct uploads of a file. Their rows become due, so that the worker deletes their drafts from the account.
pub async fn cancel_open_of(
    transaction: &impl ConnectionTrait,
    file: FileId,
    now: DateTime<Utc>,
) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::Status, Status::Cancelled.into())
        .col_expr(Column::UploadUrl, Expr::val(None::<String>))
        .col_expr(Column::DueAt, Expr::val(now))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(direct_upload::COLUMN.file_id.eq(file))
        .filter(Column::Status.eq(Status::Open))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Deletes the file row of an upload whose bytes were never received, and appends the event.
pub async fn delete_file_row(
    transaction: &impl ConnectionTrait,
    upload: &Model,
    now: DateTime<Utc>,
) -> Result<()> {
    let Some(file_id) = upload.file_id else { return Ok(()) };
    file::Entity::delete_many()
        .filter(file::COLUMN.id.eq(file_id))
        .filter(file::Column::Status.eq(file::Status::AwaitingUpload))
        .exec(transaction)
        .await?;
    rows::event::append(transaction, EventKind::FilePurged, upload.workspace_id, file_id, None, now).await
}
