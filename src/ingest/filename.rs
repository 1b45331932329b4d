//! File names: those that a caller chooses are checked, those that come with the bytes are cleaned.

use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Error, Result};
use crate::normalization::{self, to_nfc};

/// Maximum length of a file name, in characters.
const MAX_FILENAME: usize = 255;
/// Maximum length of an extension that is kept when a name is shortened, in characters without the dot.
const MAX_EXTENSION: usize = 20;

/// Checks a name that the caller chose.
///
/// # Errors
/// `BAD_USER_INPUT` at `filename` for a name that is empty, too long, `.` or `..`, or has slashes, control characters, line
/// separators or bidirectional formatting characters.
pub fn checked_filename(name: &str) -> Result<String> {
    let length = normalization::nfc_length(name);
    if matches!(name.trim(), "" | "." | "..")
        || length > MAX_FILENAME
        || name.contains(['/', '\\'])
        || name.chars().any(|c| c.is_control() || reorders_text(c))
    {
        let message = format!(
            "A file name has 1 to {MAX_FILENAME} characters and no slashes, control characters, line separators or \
             bidirectional formatting characters. It is not `.` or `..`."
        );
        return Err(Error::invalid("filename", message));
    }
    Ok(name.to_owned())
}

/// Cleans a name that came with the bytes: its last path component, without control and invisible characters, so that no
/// other text looks like the extension. A long name is shortened before its extension. An empty name becomes `upload`.
pub fn cleaned_filename(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    match clean.trim() {
        "" | "." | ".." => "upload".to_owned(),
        name => shortened(name),
    }
}

/// Line separators and bidirectional formatting characters, with which `gpj.exe` can be shown as `exe.jpg`.
fn reorders_text(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that are not visible and have no effect on the characters next to them, such as the zero width space. The
/// zero width joiners are not among them.
fn is_invisible(c: char) -> bool {
    reorders_text(c)
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Shortens a name to its maximum length, without splitting a grapheme.
fn shortened(name: &str) -> String {
    if normalization::nfc_length(name) <= MAX_FILENAME {
        return name.to_owned();
    }
    // Canonically equivalent names are shortened to equivalent names.
    let name = &*to_nfc(name);
    let length = |text: &str| text.chars().count();
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && length(extension) <= MAX_EXTENSION => {
            name.split_at(stem.len())
        }
        _ => (name, ""),
    };
    let (mut left, mut short) = (MAX_FILENAME - length(extension), String::new());
    for grapheme in stem.graphemes(true) {
        match left.checked_sub(length(grapheme)) {
            Some(rest) => left = rest,
            None => break,
        }
        short.push_str(grapheme);
    }
    if short.is_empty() {
        // A single grapheme with more combining characters than a name may have.
        short = stem.chars().take(left).collect();
    }
    short.truncate(short.trim_end().len());
    short + extension
}
