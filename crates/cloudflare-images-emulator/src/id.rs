//! Ids of images: generated ids, whose last byte tells public from private images, and the rules of custom ids.

use axum::http::StatusCode;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use uuid::Uuid;

use super::error::ApiError;

/// A new id. Its last byte is 0 for a public image and 1 for a private one, as observed at Cloudflare.
pub(super) fn generate(private: bool) -> String {
    with_access(Uuid::new_v4(), private)
}

/// The id of an image after its access has changed; `None` for a custom id, which cannot be private.
pub(super) fn after_access_change(id: &str, private: bool) -> Option<String> {
    Uuid::try_parse(id).ok().map(|id| with_access(id, private))
}

/// Checks a custom id against Cloudflare's rules; 5411 with the reason.
pub(super) fn check_custom(id: &str) -> Result<(), ApiError> {
    let reason = if id.is_empty() {
        "Must not be empty"
    } else if id.chars().count() > MAX_CHARS {
        "Must not be longer than 1024 characters"
    } else if id.starts_with('/') || id.ends_with('/') {
        "Must not start or end with a slash"
    } else if is_uuid(id) {
        "Must not be UUID"
    } else if id.split('/').any(|part| part == "." || part == "..") {
        // HTTP clients resolve such segments before they send a request, so the image could not be reached.
        "Must not contain relative path segments"
    } else if is_reserved_path(id) {
        "Must not be the path of another endpoint"
    } else if id.chars().any(char::is_control) {
        "Must not contain control characters"
    } else if extension(id).is_some_and(|found| !IMAGE_EXTENSIONS.contains(&found.as_str())) {
        "Must not use a non-image file name extension"
    } else {
        return Ok(());
    };
    let message = format!(
        "The Custom ID is invalid. Custom IDs can include 1024 characters or less, any number of subpaths, and \
         support the UTF-8 encoding standard for characters. Enter a new Custom ID and try again: {reason}"
    );
    Err(ApiError::new(StatusCode::BAD_REQUEST, 5411, message).with_pointer(&["id"]))
}

/// The id percent-encoded for a URL. Slashes stay.
pub(super) fn percent_encoded(id: &str) -> String {
    utf8_percent_encode(id, IN_PATH).to_string()
}

const MAX_CHARS: usize = 1024;

const IMAGE_EXTENSIONS: [&str; 15] = [
    "avif", "bmp", "gif", "heic", "heif", "ico", "jfif", "jpe", "jpeg", "jpg", "jxl", "png", "svg", "tiff",
    "webp",
];

const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

fn with_access(id: Uuid, private: bool) -> String {
    let mut bytes = id.into_bytes();
    bytes[15] = u8::from(private);
    Uuid::from_bytes(bytes).to_string()
}

/// Only the form 8-4-4-4-12, in either case, counts as a UUID.
fn is_uuid(id: &str) -> bool {
    id.len() == 36 && Uuid::try_parse(id).is_ok()
}

/// Whether another endpoint has this path, so that the image could be created but not read or deleted.
fn is_reserved_path(id: &str) -> bool {
    match id.split('/').collect::<Vec<_>>()[..] {
        [name] => ["batch_token", "config", "direct_upload", "keys", "stats", "variants"].contains(&name),
        [name, _] => ["keys", "variants"].contains(&name),
        _ => false,
    }
}

/// A file name extension: up to five letters and digits, at least one of them a letter.
fn extension(id: &str) -> Option<String> {
    let name = id.rsplit('/').next()?;
    let (_, extension) = name.rsplit_once('.')?;
    let looks_like_one = (1..=5).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && extension.bytes().any(|byte| byte.is_ascii_alphabetic());
    looks_like_one.then(|| extension.to_ascii_lowercase())
}
