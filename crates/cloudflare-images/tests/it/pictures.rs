//! Images that the tests make.

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, Rgb, RgbImage, RgbaImage};

/// An image of one colour in the given format.
pub(crate) fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    encoded(RgbImage::from_pixel(width, height, Rgb([250, 20, 20])), format)
}

/// A JPEG of 60 × 40 pixels.
pub(crate) fn photo() -> Vec<u8> {
    picture(60, 40, ImageFormat::Jpeg)
}

/// A PNG of 8 × 6 pixels that is different for each seed.
pub(crate) fn png(seed: u32) -> Vec<u8> {
    let mut pixels = RgbImage::new(8, 6);
    pixels.put_pixel(0, 0, Rgb([seed as u8, (seed >> 8) as u8, (seed >> 16) as u8]));
    encoded(pixels, ImageFormat::Png)
}

/// A GIF of 30 × 20 pixels with this many frames.
pub(crate) fn gif(frames: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frames = (0..frames).map(|_| Frame::new(RgbaImage::new(30, 20)));
    GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
    bytes
}

/// A PNG of one pixel whose header claims another size.
pub(crate) fn png_with_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = picture(1, 1, ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn encoded(pixels: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    pixels.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}
