//! Detection of MIME type, dimensions, number of frames and EXIF from the bytes of a file. Pixels are not decoded.

use std::io::{BufReader, Seek, SeekFrom};

use media::sniff::{self, Sniffed};
use media::{exif, heic, raster, svg};

use crate::content::mime::{self, DeclaredType};
use crate::entity::image::Format;
use crate::error::{Code, Error, Result};
use crate::storage::spool::{FileReader, Spool};
use cloudflare_images::wire::{MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE};

/// The detected content of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectedContent {
    /// MIME type: detected from the bytes, or the declared one if the bytes do not identify it.
    pub mime_type: String,
    /// `None` for formats that Cloudflare Images does not accept.
    pub picture: Option<Picture>,
    sniffed: Sniffed,
}

/// The properties of a picture that are read from its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub format: Format,
    /// Width and height in pixels after EXIF rotation; `None` for an SVG without an intrinsic size.
    pub size: Option<(u32, u32)>,
    /// Number of frames; 1 unless animated.
    pub frames: u32,
    pub exif: Option<serde_json::Value>,
}

impl DetectedContent {
    /// Detects the content of received bytes.
    ///
    /// # Errors
    /// `CORRUPT_IMAGE` if the bytes have the signature of an image format but no valid header.
    pub async fn detect(spool: &Spool, declared: DeclaredType<'_>) -> Result<DetectedContent> {
        let file = spool.reader();
        // A parser that panics does so because of invalid bytes, so a panic counts as a corrupt image.
        let (sniffed, picture) = tokio::task::spawn_blocking(move || sniff_and_measure(file))
            .await
            .unwrap_or_else(|_| Err(corrupt_image()))?;
        Ok(DetectedContent { mime_type: mime_type(sniffed, declared), picture, sniffed })
    }

    /// Checks the declared type against the bytes. It is rejected only if the bytes are certainly of another type.
    ///
    /// # Errors
    /// `MIME_TYPE_MISMATCH` if an image type is declared and the bytes are not an image.
    pub fn check_declared(&self, declared: DeclaredType<'_>) -> Result<()> {
        let Some(declared) = declared.essence().filter(|declared| declared.starts_with("image/")) else {
            return Ok(());
        };
        let detected = self.mime_type.as_str();
        let is_certain = matches!(self.sniffed, Sniffed::Other(_) | Sniffed::Text(_));
        // Browsers treat a compressed SVG as an SVG, and vendors put their own image formats into common containers.
        let may_contain_declared = match self.sniffed {
            Sniffed::Other("application/gzip") if mime::canonical(&declared) == "image/svg+xml" => true,
            Sniffed::Other(_) => !mime::has_signature(&declared),
            _ => false,
        };
        let is_alias = mime::aliases(detected).contains(&&*declared);
        if !is_certain || detected.starts_with("image/") || may_contain_declared || is_alias {
            return Ok(());
        }
        let message = format!(
            "The file was sent as {declared}, but its content is {detected}. Send it with that type."
        );
        Err(Error::refuse(Code::MimeTypeMismatch, message))
    }

    /// Checks that Cloudflare Images accepts the picture, if the file is one. `bytes` is the size of the file.
    ///
    /// # Errors
    /// `UNSUPPORTED_MIME_TYPE` for an unsupported variety of an image format, and the errors of [`Picture::check`].
    pub fn check_image(&self, bytes: u64) -> Result<()> {
        if let Sniffed::Unsupported(_, what) = self.sniffed {
            let message = format!("The file is {what}. {STORE_AS_FILE}");
            return Err(Error::refuse(Code::UnsupportedMimeType, message));
        }
        self.picture.as_ref().map_or(Ok(()), |picture| picture.check(bytes))
    }
}

/// Advice in the errors for pictures that cannot be provisioned.
const STORE_AS_FILE: &str = "Set `image.provision` to false to store it as a plain file.";

