//! Stored files to what can be worked on: pixels, frames, clean drawings.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use media::decode::{self, Animation, Decoded, Size};
use media::raster::{self, Damaged};
use media::svg;
use quick_xml::events::Event;

use crate::store::Format;

/// The formats whose pixels can be decoded.
pub(crate) fn raster(format: Format) -> Option<raster::Format> {
    match format {
        Format::Gif => Some(raster::Format::Gif),
        Format::Jpeg => Some(raster::Format::Jpeg),
        Format::Png => Some(raster::Format::Png),
        Format::Webp => Some(raster::Format::Webp),
        Format::Svg | Format::Heic => None,
    }
}

/// Decodes a picture, or the first one of an animation.
pub(crate) fn pixels(path: &Path, format: raster::Format) -> Result<Decoded, Damaged> {
    decode::still(&std::fs::read(path)?, format, Size::Full)
}

/// Tells whether a picture can be decoded, as cheaply as its format allows.
pub(crate) fn check(path: &Path, format: raster::Format) -> Result<(), Damaged> {
    decode::still(&std::fs::read(path)?, format, Size::AtLeast(1)).map(drop)
}

/// The frames of a GIF or an animated WebP; `None` for stills.
pub(crate) fn animation(path: &Path, format: raster::Format) -> Result<Option<Animation>, Damaged> {
    decode::animation(&std::fs::read(path)?, format)
}

/// Refuses a drawing that is nested deeper than any program draws: cleaning it would take time by the square of that.
pub(crate) fn check_depth(path: &Path) -> Result<(), String> {
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
pub(crate) fn sanitised_svg(path: &Path) -> Result<Vec<u8>, String> {
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
