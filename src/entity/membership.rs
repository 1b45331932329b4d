//! Memberships of users in workspaces, with their roles.

use row_object::PartialRow;
use sea_orm::entity::prelude::*;

use crate::access::WorkspaceAccess;
use crate::id::{MembershipId, UserId, WorkspaceId};

/// Role in a workspace; each includes the rights of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Role {
    #[sea_orm(string_value = "VIEWER")]
    Viewer,
    #[sea_orm(string_value = "EDITOR")]
    Editor,
    #[sea_orm(string_value = "OWNER")]
    Owner,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "membership", model_attrs(derive(PartialRow)))]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MembershipId,
    pub workspace_id: WorkspaceId,
    pub user_id: UserId,
    pub role: Role,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// Members of the workspaces a viewer may see.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => Entity::find(),
        WorkspaceAccess::Only(ids) => Entity::find().filter(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}

/// Whether a workspace has an owner besides this one.
pub async fn has_other_owner(db: &impl ConnectionTrait, owner: &Model) -> Result<bool, DbErr> {
    let other = Entity::find()
        .filter(COLUMN.workspace_id.eq(owner.workspace_id))
        .filter(COLUMN.id.ne(owner.id))
        .filter(Column::Role.eq(Role::Owner));
    Ok(other.one(db).await?.is_some())
}

/// The memberships of a user, from which the access of a viewer is computed.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user))
}
