//! Numbers and bytes of the files and images of workspaces. Only triggers of the database write this table.

use row_object::PartialRow;
use sea_orm::entity::prelude::*;

use crate::access::WorkspaceAccess;
use crate::id::WorkspaceId;

/// The counters of a workspace; a workspace that never had a file may have no row.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workspace_usage", model_attrs(derive(PartialRow)))]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub workspace_id: WorkspaceId,
    /// Number of files, including the trash.
    pub file_count: i64,
    pub file_bytes: i64,
    pub trashed_count: i64,
    pub trashed_bytes: i64,
    /// Number of provisioned images.
    pub image_count: i64,
    /// Bytes of the originals of these images.
    pub image_bytes: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// Usage of the workspaces a viewer may see.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => Entity::find(),
        WorkspaceAccess::Only(ids) => Entity::find().filter(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}
