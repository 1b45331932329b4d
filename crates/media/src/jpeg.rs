//! JPEG. Source: ITU-T T.81; for files that violate it, the behaviour of libjpeg, which decodes them here and in browsers.

use std::io::{BufRead, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{GrayImage, RgbImage};
use mozjpeg::decompress::DecompressStarted;
use mozjpeg::{Decompress, Format};

use crate::exif;
use crate::raster::{
    Damaged, Header, MAX_METADATA, MAX_PIXELS, check_area, read_array, read_at_most, seek_to,
};

/// End of image (EOI).
const END: u8 = 0xd9;
/// Start of scan (SOS).
const SCAN: u8 = 0xda;
/// Most scans. Encoders write about ten, and decoding each takes as long as decoding a whole image with one scan.
const MAX_SCANS: u64 = 100;
/// Most pixels of all scans together: forty scans of the largest image.
const MAX_SCANNED: u64 = 40 * MAX_PIXELS;
/// Most bytes that are skipped to find a marker.
const MAX_SKIPPED: usize = 4 * 1024 * 1024;
/// The whole size, in eighths.
const FULL: u8 = 8;
/// Most bytes of coefficients and pixels together.
const MAX_DECODED: u64 = 800 * 1024 * 1024;

/// The segments before the first scan.
#[derive(Default)]
struct Segments {
    size: (u32, u32),
    /// Horizontal and vertical sampling of each component.
    sampling: Vec<(u32, u32)>,
    /// Whether the coefficients are coded arithmetically instead of by Huffman.
    arithmetic: bool,
    /// Whether there is an Adobe marker.
    adobe: bool,
    exif: Option<Vec<u8>>,
    /// Parts of the ICC profile: number, number of parts, bytes.
    icc: Vec<(u8, u8, Vec<u8>)>,
    /// Offset of the first scan's header, after its marker.
    scan_offset: u64,
}

/// Decoded pixels in the colour space of the file, before the EXIF orientation.
pub(crate) enum Pixels {
    Grey(GrayImage),
    Rgb(RgbImage),
    /// Four bytes per pixel, 255 for full ink.
    Cmyk {
        inks: Vec<u8>,
        size: (u32, u32),
    },
}

/// A decoded image and its metadata.
pub(crate) struct Decoded {
    pub(crate) pixels: Pixels,
    /// Width and height in the file.
    pub(crate) size: (u32, u32),
    /// The fraction of that size the pixels have, in eighths; they are rounded up.
    pub(crate) eighths: u8,
    pub(crate) exif: Option<Vec<u8>>,
    pub(crate) icc: Option<Vec<u8>>,
}

pub(crate) fn header(reader: &mut (impl BufRead + Seek)) -> Result<Header, Damaged> {
    let segments = read_segments(reader)?;
    Ok(Header { stored: segments.size, frames: 1, exif: segments.exif })
}

/// Decodes the first image of a file. With `side` it may be decoded smaller, its longer side at least that many pixels.
///
/// # Errors
/// The image cannot be decoded, the file ends before it does, or it exceeds the limits on memory and time.
pub(crate) fn decode(file: &[u8], side: Option<u32>) -> Result<Decoded, Damaged> {
    let segments = read_segments(&mut std::io::Cursor::new(file))?;
    check_area(segments.size)?;
    let start = usize::try_from(segments.scan_offset).unwrap_or(usize::MAX);
    let scans = scans(file.get(start..).unwrap_or_default());
    check_cost(&segments, scans.count, file.len())?;
    let longer = segments.size.0.max(segments.size.1);
    // At most 8, of sides of at most 65,535 pixels.
    let scaled = side.map_or(FULL, |side| (side.min(longer) * 8).div_ceil(longer).max(1) as u8);
    let eighths = if scans.ended { scaled } else { FULL };
    let pixels = if scans.ended {
        decode_scaled(file, &segments, eighths)?
    } else if scans.components < segments.sampling.len() {
        return Err(Damaged::new("unexpected end of file"));
    } else {
        decode_without_end(file, &segments)?
    };
    let icc = joined_profile(segments.icc);
    Ok(Decoded { pixels, size: segments.size, eighths, exif: segments.exif, icc })
}

/// Reads the segments before the first scan.
fn read_segments(reader: &mut (impl BufRead + Seek)) -> Result<Segments, Damaged> {
    if read_array::<2>(reader)? != [0xff, 0xd8] {
        return Err(Damaged::new("the file does not begin with its header"));
    }
    let mut segments = Segments::default();
    let mut profile_length = 0;
    loop {
        let marker = next_marker(reader)?;
        // Markers without a segment.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if marker == END {
            return Err(Damaged::new("the file contains no image"));
        }
        let offset = reader.stream_position()?;
        if marker == SCAN {
            segments.scan_offset = offset;
            break;
        }
        let length = u64::from(u16::from_be_bytes(read_array(reader)?)).max(2);
        let wanted = match marker {
            0xc0..=0xcf => !matches!(marker, 0xc4 | 0xc8 | 0xcc) && segments.sampling.is_empty(),
            0xe1 => segments.exif.is_none(),
            0xe2 => profile_length < MAX_METADATA,
            0xee => true,
            _ => false,
        };
        if wanted {
            let body = read_at_most(reader, length - 2)?;
            profile_length += if marker == 0xe2 { length } else { 0 };
            read_segment(&mut segments, marker, body)?;
        }
        seek_to(reader, offset + length)?;
    }
    if segments.sampling.is_empty() {
        return Err(Damaged::new("the file contains no image"));
    }
    Ok(segments)
}

