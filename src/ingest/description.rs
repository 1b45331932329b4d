//! What a user says about a file: labels, an object of their own, the hash its bytes must have.

use serde_json::{Map, Value};

use crate::entity::StringList;
use crate::error::{Code, Error, Result};
use crate::spelling::{self, composed};

/// Most labels of a file.
pub const MAX_TAGS: usize = 50;
/// Longest label, in characters.
pub const MAX_TAG: usize = 100;
/// Most bytes of a file's metadata as JSON.
pub const MAX_METADATA: usize = 16 * 1024;
/// Deepest nesting of metadata; what is read back from the database may not be deeper than 127.
const MAX_METADATA_DEPTH: usize = 64;

/// Labels as they are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// In composed form.
    pub stored: StringList,
    /// The same as they were sent, if one of them has another spelling.
    pub sent: Option<StringList>,
}

/// The labels as they are kept: without blanks around them, and each once, whatever its spelling.
///
/// # Errors
/// `BAD_USER_INPUT` at `tags`.
pub fn check_tags(tags: &[String]) -> Result<Tags> {
    let (mut kept, mut sent): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for tag in tags.iter().map(|tag| tag.trim()) {
        if !(1..=MAX_TAG).contains(&spelling::length(tag)) || tag.chars().any(char::is_control) {
            let message = format!("A tag has 1 to {MAX_TAG} characters and no control character.");
            return Err(Error::invalid("tags", message));
        }
        let stored = composed(tag);
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

/// Checks the object a user keeps with a file.
///
/// # Errors
/// `METADATA_TOO_LARGE`, or `BAD_USER_INPUT` for what a database cannot hold, at `metadata`.
pub fn check_metadata(metadata: &Map<String, Value>) -> Result<()> {
    if !metadata.values().all(|value| fits(value, MAX_METADATA_DEPTH)) {
        let message = format!("Metadata is nested at most {MAX_METADATA_DEPTH} levels deep.");
        return Err(Error::invalid("metadata", message));
    }
    let text = serde_json::to_string(metadata).unwrap_or_default();
    // PostgreSQL's JSON cannot hold it.
    if text.contains("\\u0000") {
        return Err(Error::invalid("metadata", "Metadata has no NUL characters."));
    }
    if text.len() > MAX_METADATA {
        let message = format!("Metadata has at most {MAX_METADATA} bytes of JSON; this has {}.", text.len());
        return Err(Error::refuse(Code::MetadataTooLarge, message).at("metadata"));
    }
    Ok(())
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

fn fits(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 1 && items.iter().all(|item| fits(item, depth - 1)),
        Value::Object(fields) => depth > 1 && fields.values().all(|field| fits(field, depth - 1)),
        _ => true,
    }
}
