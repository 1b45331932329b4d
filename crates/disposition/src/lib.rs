//! Names in `Content-Disposition` headers of form parts (RFC 7578, WHATWG) and of downloads (RFC 6266).
//!
//! The parameters are parsed, so text inside a quoted value is never taken for a parameter. The extended form of a file name
//! (`filename*`, RFC 8187) takes precedence over the plain one. The plain one may be in UTF-8, in Windows-1252 if it is not
//! valid UTF-8, or contain encoded words (RFC 2047): clients send all of these, although the standards do not allow them.
//!
//! ```
//! use imagegraph_disposition::{download, part};
//!
//! let part = part(b"form-data; name=\"file\"; filename=\"100%25 %22new%22.png\"");
//! assert_eq!(part.name.as_deref(), Some("file"));
//! assert_eq!(part.filename.as_deref(), Some("100%25 \"new\".png"));
//!
//! let header = b"attachment; filename=\"naive.png\"; filename*=UTF-8''na%C3%AFve.png";
//! assert_eq!(download(header).as_deref(), Some("naïve.png"));
//! ```

#![warn(missing_docs)]

mod word;

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use percent_encoding::percent_decode;

/// The names in the header of a form part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Name of the form field.
    pub name: Option<String>,
    /// File name as sent: it may be empty, and it may be a path. `None` for a part that is not a file.
    pub filename: Option<String>,
}

/// Where the header comes from, which decides how its quoted values are escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Browsers escape `"`, CR and LF as `%22`, `%0D` and `%0A`, and do not escape backslashes.
    FormPart,
    /// A backslash makes the next character literal.
    Download,
}

/// Parses the value of a form part's header. Never fails: what cannot be understood is `None`.
pub fn part(header: &[u8]) -> Part {
    let parameters = parameters(header, Source::FormPart);
    let name = first(&parameters, "name").map(|value| plain(value, Source::FormPart));
    Part { name, filename: filename(&parameters, Source::FormPart) }
}

/// The file name in the header of a download as sent, possibly a path; `None` if it is missing or blank.
pub fn download(header: &[u8]) -> Option<String> {
    filename(&parameters(header, Source::Download), Source::Download).filter(|name| !name.trim().is_empty())
}

/// A parameter's name in lower case, and its value without quotes.
type Parameter = (String, Vec<u8>);

fn parameters(header: &[u8], source: Source) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    // The disposition type, such as `form-data`, is skipped because it has no `=`. A header without it is accepted.
    let mut rest = header;
    while !rest.is_empty() {
        let end = rest.iter().position(|c| matches!(c, b';' | b'=')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix(b"=") else {
            rest = after.get(1..).unwrap_or_default();
            continue;
        };
        let value = value.trim_ascii_start();
        let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
        let (value, after) = match value.strip_prefix(b"\"") {
            Some(quoted) => unquoted(quoted, source),
            None => {
                let end = value.iter().position(|c| *c == b';').unwrap_or(value.len());
                (value[..end].trim_ascii_end().to_vec(), &value[end..])
            }
        };
        parameters.push((name, value));
        let next = after.iter().position(|c| *c == b';').map_or(after.len(), |at| at + 1);
        rest = &after[next..];
    }
    parameters
}

/// The value of a quoted string whose opening quote has been read, and the rest after the closing quote.
fn unquoted(quoted: &[u8], source: Source) -> (Vec<u8>, &[u8]) {
    let (mut value, mut at) = (Vec::new(), 0);
    while let Some(&c) = quoted.get(at) {
        match (c, quoted.get(at + 1)) {
            (b'"', _) => return (value, &quoted[at + 1..]),
            // In a form part a backslash escapes `"` and `\` only: some browsers send Windows paths unescaped.
            (b'\\', Some(&next)) if source == Source::Download || matches!(next, b'"' | b'\\') => {
                value.push(next);
                at += 2;
            }
            _ => {
                value.push(c);
                at += 1;
            }
        }
    }
    (value, &[])
}

/// The value of a parameter; the first one if the name occurs more than once.
fn first<'a>(parameters: &'a [Parameter], name: &str) -> Option<&'a [u8]> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
}

fn filename(parameters: &[Parameter], source: Source) -> Option<String> {
    let extended = first(parameters, "filename*").and_then(extended);
    extended
        .filter(|name| !name.is_empty())
        .or_else(|| continued(parameters))
        .or_else(|| first(parameters, "filename").map(|value| plain(value, source)))
}

