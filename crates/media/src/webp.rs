//! The structure of WebP files. Source: developers.google.com/speed/webp/docs/riff_container; for files that violate it, the
//! behaviour of libwebp.

use std::io::{BufRead, Cursor, Read, Seek};

use crate::exif;
use crate::raster::{Damaged, Header, read_array, read_at_most, seek_to};

const ANIMATED: u8 = 0x02;
const ALPHA: u8 = 0x10;

/// The chunks of a file.
#[derive(Default)]
pub(crate) struct Webp {
    /// Flags and canvas of an extended file (`VP8X`).
    extended: Option<(u8, (u32, u32))>,
    /// Size in the bitstream of a still image.
    bitstream: Option<(u32, u32)>,
    frames: u32,
    pub(crate) exif: Option<Vec<u8>>,
    pub(crate) icc: Option<Vec<u8>>,
    /// The `ALPH` chunk of a still image. This and the following are read if `keep` was set.
    alpha: Option<Vec<u8>>,
    /// The `VP8 ` or `VP8L` chunk of a still image.
    still: Option<Vec<u8>>,
    /// The `ANIM` chunk.
    animation: Option<Vec<u8>>,
    /// All `ANMF` chunks.
    frame_chunks: Vec<u8>,
}

impl Webp {
    fn animated(&self) -> bool {
        self.extended.is_some_and(|(flags, _)| flags & ANIMATED != 0)
    }

    /// Whether a still image or the first frame has been read.
    fn has_image(&self) -> bool {
        if self.animated() { self.frames > 0 } else { self.bitstream.is_some() }
    }
}

pub(crate) fn header(reader: &mut (impl BufRead + Seek)) -> Result<Header, Damaged> {
    let webp = walk(reader, false)?;
    let stored = match webp.extended {
        Some((_, canvas)) => canvas,
        None => webp.bitstream.ok_or_else(|| Damaged::new("the file contains no image"))?,
    };
    let frames = if webp.animated() { webp.frames.max(1) } else { 1 };
    Ok(Header { stored, frames, exif: webp.exif })
}

/// The file with its image only and with flags that agree with its chunks, so that other chunks cannot make a decoder fail;
/// and the metadata of the file.
///
/// # Errors
/// There is no image in the file, or the file ends inside it.
pub(crate) fn clean(file: &[u8]) -> Result<(Vec<u8>, Webp), Damaged> {
    let webp = walk(&mut Cursor::new(file), true)?;
    let missing = || Damaged::new("the file contains no image");
    let mut body = Vec::with_capacity(file.len());
    match (webp.extended, webp.animated()) {
        (Some((flags, canvas)), true) => {
            if webp.frames == 0 {
                return Err(missing());
            }
            body.extend(chunk(b"VP8X", &extended(flags & (ANIMATED | ALPHA), canvas)));
            body.extend(webp.animation.as_ref().ok_or_else(missing)?);
            body.extend(&webp.frame_chunks);
        }
        (outer, _) => {
            let (size, still) = (webp.bitstream.ok_or_else(missing)?, webp.still.as_ref());
            if outer.is_some_and(|(_, canvas)| canvas != size) {
                return Err(Damaged::new("the canvas and the image differ in size"));
            }
            let still = still.ok_or_else(missing)?;
            // The bitstream of VP8L has an alpha channel of its own.
            if let Some(alpha) = webp.alpha.as_ref().filter(|_| still.starts_with(b"VP8 ")) {
                body.extend(chunk(b"VP8X", &extended(ALPHA, size)));
                body.extend(alpha);
            }
            body.extend(still);
        }
    }
    Ok((chunk(b"RIFF", &[b"WEBP", &body[..]].concat()), webp))
}

