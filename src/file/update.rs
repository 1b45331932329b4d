//! Updating the name, tags and metadata of a file.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, UpdateMany, sea_query::Expr};
use serde_json::{Map, Value};

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::editable;
use crate::entity::api_token::Scope;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, Model};
use crate::entity::image as image_entity;
use crate::error::Result;
use crate::id::FileId;
use crate::ingest::description::{self, Tags};
use crate::ingest::filename::checked_filename;
use crate::normalization::{original_unless_nfc, to_nfc};
use crate::rows;
use crate::rows::file::require_not_trashed;
use crate::rows::revision::conflict;
use crate::rows::revision::next_updated_at;
use crate::rows::revision::require_unchanged;

/// Changes to a file; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct FileChange {
    pub filename: Option<String>,
    pub tags: Option<Vec<String>>,
    /// `Some(None)` removes the metadata.
    pub metadata: Option<Option<Map<String, Value>>>,
    /// Precondition: the time of the last change.
    pub if_updated_at: Option<DateTime<Utc>>,
}

/// Updates the file, and the copies of name and tags on its image.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `METADATA_TOO_LARGE`; `CONFLICT` when the file has changed in the
/// meantime or is in the trash.
pub async fn update(app: &App, viewer: &Viewer, id: FileId, change: FileChange) -> Result<Model> {
    viewer.require(Scope::FilesWrite)?;
    let file = editable::find_file(app, viewer, id).await.map_err(|e| e.at("id"))?;
    require_not_trashed(&file).map_err(|e| e.at("id"))?;
    require_unchanged(change.if_updated_at, file.updated_at)?;
    let filename = change.filename.as_deref().map(checked_filename).transpose()?;
    let tags = change.tags.as_deref().map(description::check_tags).transpose()?;
    if let Some(Some(metadata)) = &change.metadata {
        description::check_metadata(metadata)?;
    }
    if filename.is_none() && tags.is_none() && change.metadata.is_none() {
        return Ok(file);
    }
    let now = next_updated_at(app.clock.now(), file.updated_at);
    let copied = filename.is_some() || tags.is_some();
    let (update, image_copy) = statements(&file, filename.as_deref(), tags, change, now);
    let transaction = app.db.begin().await?;
    let updated = update.exec_with_returning(&transaction).await?;
    let Some(file) = updated.into_iter().next() else { return Err(conflict()) };
    if copied {
        image_copy.exec(&transaction).await?;
    }
    rows::event::append_for_file(&transaction, EventKind::FileUpdated, &file, now).await?;
    transaction.commit().await?;
    Ok(file)
}

/// The statements that write a change to the file, and the copies of name and tags to its image.
fn statements(
    file: &Model,
    filename: Option<&str>,
    tags: Option<Tags>,
    change: FileChange,
    now: DateTime<Utc>,
) -> (UpdateMany<Entity>, UpdateMany<image_entity::Entity>) {
    let mut update = Entity::update_many().col_expr(Column::UpdatedAt, Expr::val(now));
    let mut image_copy =
        image_entity::Entity::update_many().col_expr(image_entity::Column::UpdatedAt, Expr::val(now));
    if let Some(filename) = filename {
        let stored = to_nfc(filename);
        update = update
            .col_expr(Column::Filename, Expr::val(stored.as_ref()))
            .col_expr(Column::FilenameSent, Expr::val(original_unless_nfc(filename)));
        image_copy = image_copy.col_expr(image_entity::Column::Filename, Expr::val(stored.as_ref()));
    }
    if let Some(tags) = tags {
        update = update
            .col_expr(Column::Tags, Expr::val(tags.stored.clone()))
            .col_expr(Column::TagsSent, Expr::val(tags.sent));
        image_copy = image_copy.col_expr(image_entity::Column::Tags, Expr::val(tags.stored));
    }
    if let Some(metadata) = change.metadata {
        update = update.col_expr(Column::Metadata, Expr::val(metadata.map(Value::Object)));
    }
    update = update
        .filter(file::COLUMN.id.eq(file.id))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::COLUMN.deleted_at.is_null());
    if let Some(updated_at) = change.if_updated_at {
        update = update.filter(file::COLUMN.updated_at.eq(updated_at));
    }
    (update, image_copy.filter(image_entity::COLUMN.file_id.eq(file.id)))
}