/// Decodes an extended value such as `UTF-8''na%C3%AFve.png`; `None` if the character set is unknown or the bytes are not
/// valid in it.
fn extended(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |c| *c == b'\'');
    let (charset, _, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    decoded(charset, &Cow::from(percent_decode(encoded)))
}

/// Decodes bytes in the character set of this label, UTF-8 if it is empty; `None` as for [`extended`].
fn decoded(charset: &[u8], bytes: &[u8]) -> Option<String> {
    let encoding = if charset.is_empty() { Some(UTF_8) } else { Encoding::for_label(charset) };
    let text = encoding?.decode_without_bom_handling_and_without_replacement(bytes)?;
    Some(text.into_owned())
}

/// A file name in sections, as mail programs write it (RFC 2231): `filename*0*=utf-8''a; filename*1=b`.
fn continued(parameters: &[Parameter]) -> Option<String> {
    let (mut charset, mut bytes) = (Vec::new(), Vec::new());
    for section in 0..parameters.len() {
        let name = format!("filename*{section}");
        match (first(parameters, &format!("{name}*")), first(parameters, &name)) {
            (Some(value), _) if section == 0 => {
                let mut parts = value.splitn(3, |c| *c == b'\'');
                charset = parts.next()?.to_vec();
                let (_, encoded) = (parts.next()?, parts.next()?);
                bytes.extend(percent_decode(encoded));
            }
            (Some(value), _) => bytes.extend(percent_decode(value)),
            (None, Some(value)) => bytes.extend(value),
            (None, None) => break,
        }
    }
    (!bytes.is_empty()).then(|| decoded(&charset, &bytes)).flatten()
}

fn plain(value: &[u8], source: Source) -> String {
    let text = word::decoded(&text(value));
    match source {
        Source::Download => text,
        Source::FormPart => unescaped(&text),
    }
}

/// Decodes UTF-8, or Windows-1252 if the bytes are not valid UTF-8: older clients send that.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

