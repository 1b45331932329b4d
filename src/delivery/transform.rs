//! Transformations by URL options (Cloudflare's flexible variants): validation, the options in the URL, and the resulting size.

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;

use super::fit::{Fit, fitted_size};
use super::{MAX_DELIVERED_SIDE, colour, original_size};
use crate::entity::image::{FocalPoint, Format as Encoding, Model};
use crate::error::{Code, Error, Result};
use cloudflare_images::wire::{MAX_PIXELS, Metadata, VariantOptions};

/// A requested transformation. `None` means Cloudflare's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transform {
    /// Width of the box in pixels, 1-12000.
    pub width: Option<i32>,
    /// Height of the box in pixels, 1-12000.
    pub height: Option<i32>,
    /// Device pixel ratio, 1-4: width and height are multiplied by it.
    pub dpr: Option<f64>,
    pub fit: Option<Fit>,
    pub gravity: Option<Gravity>,
    pub focal_point: Option<FocalPoint>,
    /// 1-100.
    pub quality: Option<i32>,
    pub format: Option<Format>,
    /// A CSS colour, see [`colour::encode`].
    pub background: Option<String>,
    /// 1-250.
    pub blur: Option<i32>,
    /// 0-10.
    pub sharpen: Option<f64>,
    /// Factor, above 0; 1 changes nothing. Cloudflare ignores 0.
    pub brightness: Option<f64>,
    /// Factor, above 0; 1 changes nothing. Cloudflare ignores 0.
    pub contrast: Option<f64>,
    /// Factor, above 0; 1 changes nothing. Cloudflare ignores 0.
    pub gamma: Option<f64>,
    /// Factor; 0 makes the image grey.
    pub saturation: Option<f64>,
    /// Clockwise, in degrees: 90, 180 or 270.
    pub rotate: Option<i32>,
    pub flip: Option<Flip>,
    /// False delivers only the first frame.
    pub animated: Option<bool>,
    pub metadata: Option<Metadata>,
    /// 0-1, with [`Gravity::Face`].
    pub zoom: Option<f64>,
}

/// The part of the image that a crop keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    Auto,
    Face,
    Left,
    Right,
    Top,
    Bottom,
    Center,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Auto,
    Avif,
    Webp,
    Jpeg,
    BaselineJpeg,
    Png,
}

/// The direction in which an image is mirrored, before it is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    Horizontal,
    Vertical,
    Both,
}

/// Range of the factors for brightness, contrast and gamma.
const FACTORS: RangeInclusive<f64> = 0.01..=100.0;

impl Transform {
    /// Validates each option, and their combination.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at the field of an option that is out of range or has no effect; `INVALID_INPUT` without options.
    pub fn check(&self) -> Result<()> {
        if *self == Transform::default() {
            let message = "A transformation needs at least one option, such as `width`.";
            return Err(Error::refuse(Code::InvalidInput, message));
        }
        check_range("width", self.width, 1..=MAX_DELIVERED_SIDE)?;
        check_range("height", self.height, 1..=MAX_DELIVERED_SIDE)?;
        check_range("quality", self.quality, 1..=100)?;
        check_range("blur", self.blur, 1..=250)?;
        check_range("dpr", self.dpr, 1.0..=4.0)?;
        check_range("sharpen", self.sharpen, 0.0..=10.0)?;
        check_range("brightness", self.brightness, FACTORS)?;
        check_range("contrast", self.contrast, FACTORS)?;
        check_range("gamma", self.gamma, FACTORS)?;
        check_range("saturation", self.saturation, 0.0..=*FACTORS.end())?;
        check_range("zoom", self.zoom, 0.0..=1.0)?;
        self.focal_point.map_or(Ok(()), FocalPoint::check)?;
        if self.rotate.is_some_and(|degrees| !matches!(degrees, 90 | 180 | 270)) {
            return Err(Error::invalid("rotate", "`rotate` must be 90, 180 or 270 degrees."));
        }
        if self.background.as_deref().is_some_and(|text| colour::encode(text).is_none()) {
            let message =
                "`background` must be a CSS colour: #rgb, #rrggbb, #rrggbbaa, rgb(), hsl() or a name.";
            return Err(Error::invalid("background", message));
        }
        self.check_combination()
    }

