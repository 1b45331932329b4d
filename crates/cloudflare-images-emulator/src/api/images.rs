//! Images: create, get, edit, delete, bytes.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio_util::io::ReaderStream;

use super::particulars::{self, Particulars, make_way};
use crate::answer::{Nothing, Refusal};
use crate::form;
use crate::store::{self, image, variant};
use crate::{Emulator, fetch, id, ingest, now};
use cloudflare_images::wire;

/// `POST v1`: stores the file, or the bytes behind `url`.
pub(super) async fn create(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<wire::Image, Refusal> {
    let mut form = form::multipart(emulator, headers, body).await?;
    let asked = Particulars::from_form(&form)?;
    if let Some(id) = &asked.id {
        make_way(emulator, id).await?;
    }
    let spooled = match (form.file.take(), form.text("url")) {
        (Some(file), None) => file,
        (None, Some(url)) => fetch::fetch(emulator, url).await?,
        (Some(_), Some(_)) => {
            return Err(Refusal::bad_request("file and url exclude each other").at(&["url"]));
        }
        (None, None) => return Err(Refusal::no_file(true, &form.strays)),
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
        ..asked.into_draft(None)?
    };
    match store::insert(&emulator.0.store.db, row.clone()).await {
        Ok(true) => to_wire(emulator, row).await,
        refused => {
            emulator.0.store.files.remove(&stored.blob);
            refused?;
            Err(Refusal::exists())
        }
    }
}

/// `GET v1/{id}`: image or draft.
pub(super) async fn get(emulator: &Emulator, id: &str) -> Result<wire::Image, Refusal> {
    to_wire(emulator, find(emulator, id).await?).await
}

/// `PATCH v1/{id}`, JSON or form. A change of access changes a generated id; the old one is gone at once.
pub(super) async fn edit(
    emulator: &Emulator,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<wire::Image, Refusal> {
    let edit = particulars::read_edit(emulator, headers, body).await?;
    let _changing = emulator.0.store.changing.lock().await;
    let old = find(emulator, id).await?;
    let mut change = image::ActiveModel { ..Default::default() };
    if let Some(metadata) = &edit.metadata {
        change.meta = Set(Some(particulars::json_text(metadata)?));
    }
    if let Some(creator) = edit.creator {
        particulars::check_creator(&creator)?;
        change.creator = Set(Some(creator).filter(|creator| !creator.is_empty()));
    }
    let mut new_id = old.id.clone();
    if let Some(private) = edit.require_signed_urls.filter(|private| *private != old.require_signed_urls) {
        new_id = id::after_access_change(&old.id, private).ok_or_else(particulars::custom_id_is_public)?;
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

/// `DELETE v1/{id}`: image or draft, with its bytes.
pub(super) async fn delete(emulator: &Emulator, id: &str) -> Result<Nothing, Refusal> {
    let row = find(emulator, id).await?;
    let deleted = image::Entity::delete_by_id(id).exec(&emulator.0.store.db).await?;
    if deleted.rows_affected == 0 {
        return Err(Refusal::image_not_found());
    }
    // The row went first, so that a row always has its file.
    if let Some(blob) = &row.blob {
        emulator.0.store.files.remove(blob);
    }
    Ok(Nothing {})
}

/// `GET v1/{id}/blob`: the bytes as uploaded; 5404 on drafts.
pub(super) async fn blob(emulator: &Emulator, id: &str) -> Result<Response, Refusal> {
    let row = find(emulator, id).await?;
    let (Some(blob), Some(format)) = (&row.blob, row.format) else { return Err(Refusal::image_not_found()) };
    let file = match tokio::fs::File::open(emulator.0.store.files.path(blob)).await {
        Ok(file) => file,
        // Deleted since the row was read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Refusal::image_not_found()),
        Err(error) => return Err(error.into()),
    };
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(row.size));
    Ok(response)
}

/// An image or draft that has not expired; 5404 otherwise.
pub(super) async fn find(emulator: &Emulator, id: &str) -> Result<image::Model, Refusal> {
    let row = image::Entity::find_by_id(id).one(&emulator.0.store.db).await?;
    row.filter(|row| !row.expired(now().timestamp_millis())).ok_or_else(Refusal::image_not_found)
}

/// The image as answers show it, with a URL for each variant of the account.
pub(crate) async fn to_wire(emulator: &Emulator, row: image::Model) -> Result<wire::Image, Refusal> {
    let variants = variant_ids(emulator).await?;
    show(emulator, row, &variants)
}

/// Ids of all variants, in the order answers list them.
pub(super) async fn variant_ids(emulator: &Emulator) -> Result<Vec<String>, Refusal> {
    let ids = variant::Entity::find()
        .select_only()
        .column(variant::Column::Id)
        .order_by_asc(variant::Column::Id)
        .into_tuple();
    Ok(ids.all(&emulator.0.store.db).await?)
}

/// [`to_wire`] with the variants at hand.
pub(super) fn show(
    emulator: &Emulator,
    row: image::Model,
    variants: &[String],
) -> Result<wire::Image, Refusal> {
    let meta = row.meta.as_deref().map(serde_json::from_str).transpose().map_err(Refusal::internal)?;
    let base = &emulator.0.public_url;
    let hash = &emulator.credentials().account_hash;
    let path = id::in_url(&row.id);
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
