//! Keys that sign delivery URLs.

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder};

/// A row of `signing_key`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_key")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub value: Secret,
    /// Unix milliseconds.
    pub created_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// A key's value: its UTF-8 bytes are the HMAC key. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// All keys, oldest first.
pub(crate) async fn all(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().order_by_asc(Column::CreatedMs).order_by_asc(Column::Name).all(db).await
}

/// Creates a key named `default` if there is no key.
pub(crate) async fn ensure_one(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<(), DbErr> {
    if Entity::find().count(db).await? == 0 {
        new("default", now).into_active_model().insert(db).await?;
    }
    Ok(())
}

/// A key with a new random secret, which is not stored yet.
pub(crate) fn new(name: &str, now: DateTime<Utc>) -> Model {
    use base64::Engine;
    let value = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 23]>());
    Model { name: name.to_owned(), value: Secret(value), created_ms: now.timestamp_millis() }
}
