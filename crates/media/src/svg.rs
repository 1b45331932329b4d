//! SVG drawings: text encoding, root element and size.

use std::io::{self, BufReader, ErrorKind, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use xml::attribute::OwnedAttribute;
use xml::reader::{EventReader, ParserConfig, XmlEvent};

/// Most bytes up to the end of the root tag, after conversion to UTF-8.
const MAX_PROLOG: u64 = 1024 * 1024;
/// Most bytes that are searched for the end of the XML declaration.
const MAX_DECLARATION: usize = 1024;
/// The XML namespace of SVG.
pub const NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// The root element of an XML document, without its content.
#[derive(Debug, Clone)]
pub struct Root {
    name: String,
    namespace: Option<String>,
    attributes: Vec<OwnedAttribute>,
}

impl Root {
    /// Reads up to the first tag, with the parser and the limits that `svg-hush` uses to sanitise drawings on delivery, so
    /// that both accept the same files. `None` if there is no tag within 1 MiB or the text before it is not XML.
    pub fn read(reader: impl Read) -> Option<Root> {
        let config = ParserConfig::new()
            .max_attributes(200)
            .max_entity_expansion_depth(3)
            .max_name_length(1000)
            .max_attribute_length(MAX_PROLOG as usize)
            .max_data_length(MAX_PROLOG as usize);
        for event in EventReader::new_with_config(utf8(reader).ok()?.take(MAX_PROLOG), config) {
            if let XmlEvent::StartElement { name, attributes, .. } = event.ok()? {
                return Some(Root { name: name.local_name, namespace: name.namespace, attributes });
            }
        }
        None
    }

    /// Whether it is an `svg` element. A missing namespace is accepted, because older programs leave it out.
    pub fn is_svg(&self) -> bool {
        self.name == "svg" && self.namespace.as_deref().is_none_or(|namespace| namespace == NAMESPACE)
    }

    /// Whether it has a namespace, without which browsers do not show the file as a drawing.
    pub fn has_namespace(&self) -> bool {
        self.namespace.is_some()
    }

    /// Width and height in pixels, rounded to the nearest and at least 1, as browsers size a drawing in an `<img>`:
    ///
    /// - `width` and `height` in `style`, or else the attributes of these names, in any absolute unit or one that depends on
    ///   the font size (16 pixels by default);
    /// - one side missing: it follows from the ratio of `viewBox`;
    /// - both missing or relative: the size of `viewBox`.
    ///
    /// `None` for a drawing without a size of its own.
    pub fn size(&self) -> Option<(u32, u32)> {
        let (width, height) = (self.side("width"), self.side("height"));
        let (width, height) = match (width, height, self.view_box()) {
            (Some(width), Some(height), _) => (width, height),
            (Some(width), None, Some((box_width, box_height))) => (width, width * box_height / box_width),
            (None, Some(height), Some((box_width, box_height))) => (height * box_width / box_height, height),
            (None, None, Some(view_box)) => view_box,
            _ => return None,
        };
        Some((whole_pixels(width)?, whole_pixels(height)?))
    }

    /// One side in pixels, possibly 0; `None` if it is missing, relative or invalid.
    fn side(&self, name: &str) -> Option<f64> {
        let styled = self.attribute("style").and_then(|style| {
            style.rsplit(';').find_map(|declaration| {
                let (property, value) = declaration.split_once(':')?;
                let value = value.trim().trim_end_matches("!important");
                property.trim().eq_ignore_ascii_case(name).then(|| pixels(value))?
            })
        });
        styled.or_else(|| pixels(self.attribute(name)?))
    }

    /// Width and height of `viewBox`, in user units.
    fn view_box(&self) -> Option<(f64, f64)> {
        let separator = |c: char| c.is_ascii_whitespace() || c == ',';
        let numbers: Option<Vec<f64>> = self
            .attribute("viewBox")?
            .split(separator)
            .filter(|number| !number.is_empty())
            .map(|number| number.parse().ok().filter(|number: &f64| number.is_finite()))
            .collect();
        match numbers?[..] {
            [_, _, width, height] if width > 0.0 && height > 0.0 => Some((width, height)),
            _ => None,
        }
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        let found = self
            .attributes
            .iter()
            .find(|attribute| attribute.name.namespace.is_none() && attribute.name.local_name == name);
        found.map(|attribute| attribute.value.as_str())
    }
}

/// A CSS length in pixels (CSS Values and Units); `None` if it is relative, negative or invalid.
fn pixels(length: &str) -> Option<f64> {
    let length = length.trim();
    let (number, unit) = length.split_at(number_end(length));
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "px" => 1.0,
        "in" => 96.0,
        "cm" => 96.0 / 2.54,
        "mm" => 96.0 / 25.4,
        "q" => 96.0 / 101.6,
        "pt" => 96.0 / 72.0,
        "pc" => 16.0,
        "em" | "rem" => 16.0,
        "ex" | "ch" => 8.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    (number >= 0.0).then_some(number * factor)
}

/// The index after the number at the beginning of a length: the `e` of `1e3` belongs to the number, that of `1em` does not.
fn number_end(text: &str) -> usize {
    let digits = |from: usize| from + text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with(['+', '-']));
    let mut end = digits(sign);
    if text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    let exponent = &text[end..];
    if exponent.starts_with(['e', 'E']) {
        let start = end + 1 + usize::from(exponent[1..].starts_with(['+', '-']));
        if digits(start) > start {
            end = digits(start);
        }
    }
    end
}

