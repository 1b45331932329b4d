//! Which format a client gets.

use axum::http::StatusCode;

use super::{Output, Plan, Wanted};
use crate::answer::Refusal;
use crate::store::{Format, image};

/// What is done with the stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The bytes as uploaded: there is no decoder, or the animation is too large to touch.
    Unchanged,
    Make(Work),
}

/// What is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Decoded, transformed and written in this format.
    Write(Output),
    /// As `Write`, with all frames; for [`Output::Gif`] and [`Output::Webp`].
    Animate(Output),
    /// Drawings are cleaned and never resized.
    CleanSvg,
}

/// Chooses from the source, what the URL asks for and what the client accepts; 9412 and 9520 for what cannot be.
pub(super) fn choose(
    image: &image::Model,
    source: Format,
    plan: &Plan,
    accept: &str,
) -> Result<Choice, Refusal> {
    match (source, plan.wanted) {
        (Format::Svg, Wanted::Auto | Wanted::Fast | Wanted::Svg) => return Ok(Choice::Make(Work::CleanSvg)),
        (Format::Svg, _) => return Err(unsupported(9412, "SVG cannot be converted to another format")),
        (_, Wanted::Svg) => return Err(unsupported(9412, "raster images cannot be converted to SVG")),
        (Format::Heic, Wanted::Auto | Wanted::Fast) => return Ok(Choice::Unchanged),
        (Format::Heic, _) => return Err(unsupported(9520, "HEIC cannot be converted by this emulator")),
        _ => {}
    }
    let moving = (image.frames > 1 && plan.anim).then(|| animation(plan.wanted, accept)).flatten();
    let pixels = u64::from(image.width) * u64::from(image.height) * u64::from(image.frames);
    Ok(match moving {
        Some(_) if pixels > MAX_ANIMATED => Choice::Unchanged,
        Some(output) => Choice::Make(Work::Animate(output)),
        None => Choice::Make(Work::Write(still(source, plan.wanted, accept))),
    })
}

/// The format of an animation; `None` for those in which nothing moves.
fn animation(wanted: Wanted, accept: &str) -> Option<Output> {
    match wanted {
        Wanted::Webp | Wanted::Avif => Some(Output::Webp),
        Wanted::Auto | Wanted::Fast if accepts(accept, "image/webp") => Some(Output::Webp),
        Wanted::Auto | Wanted::Fast => Some(Output::Gif),
        Wanted::Jpeg | Wanted::Png | Wanted::Svg | Wanted::Json => None,
    }
}

fn still(source: Format, wanted: Wanted, accept: &str) -> Output {
    match wanted {
        Wanted::Json => Output::Json,
        Wanted::Jpeg => Output::Jpeg,
        Wanted::Png => Output::Png,
        Wanted::Webp => Output::Webp,
        Wanted::Avif => Output::Avif { max_side: MAX_AVIF_ASKED_FOR },
        Wanted::Auto if WRITES_AVIF && accepts(accept, "image/avif") => Output::Avif { max_side: MAX_AVIF },
        Wanted::Auto if accepts(accept, "image/webp") => Output::Webp,
        Wanted::Auto | Wanted::Fast | Wanted::Svg => match source {
            Format::Jpeg => Output::Jpeg,
            Format::Png => Output::Png,
            Format::Gif => Output::Gif,
            Format::Webp | Format::Svg | Format::Heic => Output::Webp,
        },
    }
}

/// Larger animations are delivered as they are, in pixels over all frames.
const MAX_ANIMATED: u64 = 50_000_000;

/// Longest side of AVIF that a client gets because it accepts it, and because its URL asks for it, in pixels.
const MAX_AVIF: u32 = 1200;
const MAX_AVIF_ASKED_FOR: u32 = 1600;
const WRITES_AVIF: bool = cfg!(feature = "avif");

/// Whether a client names this very type: wildcards are sent by clients that cannot read it.
fn accepts(accept: &str, media_type: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type)) && !parts.any(refused)
    })
}

fn unsupported(code: u32, why: &str) -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, why)
}
