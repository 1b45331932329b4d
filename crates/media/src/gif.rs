//! The structure of GIF files. Source: www.w3.org/Graphics/GIF/spec-gif89a.txt; where files differ from it, browsers.

use std::io::{self, BufRead, Cursor};

use crate::raster::{Damaged, Head, bytes};

const DESCRIPTOR: u8 = 0x2c;
const EXTENSION: u8 = 0x21;
const TRAILER: u8 = 0x3b;
const GRAPHIC_CONTROL: u8 = 0xf9;
const APPLICATION: u8 = 0xff;

/// Where a walk ended.
struct Walk {
    screen: (u16, u16),
    frames: u32,
    /// The file ended inside a block.
    cut: bool,
}

pub(crate) fn head(reader: &mut impl BufRead) -> Result<Head, Damaged> {
    let walk = walk(reader, &mut Vec::new(), false)?;
    let (width, height) = walk.screen;
    Ok(Head { stored: (width.into(), height.into()), frames: walk.frames.max(1), exif: None })
}

/// The same animation as a decoder likes it: frames, their timing, loops and the trailer, and nothing else.
///
/// # Errors
/// The file ends inside a frame, or has none.
pub(crate) fn clean(file: &[u8]) -> Result<Vec<u8>, Damaged> {
    let mut clean = Vec::with_capacity(file.len() + 1);
    let walk = walk(&mut Cursor::new(file), &mut clean, true)?;
    if walk.cut || walk.frames == 0 {
        return Err(Damaged::new("unexpected end of file"));
    }
    clean.push(TRAILER);
    // A screen smaller than the first frame grows to it, as in browsers.
    clean[6..8].copy_from_slice(&walk.screen.0.to_le_bytes());
    clean[8..10].copy_from_slice(&walk.screen.1.to_le_bytes());
    Ok(clean)
}

fn walk(reader: &mut impl BufRead, kept: &mut Vec<u8>, keep: bool) -> Result<Walk, Damaged> {
    let header: [u8; 13] = bytes(reader)?;
    kept.extend(header);
    let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let mut walk = Walk { screen: (number(6), number(8)), frames: 0, cut: false };
    walk.cut = colour_table(reader, header[10], kept).is_err();
    while !walk.cut {
        // Before a block the file may end, with the trailer or without.
        let Ok([introducer]) = bytes(reader) else { break };
        let outcome = match introducer {
            // Some encoders end their blocks twice.
            0 => continue,
            DESCRIPTOR => frame(reader, &mut walk, kept, keep),
            EXTENSION => extension(reader, kept),
            _ => break,
        };
        walk.cut = outcome.is_err();
    }
    Ok(walk)
}

fn frame(reader: &mut impl BufRead, walk: &mut Walk, kept: &mut Vec<u8>, keep: bool) -> io::Result<()> {
    let descriptor: [u8; 9] = bytes(reader)?;
    let number = |at: usize| u16::from_le_bytes([descriptor[at], descriptor[at + 1]]);
    if walk.frames == 0 {
        let (right, bottom) = (number(0).saturating_add(number(4)), number(2).saturating_add(number(6)));
        walk.screen = (walk.screen.0.max(right), walk.screen.1.max(bottom));
    }
    let mut frame = vec![DESCRIPTOR];
    frame.extend(descriptor);
    colour_table(reader, descriptor[8], &mut frame)?;
    frame.extend(bytes::<1>(reader)?);
    sub_blocks(reader, |length, data| {
        if keep {
            frame.push(length);
            frame.extend(data);
        }
    })?;
    frame.push(0);
    kept.append(&mut frame);
    walk.frames += 1;
    Ok(())
}

/// Keeps timing and loops; comments, plain text and other programs' blocks show nothing.
fn extension(reader: &mut impl BufRead, kept: &mut Vec<u8>) -> io::Result<()> {
    let [label] = bytes(reader)?;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    sub_blocks(reader, |_, data| {
        // The longest that is kept has two.
        if blocks.len() < 2 {
            blocks.push(data.to_vec());
        }
    })?;
    match (label, &blocks[..]) {
        (GRAPHIC_CONTROL, [control, ..]) if control.len() >= 4 => {
            kept.extend([EXTENSION, label, 4]);
            kept.extend(&control[..4]);
            kept.push(0);
        }
        (APPLICATION, [name, loops]) if name == b"NETSCAPE2.0" && loops.len() >= 3 => {
            kept.extend([EXTENSION, label, 11]);
            kept.extend(name);
            kept.push(3);
            kept.extend(&loops[..3]);
            kept.push(0);
        }
        _ => {}
    }
    Ok(())
}

fn colour_table(reader: &mut impl BufRead, flags: u8, kept: &mut Vec<u8>) -> io::Result<()> {
    if flags & 0x80 != 0 {
        let mut table = vec![0; 3 << ((flags & 7) + 1)];
        reader.read_exact(&mut table)?;
        kept.append(&mut table);
    }
    Ok(())
}

fn sub_blocks(reader: &mut impl BufRead, mut each: impl FnMut(u8, &[u8])) -> io::Result<()> {
    let mut data = [0; 255];
    loop {
        let [length] = bytes(reader)?;
        if length == 0 {
            return Ok(());
        }
        let data = &mut data[..usize::from(length)];
        reader.read_exact(data)?;
        each(length, data);
    }
}
