//! Encoded words (RFC 2047): `=?utf-8?B?w6k=?=`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is often forgotten.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A word taken apart.
struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

/// The same text with its encoded words decoded; what only looks like one is left alone.
pub(crate) fn decoded(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("=?") {
        plain.push_str(&rest[..at]);
        let before = &rest[at..];
        match run(before) {
            Some((word, after)) => {
                plain.push_str(&word);
                rest = after;
            }
            None => {
                plain.push_str("=?");
                rest = &before[2..];
            }
        }
    }
    plain + rest
}

/// The words that a text begins with and what follows them. Blanks between two words are none of the text, and a
/// character may be split between two words of one character set.
fn run(text: &str) -> Option<(String, &str)> {
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
    // A language may follow the character set.
    let charset = charset.split('*').next().unwrap_or_default();
    let bytes = match encoding {
        _ if charset.is_empty() => return None,
        "B" | "b" => BASE64.decode(encoded.trim()).ok()?,
        "Q" | "q" => quoted(encoded)?,
        _ => return None,
    };
    Some((Word { charset, bytes }, rest))
}

fn quoted(encoded: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), encoded.as_bytes());
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        match c {
            b'_' => bytes.push(b' '),
            b'=' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                // A sign would be taken for a digit.
                let digits = Some(digits).filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
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
    fn words() {
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