fn walk(reader: &mut (impl BufRead + Seek), keep: bool) -> Result<Webp, Damaged> {
    let header: [u8; 12] = read_array(reader)?;
    let mut webp = Webp::default();
    // The length in the header is often wrong, so it is used only once an image has been found.
    let [_, _, _, _, length @ .., _, _, _, _] = header;
    let end = u64::from(u32::from_le_bytes(length)) + 8;
    let mut offset = 12;
    while let Ok([name @ .., a, b, c, d]) = read_array::<8>(reader) {
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        if webp.has_image() && offset >= end {
            break;
        }
        read_chunk(&mut webp, reader, &name, length, keep)?;
        // Chunks are padded to even lengths; the last one of a file often is not.
        offset += 8 + length + length % 2;
        seek_to(reader, offset)?;
    }
    Ok(webp)
}

fn read_chunk(
    webp: &mut Webp,
    reader: &mut (impl BufRead + Seek),
    name: &[u8; 4],
    length: u64,
    keep: bool,
) -> Result<(), Damaged> {
    match name {
        b"VP8X" if webp.extended.is_none() => {
            let [flags, _, _, _, a, b, c, d, e, f] = read_array(reader)?;
            let side = |bytes: [u8; 3]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) + 1;
            webp.extended = Some((flags, (side([a, b, c]), side([d, e, f]))));
        }
        b"VP8 " | b"VP8L" if webp.bitstream.is_none() => {
            let start = read_at_most(reader, length.min(10))?;
            webp.bitstream = Some(bitstream_size(name, &start)?);
            if keep {
                webp.still = Some(rest_of_chunk(reader, name, start, length)?);
            }
        }
        b"ALPH" if webp.alpha.is_none() && keep => {
            webp.alpha = Some(rest_of_chunk(reader, name, Vec::new(), length)?);
        }
        b"ANIM" if webp.animation.is_none() && keep => {
            webp.animation = Some(rest_of_chunk(reader, name, Vec::new(), length)?);
        }
        b"ANMF" => {
            webp.frames = webp.frames.saturating_add(1);
            if keep {
                webp.frame_chunks.extend(rest_of_chunk(reader, name, Vec::new(), length)?);
            }
        }
        b"EXIF" if webp.exif.is_none() => {
            webp.exif = Some(exif::without_prefix(read_at_most(reader, length)?));
        }
        b"ICCP" if webp.icc.is_none() && keep => webp.icc = Some(read_at_most(reader, length)?),
        _ => {}
    }
    Ok(())
}

/// Width and height in the first ten bytes of a bitstream. Source: RFC 6386, section 9.1; the specification of the WebP
/// lossless bitstream, section 3.
fn bitstream_size(name: &[u8; 4], start: &[u8]) -> Result<(u32, u32), Damaged> {
    match (name, start) {
        (b"VP8 ", [_, _, _, 0x9d, 0x01, 0x2a, a, b, c, d]) => {
            let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            match (side(*a, *b), side(*c, *d)) {
                (0, _) | (_, 0) => Err(Damaged::new("the image has no pixels")),
                size => Ok(size),
            }
        }
        (b"VP8L", [0x2f, a, b, c, d, ..]) => {
            let bits = u32::from_le_bytes([*a, *b, *c, *d]);
            Ok(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        _ => Err(Damaged::new("the image in the file has no header")),
    }
}

/// Reads the rest of a chunk of which `start` has been read.
fn rest_of_chunk(
    reader: &mut impl Read,
    name: &[u8; 4],
    start: Vec<u8>,
    length: u64,
) -> Result<Vec<u8>, Damaged> {
    let mut payload = start;
    let rest = length - payload.len() as u64;
    if reader.take(rest).read_to_end(&mut payload)? as u64 != rest {
        return Err(Damaged::new("unexpected end of file"));
    }
    Ok(chunk(name, &payload))
}

/// The content of a `VP8X` chunk.
fn extended(flags: u8, (width, height): (u32, u32)) -> Vec<u8> {
    let mut payload = vec![flags, 0, 0, 0];
    payload.extend(&(width - 1).to_le_bytes()[..3]);
    payload.extend(&(height - 1).to_le_bytes()[..3]);
    payload
}

/// A chunk, padded to an even length.
fn chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut chunk = [&name[..], &length.to_le_bytes(), payload].concat();
    chunk.extend(std::iter::repeat_n(0, payload.len() % 2));
    chunk
}
