//! Named variants.

use axum::body::Body;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, PaginatorTrait};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::{Nothing, Refusal};
use crate::store::{self, variant};
use crate::{Emulator, form, now};
use cloudflare_images::wire::{Named, Variant, VariantList, VariantOptions, VariantResult};

/// `GET v1/variants`: an object keyed by id.
pub(super) async fn list(emulator: &Emulator) -> Result<VariantList, Refusal> {
    let rows = variant::Entity::find().all(&emulator.0.store.db).await?;
    let shown = rows.into_iter().map(|row| row.to_wire().map(|shown| (shown.id.clone(), shown)));
    Ok(VariantList { variants: shown.collect::<Result<_, _>>().map_err(Refusal::internal)? })
}

/// `GET v1/variants/{id}`; 5401 if unknown.
pub(super) async fn get(emulator: &Emulator, id: &str) -> Result<VariantResult, Refusal> {
    let row = find(emulator, id).await?;
    Ok(VariantResult { variant: row.to_wire().map_err(Refusal::internal)? })
}

/// `POST v1/variants`; 5409 for an id that is taken, 5453 beyond 100.
pub(super) async fn create(emulator: &Emulator, body: Body) -> Result<VariantResult, Refusal> {
    let asked: Variant = form::json(body).await?;
    check_id(&asked.id)?;
    check_options(&asked.options)?;
    let row = variant::Model {
        id: asked.id.clone(),
        options: serde_json::to_string(&asked.options).map_err(Refusal::internal)?,
        never_require_signed_urls: asked.never_require_signed_urls,
        edited_ms: now().timestamp_millis(),
    };
    let db = &emulator.0.store.db;
    let _changing = emulator.0.store.changing.lock().await;
    if variant::Entity::find_by_id(&asked.id).one(db).await?.is_some() {
        return Err(Refusal::exists());
    }
    if variant::Entity::find().count(db).await? >= MAX_VARIANTS {
        return Err(Refusal::service_limit("100 variants"));
    }
    match store::insert(db, row).await? {
        true => Ok(VariantResult { variant: asked }),
        false => Err(Refusal::exists()),
    }
}

/// Body of `PATCH v1/variants/{id}`. What it does not name stays as it is.
#[derive(Debug, Deserialize)]
struct Edit {
    /// Null takes an option back to its default: a width or height to no limit.
    options: Option<Map<String, Value>>,
    #[serde(rename = "neverRequireSignedURLs")]
    never_require_signed_urls: Option<bool>,
}

/// `PATCH v1/variants/{id}`: changes what is named.
pub(super) async fn edit(emulator: &Emulator, id: &str, body: Body) -> Result<VariantResult, Refusal> {
    let edit: Edit = form::json(body).await?;
    let changed = edit.options.unwrap_or_default();
    check_options(&read_options(changed.clone())?)?;
    let changing = emulator.0.store.changing.lock().await;
    let row = find(emulator, id).await?;
    let options = read_options(merged(&row.options, changed)?)?;
    let mut row = row.into_active_model();
    row.options = Set(serde_json::to_string(&options).map_err(Refusal::internal)?);
    row.edited_ms = Set(now().timestamp_millis());
    if let Some(never) = edit.never_require_signed_urls {
        row.never_require_signed_urls = Set(never);
    }
    row.update(&emulator.0.store.db).await?;
    drop(changing);
    get(emulator, id).await
}

/// `DELETE v1/variants/{id}`. `public` stays, although the call answers that it worked.
pub(super) async fn delete(emulator: &Emulator, id: &str) -> Result<Nothing, Refusal> {
    if id == variant::PUBLIC {
        return Ok(Nothing {});
    }
    match variant::Entity::delete_by_id(id).exec(&emulator.0.store.db).await?.rows_affected {
        0 => Err(Refusal::variant_not_found()),
        _ => Ok(Nothing {}),
    }
}

const MAX_VARIANTS: u64 = 100;

fn read_options(options: Map<String, Value>) -> Result<VariantOptions, Refusal> {
    serde_json::from_value(Value::Object(options))
        .map_err(|error| Refusal::bad_request(error).at(&["options"]))
}

/// The stored options with those of an edit over them.
fn merged(stored: &str, changed: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut options: Map<String, Value> = serde_json::from_str(stored).map_err(Refusal::internal)?;
    options.extend(changed);
    options.retain(|_, value| !value.is_null());
    Ok(options)
}

async fn find(emulator: &Emulator, id: &str) -> Result<variant::Model, Refusal> {
    let row = variant::Entity::find_by_id(id).one(&emulator.0.store.db).await?;
    row.ok_or_else(Refusal::variant_not_found)
}

fn check_id(id: &str) -> Result<(), Refusal> {
    let valid = (1..=99).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let refusal = || Refusal::bad_request("a variant name must be 1-99 letters and digits").at(&["id"]);
    valid.then_some(()).ok_or_else(refusal)
}

/// Options the emulator would otherwise drop without a word are refused with those out of range.
fn check_options(options: &VariantOptions) -> Result<(), Refusal> {
    if let Some(name) = options.other.keys().next() {
        return Err(Refusal::bad_request(format!("unknown variant option `{name}`")).at(&["options", name]));
    }
    if let Named::Unknown(fit) = &options.fit {
        let all = "Use 'cover', 'contain', 'crop', 'pad' or 'scale-down'";
        let message = format!("'{fit}' is not a supported fit mode. {all}");
        return Err(Refusal::bad_request(message).at(&["options", "fit"]));
    }
    if let Named::Unknown(metadata) = &options.metadata {
        let all = "Use 'keep', 'copyright' or 'none'";
        let message = format!("'{metadata}' is not a supported metadata mode. {all}");
        return Err(Refusal::bad_request(message).at(&["options", "metadata"]));
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
            return Err(Refusal::bad_request(message).at(&["options", name]));
        }
    }
    Ok(())
}
