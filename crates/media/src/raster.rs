//! JPEG, PNG, GIF and WebP before their pixels are decoded: size, orientation, frames, EXIF.

use std::io::{self, BufRead, Read, Seek};

use crate::{exif, gif, jpeg, png, webp};

/// Most pixels of a picture that is decoded: what Cloudflare Images takes.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Longest EXIF or colour profile that is read, in bytes: many times what cameras and programs write.
pub(crate) const MAX_METADATA: u64 = 4 * 1024 * 1024;

/// A raster format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Gif,
    Jpeg,
    Png,
    Webp,
}

/// Why a picture cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub(crate) String);

impl Damaged {
    pub(crate) fn new(why: &str) -> Self {
        Damaged(why.to_owned())
    }
}

impl From<io::Error> for Damaged {
    fn from(error: io::Error) -> Self {
        Damaged(match error.kind() {
            io::ErrorKind::UnexpectedEof => "unexpected end of file".to_owned(),
            _ => error.to_string(),
        })
    }
}

impl From<image::ImageError> for Damaged {
    fn from(error: image::ImageError) -> Self {
        Damaged(error.to_string())
    }
}

/// What is known of a picture without decoding it.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Width and height in pixels as stored, before the EXIF orientation.
    pub stored: (u32, u32),
    /// 1 for a still picture.
    pub frames: u32,
    /// The first EXIF of the file, from its TIFF header on.
    pub exif: Option<Vec<u8>>,
}

impl Head {
    /// Width and height in pixels, upright.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.stored;
        let orientation = self.exif.as_deref().map_or(1, exif::orientation);
        if orientation >= 5 { (height, width) } else { (width, height) }
    }
}

/// Reads what comes before the pixels, and counts frames.
///
/// What follows the first picture of a file does not matter, nor what is wrong with parts that are not needed: fill bytes,
/// missing ends, wrong checksums of ancillary chunks.
///
/// # Errors
/// The size cannot be found, or is 0.
pub fn head(reader: &mut (impl BufRead + Seek), format: Format) -> Result<Head, Damaged> {
    let head = match format {
        Format::Gif => gif::head(reader),
        Format::Jpeg => jpeg::head(reader),
        Format::Png => png::head(reader),
        Format::Webp => webp::head(reader),
    }?;
    if head.stored.0 == 0 || head.stored.1 == 0 {
        return Err(Damaged::new("the image has no pixels"));
    }
    Ok(head)
}

/// Refuses what would take more memory than any picture may.
pub(crate) fn check_area((width, height): (u32, u32)) -> Result<(), Damaged> {
    if width == 0 || height == 0 {
        return Err(Damaged::new("the image has no pixels"));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Damaged(format!("the image has more than {MAX_PIXELS} pixels")));
    }
    Ok(())
}

pub(crate) fn bytes<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The next bytes, as many as there are and may be.
pub(crate) fn at_most(reader: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(length.min(MAX_METADATA)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Goes to a place in the file, and keeps what a buffer holds of it.
pub(crate) fn go_to(reader: &mut impl Seek, place: u64) -> io::Result<()> {
    let here = reader.stream_position()?;
    reader.seek_relative(place as i64 - here as i64)
}
