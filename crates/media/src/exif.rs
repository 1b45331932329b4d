//! EXIF: where a picture's top is, and JSON with real types: text, numbers and lists of numbers under the tags' names.

use std::io::{BufRead, Cursor, Seek};

use exif_values::experimental::Writer;
use exif_values::{Exif, In, Reader, Tag, Value};
use image::metadata::Orientation;
use serde_json::{Map, Number, Value as Json, json};

/// Longest text kept of one tag, in characters.
const MAX_TEXT: usize = 1000;
/// Longest list kept of one tag.
const MAX_LIST: usize = 64;
const ORIENTATION: u16 = 0x0112;

/// EXIF from its TIFF header on, whether or not the name stands before it that only JPEG wants there.
pub(crate) fn without_prefix(mut exif: Vec<u8>) -> Vec<u8> {
    // The last byte is padding, and not always zero.
    if exif.starts_with(b"Exif\0") {
        exif.drain(..exif.len().min(6));
    }
    exif
}

pub(crate) fn is_tiff(exif: &[u8]) -> bool {
    exif.starts_with(b"II*\0") || exif.starts_with(b"MM\0*")
}

/// The orientation by EXIF, 1 (upright) to 8; 1 where none is told, or one that makes no sense.
pub fn orientation(exif: &[u8]) -> u8 {
    entry(exif).map_or(1, |entry| entry.orientation)
}

/// Takes the orientation out of EXIF, for pixels that have been turned by it.
pub(crate) fn set_upright(exif: &mut [u8]) -> Orientation {
    let Some(found) = entry(exif) else { return Orientation::NoTransforms };
    exif[found.at] = 1;
    Orientation::from_exif(found.orientation).unwrap_or(Orientation::NoTransforms)
}

struct Entry {
    orientation: u8,
    /// Place of the byte that holds it.
    at: usize,
}

/// Finds the first orientation in the first directory. Source: TIFF 6.0, section 2.
fn entry(exif: &[u8]) -> Option<Entry> {
    let little = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, length: usize| {
        let bytes = exif.get(at..at.checked_add(length)?)?;
        let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    };
    let directory = number(4, 4)?;
    let count = number(directory, 2)?;
    let place = (0..count)
        .map(|i| directory + 2 + i * 12)
        .find(|place| number(*place, 2) == Some(usize::from(ORIENTATION)))?;
    // BYTE, SHORT and LONG: cameras write SHORT, some programs do not.
    let length = match number(place + 2, 2)? {
        1 => 1,
        3 => 2,
        4 => 4,
        _ => return None,
    };
    // More than one would stand elsewhere, none nowhere.
    number(place + 4, 4).filter(|count| (1..=4 / length).contains(count))?;
    let orientation = number(place + 8, length).filter(|value| (1..=8).contains(value))?;
    let at = if little { place + 8 } else { place + 8 + length - 1 };
    Some(Entry { orientation: u8::try_from(orientation).ok()?, at })
}

/// The EXIF of a HEIC file, from its TIFF header on.
pub fn of_heic(reader: &mut (impl BufRead + Seek)) -> Option<Vec<u8>> {
    let exif = Reader::new().continue_on_error(true).read_from_container(reader);
    let exif = exif.or_else(|problem| problem.distill_partial_result(|_| ())).ok()?;
    Some(exif.buf().to_vec())
}

/// The tags of a picture. Damaged EXIF counts as none: the picture is fine without.
pub fn tags(exif: Vec<u8>) -> Option<Json> {
    let exif = parsed(exif)?;
    let mut tags = Map::new();
    // IFD 1 describes the embedded thumbnail, not the picture.
    for field in exif.fields().filter(|field| field.ifd_num == In::PRIMARY) {
        // Tags without a published name are vendors' own and say nothing to anybody else.
        if field.tag.description().is_none() || field.tag == Tag::MakerNote {
            continue;
        }
        if let Some(value) = to_json(field.tag, &field.value) {
            // A tag that is there twice counts as it comes first, as the orientation does.
            tags.entry(name(field.tag)).or_insert(value);
        }
    }
    (!tags.is_empty()).then_some(Json::Object(tags))
}

