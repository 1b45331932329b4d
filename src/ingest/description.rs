//! Validation of what a user states about a file: tags, metadata, and the expected SHA-256.

use serde_json::{Map, Value};

use crate::entity::StringList;
use crate::error::{Error, Result};
use crate::normalization::{self, to_nfc};
use crate::provision::settings;

/// Maximum number of tags of a file.
pub const MAX_TAGS: usize = 50;
/// Maximum length of a tag, in characters.
pub const MAX_TAG: usize = 100;
/// Maximum size of a file's metadata, in bytes of JSON.
pub const MAX_METADATA: usize = 16 * 1024;
/// Maximum nesting of metadata, in levels. JSON that is read from the database may have at most 127.
const MAX_METADATA_DEPTH: usize = 64;

/// Tags as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// In NFC.
    pub stored: StringList,
    /// As they were sent, if one of them differs from its composed form.
    pub sent: Option<StringList>,
}

/// Removes white space around tags, and tags that are canonically equivalent to an earlier one.
///
/// # Errors
/// `BAD_USER_INPUT` at `tags`.
pub fn check_tags(tags: &[String]) -> Result<Tags> {
    let (mut kept, mut sent): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for tag in tags.iter().map(|tag| tag.trim()) {
        if !(1..=MAX_TAG).contains(&normalization::nfc_length(tag)) || tag.chars().any(char::is_control) {
            let message = format!("A tag has 1 to {MAX_TAG} characters and no control characters.");
            return Err(Error::invalid("tags", message));
        }
        let stored = to_nfc(tag);
        if kept.iter().any(|known| *known == stored) {
            continue;
        }
        if kept.len() == MAX_TAGS {
            return Err(Error::invalid("tags", format!("A file has at most {MAX_TAGS} tags.")));
        }
        kept.push(stored.into_owned());
        sent.push(tag.to_owned());
    }
    let sent = (sent != kept).then_some(StringList(sent));
    Ok(Tags { stored: StringList(kept), sent })
}

/// Checks the user's metadata of a file.
///
/// # Errors
/// `METADATA_TOO_LARGE`, or `BAD_USER_INPUT` for what the database cannot store, at `metadata`.
pub fn check_metadata(metadata: &Map<String, Value>) -> Result<()> {
    if !metadata.values().all(|value| is_nested_within(value, MAX_METADATA_DEPTH)) {
        let message = format!("Metadata may be nested at most {MAX_METADATA_DEPTH} levels deep.");
        return Err(Error::invalid("metadata", message));
    }
    settings::check_json(metadata, MAX_METADATA).map_err(|e| e.at("metadata"))
}

/// The bytes of a SHA-256 in its usual spelling.
///
/// # Errors
/// `BAD_USER_INPUT` at `sha256`.
pub fn check_sha256(text: &str) -> Result<[u8; 32]> {
    let wrong = || Error::invalid("sha256", "A SHA-256 is written as 64 lower-case hexadecimal digits.");
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong());
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| wrong())?;
    Ok(hash)
}

/// Whether a value is nested at most `depth` levels deep.
fn is_nested_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 1 && items.iter().all(|item| is_nested_within(item, depth - 1)),
        Value::Object(fields) => depth > 1 && fields.values().all(|field| is_nested_within(field, depth - 1)),
        _ => true,
    }
}
