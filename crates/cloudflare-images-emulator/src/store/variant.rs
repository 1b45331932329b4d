//! Named variants.

use chrono::{DateTime, Utc};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use cloudflare_images::wire;

/// The variant that every account has and that cannot be deleted.
pub(crate) const PUBLIC: &str = "public";

/// A row of `variant`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "variant")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// JSON text of [`wire::VariantOptions`].
    #[sea_orm(column_type = "Text")]
    pub options: String,
    pub never_require_signed_urls: bool,
    /// Time of the last change, in Unix milliseconds.
    pub edited_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The variant as the API returns it.
    pub(crate) fn to_wire(&self) -> Result<wire::Variant, serde_json::Error> {
        Ok(wire::Variant {
            id: self.id.clone(),
            options: serde_json::from_str(&self.options)?,
            never_require_signed_urls: self.never_require_signed_urls,
        })
    }
}

/// Creates the `public` variant with the options that were observed in a new account.
pub(super) async fn ensure_public(db: &DatabaseConnection, now: DateTime<Utc>) -> Result<(), DbErr> {
    let options = wire::VariantOptions { width: Some(1366), height: Some(768), ..Default::default() };
    let options = serde_json::to_string(&options).map_err(|error| DbErr::Custom(error.to_string()))?;
    let public = ActiveModel {
        id: Set(PUBLIC.to_owned()),
        options: Set(options),
        never_require_signed_urls: Set(false),
        edited_ms: Set(now.timestamp_millis()),
    };
    let once = OnConflict::column(Column::Id).do_nothing().to_owned();
    Entity::insert(public).on_conflict(once).exec_without_returning(db).await?;
    Ok(())
}
