//! The structure of PNG files. Source: www.w3.org/TR/png-3; for files that violate it, the behaviour of libpng.

use std::io::{BufRead, Cursor, Read, Seek};

use flate2::read::ZlibDecoder;

use crate::colour::{Chromaticities, Profile};
use crate::exif;
use crate::raster::{Damaged, Header, MAX_METADATA, read_array, read_at_most, seek_to};

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

/// The metadata of a file.
#[derive(Default)]
pub(crate) struct Png {
    size: (u32, u32),
    /// Colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
    colour_type: u8,
    frames: u32,
    exif: Option<Vec<u8>>,
    /// EXIF from a text chunk in hexadecimal digits, as ImageMagick and older programs write it.
    text_exif: Option<Vec<u8>>,
    cicp: Option<[u8; 4]>,
    icc: Option<Vec<u8>>,
    srgb: bool,
    gamma: Option<u32>,
    chromaticities: Option<Chromaticities>,
    /// Number of palette entries.
    palette: usize,
    /// Number of compressed chunks that have been inflated.
    inflated: u8,
    position: Position,
    /// Signature, header, palette, transparency and pixels, if `keep` was set.
    kept: Vec<u8>,
}

/// Position relative to the pixels of the default image, which are the first run of consecutive `IDAT` chunks, as in libpng.
#[derive(Default, Clone, Copy, PartialEq)]
enum Position {
    #[default]
    Before,
    Inside,
    After,
}

impl Png {
    /// The colour space, by the order of precedence of the specification; `None` for sRGB.
    pub(crate) fn profile(&self) -> Option<Profile> {
        if let Some(cicp) = self.cicp {
            return Some(Profile::Cicp(cicp));
        }
        if let Some(icc) = &self.icc {
            return Some(Profile::Icc(icc.clone()));
        }
        let gamma = self.gamma.filter(|gamma| !self.srgb && *gamma > 0)?;
        Some(match self.chromaticities {
            Some(chromaticities) => Profile::GammaAndPrimaries { gamma, chromaticities },
            None => Profile::Gamma(gamma),
        })
    }

    pub(crate) fn into_exif(self) -> Option<Vec<u8>> {
        self.exif.or(self.text_exif)
    }
}

pub(crate) fn header(reader: &mut (impl BufRead + Seek)) -> Result<Header, Damaged> {
    let png = walk(reader, false)?;
    let (stored, frames) = (png.size, png.frames.max(1));
    Ok(Header { stored, frames, exif: png.into_exif() })
}

/// The file with its default image only, so that other chunks cannot make a decoder fail; and the metadata of the file.
///
/// # Errors
/// The file does not begin with a PNG header.
pub(crate) fn clean(file: &[u8]) -> Result<(Vec<u8>, Png), Damaged> {
    let mut png = walk(&mut Cursor::new(file), true)?;
    let mut clean = std::mem::take(&mut png.kept);
    clean.extend(chunk(b"IEND", &[]));
    Ok((clean, png))
}

fn walk(reader: &mut (impl BufRead + Seek), keep: bool) -> Result<Png, Damaged> {
    let signature: [u8; 8] = read_array(reader)?;
    let [length @ .., i, h, d, r] = read_array::<8>(reader)?;
    if signature != SIGNATURE || [i, h, d, r] != *b"IHDR" || length != [0, 0, 0, 13] {
        return Err(Damaged::new("the file does not begin with its header"));
    }
    let header: [u8; 17] = read_array(reader)?;
    let side = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut png = Png { size: (side(0), side(4)), colour_type: header[9], frames: 1, ..Png::default() };
    if keep {
        png.kept = [&signature[..], &length, b"IHDR", &header].concat();
    }
    // A truncated file is no error here: the decoder reports pixels that are missing.
    while let Ok([a, b, c, d, name @ ..]) = read_array::<8>(reader) {
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        if &name == b"IEND" {
            break;
        }
        let next = reader.stream_position()? + length + 4;
        read_chunk(&mut png, reader, &name, length, keep)?;
        seek_to(reader, next)?;
    }
    Ok(png)
}

fn read_chunk(
    png: &mut Png,
    reader: &mut (impl BufRead + Seek),
    name: &[u8; 4],
    length: u64,
    keep: bool,
) -> Result<(), Damaged> {
    match (name, png.position) {
        (b"IDAT", Position::Before | Position::Inside) => {
            png.position = Position::Inside;
            return if keep { keep_pixels(png, reader, length) } else { Ok(()) };
        }
        (_, Position::Inside) => png.position = Position::After,
        _ => {}
    }
    let wanted = match name {
        b"eXIf" | b"zTXt" | b"tEXt" => png.exif.is_none(),
        b"acTL" => png.position == Position::Before,
        b"PLTE" | b"tRNS" | b"cICP" | b"iCCP" | b"sRGB" | b"gAMA" | b"cHRM" => {
            keep && png.position == Position::Before
        }
        _ => false,
    };
    if !wanted || length > MAX_METADATA {
        return Ok(());
    }
    let data = read_at_most(reader, length)?;
    // An ancillary chunk with a wrong checksum is ignored, as by libpng. A palette with one is kept: the decoder refuses it.
    let Ok(crc) = read_array::<4>(reader) else { return Ok(()) };
    if name != b"PLTE" && u32::from_be_bytes(crc) != checksum(name, &data) {
        return Ok(());
    }
    take_chunk(png, name, data, crc);
    Ok(())
}

