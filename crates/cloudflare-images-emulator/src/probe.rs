//! Checks of uploaded files by their content: format, pixel size, number of frames, and whether they can be decoded.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use axum::http::StatusCode;
use image::Frames;
use media::sniff::{self, Sniffed};
use media::{heic, raster};

use super::error::ApiError;
use super::store::Format;
use super::transform::decode;
use cloudflare_images::wire::{MAX_PIXELS, MAX_SIDE};

/// The properties of an accepted image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    pub(super) format: Format,
    /// Pixels as stored, before EXIF orientation; 0 for SVG.
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1 for stills.
    pub(super) frames: u32,
    /// Bytes.
    pub(super) size: u64,
}

/// Reads format and pixel size from the headers of a file: 5455 for another type, 5443 for too many pixels, 9422 for a
/// damaged file.
///
/// Blocks. It decodes no pixels; [`verify`] does, for which the caller first reserves memory according to this size.
pub(super) fn measure(path: &Path) -> Result<Probe, ApiError> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let format = sniff_format(&mut reader)?;
    reader.rewind()?;
    let (width, height) = match format {
        Format::Svg => (0, 0),
        Format::Heic => heic::size(&mut reader)?.ok_or_else(|| damaged("no picture in its container"))?,
        // Only the header is read, before a decoder allocates memory for the size that it declares.
        Format::Jpeg | Format::Png | Format::Gif | Format::Webp => {
            let raster = decode::raster(format).ok_or_else(ApiError::unsupported_type)?;
            raster::header(&mut reader, raster).map_err(damaged)?.stored
        }
    };
    if format != Format::Svg {
        check_pixels(format, width, height)?;
    }
    Ok(Probe { format, width, height, frames: 1, size })
}

/// Decodes a file that was measured, and counts its frames: 9422 for a damaged file, 5443 for too many pixels in all
/// frames.
///
/// Blocks. It allocates a few frames of 4 bytes per pixel.
pub(super) fn verify(path: &Path, probe: &mut Probe) -> Result<(), ApiError> {
    match probe.format {
        Format::Svg => {
            decode::check_depth(path).map_err(damaged)?;
            decode::sanitised_svg(path).map(drop).map_err(damaged)
        }
        // There is no decoder; the file is delivered as uploaded.
        Format::Heic => Ok(()),
        Format::Jpeg | Format::Png | Format::Gif | Format::Webp => {
            let Some(raster) = decode::raster(probe.format) else { return Ok(()) };
            match decode::animation(path, raster).map_err(damaged)? {
                Some(animation) => probe.frames = count_frames(animation.frames, probe)?,
                None => decode::check(path, raster).map_err(damaged)?,
            }
            Ok(())
        }
    }
}

/// Decodes every frame, until their pixels exceed the limit.
fn count_frames(animation: Frames<'_>, probe: &Probe) -> Result<u32, ApiError> {
    let area = u64::from(probe.width) * u64::from(probe.height);
    let mut frames: u32 = 0;
    for frame in animation {
        frame.map_err(damaged)?;
        frames += 1;
        if u64::from(frames) * area > MAX_PIXELS {
            let message = "animation frames exceed 100 million pixels";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, 5443, message));
        }
    }
    if frames == 0 {
        return Err(damaged("no frames"));
    }
    Ok(frames)
}

fn check_pixels(format: Format, width: u32, height: u32) -> Result<(), ApiError> {
    let too_large = |message: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, 5443, message));
    if width == 0 || height == 0 {
        return Err(damaged("the image has no pixels"));
    }
    // The WebP format itself has a limit, 16,383 pixels.
    if format != Format::Webp && width.max(height) > MAX_SIDE {
        return too_large("image dimensions exceed 12000 pixels");
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return too_large("image exceeds 100 million pixels");
    }
    Ok(())
}

/// The format by content. The declared content type is ignored, because one of Cloudflare's SDKs sends none. 5455 for
/// another type, 9422 for a file that only begins like an image, or a variety that cannot be displayed.
fn sniff_format(reader: &mut (impl BufRead + Seek)) -> Result<Format, ApiError> {
    match sniff::sniff(reader)? {
        Sniffed::Image(format, _) => Ok(match format {
            sniff::Format::Gif => Format::Gif,
            sniff::Format::Heic => Format::Heic,
            sniff::Format::Jpeg => Format::Jpeg,
            sniff::Format::Png => Format::Png,
            sniff::Format::Svg => Format::Svg,
            sniff::Format::Webp => Format::Webp,
        }),
        Sniffed::Unsupported(_, what) => Err(damaged(format!("the file is {what}"))),
        Sniffed::Damaged(mime_type) => Err(damaged(format!("no {mime_type} after its beginning"))),
        _ => Err(ApiError::unsupported_type()),
    }
}

fn damaged(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 9422, format!("error during decoding: {error}"))
}
