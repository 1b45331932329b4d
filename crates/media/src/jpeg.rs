//! JPEG. Source: ITU-T T.81; where files differ from it, libjpeg, which decodes them here and in every browser.

use std::io::{BufRead, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{GrayImage, RgbImage};
use mozjpeg::decompress::DecompressStarted;
use mozjpeg::{Decompress, Format};

use crate::exif;
use crate::raster::{Damaged, Head, MAX_METADATA, MAX_PIXELS, at_most, bytes, check_area, go_to};

const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
/// More scans than any encoder makes: each costs as much as the whole picture.
const MAX_SCANS: u64 = 100;
/// Pixels of all scans together: forty scans of the largest picture.
const MAX_SCANNED: u64 = 40 * MAX_PIXELS;
/// Most bytes that are skipped on the way to a marker.
const MAX_SKIPPED: usize = 4 * 1024 * 1024;
/// Most bytes of coefficients and pixels together.
const MAX_DECODED: u64 = 800 * 1024 * 1024;

/// What stands before the first scan.
#[derive(Default)]
struct Header {
    size: (u32, u32),
    /// Horizontal and vertical sampling of each component.
    sampling: Vec<(u32, u32)>,
    arithmetic: bool,
    adobe: bool,
    exif: Option<Vec<u8>>,
    /// Parts of the colour profile by their number, and how many there should be.
    icc: Vec<(u8, u8, Vec<u8>)>,
    /// Where the first scan's own header begins.
    scan_at: u64,
}

/// A decoded picture as it is stored.
pub(crate) enum Pixels {
    Grey(GrayImage),
    Rgb(RgbImage),
    /// Four bytes a pixel, 255 for full ink.
    Cmyk {
        inks: Vec<u8>,
        size: (u32, u32),
    },
}

/// A decoded picture and what belongs to it.
pub(crate) struct Decoded {
    pub(crate) pixels: Pixels,
    pub(crate) exif: Option<Vec<u8>>,
    pub(crate) icc: Option<Vec<u8>>,
}

pub(crate) fn head(reader: &mut (impl BufRead + Seek)) -> Result<Head, Damaged> {
    let header = header(reader)?;
    Ok(Head { stored: header.size, frames: 1, exif: header.exif })
}

/// Decodes the first picture of a file, perhaps smaller, with its longer side no shorter than `side`.
///
/// # Errors
/// It cannot be decoded, the file ends before it does, or it would take memory or time without bound.
pub(crate) fn decode(file: &[u8], side: Option<u32>) -> Result<Decoded, Damaged> {
    let header = header(&mut std::io::Cursor::new(file))?;
    check_area(header.size)?;
    let start = usize::try_from(header.scan_at).unwrap_or(usize::MAX);
    let scans = scans(file.get(start..).unwrap_or_default());
    check_cost(&header, scans.count, file.len())?;
    let scale = side.map_or(8, |side| (side * 8).div_ceil(header.size.0.max(header.size.1)).clamp(1, 8));
    let pixels = if scans.ended {
        run(file, &header, scale as u8)?
    } else if scans.components < header.sampling.len() {
        return Err(Damaged::new("unexpected end of file"));
    } else {
        endless(file, &header)?
    };
    let icc = profile(header.icc);
    Ok(Decoded { pixels, exif: header.exif, icc })
}

/// Reads segments up to the first scan.
fn header(reader: &mut (impl BufRead + Seek)) -> Result<Header, Damaged> {
    if bytes::<2>(reader)? != [0xff, 0xd8] {
        return Err(Damaged::new("the file does not begin with its header"));
    }
    let mut header = Header::default();
    let mut profile = 0;
    loop {
        let marker = next_marker(reader)?;
        // These stand alone.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if marker == END {
            return Err(Damaged::new("there is no picture in the file"));
        }
        let place = reader.stream_position()?;
        if marker == SCAN {
            header.scan_at = place;
            break;
        }
        let length = u64::from(u16::from_be_bytes(bytes(reader)?)).max(2);
        let wanted = match marker {
            0xc0..=0xcf => !matches!(marker, 0xc4 | 0xc8 | 0xcc) && header.sampling.is_empty(),
            0xe1 => header.exif.is_none(),
            0xe2 => profile < MAX_METADATA,
            0xee => true,
            _ => false,
        };
        if wanted {
            let body = at_most(reader, length - 2)?;
            profile += if marker == 0xe2 { length } else { 0 };
            segment(&mut header, marker, body)?;
        }
        go_to(reader, place + length)?;
    }
    if header.sampling.is_empty() {
        return Err(Damaged::new("there is no picture in the file"));
    }
    Ok(header)
}