/// The code of the next marker. T.81 B.1.1.2 allows fill bytes before it, and decoders skip all other bytes as well.
fn next_marker(reader: &mut impl BufRead) -> Result<u8, Damaged> {
    let mut after_ff = false;
    for _ in 0..MAX_SKIPPED {
        let [byte] = read_array(reader)?;
        if after_ff && !matches!(byte, 0 | 0xff) {
            return Ok(byte);
        }
        after_ff = byte == 0xff;
    }
    Err(Damaged::new("the file contains no image"))
}

fn read_segment(segments: &mut Segments, marker: u8, body: Vec<u8>) -> Result<(), Damaged> {
    match (marker, &body[..]) {
        (0xe1, _) if body.starts_with(b"Exif\0") => segments.exif = Some(exif::without_prefix(body)),
        (0xe1, _) => {}
        (
            0xe2,
            [b'I', b'C', b'C', b'_', b'P', b'R', b'O', b'F', b'I', b'L', b'E', 0, number, count, part @ ..],
        ) => {
            segments.icc.push((*number, *count, part.to_vec()));
        }
        (0xe2, _) => {}
        (0xee, _) => segments.adobe |= body.starts_with(b"Adobe") && body.len() >= 12,
        (_, [_, h1, h0, w1, w0, _, components @ ..]) => {
            let side = |high: &u8, low: &u8| u32::from(u16::from_be_bytes([*high, *low]));
            segments.size = (side(w1, w0), side(h1, h0));
            segments.arithmetic = marker >= 0xc9;
            segments.sampling = components
                .chunks_exact(3)
                .map(|component| (u32::from(component[1] >> 4), u32::from(component[1] & 15)))
                .collect();
        }
        _ => return Err(Damaged::new("the header of the image is too short")),
    }
    Ok(())
}

/// The scans of the first image.
struct Scans {
    count: u64,
    /// Number of colour components that appear in them, completely or in part.
    components: usize,
    /// Whether the end marker (EOI) was found.
    ended: bool,
}

/// Counts the scans. `rest` begins at the header of the first one, after its marker.
fn scans(mut rest: &[u8]) -> Scans {
    let mut seen = [false; 256];
    let mut scans = Scans { count: 0, components: 0, ended: false };
    let mut marker = SCAN;
    loop {
        // The segment is skipped as a whole, because its bytes may look like markers.
        let length = usize::from(rest.first_chunk().map_or(2, |length| u16::from_be_bytes(*length)).max(2));
        if marker == SCAN {
            scans.count += 1;
            let components = usize::from(rest.get(2).copied().unwrap_or_default());
            let header = rest.get(3..length).unwrap_or_default();
            header
                .chunks_exact(2)
                .take(components)
                .for_each(|component| seen[usize::from(component[0])] = true);
            scans.components = seen.iter().filter(|seen| **seen).count();
        }
        rest = rest.get(length..).unwrap_or_default();
        match next_segment(&mut rest) {
            None => return scans,
            Some(END) => return Scans { ended: true, ..scans },
            Some(found) => marker = found,
        }
    }
}

/// Advances past the next marker that is the end or begins a segment, and returns its code. Stuffed bytes and restart
/// markers, which belong to the entropy-coded data, are skipped.
fn next_segment(rest: &mut &[u8]) -> Option<u8> {
    loop {
        let at = memchr::memchr(0xff, rest)?;
        let code = *rest.get(at + 1)?;
        // After a fill byte (0xff) the next byte may be the 0xff of a marker.
        *rest = &rest[if code == 0xff { at + 1 } else { at + 2 }..];
        if !matches!(code, 0 | 0x01 | 0xd0..=0xd8 | 0xff) {
            return Some(code);
        }
    }
}

