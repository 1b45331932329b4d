//! Encoded words (RFC 2047): `=?utf-8?B?w6k=?=`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is optional, because many programs leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A parsed encoded word.
struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

/// The text with its encoded words decoded. Words that cannot be decoded stay as they are.
pub(crate) fn decoded(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("=?") {
        plain.push_str(&rest[..at]);
        let candidate = &rest[at..];
        match leading_words(candidate) {
            Some((words, after)) => {
                plain.push_str(&words);
                rest = after;
            }
            None => {
                plain.push_str("=?");
                rest = &candidate[2..];
            }
        }
    }
    plain + rest
}

/// Decodes the words that a text begins with, and returns the rest. Blanks between two words are not part of the text, and
/// the bytes of a character may be split between two words of the same character set.
fn leading_words(text: &str) -> Option<(String, &str)> {
    let (first, mut rest) = word(text)?;
    let (mut charset, mut bytes, mut plain) = (first.charset, first.bytes, String::new());
    while let Some((next, after)) = word(rest.trim_start_matches([' ', '\t'])) {
        if !next.charset.eq_ignore_ascii_case(charset) {
            plain.push_str(&crate::decoded(charset.as_bytes(), &bytes)?);
            bytes.clear();
            charset = next.charset;
        }
        bytes.extend(next.bytes);
        rest = after;
    }
    plain.push_str(&crate::decoded(charset.as_bytes(), &bytes)?);
    Some((plain, rest))
}

fn word(text: &str) -> Option<(Word<'_>, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (encoded, rest) = rest.split_once("?=")?;
    // A language may follow the character set (RFC 2231): `=?utf-8*en?…`.
    let charset = charset.split('*').next().unwrap_or_default();
    let bytes = match encoding {
        _ if charset.is_empty() => return None,
        "B" | "b" => BASE64.decode(encoded.trim()).ok()?,
        "Q" | "q" => q_decoded(encoded)?,
        _ => return None,
    };
    Some((Word { charset, bytes }, rest))
}

/// Decodes the Q encoding; `None` if it is malformed.
fn q_decoded(encoded: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), encoded.as_bytes());
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        match c {
            b'_' => bytes.push(b' '),
            b'=' => {
                bytes.extend(hex::decode(rest.get(..2)?).ok()?);
                rest = &rest[2..];
            }
            c => bytes.push(c),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn encoded_words() {
        for (text, plain) in [
            ("=?utf-8?B?Y2Fmw6kuanBn?=", "café.jpg"),
            ("=?UTF-8?b?Y2Fmw6k?=.jpg", "café.jpg"),
            ("=?utf-8?Q?caf=C3=A9_au_lait?=.jpg", "café au lait.jpg"),
            ("=?ISO-8859-1*fr?q?caf=e9?=", "café"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=.png", "日本.png"),
            ("=?shift_jis?B?k/qWew==?=", "日本"),
            ("=?utf-8?B?5pel?= =?utf-8?B?5pys?=", "日本"),
            ("=?utf-8?B?5g==?= =?utf-8?B?l6U=?=", "日"),
            ("=?utf-8?Q?a?= \t=?iso-8859-1?Q?=E9?= b", "aé b"),
            ("a =?utf-8?Q?b?= c", "a b c"),
            ("=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
            ("=?utf-8?B?***?=", "=?utf-8?B?***?="),
            ("=?utf-8?Q?=ZZ?=", "=?utf-8?Q?=ZZ?="),
            ("=?utf-8?Q?=+9?=", "=?utf-8?Q?=+9?="),
            ("=?utf-8?Q?=C3?=", "=?utf-8?Q?=C3?="),
            ("=?klingon?Q?a?=", "=?klingon?Q?a?="),
            ("=??Q?a?=", "=??Q?a?="),
            ("=?=?utf-8?Q?a?=", "=?a"),
            ("what=?.jpg", "what=?.jpg"),
            ("=?", "=?"),
        ] {
            assert_eq!(decoded(text), plain, "{text}");
        }
    }
}
