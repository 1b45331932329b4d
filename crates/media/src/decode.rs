//! Files to pixels, within limits.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::{LoopCount, Orientation};
use image::{AnimationDecoder, DynamicImage, Frame, Frames, ImageDecoder, Limits};

use crate::colour::{self, Conversion, Profile, Space};
use crate::jpeg::{self, Pixels};
use crate::raster::{Damaged, Format, check_area};
use crate::{exif, gif, png, webp};

/// One decoded picture, upright, with 8 bits a channel, RGB or RGBA.
pub struct Decoded {
    pub image: DynamicImage,
    /// EXIF from its TIFF header on, whose orientation was taken out.
    pub exif: Option<Vec<u8>>,
    /// ICC profile the RGB is meant by; `None` for sRGB.
    pub icc: Option<Vec<u8>>,
}

/// Frames to be decoded one by one, each as large as the canvas, upright, in sRGB.
pub struct Animation {
    pub frames: Frames<'static>,
    pub loops: LoopCount,
}

/// How large a picture is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Full,
    /// Perhaps smaller than it is, with its longer side no shorter than this, in pixels: cheaper, where that can be.
    AtLeast(u32),
}

/// Allocation of one decoder, in bytes: 100 million pixels of RGBA and a little more.
const MAX_ALLOC: u64 = 512 * 1024 * 1024;
/// The same for an animation, which takes a frame and the canvas it is drawn on.
const MAX_ALLOC_MOVING: u64 = 2 * MAX_ALLOC;

/// Decodes the first picture of a file, or the first frame of an animation.
///
/// # Errors
/// The decoder cannot read it, or the file ends before the picture does.
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

/// The frames of a GIF or an animated WebP; `None` for stills.
///
/// # Errors
/// The file ends inside a frame, or begins with none.
pub fn animation(file: &[u8], format: Format) -> Result<Option<Animation>, Damaged> {
    Ok(match format {
        Format::Gif => {
            let mut decoder = GifDecoder::new(Cursor::new(gif::clean(file)?))?;
            check_area(decoder.dimensions())?;
            decoder.set_limits(limits(MAX_ALLOC_MOVING))?;
            let loops = decoder.loop_count();
            Some(Animation { loops, frames: decoder.into_frames() })
        }
        Format::Webp => {
            let (clean, webp) = webp::clean(file)?;
            let mut decoder = WebPDecoder::new(Cursor::new(clean))?;
            check_area(decoder.dimensions())?;
            decoder.set_limits(limits(MAX_ALLOC_MOVING))?;
            let loops = decoder.loop_count();
            let frames = decoder.has_animation().then(|| decoder.into_frames());
            frames.map(|frames| Animation { loops, frames: shown(frames, webp) })
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
        Pixels::Grey(pixels) => finished(pixels.into(), exif, icc.map(Profile::Icc)),
        Pixels::Rgb(pixels) => finished(pixels.into(), exif, icc.map(Profile::Icc)),
        Pixels::Cmyk { inks, size } => {
            let pixels = colour::from_cmyk(&inks, size, icc.as_deref());
            let pixels = pixels.ok_or_else(|| Damaged::new("the decoder failed"))?;
            finished(pixels.into(), exif, None)
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
    Ok(finished(DynamicImage::from_decoder(decoder)?, exif, profile))
}

/// The picture upright, in 8 bits, and in sRGB unless a profile for RGB says how else it is meant.
fn finished(image: DynamicImage, mut exif: Option<Vec<u8>>, profile: Option<Profile>) -> Decoded {
    let grey = !image.color().has_color();
    let mut image = match image {
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => image,
        other if other.color().has_alpha() => DynamicImage::ImageRgba8(other.into_rgba8()),
        other => DynamicImage::ImageRgb8(other.into_rgb8()),
    };
    let mut icc = None;
    match profile {
        Some(Profile::Icc(profile)) => match colour::space(&profile) {
            Some(Space::Rgb) => icc = Some(profile),
            Some(Space::Grey) if grey => convert(&mut image, &Profile::Icc(profile)),
            // A profile for other pixels says nothing about these.
            _ => {}
        },
        Some(profile) => convert(&mut image, &profile),
        None => {}
    }
    let orientation = exif.as_deref_mut().map_or(Orientation::NoTransforms, exif::set_upright);
    image.apply_orientation(orientation);
    Decoded { image, exif, icc }
}

fn convert(image: &mut DynamicImage, profile: &Profile) {
    if let Some(conversion) = Conversion::new(profile) {
        conversion.apply(image);
    }
}

/// Frames as they are seen: upright, and in sRGB, because no profile is written with an animation.
fn shown(frames: Frames<'static>, webp: webp::Webp) -> Frames<'static> {
    let orientation = webp.exif.as_deref().map_or(1, exif::orientation);
    let orientation = Orientation::from_exif(orientation).unwrap_or(Orientation::NoTransforms);
    let rgb = webp.icc.filter(|icc| colour::space(icc) == Some(Space::Rgb));
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
