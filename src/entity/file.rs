//! Files: stored bytes of any type.

use sea_orm::FromJsonQueryResult;
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use crate::access::WorkspaceAccess;
use crate::entity::image::NewImage;
use crate::entity::workspace::DuplicatePolicy;
use crate::entity::{DueEntity, Failure, StringList, VisibleRows};
use crate::id::{FileId, UserId, WorkspaceId};

/// Life of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Status {
    #[sea_orm(string_value = "AWAITING_UPLOAD")]
    AwaitingUpload,
    /// Being fetched by the server.
    #[sea_orm(string_value = "PROCESSING")]
    Processing,
    #[sea_orm(string_value = "READY")]
    Ready,
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

/// Life of a file's image projection, as the file shows it.
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

/// What is to be made of a file's bytes once they are here, or are wanted again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(default)]
pub struct Intent {
    /// The image to be made; `None` when it had none before it went to the trash.
    pub image: Option<NewImage>,
    /// `None` follows the workspace's policy.
    pub on_duplicate: Option<DuplicatePolicy>,
    /// Lower-case hex SHA-256 the bytes must have.
    pub sha256: Option<String>,
    /// Claimed type.
    pub mime_type: Option<String>,
    /// The caller chose the file's name: what its source calls it does not matter.
    pub named: bool,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "file")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: FileId,
    pub workspace_id: WorkspaceId,
    pub created_by: Option<UserId>,
    /// In NFC: see [`normalization`](crate::normalization).
    pub filename: String,
    /// The name as it was sent, if that is another spelling.
    pub filename_sent: Option<String>,
    pub status: Status,
    /// Found in the bytes; null until they have arrived.
    pub mime_type: Option<String>,
    /// Bytes; 0 until they have arrived, because an ordered list cannot page over nulls.
    pub size: i64,
    pub sha256: Option<Vec<u8>>,
    /// Where the bytes are; null until they have arrived.
    pub blob_id: Option<Uuid>,
    /// Why `status` is `FAILED`.
    pub failure: Option<Failure>,
    pub image_status: ImageStatus,
    /// Why `image_status` is `FAILED`, or is still `QUEUED`.
    pub image_failure: Option<Failure>,
    /// Free labels, in composed form; the image carries a copy.
    pub tags: StringList,
    /// The labels as they were sent, if one of them has another spelling.
    pub tags_sent: Option<StringList>,
    /// User-owned JSON object.
    pub metadata: Option<Json>,
    /// Where the server fetches the bytes from; null once they are here.
    pub source_url: Option<String>,
    pub intent: Option<Intent>,
    /// In the trash since then; `due_at` is when it is purged.
    pub deleted_at: Option<DateTimeUtc>,
    /// Invisible from then on; the worker removes what is left.
    pub removed_at: Option<DateTimeUtc>,
    /// When the worker looks at the row: to fetch its bytes, to empty the trash of it, to go on removing it.
    pub due_at: Option<DateTimeUtc>,
    /// How often the present work was tried. A claim raises it, and only the holder of the newest number settles.
    pub attempts: i32,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl DueEntity for Entity {
    const ID: Column = Column::Id;
    const DUE_AT: Column = Column::DueAt;
    const ATTEMPTS: Column = Column::Attempts;

    fn claim_of(row: &Model) -> (Uuid, i32) {
        (row.id.0, row.attempts)
    }
}

impl Model {
    /// The name as it was sent.
    pub fn shown_filename(&self) -> &str {
        self.filename_sent.as_deref().unwrap_or(&self.filename)
    }

    /// The labels as they were sent.
    pub fn shown_tags(&self) -> &[String] {
        &self.tags_sent.as_ref().unwrap_or(&self.tags).0
    }
}

/// Files of the workspaces a viewer may see, those in the trash too.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => standing(),
        WorkspaceAccess::Only(ids) => standing().filter(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}

/// The rows of [`visible_to`] that are not in the trash, for a list.
pub fn listed(access: WorkspaceAccess) -> VisibleRows<Entity> {
    VisibleRows { all: standing().filter(COLUMN.deleted_at.is_null()), access }
}

/// The rows of [`visible_to`] that are in the trash, for a list.
pub fn trashed(access: WorkspaceAccess) -> VisibleRows<Entity> {
    VisibleRows { all: standing().filter(COLUMN.deleted_at.is_not_null()), access }
}

/// A file whatever its state, for work that the server does by itself.
pub fn by_id_unscoped(id: FileId) -> Select<Entity> {
    Entity::find_by_id(id)
}

/// Files of a workspace that have these bytes and are not in the trash: a range of the index by hash.
pub fn of_content_unscoped(workspace: WorkspaceId, sha256: &[u8; 32]) -> Select<Entity> {
    standing()
        .filter(COLUMN.deleted_at.is_null())
        .filter(COLUMN.workspace_id.eq(workspace))
        .filter(COLUMN.sha256.eq(sha256.to_vec()))
        .filter(Column::Status.eq(Status::Ready))
}

/// Files the server is to fetch.
pub fn imports_unscoped() -> Select<Entity> {
    standing().filter(COLUMN.deleted_at.is_null()).filter(Column::Status.eq(Status::Processing))
}

/// Files that own stored bytes, those in the trash too.
pub fn owners_unscoped(blob: Uuid) -> Select<Entity> {
    standing().filter(COLUMN.blob_id.eq(blob))
}

/// Files whose rows name any of these stored bytes, deleted ones too.
pub fn with_bytes_unscoped(blobs: &[Uuid]) -> Select<Entity> {
    Entity::find().filter(COLUMN.blob_id.is_in(blobs.iter().copied()))
}

/// Files that own stored bytes, whether these are there or not, below an id.
pub fn stored_unscoped(before: Option<FileId>) -> Select<Entity> {
    let stored = standing().filter(COLUMN.blob_id.is_not_null());
    match before {
        Some(id) => stored.filter(COLUMN.id.lt(id)),
        None => stored,
    }
}

fn standing() -> Select<Entity> {
    Entity::find().filter(COLUMN.removed_at.is_null())
}
