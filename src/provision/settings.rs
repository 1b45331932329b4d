//! What a user may set of an image: checked before anything is made of it.

use serde_json::{Map, Value};

use crate::entity::image::{FocalPoint, NewImage};
use crate::error::{Code, Error, Result};
use crate::normalization;
use cloudflare_images::wire::MAX_METADATA_BYTES;

/// Longest alternative text, in characters.
pub const MAX_ALT: usize = 2000;
/// Longest `creator` and longest custom id, in characters, as Cloudflare has them.
const MAX_CLOUDFLARE_TEXT: usize = 1024;
/// Under this name our image id travels in Cloudflare's metadata, so that a stray can be told from a stranger.
pub const METADATA_FIELD: &str = "imagegraph";
/// Bytes of metadata that are ours: the field's name, the id, and what JSON puts around them.
const OUR_METADATA: usize = METADATA_FIELD.len() + 30 + 6;

/// Checks the settings of an image to be made; `signed` is the access it will have.
///
/// # Errors
/// `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, each with its field.
pub fn check(new: &NewImage, signed: bool) -> Result<()> {
    check_alt(new.alt.as_deref())?;
    new.focal_point.map_or(Ok(()), FocalPoint::check)?;
    check_creator(new.creator.as_deref())?;
    check_metadata(new.cf_metadata.as_ref())?;
    let Some(id) = &new.custom_id else { return Ok(()) };
    if signed {
        let message = "An image that requires signed URLs cannot have a custom id. Leave out one of the two.";
        return Err(Error::refuse(Code::CustomIdNotAllowed, message).at("cfImageId"));
    }
    let uuid = uuid::Uuid::try_parse(id).is_ok();
    let relative = id.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if id.chars().count() > MAX_CLOUDFLARE_TEXT || uuid || relative || id.chars().any(char::is_control) {
        let message = format!(
            "A custom id has 1 to {MAX_CLOUDFLARE_TEXT} characters in parts separated by single slashes, none of them \
             `.` or `..`, no control character, and is no UUID."
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
    let message = format!("`creator` has 1 to {MAX_CLOUDFLARE_TEXT} characters and no control character.");
    Err(Error::invalid("creator", message))
}

/// Checks what the user keeps with Cloudflare Images.
///
/// # Errors
/// `METADATA_TOO_LARGE`, or `BAD_USER_INPUT` for our own field, at `cfMetadata`.
pub fn check_metadata(metadata: Option<&Map<String, Value>>) -> Result<()> {
    let Some(metadata) = metadata else { return Ok(()) };
    if metadata.contains_key(METADATA_FIELD) {
        let message = format!("The field `{METADATA_FIELD}` is the server's own; choose another name.");
        return Err(Error::invalid("cfMetadata", message));
    }
    let text = serde_json::to_string(metadata).unwrap_or_default();
    // PostgreSQL's JSON cannot hold it.
    if text.contains("\\u0000") {
        return Err(Error::invalid("cfMetadata", "Metadata has no NUL characters."));
    }
    let most = MAX_METADATA_BYTES - OUR_METADATA;
    if text.len() > most {
        let message = format!("Metadata has at most {most} bytes of JSON here; this has {}.", text.len());
        return Err(Error::refuse(Code::MetadataTooLarge, message).at("cfMetadata"));
    }
    Ok(())
}