    /// Rejects options that exceed a limit together, and options that have no effect without others.
    fn check_combination(&self) -> Result<()> {
        if self.dpr.is_some() && self.width.is_none() && self.height.is_none() {
            return Err(Error::invalid(
                "dpr",
                "`dpr` multiplies `width` and `height`: give at least one of them.",
            ));
        }
        let (width, height) = self.output_box();
        if width.max(height).is_some_and(|side| side > MAX_DELIVERED_SIDE.unsigned_abs()) {
            let message =
                format!("`width` and `height` multiplied by `dpr` must not exceed {MAX_DELIVERED_SIDE}.");
            return Err(Error::invalid("dpr", message));
        }
        if let (Some(width), Some(height), Some(Fit::Cover | Fit::Pad | Fit::Squeeze)) =
            (width, height, self.fit)
            && u64::from(width) * u64::from(height) > MAX_PIXELS
        {
            let message = format!(
                "An image is delivered with at most {MAX_PIXELS} pixels; {width} × {height} is more."
            );
            return Err(Error::invalid("width", message));
        }
        if self.fit.is_some() && width.is_none() && height.is_none() {
            return Err(Error::invalid("fit", "`fit` needs `width`, `height` or both."));
        }
        let message =
            "This option needs a crop: give `width`, `height`, and COVER, CROP or ASPECT_CROP as `fit`.";
        if self.gravity.is_some() && !self.crops() {
            return Err(Error::invalid("gravity", message));
        }
        if self.focal_point.is_some() && !self.crops() {
            return Err(Error::invalid("focalPoint", message));
        }
        // A focal point replaces the gravity, so there is no face to zoom to.
        if self.zoom.is_some() && (self.gravity != Some(Gravity::Face) || self.focal_point.is_some()) {
            return Err(Error::invalid("zoom", "`zoom` needs `gravity: FACE` and no `focalPoint`."));
        }
        Ok(())
    }

    /// Whether Cloudflare delivers the result for this image: at most 12,000 pixels per side and 100 megapixels. True for an
    /// image of unknown size.
    pub fn is_deliverable(&self, image: &Model) -> bool {
        let Some((width, height)) = self.rendered_size(image) else { return true };
        let fits = width.max(height) <= MAX_DELIVERED_SIDE.unsigned_abs()
            && u64::from(width) * u64::from(height) <= MAX_PIXELS;
        fits || image.format == Encoding::Svg
    }

    /// The transformation of a named variant, with `metadata: COPYRIGHT`; `None` for a variant with unknown options.
    pub fn from_variant(options: &VariantOptions) -> Option<Transform> {
        if !options.other.is_empty() {
            return None;
        }
        let to_i32 = |number: Option<u32>| number.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        let has_box = options.width.is_some() || options.height.is_some();
        let fit = Fit::from(options.fit.known()?);
        Some(Transform {
            width: to_i32(options.width),
            height: to_i32(options.height),
            fit: has_box.then_some(fit),
            blur: to_i32(options.blur),
            metadata: Some(Metadata::Copyright),
            ..Transform::default()
        })
    }

    /// Whether it changes the content of the image, not only its size, crop and encoding. Such a transformation has no
    /// fallback.
    pub fn changes_content(&self) -> bool {
        self.blur.is_some()
            || self.rotate.is_some()
            || self.flip.is_some()
            || self.animated == Some(false)
            || [self.brightness, self.contrast, self.gamma, self.saturation].iter().any(Option::is_some)
    }

    /// The options as the last path segment of a delivery URL. Equal transformations have the same text. A crop keeps the
    /// image's focal point unless the transformation has a focal point or gravity.
    pub fn url_options(&self, image: &Model) -> String {
        let (width, height) = self.output_box();
        let gravity = match (self.focal_point, self.gravity) {
            (Some(point), _) => Some(self.point_option(point)),
            (None, Some(gravity)) => Some(gravity.url_value().to_owned()),
            (None, None) => {
                image.focal_point().filter(|_| self.crops()).map(|point| self.point_option(point))
            }
        };
        let mut options = UrlOptions(String::new());
        options.add("w", width);
        options.add("h", height);
        options.add("fit", self.fit.map(fit_url_value));
        options.add("gravity", gravity);
        options.add("zoom", self.zoom.map(decimal));
        options.add("flip", self.flip.map(Flip::url_value));
        options.add("rotate", self.rotate);
        options.add("background", self.background.as_deref().and_then(colour::encode));
        options.add("blur", self.blur);
        options.add("sharpen", self.sharpen.map(decimal));
        options.add("brightness", self.brightness.map(decimal));
        options.add("contrast", self.contrast.map(decimal));
        options.add("gamma", self.gamma.map(decimal));
        options.add("saturation", self.saturation.map(decimal));
        options.add("anim", self.animated);
        options.add("metadata", self.metadata.map(metadata_url_value));
        options.add("quality", self.quality);
        options.add("format", self.format.map(Format::url_value));
        options.0
    }

