//! Events: what happened to files and images, in the order of commits of one server.

use sea_orm::entity::prelude::*;

use crate::id::{FileId, ImageId, WorkspaceId};

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    #[sea_orm(string_value = "FILE_CREATED")]
    FileCreated,
    #[sea_orm(string_value = "FILE_READY")]
    FileReady,
    #[sea_orm(string_value = "FILE_FAILED")]
    FileFailed,
    #[sea_orm(string_value = "FILE_UPDATED")]
    FileUpdated,
    #[sea_orm(string_value = "FILE_TRASHED")]
    FileTrashed,
    #[sea_orm(string_value = "FILE_RESTORED")]
    FileRestored,
    #[sea_orm(string_value = "FILE_PURGED")]
    FilePurged,
    #[sea_orm(string_value = "IMAGE_PROVISIONED")]
    ImageProvisioned,
    #[sea_orm(string_value = "IMAGE_PROVISION_FAILED")]
    ImageProvisionFailed,
    #[sea_orm(string_value = "IMAGE_UPDATED")]
    ImageUpdated,
    #[sea_orm(string_value = "IMAGE_DELETED")]
    ImageDeleted,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub seq: i64,
    pub workspace_id: WorkspaceId,
    pub kind: Kind,
    pub file_id: FileId,
    pub image_id: Option<ImageId>,
    pub at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
