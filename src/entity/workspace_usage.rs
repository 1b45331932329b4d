//! What workspaces use, as the database's triggers count it: nobody else writes here.

use sea_orm::entity::prelude::*;

use crate::id::WorkspaceId;
use crate::viewer::{Reach, Viewer};

/// A workspace that never had a file may have no row.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workspace_usage")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub workspace_id: WorkspaceId,
    /// Files, those in the trash too.
    pub file_count: i64,
    pub file_bytes: i64,
    pub trashed_count: i64,
    pub trashed_bytes: i64,
    /// Provisioned images.
    pub image_count: i64,
    /// Bytes of their originals.
    pub image_bytes: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// The viewer's workspaces'; for admins, all.
pub fn visible_to(viewer: &Viewer) -> Select<Entity> {
    match viewer.reach() {
        Reach::All => Entity::find(),
        Reach::Workspaces(ids) => Entity::find().filter(COLUMN.workspace_id.is_in(ids)),
    }
}