fn whole_pixels(number: f64) -> Option<u32> {
    (number > 0.0 && number < f64::from(i32::MAX)).then(|| number.round().max(1.0) as u32)
}

/// Converts an XML document to UTF-8 from the encoding that its byte order mark or XML declaration names, and removes the
/// declaration. A document whose declaration names an unknown encoding is read as UTF-8.
///
/// # Errors
/// Those of the reader, here and while reading; `InvalidData` while reading bytes that are not valid in the encoding.
pub fn utf8<R: Read>(mut reader: R) -> io::Result<Utf8<R>> {
    let mut head = Vec::new();
    reader.by_ref().take(MAX_DECLARATION as u64).read_to_end(&mut head)?;
    let (encoding, mark) = encoding(&head);
    head.drain(..mark);
    let mut text = Utf8 {
        source: BufReader::new(io::Cursor::new(head).chain(reader)),
        decoder: encoding.new_decoder_without_bom_handling(),
        decoded: Vec::new(),
        position: 0,
        ended: false,
    };
    while text.decoded.len() < MAX_DECLARATION && !text.ended {
        text.decode()?;
    }
    text.position = content_start(&text.decoded);
    Ok(text)
}

/// The encoding of an XML document, and the length of its byte order mark: XML 1.0, appendix F.
fn encoding(head: &[u8]) -> (&'static Encoding, usize) {
    if let Some(found) = Encoding::for_bom(head) {
        return found;
    }
    match head {
        [b'<', 0, ..] => (UTF_16LE, 0),
        [0, b'<', ..] => (UTF_16BE, 0),
        _ => (declared(head).unwrap_or(UTF_8), 0),
    }
}

/// The encoding that an XML declaration in ASCII names.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let (declaration, _) = text.trim_start().strip_prefix("<?xml")?.split_once("?>")?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let name = value.get(1..)?.split(value.chars().next()?).next()?;
    // A declaration that can be read as ASCII is not in UTF-16, so this name is wrong.
    Encoding::for_label_no_replacement(name.as_bytes())
        .filter(|encoding| *encoding != UTF_16LE && *encoding != UTF_16BE)
}

/// The index of the document's content, after white space and the XML declaration.
fn content_start(text: &[u8]) -> usize {
    let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let rest = &text[blank..];
    let declared = rest.starts_with(b"<?xml") && rest.get(5).is_some_and(u8::is_ascii_whitespace);
    match rest.windows(2).take(MAX_DECLARATION).position(|pair| pair == b"?>") {
        Some(end) if declared => blank + end + 2,
        _ => blank,
    }
}

