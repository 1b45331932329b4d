//! EXIF as JSON with real types: text, numbers and lists of numbers under the tags' names.

use std::io::{BufRead, Seek};

use exif::{In, Reader, Tag, Value};
use serde_json::{Map, Number, Value as Json, json};

use crate::entity::workspace::ExifPolicy;

/// Longest text kept of one tag, in characters.
const MAX_TEXT: usize = 1000;
/// Longest list kept of one tag.
const MAX_LIST: usize = 64;

/// The EXIF of a picture and its orientation, 1 (upright) to 8. Damaged EXIF counts as none: the picture is
/// fine without.
pub fn read(reader: &mut (impl BufRead + Seek)) -> (Option<Json>, u32) {
    let mut parser = Reader::new();
    parser.continue_on_error(true);
    let exif = match parser.read_from_container(reader) {
        Ok(exif) => exif,
        Err(problem) => match problem.distill_partial_result(|_| ()) {
            Ok(exif) => exif,
            Err(_) => return (None, 1),
        },
    };
    let orientation = exif
        .get_field(Tag::Orientation, In::PRIMARY)
        .and_then(|field| field.value.get_uint(0))
        .filter(|orientation| (1..=8).contains(orientation))
        .unwrap_or(1);
    let mut tags = Map::new();
    // IFD 1 describes the embedded thumbnail, not the picture.
    for field in exif.fields().filter(|field| field.ifd_num == In::PRIMARY) {
        // Tags without a published name are vendors' own and say nothing to anybody else.
        if field.tag.description().is_none() || field.tag == Tag::MakerNote {
            continue;
        }
        if let Some(value) = to_json(field.tag, &field.value) {
            tags.insert(name(field.tag), value);
        }
    }
    ((!tags.is_empty()).then_some(Json::Object(tags)), orientation)
}

/// What a policy keeps of a picture's EXIF; `None` when that is nothing.
pub fn kept(exif: Json, policy: ExifPolicy) -> Option<Json> {
    let Json::Object(mut tags) = exif else { return None };
    tags.retain(|name, _| match policy {
        ExifPolicy::KeepAll => true,
        // All of the GPS directory: time, speed and bearing give a way away as the coordinates do. The serial numbers
        // of EXIF 2.32 are those of body and lens.
        ExifPolicy::StripLocation => !name.starts_with("GPS") && !name.ends_with("SerialNumber"),
        ExifPolicy::CopyrightOnly => matches!(name.as_str(), "Orientation" | "Copyright"),
        ExifPolicy::StripAll => false,
    });
    (!tags.is_empty()).then_some(Json::Object(tags))
}

/// The tag's name; EXIF 2.3 renamed one that everybody still knows by its old name.
fn name(tag: Tag) -> String {
    if tag == Tag::PhotographicSensitivity { "ISO".to_owned() } else { tag.to_string() }
}

fn to_json(tag: Tag, value: &Value) -> Option<Json> {
    match value {
        Value::Ascii(parts) => text(&parts.join(&b' ')),
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
