//! Flexible variants: options in the URL, `w=400,fit=cover,…`.

use axum::http::{HeaderMap, StatusCode};
use image::Rgba;
use percent_encoding::percent_decode_str;

use super::{RequestedFormat, Transformation};
use crate::error::ApiError;
use crate::transform::transformation::{Fit, Gravity, Trim};
use cloudflare_images::wire::Metadata;

/// Parses an option list as written in the URL; 9401 for an option that is unknown, invalid, given twice or not emulated.
///
/// The client hints in the headers matter to the options `width=auto` and `slow-connection-quality`.
pub(super) fn parse(list: &str, headers: &HeaderMap) -> Result<Transformation, ApiError> {
    let mut transformation = Transformation::default();
    let mut slow_quality = None;
    let mut face_gravity = false;
    let mut names: Vec<&str> = Vec::new();
    // Commas inside values are percent-encoded, so the list is split before it is decoded.
    for option in list.split(',') {
        let (name, value) =
            option.split_once('=').ok_or_else(|| option_error(format!("`{option}` is not an option")))?;
        let name = ABBREVIATIONS.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| *full);
        if names.contains(&name) {
            return Err(option_error(format!("{name} is given twice")));
        }
        names.push(name);
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| option_error(format!("{name} is not UTF-8")))?;
        match (name, value.as_ref()) {
            ("slow-connection-quality", value) => slow_quality = Some(quality(name, value)?),
            ("gravity", "face") => face_gravity = true,
            (_, value) => apply(&mut transformation, name, value, headers)?,
        }
    }
    // Gravity has no effect unless the image is cropped, so then a face need not be found.
    if face_gravity && matches!(transformation.fit, Fit::Cover | Fit::Crop | Fit::AspectCrop) {
        return Err(option_error("gravity=face is not emulated"));
    }
    let trims_right_or_bottom = transformation.trim.right > 0 || transformation.trim.bottom > 0;
    if trims_right_or_bottom && (transformation.trim.width.is_some() || transformation.trim.height.is_some())
    {
        return Err(option_error("trim accepts four sides or a rectangle, not both"));
    }
    // It replaces `quality`, whichever comes first in the URL.
    transformation.quality = slow_quality.filter(|_| is_slow(headers)).unwrap_or(transformation.quality);
    Ok(transformation)
}

/// Other names of options, and the names that are used here.
const ABBREVIATIONS: [(&str, &str); 7] = [
    ("w", "width"),
    ("h", "height"),
    ("g", "gravity"),
    ("q", "quality"),
    ("f", "format"),
    ("scq", "slow-connection-quality"),
    ("face-zoom", "zoom"),
];

fn apply(
    transformation: &mut Transformation,
    name: &str,
    value: &str,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    match name {
        "width" if value == "auto" => transformation.width = width_hint(headers),
        "width" => transformation.width = Some(pixels(name, value)?),
        "height" => transformation.height = Some(pixels(name, value)?),
        "dpr" => transformation.dpr = number(name, value, 0.01, 2.0)?,
        "fit" => transformation.fit = fit(value)?,
        "gravity" => transformation.gravity = gravity(value)?,
        "quality" => transformation.quality = quality(name, value)?,
        "format" => transformation.format = format(value)?,
        "compression" if value == "fast" => transformation.format = RequestedFormat::Fast,
        "anim" => transformation.anim = boolean(name, value)?,
        "metadata" => transformation.metadata = metadata(value)?,
        "rotate" => transformation.quarter_turns = quarter_turns(value)?,
        "flip" => (transformation.flip_horizontally, transformation.flip_vertically) = flip(value)?,
        "background" => {
            transformation.background = Some(css_colour(value).ok_or_else(|| invalid(name, value))?);
        }
        "blur" => transformation.blur = Some(number(name, value, 1.0, 250.0)? as f32),
        "sharpen" => transformation.sharpen = number(name, value, 0.0, 10.0)? as f32,
        "brightness" => transformation.brightness = factor(name, value)?,
        "contrast" => transformation.contrast = factor(name, value)?,
        "gamma" => transformation.gamma = factor(name, value)?,
        // Unlike for the other factors, 0 has a meaning: no colour.
        "saturation" => transformation.saturation = number(name, value, 0.0, MAX_FACTOR)? as f32,
        "upscale" if value == "interpolate" => {}
        "trim" | "trim.top" | "trim.left" | "trim.width" | "trim.height" => {
            trim(&mut transformation.trim, name, value)?
        }
        // Only has an effect together with `gravity=face`, which is an error where it has an effect.
        "zoom" => drop(number(name, value, 0.0, 1.0)?),
        "segment" if value == "foreground" => return Err(option_error("segment=foreground is not emulated")),
        "upscale" if value == "generate" => return Err(option_error("upscale=generate is not emulated")),
        "segment" | "upscale" => return Err(invalid(name, value)),
        "onerror" => return Err(option_error("onerror is not available for hosted images")),
        "border" | "draw" => return Err(option_error(format!("{name} is not available in URLs"))),
        "compression" => return Err(invalid(name, value)),
        _ => return Err(option_error(format!("unknown option `{name}`"))),
    }
    Ok(())
}