/// The next marker's code, whatever stands before it: T.81 B.1.1.2 allows fill bytes, and decoders skip the rest.
fn next_marker(reader: &mut impl BufRead) -> Result<u8, Damaged> {
    let mut after_fill = false;
    for _ in 0..MAX_SKIPPED {
        let [byte] = bytes(reader)?;
        if after_fill && !matches!(byte, 0 | 0xff) {
            return Ok(byte);
        }
        after_fill = byte == 0xff;
    }
    Err(Damaged::new("there is no picture in the file"))
}

fn segment(header: &mut Header, marker: u8, body: Vec<u8>) -> Result<(), Damaged> {
    match (marker, &body[..]) {
        (0xe1, _) if body.starts_with(b"Exif\0") => header.exif = Some(exif::without_prefix(body)),
        (0xe1, _) => {}
        (
            0xe2,
            [b'I', b'C', b'C', b'_', b'P', b'R', b'O', b'F', b'I', b'L', b'E', 0, number, count, part @ ..],
        ) => {
            header.icc.push((*number, *count, part.to_vec()));
        }
        (0xe2, _) => {}
        (0xee, _) => header.adobe |= body.starts_with(b"Adobe") && body.len() >= 12,
        (_, [_, high, low, wide, narrow, _, components @ ..]) => {
            let side = |high: &u8, low: &u8| u32::from(u16::from_be_bytes([*high, *low]));
            header.size = (side(wide, narrow), side(high, low));
            header.arithmetic = marker >= 0xc9;
            header.sampling = components
                .chunks_exact(3)
                .map(|component| (u32::from(component[1] >> 4), u32::from(component[1] & 15)))
                .collect();
        }
        _ => return Err(Damaged::new("the header of the picture is too short")),
    }
    Ok(())
}

/// What follows the header.
struct Scans {
    count: u64,
    /// How many components they hold, of whatever there is of them.
    components: usize,
    /// The picture's end is there.
    ended: bool,
}

