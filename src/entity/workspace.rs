//! Workspaces: the tenants.

use sea_orm::entity::prelude::*;

use crate::id::WorkspaceId;
use crate::viewer::{Reach, Viewer};

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workspace")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WorkspaceId,
    pub name: String,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The workspaces the viewer is a member of; for admins, all.
pub fn visible_to(viewer: &Viewer) -> Select<Entity> {
    match viewer.reach() {
        Reach::All => Entity::find(),
        Reach::Workspaces(ids) => Entity::find().filter(COLUMN.id.is_in(ids)),
    }
}

/// Whether there is such a workspace, for commands, which act for nobody.
pub async fn exists(db: &impl ConnectionTrait, id: WorkspaceId) -> Result<bool, DbErr> {
    Ok(Entity::find_by_id(id).one(db).await?.is_some())
}
