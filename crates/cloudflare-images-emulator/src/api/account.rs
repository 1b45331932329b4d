//! Statistics and account-wide settings.

use axum::body::Body;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter};
use serde::Deserialize;

use crate::error::ApiError;
use crate::store::{image, setting};
use crate::{Emulator, form};
use cloudflare_images::wire::{AccountConfig, Stats, StatsCount};

/// `GET v1/stats`: the number of images, without drafts.
pub(super) async fn stats(emulator: &Emulator) -> Result<Stats, ApiError> {
    let images = image::Entity::find().filter(image::COLUMN.blob.is_not_null());
    let current = images.count(&emulator.0.store.db).await?;
    Ok(Stats { count: StatsCount { current, allowed: ALLOWED } })
}

/// `GET v1/config`.
pub(super) async fn config(emulator: &Emulator) -> Result<AccountConfig, ApiError> {
    let row = setting::current(&emulator.0.store.db).await?;
    Ok(AccountConfig {
        flexible_variants: Some(row.flexible_variants),
        browser_ttl: Some(row.browser_ttl),
        preserve_content_credentials: Some(false),
    })
}

/// `PATCH v1/config`: settings that are left out do not change.
pub(super) async fn edit_config(emulator: &Emulator, body: Body) -> Result<AccountConfig, ApiError> {
    let edit: ConfigEdit = form::json(body).await?;
    if edit.preserve_content_credentials == Some(true) {
        let name = "preserve_content_credentials";
        return Err(ApiError::bad_request(format!("{name} is not emulated")).with_pointer(&[name]));
    }
    if edit.browser_ttl.is_some_and(|ttl| !(3600..=31_536_000).contains(&ttl)) {
        let message = "browser_ttl must be between 3600 and 31536000";
        return Err(ApiError::bad_request(message).with_pointer(&["browser_ttl"]));
    }
    let db = &emulator.0.store.db;
    let write_lock = emulator.0.store.write_lock.lock().await;
    let mut row = setting::current(db).await?;
    row.flexible_variants = edit.flexible_variants.unwrap_or(row.flexible_variants);
    row.browser_ttl = edit.browser_ttl.unwrap_or(row.browser_ttl);
    let replace = OnConflict::column(setting::Column::Id)
        .update_columns([setting::Column::FlexibleVariants, setting::Column::BrowserTtl])
        .to_owned();
    setting::Entity::insert(row.into_active_model()).on_conflict(replace).exec_without_returning(db).await?;
    drop(write_lock);
    config(emulator).await
}

/// The number in the example of Cloudflare's documentation. It is not enforced.
const ALLOWED: u64 = 100_000;

/// [`AccountConfig`], but unknown settings are an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigEdit {
    flexible_variants: Option<bool>,
    browser_ttl: Option<u32>,
    preserve_content_credentials: Option<bool>,
}
