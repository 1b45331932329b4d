//! Signing keys. Every call returns all keys.

use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};

use crate::error::ApiError;
use crate::store::signing_key;
use crate::{Emulator, now};
use cloudflare_images::wire::{Key, KeyList};

/// `GET v1/keys`.
pub(super) async fn list(emulator: &Emulator) -> Result<KeyList, ApiError> {
    let keys = signing_key::all(&emulator.0.store.db).await?;
    Ok(KeyList { keys: keys.into_iter().map(|key| Key { name: key.name, value: key.value.0 }).collect() })
}

/// `PUT v1/keys/{name}`: creates a key, or gives an existing key a new secret; 5453 for a third key.
pub(super) async fn put(emulator: &Emulator, name: &str) -> Result<KeyList, ApiError> {
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(ApiError::bad_request("a signing key's name must be alphanumeric"));
    }
    let db = &emulator.0.store.db;
    let write_lock = emulator.0.store.write_lock.lock().await;
    let keys = signing_key::all(db).await?;
    let new = signing_key::new(name, now());
    if let Some(old) = keys.iter().find(|key| key.name == name) {
        let rotated = signing_key::Model { created_ms: old.created_ms, ..new };
        rotated.into_active_model().reset_all().update(db).await?;
    } else if keys.len() >= MAX_KEYS {
        return Err(ApiError::service_limit("2 signing keys"));
    } else {
        new.into_active_model().insert(db).await?;
    }
    drop(write_lock);
    list(emulator).await
}

/// `DELETE v1/keys/{name}`: the last key is replaced by a new one named `default`.
pub(super) async fn delete(emulator: &Emulator, name: &str) -> Result<KeyList, ApiError> {
    let db = &emulator.0.store.db;
    let write_lock = emulator.0.store.write_lock.lock().await;
    if signing_key::Entity::delete_by_id(name).exec(db).await?.rows_affected == 0 {
        return Err(ApiError::new(axum::http::StatusCode::NOT_FOUND, 5404, "Signing key not found"));
    }
    signing_key::ensure_one(db, now()).await?;
    drop(write_lock);
    list(emulator).await
}

/// Cloudflare's limit: one key in use, and one to rotate to.
const MAX_KEYS: usize = 2;
