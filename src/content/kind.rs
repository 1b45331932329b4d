//! What bytes are, found by looking at them: type, pixel size, frames, EXIF. Nothing here decodes pixels.

use std::io::{BufReader, Seek, SeekFrom};

use media::sniff::{self, Sniffed};
use media::{exif, heic, raster, svg};

use crate::content::mime::{self, Declared};
use crate::entity::image::Format;
use crate::error::{Code, Error, Result};
use crate::storage::spool::{Reader, Spool};
use cloudflare_images::wire::{MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE};

/// What a file is.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentKind {
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

impl ContentKind {
    /// Looks at received bytes.
    ///
    /// # Errors
    /// `CORRUPT_IMAGE` if they begin like a picture but its header makes no sense.
    pub async fn of(spool: &Spool, declared: Declared<'_>) -> Result<ContentKind> {
        let file = spool.reader();
        // A parser's panic on hostile bytes ends up here as well, and is the bytes' fault.
        let (sniffed, picture) =
            tokio::task::spawn_blocking(move || look(file)).await.unwrap_or_else(|_| Err(corrupt()))?;
        Ok(ContentKind { mime_type: mime_type(sniffed, declared), picture, sniffed })
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
        if let Sniffed::Unsupported(_, what) = self.sniffed {
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
        Sniffed::Image(_, known) | Sniffed::Unsupported(known, _) | Sniffed::Damaged(known) => {
            Some(known.to_owned())
        }
        // Where a picture's type has several names, that which was sent.
        Sniffed::Other(known) if known.starts_with("image/") => named(known).or(Some(known.to_owned())),
        Sniffed::Other(known) => Some(known.to_owned()),
        Sniffed::Text(guess) => {
            declared.text().filter(|text| text != "text/plain").or(Some(guess.to_owned()))
        }
        Sniffed::LegacyText => declared.text().or_else(|| declared.unsigned()),
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

fn look(file: Reader) -> Result<(Sniffed, Option<Picture>)> {
    let unreadable = |io| Error::fault("reading a spooled upload", io);
    let mut reader = BufReader::new(file);
    let sniffed = sniff::sniff(&mut reader).map_err(unreadable)?;
    let format = match sniffed {
        Sniffed::Image(format, _) => Format::from(format),
        Sniffed::Damaged(_) => return Err(corrupt()),
        _ => return Ok((sniffed, None)),
    };
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if format == Format::Svg {
        let size = svg::Root::read(reader).ok_or_else(corrupt)?.size();
        return Ok((sniffed, Some(Picture { format, size, frames: 1, exif: None })));
    }
    let picture = match raster(format) {
        Some(raster) => {
            let header = raster::header(&mut reader, raster).map_err(|_| corrupt())?;
            let (size, frames) = (Some(header.size()), header.frames);
            Picture { format, size, frames, exif: header.exif.and_then(exif::tags) }
        }
        None => {
            let exif = exif::from_heic(&mut reader).and_then(exif::tags);
            reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
            // HEIC says its rotation in the container, which its size follows; readers do not apply that of its EXIF.
            let size = heic::size(&mut reader).map_err(unreadable)?;
            let size = size.filter(|size| size.0 > 0 && size.1 > 0).ok_or_else(corrupt)?;
            Picture { format, size: Some(size), frames: 1, exif }
        }
    };
    Ok((sniffed, Some(picture)))
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
