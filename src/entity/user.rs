//! People and service accounts.

use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QuerySelect, QueryTrait};

use crate::entity::membership;
use crate::id::UserId;
use crate::viewer::{Reach, Viewer};

/// Server-wide role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Role {
    #[sea_orm(string_value = "ADMIN")]
    Admin,
    #[sea_orm(string_value = "MEMBER")]
    Member,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UserId,
    pub name: String,
    pub email: Option<String>,
    pub role: Role,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// Oneself and whoever shares a workspace; for admins, everybody.
pub fn visible_to(viewer: &Viewer) -> Select<Entity> {
    match viewer.reach() {
        Reach::All => Entity::find(),
        Reach::Workspaces(ids) => {
            let colleagues = membership::Entity::find()
                .select_only()
                .column(membership::Column::UserId)
                .filter(membership::COLUMN.workspace_id.is_in(ids))
                .into_query();
            Entity::find().filter(
                Condition::any().add(COLUMN.id.eq(viewer.user.id)).add(Column::Id.in_subquery(colleagues)),
            )
        }
    }
}
