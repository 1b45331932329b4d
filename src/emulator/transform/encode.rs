//! Pixels to files.

use std::fmt;
use std::path::Path;

use axum::http::StatusCode;
use exif::{In, Tag};
use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::metadata::LoopCount;
use image::{DynamicImage, Frames, ImageEncoder};
use serde_json::json;

use super::plan::Plan;
use super::{Rendered, adjust};
use crate::cloudflare::wire::Metadata;
use crate::emulator::answer::Refusal;
use crate::emulator::store::Format;

/// The format a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Output {
    Jpeg,
    Png,
    /// Lossless: there is no other encoder at hand.
    Webp,
    /// The only one that can be animated.
    Gif,
    /// A document about the image.
    Json,
}

/// Writes one picture. JPEG takes quality and metadata from the plan; an ICC profile is always kept.
pub(in crate::emulator) fn still(
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
            if let Some(exif) = exif.and_then(|chunk| kept(chunk, plan.metadata)) {
                encoder.set_exif_metadata(exif).map_err(unwritable)?;
            }
            write(adjust::opaque(pixels), encoder, icc)?;
            Format::Jpeg.media_type()
        }
        Output::Png => {
            write(pixels, PngEncoder::new(&mut bytes), icc)?;
            Format::Png.media_type()
        }
        Output::Webp => {
            write(pixels, WebPEncoder::new_lossless(&mut bytes), icc)?;
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

/// Writes an animation, frame by frame.
pub(in crate::emulator) fn gif(frames: Frames<'_>, loops: LoopCount) -> Result<Rendered, Refusal> {
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
pub(in crate::emulator) fn document(
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
pub(in crate::emulator) struct Carried(pub(in crate::emulator) Refusal);

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

/// What the policy leaves of an EXIF chunk.
fn kept(chunk: Vec<u8>, policy: Metadata) -> Option<Vec<u8>> {
    match policy {
        Metadata::Keep => Some(chunk),
        Metadata::None => None,
        Metadata::Copyright => {
            let exif = exif::Reader::new().read_raw(chunk).ok()?;
            let notice = exif.get_field(Tag::Copyright, In::PRIMARY)?;
            let mut writer = exif::experimental::Writer::new();
            writer.push_field(notice);
            let mut chunk = std::io::Cursor::new(Vec::new());
            writer.write(&mut chunk, exif.little_endian()).ok()?;
            Some(chunk.into_inner())
        }
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