/// EXIF with nothing but the copyright notice of another; `None` if it has none.
pub fn copyright_only(exif: Vec<u8>) -> Option<Vec<u8>> {
    let exif = parsed(exif)?;
    let mut writer = Writer::new();
    writer.push_field(exif.get_field(Tag::Copyright, In::PRIMARY)?);
    let mut written = Cursor::new(Vec::new());
    writer.write(&mut written, exif.little_endian()).ok()?;
    Some(written.into_inner())
}

fn parsed(exif: Vec<u8>) -> Option<Exif> {
    let exif = Reader::new().continue_on_error(true).read_raw(exif);
    exif.or_else(|problem| problem.distill_partial_result(|_| ())).ok()
}

/// The tag's name; EXIF 2.3 renamed one that everybody still knows by its old name.
fn name(tag: Tag) -> String {
    if tag == Tag::PhotographicSensitivity { "ISO".to_owned() } else { tag.to_string() }
}

fn to_json(tag: Tag, value: &Value) -> Option<Json> {
    match value {
        // Photographer and editor, the one place where a NUL parts two texts. Elsewhere what follows one is left from a
        // longer text before.
        Value::Ascii(parts) if tag == Tag::Copyright => {
            let parts: Vec<&[u8]> =
                parts.iter().take(2).map(|part| part.trim_ascii()).filter(|part| !part.is_empty()).collect();
            text(&parts.join(&b' '))
        }
        Value::Ascii(parts) => text(parts.first()?),
        Value::Byte(list) => numbers(list.iter().map(|n| json!(n))),
        Value::Short(list) => numbers(list.iter().map(|n| json!(n))),
        Value::Long(list) => numbers(list.iter().map(|n| json!(n))),
        Value::SByte(list) => numbers(list.iter().map(|n| json!(n))),
        Value::SShort(list) => numbers(list.iter().map(|n| json!(n))),
        Value::SLong(list) => numbers(list.iter().map(|n| json!(n))),
        Value::Rational(list) => numbers(list.iter().map(|n| number(n.to_f64()))),
        Value::SRational(list) => numbers(list.iter().map(|n| number(n.to_f64()))),
        Value::Float(list) => numbers(list.iter().map(|n| number(f64::from(*n)))),
        Value::Double(list) => numbers(list.iter().map(|n| number(*n))),
        Value::Undefined(bytes, _) => match tag {
            Tag::ExifVersion | Tag::FlashpixVersion | Tag::InteroperabilityVersion => text(bytes),
            // A comment begins with the name of its character set, padded to eight bytes.
            Tag::UserComment => bytes.strip_prefix(b"ASCII\0\0\0").and_then(text),
            Tag::FileSource | Tag::SceneType => bytes.first().map(|n| json!(n)),
            _ => None,
        },
        Value::Unknown(..) => None,
    }
}

/// Trimmed text; what comes after a NUL is padding. `None` when nothing is left.
fn text(bytes: &[u8]) -> Option<Json> {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text: String = String::from_utf8_lossy(bytes).trim().chars().take(MAX_TEXT).collect();
    // PostgreSQL's JSON cannot hold some control characters, and nobody can read any.
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(Json::String(text))
}

/// One number as itself, several as a list. `None` for an empty or overlong list.
fn numbers(list: impl Iterator<Item = Json>) -> Option<Json> {
    let mut list: Vec<Json> = list.take(MAX_LIST + 1).collect();
    match list.len() {
        0 => None,
        1 => list.pop().filter(|number| !number.is_null()),
        _ if list.len() > MAX_LIST => None,
        _ => Some(Json::Array(list)),
    }
}

/// A fraction as a number; 0/0 and 1/0, which cameras write for "unknown", as null.
fn number(number: f64) -> Json {
    // Twelve significant digits: enough for any sensor, and 1/3 stays readable.
    let rounded = format!("{number:.11e}").parse().unwrap_or(number);
    Number::from_f64(rounded).map_or(Json::Null, Json::Number)
}
