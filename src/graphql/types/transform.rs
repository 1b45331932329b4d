//! Transformations and renditions of images.

use async_graphql::{Enum, InputObject, SimpleObject};
use row_object::RowObject;

use crate::delivery;
use crate::delivery::fit::Fit;
use crate::delivery::srcset::SrcSet;
use crate::delivery::transform::{Flip, Format, Gravity, Transform};
use crate::error::Result;
use crate::graphql::types::new_image::FocalPointInput;
use crate::graphql::types::scalar::{DateTime, UrlText};
use cloudflare_images::wire;

/// One sized version of an image.
#[derive(Debug, Clone, SimpleObject, RowObject)]
pub struct ImageRendition {
    /// Variant name, if this is one.
    variant: Option<String>,
    /// Where it is delivered.
    url: UrlText,
    /// Pixels of this version. Null when they cannot be computed in advance.
    width: Option<i32>,
    /// Pixels of this version. Null when they cannot be computed in advance.
    height: Option<i32>,
    /// When the URL expires. Null for a URL that needs no signature.
    expires_at: Option<DateTime>,
    /// Whether this is exactly what was requested. False for a named variant in place of a transformation that is not
    /// available for this image, for a vector image that is not resized, and where metadata is not kept although
    /// requested.
    exact: bool,
}

impl From<delivery::Rendition> for ImageRendition {
    fn from(rendition: delivery::Rendition) -> Self {
        ImageRendition {
            variant: rendition.variant,
            url: UrlText(rendition.url),
            width: rendition.size.and_then(|(width, _)| side(width)),
            height: rendition.size.and_then(|(_, height)| side(height)),
            expires_at: rendition.expires_at.map(DateTime),
            exact: rendition.exact,
        }
    }
}

/// The attributes of an `<img>`.
#[derive(Debug, Clone, SimpleObject, RowObject)]
pub struct ImageSrcSet {
    /// The `src` attribute: the widest candidate of at most 1280 pixels.
    src: UrlText,
    /// The `srcset` attribute.
    srcset: String,
    /// The `sizes` attribute of the request.
    sizes: String,
    /// Pixels of `src`. Null when they cannot be computed in advance.
    width: Option<i32>,
    /// Pixels of `src`. Null when they cannot be computed in advance.
    height: Option<i32>,
    /// The same URLs one by one, narrowest first, for native clients.
    #[row(nested)]
    candidates: Vec<ImageRendition>,
}

