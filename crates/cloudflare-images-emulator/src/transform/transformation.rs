//! The transformation of an image that a named variant, or the options in a URL, describe.

use axum::http::StatusCode;
use image::Rgba;

use crate::error::ApiError;
use cloudflare_images::wire::{self, Metadata};

/// All properties of a delivered image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transformation {
    /// Width of the box in pixels, before `dpr`.
    pub(crate) width: Option<u32>,
    /// Height of the box in pixels, before `dpr`.
    pub(crate) height: Option<u32>,
    /// Factor of box and trim.
    pub(crate) dpr: f64,
    pub(crate) fit: Fit,
    pub(crate) gravity: Gravity,
    pub(crate) trim: Trim,
    pub(crate) flip_horizontally: bool,
    pub(crate) flip_vertically: bool,
    /// Clockwise rotation in steps of 90 degrees.
    pub(crate) quarter_turns: u8,
    pub(crate) background: Option<Rgba<u8>>,
    /// Radius, 1-250.
    pub(crate) blur: Option<f32>,
    /// 0-10.
    pub(crate) sharpen: f32,
    /// Factor, like the next three; 1 does not change the image.
    pub(crate) brightness: f32,
    pub(crate) contrast: f32,
    pub(crate) gamma: f32,
    pub(crate) saturation: f32,
    /// 1-100.
    pub(crate) quality: u8,
    pub(crate) format: RequestedFormat,
    /// Whether an animation keeps its frames.
    pub(crate) anim: bool,
    pub(crate) metadata: Metadata,
}

/// How an image is fitted to its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    ScaleDown,
    /// Inside the box, never shrunk.
    ScaleUp,
    Contain,
    Cover,
    Crop,
    /// Cropped to the box's ratio, never enlarged.
    AspectCrop,
    Pad,
    /// Stretched to the box.
    Squeeze,
}

/// Which part of an image stays when it is cropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Gravity {
    /// Which fraction of the excess width and height is cut off at the left and at the top: 0 keeps the left and top edges.
    Point(f64, f64),
    /// The part with the most contrast.
    Auto,
}

/// Pixels that are cut off before everything else: by sides, or all outside a rectangle, but not both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trim {
    pub(crate) top: u32,
    pub(crate) left: u32,
    pub(crate) right: u32,
    pub(crate) bottom: u32,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
}

/// A rectangle inside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// The format that a URL requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestedFormat {
    /// By the `Accept` header.
    Auto,
    /// As `Auto`, without formats that are slow to encode.
    Fast,
    Webp,
    /// WebP where AVIF is not possible, as at Cloudflare.
    Avif,
    Jpeg,
    Png,
    /// Only for images that are SVG.
    Svg,
    /// JSON about the result instead of the image.
    Json,
}

impl Default for Transformation {
    fn default() -> Self {
        Transformation {
            width: None,
            height: None,
            dpr: 1.0,
            fit: Fit::ScaleDown,
            gravity: Gravity::Point(0.5, 0.5),
            trim: Trim::default(),
            flip_horizontally: false,
            flip_vertically: false,
            quarter_turns: 0,
            background: None,
            blur: None,
            sharpen: 0.0,
            brightness: 1.0,
            contrast: 1.0,
            gamma: 1.0,
            saturation: 1.0,
            quality: 85,
            format: RequestedFormat::Auto,
            anim: true,
            metadata: Metadata::Copyright,
        }
    }
}

impl From<&wire::VariantOptions> for Transformation {
    fn from(options: &wire::VariantOptions) -> Self {
        // Only variants with known fits are stored.
        let fit = match options.fit.known().unwrap_or_default() {
            wire::Fit::ScaleDown => Fit::ScaleDown,
            wire::Fit::Contain => Fit::Contain,
            wire::Fit::Cover => Fit::Cover,
            wire::Fit::Crop => Fit::Crop,
            wire::Fit::Pad => Fit::Pad,
        };
        Transformation {
            width: options.width,
            height: options.height,
            fit,
            blur: options.blur.map(|radius| radius as f32),
            metadata: options.metadata.known().unwrap_or_default(),
            ..Transformation::default()
        }
    }
}

impl Transformation {
    /// The box in pixels of the result, which is after `dpr`.
    pub(crate) fn size(&self) -> (Option<u32>, Option<u32>) {
        (
            self.width.map(|width| self.scaled(width).max(1)),
            self.height.map(|height| self.scaled(height).max(1)),
        )
    }

    /// The area that remains after the trim; `None` without a trim, 9401 if nothing remains.
    pub(crate) fn trimmed_area(&self, width: u32, height: u32) -> Result<Option<Area>, ApiError> {
        if self.trim == Trim::default() {
            return Ok(None);
        }
        let trim = &self.trim;
        let (left, top) = (self.scaled(trim.left), self.scaled(trim.top));
        let remaining = |side: u32, start: u32, end: u32, length: Option<u32>| {
            let rest = side.saturating_sub(start).saturating_sub(self.scaled(end));
            length.map_or(rest, |length| rest.min(self.scaled(length)))
        };
        let area = Area {
            left,
            top,
            width: remaining(width, left, trim.right, trim.width),
            height: remaining(height, top, trim.bottom, trim.height),
        };
        if area.width == 0 || area.height == 0 {
            return Err(ApiError::new(StatusCode::BAD_REQUEST, 9401, "trim leaves no pixels of the image"));
        }
        Ok(Some(area))
    }

    fn scaled(&self, length: u32) -> u32 {
        // `as` saturates; results that are too large are rejected later.
        (f64::from(length) * self.dpr).round() as u32
    }
}
