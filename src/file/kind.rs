//! What bytes are, found by looking at them: type, pixel size, frames, EXIF. Nothing here decodes pixels.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use media::{exif, raster};
use quick_xml::events::Event;

use crate::cloudflare::wire::{MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE};
use crate::entity::image::Format;
use crate::error::{Code, Error, Result};
use crate::file::spool::{Reader, Spool};

/// How much of a file is looked at to tell its type.
const SNIFFED: u64 = 8 * 1024;
/// How much of an SVG may come before the end of its root tag.
const SVG_HEAD: u64 = 64 * 1024;

/// What a file is.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// Sniffed MIME type; `text/plain` or `application/octet-stream` when nothing better is known.
    pub mime_type: String,
    /// `None` for what Cloudflare Images does not take.
    pub picture: Option<Picture>,
}

/// What is known of a picture without decoding it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub format: Format,
    /// Width and height in pixels, after EXIF rotation; `None` for vector images without an intrinsic size.
    pub size: Option<(u32, u32)>,
    /// 1 for a still picture.
    pub frames: u32,
    pub exif: Option<serde_json::Value>,
}

impl Kind {
    /// Looks at received bytes.
    ///
    /// # Errors
    /// `CORRUPT_IMAGE` if they begin like a picture but its header makes no sense.
    pub async fn of(spool: &Spool) -> Result<Kind> {
        let file = spool.reader();
        // A parser's panic on hostile bytes ends up here as well, and is the bytes' fault.
        tokio::task::spawn_blocking(move || look(file)).await.unwrap_or_else(|_| Err(corrupt()))
    }
}

impl Picture {
    /// Checks what Cloudflare Images would refuse, before a byte is sent there.
    ///
    /// # Errors
    /// `FILE_TOO_LARGE` above 10 MiB, `IMAGE_TOO_LARGE` above 12,000 pixels a side or 100 megapixels.
    pub fn check(&self, bytes: u64) -> Result<()> {
        const INSTEAD: &str = "Set `image.provision` to false to store it as a plain file.";
        if bytes > MAX_IMAGE_BYTES {
            let message = format!("An image may have at most {MAX_IMAGE_BYTES} bytes. {INSTEAD}");
            return Err(Error::refuse(Code::FileTooLarge, message));
        }
        let Some((width, height)) = self.size else { return Ok(()) };
        // Cloudflare exempts WebP from the side limit; its own format stops at 16,383.
        if width.max(height) > MAX_SIDE && self.format != Format::Webp {
            let message = format!(
                "An image may have at most {MAX_SIDE} pixels a side; this one is {width} × {height}. {INSTEAD}"
            );
            return Err(Error::refuse(Code::ImageTooLarge, message));
        }
        let frames = if self.format == Format::Png { 1 } else { self.frames };
        if (u64::from(width) * u64::from(height)).saturating_mul(u64::from(frames)) > MAX_PIXELS {
            let message =
                format!("An image may have at most {MAX_PIXELS} pixels, all frames together. {INSTEAD}");
            return Err(Error::refuse(Code::ImageTooLarge, message));
        }
        Ok(())
    }
}

fn look(mut file: Reader) -> Result<Kind> {
    let unreadable = |io| Error::fault("reading a spooled upload", io);
    let mut head = Vec::new();
    file.by_ref().take(SNIFFED).read_to_end(&mut head).map_err(unreadable)?;
    let mime_type = sniff(&head);
    let Some(format) = format_of(&mime_type) else { return Ok(Kind { mime_type, picture: None }) };
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut reader = BufReader::new(file);
    if format == Format::Svg {
        let size = svg_size(reader)?;
        return Ok(Kind { mime_type, picture: Some(Picture { format, size, frames: 1, exif: None }) });
    }
    let picture = match raster(format) {
        Some(raster) => {
            let head = raster::head(&mut reader, raster).map_err(|_| corrupt())?;
            let (size, frames) = (Some(head.size()), head.frames);
            Picture { format, size, frames, exif: head.exif.and_then(exif::tags) }
        }
        None => {
            let exif = exif::of_heic(&mut reader).and_then(exif::tags);
            reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
            Picture { format, size: Some(heic_size(&mut reader)?), frames: 1, exif }
        }
    };
    Ok(Kind { mime_type, picture: Some(picture) })
}

