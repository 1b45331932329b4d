//! Unicode normalization. Names, tags and searches are stored and compared in Normalization Form C (NFC), so that
//! canonically equivalent texts are equal; they are shown as they were sent. Compatibility characters, such as the ligature
//! ﬁ or fullwidth letters, stay different from the letters they resemble.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The NFC of a text. Canonically equivalent texts have the same one.
pub fn to_nfc(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(text.nfc().collect()),
    }
}

/// Number of characters of the NFC. Limits apply to it, so that equivalent texts are treated alike.
pub fn nfc_length(text: &str) -> usize {
    to_nfc(text).chars().count()
}

/// The text itself if it differs from its NFC; `None` if it does not. It is stored beside the NFC, to be shown.
pub fn original_unless_nfc(text: &str) -> Option<String> {
    (to_nfc(text) != text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_texts_are_equal_and_similar_ones_are_not() {
        for (one, other) in [
            ("r\u{e9}sum\u{e9}", "re\u{301}sume\u{301}"),
            ("\u{c5}", "\u{212b}"),
            ("\u{c5}", "A\u{30a}"),
            ("\u{d55c}\u{ae00}", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"),
            ("\u{1ec7}", "e\u{302}\u{323}"),
            ("\u{1ec7}", "\u{1eb9}\u{302}"),
            ("\u{958}", "\u{915}\u{93c}"),
            ("\u{3a9}", "\u{2126}"),
        ] {
            assert_eq!(to_nfc(one), to_nfc(other), "{one} {other}");
        }
        for (one, other) in [("\u{fb01}", "fi"), ("\u{ff21}", "A"), ("\u{b2}", "2"), ("e", "\u{e9}")] {
            assert_ne!(to_nfc(one), to_nfc(other), "{one} {other}");
        }
        assert_eq!(original_unless_nfc("\u{e9}"), None);
        assert_eq!(original_unless_nfc("e\u{301}").as_deref(), Some("e\u{301}"));
    }
}