/// Walks the scans, from the header of the first one on.
fn scans(mut rest: &[u8]) -> Scans {
    let mut seen = [false; 256];
    let mut scans = Scans { count: 0, components: 0, ended: false };
    let mut marker = SCAN;
    loop {
        // The segment's own bytes may look like markers.
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

/// Goes behind the next marker that is no part of coded pixels, and has a segment or is the end.
fn next_segment(rest: &mut &[u8]) -> Option<u8> {
    loop {
        let at = rest.iter().position(|byte| *byte == 0xff)?;
        let code = *rest.get(at + 1)?;
        // A fill byte may be followed by a marker.
        *rest = &rest[if code == 0xff { at + 1 } else { at + 2 }..];
        if !matches!(code, 0 | 0x01 | 0xd0..=0xd8 | 0xff) {
            return Some(code);
        }
    }
}

/// Refuses what a header only claims, and what takes the decoder too long or too much memory.
fn check_cost(header: &Header, scans: u64, length: usize) -> Result<(), Damaged> {
    let area = u64::from(header.size.0) * u64::from(header.size.1);
    // Every block of 64 pixels takes a bit at least, but for arithmetic coding.
    if !header.arithmetic && (length as u64) * 8 * 64 < area {
        return Err(Damaged::new("unexpected end of file"));
    }
    if scans > MAX_SCANS || scans.saturating_mul(area) > MAX_SCANNED {
        return Err(Damaged::new("the picture has too many scans"));
    }
    let most = |side: fn(&(u32, u32)) -> u32| header.sampling.iter().map(side).max().unwrap_or(1).max(1);
    let (across, down) = (u64::from(most(|sampling| sampling.0)), u64::from(most(|sampling| sampling.1)));
    let samples: u64 = header
        .sampling
        .iter()
        .map(|(x, y)| (area * u64::from(*x) * u64::from(*y)).div_ceil(across * down))
        .sum();
    let coefficients = if scans > 1 { samples * 2 } else { 0 };
    if coefficients + area * header.sampling.len() as u64 > MAX_DECODED {
        return Err(Damaged::new("the picture takes too much memory to decode"));
    }
    Ok(())
}

/// A picture whose end mark is missing: whole if what could follow makes no difference to it. What is missing the decoder
/// would paint grey, and say nothing.
fn endless(file: &[u8], header: &Header) -> Result<Pixels, Damaged> {
    const FULL: u8 = 8;
    let picture = run(&[file, &[0xff, END]].concat(), header, FULL)?;
    // All bytes in some order, but for that which begins markers.
    let more: Vec<u8> =
        (0..u8::MAX).map(|byte| byte.wrapping_mul(151)).filter(|byte| *byte != 0xff).collect();
    let continued = run(&[file, &more, &[0xff, END]].concat(), header, FULL)?;
    if picture.bytes() != continued.bytes() {
        return Err(Damaged::new("unexpected end of file"));
    }
    Ok(picture)
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

/// Decodes at so many eighths of the size.
fn run(file: &[u8], header: &Header, scale: u8) -> Result<Pixels, Damaged> {
    // libjpeg's errors unwind.
    match catch_unwind(AssertUnwindSafe(|| unwinding(file, header, scale))) {
        Ok(outcome) => outcome,
        Err(panic) => Err(match panic.downcast::<String>() {
            Ok(message) => Damaged(message.trim_start_matches("libjpeg fatal error: ").to_owned()),
            Err(_) => Damaged::new("the decoder failed"),
        }),
    }
}

fn unwinding(file: &[u8], header: &Header, scale: u8) -> Result<Pixels, Damaged> {
    let mut decoder = Decompress::builder().from_mem(file)?;
    decoder.scale(scale);
    let failed = || Damaged::new("the decoder failed");
    Ok(match decoder.image()? {
        Format::Gray(started) => {
            let ((width, height), pixels) = all(started)?;
            Pixels::Grey(GrayImage::from_raw(width, height, pixels).ok_or_else(failed)?)
        }
        Format::RGB(started) => {
            let ((width, height), pixels) = all(started)?;
            Pixels::Rgb(RgbImage::from_raw(width, height, pixels).ok_or_else(failed)?)
        }
        Format::CMYK(started) => {
            let (size, mut inks) = all(started)?;
            // Adobe's programs write the values inverted and say so by their marker.
            if header.adobe {
                inks.iter_mut().for_each(|ink| *ink = u8::MAX - *ink);
            }
            Pixels::Cmyk { inks, size }
        }
    })
}

fn all(mut started: DecompressStarted<&[u8]>) -> Result<((u32, u32), Vec<u8>), Damaged> {
    let pixels = started.read_scanlines::<u8>()?;
    Ok(((started.width() as u32, started.height() as u32), pixels))
}

/// The profile from its parts; `None` unless all are there. Source: ICC.1, annex B.4.
fn profile(mut parts: Vec<(u8, u8, Vec<u8>)>) -> Option<Vec<u8>> {
    parts.sort_by_key(|(number, _, _)| *number);
    let count = parts.first()?.1;
    let complete = parts.len() == usize::from(count)
        && parts
            .iter()
            .zip(1..=u8::MAX)
            .all(|((number, of, _), expected)| *number == expected && *of == count);
    complete.then(|| parts.into_iter().flat_map(|(_, _, part)| part).collect())
}
