//! Validation of the settings of an image, before the image is created or changed.

use serde_json::{Map, Value};

use crate::entity::image::{FocalPoint, NewImage};
use crate::error::{Code, Error, Result};
use crate::normalization;
use cloudflare_images::wire::MAX_METADATA_BYTES;

/// Maximum length of an alternative text, in characters.
pub const MAX_ALT: usize = 2000;
/// Cloudflare's maximum length of `creator` and of a custom id, in characters.
const MAX_CLOUDFLARE_TEXT: usize = 1024;
/// Field of Cloudflare's metadata with the id of the image row, by which images of this server are recognized.
pub const METADATA_FIELD: &str = "imagegraph";
/// Bytes of metadata that the server adds: the name of its field, the id, and the JSON syntax around them.
const OWN_METADATA_BYTES: usize = METADATA_FIELD.len() + 30 + 6;

/// Checks the settings of a new image; `signed` is whether it will require signed URLs.
///
/// # Errors
/// `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, each at its field below `image`.
pub fn check(new: &NewImage, signed: bool) -> Result<()> {
    check_fields(new, signed).map_err(|e| e.under("image"))
}

fn check_fields(new: &NewImage, signed: bool) -> Result<()> {
    check_alt(new.alt.as_deref())?;
    new.focal_point.map_or(Ok(()), FocalPoint::check)?;
    check_creator(new.creator.as_deref())?;
    check_metadata(new.cf_metadata.as_ref())?;
    let Some(id) = &new.custom_id else { return Ok(()) };
    if signed {
        let message =
            "An image that requires signed URLs cannot have a custom id. Remove one of the two settings.";
        return Err(Error::refuse(Code::CustomIdNotAllowed, message).at("cfImageId"));
    }
    let uuid = uuid::Uuid::try_parse(id).is_ok();
    let relative = id.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if id.chars().count() > MAX_CLOUDFLARE_TEXT || uuid || relative || id.chars().any(char::is_control) {
        let message = format!(
            "A custom id has 1 to {MAX_CLOUDFLARE_TEXT} characters and no control characters. It is not a UUID, and its \
             parts between slashes are not empty, `.` or `..`."
        );
        return Err(Error::invalid("cfImageId", message));
    }
    Ok(())
}

/// Checks an alternative text.
///
/// # Errors
/// `BAD_USER_INPUT` at `alt`.
pub fn check_alt(alt: Option<&str>) -> Result<()> {
    let fits = |text: &str| normalization::nfc_length(text) <= MAX_ALT && !text.contains('\0');
    if alt.is_none_or(fits) {
        return Ok(());
    }
    Err(Error::invalid("alt", format!("An alternative text has at most {MAX_ALT} characters.")))
}

/// Checks Cloudflare's `creator`.
///
/// # Errors
/// `BAD_USER_INPUT` at `creator`.
pub fn check_creator(creator: Option<&str>) -> Result<()> {
    let fits = |text: &str| {
        (1..=MAX_CLOUDFLARE_TEXT).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    if creator.is_none_or(fits) {
        return Ok(());
    }
    let message = format!("`creator` has 1 to {MAX_CLOUDFLARE_TEXT} characters and no control characters.");
    Err(Error::invalid("creator", message))
}

/// Checks the user's metadata for Cloudflare Images.
///
/// # Errors
/// `METADATA_TOO_LARGE`, or `BAD_USER_INPUT` for the server's own field and for NUL characters, at `cfMetadata`.
pub fn check_metadata(metadata: Option<&Map<String, Value>>) -> Result<()> {
    let Some(metadata) = metadata else { return Ok(()) };
    if metadata.contains_key(METADATA_FIELD) {
        let message =
            format!("The field `{METADATA_FIELD}` is reserved for the server; choose another name.");
        return Err(Error::invalid("cfMetadata", message));
    }
    check_json(metadata, MAX_METADATA_BYTES - OWN_METADATA_BYTES).map_err(|e| e.at("cfMetadata"))
}

/// Whether a text or a key of a JSON value has a NUL character.
fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || contains_nul(value)),
        _ => false,
    }
}

/// Checks the size of a metadata object in bytes of JSON, and that PostgreSQL can store it.
///
/// # Errors
/// `METADATA_TOO_LARGE`, or `BAD_USER_INPUT` for NUL characters; both without a field.
pub fn check_json(metadata: &Map<String, Value>, max_bytes: usize) -> Result<()> {
    let json = serde_json::to_string(metadata).unwrap_or_default();
    if metadata.iter().any(|(key, value)| key.contains('\0') || contains_nul(value)) {
        return Err(Error::refuse(Code::InvalidInput, "Metadata must not contain NUL characters."));
    }
    if json.len() > max_bytes {
        let message = format!("Metadata may have {max_bytes} bytes of JSON; this has {}.", json.len());
        return Err(Error::refuse(Code::MetadataTooLarge, message));
    }
    Ok(())
}
