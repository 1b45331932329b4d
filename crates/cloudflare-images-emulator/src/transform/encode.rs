//! Pixels to files.

use std::fmt;
use std::path::Path;

use axum::http::StatusCode;
use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::metadata::LoopCount;
use image::{DynamicImage, Frame, Frames, ImageEncoder, ImageResult};
use media::exif;
use serde_json::json;

use super::plan::Plan;
use super::{Rendered, adjust, webp};
use crate::answer::Refusal;
use crate::store::Format;
use cloudflare_images::wire::Metadata;

/// The format a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Jpeg,
    Png,
    /// Still or animated.
    Webp,
    /// Still; WebP where AVIF cannot be: see [`avif`].
    Avif {
        /// Longest side, in pixels.
        max_side: u32,
    },
    /// Still or animated.
    Gif,
    /// A document about the image.
    Json,
}

/// Writes one picture. JPEG, WebP and AVIF take their quality from the plan, JPEG what it keeps of the EXIF chunk, which
/// no other format has a place for; an ICC profile is always kept.
pub(crate) fn still(
    pixels: DynamicImage,
    output: Output,
    plan: &Plan,
    exif: Option<Vec<u8>>,
    icc: Option<Vec<u8>>,
) -> Result<Rendered, Refusal> {
    let mut bytes = Vec::new();
    let media_type = match output {
        Output::Jpeg => {
            let mut encoder = JpegEncoder::new_with_quality(&mut bytes, plan.quality);
            let exif = exif.and_then(|chunk| kept(chunk, plan.metadata));
            // Other formats hold more than the one segment that JPEG has for it.
            if let Some(exif) = exif.filter(|exif| exif.len() <= MAX_EXIF) {
                encoder.set_exif_metadata(exif).map_err(unwritable)?;
            }
            write(adjust::opaque(pixels), encoder, icc)?;
            Format::Jpeg.media_type()
        }
        Output::Png => {
            write(pixels, PngEncoder::new(&mut bytes), icc)?;
            Format::Png.media_type()
        }
        Output::Avif { max_side } => match avif(&pixels, plan, max_side, icc.as_deref())? {
            Some(written) => {
                bytes = written;
                "image/avif"
            }
            None => return still(pixels, Output::Webp, plan, exif, icc),
        },
        Output::Webp => {
            bytes = webp::still(pixels, plan.quality, icc.as_deref()).map_err(unwritable)?;
            Format::Webp.media_type()
        }
        Output::Gif => {
            let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
            encoder.encode_frame(image::Frame::new(pixels.into_rgba8())).map_err(unwritable)?;
            drop(encoder);
            Format::Gif.media_type()
        }
        Output::Json => "application/json",
    };
    Ok(Rendered { bytes: bytes.into(), media_type })
}

/// Writes a picture as AVIF, if this build can, the picture is not too large for it, and its colours are sRGB: a
/// profile would be lost.
#[cfg(feature = "avif")]
fn avif(
    pixels: &DynamicImage,
    plan: &Plan,
    max_side: u32,
    icc: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let other_colours = icc.is_some_and(|profile| !profile.windows(4).any(|name| name == b"sRGB"));
    if pixels.width().max(pixels.height()) > max_side || other_colours {
        return Ok(None);
    }
    super::avif::still(pixels, plan.quality).map(Some).map_err(unwritable)
}

/// This build cannot.
#[cfg(not(feature = "avif"))]
fn avif(_: &DynamicImage, _: &Plan, _: u32, _: Option<&[u8]>) -> Result<Option<Vec<u8>>, Refusal> {
    Ok(None)
}

/// Writes an animated WebP, frame by frame.
pub(crate) fn webp_animation(
    frames: impl Iterator<Item = ImageResult<Frame>>,
    loops: LoopCount,
    quality: u8,
) -> Result<Rendered, Refusal> {
    let loops = match loops {
        LoopCount::Infinite => 0,
        LoopCount::Finite(times) => times.get().try_into().unwrap_or(u16::MAX),
    };
    let mut animation = webp::Animation::new(quality, loops);
    for frame in frames {
        let frame = frame.map_err(carried_or_unwritable)?;
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        let milliseconds = numerator / denominator.max(1);
        animation.push(frame.into_buffer(), milliseconds).map_err(unwritable)?;
    }
    let bytes = animation.finish().map_err(unwritable)?;
    Ok(Rendered { bytes: bytes.into(), media_type: Format::Webp.media_type() })
}

/// Writes an animated GIF, frame by frame.
pub(crate) fn gif(frames: Frames<'_>, loops: LoopCount) -> Result<Rendered, Refusal> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
    let repeat = match loops {
        LoopCount::Infinite => Repeat::Infinite,
        LoopCount::Finite(times) => Repeat::Finite(times.get().try_into().unwrap_or(u16::MAX)),
    };
    encoder.set_repeat(repeat).map_err(unwritable)?;
    encoder.try_encode_frames(frames).map_err(carried_or_unwritable)?;
    drop(encoder);
    Ok(Rendered { bytes: bytes.into(), media_type: Format::Gif.media_type() })
}

/// The answer to `format=json`: the size the image would have, and what the original is.
pub(crate) fn document(
    path: &Path,
    source: Format,
    original: (u32, u32),
    outcome: (u32, u32),
) -> Result<Rendered, Refusal> {
    let document = json!({
        "width": outcome.0,
        "height": outcome.1,
        "original": {
            "file_size": std::fs::metadata(path)?.len(),
            "width": original.0,
            "height": original.1,
            "format": source.media_type(),
        },
    });
    Ok(Rendered { bytes: document.to_string().into(), media_type: "application/json" })
}

/// A refusal on its way through an encoder.
#[derive(Debug)]
pub(crate) struct Carried(pub(crate) Refusal);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Carried {}

/// 1 is slow and true to colours, 30 fast.
const GIF_SPEED: i32 = 10;

fn write(pixels: DynamicImage, mut encoder: impl ImageEncoder, icc: Option<Vec<u8>>) -> Result<(), Refusal> {
    if let Some(profile) = icc {
        encoder.set_icc_profile(profile).map_err(unwritable)?;
    }
    pixels.write_with_encoder(encoder).map_err(unwritable)
}

/// Longest EXIF of a JPEG, in bytes: a segment less its length and its name.
const MAX_EXIF: usize = 0xffff - 2 - 6;

/// What the policy leaves of an EXIF chunk.
fn kept(chunk: Vec<u8>, policy: Metadata) -> Option<Vec<u8>> {
    match policy {
        Metadata::Keep => Some(chunk),
        Metadata::None => None,
        Metadata::Copyright => exif::copyright_only(chunk),
    }
}

fn carried_or_unwritable(error: image::ImageError) -> Refusal {
    if let image::ImageError::IoError(io) = &error
        && let Some(Carried(refusal)) = io.get_ref().and_then(|inner| inner.downcast_ref())
    {
        return refusal.clone();
    }
    unwritable(error)
}

fn unwritable(error: impl fmt::Display) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 9516, format!("error during encoding: {error}"))
}
