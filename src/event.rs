//! Events are appended in the transaction that changed the row, so that there is one exactly when there is the other.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait, EntityTrait, NotSet, QueryFilter};

use crate::entity::event;
use crate::error::Result;
use crate::id::{FileId, ImageId, WorkspaceId};

/// How long events are kept.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// Appends an event inside the caller's transaction.
pub async fn append(
    transaction: &impl ConnectionTrait,
    kind: event::Kind,
    workspace: WorkspaceId,
    file: FileId,
    image: Option<ImageId>,
    now: DateTime<Utc>,
) -> Result<()> {
    let row = event::ActiveModel {
        seq: NotSet,
        workspace_id: Set(workspace),
        kind: Set(kind),
        file_id: Set(file),
        image_id: Set(image),
        at: Set(now),
    };
    row.insert(transaction).await?;
    Ok(())
}

/// Forgets events older than a day.
pub async fn purge(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<()> {
    event::Entity::delete_many().filter(event::COLUMN.at.lt(now - KEPT)).exec(db).await?;
    Ok(())
}
