//! Encodes pixels.

use std::fmt;
use std::path::Path;

use axum::http::StatusCode;
use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::png::PngEncoder;
use image::metadata::LoopCount;
use image::{DynamicImage, Frame, Frames, ImageEncoder, ImageResult};
use media::exif;
use serde_json::json;

use super::transformation::Transformation;
use super::{RenderedFile, adjust, jpeg, webp};
use crate::error::ApiError;
use crate::store::Format;
use cloudflare_images::wire::Metadata;

/// The format of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    Jpeg,
    Png,
    /// Still or animated.
    Webp,
    /// Still; WebP if AVIF is not possible: see [`avif`].
    Avif {
        /// Longest side, in pixels.
        max_side: u32,
    },
    /// Still or animated.
    Gif,
    /// JSON with the sizes of the image.
    Json,
}

/// Encodes a still image. The quality of the transformation applies to JPEG, WebP and AVIF. Only JPEG gets EXIF, as far as
/// the transformation keeps it; an ICC profile is kept in JPEG, PNG and WebP.
pub(crate) fn still(
    pixels: DynamicImage,
    output: OutputFormat,
    transformation: &Transformation,
    exif: Option<Vec<u8>>,
    icc: Option<Vec<u8>>,
) -> Result<RenderedFile, ApiError> {
    let mut bytes = Vec::new();
    let media_type = match output {
        OutputFormat::Jpeg => {
            let exif = exif.and_then(|chunk| filter_exif(chunk, transformation.metadata));
            let pixels = adjust::opaque(pixels);
            bytes = jpeg::still(&pixels, transformation.quality, exif.as_deref(), icc.as_deref())
                .map_err(encoding_error)?;
            Format::Jpeg.media_type()
        }
        OutputFormat::Png => {
            let mut encoder = PngEncoder::new(&mut bytes);
            if let Some(profile) = icc {
                encoder.set_icc_profile(profile).map_err(encoding_error)?;
            }
            pixels.write_with_encoder(encoder).map_err(encoding_error)?;
            Format::Png.media_type()
        }
        OutputFormat::Avif { max_side } => match avif(&pixels, transformation, max_side, icc.as_deref())? {
            Some(written) => {
                bytes = written;
                "image/avif"
            }
            None => return still(pixels, OutputFormat::Webp, transformation, exif, icc),
        },
        OutputFormat::Webp => {
            bytes = webp::still(pixels, transformation.quality, icc.as_deref()).map_err(encoding_error)?;
            Format::Webp.media_type()
        }
        OutputFormat::Gif => {
            let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
            encoder.encode_frame(image::Frame::new(pixels.into_rgba8())).map_err(encoding_error)?;
            drop(encoder);
            Format::Gif.media_type()
        }
        OutputFormat::Json => "application/json",
    };
    Ok(RenderedFile { bytes: bytes.into(), media_type })
}

/// Encodes AVIF; `None` if the image is too large or has a profile other than sRGB, which AVIF here cannot have.
#[cfg(feature = "avif")]
fn avif(
    pixels: &DynamicImage,
    transformation: &Transformation,
    max_side: u32,
    icc: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, ApiError> {
    let is_not_srgb = icc.is_some_and(|profile| !profile.windows(4).any(|name| name == b"sRGB"));
    if pixels.width().max(pixels.height()) > max_side || is_not_srgb {
        return Ok(None);
    }
    super::avif::still(pixels, transformation.quality).map(Some).map_err(encoding_error)
}

/// `None`: this build has no AVIF encoder.
#[cfg(not(feature = "avif"))]
fn avif(_: &DynamicImage, _: &Transformation, _: u32, _: Option<&[u8]>) -> Result<Option<Vec<u8>>, ApiError> {
    Ok(None)
}

/// Encodes an animated WebP, one frame at a time.
pub(crate) fn webp_animation(
    frames: impl Iterator<Item = ImageResult<Frame>>,
    loops: LoopCount,
    quality: u8,
) -> Result<RenderedFile, ApiError> {
    let loops = match loops {
        LoopCount::Infinite => 0,
        LoopCount::Finite(times) => times.get().try_into().unwrap_or(u16::MAX),
    };
    let mut animation = webp::Animation::new(quality, loops);
    for frame in frames {
        let frame = frame.map_err(unwrap_api_error)?;
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        let milliseconds = numerator / denominator.max(1);
        animation.push(frame.into_buffer(), milliseconds).map_err(encoding_error)?;
    }
    let bytes = animation.finish().map_err(encoding_error)?;
    Ok(RenderedFile { bytes: bytes.into(), media_type: Format::Webp.media_type() })
}

/// Encodes an animated GIF, one frame at a time.
pub(crate) fn gif(frames: Frames<'_>, loops: LoopCount) -> Result<RenderedFile, ApiError> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
    let repeat = match loops {
        LoopCount::Infinite => Repeat::Infinite,
        LoopCount::Finite(times) => Repeat::Finite(times.get().try_into().unwrap_or(u16::MAX)),
    };
    encoder.set_repeat(repeat).map_err(encoding_error)?;
    encoder.try_encode_frames(frames).map_err(unwrap_api_error)?;
    drop(encoder);
    Ok(RenderedFile { bytes: bytes.into(), media_type: Format::Gif.media_type() })
}

/// The result of `format=json`: the size of the transformed image, and size and format of the original.
pub(crate) fn json_info(
    path: &Path,
    source: Format,
    original: (u32, u32),
    transformed: (u32, u32),
) -> Result<RenderedFile, ApiError> {
    let document = json!({
        "width": transformed.0,
        "height": transformed.1,
        "original": {
            "file_size": std::fs::metadata(path)?.len(),
            "width": original.0,
            "height": original.1,
            "format": source.media_type(),
        },
    });
    Ok(RenderedFile { bytes: document.to_string().into(), media_type: "application/json" })
}

/// An [`ApiError`] as a source of the error types of encoders.
#[derive(Debug)]
pub(crate) struct WrappedApiError(pub(crate) ApiError);

impl fmt::Display for WrappedApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for WrappedApiError {}

/// From 1, the most precise, to 30, the fastest.
const GIF_SPEED: i32 = 10;

/// The part of an EXIF chunk that the policy keeps.
fn filter_exif(chunk: Vec<u8>, policy: Metadata) -> Option<Vec<u8>> {
    match policy {
        Metadata::Keep => Some(chunk),
        Metadata::None => None,
        Metadata::Copyright => exif::copyright_only(chunk),
    }
}

/// The [`ApiError`] inside an encoder's error, or else the encoder's own.
fn unwrap_api_error(image_error: image::ImageError) -> ApiError {
    if let image::ImageError::IoError(io) = &image_error
        && let Some(WrappedApiError(error)) = io.get_ref().and_then(|inner| inner.downcast_ref())
    {
        return error.clone();
    }
    encoding_error(image_error)
}

fn encoding_error(error: impl fmt::Display) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, 9516, format!("error during encoding: {error}"))
}
