//! Direct uploads: one-time permissions to send bytes for one file without an API token.

use sea_orm::entity::prelude::*;

use crate::access::WorkspaceAccess;
use crate::entity::{DueEntity, Failure};
use crate::id::{DirectUploadId, FileId, ImageId, UserId, WorkspaceId};

/// Life of a direct upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Status {
    #[sea_orm(string_value = "OPEN")]
    Open,
    #[sea_orm(string_value = "COMPLETED")]
    Completed,
    #[sea_orm(string_value = "EXPIRED")]
    Expired,
    #[sea_orm(string_value = "CANCELLED")]
    Cancelled,
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

/// How bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Transport {
    /// A form, straight to Cloudflare.
    #[sea_orm(string_value = "FORM_POST")]
    FormPost,
    /// The raw bytes, to us or our byte store.
    #[sea_orm(string_value = "PUT")]
    Put,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "direct_upload")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: DirectUploadId,
    pub workspace_id: WorkspaceId,
    /// The file being filled; null once the upload was cancelled or expired and the file is gone.
    pub file_id: Option<FileId>,
    /// The id the image will have: it travels in Cloudflare's metadata from the start.
    pub image_id: ImageId,
    pub created_by: Option<UserId>,
    pub status: Status,
    pub transport: Transport,
    /// Claimed type.
    pub mime_type: Option<String>,
    /// Claimed size in bytes.
    pub size: Option<i64>,
    /// Most bytes that are accepted.
    pub max_size: i64,
    pub bytes_received: i64,
    pub require_signed_urls: bool,
    /// Id of Cloudflare's draft; null until the account has answered.
    pub cf_image_id: Option<String>,
    /// Where the bytes go; null until the account has answered.
    pub upload_url: Option<String>,
    pub failure: Option<Failure>,
    pub expires_at: DateTimeUtc,
    /// When the worker looks at the row again.
    pub due_at: Option<DateTimeUtc>,
    /// How often the worker has looked.
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

/// Direct uploads of the workspaces a viewer may see.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => Entity::find(),
        WorkspaceAccess::Only(ids) => Entity::find().filter(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}

/// A direct upload whatever its state, for work that the server does by itself and for whoever has its URL.
pub fn by_id_unscoped(id: DirectUploadId) -> Select<Entity> {
    Entity::find_by_id(id)
}
