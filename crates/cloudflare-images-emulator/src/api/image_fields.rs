//! The fields of an image that callers set when they create or edit it.

use axum::body::Body;
use axum::http::HeaderMap;
use sea_orm::{EntityTrait, QueryFilter};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::form::{self, Form};
use crate::store::image;
use crate::{Emulator, id, metadata, now};
use cloudflare_images::wire;

/// The fields of a new image or draft.
#[derive(Debug, Default)]
pub(super) struct ImageFields {
    /// Custom id.
    pub(super) id: Option<String>,
    pub(super) metadata: Option<Map<String, Value>>,
    pub(super) creator: Option<String>,
    pub(super) require_signed_urls: bool,
}

impl ImageFields {
    /// Reads and validates the fields that `POST v1` and direct uploads have in common.
    pub(super) fn from_form(form: &Form) -> Result<Self, ApiError> {
        ImageFields {
            id: form.text("id").map(str::to_owned),
            metadata: metadata::from_form(form)?,
            creator: form.text("creator").map(str::to_owned),
            require_signed_urls: boolean(form, "requireSignedURLs")?.unwrap_or(false),
        }
        .validate()
    }

    /// Checks the values, and that a custom id is not combined with `requireSignedURLs`.
    pub(super) fn validate(mut self) -> Result<Self, ApiError> {
        if let Some(id) = &self.id {
            id::check_custom(id)?;
            if self.require_signed_urls {
                return Err(custom_id_must_be_public());
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

    /// A row without a file, created now.
    pub(super) fn into_draft(self, expires_ms: Option<i64>) -> Result<image::Model, ApiError> {
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

/// 5409 for a custom id that exists. An expired draft with this id is deleted.
pub(super) async fn ensure_id_is_free(emulator: &Emulator, id: &str) -> Result<(), ApiError> {
    let db = &emulator.0.store.db;
    match image::Entity::find_by_id(id).one(db).await? {
        None => Ok(()),
        Some(row) if row.expired(now().timestamp_millis()) => {
            let draft = image::Entity::delete_by_id(id).filter(image::COLUMN.blob.is_null());
            draft.exec(db).await?;
            Ok(())
        }
        Some(_) => Err(ApiError::already_exists()),
    }
}

/// Reads the body of `PATCH v1/{id}`: JSON or a form.
pub(super) async fn read_edit(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<wire::ImageEdit, ApiError> {
    let edit = if form::is_multipart(headers) {
        let form = form::multipart(emulator, headers, body).await?;
        wire::ImageEdit {
            metadata: metadata::from_form(&form)?,
            require_signed_urls: boolean(&form, "requireSignedURLs")?,
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
pub(super) fn check_creator(creator: &str) -> Result<(), ApiError> {
    match creator.chars().count() {
        ..=1024 => Ok(()),
        _ => Err(ApiError::bad_request("creator must not exceed 1024 characters").with_pointer(&["creator"])),
    }
}

/// The JSON text that is stored.
pub(super) fn json_text(object: &Map<String, Value>) -> Result<String, ApiError> {
    serde_json::to_string(object).map_err(ApiError::internal)
}

/// For an image with a custom id that should become private.
pub(super) fn custom_id_must_be_public() -> ApiError {
    ApiError::bad_request(
        "The image contains a custom ID and cannot be set to private. To make the image private, delete and \
         upload the image again using a regular ID.",
    )
    .with_pointer(&["requireSignedURLs"])
}

fn boolean(form: &Form, name: &str) -> Result<Option<bool>, ApiError> {
    match form.text(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => {
            Err(ApiError::bad_request(format!("Error parsing form fields: {name} must be true or false"))
                .with_pointer(&[name]))
        }
    }
}