    /// Width and height in pixels of the result; `None` for an image of unknown size, and for HEIC, which Cloudflare converts
    /// in a way it does not document.
    pub fn rendered_size(&self, image: &Model) -> Option<(u32, u32)> {
        let original = original_size(image)?;
        match image.format {
            // Cloudflare never resizes SVG.
            Encoding::Svg => Some(original),
            Encoding::Heic => None,
            _ => Some(self.fitted_size(original)),
        }
    }

    /// Width and height of the result for an original of this size.
    pub fn fitted_size(&self, original: (u32, u32)) -> (u32, u32) {
        let (width, height) = self.output_box();
        fitted_size(self.fit.unwrap_or_default(), width, height, self.rotated_size(original))
    }

    /// The size of an original after `rotate`, which is applied before the image is fitted to the box.
    pub fn rotated_size(&self, (width, height): (u32, u32)) -> (u32, u32) {
        if matches!(self.rotate, Some(90 | 270)) { (height, width) } else { (width, height) }
    }

    /// Width and height of the box in output pixels.
    fn output_box(&self) -> (Option<u32>, Option<u32>) {
        let scaled = |side: i32| (f64::from(side) * self.dpr.unwrap_or(1.0)).round() as u32;
        (self.width.map(scaled), self.height.map(scaled))
    }

    /// Whether parts of the image may be cropped.
    fn crops(&self) -> bool {
        self.fit.is_some_and(Fit::crops) && self.width.is_some() && self.height.is_some()
    }

    /// The URL value of a point of the original: its position after the image is mirrored and then rotated.
    fn point_option(&self, FocalPoint { x, y }: FocalPoint) -> String {
        let x = if matches!(self.flip, Some(Flip::Horizontal | Flip::Both)) { 1.0 - x } else { x };
        let y = if matches!(self.flip, Some(Flip::Vertical | Flip::Both)) { 1.0 - y } else { y };
        let (x, y) = match self.rotate {
            Some(90) => (1.0 - y, x),
            Some(180) => (1.0 - x, 1.0 - y),
            Some(270) => (y, 1.0 - x),
            _ => (x, y),
        };
        format!("{}x{}", decimal(x), decimal(y))
    }
}

/// A list of options in a URL.
struct UrlOptions(String);

impl UrlOptions {
    fn add(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            let comma = if self.0.is_empty() { "" } else { "," };
            let _ = write!(self.0, "{comma}{name}={value}");
        }
    }
}

impl Gravity {
    fn url_value(self) -> &'static str {
        match self {
            Gravity::Auto => "auto",
            Gravity::Face => "face",
            Gravity::Left => "left",
            Gravity::Right => "right",
            Gravity::Top => "top",
            Gravity::Bottom => "bottom",
            // Cloudflare documents no name for the centre in URLs.
            Gravity::Center => "0.5x0.5",
        }
    }
}

impl Format {
    fn url_value(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Avif => "avif",
            Format::Webp => "webp",
            Format::Jpeg => "jpeg",
            Format::BaselineJpeg => "baseline-jpeg",
            Format::Png => "png",
        }
    }
}

impl Flip {
    fn url_value(self) -> &'static str {
        match self {
            Flip::Horizontal => "h",
            Flip::Vertical => "v",
            Flip::Both => "hv",
        }
    }
}

fn fit_url_value(fit: Fit) -> &'static str {
    match fit {
        Fit::ScaleDown => "scale-down",
        Fit::Contain => "contain",
        Fit::Cover => "cover",
        Fit::Crop => "crop",
        Fit::Pad => "pad",
        Fit::AspectCrop => "aspect-crop",
        Fit::Squeeze => "squeeze",
    }
}

fn metadata_url_value(metadata: Metadata) -> &'static str {
    match metadata {
        Metadata::Keep => "keep",
        Metadata::Copyright => "copyright",
        Metadata::None => "none",
    }
}

/// A number with at most four decimals, so that rounding errors do not lead to different URLs.
fn decimal(number: f64) -> String {
    // Adding zero turns a negative zero into zero.
    ((number * 1e4).round() / 1e4 + 0.0).to_string()
}

fn check_range<T: PartialOrd + Display>(
    field: &str,
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Result<()> {
    if value.is_none_or(|value| range.contains(&value)) {
        return Ok(());
    }
    let message = format!("`{field}` must be from {} to {}.", range.start(), range.end());
    Err(Error::invalid(field, message))
}
