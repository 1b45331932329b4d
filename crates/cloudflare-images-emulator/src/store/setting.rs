//! Account-wide settings: one row, or none while all have their defaults.

use sea_orm::entity::prelude::*;

/// A row of `setting`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "setting")]
pub(crate) struct Model {
    /// Always [`ONLY`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub flexible_variants: bool,
    /// Seconds.
    pub browser_ttl: u32,
}

impl ActiveModelBehavior for ActiveModel {}

/// Key of the one row.
pub(crate) const ONLY: i32 = 1;

/// The settings in force.
pub(crate) async fn current(db: &impl ConnectionTrait) -> Result<Model, DbErr> {
    let defaults = Model { id: ONLY, flexible_variants: false, browser_ttl: 172_800 };
    Ok(Entity::find_by_id(ONLY).one(db).await?.unwrap_or(defaults))
}