/// Decodes the three escapes of HTML's multipart encoding and no others, because browsers do not escape the percent sign.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let escaped = match rest.as_bytes().get(at + 1..at + 3).map(<[u8]>::to_ascii_uppercase).as_deref() {
            Some(b"22") => Some('"'),
            Some(b"0D") => Some('\r'),
            Some(b"0A") => Some('\n'),
            _ => None,
        };
        plain.push(escaped.unwrap_or('%'));
        rest = &rest[at + if escaped.is_some() { 3 } else { 1 }..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(header: &[u8]) -> (Option<String>, Option<String>) {
        let Part { name, filename } = part(header);
        (name, filename)
    }

    #[test]
    fn form_parts() {
        for (header, name, filename) in [
            (&b"form-data; name=\"a\"; filename=\"b.png\""[..], Some("a"), Some("b.png")),
            (b"form-data; filename=\"b.png\"; name=\"a\"", Some("a"), Some("b.png")),
            (b"FORM-DATA;NAME=a;FILENAME=b.png", Some("a"), Some("b.png")),
            (b"form-data ; name = \"a\" ; filename = \"b c.png\" ;", Some("a"), Some("b c.png")),
            (b"name=\"a\"; filename=\"b.png\"", Some("a"), Some("b.png")),
            (b"form-data; name=\"a\"", Some("a"), None),
            (b"form-data; name=a; filename=b c.png", Some("a"), Some("b c.png")),
            (b"form-data; name=a; filename=", Some("a"), Some("")),
            (b"form-data", None, None),
            (b"", None, None),
            (b";;=;=\"", None, None),
            // Quoted values and other names that look like the parameters.
            (
                b"form-data; note=\"x; filename=evil.exe \"; name=\"a\"; filename=\"b.png\"",
                Some("a"),
                Some("b.png"),
            ),
            (b"form-data; note=\"x; name=evil \"; name=\"a\"", Some("a"), None),
            (b"form-data; xname=\"evil\"; name=\"a\"; x-filename=\"evil.exe\"", Some("a"), None),
            (b"form-data; note=\"a \\\"; filename=evil.exe; \"; name=\"a\"", Some("a"), None),
            (b"form-data; name=\"filename=evil.exe\"", Some("filename=evil.exe"), None),
            (
                b"form-data; name=\"a\"; filename=\"b;c.png\"; filename=\"second.png\"",
                Some("a"),
                Some("b;c.png"),
            ),
            // Escapes.
            (
                b"form-data; name=\"%22a%22\"; filename=\"%22b%0D%0ac%25.png\"",
                Some("\"a\""),
                Some("\"b\r\nc%25.png"),
            ),
            (b"form-data; name=a; filename=\"b\\\"c\\\\d.png\"", Some("a"), Some("b\"c\\d.png")),
            (b"form-data; name=a; filename=\"C:\\dir\\b.png\"", Some("a"), Some("C:\\dir\\b.png")),
            (b"form-data; name=a; filename=\"100%.png", Some("a"), Some("100%.png")),
            (b"form-data; name=a; filename=\"%", Some("a"), Some("%")),
            (b"form-data; name=a; filename=\"%2\xc3\xa9\"", Some("a"), Some("%2é")),
            // Character sets.
            ("form-data; name=a; filename=\"é日本.png\"".as_bytes(), Some("a"), Some("é日本.png")),
            (b"form-data; name=a; filename=\"caf\xe9 \x80.png\"", Some("a"), Some("café €.png")),
            (b"form-data; name=a; filename*=utf-8''caf%C3%A9.jpg", Some("a"), Some("café.jpg")),
            (
                b"form-data; name=a; filename*=UTF-8'de'caf%c3%a9%22.jpg; filename=x",
                Some("a"),
                Some("café\".jpg"),
            ),
            (
                b"form-data; name=a; filename=x; filename*=iso-8859-1'en'caf%E9.jpg",
                Some("a"),
                Some("café.jpg"),
            ),
            (
                b"form-data; name=a; filename=x; filename*=\"utf-8''caf%C3%A9.jpg\"",
                Some("a"),
                Some("café.jpg"),
            ),
            (b"form-data; name=a; filename=x; filename*=utf-8''%FF", Some("a"), Some("x")),
            (b"form-data; name=a; filename=x; filename*=klingon''a", Some("a"), Some("x")),
            (b"form-data; name=a; filename=x; filename*=a", Some("a"), Some("x")),
            (b"form-data; name=a; filename*=nonsense", Some("a"), None),
            (b"form-data; name=a; filename=\"=?utf-8?B?Y2Fmw6kuanBn?=\"", Some("a"), Some("café.jpg")),
            (
                b"form-data; name=a; filename=\"=?utf-8?B?eA==?=\"; filename*=utf-8''caf%C3%A9.jpg",
                Some("a"),
                Some("café.jpg"),
            ),
            (
                b"form-data; name=a; filename*0*=utf-8''caf%C3; filename*1*=%A9; filename*2=\".jpg\"",
                Some("a"),
                Some("café.jpg"),
            ),
            (
                b"form-data; name=a; filename*0=\"long\"; filename*1=\"er.jpg\"; filename=x",
                Some("a"),
                Some("longer.jpg"),
            ),
        ] {
            let wanted = (name.map(str::to_owned), filename.map(str::to_owned));
            assert_eq!(named(header), wanted, "{}", String::from_utf8_lossy(header));
        }
    }

    #[test]
    fn downloads() {
        for (header, name) in [
            ("attachment; filename=\"a b.png\"", Some("a b.png")),
            ("attachment; filename=a.png; size=3", Some("a.png")),
            ("inline; filename=\"a;b.png\"", Some("a;b.png")),
            ("attachment; filename=\"x.png\"; filename*=UTF-8''na%C3%AFve.png", Some("naïve.png")),
            ("attachment; filename=\"f\\oo.html\"", Some("foo.html")),
            ("attachment; filename=\"a\\\"b.png\"", Some("a\"b.png")),
            ("attachment; filename=\"a%20b.png\"", Some("a%20b.png")),
            ("attachment; note=\"; filename=evil.exe\"", None),
            ("attachment; filename=\"=?ISO-8859-1?Q?caf=E9?=.png\"", Some("café.png")),
            ("attachment; filename=\"/a/b\\\\c.png\"", Some("/a/b\\c.png")),
            ("attachment", None),
            ("attachment; filename=\"\"", None),
            ("attachment; filename=\" \"; filename*=UTF-8''", None),
        ] {
            assert_eq!(download(header.as_bytes()).as_deref(), name, "{header}");
        }
    }

    #[test]
    fn arbitrary_headers_do_not_panic() {
        let pieces = [
            "form-data",
            ";",
            "=",
            "\"",
            "\\",
            "filename",
            "*",
            "0",
            "'",
            "%",
            "=?utf-8?",
            "?=",
            "B?",
            "\u{e9}",
            " ",
            "name",
        ];
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            let bytes = text.as_bytes();
            part(bytes);
            part(&bytes[..bytes.len() - 1]);
            download(bytes);
        }
    }
}
