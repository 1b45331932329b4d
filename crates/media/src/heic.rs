//! Pixel size of HEIF images (ISO/IEC 23008-12): that of the primary item after its clean aperture and rotation, with the
//! same result as libheif. Nothing is decoded.
//!
//! EXIF in a HEIF file may have an orientation as well. Readers do not apply it, because the rotation is a property of the
//! item.

use std::io::{self, Read, Seek, SeekFrom};

/// Largest metadata box that is read, in bytes. Cameras write about ten thousand.
const MAX_METADATA: u64 = 16 * 1024 * 1024;
/// Most top-level boxes that are examined to find the metadata.
const MAX_BOXES: usize = 4096;
/// Most derived images that are followed to find a size.
const MAX_CHAIN: usize = 8;

type Size = (u32, u32);

/// Width and height in pixels of the image that is shown; for a sequence without a primary item, those of its first visual
/// track. `None` if the structure is invalid.
///
/// # Errors
/// Those of the reader.
pub fn size(reader: &mut (impl Read + Seek)) -> io::Result<Option<Size>> {
    if let Some(meta) = find_box(reader, *b"meta")?
        && let Some(size) = Items::parse(&meta).and_then(|items| items.size(items.primary?, MAX_CHAIN))
    {
        return Ok(Some(size));
    }
    Ok(find_box(reader, *b"moov")?.as_deref().and_then(track_size).filter(is_not_empty))
}

/// The body of the first box of a type at the top level of a file.
fn find_box(reader: &mut (impl Read + Seek), wanted: BoxType) -> io::Result<Option<Vec<u8>>> {
    let end = reader.seek(SeekFrom::End(0))?;
    let mut at = 0;
    for _ in 0..MAX_BOXES {
        reader.seek(SeekFrom::Start(at))?;
        let mut start = Vec::with_capacity(16);
        reader.take(16).read_to_end(&mut start)?;
        let Some((box_type, header, length)) = box_header(&start, end - at) else { break };
        if box_type == wanted {
            let body = length - header;
            if body > MAX_METADATA {
                return Ok(None);
            }
            reader.seek(SeekFrom::Start(at + header))?;
            let mut bytes = Vec::new();
            reader.take(body).read_to_end(&mut bytes)?;
            return Ok(Some(bytes));
        }
        at += length;
        if at >= end {
            break;
        }
    }
    Ok(None)
}

type BoxType = [u8; 4];

/// Type, length of the header and length of the whole box, in bytes, if the box ends within `available` bytes.
fn box_header(start: &[u8], available: u64) -> Option<(BoxType, u64, u64)> {
    let box_type = *start.get(4..)?.first_chunk()?;
    let (header, length) = match u32::from_be_bytes(*start.first_chunk()?) {
        // The box extends to the end of the file or of its parent.
        0 => (8, available),
        1 => (16, u64::from_be_bytes(*start.get(8..)?.first_chunk()?)),
        length => (8, u64::from(length)),
    };
    (length >= header && length <= available).then_some((box_type, header, length))
}

/// The child boxes of a box, up to the first invalid one.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = (BoxType, &[u8])> {
    std::iter::from_fn(move || {
        let (box_type, header, length) = box_header(rest, rest.len() as u64)?;
        // Both lie within the slice.
        let (this, others) = rest.split_at(length as usize);
        rest = others;
        Some((box_type, &this[header as usize..]))
    })
}

fn child(parent: &[u8], wanted: BoxType) -> Option<&[u8]> {
    boxes(parent).find_map(|(box_type, body)| (box_type == wanted).then_some(body))
}

/// Reads big-endian numbers one after the other.
struct NumberReader<'a>(&'a [u8]);

impl NumberReader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    /// An item id: 32 bits in newer versions of a box (`wide`), 16 in older ones.
    fn id(&mut self, wide: bool) -> Option<u32> {
        if wide { self.u32() } else { self.u16().map(u32::from) }
    }

    /// Version and flags of a full box.
    fn version(&mut self) -> Option<(u8, u32)> {
        let word = self.u32()?;
        Some(((word >> 24) as u8, word & 0x00ff_ffff))
    }
}

/// The items of a `meta` box and their properties.
struct Items<'a> {
    primary: Option<u32>,
    properties: Vec<(BoxType, &'a [u8])>,
    iprp: &'a [u8],
    iref: &'a [u8],
}

impl<'a> Items<'a> {
    fn parse(meta: &'a [u8]) -> Option<Self> {
        // The `meta` box of QuickTime has no version and flags before its children.
        let children = if meta.get(4..8) == Some(b"hdlr") { meta } else { meta.get(4..)? };
        let primary = child(children, *b"pitm").and_then(|body| {
            let mut numbers = NumberReader(body);
            let (version, _) = numbers.version()?;
            numbers.id(version > 0)
        });
        let iprp = child(children, *b"iprp")?;
        let properties = boxes(child(iprp, *b"ipco")?).collect();
        Some(Items { primary, properties, iprp, iref: child(children, *b"iref").unwrap_or_default() })
    }

