//! Files to pixels, within limits.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::{LoopCount, Orientation};
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageResult, Limits, RgbImage};
use media::svg;
use quick_xml::events::Event;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

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
        Format::Png => Box::new(PngDecoder::with_limits(file, limits(MAX_ALLOC))?),
        Format::Gif => Box::new(GifDecoder::new(file)?),
        Format::Webp => Box::new(WebPDecoder::new(file)?),
        Format::Svg | Format::Heic => return Err(not_raster()),
    };
    decoder.set_limits(limits(MAX_ALLOC))?;
    Ok(decoder)
}

/// Decodes a picture, or the first one of an animation.
pub(in crate::emulator) fn pixels(path: &Path, format: Format) -> ImageResult<Decoded> {
    let mut decoder = still(path, format)?;
    // Damaged metadata does not make a picture undecodable.
    let mut exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.as_deref_mut().and_then(Orientation::remove_from_exif_chunk);
    let icc = decoder.icc_profile().ok().flatten();
    let plain_cmyk = if format == Format::Jpeg { plain_cmyk(path)? } else { None };
    let image = match plain_cmyk {
        Some(image) => DynamicImage::ImageRgb8(image),
        None => DynamicImage::from_decoder(decoder)?,
    };
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

/// A CMYK JPEG without Adobe's marker, in RGB; `None` for any other.
///
/// Adobe's programs write the values inverted and say so by their marker; the decoder inverts all alike.
fn plain_cmyk(path: &Path) -> ImageResult<Option<RgbImage>> {
    let bytes = std::fs::read(path)?;
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::CMYK).set_strict_mode(false);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&bytes), options);
    let failed = |error: DecodeErrors| image::ImageError::IoError(std::io::Error::other(error.to_string()));
    decoder.decode_headers().map_err(failed)?;
    if decoder.input_colorspace() != Some(ColorSpace::CMYK) || has_adobe_marker(&bytes) {
        return Ok(None);
    }
    let inks = decoder.decode().map_err(failed)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let mixed = |ink: u8, black: u8| {
        let light = u32::from(u8::MAX - ink) * u32::from(u8::MAX - black);
        // At most 255.
        (light / u32::from(u8::MAX)) as u8
    };
    let pixels =
        inks.chunks_exact(4).flat_map(|ink| [0, 1, 2].map(|colour| mixed(ink[colour], ink[3]))).collect();
    Ok(RgbImage::from_raw(width as u32, height as u32, pixels))
}

/// Whether one of the segments before the pixels is Adobe's.
fn has_adobe_marker(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xff, marker, high, low, body @ ..] = rest {
        match marker {
            0xee if body.starts_with(b"Adobe") => return true,
            0xda => return false,
            _ => {
                rest = body
                    .get(usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(2)..)
                    .unwrap_or(&[])
            }
        }
    }
    false
}

/// The frames of a GIF or an animated WebP; `None` for stills.
pub(in crate::emulator) fn animation(path: &Path, format: Format) -> ImageResult<Option<Animation>> {
    let file = || File::open(path).map(BufReader::new);
    Ok(match format {
        Format::Gif => {
            let mut decoder = GifDecoder::new(file()?)?;
            decoder.set_limits(limits(MAX_ALLOC_MOVING))?;
            let loops = decoder.loop_count();
            Some(Animation { loops, frames: decoder.into_frames() })
        }
        Format::Webp => {
            let mut decoder = WebPDecoder::new(file()?)?;
            decoder.set_limits(limits(MAX_ALLOC_MOVING))?;
            let loops = decoder.loop_count();
            decoder.has_animation().then(|| Animation { loops, frames: decoder.into_frames() })
        }
        Format::Jpeg | Format::Png | Format::Svg | Format::Heic => None,
    })
}

/// Refuses a drawing that is nested deeper than any program draws: cleaning it would take time by the square of that.
pub(in crate::emulator) fn check_depth(path: &Path) -> Result<(), String> {
    const MAX_DEPTH: usize = 256;
    let file = File::open(path).and_then(svg::utf8).map_err(|error| error.to_string())?;
    let mut reader = quick_xml::Reader::from_reader(BufReader::new(file));
    // What else is wrong with it is for the filter to say.
    reader.config_mut().check_end_names = false;
    let (mut depth, mut event) = (0_usize, Vec::new());
    loop {
        match reader.read_event_into(&mut event) {
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::Eof) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("the drawing is nested deeper than {MAX_DEPTH} levels"));
        }
        event.clear();
    }
}

/// The drawing without scripts, links and anything else that reaches outside of it.
pub(in crate::emulator) fn sanitised_svg(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).and_then(svg::utf8).map_err(|error| error.to_string())?;
    let mut filter = svg_hush::Filter::new();
    filter.set_data_url_filter(svg_hush::data_url_filter::allow_standard_images);
    let mut clean = Vec::new();
    filter.filter(BufReader::new(file), &mut clean).map_err(|error| error.to_string())?;
    // The filter takes prefixes away and with them what they stood for: without a namespace no browser shows it.
    let bare = svg::Root::read(clean.as_slice()).is_some_and(|root| !root.has_namespace());
    if bare && let Some(tag) = clean.windows(4).position(|name| name == b"<svg") {
        clean.splice(tag + 4..tag + 4, format!(" xmlns=\"{}\"", svg::NAMESPACE).into_bytes());
    }
    Ok(clean)
}

/// Allocation of one decoder, in bytes: 100 million pixels of RGBA and a little more.
const MAX_ALLOC: u64 = 512 * 1024 * 1024;
/// The same for an animation, which takes a frame and the canvas it is drawn on.
const MAX_ALLOC_MOVING: u64 = 2 * MAX_ALLOC;

fn limits(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(bytes);
    limits
}

fn not_raster() -> image::ImageError {
    image::ImageError::IoError(std::io::Error::other("not a raster image"))
}
