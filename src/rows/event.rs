//! Events. They are appended in the transaction that changes the row, so that an event exists if and only if the change does.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, NotSet, QueryFilter};

use crate::entity::{event, file, image};
use crate::error::Result;
use crate::id::{FileId, ImageId, WorkspaceId};

/// How long events are kept: one hour longer than cursors are valid, because `at` is the start of a transaction by the clock
/// of one of several servers.
const PURGED_AFTER: TimeDelta = TimeDelta::hours(25);

/// Appends an event about a file.
pub async fn append_for_file(
    transaction: &impl ConnectionTrait,
    kind: event::EventKind,
    file: &file::Model,
    now: DateTime<Utc>,
) -> Result<()> {
    append(transaction, kind, file.workspace_id, file.id, None, now).await
}

/// Appends an event about each of several files, in one statement.
pub async fn append_for_files(
    transaction: &impl ConnectionTrait,
    kind: event::EventKind,
    files: &[file::Model],
    now: DateTime<Utc>,
) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let rows = files.iter().map(|file| row(kind, file.workspace_id, file.id, None, now));
    event::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}

/// Appends several events about a file, some with its image, in one statement and in this order.
pub async fn append_all(
    transaction: &impl ConnectionTrait,
    file: &file::Model,
    events: &[(event::EventKind, Option<ImageId>)],
    now: DateTime<Utc>,
) -> Result<()> {
    let rows = events.iter().map(|(kind, image)| row(*kind, file.workspace_id, file.id, *image, now));
    event::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}

/// Appends an event about an image and its file.
pub async fn append_for_image(
    transaction: &impl ConnectionTrait,
    kind: event::EventKind,
    image: &image::Model,
    now: DateTime<Utc>,
) -> Result<()> {
    append(transaction, kind, image.workspace_id, image.file_id, Some(image.id), now).await
}

/// Appends an event in the caller's transaction. Its sequence number is final once the transaction is committed.
pub async fn append(
    transaction: &impl ConnectionTrait,
    kind: event::EventKind,
    workspace: WorkspaceId,
    file: FileId,
    image: Option<ImageId>,
    now: DateTime<Utc>,
) -> Result<()> {
    let row = row(kind, workspace, file, image, now);
    event::Entity::insert(row).exec_without_returning(transaction).await?;
    Ok(())
}

fn row(
    kind: event::EventKind,
    workspace: WorkspaceId,
    file: FileId,
    image: Option<ImageId>,
    now: DateTime<Utc>,
) -> event::ActiveModel {
    event::ActiveModel {
        seq: NotSet,
        workspace_id: Set(workspace),
        kind: Set(kind),
        file_id: Set(file),
        image_id: Set(image),
        at: Set(now),
    }
}

/// Deletes events that no valid cursor can reach.
pub async fn purge(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<()> {
    event::Entity::delete_many().filter(event::COLUMN.at.lt(now - PURGED_AFTER)).exec(db).await?;
    Ok(())
}
