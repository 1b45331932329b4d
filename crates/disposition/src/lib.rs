//! What a `Content-Disposition` header says about names, as parts of forms (RFC 7578, WHATWG) and downloads (RFC 6266)
//! carry it.
//!
//! Parameters are read as such, so what looks like one inside a quoted value is none. Of a file's name the extended form
//! (RFC 8187) counts before the plain one, and in the plain one encoded words (RFC 2047), UTF-8 and, for what is no
//! UTF-8, Windows-1252 are understood: clients send all of these, whatever the standards say.

mod word;

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use percent_encoding::percent_decode;

/// Names of a part of a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// The field's.
    pub name: Option<String>,
    /// The file's; `None` for a part that is no file. May be empty, and may be a path.
    pub filename: Option<String>,
}

/// Whose header it is: the two escape differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Browsers write `%22`, `%0D` and `%0A` for what would end the value, and backslashes as they are.
    FormPart,
    /// A backslash makes the next character literal.
    Download,
}

/// Reads the header of a part of a form.
pub fn part(header: &[u8]) -> Part {
    let parameters = parameters(header, Of::FormPart);
    let name = first(&parameters, "name").map(|value| plain(value, Of::FormPart));
    Part { name, filename: filename(&parameters, Of::FormPart) }
}

/// The file name in the header of a download; `None` if there is none or it is empty. May be a path.
pub fn download(header: &[u8]) -> Option<String> {
    filename(&parameters(header, Of::Download), Of::Download).filter(|name| !name.trim().is_empty())
}

/// A parameter's name in lower case, and its value without quotes.
type Parameter = (String, Vec<u8>);

fn parameters(header: &[u8], of: Of) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    // The disposition type comes first. It has no `=`, and a header that lacks it is read all the same.
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
            Some(quoted) => unquoted(quoted, of),
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

/// A quoted value, and what follows its closing quote.
fn unquoted(quoted: &[u8], of: Of) -> (Vec<u8>, &[u8]) {
    let (mut value, mut at) = (Vec::new(), 0);
    while let Some(&c) = quoted.get(at) {
        match (c, quoted.get(at + 1)) {
            (b'"', _) => return (value, &quoted[at + 1..]),
            // Some browsers send a path of Windows as it is: there a backslash escapes nothing else.
            (b'\\', Some(&next)) if of == Of::Download || matches!(next, b'"' | b'\\') => {
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

/// What stands twice counts as it stands first.
fn first<'a>(parameters: &'a [Parameter], name: &str) -> Option<&'a [u8]> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
}

fn filename(parameters: &[Parameter], of: Of) -> Option<String> {
    let extended = first(parameters, "filename*").and_then(extended);
    extended
        .filter(|name| !name.is_empty())
        .or_else(|| continued(parameters))
        .or_else(|| first(parameters, "filename").map(|value| plain(value, of)))
}

/// `UTF-8''na%C3%AFve.png`; `None` for a character set that is not known and bytes that do not fit it.
fn extended(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |c| *c == b'\'');
    let (charset, _, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    decoded(charset, &Cow::from(percent_decode(encoded)))
}

/// Bytes in a character set by its label.
fn decoded(charset: &[u8], bytes: &[u8]) -> Option<String> {
    let encoding = if charset.is_empty() { Some(UTF_8) } else { Encoding::for_label(charset) };
    let text = encoding?.decode_without_bom_handling_and_without_replacement(bytes)?;
    Some(text.into_owned())
}

/// A value in sections, as mail programs write it (RFC 2231): `filename*0*=utf-8''a; filename*1=b`.
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

fn plain(value: &[u8], of: Of) -> String {
    let text = word::decoded(&text(value));
    match of {
        Of::Download => text,
        Of::FormPart => unescaped(&text),
    }
}

/// UTF-8, which clients send; what is none is what they sent before.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

/// Undoes the three escapes of HTML's form encoding, and no others: a percent sign is sent as it is.
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
    fn parts_of_forms() {
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
            // Decoys.
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
    fn nothing_is_too_strange() {
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
