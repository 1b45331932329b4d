//! Transformations by URL options, Cloudflare's flexible variants: what is accepted, the options in the URL, the size.

use std::ops::RangeInclusive;

use super::fit::{Fit, fitted};
use super::{MAX_WIDTH, colour, source};
use crate::entity::image::{FocalPoint, Format as Encoding, Model};
use crate::error::{Code, Error, Result};
use cloudflare_images::wire::{MAX_PIXELS, Metadata, VariantOptions};

/// A transformation as it is asked for; what is left out is Cloudflare's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transform {
    /// Box in pixels, 1-12000.
    pub width: Option<i32>,
    /// Box in pixels, 1-12000.
    pub height: Option<i32>,
    /// Multiplied into the box, 1-4.
    pub dpr: Option<f64>,
    pub fit: Option<Fit>,
    pub gravity: Option<Gravity>,
    pub focal_point: Option<FocalPoint>,
    /// 1-100.
    pub quality: Option<i32>,
    pub format: Option<Format>,
    /// CSS colour.
    pub background: Option<String>,
    /// 1-250.
    pub blur: Option<i32>,
    /// 0-10.
    pub sharpen: Option<f64>,
    /// Factors; 1 leaves the image as it is. Cloudflare ignores 0.
    pub brightness: Option<f64>,
    pub contrast: Option<f64>,
    pub gamma: Option<f64>,
    /// Factor; 0 is grey.
    pub saturation: Option<f64>,
    /// Clockwise degrees.
    pub rotate: Option<i32>,
    pub flip: Option<Flip>,
    /// False keeps only the first frame.
    pub animated: Option<bool>,
    pub metadata: Option<Metadata>,
    /// 0-1, with [`Gravity::Face`].
    pub zoom: Option<f64>,
}

/// What a crop keeps in view.
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

/// Encodings that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Auto,
    Avif,
    Webp,
    Jpeg,
    BaselineJpeg,
    Png,
}

/// Which way an image is mirrored, before it is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    Horizontal,
    Vertical,
    Both,
}

/// Factors that mean something.
const FACTORS: RangeInclusive<f64> = 0.01..=100.0;

impl Transform {
    /// Checks every option by itself and against the others.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` with the option's field, for what is out of range and for what would have no effect.
    pub fn check(&self) -> Result<()> {
        if *self == Transform::default() {
            let message = "A transformation has at least one option, such as `width`.";
            return Err(Error::refuse(Code::InvalidInput, message));
        }
        whole("width", self.width, 1..=MAX_WIDTH)?;
        whole("height", self.height, 1..=MAX_WIDTH)?;
        whole("quality", self.quality, 1..=100)?;
        whole("blur", self.blur, 1..=250)?;
        real("dpr", self.dpr, 1.0..=4.0)?;
        real("sharpen", self.sharpen, 0.0..=10.0)?;
        real("brightness", self.brightness, FACTORS)?;
        real("contrast", self.contrast, FACTORS)?;
        real("gamma", self.gamma, FACTORS)?;
        real("saturation", self.saturation, 0.0..=*FACTORS.end())?;
        real("zoom", self.zoom, 0.0..=1.0)?;
        self.focal_point.map_or(Ok(()), FocalPoint::check)?;
        if self.rotate.is_some_and(|degrees| !matches!(degrees, 90 | 180 | 270)) {
            return Err(Error::invalid("rotate", "An image is rotated by 90, 180 or 270 degrees."));
        }
        if self.background.as_deref().is_some_and(|text| colour::encoded(text).is_none()) {
            let message = "A CSS colour is expected: #rgb, #rrggbb, #rrggbbaa, rgb(), hsl() or a name.";
            return Err(Error::invalid("background", message));
        }
        self.check_together()
    }

