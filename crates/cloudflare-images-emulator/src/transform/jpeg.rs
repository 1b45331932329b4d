//! Encodes JPEG, with libjpeg's own code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::RgbImage;
use mozjpeg::qtable::{AnnexK_Chroma, AnnexK_Luma, QTable};
use mozjpeg::{ColorSpace, Compress, Marker};

/// Encodes an image, with EXIF from its TIFF header on and an ICC profile.
///
/// Baseline, with Huffman tables for the image; below a quality of 90 with one sample of colour for four pixels. Trellis
/// quantisation and progressive scans, which make mozjpeg's files smaller, take several times as long.
pub(crate) fn still(
    pixels: &RgbImage,
    quality: u8,
    exif: Option<&[u8]>,
    icc: Option<&[u8]>,
) -> Result<Vec<u8>, String> {
    // mozjpeg reports errors of libjpeg as panics whose payload is the message.
    match catch_unwind(AssertUnwindSafe(|| encode_or_panic(pixels, quality, exif, icc))) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panic) => {
            Err(panic.downcast::<String>().map_or_else(|_| "the encoder failed".to_owned(), |text| *text))
        }
    }
}

fn encode_or_panic(
    pixels: &RgbImage,
    quality: u8,
    exif: Option<&[u8]>,
    icc: Option<&[u8]>,
) -> std::io::Result<Vec<u8>> {
    let mut encoder = Compress::new(ColorSpace::JCS_RGB);
    encoder.set_fastest_defaults();
    encoder.set_optimize_coding(true);
    encoder.set_size(pixels.width() as usize, pixels.height() as usize);
    encoder.set_quality(f32::from(quality));
    if quality < FITTING {
        let scaled = |table: &QTable| table.scaled(f32::from(quality.max(1)), f32::from(quality.max(1)));
        encoder.set_luma_qtable(&scaled(&AnnexK_Luma));
        encoder.set_chroma_qtable(&scaled(&AnnexK_Chroma));
    }
    let chroma = if quality < FULL_COLOUR { (2, 2) } else { (1, 1) };
    encoder.set_chroma_sampling_pixel_sizes(chroma, chroma);
    let mut encoder = encoder.start_compress(Vec::new())?;
    if let Some(exif) = exif.filter(|exif| exif.len() <= MAX_EXIF) {
        encoder.write_marker(Marker::APP(1), &[b"Exif\0\0", exif].concat());
    }
    for part in icc.map(profile_segments).unwrap_or_default() {
        encoder.write_marker(Marker::APP(2), &part);
    }
    encoder.write_scanlines(pixels)?;
    encoder.finish()
}

/// From this quality on, each pixel has its own colour.
const FULL_COLOUR: u8 = 90;
/// From this quality on, the divisors fit into the bytes that baseline JPEG has for them; below, they are limited.
const FITTING: u8 = 24;
/// Longest segment, in bytes, without its length field.
const MAX_SEGMENT: usize = 0xffff - 2;
/// Longest EXIF: that of other formats may be longer than the one segment JPEG has for it.
const MAX_EXIF: usize = MAX_SEGMENT - 6;
/// Longest part of an ICC profile, without its name, number and count.
const MAX_PROFILE_PART: usize = MAX_SEGMENT - 14;

/// The ICC profile in segments, which are counted from 1; none if 255 of them are too few. Source: ICC.1, annex B.4.
fn profile_segments(icc: &[u8]) -> Vec<Vec<u8>> {
    let parts = icc.chunks(MAX_PROFILE_PART);
    let Ok(count) = u8::try_from(parts.len()) else { return Vec::new() };
    parts
        .zip(1..=count)
        .map(|(part, number)| [b"ICC_PROFILE\0", &[number, count][..], part].concat())
        .collect()
}
