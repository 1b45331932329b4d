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
    /// The pixels, `ImageRgb8` or `ImageRgba8`. Fewer than the file has, if a smaller [`Size`] allowed it.
    pub image: DynamicImage,
    /// Width and height in the file, upright.
    pub size: (u32, u32),
    /// Where the picture ends inside the pixels.
    pub insets: Insets,
    /// EXIF from its TIFF header on, with the orientation reset to 1 because it has been applied to the pixels.
    pub exif: Option<Vec<u8>>,
    /// ICC profile of the RGB values; `None` for sRGB.
    pub icc: Option<Vec<u8>>,
}

/// How far the edges of a picture lie inside the outermost pixels, in pixels, each less than 1. A picture that is decoded at a
/// fraction of its size ends inside its last column and row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Insets {
    /// At the upper edge.
    pub top: f64,
    /// At the right edge.
    pub right: f64,
    /// At the lower edge.
    pub bottom: f64,
    /// At the left edge.
    pub left: f64,
}

impl Insets {
    /// Those of the picture flipped horizontally.
    #[must_use]
    pub fn flipped_horizontally(self) -> Self {
        Insets { left: self.right, right: self.left, ..self }
    }

    /// Those of the picture flipped vertically.
    #[must_use]
    pub fn flipped_vertically(self) -> Self {
        Insets { top: self.bottom, bottom: self.top, ..self }
    }

    /// Those of the picture rotated by 90 degrees clockwise.
    #[must_use]
    pub fn rotated(self) -> Self {
        Insets { top: self.left, right: self.top, bottom: self.right, left: self.bottom }
    }

    fn oriented(self, orientation: Orientation) -> Self {
        match orientation {
            Orientation::NoTransforms => self,
            Orientation::Rotate90 => self.rotated(),
            Orientation::Rotate180 => self.flipped_horizontally().flipped_vertically(),
            Orientation::Rotate270 => self.rotated().flipped_horizontally().flipped_vertically(),
            Orientation::FlipHorizontal => self.flipped_horizontally(),
            Orientation::FlipVertical => self.flipped_vertically(),
            Orientation::Rotate90FlipH => self.rotated().flipped_horizontally(),
            Orientation::Rotate270FlipH => self.rotated().flipped_vertically(),
        }
    }
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
    let jpeg::Decoded { pixels, size, eighths, exif, icc } = jpeg::decode(file, side)?;
    let (pixels, profile): (DynamicImage, _) = match pixels {
        Pixels::Grey(pixels) => (pixels.into(), icc.map(Profile::Icc)),
        Pixels::Rgb(pixels) => (pixels.into(), icc.map(Profile::Icc)),
        Pixels::Cmyk { inks, size } => {
            let pixels = colour::from_cmyk(&inks, size, icc.as_deref());
            (pixels.ok_or_else(|| Damaged::new("the decoder failed"))?.into(), None)
        }
    };
    let inset = |pixels: u32, side: u32| f64::from(pixels) - f64::from(side) * f64::from(eighths) / 8.0;
    let (right, bottom) = (inset(pixels.width(), size.0), inset(pixels.height(), size.1));
    let insets = Insets { right, bottom, ..Insets::default() };
    Ok(normalised(pixels, size, insets, exif, profile))
}

fn from_decoder(
    mut decoder: impl ImageDecoder,
    exif: Option<Vec<u8>>,
    profile: Option<Profile>,
) -> Result<Decoded, Damaged> {
    check_area(decoder.dimensions())?;
    decoder.set_limits(limits(MAX_ALLOC))?;
    let image = DynamicImage::from_decoder(decoder)?;
    let size = (image.width(), image.height());
    Ok(normalised(image, size, Insets::default(), exif, profile))
}

/// The image upright, with 8 bits per channel, in sRGB or with the ICC profile of its RGB values.
/// `size` is that of the file, before the EXIF orientation, as `insets` are.
fn normalised(
    image: DynamicImage,
    (width, height): (u32, u32),
    insets: Insets,
    mut exif: Option<Vec<u8>>,
    profile: Option<Profile>,
) -> Decoded {
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
    let size = if orientation.to_exif() >= 5 { (height, width) } else { (width, height) };
    Decoded { image, size, insets: insets.oriented(orientation), exif, icc }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels and insets are turned alike: a mark in the corner where the picture ends stays there.
    #[test]
    fn insets_follow_the_orientation() {
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut image = DynamicImage::new_luma8(3, 2);
            image.as_mut_luma8().unwrap().put_pixel(2, 1, image::Luma([255]));
            image.apply_orientation(orientation);
            let insets = Insets { right: 0.25, bottom: 0.5, ..Insets::default() }.oriented(orientation);
            let at = |x: u32, y: u32| image.as_luma8().unwrap().get_pixel(x, y).0[0] == 255;
            let x = if insets.left > 0.0 { 0 } else { image.width() - 1 };
            let y = if insets.top > 0.0 { 0 } else { image.height() - 1 };
            assert!(at(x, y), "{exif}: {insets:?}");
            let across = insets.left + insets.right;
            assert_eq!(across, if exif >= 5 { 0.5 } else { 0.25 }, "{exif}: {insets:?}");
            assert_eq!(insets.top + insets.bottom, 0.75 - across, "{exif}: {insets:?}");
        }
    }

    /// A JPEG is decoded at the eighth of its size that has the pixels, and says where it ends in them.
    #[test]
    fn a_smaller_size_decodes_fewer_pixels() {
        let (width, height) = (413, 207);
        let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_GRAYSCALE);
        encoder.set_size(width as usize, height as usize);
        let mut encoder = encoder.start_compress(Vec::new()).unwrap();
        encoder.write_scanlines(&vec![90; (width * height) as usize]).unwrap();
        let file = encoder.finish().unwrap();
        for (size, expected, right, bottom) in [
            (Size::Full, (413, 207), 0.0, 0.0),
            (Size::AtLeast(1), (52, 26), 0.375, 0.125),
            (Size::AtLeast(52), (104, 52), 0.75, 0.25),
            (Size::AtLeast(150), (155, 78), 0.125, 0.375),
            (Size::AtLeast(413), (413, 207), 0.0, 0.0),
            (Size::AtLeast(u32::MAX), (413, 207), 0.0, 0.0),
        ] {
            let decoded = still(&file, Format::Jpeg, size).unwrap();
            assert_eq!((decoded.image.width(), decoded.image.height()), expected, "{size:?}");
            assert_eq!(decoded.size, (width, height));
            assert_eq!(decoded.insets, Insets { right, bottom, ..Insets::default() }, "{size:?}");
        }
    }
}
