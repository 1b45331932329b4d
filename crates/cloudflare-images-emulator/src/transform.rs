//! Makes delivered files: decodes a stored file, applies a transformation, and encodes the result.

pub(super) mod adjust;
#[cfg(feature = "avif")]
pub(super) mod avif;
pub(super) mod decode;
pub(super) mod encode;
pub(super) mod geometry;
pub(super) mod jpeg;
pub(super) mod saliency;
pub(super) mod source;
pub(super) mod transformation;
pub(super) mod webp;

use std::path::Path;

use axum::body::Bytes;
use axum::http::StatusCode;
use fast_image_resize::{ResizeOptions, Resizer};
use image::{DynamicImage, Frame, Frames};
use media::decode::{Animation, Decoded, Insets};

use super::error::ApiError;
use super::store::Format;
use cloudflare_images::wire::{MAX_PIXELS, MAX_SIDE};
use encode::OutputFormat;
use geometry::Layout;
use source::Source;
use transformation::{Gravity, Transformation};

/// A delivered file.
#[derive(Debug, Clone)]
pub(super) struct RenderedFile {
    pub(super) bytes: Bytes,
    /// MIME type.
    pub(super) media_type: &'static str,
}

/// Decodes a file, applies a transformation and encodes the result. With `animate`, an animation keeps all its frames.
///
/// Blocks. Errors are those of the delivery host: 9413 for a result that is too large, 9516 for a failure of decoder or
/// encoder, 9401 for a trim that leaves no pixels.
pub(super) fn render(
    path: &Path,
    source: Format,
    transformation: &Transformation,
    output: OutputFormat,
    animate: bool,
) -> Result<RenderedFile, ApiError> {
    let raster = decode::raster(source).ok_or_else(|| undecodable("not a raster image"))?;
    if animate && let Some(animation) = decode::animation(path, raster).map_err(undecodable)? {
        return render_animation(animation, transformation, output);
    }
    let Decoded { image, size, insets, exif, icc } =
        decode::pixels(path, raster, transformation).map_err(undecodable)?;
    let pixels = apply(Source { pixels: image, size, insets }, transformation)?;
    if output == OutputFormat::Json {
        return encode::json_info(path, source, size, (pixels.width(), pixels.height()));
    }
    encode::still(pixels, output, transformation, exif, icc)
}

fn render_animation(
    animation: Animation,
    transformation: &Transformation,
    output: OutputFormat,
) -> Result<RenderedFile, ApiError> {
    let Animation { frames, loops } = animation;
    let frames = TransformedFrames { frames, transformation, pixels: 0 };
    match output {
        OutputFormat::Gif => encode::gif(Frames::new(Box::new(frames)), loops),
        _ => encode::webp_animation(frames, loops, transformation.quality),
    }
}

/// Transforms each frame when it is requested, so that only one decoded frame is in memory.
struct TransformedFrames<'a> {
    frames: Frames<'a>,
    transformation: &'a Transformation,
    /// Pixels of the frames so far.
    pixels: u64,
}

impl Iterator for TransformedFrames<'_> {
    type Item = image::ImageResult<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.frames.next()?.and_then(|frame| {
            let delay = frame.delay();
            let pixels = apply(DynamicImage::ImageRgba8(frame.into_buffer()).into(), self.transformation)
                .map_err(as_image_error)?;
            self.pixels += u64::from(pixels.width()) * u64::from(pixels.height());
            if self.pixels > MAX_PIXELS {
                return Err(as_image_error(too_large()));
            }
            Ok(Frame::from_parts(pixels.into_rgba8(), 0, 0, delay))
        }))
    }
}

/// Trims, flips, rotates, resizes and crops, changes colours, blurs and sharpens, and adds the background, in this order.
fn apply(source: Source, transformation: &Transformation) -> Result<DynamicImage, ApiError> {
    let source = match transformation.trimmed_area(source.size.0, source.size.1)? {
        Some(area) => source.pixels.crop_imm(area.left, area.top, area.width, area.height).into(),
        None => source,
    };
    let source = source.flip_and_rotate(transformation);
    let layout = geometry::layout(source.size, transformation.size(), transformation.fit);
    check_size(layout.canvas)?;
    let mut pixels = resize(source, &layout, transformation.gravity)?;
    adjust::colours(&mut pixels, transformation);
    let pixels = adjust::sharpness(pixels, transformation);
    Ok(adjust::background(pixels, layout.canvas, transformation.background))
}

fn resize(source: Source, layout: &Layout, gravity: Gravity) -> Result<DynamicImage, ApiError> {
    let pixels = &source.pixels;
    let uncropped = layout.crop.0 >= f64::from(source.size.0) && layout.crop.1 >= f64::from(source.size.1);
    if uncropped && source.insets == Insets::default() && layout.draw == (pixels.width(), pixels.height()) {
        return Ok(source.pixels);
    }
    let position = match gravity {
        Gravity::Point(x, y) => (x, y),
        Gravity::Auto if uncropped => (0.5, 0.5),
        Gravity::Auto => saliency::focus(pixels, source.visible(layout)),
    };
    let window = source.window(layout, position);
    let options = ResizeOptions::new().crop(window.left, window.top, window.width, window.height);
    let mut resized = DynamicImage::new(layout.draw.0, layout.draw.1, pixels.color());
    Resizer::new()
        .resize(pixels, &mut resized, &options)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, 9523, error.to_string()))?;
    Ok(resized)
}

fn check_size((width, height): (u32, u32)) -> Result<(), ApiError> {
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(too_large());
    }
    Ok(())
}

fn too_large() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, 9413, "The requested image is too large")
}

fn undecodable(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, 9516, format!("error during decoding: {error}"))
}

/// Wraps an error for an encoder that takes frames with errors of the image crate; [`encode`] unwraps it.
fn as_image_error(error: ApiError) -> image::ImageError {
    image::ImageError::IoError(std::io::Error::other(encode::WrappedApiError(error)))
}