/// The raster formats whose pixels can be decoded.
pub fn raster(format: Format) -> Option<raster::Format> {
    match format {
        Format::Gif => Some(raster::Format::Gif),
        Format::Jpeg => Some(raster::Format::Jpeg),
        Format::Png => Some(raster::Format::Png),
        Format::Webp => Some(raster::Format::Webp),
        Format::Avif | Format::Heic | Format::Svg | Format::Other => None,
    }
}

/// HEIC says its rotation in the container, and the size follows that.
fn heic_size(reader: &mut (impl BufRead + Seek)) -> Result<(u32, u32)> {
    let size = imagesize::reader_size(reader).map_err(|_| corrupt())?;
    let size =
        (u32::try_from(size.width).unwrap_or(u32::MAX), u32::try_from(size.height).unwrap_or(u32::MAX));
    if size.0 == 0 || size.1 == 0 { Err(corrupt()) } else { Ok(size) }
}

fn sniff(head: &[u8]) -> String {
    if let Some(kind) = infer::get(head)
        && !matches!(kind.mime_type(), "text/xml" | "text/html")
    {
        return kind.mime_type().to_owned();
    }
    // The cut may fall inside a character.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(problem) if problem.error_len().is_none() => {
            std::str::from_utf8(&head[..problem.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return "application/octet-stream".to_owned(),
    };
    if text.contains('\0') {
        return "application/octet-stream".to_owned();
    }
    if root_of(text).is_some_and(|root| root == "svg") {
        return "image/svg+xml".to_owned();
    }
    infer::get(head).map_or("text/plain", |kind| kind.mime_type()).to_owned()
}

/// Local name of the first tag of an XML text, if it can be read that far.
fn root_of(text: &str) -> Option<String> {
    let mut reader = quick_xml::Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) | Event::Empty(tag) => {
                return Some(String::from_utf8_lossy(tag.local_name().as_ref()).into_owned());
            }
            Event::Text(text) if !text.iter().all(u8::is_ascii_whitespace) => return None,
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// The types Cloudflare Images takes. AVIF is for its Enterprise plans only and stays a plain file here.
fn format_of(mime_type: &str) -> Option<Format> {
    match mime_type {
        "image/gif" => Some(Format::Gif),
        "image/heif" | "image/heic" => Some(Format::Heic),
        "image/jpeg" => Some(Format::Jpeg),
        "image/png" | "image/apng" => Some(Format::Png),
        "image/svg+xml" => Some(Format::Svg),
        "image/webp" => Some(Format::Webp),
        _ => None,
    }
}

/// MIME types that become images.
pub const IMAGE_MIME_TYPES: [&str; 7] =
    ["image/gif", "image/heic", "image/heif", "image/jpeg", "image/png", "image/svg+xml", "image/webp"];

fn corrupt() -> Error {
    Error::refuse(
        Code::CorruptImage,
        "The file begins like an image but its header cannot be read; it may be damaged or cut off.",
    )
}

/// The size an SVG asks for: `width` and `height` in pixels, or else its `viewBox`.
fn svg_size(reader: impl BufRead) -> Result<Option<(u32, u32)>> {
    let mut reader = quick_xml::Reader::from_reader(BufReader::new(reader.take(SVG_HEAD)));
    let mut buffer = Vec::new();
    loop {
        let event = reader.read_event_into(&mut buffer).map_err(|_| corrupt())?;
        let (Event::Start(tag) | Event::Empty(tag)) = event else {
            if matches!(event, Event::Eof) {
                return Err(corrupt());
            }
            buffer.clear();
            continue;
        };
        let attribute = |name: &str| {
            let attribute = tag.try_get_attribute(name).ok()??;
            Some(String::from_utf8_lossy(&attribute.value).trim().to_owned())
        };
        let pixels = |name| {
            let text = attribute(name)?;
            let number: f64 = text.strip_suffix("px").unwrap_or(&text).trim().parse().ok()?;
            rounded(number)
        };
        if let (Some(width), Some(height)) = (pixels("width"), pixels("height")) {
            return Ok(Some((width, height)));
        }
        let view_box: Vec<f64> = attribute("viewBox")
            .unwrap_or_default()
            .split(|c: char| c.is_ascii_whitespace() || c == ',')
            .filter_map(|number| number.parse().ok())
            .collect();
        return Ok(match view_box[..] {
            [_, _, width, height] => rounded(width).zip(rounded(height)),
            _ => None,
        });
    }
}

fn rounded(number: f64) -> Option<u32> {
    (number.is_finite() && (0.5..1e9).contains(&number)).then(|| number.round() as u32)
}
