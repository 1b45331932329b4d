//! Named variants.

use axum::body::Body;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, PaginatorTrait};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::response::Empty;
use crate::store::{self, variant};
use crate::{Emulator, form, now};
use cloudflare_images::wire::{Named, Variant, VariantList, VariantOptions, VariantResult};

/// `GET v1/variants`: an object keyed by id.
pub(super) async fn list(emulator: &Emulator) -> Result<VariantList, ApiError> {
    let rows = variant::Entity::find().all(&emulator.0.store.db).await?;
    let variants = rows.into_iter().map(|row| row.to_wire().map(|variant| (variant.id.clone(), variant)));
    Ok(VariantList { variants: variants.collect::<Result<_, _>>().map_err(ApiError::internal)? })
}

/// `GET v1/variants/{id}`; 5401 for an unknown id.
pub(super) async fn get(emulator: &Emulator, id: &str) -> Result<VariantResult, ApiError> {
    let row = find(emulator, id).await?;
    Ok(VariantResult { variant: row.to_wire().map_err(ApiError::internal)? })
}

/// `POST v1/variants`; 5409 for an id that exists, 5453 for more than 100 variants.
pub(super) async fn create(emulator: &Emulator, body: Body) -> Result<VariantResult, ApiError> {
    let variant: Variant = form::json(body).await?;
    check_id(&variant.id)?;
    check_options(&variant.options)?;
    let row = variant::Model {
        id: variant.id.clone(),
        options: serde_json::to_string(&variant.options).map_err(ApiError::internal)?,
        never_require_signed_urls: variant.never_require_signed_urls,
        edited_ms: now().timestamp_millis(),
    };
    let db = &emulator.0.store.db;
    let _changing = emulator.0.store.write_lock.lock().await;
    if variant::Entity::find_by_id(&variant.id).one(db).await?.is_some() {
        return Err(ApiError::already_exists());
    }
    if variant::Entity::find().count(db).await? >= MAX_VARIANTS {
        return Err(ApiError::service_limit("100 variants"));
    }
    match store::insert(db, row).await? {
        true => Ok(VariantResult { variant }),
        false => Err(ApiError::already_exists()),
    }
}

/// Body of `PATCH v1/variants/{id}`. Members that are left out do not change.
#[derive(Debug, Deserialize)]
struct VariantEdit {
    /// `null` resets an option to its default, which for width and height is no limit.
    options: Option<Map<String, Value>>,
    #[serde(rename = "neverRequireSignedURLs")]
    never_require_signed_urls: Option<bool>,
}

/// `PATCH v1/variants/{id}`.
pub(super) async fn edit(emulator: &Emulator, id: &str, body: Body) -> Result<VariantResult, ApiError> {
    let edit: VariantEdit = form::json(body).await?;
    let changed = edit.options.unwrap_or_default();
    check_options(&read_options(changed.clone())?)?;
    let write_lock = emulator.0.store.write_lock.lock().await;
    let row = find(emulator, id).await?;
    let options = read_options(merge(&row.options, changed)?)?;
    let mut row = row.into_active_model();
    row.options = Set(serde_json::to_string(&options).map_err(ApiError::internal)?);
    row.edited_ms = Set(now().timestamp_millis());
    if let Some(never) = edit.never_require_signed_urls {
        row.never_require_signed_urls = Set(never);
    }
    row.update(&emulator.0.store.db).await?;
    drop(write_lock);
    get(emulator, id).await
}

/// `DELETE v1/variants/{id}`. For `public` it succeeds without deleting it.
pub(super) async fn delete(emulator: &Emulator, id: &str) -> Result<Empty, ApiError> {
    if id == variant::PUBLIC {
        return Ok(Empty {});
    }
    match variant::Entity::delete_by_id(id).exec(&emulator.0.store.db).await?.rows_affected {
        0 => Err(ApiError::variant_not_found()),
        _ => Ok(Empty {}),
    }
}

const MAX_VARIANTS: u64 = 100;

fn read_options(options: Map<String, Value>) -> Result<VariantOptions, ApiError> {
    serde_json::from_value(Value::Object(options))
        .map_err(|error| ApiError::bad_request(error).with_pointer(&["options"]))
}

/// The stored options with those of an edit in their place.
fn merge(stored: &str, changed: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let mut options: Map<String, Value> = serde_json::from_str(stored).map_err(ApiError::internal)?;
    options.extend(changed);
    options.retain(|_, value| !value.is_null());
    Ok(options)
}

async fn find(emulator: &Emulator, id: &str) -> Result<variant::Model, ApiError> {
    let row = variant::Entity::find_by_id(id).one(&emulator.0.store.db).await?;
    row.ok_or_else(ApiError::variant_not_found)
}

fn check_id(id: &str) -> Result<(), ApiError> {
    let valid = (1..=99).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let error =
        || ApiError::bad_request("a variant name must be 1-99 letters and digits").with_pointer(&["id"]);
    valid.then_some(()).ok_or_else(error)
}

/// An error for options that are out of range, and for unknown ones, which would otherwise be ignored silently.
fn check_options(options: &VariantOptions) -> Result<(), ApiError> {
    if let Some(name) = options.other.keys().next() {
        return Err(ApiError::bad_request(format!("unknown variant option `{name}`"))
            .with_pointer(&["options", name]));
    }
    if let Named::Unknown(fit) = &options.fit {
        let all = "Use 'cover', 'contain', 'crop', 'pad' or 'scale-down'";
        let message = format!("'{fit}' is not a supported fit mode. {all}");
        return Err(ApiError::bad_request(message).with_pointer(&["options", "fit"]));
    }
    if let Named::Unknown(metadata) = &options.metadata {
        let all = "Use 'keep', 'copyright' or 'none'";
        let message = format!("'{metadata}' is not a supported metadata mode. {all}");
        return Err(ApiError::bad_request(message).with_pointer(&["options", "metadata"]));
    }
    let limits = [
        ("width", options.width, 1..=9999),
        ("height", options.height, 1..=9999),
        ("browser_ttl", options.browser_ttl, 3600..=31_536_000),
        ("blur", options.blur, 1..=250),
    ];
    for (name, value, range) in limits {
        if value.is_some_and(|value| !range.contains(&value)) {
            let (low, high) = range.into_inner();
            let message = format!("{name} must be between {low} and {high}");
            return Err(ApiError::bad_request(message).with_pointer(&["options", name]));
        }
    }
    Ok(())
}
