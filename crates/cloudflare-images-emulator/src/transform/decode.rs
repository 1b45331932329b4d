//! Reads stored files: pixels, frames, and SVG documents without scripts.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use media::decode::{self, Animation, Decoded, Size};
use media::raster::{self, Damaged};
use media::svg;
use quick_xml::events::Event;

use super::source;
use super::transformation::Transformation;
use crate::store::Format;

/// The format for the decoder; `None` if there is none for it.
pub(crate) fn raster(format: Format) -> Option<raster::Format> {
    match format {
        Format::Gif => Some(raster::Format::Gif),
        Format::Jpeg => Some(raster::Format::Jpeg),
        Format::Png => Some(raster::Format::Png),
        Format::Webp => Some(raster::Format::Webp),
        Format::Svg | Format::Heic => None,
    }
}

/// Decodes an image, or the first frame of an animation, with as many pixels as the transformation needs.
pub(crate) fn pixels(
    path: &Path,
    format: raster::Format,
    transformation: &Transformation,
) -> Result<Decoded, Damaged> {
    let file = std::fs::read(path)?;
    let size = match format {
        // Other formats cannot be decoded at a fraction of their size.
        raster::Format::Gif | raster::Format::Png | raster::Format::Webp => Size::Full,
        raster::Format::Jpeg => {
            let header = raster::header(&mut Cursor::new(&file), format)?;
            source::decoded_size(header.size(), transformation)
        }
    };
    decode::still(&file, format, size)
}

/// Whether an image can be decoded. The format's cheapest way is used.
pub(crate) fn check(path: &Path, format: raster::Format) -> Result<(), Damaged> {
    decode::still(&std::fs::read(path)?, format, Size::AtLeast(1)).map(drop)
}

/// The frames of a GIF or an animated WebP; `None` for still images.
pub(crate) fn animation(path: &Path, format: raster::Format) -> Result<Option<Animation>, Damaged> {
    decode::animation(&std::fs::read(path)?, format)
}

/// An error for an SVG that is nested deeper than real files are, because sanitising takes time quadratic in the depth.
pub(crate) fn check_depth(path: &Path) -> Result<(), String> {
    const MAX_DEPTH: usize = 256;
    let file = File::open(path).and_then(svg::utf8).map_err(|error| error.to_string())?;
    let mut reader = quick_xml::Reader::from_reader(BufReader::new(file));
    // Other errors are found when the document is sanitised.
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
            return Err(format!("the SVG document is nested deeper than {MAX_DEPTH} levels"));
        }
        event.clear();
    }
}

/// The SVG document without scripts, links and other references outside of it.
pub(crate) fn sanitised_svg(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).and_then(svg::utf8).map_err(|error| error.to_string())?;
    let mut filter = svg_hush::Filter::new();
    filter.set_data_url_filter(svg_hush::data_url_filter::allow_standard_images);
    let mut clean = Vec::new();
    filter.filter(BufReader::new(file), &mut clean).map_err(|error| error.to_string())?;
    // The filter removes namespace prefixes together with their declarations, and browsers do not display an SVG without a
    // namespace.
    let needs_namespace = svg::Root::read(clean.as_slice()).is_some_and(|root| !root.has_namespace());
    if needs_namespace && let Some(tag) = clean.windows(4).position(|name| name == b"<svg") {
        clean.splice(tag + 4..tag + 4, format!(" xmlns=\"{}\"", svg::NAMESPACE).into_bytes());
    }
    Ok(clean)
}
