//! What callers say about an image, before it is made and when it is edited.

use axum::body::Body;
use axum::http::HeaderMap;
use sea_orm::{EntityTrait, QueryFilter};
use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::form::{self, Form};
use crate::store::image;
use crate::{Emulator, id, metadata, now};
use cloudflare_images::wire;

/// What a caller may say about an image to come.
#[derive(Debug, Default)]
pub(super) struct Particulars {
    /// Custom id, already checked.
    pub(super) id: Option<String>,
    pub(super) metadata: Option<Map<String, Value>>,
    pub(super) creator: Option<String>,
    pub(super) require_signed_urls: bool,
}

impl Particulars {
    /// Reads the fields `POST v1` and direct uploads share.
    pub(super) fn from_form(form: &Form) -> Result<Self, Refusal> {
        Particulars {
            id: form.text("id").map(str::to_owned),
            metadata: metadata::from_form(form)?,
            creator: form.text("creator").map(str::to_owned),
            require_signed_urls: flag(form, "requireSignedURLs")?.unwrap_or(false),
        }
        .checked()
    }

    /// Applies the rules that concern more than one field's syntax.
    pub(super) fn checked(mut self) -> Result<Self, Refusal> {
        if let Some(id) = &self.id {
            id::check_custom(id)?;
            if self.require_signed_urls {
                return Err(custom_id_is_public());
            }
        }
        if let Some(metadata) = &self.metadata {
            metadata::check_size(metadata)?;
        }
        self.creator = self.creator.filter(|creator| !creator.is_empty());
        if let Some(creator) = &self.creator {
            check_creator(creator)?;
        }
        Ok(self)
    }

    /// A row without bytes, made now.
    pub(super) fn into_draft(self, expires_ms: Option<i64>) -> Result<image::Model, Refusal> {
        Ok(image::Model {
            id: self.id.unwrap_or_else(|| id::generate(self.require_signed_urls)),
            filename: None,
            meta: self.metadata.as_ref().map(json_text).transpose()?,
            uploaded_ms: now().timestamp_millis(),
            require_signed_urls: self.require_signed_urls,
            creator: self.creator,
            expires_ms,
            blob: None,
            format: None,
            size: 0,
            width: 0,
            height: 0,
            frames: 0,
        })
    }
}

/// Refuses a custom id that is taken; an expired draft does not take it.
pub(super) async fn make_way(emulator: &Emulator, id: &str) -> Result<(), Refusal> {
    let db = &emulator.0.store.db;
    match image::Entity::find_by_id(id).one(db).await? {
        None => Ok(()),
        Some(row) if row.expired(now().timestamp_millis()) => {
            let draft = image::Entity::delete_by_id(id).filter(image::COLUMN.blob.is_null());
            draft.exec(db).await?;
            Ok(())
        }
        Some(_) => Err(Refusal::exists()),
    }
}

/// Reads the body of `PATCH v1/{id}`, JSON or form.
pub(super) async fn read_edit(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<wire::ImageEdit, Refusal> {
    let edit = if form::is_multipart(headers) {
        let form = form::multipart(emulator, headers, body).await?;
        wire::ImageEdit {
            metadata: metadata::from_form(&form)?,
            require_signed_urls: flag(&form, "requireSignedURLs")?,
            creator: form.text("creator").map(str::to_owned),
        }
    } else {
        form::json::<wire::ImageEdit>(body).await?
    };
    if let Some(metadata) = &edit.metadata {
        metadata::check_size(metadata)?;
    }
    Ok(edit)
}

/// 5400 for a creator of more than 1,024 characters.
pub(super) fn check_creator(creator: &str) -> Result<(), Refusal> {
    match creator.chars().count() {
        ..=1024 => Ok(()),
        _ => Err(Refusal::bad_request("creator must not exceed 1024 characters").at(&["creator"])),
    }
}

/// The object as it is stored.
pub(super) fn json_text(object: &Map<String, Value>) -> Result<String, Refusal> {
    serde_json::to_string(object).map_err(Refusal::internal)
}

/// Refuses to make an image with a custom id private.
pub(super) fn custom_id_is_public() -> Refusal {
    Refusal::bad_request(
        "The image contains a custom ID and cannot be set to private. To make the image private, delete and \
         upload the image again using a regular ID.",
    )
    .at(&["requireSignedURLs"])
}

fn flag(form: &Form, name: &str) -> Result<Option<bool>, Refusal> {
    match form.text(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => {
            Err(Refusal::bad_request(format!("Error parsing form fields: {name} must be true or false"))
                .at(&[name]))
        }
    }
}
