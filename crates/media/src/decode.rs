//! Decoding of files to pixels, within limits on memory.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::{LoopCount, Orientation};
use image::{AnimationDecoder, DynamicImage, Frame, Frames, ImageDecoder, Limits};

use crate::colour::{self, ColourSpace, Conversion, Profile};
use crate::jpeg::{self, Pixels};
use crate::raster::{Damaged, Format, check_area};
use crate::{exif, gif, png, webp};

/// One decoded image: upright, RGB or RGBA, 8 bits per channel.
pub struct Decoded {
    /// The pixels, `ImageRgb8` or `ImageRgba8`.
    pub image: DynamicImage,
    /// EXIF from its TIFF header on, with the orientation reset to 1 because it has been applied to the pixels.
    pub exif: Option<Vec<u8>>,
    /// ICC profile of the RGB values; `None` for sRGB.
    pub icc: Option<Vec<u8>>,
}

/// Frames that are decoded one by one, each as large as the canvas, upright, in sRGB.
pub struct Animation {
    /// The frames, with their delays. A frame that cannot be decoded is an error of the iterator.
    pub frames: Frames<'static>,
    /// How often the animation is played.
    pub loops: LoopCount,
}

/// The size to decode at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// All pixels.
    Full,
    /// At least this many pixels on the longer side, if the image has them. JPEG is decoded at a fraction of its size,
    /// which takes less time; other formats ignore the hint.
    AtLeast(u32),
}

/// Most bytes one decoder may allocate: enough for 100 million pixels of RGBA.
const MAX_ALLOC: u64 = 512 * 1024 * 1024;
/// Most bytes the decoder of an animation may allocate: it holds a frame and the canvas the frame is drawn on.
const MAX_ALLOC_ANIMATION: u64 = 2 * MAX_ALLOC;

/// Decodes the first image of a file, or the first frame of an animation.
///
/// # Errors
/// The decoder cannot read it, or the file ends before the image does.
pub fn still(file: &[u8], format: Format, size: Size) -> Result<Decoded, Damaged> {
    match format {
        Format::Jpeg => from_jpeg(file, size),
        Format::Png => {
            let (clean, png) = png::clean(file)?;
            let decoder = PngDecoder::with_limits(Cursor::new(clean), limits(MAX_ALLOC))?;
            let profile = png.profile();
            from_decoder(decoder, png.into_exif(), profile)
        }
        Format::Gif => from_decoder(GifDecoder::new(Cursor::new(gif::clean(file)?))?, None, None),
        Format::Webp => {
            let (clean, webp) = webp::clean(file)?;
            let decoder = WebPDecoder::new(Cursor::new(clean))?;
            from_decoder(decoder, webp.exif, webp.icc.map(Profile::Icc))
        }
    }
}

/// The frames of a GIF or an animated WebP; `None` for a file that cannot be animated or is not.
///
/// # Errors
/// The file ends inside a frame, or begins with none.
pub fn animation(file: &[u8], format: Format) -> Result<Option<Animation>, Damaged> {
    Ok(match format {
        Format::Gif => {
            let mut decoder = GifDecoder::new(Cursor::new(gif::clean(file)?))?;
            check_area(decoder.dimensions())?;
            decoder.set_limits(limits(MAX_ALLOC_ANIMATION))?;
            let loops = decoder.loop_count();
            Some(Animation { loops, frames: decoder.into_frames() })
        }
        Format::Webp => {
            let (clean, webp) = webp::clean(file)?;
            let mut decoder = WebPDecoder::new(Cursor::new(clean))?;
            check_area(decoder.dimensions())?;
            decoder.set_limits(limits(MAX_ALLOC_ANIMATION))?;
            let loops = decoder.loop_count();
            let frames = decoder.has_animation().then(|| decoder.into_frames());
            frames.map(|frames| Animation { loops, frames: normalised_frames(frames, webp) })
        }
        Format::Jpeg | Format::Png => None,
    })
}

fn from_jpeg(file: &[u8], size: Size) -> Result<Decoded, Damaged> {
    let side = match size {
        Size::Full => None,
        Size::AtLeast(side) => Some(side),
    };
    let jpeg::Decoded { pixels, exif, icc } = jpeg::decode(file, side)?;
    Ok(match pixels {
        Pixels::Grey(pixels) => normalised(pixels.into(), exif, icc.map(Profile::Icc)),
        Pixels::Rgb(pixels) => normalised(pixels.into(), exif, icc.map(Profile::Icc)),
        Pixels::Cmyk { inks, size } => {
            let pixels = colour::from_cmyk(&inks, size, icc.as_deref());
            let pixels = pixels.ok_or_else(|| Damaged::new("the decoder failed"))?;
            normalised(pixels.into(), exif, None)
        }
    })
}

fn from_decoder(
    mut decoder: impl ImageDecoder,
    exif: Option<Vec<u8>>,
    profile: Option<Profile>,
) -> Result<Decoded, Damaged> {
    check_area(decoder.dimensions())?;
    decoder.set_limits(limits(MAX_ALLOC))?;
    Ok(normalised(DynamicImage::from_decoder(decoder)?, exif, profile))
}

/// The image upright, with 8 bits per channel, in sRGB or with the ICC profile of its RGB values.
fn normalised(image: DynamicImage, mut exif: Option<Vec<u8>>, profile: Option<Profile>) -> Decoded {
    let grey = !image.color().has_color();
    let mut image = match image {
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => image,
        other if other.color().has_alpha() => DynamicImage::ImageRgba8(other.into_rgba8()),
        other => DynamicImage::ImageRgb8(other.into_rgb8()),
    };
    let mut icc = None;
    match profile {
        Some(Profile::Icc(profile)) => match colour::colour_space(&profile) {
            Some(ColourSpace::Rgb) => icc = Some(profile),
            Some(ColourSpace::Grey) if grey => convert(&mut image, &Profile::Icc(profile)),
            // A profile for another colour space does not apply to these pixels.
            _ => {}
        },
        Some(profile) => convert(&mut image, &profile),
        None => {}
    }
    let orientation = exif.as_deref_mut().map_or(Orientation::NoTransforms, exif::take_orientation);
    image.apply_orientation(orientation);
    Decoded { image, exif, icc }
}

fn convert(image: &mut DynamicImage, profile: &Profile) {
    if let Some(conversion) = Conversion::new(profile) {
        conversion.apply(image);
    }
}

/// The frames upright and in sRGB: the encoders of animations write no colour profile.
fn normalised_frames(frames: Frames<'static>, webp: webp::Webp) -> Frames<'static> {
    let orientation = webp.exif.as_deref().map_or(1, exif::orientation);
    let orientation = Orientation::from_exif(orientation).unwrap_or(Orientation::NoTransforms);
    let rgb = webp.icc.filter(|icc| colour::colour_space(icc) == Some(ColourSpace::Rgb));
    let conversion = rgb.and_then(|icc| Conversion::new(&Profile::Icc(icc)));
    if orientation == Orientation::NoTransforms && conversion.is_none() {
        return frames;
    }
    Frames::new(Box::new(frames.map(move |frame| {
        frame.map(|frame| {
            let delay = frame.delay();
            let mut image = DynamicImage::ImageRgba8(frame.into_buffer());
            if let Some(conversion) = &conversion {
                conversion.apply(&mut image);
            }
            image.apply_orientation(orientation);
            Frame::from_parts(image.into_rgba8(), 0, 0, delay)
        })
    })))
}

fn limits(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(bytes);
    limits
}
