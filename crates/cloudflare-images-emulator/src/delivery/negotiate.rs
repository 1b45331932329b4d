//! Chooses the format in which an image is delivered.

use axum::http::StatusCode;

use super::{OutputFormat, RequestedFormat, Transformation};
use crate::error::ApiError;
use crate::store::{Format, image};

/// How a stored file is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As uploaded: there is no decoder, or the animation is too large.
    Original,
    Render(Rendering),
}

/// What is made of a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rendering {
    /// The first frame, transformed, in this format.
    Still(OutputFormat),
    /// All frames, transformed; only for [`OutputFormat::Gif`] and [`OutputFormat::Webp`].
    Animated(OutputFormat),
    /// The SVG document without scripts; it is never resized.
    SanitisedSvg,
}

/// Chooses by the format of the source, the format that the URL requests, and the `Accept` header; 9412 and 9520 if the
/// source cannot be converted to the requested format.
pub(super) fn choose(
    image: &image::Model,
    source: Format,
    transformation: &Transformation,
    accept: &str,
) -> Result<Delivery, ApiError> {
    match (source, transformation.format) {
        (Format::Svg, RequestedFormat::Auto | RequestedFormat::Fast | RequestedFormat::Svg) => {
            return Ok(Delivery::Render(Rendering::SanitisedSvg));
        }
        (Format::Svg, _) => return Err(unsupported(9412, "SVG cannot be converted to another format")),
        (_, RequestedFormat::Svg) => {
            return Err(unsupported(9412, "raster images cannot be converted to SVG"));
        }
        (Format::Heic, RequestedFormat::Auto | RequestedFormat::Fast) => return Ok(Delivery::Original),
        (Format::Heic, _) => return Err(unsupported(9520, "HEIC cannot be converted by this emulator")),
        _ => {}
    }
    let animated = (image.frames > 1 && transformation.anim)
        .then(|| animated_format(transformation.format, accept))
        .flatten();
    let pixels = u64::from(image.width) * u64::from(image.height) * u64::from(image.frames);
    Ok(match animated {
        Some(_) if pixels > MAX_ANIMATED_PIXELS => Delivery::Original,
        Some(output) => Delivery::Render(Rendering::Animated(output)),
        None => Delivery::Render(Rendering::Still(still_format(source, transformation.format, accept))),
    })
}

/// The format of an animation; `None` if the requested format has no animations.
fn animated_format(requested: RequestedFormat, accept: &str) -> Option<OutputFormat> {
    match requested {
        RequestedFormat::Webp | RequestedFormat::Avif => Some(OutputFormat::Webp),
        RequestedFormat::Auto | RequestedFormat::Fast if accepts(accept, "image/webp") => {
            Some(OutputFormat::Webp)
        }
        RequestedFormat::Auto | RequestedFormat::Fast => Some(OutputFormat::Gif),
        RequestedFormat::Jpeg | RequestedFormat::Png | RequestedFormat::Svg | RequestedFormat::Json => None,
    }
}

fn still_format(source: Format, requested: RequestedFormat, accept: &str) -> OutputFormat {
    match requested {
        RequestedFormat::Json => OutputFormat::Json,
        RequestedFormat::Jpeg => OutputFormat::Jpeg,
        RequestedFormat::Png => OutputFormat::Png,
        RequestedFormat::Webp => OutputFormat::Webp,
        RequestedFormat::Avif => OutputFormat::Avif { max_side: MAX_REQUESTED_AVIF },
        RequestedFormat::Auto if AVIF_ENABLED && accepts(accept, "image/avif") => {
            OutputFormat::Avif { max_side: MAX_NEGOTIATED_AVIF }
        }
        RequestedFormat::Auto if accepts(accept, "image/webp") => OutputFormat::Webp,
        RequestedFormat::Auto | RequestedFormat::Fast | RequestedFormat::Svg => match source {
            Format::Jpeg => OutputFormat::Jpeg,
            Format::Png => OutputFormat::Png,
            Format::Gif => OutputFormat::Gif,
            Format::Webp | Format::Svg | Format::Heic => OutputFormat::Webp,
        },
    }
}

/// Pixels of all frames together; larger animations are delivered as uploaded.
const MAX_ANIMATED_PIXELS: u64 = 50_000_000;

/// Longest side, in pixels, of an AVIF that is chosen by the `Accept` header.
const MAX_NEGOTIATED_AVIF: u32 = 1200;
/// Longest side, in pixels, of an AVIF that the URL requests.
const MAX_REQUESTED_AVIF: u32 = 1600;
const AVIF_ENABLED: bool = cfg!(feature = "avif");

/// Whether the header lists this type by name. Wildcards do not count, because clients that cannot display the type send
/// them too.
fn accepts(accept: &str, media_type: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type)) && !parts.any(refused)
    })
}

fn unsupported(code: u32, message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message)
}
