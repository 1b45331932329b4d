//! Flexible variants: options in the URL, `w=400,fit=cover,…`.

use axum::http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;

use super::{Plan, Wanted};
use crate::answer::Refusal;
use crate::transform::colour;
use crate::transform::plan::{Fit, Gravity, Trim};
use cloudflare_images::wire::Metadata;

/// Reads an option list as written in the URL; 9401 for anything unknown, malformed, doubled or not emulated.
///
/// The headers tell the width the client has room for and how slow its connection is, for the options that ask.
pub(super) fn parse(list: &str, headers: &HeaderMap) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let mut slow_quality = None;
    let mut face = false;
    let mut seen: Vec<&str> = Vec::new();
    // Commas inside values are encoded: split first.
    for option in list.split(',') {
        let (name, value) =
            option.split_once('=').ok_or_else(|| refuse(format!("`{option}` is not an option")))?;
        let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| *full);
        if seen.contains(&name) {
            return Err(refuse(format!("{name} is given twice")));
        }
        seen.push(name);
        let value =
            percent_decode_str(value).decode_utf8().map_err(|_| refuse(format!("{name} is not UTF-8")))?;
        match (name, value.as_ref()) {
            ("slow-connection-quality", value) => slow_quality = Some(quality(name, value)?),
            ("gravity", "face") => face = true,
            (_, value) => apply(&mut plan, name, value, headers)?,
        }
    }
    // Gravity matters where something is cut off; elsewhere a face is as good as any other.
    if face && matches!(plan.fit, Fit::Cover | Fit::Crop | Fit::AspectCrop) {
        return Err(refuse("gravity=face is not emulated"));
    }
    let trims_far_sides = plan.trim.right > 0 || plan.trim.bottom > 0;
    if trims_far_sides && (plan.trim.width.is_some() || plan.trim.height.is_some()) {
        return Err(refuse("trim takes sides or a rectangle, not both"));
    }
    // It replaces the other quality, whichever comes first in the URL.
    plan.quality = slow_quality.filter(|_| is_slow(headers)).unwrap_or(plan.quality);
    Ok(plan)
}

const SHORT: [(&str, &str); 7] = [
    ("w", "width"),
    ("h", "height"),
    ("g", "gravity"),
    ("q", "quality"),
    ("f", "format"),
    ("scq", "slow-connection-quality"),
    ("face-zoom", "zoom"),
];

fn apply(plan: &mut Plan, name: &str, value: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    match name {
        "width" if value == "auto" => plan.width = width_hint(headers),
        "width" => plan.width = Some(pixels(name, value)?),
        "height" => plan.height = Some(pixels(name, value)?),
        "dpr" => plan.dpr = number(name, value, 0.01, 2.0)?,
        "fit" => plan.fit = fit(value)?,
        "gravity" => plan.gravity = gravity(value)?,
        "quality" => plan.quality = quality(name, value)?,
        "format" => plan.wanted = format(value)?,
        "compression" if value == "fast" => plan.wanted = Wanted::Fast,
        "anim" => plan.anim = boolean(name, value)?,
        "metadata" => plan.metadata = metadata(value)?,
        "rotate" => plan.quarter_turns = quarter_turns(value)?,
        "flip" => (plan.flip_horizontally, plan.flip_vertically) = flip(value)?,
        "background" => {
            plan.background = Some(colour::parse(value).ok_or_else(|| invalid(name, value))?);
        }
        "blur" => plan.blur = Some(number(name, value, 1.0, 250.0)? as f32),
        "sharpen" => plan.sharpen = number(name, value, 0.0, 10.0)? as f32,
        "brightness" => plan.brightness = factor(name, value)?,
        "contrast" => plan.contrast = factor(name, value)?,
        "gamma" => plan.gamma = factor(name, value)?,
        // Unlike the others, 0 means something: no colour at all.
        "saturation" => plan.saturation = number(name, value, 0.0, MAX_FACTOR)? as f32,
        "upscale" if value == "interpolate" => {}
        "trim" | "trim.top" | "trim.left" | "trim.width" | "trim.height" => {
            trim(&mut plan.trim, name, value)?
        }
        // How close to come to a face, which is refused where it would matter.
        "zoom" => drop(number(name, value, 0.0, 1.0)?),
        "segment" if value == "foreground" => return Err(refuse("segment=foreground is not emulated")),
        "upscale" if value == "generate" => return Err(refuse("upscale=generate is not emulated")),
        "segment" | "upscale" => return Err(invalid(name, value)),
        "onerror" => return Err(refuse("onerror is not available for hosted images")),
        "border" | "draw" => return Err(refuse(format!("{name} is not available in URLs"))),
        "compression" => return Err(invalid(name, value)),
        _ => return Err(refuse(format!("unknown option `{name}`"))),
    }
    Ok(())
}

fn fit(value: &str) -> Result<Fit, Refusal> {
    Ok(match value {
        "scale-down" => Fit::ScaleDown,
        "scale-up" => Fit::ScaleUp,
        "contain" => Fit::Contain,
        "cover" => Fit::Cover,
        "crop" => Fit::Crop,
        "aspect-crop" => Fit::AspectCrop,
        "pad" => Fit::Pad,
        "squeeze" => Fit::Squeeze,
        _ => return Err(invalid("fit", value)),
    })
}

