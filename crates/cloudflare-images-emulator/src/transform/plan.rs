//! What is to be done to an image, whether a named variant or options in the URL say so.

use axum::http::StatusCode;
use image::{DynamicImage, Rgba};

use crate::answer::Refusal;
use cloudflare_images::wire::{self, Metadata};

/// Everything that shapes a delivered image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Box in pixels, before `dpr`.
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    /// Multiplies box and trim.
    pub(crate) dpr: f64,
    pub(crate) fit: Fit,
    pub(crate) gravity: Gravity,
    pub(crate) trim: Trim,
    pub(crate) flip_horizontally: bool,
    pub(crate) flip_vertically: bool,
    /// Clockwise, by 90 degrees each.
    pub(crate) quarter_turns: u8,
    pub(crate) background: Option<Rgba<u8>>,
    /// Radius, 1-250.
    pub(crate) blur: Option<f32>,
    /// 0-10.
    pub(crate) sharpen: f32,
    /// Factors; 1 leaves the image as it is.
    pub(crate) brightness: f32,
    pub(crate) contrast: f32,
    pub(crate) gamma: f32,
    pub(crate) saturation: f32,
    /// 1-100.
    pub(crate) quality: u8,
    pub(crate) wanted: Wanted,
    /// Keeps an animation moving.
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

/// What stays in view when an image is cropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Gravity {
    /// Fractions of the width and height that do not fit: 0 keeps the left and top edge.
    Point(f64, f64),
    /// Where most is to be seen.
    Auto,
}

/// Pixels to cut off first. Sides and a rectangle exclude each other.
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

/// The format a URL asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What the client accepts.
    Auto,
    /// As `Auto`, but nothing that is slow to write.
    Fast,
    Webp,
    /// WebP where AVIF cannot be written, as on Cloudflare.
    Avif,
    Jpeg,
    Png,
    /// Only for what is SVG already.
    Svg,
    /// A document about the outcome instead of the image.
    Json,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
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
            wanted: Wanted::Auto,
            anim: true,
            metadata: Metadata::Copyright,
        }
    }
}

impl From<&wire::VariantOptions> for Plan {
    fn from(options: &wire::VariantOptions) -> Self {
        // No variant with another is stored.
        let fit = match options.fit.known().unwrap_or_default() {
            wire::Fit::ScaleDown => Fit::ScaleDown,
            wire::Fit::Contain => Fit::Contain,
            wire::Fit::Cover => Fit::Cover,
            wire::Fit::Crop => Fit::Crop,
            wire::Fit::Pad => Fit::Pad,
        };
        Plan {
            width: options.width,
            height: options.height,
            fit,
            blur: options.blur.map(|radius| radius as f32),
            metadata: options.metadata.known().unwrap_or_default(),
            ..Plan::default()
        }
    }
}

impl Plan {
    /// The box in pixels of the output.
    pub(crate) fn size(&self) -> (Option<u32>, Option<u32>) {
        (
            self.width.map(|width| self.scaled(width).max(1)),
            self.height.map(|height| self.scaled(height).max(1)),
        )
    }

    /// What is left of an image after the trim; `None` if that is all of it, 9401 if it is nothing.
    pub(crate) fn trimmed(&self, width: u32, height: u32) -> Result<Option<Area>, Refusal> {
        if self.trim == Trim::default() {
            return Ok(None);
        }
        let trim = &self.trim;
        let (left, top) = (self.scaled(trim.left), self.scaled(trim.top));
        let room = |whole: u32, start: u32, end: u32, length: Option<u32>| {
            let rest = whole.saturating_sub(start).saturating_sub(self.scaled(end));
            length.map_or(rest, |length| rest.min(self.scaled(length)))
        };
        let area = Area {
            left,
            top,
            width: room(width, left, trim.right, trim.width),
            height: room(height, top, trim.bottom, trim.height),
        };
        if area.width == 0 || area.height == 0 {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, 9401, "trim leaves nothing of the image"));
        }
        Ok(Some(area))
    }

    /// The image flipped, then rotated.
    pub(crate) fn turned(&self, image: DynamicImage) -> DynamicImage {
        let image = if self.flip_horizontally { image.fliph() } else { image };
        let image = if self.flip_vertically { image.flipv() } else { image };
        match self.quarter_turns {
            1 => image.rotate90(),
            2 => image.rotate180(),
            3 => image.rotate270(),
            _ => image,
        }
    }

    fn scaled(&self, length: u32) -> u32 {
        // `as` saturates, and what is too large is refused when the output is laid out.
        (f64::from(length) * self.dpr).round() as u32
    }
}
