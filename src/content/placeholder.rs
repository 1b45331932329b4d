//! What is shown while a picture is on its way: drawn from its ThumbHash. Pure functions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, RgbaImage};
use url::Url;

/// Longer side in pixels: what fits into some 500 bytes, and as much as a ThumbHash tells.
const SIDE: u32 = 14;

/// The text form of a ThumbHash, as its libraries for browsers take it.
pub fn text(thumbhash: &[u8]) -> String {
    STANDARD.encode(thumbhash)
}

/// A ThumbHash drawn as a `data:` URL of a PNG; `None` if it is none.
pub fn data_url(thumbhash: &[u8]) -> Option<Url> {
    let mut png = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive);
    drawn(thumbhash)?.write_with_encoder(encoder).ok()?;
    Url::parse(&format!("data:image/png;base64,{}", STANDARD.encode(&png))).ok()
}

/// The picture a ThumbHash tells of; opaque ones without an alpha channel.
fn drawn(thumbhash: &[u8]) -> Option<DynamicImage> {
    let (width, height, pixels) = thumbhash::thumb_hash_to_rgba(thumbhash).ok()?;
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let whole = DynamicImage::ImageRgba8(RgbaImage::from_raw(width, height, pixels)?);
    let small = whole.thumbnail(SIDE, SIDE);
    let opaque = small.as_rgba8()?.pixels().all(|pixel| pixel[3] == u8::MAX);
    Some(if opaque { DynamicImage::ImageRgb8(small.into_rgb8()) } else { small })
}
