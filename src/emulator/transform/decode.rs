//! Files to pixels, within limits.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::{LoopCount, Orientation};
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageResult, Limits};

use crate::emulator::store::Format;

/// One decoded picture, upright, with 8 bits a channel, RGB or RGBA.
pub(in crate::emulator) struct Decoded {
    pub(in crate::emulator) image: DynamicImage,
    /// EXIF chunk whose orientation was taken out.
    pub(in crate::emulator) exif: Option<Vec<u8>>,
    /// ICC profile of an RGB image.
    pub(in crate::emulator) icc: Option<Vec<u8>>,
}

/// Frames to be decoded one by one, each as large as the canvas.
pub(in crate::emulator) struct Animation {
    pub(in crate::emulator) frames: Frames<'static>,
    pub(in crate::emulator) loops: LoopCount,
}

/// Opens a raster file and reads its header; no pixels yet.
pub(in crate::emulator) fn still(path: &Path, format: Format) -> ImageResult<Box<dyn ImageDecoder>> {
    let file = BufReader::new(File::open(path)?);
    let mut decoder: Box<dyn ImageDecoder> = match format {
        Format::Jpeg => Box::new(JpegDecoder::new(file)?),
        Format::Png => Box::new(PngDecoder::with_limits(file, limits())?),
        Format::Gif => Box::new(GifDecoder::new(file)?),
        Format::Webp => Box::new(WebPDecoder::new(file)?),
        Format::Svg | Format::Heic => return Err(not_raster()),
    };
    decoder.set_limits(limits())?;
    Ok(decoder)
}

/// Decodes a picture, or the first one of an animation.
pub(in crate::emulator) fn pixels(path: &Path, format: Format) -> ImageResult<Decoded> {
    let mut decoder = still(path, format)?;
    // Damaged metadata does not make a picture undecodable.
    let mut exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.as_deref_mut().and_then(Orientation::remove_from_exif_chunk);
    let icc = decoder.icc_profile().ok().flatten();
    let image = DynamicImage::from_decoder(decoder)?;
    let mut image = match image {
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => image,
        other if other.color().has_alpha() => DynamicImage::ImageRgba8(other.into_rgba8()),
        other => DynamicImage::ImageRgb8(other.into_rgb8()),
    };
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    // A profile for grey or CMYK would misread pixels that are RGB by now.
    let icc = icc.filter(|profile| profile.get(16..20) == Some(b"RGB "));
    Ok(Decoded { image, exif, icc })
}

/// The frames of a GIF or an animated WebP; `None` for stills.
pub(in crate::emulator) fn animation(path: &Path, format: Format) -> ImageResult<Option<Animation>> {
    let file = || File::open(path).map(BufReader::new);
    Ok(match format {
        Format::Gif => {
            let mut decoder = GifDecoder::new(file()?)?;
            decoder.set_limits(limits())?;
            let loops = decoder.loop_count();
            Some(Animation { loops, frames: decoder.into_frames() })
        }
        Format::Webp => {
            let mut decoder = WebPDecoder::new(file()?)?;
            decoder.set_limits(limits())?;
            let loops = decoder.loop_count();
            decoder.has_animation().then(|| Animation { loops, frames: decoder.into_frames() })
        }
        Format::Jpeg | Format::Png | Format::Svg | Format::Heic => None,
    })
}

/// The drawing without scripts, links and anything else that reaches outside of it.
pub(in crate::emulator) fn sanitised_svg(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut filter = svg_hush::Filter::new();
    filter.set_data_url_filter(svg_hush::data_url_filter::allow_standard_images);
    let mut clean = Vec::new();
    filter.filter(BufReader::new(file), &mut clean).map_err(|error| error.to_string())?;
    Ok(clean)
}

/// Allocation of one decoder, in bytes: 100 million pixels of RGBA and a little more.
const MAX_ALLOC: u64 = 512 * 1024 * 1024;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    limits
}

fn not_raster() -> image::ImageError {
    image::ImageError::IoError(std::io::Error::other("not a raster image"))
}
