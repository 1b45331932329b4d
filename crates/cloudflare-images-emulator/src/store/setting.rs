//! Settings of the account: one row, or none if all have their defaults.

use sea_orm::entity::prelude::*;

/// A row of `setting`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "setting")]
pub(crate) struct Model {
    /// Always [`ROW_ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub flexible_variants: bool,
    /// In seconds.
    pub browser_ttl: u32,
}

impl ActiveModelBehavior for ActiveModel {}

/// Id of the only row.
pub(crate) const ROW_ID: i32 = 1;

/// The current settings.
pub(crate) async fn current(db: &impl ConnectionTrait) -> Result<Model, DbErr> {
    let defaults = Model { id: ROW_ID, flexible_variants: false, browser_ttl: 172_800 };
    Ok(Entity::find_by_id(ROW_ID).one(db).await?.unwrap_or(defaults))
}
