//! Images: create, get, edit, delete, download.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::image_fields::{self, ImageFields, ensure_id_is_free};
use crate::error::ApiError;
use crate::form;
use crate::response::Empty;
use crate::store::{self, image, variant};
use crate::{Emulator, fetch, id, ingest, now};
use cloudflare_images::wire;

/// `POST v1`: an image from the part `file`, or from the URL in `url`.
pub(super) async fn create(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<wire::Image, ApiError> {
    let mut form = form::multipart(emulator, headers, body).await?;
    let fields = ImageFields::from_form(&form)?;
    if let Some(id) = &fields.id {
        ensure_id_is_free(emulator, id).await?;
    }
    let spooled = match (form.file.take(), form.text("url")) {
        (Some(file), None) => file,
        (None, Some(url)) => fetch::fetch(emulator, url).await?,
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request("file and url exclude each other").with_pointer(&["url"]));
        }
        (None, None) => return Err(ApiError::missing_file(true, &form.ignored_parts)),
    };
    let stored = ingest::store(emulator, spooled).await?;
    let row = image::Model {
        filename: Some(stored.filename),
        blob: Some(stored.blob.clone()),
        format: Some(stored.probe.format),
        size: stored.probe.size.cast_signed(),
        width: stored.probe.width,
        height: stored.probe.height,
        frames: stored.probe.frames,
        ..fields.into_draft(None)?
    };
    match store::insert(&emulator.0.store.db, row.clone()).await {
        Ok(true) => to_wire(emulator, row).await,
        not_inserted => {
            emulator.0.store.files.remove(&stored.blob);
            not_inserted?;
            Err(ApiError::already_exists())
        }
    }
}

/// `GET v1/{id}`: an image or a draft.
pub(super) async fn get(emulator: &Emulator, id: &str) -> Result<wire::Image, ApiError> {
    to_wire(emulator, find(emulator, id).await?).await
}

/// `PATCH v1/{id}`: JSON or a form. If the access changes, a generated id changes too, and the old one is not found any
/// more.
pub(super) async fn edit(
    emulator: &Emulator,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<wire::Image, ApiError> {
    let edit = image_fields::read_edit(emulator, headers, body).await?;
    let _changing = emulator.0.store.write_lock.lock().await;
    let old = find(emulator, id).await?;
    let mut change = image::ActiveModel { ..Default::default() };
    if let Some(metadata) = &edit.metadata {
        change.meta = Set(Some(image_fields::json_text(metadata)?));
    }
    if let Some(creator) = edit.creator {
        image_fields::check_creator(&creator)?;
        change.creator = Set(Some(creator).filter(|creator| !creator.is_empty()));
    }
    let mut new_id = old.id.clone();
    if let Some(private) = edit.require_signed_urls.filter(|private| *private != old.require_signed_urls) {
        new_id =
            id::after_access_change(&old.id, private).ok_or_else(image_fields::custom_id_must_be_public)?;
        change.require_signed_urls = Set(private);
        change.id = Set(new_id.clone());
    }
    if change.is_changed() {
        image::Entity::update_many()
            .set(change)
            .filter(image::COLUMN.id.eq(old.id.as_str()))
            .exec(&emulator.0.store.db)
            .await?;
    }
    to_wire(emulator, find(emulator, &new_id).await?).await
}

/// `DELETE v1/{id}`: an image with its file, or a draft.
pub(super) async fn delete(emulator: &Emulator, id: &str) -> Result<Empty, ApiError> {
    let row = find(emulator, id).await?;
    let deleted = image::Entity::delete_by_id(id).exec(&emulator.0.store.db).await?;
    if deleted.rows_affected == 0 {
        return Err(ApiError::image_not_found());
    }
    // After the row, so that a row always has its file.
    if let Some(blob) = &row.blob {
        emulator.0.store.files.remove(blob);
    }
    Ok(Empty {})
}

/// `GET v1/{id}/blob`: the file as uploaded; 5404 for drafts.
pub(super) async fn blob(emulator: &Emulator, id: &str) -> Result<Response, ApiError> {
    let row = find(emulator, id).await?;
    let (Some(blob), Some(format)) = (&row.blob, row.format) else { return Err(ApiError::image_not_found()) };
    let body = emulator.0.store.files.body(blob).await?.ok_or_else(ApiError::image_not_found)?;
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(row.size));
    Ok(response)
}

/// An image, or a draft that has not expired; 5404 otherwise.
pub(super) async fn find(emulator: &Emulator, id: &str) -> Result<image::Model, ApiError> {
    let row = image::Entity::find_by_id(id).one(&emulator.0.store.db).await?;
    row.filter(|row| !row.expired(now().timestamp_millis())).ok_or_else(ApiError::image_not_found)
}

/// The image as the API returns it, with a URL for each variant of the account.
pub(crate) async fn to_wire(emulator: &Emulator, row: image::Model) -> Result<wire::Image, ApiError> {
    let variants = variant_ids(emulator).await?;
    to_wire_with_variants(emulator, row, &variants)
}

/// Ids of all variants, in the order of the URLs in responses.
pub(super) async fn variant_ids(emulator: &Emulator) -> Result<Vec<String>, ApiError> {
    let ids = variant::Entity::find()
        .select_only()
        .column(variant::Column::Id)
        .order_by_asc(variant::Column::Id)
        .into_tuple();
    Ok(ids.all(&emulator.0.store.db).await?)
}

/// [`to_wire`] for callers that have read the ids of the variants.
pub(super) fn to_wire_with_variants(
    emulator: &Emulator,
    row: image::Model,
    variants: &[String],
) -> Result<wire::Image, ApiError> {
    let meta = row.meta.as_deref().map(serde_json::from_str).transpose().map_err(ApiError::internal)?;
    let base = &emulator.0.public_url;
    let hash = &emulator.credentials().account_hash;
    let path = id::percent_encoded(&row.id);
    Ok(wire::Image {
        filename: row.filename,
        meta,
        uploaded: DateTime::from_timestamp_millis(row.uploaded_ms),
        require_signed_urls: row.require_signed_urls,
        variants: variants.iter().map(|name| format!("{base}/imagedelivery/{hash}/{path}/{name}")).collect(),
        draft: row.blob.is_none(),
        creator: row.creator,
        id: row.id,
    })
}