impl From<SrcSet> for ImageSrcSet {
    fn from(set: SrcSet) -> Self {
        ImageSrcSet {
            src: UrlText(set.src),
            srcset: set.srcset,
            sizes: set.sizes,
            width: set.size.and_then(|(width, _)| side(width)),
            height: set.size.and_then(|(_, height)| side(height)),
            candidates: set.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

fn side(side: u32) -> Option<i32> {
    i32::try_from(side).ok()
}

/// A transformation of an image by URL. An option without effect is rejected.
#[derive(Debug, Clone, InputObject)]
pub struct ImageTransformInput {
    /// Width of the box in pixels, 1-12000.
    width: Option<i32>,
    /// Height of the box in pixels, 1-12000.
    height: Option<i32>,
    /// Device pixel ratio multiplied into width and height, 1-4.
    dpr: Option<f64>,
    /// How the image is fitted to the box. Default: `SCALE_DOWN`.
    fit: Option<TransformFit>,
    /// What a crop keeps in view. Default: the image's focal point, if set.
    gravity: Option<TransformGravity>,
    /// A point a crop keeps in view; takes precedence over `gravity`. In the image before `flip` and `rotate`.
    focal_point: Option<FocalPointInput>,
    /// 1-100.
    quality: Option<i32>,
    /// Default: `AUTO`.
    format: Option<TransformFormat>,
    /// CSS colour behind transparent or padded areas: `#rgb`, `#rrggbb`, `#rrggbbaa`, `rgb()`, `hsl()` or a name.
    background: Option<String>,
    /// Radius, 1-250.
    blur: Option<i32>,
    /// 0-10.
    sharpen: Option<f64>,
    /// Factor, 0.01-100; 1 is unchanged.
    brightness: Option<f64>,
    /// Factor, 0.01-100; 1 is unchanged.
    contrast: Option<f64>,
    /// Factor, 0.01-100; 1 is unchanged.
    gamma: Option<f64>,
    /// Factor, 0-100; 1 is unchanged, 0 is grey.
    saturation: Option<f64>,
    /// Clockwise degrees: 90, 180 or 270. Width and height are those of the rotated image.
    rotate: Option<i32>,
    /// Mirrors the image, before it is rotated.
    flip: Option<TransformFlip>,
    /// False keeps only the first frame.
    animated: Option<bool>,
    /// What metadata the delivered image keeps. Default: the copyright tag of JPEG files. `KEEP` counts as `COPYRIGHT`,
    /// with `exact: false`, unless the workspace's `exifPolicy` is `KEEP_ALL`.
    metadata: Option<TransformMetadata>,
    /// Face zoom with `gravity: FACE`, 0-1.
    zoom: Option<f64>,
}

impl From<ImageTransformInput> for Transform {
    fn from(input: ImageTransformInput) -> Self {
        Transform {
            width: input.width,
            height: input.height,
            dpr: input.dpr,
            fit: input.fit.map(Into::into),
            gravity: input.gravity.map(Into::into),
            focal_point: input.focal_point.map(Into::into),
            quality: input.quality,
            format: input.format.map(Into::into),
            background: input.background,
            blur: input.blur,
            sharpen: input.sharpen,
            brightness: input.brightness,
            contrast: input.contrast,
            gamma: input.gamma,
            saturation: input.saturation,
            rotate: input.rotate,
            flip: input.flip.map(Into::into),
            animated: input.animated,
            metadata: input.metadata.map(Into::into),
            zoom: input.zoom,
        }
    }
}

/// How an image is fitted to the target box. More may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Fit")]
pub enum TransformFit {
    /// Inside the box, never enlarged.
    ScaleDown,
    /// Inside the box, enlarged if need be.
    Contain,
    /// Fills the box exactly; the rest is cropped away.
    Cover,
    /// As `COVER` when larger than the box, as `SCALE_DOWN` when smaller.
    Crop,
    /// Cropped to the ratio of the box, never enlarged. Not for named variants.
    AspectCrop,
    /// As `CONTAIN`, then filled to the box with background.
    Pad,
    /// Stretched to the box. Not for named variants.
    Squeeze,
}

/// The fit of a named variant, if one is given.
///
/// # Errors
/// `BAD_USER_INPUT` at `fit` for those that variants do not have.
pub fn named_fit(fit: Option<TransformFit>) -> Result<Option<wire::Fit>> {
    fit.map(|fit| Fit::from(fit).for_variant()).transpose()
}

/// What a crop keeps in view. More may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Gravity")]
pub enum TransformGravity {
    /// Where the picture is most salient.
    Auto,
    /// A face, or the middle if there is none.
    Face,
    /// The left edge.
    Left,
    /// The right edge.
    Right,
    /// The top edge.
    Top,
    /// The bottom edge.
    Bottom,
    /// The middle.
    Center,
}

/// Encoding of a transformed image. More may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Format")]
pub enum TransformFormat {
    /// AVIF or WebP where the client accepts it.
    Auto,
    /// AVIF, or WebP where the image is too large for it.
    Avif,
    /// WebP.
    Webp,
    /// JPEG.
    Jpeg,
    /// JPEG that is not progressive.
    BaselineJpeg,
    /// PNG.
    Png,
}

/// Which way an image is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Flip")]
pub enum TransformFlip {
    /// Left becomes right.
    Horizontal,
    /// Top becomes bottom.
    Vertical,
    /// Both.
    Both,
}

/// What metadata the delivered image keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "wire::Metadata")]
pub enum TransformMetadata {
    /// Everything, location included. URLs that keep everything are returned only for workspaces whose `exifPolicy` is
    /// `KEEP_ALL`.
    Keep,
    /// The copyright tag of JPEG files.
    Copyright,
    /// Cloudflare's `none`; named so because a `NONE` case collides with Swift's `Optional.none`.
    #[graphql(name = "STRIP")]
    None,
}