/// Rejects files that are too short for the size in their header, and those that take too long or too much memory to decode.
fn check_cost(segments: &Segments, scans: u64, length: usize) -> Result<(), Damaged> {
    let area = u64::from(segments.size.0) * u64::from(segments.size.1);
    // Huffman coding takes at least one bit for a block of 64 pixels; arithmetic coding has no such bound.
    if !segments.arithmetic && (length as u64) * 8 * 64 < area {
        return Err(Damaged::new("unexpected end of file"));
    }
    if scans > MAX_SCANS || scans.saturating_mul(area) > MAX_SCANNED {
        return Err(Damaged::new("the image has too many scans"));
    }
    let most = |side: fn(&(u32, u32)) -> u32| segments.sampling.iter().map(side).max().unwrap_or(1).max(1);
    let (across, down) = (u64::from(most(|sampling| sampling.0)), u64::from(most(|sampling| sampling.1)));
    let samples: u64 = segments
        .sampling
        .iter()
        .map(|(x, y)| (area * u64::from(*x) * u64::from(*y)).div_ceil(across * down))
        .sum();
    let coefficients = if scans > 1 { samples * 2 } else { 0 };
    if coefficients + area * segments.sampling.len() as u64 > MAX_DECODED {
        return Err(Damaged::new("decoding the image takes too much memory"));
    }
    Ok(())
}

/// Decodes a file without an end marker. libjpeg fills missing pixels with grey and reports no error, so the image is decoded
/// a second time with arbitrary data appended: if that changes a pixel, the file is truncated.
fn decode_without_end(file: &[u8], segments: &Segments) -> Result<Pixels, Damaged> {
    let pixels = decode_scaled(&[file, &[0xff, END]].concat(), segments, FULL)?;
    // Every byte but 0xff, which would begin a marker, in a mixed order.
    let filler: Vec<u8> =
        (0..u8::MAX).map(|byte| byte.wrapping_mul(151)).filter(|byte| *byte != 0xff).collect();
    let continued = decode_scaled(&[file, &filler, &[0xff, END]].concat(), segments, FULL)?;
    if pixels.bytes() != continued.bytes() {
        return Err(Damaged::new("unexpected end of file"));
    }
    Ok(pixels)
}

impl Pixels {
    fn bytes(&self) -> &[u8] {
        match self {
            Pixels::Grey(pixels) => pixels,
            Pixels::Rgb(pixels) => pixels,
            Pixels::Cmyk { inks, .. } => inks,
        }
    }
}

/// Decodes the image at `scale` eighths of its size.
fn decode_scaled(file: &[u8], segments: &Segments, scale: u8) -> Result<Pixels, Damaged> {
    // mozjpeg reports errors of libjpeg as panics whose payload is the message.
    match catch_unwind(AssertUnwindSafe(|| decode_or_panic(file, segments, scale))) {
        Ok(outcome) => outcome,
        Err(panic) => Err(match panic.downcast::<String>() {
            Ok(message) => Damaged(message.trim_start_matches("libjpeg fatal error: ").to_owned()),
            Err(_) => Damaged::new("the decoder failed"),
        }),
    }
}

fn decode_or_panic(file: &[u8], segments: &Segments, scale: u8) -> Result<Pixels, Damaged> {
    let mut decoder = Decompress::builder().from_mem(file)?;
    decoder.scale(scale);
    let failed = || Damaged::new("the decoder failed");
    Ok(match decoder.image()? {
        Format::Gray(started) => {
            let ((width, height), pixels) = read_pixels(started)?;
            Pixels::Grey(GrayImage::from_raw(width, height, pixels).ok_or_else(failed)?)
        }
        Format::RGB(started) => {
            let ((width, height), pixels) = read_pixels(started)?;
            Pixels::Rgb(RgbImage::from_raw(width, height, pixels).ok_or_else(failed)?)
        }
        Format::CMYK(started) => {
            let (size, mut inks) = read_pixels(started)?;
            // Adobe's programs, which write this marker, store inverted values.
            if segments.adobe {
                inks.iter_mut().for_each(|ink| *ink = u8::MAX - *ink);
            }
            Pixels::Cmyk { inks, size }
        }
    })
}

fn read_pixels(mut started: DecompressStarted<&[u8]>) -> Result<((u32, u32), Vec<u8>), Damaged> {
    let pixels = started.read_scanlines::<u8>()?;
    Ok(((started.width() as u32, started.height() as u32), pixels))
}

/// The ICC profile from its parts; `None` unless all are there. Source: ICC.1, annex B.4.
fn joined_profile(mut parts: Vec<(u8, u8, Vec<u8>)>) -> Option<Vec<u8>> {
    parts.sort_by_key(|(number, _, _)| *number);
    let count = parts.first()?.1;
    let complete = parts.len() == usize::from(count)
        && parts
            .iter()
            .zip(1..=u8::MAX)
            .all(|((number, of, _), expected)| *number == expected && *of == count);
    complete.then(|| parts.into_iter().flat_map(|(_, _, part)| part).collect())
}
