//! JPEG, PNG, GIF and WebP without decoding their pixels: size, orientation, number of frames, EXIF.

use std::io::{self, BufRead, Read, Seek};

use crate::{exif, gif, jpeg, png, webp};

/// Most pixels of an image that is decoded: the limit of Cloudflare Images.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Longest EXIF or colour profile that is read, in bytes. Cameras and programs write far less.
pub(crate) const MAX_METADATA: u64 = 4 * 1024 * 1024;

/// A raster format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// GIF, still or animated.
    Gif,
    /// JPEG.
    Jpeg,
    /// PNG. Of an animated PNG the default image is decoded.
    Png,
    /// WebP, still or animated.
    Webp,
}

/// Why an image cannot be read. The text can be shown to the person who sent the file.
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

/// The properties of an image that can be read without decoding its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Width and height in pixels as stored, before the EXIF orientation.
    pub stored: (u32, u32),
    /// Number of frames; 1 for a still image.
    pub frames: u32,
    /// The first EXIF of the file, from its TIFF header on.
    pub exif: Option<Vec<u8>>,
}

impl Header {
    /// Width and height in pixels after the EXIF orientation.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.stored;
        let orientation = self.exif.as_deref().map_or(1, exif::orientation);
        if orientation >= 5 { (height, width) } else { (width, height) }
    }
}

/// Reads the header of an image, and counts its frames.
///
/// As tolerant as browsers: data after the image, fill bytes, missing end markers and wrong checksums of ancillary chunks are
/// no errors.
///
/// # Errors
/// The size cannot be found, or is 0.
pub fn header(reader: &mut (impl BufRead + Seek), format: Format) -> Result<Header, Damaged> {
    let header = match format {
        Format::Gif => gif::header(reader),
        Format::Jpeg => jpeg::header(reader),
        Format::Png => png::header(reader),
        Format::Webp => webp::header(reader),
    }?;
    if header.stored.0 == 0 || header.stored.1 == 0 {
        return Err(Damaged::new("the image has no pixels"));
    }
    Ok(header)
}

/// Rejects images without pixels and those with more than [`MAX_PIXELS`].
pub(crate) fn check_area((width, height): (u32, u32)) -> Result<(), Damaged> {
    if width == 0 || height == 0 {
        return Err(Damaged::new("the image has no pixels"));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Damaged(format!("the image has more than {MAX_PIXELS} pixels")));
    }
    Ok(())
}

/// The next `N` bytes.
pub(crate) fn read_array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The next `length` bytes, or fewer at the end of the file; never more than [`MAX_METADATA`].
pub(crate) fn read_at_most(reader: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(length.min(MAX_METADATA)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Seeks to an offset from the beginning. A relative seek, because an absolute one would discard the reader's buffer.
pub(crate) fn seek_to(reader: &mut impl Seek, offset: u64) -> io::Result<()> {
    let position = reader.stream_position()?;
    reader.seek_relative(offset as i64 - position as i64)
}
