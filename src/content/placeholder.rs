//! Placeholder images, shown while the picture loads: rendered from a ThumbHash.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, RgbaImage};
use url::Url;

/// Longer side of a placeholder in pixels: its PNG has about 500 bytes, and a ThumbHash has no more detail.
const MAX_SIDE: u32 = 14;

/// A ThumbHash in base64, the form that its JavaScript libraries take.
pub fn to_base64(thumbhash: &[u8]) -> String {
    STANDARD.encode(thumbhash)
}

/// A `data:` URL of the PNG rendered from a ThumbHash; `None` if the ThumbHash is invalid.
pub fn data_url(thumbhash: &[u8]) -> Option<Url> {
    let mut png = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive);
    render(thumbhash)?.write_with_encoder(encoder).ok()?;
    Url::parse(&format!("data:image/png;base64,{}", STANDARD.encode(&png))).ok()
}

/// Renders a ThumbHash; without an alpha channel if it is opaque.
fn render(thumbhash: &[u8]) -> Option<DynamicImage> {
    let (width, height, pixels) = thumbhash::thumb_hash_to_rgba(thumbhash).ok()?;
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let rendered = DynamicImage::ImageRgba8(RgbaImage::from_raw(width, height, pixels)?);
    let small = rendered.thumbnail(MAX_SIDE, MAX_SIDE);
    let opaque = small.as_rgba8()?.pixels().all(|pixel| pixel[3] == u8::MAX);
    Some(if opaque { DynamicImage::ImageRgb8(small.into_rgb8()) } else { small })
}
