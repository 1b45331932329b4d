//! The structure of GIF files. Source: www.w3.org/Graphics/GIF/spec-gif89a.txt; where files differ from it, browsers.

use std::io::{self, BufRead, Cursor};

use crate::raster::{Damaged, Header, read_array};

const DESCRIPTOR: u8 = 0x2c;
const EXTENSION: u8 = 0x21;
const TRAILER: u8 = 0x3b;
const GRAPHIC_CONTROL: u8 = 0xf9;
const APPLICATION: u8 = 0xff;

/// The result of reading a file block by block.
struct Walk {
    /// Width and height of the logical screen, at least as large as the first frame.
    screen: (u16, u16),
    frames: u32,
    /// The file ended inside a block.
    truncated: bool,
}

pub(crate) fn header(reader: &mut impl BufRead) -> Result<Header, Damaged> {
    let walk = walk(reader, &mut Vec::new(), false)?;
    let (width, height) = walk.screen;
    Ok(Header { stored: (width.into(), height.into()), frames: walk.frames.max(1), exif: None })
}

/// The file with frames, their timing, the number of loops and the trailer only, so that other blocks cannot make a decoder
/// fail.
///
/// # Errors
/// The file ends inside a frame, or has none.
pub(crate) fn clean(file: &[u8]) -> Result<Vec<u8>, Damaged> {
    let mut clean = Vec::with_capacity(file.len() + 1);
    let walk = walk(&mut Cursor::new(file), &mut clean, true)?;
    if walk.truncated || walk.frames == 0 {
        return Err(Damaged::new("unexpected end of file"));
    }
    clean.push(TRAILER);
    // Browsers enlarge a screen that is smaller than the first frame.
    clean[6..8].copy_from_slice(&walk.screen.0.to_le_bytes());
    clean[8..10].copy_from_slice(&walk.screen.1.to_le_bytes());
    Ok(clean)
}

fn walk(reader: &mut impl BufRead, kept: &mut Vec<u8>, keep: bool) -> Result<Walk, Damaged> {
    let header: [u8; 13] = read_array(reader)?;
    kept.extend(header);
    let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let mut walk = Walk { screen: (number(6), number(8)), frames: 0, truncated: false };
    walk.truncated = colour_table(reader, header[10], kept).is_err();
    while !walk.truncated {
        // A file that ends between two blocks is complete, with or without its trailer.
        let Ok([introducer]) = read_array(reader) else { break };
        let outcome = match introducer {
            // Some encoders write two terminators after a block.
            0 => continue,
            DESCRIPTOR => frame(reader, &mut walk, kept, keep),
            EXTENSION => extension(reader, kept),
            _ => break,
        };
        walk.truncated = outcome.is_err();
    }
    Ok(walk)
}

fn frame(reader: &mut impl BufRead, walk: &mut Walk, kept: &mut Vec<u8>, keep: bool) -> io::Result<()> {
    let descriptor: [u8; 9] = read_array(reader)?;
    let number = |at: usize| u16::from_le_bytes([descriptor[at], descriptor[at + 1]]);
    if walk.frames == 0 {
        let (right, bottom) = (number(0).saturating_add(number(4)), number(2).saturating_add(number(6)));
        walk.screen = (walk.screen.0.max(right), walk.screen.1.max(bottom));
    }
    let mut frame = vec![DESCRIPTOR];
    frame.extend(descriptor);
    colour_table(reader, descriptor[8], &mut frame)?;
    frame.extend(read_array::<1>(reader)?);
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

/// Keeps graphic control (timing) and the loop count; comments, plain text and other application blocks are not shown by
/// browsers.
fn extension(reader: &mut impl BufRead, kept: &mut Vec<u8>) -> io::Result<()> {
    let [label] = read_array(reader)?;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    sub_blocks(reader, |_, data| {
        // The extension with the loop count has two sub-blocks, all others that are kept have one.
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
        let [length] = read_array(reader)?;
        if length == 0 {
            return Ok(());
        }
        let data = &mut data[..usize::from(length)];
        reader.read_exact(data)?;
        each(length, data);
    }
}
