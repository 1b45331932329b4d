//! Pixels: from a stored file and a plan to the bytes that are delivered.

pub(super) mod adjust;
#[cfg(feature = "avif")]
pub(super) mod avif;
pub(super) mod colour;
pub(super) mod decode;
pub(super) mod encode;
pub(super) mod geometry;
pub(super) mod plan;
pub(super) mod saliency;
pub(super) mod webp;

use std::path::Path;

use axum::body::Bytes;
use axum::http::StatusCode;
use fast_image_resize::{ResizeOptions, Resizer};
use image::{DynamicImage, Frame, Frames};
use media::decode::Animation;

use super::answer::Refusal;
use super::store::Format;
use cloudflare_images::wire::{MAX_PIXELS, MAX_SIDE};
use encode::Output;
use geometry::Layout;
use plan::{Gravity, Plan};

/// A delivered file.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) bytes: Bytes,
    /// MIME type.
    pub(super) media_type: &'static str,
}

/// Decodes the file, applies the plan and encodes the outcome, with all its frames if it `moves`.
///
/// Blocks. Errors are those of the delivery host: 9413 for an output too large, 9516 for a file or output that
/// cannot be coded, 9401 for a trim that leaves nothing.
pub(super) fn render(
    path: &Path,
    source: Format,
    plan: &Plan,
    output: Output,
    moves: bool,
) -> Result<Rendered, Refusal> {
    let raster = decode::raster(source).ok_or_else(|| undecodable("not a raster image"))?;
    if moves && let Some(animation) = decode::animation(path, raster).map_err(undecodable)? {
        return animated(animation, plan, output);
    }
    let decoded = decode::pixels(path, raster).map_err(undecodable)?;
    let original = (decoded.image.width(), decoded.image.height());
    let pixels = apply(decoded.image, plan)?;
    if output == Output::Json {
        return encode::document(path, source, original, (pixels.width(), pixels.height()));
    }
    encode::still(pixels, output, plan, decoded.exif, decoded.icc)
}

fn animated(animation: Animation, plan: &Plan, output: Output) -> Result<Rendered, Refusal> {
    let Animation { frames, loops } = animation;
    let frames = Transformed { frames, plan, pixels: 0 };
    match output {
        Output::Gif => encode::gif(Frames::new(Box::new(frames)), loops),
        _ => encode::webp_animation(frames, loops, plan.quality),
    }
}

/// Frames as they are asked for, so that no more than one is held decoded.
struct Transformed<'a> {
    frames: Frames<'a>,
    plan: &'a Plan,
    pixels: u64,
}

impl Iterator for Transformed<'_> {
    type Item = image::ImageResult<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.frames.next()?.and_then(|frame| {
            let delay = frame.delay();
            let pixels =
                apply(DynamicImage::ImageRgba8(frame.into_buffer()), self.plan).map_err(as_image_error)?;
            self.pixels += u64::from(pixels.width()) * u64::from(pixels.height());
            if self.pixels > MAX_PIXELS {
                return Err(as_image_error(too_large()));
            }
            Ok(Frame::from_parts(pixels.into_rgba8(), 0, 0, delay))
        }))
    }
}

/// Trim, flip, rotate, resize and crop, colours, blur and sharpen, background: in this order.
fn apply(pixels: DynamicImage, plan: &Plan) -> Result<DynamicImage, Refusal> {
    let pixels = match plan.trimmed(pixels.width(), pixels.height())? {
        Some(area) => pixels.crop_imm(area.left, area.top, area.width, area.height),
        None => pixels,
    };
    let pixels = plan.turned(pixels);
    let layout = geometry::layout((pixels.width(), pixels.height()), plan.size(), plan.fit);
    check_output(layout.canvas)?;
    let mut pixels = resize(pixels, &layout, plan.gravity)?;
    adjust::colours(&mut pixels, plan);
    let pixels = adjust::sharpness(pixels, plan);
    Ok(adjust::background(pixels, layout.canvas, plan.background))
}

fn resize(pixels: DynamicImage, layout: &Layout, gravity: Gravity) -> Result<DynamicImage, Refusal> {
    let (width, height) = (f64::from(pixels.width()), f64::from(pixels.height()));
    let (crop_width, crop_height) = layout.crop;
    let whole = crop_width >= width && crop_height >= height;
    if whole && layout.draw == (pixels.width(), pixels.height()) {
        return Ok(pixels);
    }
    let (x, y) = match gravity {
        Gravity::Point(x, y) => (x, y),
        Gravity::Auto if whole => (0.5, 0.5),
        Gravity::Auto => saliency::focus(&pixels, layout.crop),
    };
    let left = (width - crop_width).max(0.0) * x;
    let top = (height - crop_height).max(0.0) * y;
    let options = ResizeOptions::new().crop(left, top, crop_width.min(width), crop_height.min(height));
    let mut resized = DynamicImage::new(layout.draw.0, layout.draw.1, pixels.color());
    Resizer::new()
        .resize(&pixels, &mut resized, &options)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 9523, error.to_string()))?;
    Ok(resized)
}

fn check_output((width, height): (u32, u32)) -> Result<(), Refusal> {
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(too_large());
    }
    Ok(())
}

fn too_large() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, 9413, "The requested image is too large")
}

fn undecodable(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, 9516, format!("error during decoding: {error}"))
}

/// Carries a refusal through the encoder, which knows only its own errors; [`encode::gif`] takes it out again.
fn as_image_error(refusal: Refusal) -> image::ImageError {
    image::ImageError::IoError(std::io::Error::other(encode::Carried(refusal)))
}