/// The MIME type. The declared type decides between types of text, and for bytes without a signature.
fn mime_type(sniffed: Sniffed, declared: DeclaredType<'_>) -> String {
    let declared_alias =
        |known: &str| declared.essence().filter(|name| mime::aliases(known).contains(&name.as_str()));
    let mime_type = match sniffed {
        Sniffed::Image(_, known) | Sniffed::Unsupported(known, _) | Sniffed::Damaged(known) => {
            Some(known.to_owned())
        }
        // If an image type has several names, the declared one is kept.
        Sniffed::Other(known) if known.starts_with("image/") => {
            declared_alias(known).or(Some(known.to_owned()))
        }
        Sniffed::Other(known) => Some(known.to_owned()),
        Sniffed::Text(guess) => {
            declared.text_type().filter(|text| text != "text/plain").or(Some(guess.to_owned()))
        }
        Sniffed::LegacyText => declared.text_type().or_else(|| declared.type_without_signature()),
        Sniffed::Unknown => declared.type_without_signature(),
    };
    mime_type.unwrap_or_else(|| "application/octet-stream".to_owned())
}

impl Picture {
    /// Checks the limits of Cloudflare Images before bytes are sent there. `bytes` is the size of the file.
    ///
    /// # Errors
    /// `FILE_TOO_LARGE` above 10 MiB, `IMAGE_TOO_LARGE` above 12,000 pixels a side or 100 megapixels.
    pub fn check(&self, bytes: u64) -> Result<()> {
        if bytes > MAX_IMAGE_BYTES {
            let message = format!("An image may have at most {MAX_IMAGE_BYTES} bytes. {STORE_AS_FILE}");
            return Err(Error::refuse(Code::FileTooLarge, message));
        }
        // An SVG is delivered unchanged: its size is not a number of pixels that are decoded.
        let Some((width, height)) = self.size.filter(|_| self.format != Format::Svg) else { return Ok(()) };
        // Cloudflare exempts WebP from this limit; the format itself allows 16,383 pixels per side.
        if width.max(height) > MAX_SIDE && self.format != Format::Webp {
            let message = format!(
                "An image may have at most {MAX_SIDE} pixels per side; this one has {width} × {height}. {STORE_AS_FILE}"
            );
            return Err(Error::refuse(Code::ImageTooLarge, message));
        }
        let frames = if self.format == Format::Png { 1 } else { self.frames };
        if (u64::from(width) * u64::from(height)).saturating_mul(u64::from(frames)) > MAX_PIXELS {
            let message = format!(
                "An image may have at most {MAX_PIXELS} pixels in all frames together. {STORE_AS_FILE}"
            );
            return Err(Error::refuse(Code::ImageTooLarge, message));
        }
        Ok(())
    }
}

/// Detects the format, and reads the header of a picture.
fn sniff_and_measure(file: FileReader) -> Result<(Sniffed, Option<Picture>)> {
    let unreadable = |io| Error::fault("reading a spooled upload", io);
    let mut reader = BufReader::new(file);
    let sniffed = sniff::sniff(&mut reader).map_err(unreadable)?;
    let format = match sniffed {
        Sniffed::Image(format, _) => Format::from(format),
        Sniffed::Damaged(_) => return Err(corrupt_image()),
        _ => return Ok((sniffed, None)),
    };
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if format == Format::Svg {
        let size = svg::Root::read(reader).ok_or_else(corrupt_image)?.size();
        return Ok((sniffed, Some(Picture { format, size, frames: 1, exif: None })));
    }
    let picture = match raster_format(format) {
        Some(raster) => {
            let head = raster::header(&mut reader, raster).map_err(|_| corrupt_image())?;
            let (size, frames) = (Some(head.size()), head.frames);
            Picture { format, size, frames, exif: head.exif.and_then(exif::tags) }
        }
        None => {
            let exif = exif::from_heic(&mut reader).and_then(exif::tags);
            reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
            // The size of a HEIC follows the rotation in its container; readers ignore the orientation in its EXIF.
            let size = heic::size(&mut reader).map_err(unreadable)?;
            let size = size.filter(|size| size.0 > 0 && size.1 > 0).ok_or_else(corrupt_image)?;
            Picture { format, size: Some(size), frames: 1, exif }
        }
    };
    Ok((sniffed, Some(picture)))
}

/// The raster format; `None` for formats whose pixels cannot be decoded here.
pub fn raster_format(format: Format) -> Option<raster::Format> {
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

/// MIME types that can be provisioned. Cloudflare accepts AVIF on Enterprise plans only, so AVIF is stored as a plain file.
pub const IMAGE_MIME_TYPES: [&str; 7] =
    ["image/gif", "image/heic", "image/heif", "image/jpeg", "image/png", "image/svg+xml", "image/webp"];

fn corrupt_image() -> Error {
    Error::refuse(
        Code::CorruptImage,
        "The file has the signature of an image but its header cannot be read; it may be damaged or truncated.",
    )
}
