//! The upload host: accepts the file of a draft once, from everybody who has its URL.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use sea_orm::ActiveValue::Set;
use sea_orm::{EntityTrait, QueryFilter};

use super::error::ApiError;
use super::response::success;
use super::store::image;
use super::{Emulator, api, cors, form, ingest, now};
use cloudflare_images::wire;

/// Answers `POST /upload/{hash}/{id}` and its preflight request, for scripts of any origin.
pub(super) async fn respond(emulator: &Emulator, hash: &str, id: &str, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return cors::preflight(request.headers(), "POST, OPTIONS");
    }
    let response = match receive(emulator, hash, id, request).await {
        Ok(image) => success(image),
        Err(error) => error.into_response(),
    };
    cors::allow(response)
}

async fn receive(
    emulator: &Emulator,
    hash: &str,
    id: &str,
    request: Request,
) -> Result<wire::Image, ApiError> {
    if hash != emulator.credentials().account_hash {
        return Err(ApiError::wrong_account());
    }
    check_accepts_upload(emulator, id).await?;
    let (parts, body) = request.into_parts();
    let form = form::multipart(emulator, &parts.headers, body).await?;
    // Other fields are ignored: the properties of the image are those of the draft.
    let spooled = form.file.ok_or_else(|| ApiError::missing_file(false, &form.ignored_parts))?;
    let stored = ingest::store(emulator, spooled).await?;
    let blob = stored.blob.clone();
    match complete(emulator, id, stored).await {
        Ok(row) => api::to_wire(emulator, row).await,
        Err(error) => {
            emulator.0.store.files.remove(&blob);
            Err(error)
        }
    }
}

/// An error if the draft has its file already or has expired. A failed upload does not change the draft, so it can be
/// repeated until then.
async fn check_accepts_upload(emulator: &Emulator, id: &str) -> Result<(), ApiError> {
    let row = image::Entity::find_by_id(id).one(&emulator.0.store.db).await?;
    match row.ok_or_else(ApiError::image_not_found)? {
        row if row.blob.is_some() => Err(ApiError::already_exists()),
        row if row.expired(now().timestamp_millis()) => {
            Err(ApiError::new(StatusCode::FORBIDDEN, 5403, "The upload URL has expired"))
        }
        _ => Ok(()),
    }
}

/// Turns the draft into an image. Of two concurrent uploads one succeeds, and the other gets 5409.
async fn complete(
    emulator: &Emulator,
    id: &str,
    stored: ingest::StoredFile,
) -> Result<image::Model, ApiError> {
    let db = &emulator.0.store.db;
    let image = image::ActiveModel {
        filename: Set(Some(stored.filename)),
        uploaded_ms: Set(now().timestamp_millis()),
        expires_ms: Set(None),
        blob: Set(Some(stored.blob)),
        format: Set(Some(stored.probe.format)),
        size: Set(stored.probe.size.cast_signed()),
        width: Set(stored.probe.width),
        height: Set(stored.probe.height),
        frames: Set(stored.probe.frames),
        ..Default::default()
    };
    let draft = image::Entity::update_many().set(image).filter(image::COLUMN.id.eq(id));
    let updated = draft.filter(image::COLUMN.blob.is_null()).exec(db).await?;
    let row = image::Entity::find_by_id(id).one(db).await?.ok_or_else(ApiError::image_not_found)?;
    if updated.rows_affected == 0 { Err(ApiError::already_exists()) } else { Ok(row) }
}