fn gravity(value: &str) -> Result<Gravity, Refusal> {
    Ok(match value {
        "auto" | "entropy" => Gravity::Auto,
        "center" => Gravity::Point(0.5, 0.5),
        "left" => Gravity::Point(0.0, 0.5),
        "right" => Gravity::Point(1.0, 0.5),
        "top" => Gravity::Point(0.5, 0.0),
        "bottom" => Gravity::Point(0.5, 1.0),
        _ => {
            let (x, y) = value.split_once('x').ok_or_else(|| invalid("gravity", value))?;
            Gravity::Point(number("gravity", x, 0.0, 1.0)?, number("gravity", y, 0.0, 1.0)?)
        }
    })
}

fn format(value: &str) -> Result<Wanted, Refusal> {
    Ok(match value {
        "auto" => Wanted::Auto,
        "avif" => Wanted::Avif,
        "webp" => Wanted::Webp,
        // All JPEG files written here are baseline.
        "jpeg" | "baseline-jpeg" => Wanted::Jpeg,
        "png" | "png-force" => Wanted::Png,
        "svg" => Wanted::Svg,
        "json" => Wanted::Json,
        _ => return Err(invalid("format", value)),
    })
}

fn metadata(value: &str) -> Result<Metadata, Refusal> {
    Ok(match value {
        "keep" => Metadata::Keep,
        "copyright" => Metadata::Copyright,
        "none" => Metadata::None,
        _ => return Err(invalid("metadata", value)),
    })
}

fn quality(name: &str, value: &str) -> Result<u8, Refusal> {
    Ok(match value {
        "high" => 90,
        "medium-high" => 80,
        "medium-low" => 65,
        "low" => 50,
        _ => match value.parse() {
            Ok(quality @ 1..=100) => quality,
            _ => return Err(invalid(name, value)),
        },
    })
}

fn quarter_turns(value: &str) -> Result<u8, Refusal> {
    Ok(match value {
        "0" | "360" => 0,
        "90" => 1,
        "180" => 2,
        "270" => 3,
        _ => return Err(invalid("rotate", value)),
    })
}

fn flip(value: &str) -> Result<(bool, bool), Refusal> {
    match value {
        "h" => Ok((true, false)),
        "v" => Ok((false, true)),
        "hv" | "vh" => Ok((true, true)),
        _ => Err(invalid("flip", value)),
    }
}

/// `trim=top;right;bottom;left` or one side of a rectangle.
fn trim(trim: &mut Trim, name: &str, value: &str) -> Result<(), Refusal> {
    let length = |text: &str| text.parse::<u32>().map_err(|_| invalid(name, value));
    match name {
        "trim.top" => trim.top = length(value)?,
        "trim.left" => trim.left = length(value)?,
        "trim.width" => trim.width = Some(pixels(name, value)?),
        "trim.height" => trim.height = Some(pixels(name, value)?),
        _ if value.starts_with("border") => return Err(refuse("trim=border is not emulated")),
        _ => {
            let sides = value.split(';').map(length).collect::<Result<Vec<_>, _>>()?;
            let [top, right, bottom, left] = sides[..] else { return Err(invalid(name, value)) };
            *trim = Trim { top, right, bottom, left, ..*trim };
        }
    }
    Ok(())
}

const MAX_FACTOR: f64 = 100.0;

/// A factor of which Cloudflare ignores 0.
fn factor(name: &str, value: &str) -> Result<f32, Refusal> {
    let factor = number(name, value, 0.0, MAX_FACTOR)? as f32;
    Ok(if factor == 0.0 { 1.0 } else { factor })
}

fn pixels(name: &str, value: &str) -> Result<u32, Refusal> {
    value.parse().ok().filter(|pixels| *pixels > 0).ok_or_else(|| invalid(name, value))
}

fn number(name: &str, value: &str, low: f64, high: f64) -> Result<f64, Refusal> {
    let number = value.parse().ok().filter(|number| (low..=high).contains(number));
    number.ok_or_else(|| invalid(name, value))
}

fn boolean(name: &str, value: &str) -> Result<bool, Refusal> {
    value.parse().map_err(|_| invalid(name, value))
}

/// The layout width a browser that gives client hints has for the image; none from the others.
fn width_hint(headers: &HeaderMap) -> Option<u32> {
    let hint = |name| headers.get(name)?.to_str().ok()?.parse::<f64>().ok().filter(|width| *width >= 1.0);
    let names = ["sec-ch-width", "width", "sec-ch-viewport-width", "viewport-width"];
    names.into_iter().find_map(hint).map(|width| width as u32)
}

/// The thresholds Cloudflare documents for a slow connection.
fn is_slow(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|value| value.parse::<f64>().ok());
    number("rtt").is_some_and(|milliseconds| milliseconds > 150.0)
        || number("downlink").is_some_and(|megabits| megabits < 5.0)
        || text("save-data") == Some("on")
        || text("ect").is_some_and(|kind| matches!(kind, "slow-2g" | "2g" | "3g"))
}

fn invalid(name: &str, value: &str) -> Refusal {
    refuse(format!("invalid {name} `{value}`"))
}

fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, 9401, why)
}