/// A reader of an XML document in UTF-8, made by [`utf8`].
pub struct Utf8<R> {
    source: BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>,
    decoder: Decoder,
    decoded: Vec<u8>,
    /// Index of the first byte of `decoded` that has not been read.
    position: usize,
    ended: bool,
}

impl<R: Read> Utf8<R> {
    /// Appends the next decoded bytes.
    fn decode(&mut self) -> io::Result<()> {
        use io::BufRead;
        let piece = self.source.fill_buf()?;
        self.ended = piece.is_empty();
        let length = piece.len();
        let most = self.decoder.max_utf8_buffer_length_without_replacement(length);
        let start = self.decoded.len();
        self.decoded.resize(start + most.ok_or(ErrorKind::InvalidData)?, 0);
        let room = &mut self.decoded[start..];
        let (result, _, written) = self.decoder.decode_to_utf8_without_replacement(piece, room, self.ended);
        self.decoded.truncate(start + written);
        self.source.consume(length);
        match result {
            DecoderResult::InputEmpty => Ok(()),
            DecoderResult::OutputFull | DecoderResult::Malformed(..) => Err(ErrorKind::InvalidData.into()),
        }
    }
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.position == self.decoded.len() && !self.ended {
            self.decoded.clear();
            self.position = 0;
            self.decode()?;
        }
        let length = into.len().min(self.decoded.len() - self.position);
        into[..length].copy_from_slice(&self.decoded[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(attributes: &str) -> Option<(u32, u32)> {
        let text = format!("<svg xmlns='{NAMESPACE}' {attributes}/>");
        Root::read(text.as_bytes()).unwrap_or_else(|| panic!("{attributes}")).size()
    }

    #[test]
    fn sizes() {
        for (attributes, expected) in [
            ("width='200' height='100'", Some((200, 100))),
            ("width='200' viewBox='0 0 100 50'", Some((200, 100))),
            ("height='200' viewBox='0 0 100 50'", Some((400, 200))),
            ("width='200' height='100%' viewBox='0 0 100 50'", Some((200, 100))),
            ("width='200' height='auto' viewBox='0 0 100 50'", Some((200, 100))),
            ("width='-2' height='100' viewBox='0 0 100 50'", Some((200, 100))),
            ("width='100%' height='100%' viewBox='0 0 100 50'", Some((100, 50))),
            ("viewBox=' 5,5 , 100.4,50.5 '", Some((100, 51))),
            ("viewBox='0 0 1e2 5E1'", Some((100, 50))),
            ("viewBox='0 0 100'", None),
            ("viewBox='0 0 0 50'", None),
            ("viewBox='0 0 inf 50'", None),
            ("width='200'", None),
            ("width='0' height='10' viewBox='0 0 100 50'", None),
            ("width='1in' height='2.54cm'", Some((96, 96))),
            ("width='25.4mm' height='101.6Q'", Some((96, 96))),
            ("width='72pt' height='6pc'", Some((96, 96))),
            ("width='2em' height='2ex'", Some((32, 16))),
            ("width='2rem' height='2ch'", Some((32, 16))),
            ("width='1e2PX' height='1E+2px'", Some((100, 100))),
            ("width='.5e1em' height='+10.'", Some((80, 10))),
            ("width='0.2' height='10'", Some((1, 10))),
            ("width='50vw' height='calc(1px)' viewBox='0 0 3 2'", Some((3, 2))),
            ("width='NaN' height='infinity' viewBox='0 0 3 2'", Some((3, 2))),
            ("style='width: 30px; height:2em' width='1' height='1'", Some((30, 32))),
            ("style='max-width:9px' width='4' height='5'", Some((4, 5))),
        ] {
            assert_eq!(size(attributes), expected, "{attributes}");
        }
    }

    #[test]
    fn lengths_of_unexpected_characters_do_not_panic() {
        for text in ["", "e", "1e", "1e+", "-", "é", "1é", ".", "1.e", "%", "١"] {
            let _ = pixels(text);
        }
    }
}
