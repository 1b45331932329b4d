//! EXIF: the orientation of an image, and its tags as JSON: strings, numbers and lists of numbers under the tags' names.

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

/// EXIF from its TIFF header on, without the prefix `Exif\0\0` that belongs in JPEG only and that programs write elsewhere.
pub(crate) fn without_prefix(mut exif: Vec<u8>) -> Vec<u8> {
    // The sixth byte is padding, which some programs do not set to zero.
    if exif.starts_with(b"Exif\0") {
        exif.drain(..exif.len().min(6));
    }
    exif
}

/// Whether these bytes begin with a TIFF header.
pub(crate) fn is_tiff(exif: &[u8]) -> bool {
    exif.starts_with(b"II*\0") || exif.starts_with(b"MM\0*")
}

/// The EXIF orientation, 1 (upright) to 8; 1 if it is missing or invalid. `exif` begins with its TIFF header.
pub fn orientation(exif: &[u8]) -> u8 {
    orientation_entry(exif).map_or(1, |entry| entry.orientation)
}

/// Resets the orientation to 1, and returns the one that was there for the caller to apply to the pixels.
pub(crate) fn take_orientation(exif: &mut [u8]) -> Orientation {
    let Some(entry) = orientation_entry(exif) else { return Orientation::NoTransforms };
    exif[entry.offset] = 1;
    Orientation::from_exif(entry.orientation).unwrap_or(Orientation::NoTransforms)
}

struct OrientationEntry {
    orientation: u8,
    /// Offset of the byte that holds it.
    offset: usize,
}

/// Finds the first orientation in the first directory. Source: TIFF 6.0, section 2.
fn orientation_entry(exif: &[u8]) -> Option<OrientationEntry> {
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
    let entry = (0..count)
        .map(|i| directory + 2 + i * 12)
        .find(|entry| number(*entry, 2) == Some(usize::from(ORIENTATION)))?;
    // The specification asks for SHORT (3); some programs write BYTE (1) or LONG (4).
    let length = match number(entry + 2, 2)? {
        1 => 1,
        3 => 2,
        4 => 4,
        _ => return None,
    };
    // Values of up to four bytes are in the entry itself; longer ones would be at an offset.
    number(entry + 4, 4).filter(|count| (1..=4 / length).contains(count))?;
    let orientation = number(entry + 8, length).filter(|value| (1..=8).contains(value))?;
    let offset = if little { entry + 8 } else { entry + 8 + length - 1 };
    Some(OrientationEntry { orientation: u8::try_from(orientation).ok()?, offset })
}

/// The EXIF of a HEIC file, from its TIFF header on; `None` if there is none or it cannot be read.
pub fn from_heic(reader: &mut (impl BufRead + Seek)) -> Option<Vec<u8>> {
    let exif = Reader::new().continue_on_error(true).read_from_container(reader);
    let exif = exif.or_else(|problem| problem.distill_partial_result(|_| ())).ok()?;
    Some(exif.buf().to_vec())
}

/// The tags as a JSON object; `None` if there are none. Tags that cannot be read are left out: damaged EXIF does not make
/// an image unusable.
pub fn tags(exif: Vec<u8>) -> Option<Json> {
    let exif = parsed(exif)?;
    let mut tags = Map::new();
    // IFD 1 describes the embedded thumbnail, not the image.
    for field in exif.fields().filter(|field| field.ifd_num == In::PRIMARY) {
        // Tags without a published name are private to their vendors, and maker notes are in a format of the vendor's.
        if field.tag.description().is_none() || field.tag == Tag::MakerNote {
            continue;
        }
        if let Some(value) = to_json(field.tag, &field.value) {
            // The first of two entries with the same tag counts, as for the orientation.
            tags.entry(name(field.tag)).or_insert(value);
        }
    }
    (!tags.is_empty()).then_some(Json::Object(tags))
}

/// EXIF that holds only the copyright notice of the given EXIF; `None` if there is no notice.
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

/// The tag's name. EXIF 2.3 renamed `ISO` to `PhotographicSensitivity`; other tools still use the old name.
fn name(tag: Tag) -> String {
    if tag == Tag::PhotographicSensitivity { "ISO".to_owned() } else { tag.to_string() }
}

fn to_json(tag: Tag, value: &Value) -> Option<Json> {
    match value {
        // Photographer and editor, separated by a NUL. In other tags the bytes after a NUL are padding or the rest of a
        // longer value that was overwritten.
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

/// The text up to the first NUL, trimmed; `None` if that is empty.
fn text(bytes: &[u8]) -> Option<Json> {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text: String = String::from_utf8_lossy(bytes).trim().chars().take(MAX_TEXT).collect();
    // Control characters are not printable, and PostgreSQL's jsonb cannot contain NUL.
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(Json::String(text))
}

/// One number as a JSON number, several as an array; `None` for an empty list or one longer than [`MAX_LIST`].
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
    // Twelve significant digits are more than cameras measure, and keep 1/3 short.
    let rounded = format!("{number:.11e}").parse().unwrap_or(number);
    Number::from_f64(rounded).map_or(Json::Null, Json::Number)
}
