//! Secrets that the server generates for itself. They are stored in the database so that several servers share them.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secret")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// 32 random bytes.
    pub value: Vec<u8>,
    pub created_at: DateTimeUtc,
}

/// The table has no relations.
#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

// Not derived, so that the value cannot appear in a log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The secret with this name.
pub fn named(name: &str) -> Select<Entity> {
    Entity::find_by_id(name.to_owned())
}
