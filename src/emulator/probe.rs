//! What uploaded bytes are, by content: format, pixel size, frames, and whether they may be stored.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use axum::http::StatusCode;
use image::Frames;
use media::raster;

use super::answer::Refusal;
use super::store::Format;
use super::transform::decode;
use crate::cloudflare::wire::{MAX_PIXELS, MAX_SIDE};

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
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut start = Vec::with_capacity(4096);
    file.by_ref().take(4096).read_to_end(&mut start)?;
    file.rewind()?;
    let format = sniff(&start).ok_or_else(Refusal::unsupported_type)?;
    let (width, height) = match format {
        Format::Svg => (0, 0),
        // The header alone, before a decoder makes room for what it claims.
        _ => match decode::raster(format) {
            Some(raster) => raster::head(&mut BufReader::new(file), raster).map_err(damaged)?.stored,
            None => {
                let size = imagesize::reader_size(BufReader::new(file)).map_err(damaged)?;
                (pixels(size.width)?, pixels(size.height)?)
            }
        },
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

/// The declared type does not count: one of Cloudflare's own clients declares nothing.
fn sniff(start: &[u8]) -> Option<Format> {
    match start {
        [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(Format::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::Webp),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] if is_heic(start) => Some(Format::Heic),
        _ => is_svg(start).then_some(Format::Svg),
    }
}

/// AVIF, which shares the container, is an option Cloudflare sells apart.
fn is_heic(start: &[u8]) -> bool {
    const AVIF: [&[u8]; 2] = [b"avif", b"avis"];
    const HEIC: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
    let length = start.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let brands: Vec<&[u8]> = start[..length.min(start.len())].chunks_exact(4).skip(2).collect();
    brands.iter().any(|brand| HEIC.contains(brand)) && !brands.iter().any(|brand| AVIF.contains(brand))
}

fn is_svg(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('<') && text.contains("<svg")
}

fn pixels(length: usize) -> Result<u32, Refusal> {
    u32::try_from(length).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 9422, format!("error during decoding: {error}"))
}
