//! What a user may say about a file: tags and metadata, checked before they are stored.

use serde_json::{Map, Value};

use crate::entity::Texts;
use crate::error::{Code, Error, Result};

/// Most tags of a file.
pub const MAX_TAGS: usize = 50;
/// Longest tag, in characters.
pub const MAX_TAG: usize = 100;
/// Largest metadata of a file, in bytes of JSON.
pub const MAX_METADATA: usize = 16 * 1024;

/// Tags as they are kept: without white space around them, each once, in the order given.
///
/// # Errors
/// `BAD_USER_INPUT` at `tags`.
pub fn check_tags(tags: Vec<String>) -> Result<Texts> {
    let mut kept: Vec<String> = Vec::new();
    for tag in tags {
        let tag = tag.trim();
        if !(1..=MAX_TAG).contains(&tag.chars().count()) || tag.chars().any(char::is_control) {
            let message = format!("A tag has 1 to {MAX_TAG} characters and no control character.");
            return Err(Error::invalid("tags", message));
        }
        if !kept.iter().any(|known| known == tag) {
            kept.push(tag.to_owned());
        }
    }
    if kept.len() > MAX_TAGS {
        return Err(Error::invalid("tags", format!("A file has at most {MAX_TAGS} tags.")));
    }
    Ok(Texts(kept))
}

/// Checks the metadata of a file.
///
/// # Errors
/// `METADATA_TOO_LARGE` above 16 KiB, `BAD_USER_INPUT` for a NUL character; at `metadata`.
pub fn check_metadata(metadata: &Map<String, Value>) -> Result<()> {
    let text = serde_json::to_string(metadata).unwrap_or_default();
    if text.len() > MAX_METADATA {
        let message = format!("Metadata has at most {MAX_METADATA} bytes of JSON; this has {}.", text.len());
        return Err(Error::refuse(Code::MetadataTooLarge, message).at("metadata"));
    }
    // PostgreSQL's JSON cannot hold it.
    if text.contains("\\u0000") {
        return Err(Error::invalid("metadata", "Metadata has no NUL characters."));
    }
    Ok(())
}