    /// An option without effect is refused, not ignored.
    fn check_together(&self) -> Result<()> {
        if self.dpr.is_some() && self.width.is_none() && self.height.is_none() {
            return Err(Error::invalid("dpr", "`dpr` multiplies `width` and `height`: give one of them."));
        }
        let (width, height) = self.size();
        if width.max(height).is_some_and(|side| side > MAX_WIDTH.unsigned_abs()) {
            let message = format!("`width` and `height` times `dpr` are at most {MAX_WIDTH}.");
            return Err(Error::invalid("dpr", message));
        }
        if let (Some(width), Some(height), Some(Fit::Cover | Fit::Pad | Fit::Squeeze)) =
            (width, height, self.fit)
            && u64::from(width) * u64::from(height) > MAX_PIXELS
        {
            let message =
                format!("At most {MAX_PIXELS} pixels in all are delivered; this is {width} × {height}.");
            return Err(Error::invalid("width", message));
        }
        if self.fit.is_some() && width.is_none() && height.is_none() {
            return Err(Error::invalid("fit", "`fit` needs a box: give `width`, `height` or both."));
        }
        let message =
            "It says what a crop keeps: give `width` and `height`, and as `fit` COVER, CROP or ASPECT_CROP.";
        if self.gravity.is_some() && !self.crops() {
            return Err(Error::invalid("gravity", message));
        }
        if self.focal_point.is_some() && !self.crops() {
            return Err(Error::invalid("focalPoint", message));
        }
        // A point wins over a gravity, and there is no face any more.
        if self.zoom.is_some() && (self.gravity != Some(Gravity::Face) || self.focal_point.is_some()) {
            return Err(Error::invalid("zoom", "`zoom` needs `gravity: FACE` and no `focalPoint`."));
        }
        Ok(())
    }

    /// Whether Cloudflare makes an output this large of this image: at most 12,000 pixels a side and 100 megapixels.
    pub fn is_deliverable(&self, image: &Model) -> bool {
        let Some((width, height)) = self.rendered_size(image) else { return true };
        let fits = width.max(height) <= MAX_WIDTH.unsigned_abs()
            && u64::from(width) * u64::from(height) <= MAX_PIXELS;
        fits || image.format == Encoding::Svg
    }

    /// What a named variant does, without the metadata it may keep; `None` for one with options that we do not know.
    pub fn of_variant(options: &VariantOptions) -> Option<Transform> {
        if !options.other.is_empty() {
            return None;
        }
        let whole = |number: Option<u32>| number.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        let sized = options.width.is_some() || options.height.is_some();
        let fit = Fit::from(options.fit.known()?);
        Some(Transform {
            width: whole(options.width),
            height: whole(options.height),
            fit: sized.then_some(fit),
            blur: whole(options.blur),
            metadata: Some(Metadata::Copyright),
            ..Transform::default()
        })
    }

    /// Whether it changes what is seen, and not only size, cut and encoding: nothing else may stand in for it then.
    pub fn changes_picture(&self) -> bool {
        self.blur.is_some()
            || self.rotate.is_some()
            || self.flip.is_some()
            || self.animated == Some(false)
            || [self.brightness, self.contrast, self.gamma, self.saturation].iter().any(Option::is_some)
    }

    /// The last segment of the delivery URL: one spelling for each transformation. Crops keep the image's focal point
    /// in view unless something else is asked for.
    pub fn options(&self, image: &Model) -> String {
        let (width, height) = self.size();
        let gravity = match (self.focal_point, self.gravity) {
            (Some(point), _) => Some(self.written(point)),
            (None, Some(gravity)) => Some(gravity.option().to_owned()),
            (None, None) => image.focal_point().filter(|_| self.crops()).map(|point| self.written(point)),
        };
        let options = [
            ("w", width.map(|side| side.to_string())),
            ("h", height.map(|side| side.to_string())),
            ("fit", self.fit.map(|fit| option_of(fit).to_owned())),
            ("gravity", gravity),
            ("zoom", self.zoom.map(number)),
            ("flip", self.flip.map(|flip| flip.option().to_owned())),
            ("rotate", self.rotate.map(|degrees| degrees.to_string())),
            ("background", self.background.as_deref().and_then(colour::encoded)),
            ("blur", self.blur.map(|radius| radius.to_string())),
            ("sharpen", self.sharpen.map(number)),
            ("brightness", self.brightness.map(number)),
            ("contrast", self.contrast.map(number)),
            ("gamma", self.gamma.map(number)),
            ("saturation", self.saturation.map(number)),
            ("anim", self.animated.map(|animated| animated.to_string())),
            ("metadata", self.metadata.map(|metadata| metadata_option(metadata).to_owned())),
            ("quality", self.quality.map(|quality| quality.to_string())),
            ("format", self.format.map(|format| format.option().to_owned())),
        ];
        let given = options.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        given.collect::<Vec<_>>().join(",")
    }