fn take_chunk(png: &mut Png, name: &[u8; 4], data: Vec<u8>, crc: [u8; 4]) {
    match (name, &data[..]) {
        (b"PLTE", _) if png.colour_type == 3 && png.palette == 0 => {
            png.palette = data.len() / 3;
            png.kept.extend(raw_chunk(name, &data, crc));
        }
        (b"tRNS", _) if transparency_fits(png, data.len()) => png.kept.extend(raw_chunk(name, &data, crc)),
        (b"eXIf", _) => png.exif = Some(exif::without_prefix(data)),
        (b"zTXt" | b"tEXt", _) if png.text_exif.is_none() && is_text_exif(&data) && may_inflate(png) => {
            png.text_exif = text_exif(name, &data);
        }
        (b"acTL", [a, b, c, d, ..]) => png.frames = u32::from_be_bytes([*a, *b, *c, *d]),
        (b"cICP", [primaries, transfer, matrix, range]) => {
            png.cicp = Some([*primaries, *transfer, *matrix, *range]);
        }
        (b"iCCP", _) if png.icc.is_none() && may_inflate(png) => png.icc = inflated(&data),
        (b"sRGB", _) => png.srgb = true,
        (b"gAMA", [a, b, c, d]) => png.gamma = Some(u32::from_be_bytes([*a, *b, *c, *d])),
        (b"cHRM", _) if data.len() == 32 => {
            let mut numbers = [0; 8];
            for (number, bytes) in numbers.iter_mut().zip(data.chunks_exact(4)) {
                *number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            png.chromaticities = Some(Chromaticities(numbers));
        }
        _ => {}
    }
}

/// Keeps a chunk of pixels, or the rest of the file if it ends inside the chunk.
fn keep_pixels(png: &mut Png, reader: &mut (impl Read + Seek), length: u64) -> Result<(), Damaged> {
    let mut data = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut data)?;
    let crc = if data.len() as u64 == length { read_array::<4>(reader).ok() } else { None };
    let crc = crc.unwrap_or_else(|| checksum(b"IDAT", &data).to_be_bytes());
    png.kept.extend(raw_chunk(b"IDAT", &data, crc));
    Ok(())
}

fn transparency_fits(png: &Png, length: usize) -> bool {
    match png.colour_type {
        0 => length == 2,
        2 => length == 6,
        3 => length <= png.palette,
        _ => false,
    }
}

/// The inflated data of a chunk, which follows a keyword, a NUL and the compression method; `None` if it cannot be inflated
/// or is longer than [`MAX_METADATA`].
fn inflated(data: &[u8]) -> Option<Vec<u8>> {
    let end = data.iter().position(|byte| *byte == 0)?;
    let mut inflated = Vec::new();
    let decoder = ZlibDecoder::new(data.get(end + 2..)?);
    decoder.take(MAX_METADATA + 1).read_to_end(&mut inflated).ok()?;
    (inflated.len() as u64 <= MAX_METADATA).then_some(inflated)
}

/// Whether another compressed chunk may be inflated. Their number is limited, because each may grow a thousandfold.
fn may_inflate(png: &mut Png) -> bool {
    const MAX_INFLATED: u8 = 8;
    png.inflated = png.inflated.saturating_add(1);
    png.inflated <= MAX_INFLATED
}

fn is_text_exif(data: &[u8]) -> bool {
    [&b"Raw profile type exif\0"[..], b"Raw profile type APP1\0"].iter().any(|name| data.starts_with(name))
}

/// EXIF from a text chunk in hexadecimal digits; `None` if the text is no EXIF.
fn text_exif(name: &[u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    let end = data.iter().position(|byte| *byte == 0)?;
    let text = if name == b"zTXt" { inflated(data)? } else { data[end + 1..].to_vec() };
    let text = String::from_utf8(text).ok()?;
    // A line with the name, one with the length, then the digits.
    let mut lines = text.trim_start().lines();
    let (_, length) = (lines.next()?, lines.next()?.trim().parse::<usize>().ok()?);
    let digits: String = lines.flat_map(str::chars).filter(char::is_ascii_hexdigit).collect();
    let mut bytes = hex::decode(&digits[..digits.len() & !1]).ok()?;
    bytes.truncate(length);
    let exif = exif::without_prefix(bytes);
    exif::is_tiff(&exif).then_some(exif)
}

fn checksum(name: &[u8; 4], data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name);
    hasher.update(data);
    hasher.finalize()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    raw_chunk(name, data, checksum(name, data).to_be_bytes())
}

fn raw_chunk(name: &[u8; 4], data: &[u8], crc: [u8; 4]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], name, data, &crc].concat()
}
