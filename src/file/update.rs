//! Changing what is said about a file.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::{Map, Value};

use super::{checked_filename, description, find_editable, require_standing};
use crate::app::App;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, Model};
use crate::entity::{event, image as image_entity};
use crate::error::{Code, Error, Result};
use crate::event as events;
use crate::id::FileId;
use crate::spelling::{as_sent, composed};
use crate::viewer::Viewer;

/// What to change of a file; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct FileChange {
    pub filename: Option<String>,
    pub tags: Option<Vec<String>>,
    /// `Some(None)` clears it.
    pub metadata: Option<Option<Map<String, Value>>>,
    /// Only if the file was last changed then.
    pub if_updated_at: Option<DateTime<Utc>>,
}

/// Changes name, tags or metadata of a file. Its image carries copies of name and tags.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `METADATA_TOO_LARGE`; `CONFLICT` when somebody else was faster or the file
/// is in the trash.
pub async fn update(app: &App, viewer: &Viewer, id: FileId, change: FileChange) -> Result<Model> {
    viewer.require(Scope::FilesWrite)?;
    let file = find_editable(app, viewer, id).await.map_err(|e| e.at("id"))?;
    require_standing(&file).map_err(|e| e.at("id"))?;
    require_unchanged(change.if_updated_at, file.updated_at)?;
    let now = later(app.clock.now(), file.updated_at);
    let filename = change.filename.as_deref().map(checked_filename).transpose()?;
    let tags = change.tags.as_deref().map(description::check_tags).transpose()?;
    if let Some(Some(metadata)) = &change.metadata {
        description::check_metadata(metadata)?;
    }
    if filename.is_none() && tags.is_none() && change.metadata.is_none() {
        return Ok(file);
    }
    let mut update = Entity::update_many().col_expr(Column::UpdatedAt, Expr::val(now));
    let mut copy =
        image_entity::Entity::update_many().col_expr(image_entity::Column::UpdatedAt, Expr::val(now));
    if let Some(filename) = &filename {
        let stored = composed(filename);
        update = update
            .col_expr(Column::Filename, Expr::val(stored.as_ref()))
            .col_expr(Column::FilenameSent, Expr::val(as_sent(filename)));
        copy = copy.col_expr(image_entity::Column::Filename, Expr::val(stored.as_ref()));
    }
    if let Some(tags) = &tags {
        update = update
            .col_expr(Column::Tags, Expr::val(tags.stored.clone()))
            .col_expr(Column::TagsSent, Expr::val(tags.sent.clone()));
        copy = copy.col_expr(image_entity::Column::Tags, Expr::val(tags.stored.clone()));
    }
    if let Some(metadata) = change.metadata {
        update = update.col_expr(Column::Metadata, Expr::val(metadata.map(Value::Object)));
    }
    update = update
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::COLUMN.deleted_at.is_null());
    if let Some(then) = change.if_updated_at {
        update = update.filter(file::COLUMN.updated_at.eq(then));
    }
    let transaction = app.db.begin().await?;
    let updated = update.exec_with_returning(&transaction).await?;
    let Some(file) = updated.into_iter().next() else { return Err(changed()) };
    if filename.is_some() || tags.is_some() {
        copy.filter(image_entity::COLUMN.file_id.eq(id)).exec(&transaction).await?;
    }
    events::append(&transaction, event::Kind::FileUpdated, file.workspace_id, id, None, now).await?;
    transaction.commit().await?;
    Ok(file)
}

/// Demands that something was last changed at a moment the caller knows of.
///
/// # Errors
/// `CONFLICT` at `ifUpdatedAt`.
pub fn require_unchanged(known: Option<DateTime<Utc>>, updated_at: DateTime<Utc>) -> Result<()> {
    if known.is_none_or(|known| known == updated_at) { Ok(()) } else { Err(changed()) }
}

/// The moment of a change: later than the last one, however fast two follow each other, so that each has its own.
pub fn later(now: DateTime<Utc>, last: DateTime<Utc>) -> DateTime<Utc> {
    now.max(last + TimeDelta::milliseconds(1))
}

/// The refusal of a change to something that somebody else changed.
pub fn changed() -> Error {
    let message = "It was changed since then. Read it again, and decide whether your change still holds.";
    Error::refuse(Code::Conflict, message).at("ifUpdatedAt")
}
