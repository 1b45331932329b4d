//! Direct uploads: one-time permissions to send bytes for one file without an API token.

use row_object::PartialRow;
use sea_orm::entity::prelude::*;

use crate::access::WorkspaceAccess;
use crate::entity::{DueEntity, Failure};
use crate::id::{DirectUploadId, FileId, ImageId, UserId, WorkspaceId};

/// Status of a direct upload.
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
    /// As a multipart form to Cloudflare.
    #[sea_orm(string_value = "FORM_POST")]
    FormPost,
    /// As the body of a PUT request to this server or its byte store.
    #[sea_orm(string_value = "PUT")]
    Put,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "direct_upload", model_attrs(derive(PartialRow)))]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: DirectUploadId,
    pub workspace_id: WorkspaceId,
    /// The file that gets the bytes; null after the upload was cancelled or has expired, and its file was deleted.
    pub file_id: Option<FileId>,
    /// The id that the image will have. It is part of the metadata of Cloudflare's draft.
    pub image_id: ImageId,
    pub created_by: Option<UserId>,
    pub status: Status,
    pub transport: Transport,
    /// Declared MIME type.
    pub mime_type: Option<String>,
    /// Declared size in bytes.
    pub size: Option<i64>,
    /// Maximum number of bytes that are accepted.
    pub max_size: i64,
    pub bytes_received: i64,
    pub require_signed_urls: bool,
    /// Id of Cloudflare's draft; null until the account has created it.
    pub cf_image_id: Option<String>,
    /// URL to send the bytes to; null until the account has created the draft, and after the end of the upload.
    pub upload_url: Option<String>,
    pub failure: Option<Failure>,
    pub expires_at: DateTimeUtc,
    /// When the row is due for the worker; see [`DueEntity`].
    pub due_at: Option<DateTimeUtc>,
    /// Number of claims by the worker; see [`DueEntity`].
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

/// Direct uploads of the workspaces a viewer may see.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => Entity::find(),
        WorkspaceAccess::Only(ids) => Entity::find().filter(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}

/// A direct upload in any status, for work that the server does by itself and for requests to its URL.
pub fn by_id_unscoped(id: DirectUploadId) -> Select<Entity> {
    Entity::find_by_id(id)
}