    /// The size of an item after its transformative properties, applied in their order.
    fn size(&self, item: u32, chain: usize) -> Option<Size> {
        let properties = self.properties_of(item).unwrap_or_default();
        let own =
            properties.iter().find_map(|(box_type, body)| (box_type == b"ispe").then(|| extent(body))?);
        let mut size = match own {
            Some(size) => size,
            // A derived image without a size has that of its source.
            None => self.size(self.source_of(item)?, chain.checked_sub(1)?)?,
        };
        for (box_type, body) in &properties {
            match box_type {
                b"clap" => size = cropped(size, body)?,
                b"irot" if body.first()? & 1 == 1 => size = (size.1, size.0),
                _ => {}
            }
        }
        Some(size).filter(is_not_empty)
    }

    /// The properties associated with an item, in their order.
    fn properties_of(&self, item: u32) -> Option<Vec<(BoxType, &'a [u8])>> {
        boxes(self.iprp).filter(|(box_type, _)| box_type == b"ipma").find_map(|(_, body)| {
            let indices = associations(body, item)?;
            let at = |index: u16| self.properties.get(usize::from(index).checked_sub(1)?).copied();
            Some(indices.into_iter().filter_map(at).collect())
        })
    }

    /// The first item that a derived image is made of.
    fn source_of(&self, item: u32) -> Option<u32> {
        let mut numbers = NumberReader(self.iref);
        let wide = numbers.version()?.0 > 0;
        boxes(numbers.0).filter(|(box_type, _)| box_type == b"dimg").find_map(|(_, body)| {
            let mut numbers = NumberReader(body);
            let from = numbers.id(wide)?;
            let count = numbers.u16()?;
            (from == item && count > 0).then(|| numbers.id(wide))?
        })
    }
}

/// Indices of the properties that an `ipma` box associates with an item, counted from 1.
fn associations(body: &[u8], item: u32) -> Option<Vec<u16>> {
    let mut numbers = NumberReader(body);
    let (version, flags) = numbers.version()?;
    for _ in 0..numbers.u32()? {
        let id = numbers.id(version > 0)?;
        let count = numbers.u8()?;
        let mut indices = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            // The highest bit marks the property as essential.
            indices.push(match flags & 1 {
                1 => numbers.u16()? & 0x7fff,
                _ => u16::from(numbers.u8()? & 0x7f),
            });
        }
        if id == item {
            return Some(indices);
        }
    }
    None
}

fn extent(body: &[u8]) -> Option<Size> {
    let mut numbers = NumberReader(body);
    numbers.version()?;
    Some((numbers.u32()?, numbers.u32()?))
}

/// The size after cropping to a clean aperture; `None` if the aperture is invalid.
fn cropped((width, height): Size, body: &[u8]) -> Option<Size> {
    let mut numbers = NumberReader(body);
    let mut fraction = || Some((i128::from(numbers.u32()?), i128::from(numbers.u32()?)));
    let (clap_width, clap_height, x_offset, y_offset) = (fraction()?, fraction()?, fraction()?, fraction()?);
    Some((cropped_side(width, clap_width, x_offset)?, cropped_side(height, clap_height, y_offset)?))
}

/// One side after cropping, rounded as libheif does. Aperture and offset are fractions (numerator, denominator); the offset
/// is that of the aperture's centre from the image's centre, and its numerator is signed.
fn cropped_side(length: u32, aperture: (i128, i128), offset: (i128, i128)) -> Option<u32> {
    let length = i128::from(length);
    let (aperture, denominator) = aperture;
    let (offset, offset_denominator) = (i128::from(offset.0 as u32 as i32), offset.1);
    if denominator == 0 || offset_denominator == 0 {
        return None;
    }
    let twice_first = 2 * offset * denominator + (length - 1) * denominator * offset_denominator
        - (aperture - denominator) * offset_denominator;
    let first = twice_first.div_euclid(2 * denominator * offset_denominator);
    let last = ((first - 1) * denominator + aperture + denominator / 2).div_euclid(denominator);
    u32::try_from(last.min(length - 1) - first.max(0) + 1).ok()
}

/// The size of the first visual track of a movie, after its rotation.
fn track_size(moov: &[u8]) -> Option<Size> {
    boxes(moov).filter(|(box_type, _)| box_type == b"trak").find_map(|(_, track)| {
        let handler = child(child(track, *b"mdia")?, *b"hdlr")?.get(8..12)?;
        if handler != b"pict" && handler != b"vide" {
            return None;
        }
        let header = child(track, *b"tkhd")?;
        // Version 1 has times of 64 bits instead of 32.
        let rest = header.get(if header.first()? & 1 == 1 { 52 } else { 40 }..)?;
        let word = |at: usize| rest.get(4 * at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        // Width and height are fixed-point numbers, 16.16.
        let size = (word(9)? >> 16, word(10)? >> 16);
        // A rotation matrix by 90 or 270 degrees has zeros on its diagonal.
        let rotated = word(0)? == 0 && word(4)? == 0;
        Some(if rotated { (size.1, size.0) } else { size }).filter(is_not_empty)
    })
}

fn is_not_empty((width, height): &Size) -> bool {
    *width > 0 && *height > 0
}
