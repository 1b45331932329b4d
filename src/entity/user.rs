//! People and service accounts.

use row_object::PartialRow;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, PaginatorTrait, QueryOrder, QuerySelect, QueryTrait};

use crate::access::WorkspaceAccess;
use crate::entity::membership;
use crate::id::UserId;

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
#[sea_orm(table_name = "user", model_attrs(derive(PartialRow)))]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UserId,
    pub name: String,
    pub email: Option<String>,
    pub role: Role,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The user `me` and the members of the workspaces that `me` may see; for admins, all users.
pub fn visible_to(access: &WorkspaceAccess, me: UserId) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => Entity::find(),
        WorkspaceAccess::Only(ids) => {
            let colleagues = membership::Entity::find()
                .select_only()
                .column(membership::Column::UserId)
                .filter(membership::COLUMN.workspace_id.is_in(ids.iter().copied()))
                .into_query();
            Entity::find()
                .filter(Condition::any().add(COLUMN.id.eq(me)).add(Column::Id.in_subquery(colleagues)))
        }
    }
}

/// Whether there is any user; on the first start there is none.
pub async fn any(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(Entity::find().count(db).await? > 0)
}

/// Whether there is such a user.
pub async fn exists(db: &impl ConnectionTrait, id: UserId) -> Result<bool, DbErr> {
    Ok(Entity::find_by_id(id).one(db).await?.is_some())
}

/// The admin that was created first.
pub async fn oldest_admin(db: &impl ConnectionTrait) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::Role.eq(Role::Admin)).order_by_asc(Column::Id).one(db).await
}

/// The user with this e-mail.
pub async fn find_by_email(db: &impl ConnectionTrait, email: &str) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(COLUMN.email.eq(email)).one(db).await
}
