//! Names of files: as a caller chooses them, and as they come with the bytes.

use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Error, Result};
use crate::normalization::{self, to_nfc};

/// Longest file name, in characters.
const MAX_FILENAME: usize = 255;
/// Longest extension that a shortened name keeps, in characters without the dot.
const MAX_EXTENSION: usize = 20;

/// A name as the caller asked for it.
///
/// # Errors
/// `BAD_USER_INPUT` for names that are empty, too long, or have slashes, control characters or those that turn text around.
pub fn checked_filename(name: &str) -> Result<String> {
    let length = normalization::nfc_length(name);
    if matches!(name.trim(), "" | "." | "..")
        || length > MAX_FILENAME
        || name.contains(['/', '\\'])
        || name.chars().any(|c| c.is_control() || reorders_text(c))
    {
        let message = format!(
            "A file name has 1 to {MAX_FILENAME} characters, no slash, no control character and none that turns text around, and is not `.` or `..`."
        );
        return Err(Error::invalid("filename", message));
    }
    Ok(name.to_owned())
}

/// A name as a client sent it along, made presentable: its last path component without control characters, and without
/// those that turn the text around, so that nothing looks like an ending that is none. A long one loses the end of its
/// stem, and keeps its ending.
pub fn cleaned_filename(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    match clean.trim() {
        "" | "." | ".." => "upload".to_owned(),
        name => shortened(name),
    }
}

/// Breaks of lines, and marks of direction that reach beyond their place: `gpj.exe` shown as `exe.jpg`.
fn reorders_text(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is not seen and joins nothing.
fn is_invisible(c: char) -> bool {
    reorders_text(c)
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// At most so many characters, none of them torn from what it belongs to.
fn shortened(name: &str) -> String {
    if normalization::nfc_length(name) <= MAX_FILENAME {
        return name.to_owned();
    }
    // Equivalent names are cut alike.
    let name = &*to_nfc(name);
    let length = |text: &str| text.chars().count();
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && length(ending) <= MAX_EXTENSION => {
            name.split_at(stem.len())
        }
        _ => (name, ""),
    };
    let (mut left, mut short) = (MAX_FILENAME - length(ending), String::new());
    for grapheme in stem.graphemes(true) {
        match left.checked_sub(length(grapheme)) {
            Some(rest) => left = rest,
            None => break,
        }
        short.push_str(grapheme);
    }
    if short.is_empty() {
        // One letter with more accents than a name has characters.
        short = stem.chars().take(left).collect();
    }
    short.truncate(short.trim_end().len());
    short + ending
}
