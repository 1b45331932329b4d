//! What bytes are, found by looking at them: type, pixel size, frames, EXIF. Nothing here decodes pixels.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use quick_xml::events::Event;

use crate::cloudflare::wire::{MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE};
use crate::entity::image::Format;
use crate::error::{Code, Error, Result};
use crate::file::exif;
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
    let (exif, orientation) = exif::read(&mut reader);
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let size = imagesize::reader_size(&mut reader).map_err(|_| corrupt())?;
    let mut size =
        (u32::try_from(size.width).unwrap_or(u32::MAX), u32::try_from(size.height).unwrap_or(u32::MAX));
    if size.0 == 0 || size.1 == 0 {
        return Err(corrupt());
    }
    // HEIC says its rotation in the container as well, and the size we were given already follows that.
    if (5..=8).contains(&orientation) && format != Format::Heic {
        size = (size.1, size.0);
    }
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let frames = frames(format, &mut reader).unwrap_or(1).max(1);
    Ok(Kind { mime_type, picture: Some(Picture { format, size: Some(size), frames, exif }) })
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

/// How many frames a file shows one after the other; `None` if it ends early.
fn frames(format: Format, reader: &mut (impl BufRead + Seek)) -> Option<u32> {
    match format {
        Format::Gif => Some(gif_frames(reader)),
        Format::Png => png_frames(reader),
        Format::Webp => Some(webp_frames(reader)),
        _ => Some(1),
    }
}

/// Counts the image descriptors of a GIF. A file that ends early has the frames seen so far.
fn gif_frames(reader: &mut (impl BufRead + Seek)) -> u32 {
    let mut count = 0;
    let mut walk = || -> std::io::Result<()> {
        let mut header = [0; 13];
        reader.read_exact(&mut header)?;
        skip_color_table(reader, header[10])?;
        loop {
            match byte(reader)? {
                0x2c => {
                    let mut descriptor = [0; 9];
                    reader.read_exact(&mut descriptor)?;
                    skip_color_table(reader, descriptor[8])?;
                    byte(reader)?;
                    count += 1;
                }
                0x21 => drop(byte(reader)?),
                _ => return Ok(()),
            }
            loop {
                let length = byte(reader)?;
                if length == 0 {
                    break;
                }
                reader.seek_relative(i64::from(length))?;
            }
        }
    };
    let _ = walk();
    count
}

fn skip_color_table(reader: &mut impl Seek, flags: u8) -> std::io::Result<()> {
    if flags & 0x80 == 0 {
        return Ok(());
    }
    reader.seek_relative(3 << ((flags & 7) + 1))
}

fn byte(reader: &mut impl Read) -> std::io::Result<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// The frame count an animated PNG claims before its pixels.
fn png_frames(reader: &mut (impl Read + Seek)) -> Option<u32> {
    reader.seek_relative(8).ok()?;
    loop {
        let mut chunk = [0; 8];
        reader.read_exact(&mut chunk).ok()?;
        let length = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        match &chunk[4..] {
            b"acTL" => {
                let mut count = [0; 4];
                reader.read_exact(&mut count).ok()?;
                return Some(u32::from_be_bytes(count));
            }
            b"IDAT" => return Some(1),
            _ => reader.seek_relative(i64::from(length) + 4).ok()?,
        }
    }
}

/// Counts the animation frames of a WebP. A file that ends early has the frames seen so far.
fn webp_frames(reader: &mut (impl Read + Seek)) -> u32 {
    let mut count = 0;
    let mut walk = || -> std::io::Result<()> {
        reader.seek_relative(12)?;
        loop {
            let mut chunk = [0; 8];
            reader.read_exact(&mut chunk)?;
            if &chunk[..4] == b"ANMF" {
                count += 1;
            }
            let length = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
            // Chunks are padded to even lengths.
            reader.seek_relative(i64::from(length) + i64::from(length & 1))?;
        }
    };
    let _ = walk();
    count
}
