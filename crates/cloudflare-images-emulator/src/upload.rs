//! The upload host: takes the bytes of a draft once, from anyone who has its URL.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use sea_orm::ActiveValue::Set;
use sea_orm::{EntityTrait, QueryFilter};

use super::answer::{Refusal, success};
use super::store::image;
use super::{Emulator, api, cors, form, ingest, now};
use cloudflare_images::wire;

/// Answers `POST /upload/{hash}/{id}` and its preflight, for scripts of any origin.
pub(super) async fn answer(emulator: &Emulator, hash: &str, id: &str, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return cors::preflight(request.headers(), "POST, OPTIONS");
    }
    let answer = match receive(emulator, hash, id, request).await {
        Ok(image) => success(image),
        Err(refusal) => refusal.into_response(),
    };
    cors::opened(answer)
}

async fn receive(
    emulator: &Emulator,
    hash: &str,
    id: &str,
    request: Request,
) -> Result<wire::Image, Refusal> {
    if hash != emulator.credentials().account_hash {
        return Err(Refusal::wrong_account());
    }
    check_open(emulator, id).await?;
    let (parts, body) = request.into_parts();
    let form = form::multipart(emulator, &parts.headers, body).await?;
    // Only the bytes count: what is said about the image was said by whoever made the draft.
    let spooled = form.file.ok_or_else(|| Refusal::no_file(false, &form.strays))?;
    let stored = ingest::store(emulator, spooled).await?;
    let blob = stored.blob.clone();
    match complete(emulator, id, stored).await {
        Ok(row) => api::to_wire(emulator, row).await,
        Err(refusal) => {
            emulator.0.store.files.remove(&blob);
            Err(refusal)
        }
    }
}

/// A failed upload leaves the draft open, so that it can be tried again until it expires.
async fn check_open(emulator: &Emulator, id: &str) -> Result<(), Refusal> {
    let row = image::Entity::find_by_id(id).one(&emulator.0.store.db).await?;
    match row.ok_or_else(Refusal::image_not_found)? {
        row if row.blob.is_some() => Err(Refusal::exists()),
        row if row.expired(now().timestamp_millis()) => {
            Err(Refusal::new(StatusCode::FORBIDDEN, 5403, "The upload URL has expired"))
        }
        _ => Ok(()),
    }
}

/// Turns the draft into an image. Of two uploads at once, one finds no draft any more.
async fn complete(emulator: &Emulator, id: &str, stored: ingest::Stored) -> Result<image::Model, Refusal> {
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
    let row = image::Entity::find_by_id(id).one(db).await?.ok_or_else(Refusal::image_not_found)?;
    if updated.rows_affected == 0 { Err(Refusal::exists()) } else { Ok(row) }
}
