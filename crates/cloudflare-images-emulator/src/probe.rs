//! What uploaded bytes are, by content: format, pixel size, frames, and whether they may be stored.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use axum::http::StatusCode;
use image::Frames;
use media::sniff::{self, Sniffed};
use media::{heic, raster};

use super::answer::Refusal;
use super::store::Format;
use super::transform::decode;
use cloudflare_images::wire::{MAX_PIXELS, MAX_SIDE};

/// What an acceptable image is.
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

/// Looks at the first bytes of a file: 5455 for another type, 5443 for too many pixels, 9422 for damage.
///
/// Blocks. Decodes no pixels, so that [`verify`] can be given the memory it needs.
pub(super) fn measure(path: &Path) -> Result<Probe, Refusal> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let format = sniffed(&mut reader)?;
    reader.rewind()?;
    let (width, height) = match format {
        Format::Svg => (0, 0),
        Format::Heic => heic::size(&mut reader)?.ok_or_else(|| damaged("no picture in its container"))?,
        // The header alone, before a decoder makes room for what it claims.
        Format::Jpeg | Format::Png | Format::Gif | Format::Webp => {
            let raster = decode::raster(format).ok_or_else(Refusal::unsupported_type)?;
            raster::header(&mut reader, raster).map_err(damaged)?.stored
        }
    };
    if format != Format::Svg {
        check_pixels(format, width, height)?;
    }
    Ok(Probe { format, width, height, frames: 1, size })
}

/// Decodes a measured file once and counts its frames: 9422 for damage, 5443 for too many pixels in all frames.
///
/// Blocks. Allocates a few frames of 4 bytes a pixel.
pub(super) fn verify(path: &Path, probe: &mut Probe) -> Result<(), Refusal> {
    match probe.format {
        Format::Svg => {
            decode::check_depth(path).map_err(damaged)?;
            decode::sanitised_svg(path).map(drop).map_err(damaged)
        }
        // There is no decoder for it; it is delivered as it came.
        Format::Heic => Ok(()),
        Format::Jpeg | Format::Png | Format::Gif | Format::Webp => {
            let Some(raster) = decode::raster(probe.format) else { return Ok(()) };
            match decode::animation(path, raster).map_err(damaged)? {
                Some(animation) => probe.frames = count(animation.frames, probe)?,
                None => decode::check(path, raster).map_err(damaged)?,
            }
            Ok(())
        }
    }
}

/// Decodes every frame, giving up where their pixels pass the limit.
fn count(frames_of: Frames<'_>, probe: &Probe) -> Result<u32, Refusal> {
    let area = u64::from(probe.width) * u64::from(probe.height);
    let mut frames: u32 = 0;
    for frame in frames_of {
        frame.map_err(damaged)?;
        frames += 1;
        if u64::from(frames) * area > MAX_PIXELS {
            let message = "animation frames exceed 100 million pixels";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, 5443, message));
        }
    }
    if frames == 0 {
        return Err(damaged("no frames"));
    }
    Ok(frames)
}

fn check_pixels(format: Format, width: u32, height: u32) -> Result<(), Refusal> {
    let refuse = |message: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, 5443, message));
    if width == 0 || height == 0 {
        return Err(damaged("the image has no pixels"));
    }
    // WebP has a limit of its own, 16,383 pixels.
    if format != Format::Webp && width.max(height) > MAX_SIDE {
        return refuse("image dimensions exceed 12000 pixels");
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return refuse("image exceeds 100 million pixels");
    }
    Ok(())
}

/// The declared type does not count: one of Cloudflare's own clients declares nothing. 5455 for another type, 9422 for
/// what is none of it after all, or a variety that nobody shows.
fn sniffed(reader: &mut (impl BufRead + Seek)) -> Result<Format, Refusal> {
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
        _ => Err(Refusal::unsupported_type()),
    }
}

fn damaged(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 9422, format!("error during decoding: {error}"))
}