    /// Width and height in pixels of the outcome; `None` for an image of unknown size, and for HEIC, whose encoding
    /// after conversion is Cloudflare's own affair.
    pub fn rendered_size(&self, image: &Model) -> Option<(u32, u32)> {
        let whole = source(image)?;
        match image.format {
            // Cloudflare never resizes SVG.
            Encoding::Svg => Some(whole),
            Encoding::Heic => None,
            _ => Some(self.fitted(whole)),
        }
    }

    /// Width and height of the outcome for an upright source of this size.
    pub fn fitted(&self, whole: (u32, u32)) -> (u32, u32) {
        let (width, height) = self.size();
        fitted(self.fit.unwrap_or_default(), width, height, self.turned_size(whole))
    }

    /// The size an upright source has once it is rotated, which is what the box is for.
    pub fn turned_size(&self, (width, height): (u32, u32)) -> (u32, u32) {
        if matches!(self.rotate, Some(90 | 270)) { (height, width) } else { (width, height) }
    }

    /// The box in pixels of the output.
    fn size(&self) -> (Option<u32>, Option<u32>) {
        let scaled = |side: i32| (f64::from(side) * self.dpr.unwrap_or(1.0)).round() as u32;
        (self.width.map(scaled), self.height.map(scaled))
    }

    /// Whether something may be cut off.
    fn crops(&self) -> bool {
        self.fit.is_some_and(Fit::crops) && self.width.is_some() && self.height.is_some()
    }

    /// A point of the image, where it is once the image is flipped and then rotated.
    fn written(&self, FocalPoint { x, y }: FocalPoint) -> String {
        let x = if matches!(self.flip, Some(Flip::Horizontal | Flip::Both)) { 1.0 - x } else { x };
        let y = if matches!(self.flip, Some(Flip::Vertical | Flip::Both)) { 1.0 - y } else { y };
        let (x, y) = match self.rotate {
            Some(90) => (1.0 - y, x),
            Some(180) => (1.0 - x, 1.0 - y),
            Some(270) => (y, 1.0 - x),
            _ => (x, y),
        };
        format!("{}x{}", number(x), number(y))
    }
}

impl Gravity {
    fn option(self) -> &'static str {
        match self {
            Gravity::Auto => "auto",
            Gravity::Face => "face",
            Gravity::Left => "left",
            Gravity::Right => "right",
            Gravity::Top => "top",
            Gravity::Bottom => "bottom",
            // Cloudflare documents no name for it in URLs.
            Gravity::Center => "0.5x0.5",
        }
    }
}

impl Format {
    fn option(self) -> &'static str {
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
    fn option(self) -> &'static str {
        match self {
            Flip::Horizontal => "h",
            Flip::Vertical => "v",
            Flip::Both => "hv",
        }
    }
}

fn option_of(fit: Fit) -> &'static str {
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

fn metadata_option(metadata: Metadata) -> &'static str {
    match metadata {
        Metadata::Keep => "keep",
        Metadata::Copyright => "copyright",
        Metadata::None => "none",
    }
}

/// At most four decimals, so that a point in a crop does not make a string of its own out of rounding noise.
fn number(number: f64) -> String {
    // Adding zero takes the sign off a negative zero.
    ((number * 1e4).round() / 1e4 + 0.0).to_string()
}

fn whole(field: &str, value: Option<i32>, range: RangeInclusive<i32>) -> Result<()> {
    if value.is_none_or(|value| range.contains(&value)) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("`{field}` is {} to {}.", range.start(), range.end())))
}

fn real(field: &str, value: Option<f64>, range: RangeInclusive<f64>) -> Result<()> {
    if value.is_none_or(|value| range.contains(&value)) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("`{field}` is {} to {}.", range.start(), range.end())))
}
