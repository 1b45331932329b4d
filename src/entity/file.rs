//! Files: stored bytes of any type.

use row_object::PartialRow;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, FromJsonQueryResult};
use serde::{Deserialize, Serialize};

use crate::access::WorkspaceAccess;
use crate::entity::image::NewImage;
use crate::entity::json_text::JsonText;
use crate::entity::workspace::DuplicatePolicy;
use crate::entity::{DueEntity, Failure, StringList, VisibleRows};
use crate::id::{FileId, UserId, WorkspaceId};

/// Status of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Status {
    #[sea_orm(string_value = "AWAITING_UPLOAD")]
    AwaitingUpload,
    /// The server downloads the bytes of an import.
    #[sea_orm(string_value = "PROCESSING")]
    Processing,
    #[sea_orm(string_value = "READY")]
    Ready,
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

/// Status of a file's image, as the file shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ImageStatus {
    #[sea_orm(string_value = "NOT_APPLICABLE")]
    NotApplicable,
    #[sea_orm(string_value = "QUEUED")]
    Queued,
    #[sea_orm(string_value = "IN_PROGRESS")]
    InProgress,
    #[sea_orm(string_value = "READY")]
    Ready,
    #[sea_orm(string_value = "FAILED")]
    Failed,
    #[sea_orm(string_value = "REMOVED")]
    Removed,
}

/// Options for the bytes of a file that have not been received, and for the image of a file that is restored from the trash.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(default)]
pub struct Intent {
    /// Settings of the image; `None` for a file in the trash that had no image.
    pub image: Option<NewImage>,
    /// `None` applies the workspace's policy.
    pub on_duplicate: Option<DuplicatePolicy>,
    /// SHA-256 that the bytes must have, as lower-case hexadecimal digits.
    pub sha256: Option<String>,
    /// Declared MIME type.
    pub mime_type: Option<String>,
    /// Whether the caller chose the file name, so that the name from the source is ignored.
    pub named: bool,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "file", model_attrs(derive(PartialRow)))]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: FileId,
    pub workspace_id: WorkspaceId,
    pub created_by: Option<UserId>,
    /// In NFC: see [`normalization`](crate::normalization).
    pub filename: String,
    /// The name as it was sent, if it differs from its composed form.
    pub filename_sent: Option<String>,
    pub status: Status,
    /// Detected from the bytes; null until they are received.
    pub mime_type: Option<String>,
    /// Bytes; 0 until they are received, because pages of an ordered list cannot start at a null.
    pub size: i64,
    pub sha256: Option<Vec<u8>>,
    /// Key of the bytes in the byte store; null until they are received.
    pub blob_id: Option<Uuid>,
    /// Why `status` is `FAILED`.
    pub failure: Option<Failure>,
    pub image_status: ImageStatus,
    /// Why `image_status` is `FAILED` or `QUEUED`.
    pub image_failure: Option<Failure>,
    /// Tags, in composed form; the image row has a copy.
    pub tags: StringList,
    /// The tags as they were sent, if one of them differs from its composed form.
    pub tags_sent: Option<StringList>,
    /// JSON object of the user.
    pub metadata: Option<JsonText>,
    /// Source of an import; null once the bytes are received.
    pub source_url: Option<String>,
    pub intent: Option<Intent>,
    /// When the file was moved to the trash; `due_at` is then when it is purged.
    pub deleted_at: Option<DateTimeUtc>,
    /// When the file was deleted; no viewer sees it, and the worker deletes its image, bytes and row.
    pub removed_at: Option<DateTimeUtc>,
    /// When the row is due for the worker, to download its bytes, provision its image again, purge it from the trash, or
    /// continue its deletion; see [`DueEntity`].
    pub due_at: Option<DateTimeUtc>,
    /// Number of claims; see [`DueEntity`].
    pub attempts: i32,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl DueEntity for Entity {
    const ID: Column = Column::Id;
    const DUE_AT: Column = Column::DueAt;
    const ATTEMPTS: Column = Column::Attempts;

    fn id_and_attempts(row: &Model) -> (Uuid, i32) {
        (row.id.0, row.attempts)
    }
}

impl Model {
    /// The name as it was sent.
    pub fn shown_filename(&self) -> &str {
        self.filename_sent.as_deref().unwrap_or(&self.filename)
    }

    /// The tags as they were sent.
    pub fn shown_tags(&self) -> &[String] {
        &self.tags_sent.as_ref().unwrap_or(&self.tags).0
    }
}

/// Files of the workspaces a viewer may see, including the trash.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => not_removed(),
        WorkspaceAccess::Only(ids) => not_removed().filter(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}

/// The condition for the rows of [`visible_to`] in a join.
pub fn joined(access: &WorkspaceAccess) -> Condition {
    let all = Condition::all().add(COLUMN.removed_at.is_null());
    match access {
        WorkspaceAccess::All => all,
        WorkspaceAccess::Only(ids) => all.add(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}

/// The rows of [`visible_to`] that are not in the trash, for a list.
pub fn listed(access: WorkspaceAccess) -> VisibleRows<Entity> {
    VisibleRows { all: not_removed().filter(COLUMN.deleted_at.is_null()), access }
}

/// The rows of [`visible_to`] that are in the trash, for a list.
pub fn trashed(access: WorkspaceAccess) -> VisibleRows<Entity> {
    VisibleRows { all: not_removed().filter(COLUMN.deleted_at.is_not_null()), access }
}

/// A file in any state, for work that the server does by itself.
pub fn by_id_unscoped(id: FileId) -> Select<Entity> {
    Entity::find_by_id(id)
}

/// Files of a workspace that have these bytes and are not in the trash; a range of the index by hash.
pub fn of_content_unscoped(workspace: WorkspaceId, sha256: &[u8; 32]) -> Select<Entity> {
    not_removed()
        .filter(COLUMN.deleted_at.is_null())
        .filter(COLUMN.workspace_id.eq(workspace))
        .filter(COLUMN.sha256.eq(sha256.to_vec()))
        .filter(Column::Status.eq(Status::Ready))
}

/// Imports that have not ended.
pub fn imports_unscoped() -> Select<Entity> {
    not_removed().filter(COLUMN.deleted_at.is_null()).filter(Column::Status.eq(Status::Processing))
}

/// Files that own a blob, including the trash.
pub fn owners_unscoped(blob: Uuid) -> Select<Entity> {
    not_removed().filter(COLUMN.blob_id.eq(blob))
}

/// Files that have any of these blobs, including deleted files.
pub fn with_bytes_unscoped(blobs: &[Uuid]) -> Select<Entity> {
    Entity::find().filter(COLUMN.blob_id.is_in(blobs.iter().copied()))
}

/// Files with a blob, whether the byte store has it or not, with ids below `before`.
pub fn stored_unscoped(before: Option<FileId>) -> Select<Entity> {
    let stored = not_removed().filter(COLUMN.blob_id.is_not_null());
    match before {
        Some(id) => stored.filter(COLUMN.id.lt(id)),
        None => stored,
    }
}

/// Files that are not deleted, including the trash.
fn not_removed() -> Select<Entity> {
    Entity::find().filter(COLUMN.removed_at.is_null())
}