fn fit(value: &str) -> Result<Fit, ApiError> {
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

fn gravity(value: &str) -> Result<Gravity, ApiError> {
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

fn format(value: &str) -> Result<RequestedFormat, ApiError> {
    Ok(match value {
        "auto" => RequestedFormat::Auto,
        "avif" => RequestedFormat::Avif,
        "webp" => RequestedFormat::Webp,
        // The emulator writes baseline JPEG only.
        "jpeg" | "baseline-jpeg" => RequestedFormat::Jpeg,
        "png" | "png-force" => RequestedFormat::Png,
        "svg" => RequestedFormat::Svg,
        "json" => RequestedFormat::Json,
        _ => return Err(invalid("format", value)),
    })
}

fn metadata(value: &str) -> Result<Metadata, ApiError> {
    Ok(match value {
        "keep" => Metadata::Keep,
        "copyright" => Metadata::Copyright,
        "none" => Metadata::None,
        _ => return Err(invalid("metadata", value)),
    })
}

fn quality(name: &str, value: &str) -> Result<u8, ApiError> {
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

fn quarter_turns(value: &str) -> Result<u8, ApiError> {
    Ok(match value {
        "0" | "360" => 0,
        "90" => 1,
        "180" => 2,
        "270" => 3,
        _ => return Err(invalid("rotate", value)),
    })
}

fn flip(value: &str) -> Result<(bool, bool), ApiError> {
    match value {
        "h" => Ok((true, false)),
        "v" => Ok((false, true)),
        "hv" | "vh" => Ok((true, true)),
        _ => Err(invalid("flip", value)),
    }
}

/// `trim=top;right;bottom;left`, or one of the options of a rectangle, such as `trim.top`.
fn trim(trim: &mut Trim, name: &str, value: &str) -> Result<(), ApiError> {
    let length = |text: &str| text.parse::<u32>().map_err(|_| invalid(name, value));
    match name {
        "trim.top" => trim.top = length(value)?,
        "trim.left" => trim.left = length(value)?,
        "trim.width" => trim.width = Some(pixels(name, value)?),
        "trim.height" => trim.height = Some(pixels(name, value)?),
        _ if value.starts_with("border") => return Err(option_error("trim=border is not emulated")),
        _ => {
            let sides = value.split(';').map(length).collect::<Result<Vec<_>, _>>()?;
            let [top, right, bottom, left] = sides[..] else { return Err(invalid(name, value)) };
            *trim = Trim { top, right, bottom, left, ..*trim };
        }
    }
    Ok(())
}

const MAX_FACTOR: f64 = 100.0;

/// A factor. Cloudflare ignores 0.
fn factor(name: &str, value: &str) -> Result<f32, ApiError> {
    let factor = number(name, value, 0.0, MAX_FACTOR)? as f32;
    Ok(if factor == 0.0 { 1.0 } else { factor })
}

fn pixels(name: &str, value: &str) -> Result<u32, ApiError> {
    value.parse().ok().filter(|pixels| *pixels > 0).ok_or_else(|| invalid(name, value))
}

fn number(name: &str, value: &str, low: f64, high: f64) -> Result<f64, ApiError> {
    let number = value.parse().ok().filter(|number| (low..=high).contains(number));
    number.ok_or_else(|| invalid(name, value))
}

fn boolean(name: &str, value: &str) -> Result<bool, ApiError> {
    value.parse().map_err(|_| invalid(name, value))
}

/// The width that the client hints of a browser give for the image; `None` without hints.
fn width_hint(headers: &HeaderMap) -> Option<u32> {
    let hint = |name| headers.get(name)?.to_str().ok()?.parse::<f64>().ok().filter(|width| *width >= 1.0);
    let names = ["sec-ch-width", "width", "sec-ch-viewport-width", "viewport-width"];
    names.into_iter().find_map(hint).map(|width| width as u32)
}

/// Whether the client hints tell of a slow connection, by the thresholds of Cloudflare's documentation.
fn is_slow(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|value| value.parse::<f64>().ok());
    number("rtt").is_some_and(|milliseconds| milliseconds > 150.0)
        || number("downlink").is_some_and(|megabits| megabits < 5.0)
        || text("save-data") == Some("on")
        || text("ect").is_some_and(|effective_type| matches!(effective_type, "slow-2g" | "2g" | "3g"))
}

/// A CSS colour: hexadecimal with `#`, `rgb()`, `hsl()` or a name.
///
/// `csscolorparser` accepts more: functions that are not CSS, and hexadecimal digits without `#`.
fn css_colour(value: &str) -> Option<Rgba<u8>> {
    let text = value.trim().to_ascii_lowercase();
    let accepted = match text.split_once('(') {
        Some((function, _)) => matches!(function, "rgb" | "rgba" | "hsl" | "hsla"),
        // No name consists of hexadecimal digits only.
        None => !text.bytes().all(|byte| byte.is_ascii_hexdigit()),
    };
    let colour = accepted.then(|| csscolorparser::parse(&text).ok()).flatten()?;
    Some(Rgba(colour.to_rgba8()))
}

fn invalid(name: &str, value: &str) -> ApiError {
    option_error(format!("invalid {name} `{value}`"))
}

fn option_error(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, 9401, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_css() {
        for (text, colour) in [
            ("#0f0", [0, 255, 0, 255]),
            ("#0f08", [0, 255, 0, 136]),
            ("#102030", [16, 32, 48, 255]),
            ("#10203040", [16, 32, 48, 64]),
            ("rgb(1,2,3)", [1, 2, 3, 255]),
            ("rgb(255 255 0)", [255, 255, 0, 255]),
            ("RGBA(10%, 20%, 30%, 0.5)", [26, 51, 77, 128]),
            ("rgb(1 2 3 / 50%)", [1, 2, 3, 128]),
            // The example of Cloudflare's documentation.
            ("rgba(255 255 0 100)", [255, 255, 0, 255]),
            ("rgb(300,-1,0)", [255, 0, 0, 255]),
            ("hsl(120,100%,25%)", [0, 128, 0, 255]),
            ("hsl(-240deg 100% 25%)", [0, 128, 0, 255]),
            ("hsla(120,100%,50%,0)", [0, 255, 0, 0]),
            (" RebeccaPurple ", [102, 51, 153, 255]),
            ("transparent", [0, 0, 0, 0]),
        ] {
            assert_eq!(css_colour(text).map(|colour| colour.0), Some(colour), "{text}");
        }
        for text in
            ["", "0f0", "102030", "#12", "#1g0000", "nocolour", "rgb(1,2)", "hsv(120,100%,50%)", "rgb 1"]
        {
            assert_eq!(css_colour(text), None, "{text}");
        }
    }
}
