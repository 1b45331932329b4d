//! Who belongs to which workspace, and as what.

use sea_orm::entity::prelude::*;

use crate::id::{MembershipId, UserId, WorkspaceId};

/// Role inside one workspace; each includes the ones before it.
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
#[sea_orm(table_name = "membership")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MembershipId,
    pub workspace_id: WorkspaceId,
    pub user_id: UserId,
    pub role: Role,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The memberships a viewer's rights are made of. The only read without a viewer: it makes one.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user))
}
