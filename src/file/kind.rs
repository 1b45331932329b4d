//! What bytes are, found by looking at them: type, pixel size, frames, EXIF. Nothing here decodes pixels.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use media::sniff::{self, Sniffed};
use media::{heic, svg};

use crate::cloudflare::wire::{MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE};
use crate::entity::image::Format;
use crate::error::{Code, Error, Result};
use crate::file::exif;
use crate::file::mime::{self, Declared};
use crate::file::spool::Spool;

/// What a file is.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// MIME type: by the bytes, and as declared where they do not tell.
    pub mime_type: String,
    /// `None` for what Cloudflare Images does not take.
    pub picture: Option<Picture>,
    /// What the bytes tell.
    sniffed: Sniffed,
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
    pub async fn of(spool: &Spool, declared: Declared<'_>) -> Result<Kind> {
        let file = spool.reader().map_err(|io| Error::fault("reading a spooled upload", io))?;
        // A parser's panic on hostile bytes ends up here as well, and is the bytes' fault.
        let (sniffed, picture) =
            tokio::task::spawn_blocking(move || look(file)).await.unwrap_or_else(|_| Err(corrupt()))?;
        Ok(Kind { mime_type: mime_type(sniffed, declared), picture, sniffed })
    }

    /// Checks what the bytes were declared to be. Only what is known to be something else is contradicted.
    ///
    /// # Errors
    /// `MIME_TYPE_MISMATCH` for another type that was declared as that of an image.
    pub fn check_claim(&self, declared: Declared<'_>) -> Result<()> {
        let Some(claimed) = declared.bare().filter(|claimed| claimed.starts_with("image/")) else {
            return Ok(());
        };
        let found = self.mime_type.as_str();
        let known = matches!(self.sniffed, Sniffed::Other(_) | Sniffed::Text(_));
        // Compressed drawings are drawings to a browser, and vendors put their own formats into common containers.
        let contained = match self.sniffed {
            Sniffed::Other("application/gzip") if mime::canonical(&claimed) == "image/svg+xml" => true,
            Sniffed::Other(_) => !mime::is_known(&claimed),
            _ => false,
        };
        if !known || found.starts_with("image/") || contained || mime::names(found).contains(&&*claimed) {
            return Ok(());
        }
        let message =
            format!("The file was sent as {claimed}, but its bytes are {found}. Send it under its own type.");
        Err(Error::refuse(Code::MimeTypeMismatch, message))
    }

    /// Checks that an image can be made of it, if it is a picture.
    ///
    /// # Errors
    /// `UNSUPPORTED_MIME_TYPE` for a variety of a format that nobody shows, and what [`Picture::check`] refuses.
    pub fn check_image(&self, bytes: u64) -> Result<()> {
        if let Sniffed::Odd(_, what) = self.sniffed {
            let message = format!("The file is {what}. {INSTEAD}");
            return Err(Error::refuse(Code::UnsupportedMimeType, message));
        }
        self.picture.as_ref().map_or(Ok(()), |picture| picture.check(bytes))
    }
}

/// What to do with a picture that cannot become an image.
const INSTEAD: &str = "Set `image.provision` to false to store it as a plain file.";

/// The type by the bytes; by what was declared where they are text of whatever kind, or have no signature.
fn mime_type(sniffed: Sniffed, declared: Declared<'_>) -> String {
    let named = |known: &str| declared.bare().filter(|bare| mime::names(known).contains(&bare.as_str()));
    let told = match sniffed {
        Sniffed::Picture(_, known) | Sniffed::Odd(known, _) | Sniffed::Damaged(known) => {
            Some(known.to_owned())
        }
        // Where a picture's type has several names, that which was sent.
        Sniffed::Other(known) if known.starts_with("image/") => named(known).or(Some(known.to_owned())),
        Sniffed::Other(known) => Some(known.to_owned()),
        Sniffed::Text(guess) => {
            declared.text().filter(|text| text != "text/plain").or(Some(guess.to_owned()))
        }
        Sniffed::OldText => declared.text().or_else(|| declared.unsigned()),
        Sniffed::Unknown => declared.unsigned(),
    };
    told.unwrap_or_else(|| "application/octet-stream".to_owned())
}

impl Picture {
    /// Checks what Cloudflare Images would refuse, before a byte is sent there.
    ///
    /// # Errors
    /// `FILE_TOO_LARGE` above 10 MiB, `IMAGE_TOO_LARGE` above 12,000 pixels a side or 100 megapixels.
    pub fn check(&self, bytes: u64) -> Result<()> {
        if bytes > MAX_IMAGE_BYTES {
            let message = format!("An image may have at most {MAX_IMAGE_BYTES} bytes. {INSTEAD}");
            return Err(Error::refuse(Code::FileTooLarge, message));
        }
        // Drawings are delivered as they are: their size is no number of pixels that anybody decodes.
        let Some((width, height)) = self.size.filter(|_| self.format != Format::Svg) else { return Ok(()) };
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

fn look(file: File) -> Result<(Sniffed, Option<Picture>)> {
    let unreadable = |io| Error::fault("reading a spooled upload", io);
    let mut reader = BufReader::new(file);
    let sniffed = sniff::sniff(&mut reader).map_err(unreadable)?;
    let format = match sniffed {
        Sniffed::Picture(format, _) => Format::from(format),
        Sniffed::Damaged(_) => return Err(corrupt()),
        _ => return Ok((sniffed, None)),
    };
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if format == Format::Svg {
        let size = svg::Root::read(reader).ok_or_else(corrupt)?.size();
        return Ok((sniffed, Some(Picture { format, size, frames: 1, exif: None })));
    }
    let (exif, orientation) = exif::read(&mut reader);
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut size = match format {
        Format::Heic => heic::size(&mut reader).map_err(unreadable)?.ok_or_else(corrupt)?,
        _ => raster_size(&mut reader)?,
    };
    if size.0 == 0 || size.1 == 0 {
        return Err(corrupt());
    }
    // HEIC says its rotation in the container, which its size follows; readers do not apply that of its EXIF.
    if (5..=8).contains(&orientation) && format != Format::Heic {
        size = (size.1, size.0);
    }
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let frames = frames(format, &mut reader).unwrap_or(1).max(1);
    Ok((sniffed, Some(Picture { format, size: Some(size), frames, exif })))
}

fn raster_size(reader: &mut (impl BufRead + Seek)) -> Result<(u32, u32)> {
    let size = imagesize::reader_size(reader).map_err(|_| corrupt())?;
    Ok((u32::try_from(size.width).unwrap_or(u32::MAX), u32::try_from(size.height).unwrap_or(u32::MAX)))
}

impl From<sniff::Format> for Format {
    fn from(format: sniff::Format) -> Self {
        match format {
            sniff::Format::Gif => Format::Gif,
            sniff::Format::Heic => Format::Heic,
            sniff::Format::Jpeg => Format::Jpeg,
            sniff::Format::Png => Format::Png,
            sniff::Format::Svg => Format::Svg,
            sniff::Format::Webp => Format::Webp,
        }
    }
}

/// MIME types that become images. AVIF is for Cloudflare's Enterprise plans only and stays a plain file here.
pub const IMAGE_MIME_TYPES: [&str; 7] =
    ["image/gif", "image/heic", "image/heif", "image/jpeg", "image/png", "image/svg+xml", "image/webp"];

fn corrupt() -> Error {
    Error::refuse(
        Code::CorruptImage,
        "The file begins like an image but its header cannot be read; it may be damaged or cut off.",
    )
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
