//! File types, detected from content and never from a file name or a declared type. MIME types are named as by file(1).

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use encoding_rs::{Encoding, UTF_8};

use crate::svg;

/// Most bytes that are examined at the beginning of a file. The root tag of an SVG drawing and the first frame header of a
/// JPEG may come later, and are searched for.
const HEAD: u64 = 8 * 1024;

/// Formats that Cloudflare Images accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// GIF, still or animated.
    Gif,
    /// HEIC and other HEIF images except AVIF.
    Heic,
    /// JPEG.
    Jpeg,
    /// PNG, still or animated.
    Png,
    /// SVG.
    Svg,
    /// WebP, still or animated.
    Webp,
}

/// The detected type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// An image in a format that Cloudflare Images accepts, and its MIME type.
    Image(Format, &'static str),
    /// An image in a variety of such a format that browsers do not show: its MIME type, and a description to follow the
    /// words "the file is".
    Unsupported(&'static str, &'static str),
    /// A file with the signature of an image of this MIME type, but without a valid header after it.
    Damaged(&'static str),
    /// A file of another type that has a signature: its MIME type.
    Other(&'static str),
    /// Text in UTF-8 or, with a byte order mark, in UTF-16. The MIME type is a guess from the first characters.
    Text(&'static str),
    /// Bytes that may be text in an encoding other than UTF-8 and UTF-16: not valid UTF-8, and without control characters.
    LegacyText,
    /// Anything else.
    Unknown,
}

/// Detects the type of a file. The reader may be at any position; it is left at an unspecified one.
///
/// # Errors
/// Those of the reader.
pub fn sniff(reader: &mut (impl BufRead + Seek)) -> io::Result<Sniffed> {
    reader.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok(match &head[..] {
        [0xff, 0xd8, 0xff, ..] => jpeg(reader)?,
        [0x89, b'P', b'N', b'G', ..] => png(&head),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Sniffed::Image(Format::Gif, "image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(&head),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] if let Some(found) = by_brand(&head) => found,
        _ => match by_signature(&head) {
            Some(mime_type) => Sniffed::Other(mime_type),
            None => text(&head, reader)?,
        },
    })
}

/// Whether [`sniff`] detects files of this MIME type, so that a file for which it returns another result has another type.
pub fn detects(mime_type: &str) -> bool {
    mime_type == "image/svg+xml"
        || SIGNATURES.iter().any(|(_, known)| *known == mime_type)
        || infer::is_mime_supported(mime_type)
}

fn jpeg(reader: &mut (impl BufRead + Seek)) -> io::Result<Sniffed> {
    const MIME_TYPE: &str = "image/jpeg";
    Ok(match first_frame(reader)? {
        Some((0xf7, _)) => {
            Sniffed::Unsupported(MIME_TYPE, "JPEG-LS, which only medical and archive software reads")
        }
        Some((0xc3 | 0xc7 | 0xcb | 0xcf, _)) => {
            Sniffed::Unsupported(MIME_TYPE, "lossless JPEG, which only medical and camera software reads")
        }
        Some((0xc5 | 0xc6 | 0xcd | 0xce, _)) => {
            Sniffed::Unsupported(MIME_TYPE, "hierarchical JPEG, which no browser shows")
        }
        Some((_, bits)) if bits != 8 => {
            Sniffed::Unsupported(MIME_TYPE, "JPEG with more than 8 bits a sample, which no browser shows")
        }
        _ => Sniffed::Image(Format::Jpeg, MIME_TYPE),
    })
}

/// Marker and bits per sample of the first frame header of a JPEG; `None` if a scan or the end comes first.
fn first_frame(reader: &mut (impl BufRead + Seek)) -> io::Result<Option<(u8, u8)>> {
    /// Most segments before the frame header.
    const MAX_SEGMENTS: usize = 10_000;
    /// Most bytes between two segments.
    const MAX_SKIPPED: u64 = 4 * 1024 * 1024;
    reader.seek(SeekFrom::Start(2))?;
    for _ in 0..MAX_SEGMENTS {
        // Decoders skip other bytes before a marker, and any number of fill bytes (0xff) may come before its code.
        if reader.by_ref().take(MAX_SKIPPED).skip_until(0xff)? as u64 == MAX_SKIPPED {
            return Ok(None);
        }
        let mut marker = 0xff;
        while marker == 0xff {
            let Some(byte) = next_byte(reader)? else { return Ok(None) };
            marker = byte;
        }
        if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
            continue;
        }
        let (Some(high), Some(low)) = (next_byte(reader)?, next_byte(reader)?) else { return Ok(None) };
        match marker {
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf | 0xf7 => return Ok(next_byte(reader)?.map(|bits| (marker, bits))),
            0xd9 | 0xda => return Ok(None),
            _ => {}
        }
        reader.seek_relative(i64::from(u16::from_be_bytes([high, low])).saturating_sub(2).max(0))?;
    }
    Ok(None)
}

fn next_byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    let byte = reader.fill_buf()?.first().copied();
    reader.consume(usize::from(byte.is_some()));
    Ok(byte)
}

fn png(head: &[u8]) -> Sniffed {
    const MIME_TYPE: &str = "image/png";
    match (head.get(..8), head.get(8..16)) {
        (Some(b"\x89PNG\r\n\x1a\n"), Some(b"\0\0\0\x0dIHDR")) => Sniffed::Image(Format::Png, MIME_TYPE),
        (Some(b"\x89PNG\r\n\x1a\n"), Some([_, _, _, _, b'C', b'g', b'B', b'I'])) => Sniffed::Unsupported(
            MIME_TYPE,
            "Apple's CgBI variety of PNG, made by Xcode for iPhone apps, which only Apple's software reads; \
             `xcrun pngcrush -revert-iphone-optimizations` makes a PNG of it",
        ),
        _ => Sniffed::Damaged(MIME_TYPE),
    }
}

fn webp(head: &[u8]) -> Sniffed {
    const MIME_TYPE: &str = "image/webp";
    let valid = match head.get(12..16) {
        Some(b"VP8X") => true,
        Some(b"VP8L") => head.get(20) == Some(&0x2f),
        Some(b"VP8 ") => head.get(23..26) == Some(&[0x9d, 0x01, 0x2a]),
        _ => false,
    };
    if valid { Sniffed::Image(Format::Webp, MIME_TYPE) } else { Sniffed::Damaged(MIME_TYPE) }
}

/// Images in the ISO base media file format, by the brands of their file type box (`ftyp`). A major brand such as `mif1` names
/// the structure only; then a compatible brand decides whether the image is AVIF.
fn by_brand(head: &[u8]) -> Option<Sniffed> {
    let length = u32::from_be_bytes(*head.first_chunk()?) as usize;
    let ftyp = &head[..length.clamp(12, head.len().max(12)).min(head.len())];
    let has = |wanted: &[&[u8]]| {
        ftyp.get(16..).unwrap_or_default().chunks_exact(4).any(|brand| wanted.contains(&brand))
    };
    let heic = |mime_type| Some(Sniffed::Image(Format::Heic, mime_type));
    let avif = Some(Sniffed::Other("image/avif"));
    match ftyp.get(8..12)? {
        b"avif" | b"avis" => avif,
        b"heic" | b"heix" => heic("image/heic"),
        b"hevc" | b"hevx" => heic("image/heic-sequence"),
        b"heim" | b"heis" => heic("image/heif"),
        b"hevm" | b"hevs" => heic("image/heif-sequence"),
        b"mif1" | b"mif2" | b"miaf" | b"msf1" if has(&[b"avif", b"avis"]) => avif,
        b"mif1" | b"mif2" | b"miaf" => heic("image/heif"),
        b"msf1" => heic("image/heif-sequence"),
        b"avci" => Some(Sniffed::Other("image/avci")),
        b"avcs" => Some(Sniffed::Other("image/avcs")),
        b"j2ki" => Some(Sniffed::Other("image/hej2k")),
        b"crx " => Some(Sniffed::Other("image/x-canon-cr3")),
        b"jp2 " => Some(Sniffed::Other("image/jp2")),
        _ if infer::get(head).is_some() => None,
        _ if has(&[b"avif", b"avis"]) => avif,
        _ if has(&[b"heic", b"heix", b"mif1"]) => heic("image/heif"),
        _ => None,
    }
}

/// Signatures of image types that the `infer` crate does not know. Some of these files may consist of printable characters,
/// and would otherwise pass for text.
const SIGNATURES: [(&[u8], &str); 21] = [
    (b"P7\nWIDTH ", "image/x-portable-arbitrarymap"),
    (b"v/1\x01", "image/x-exr"),
    (b"FUJIFILMCCD-RAW ", "image/x-fuji-raf"),
    (b"DDS |\0\0\0", "image/vnd.ms-dds"),
    (b"qoif", "image/x-qoi"),
    (b"#?RADIANCE\n", "image/vnd.radiance"),
    (b"#?RGBE\n", "image/vnd.radiance"),
    (b"/* XPM */", "image/x-xpixmap"),
    (b"\xff\x4f\xff\x51", "image/x-jp2-codestream"),
    (b"II+\0\x08\0\0\0", "image/tiff"),
    (b"MM\0+\0\x08\0\0", "image/tiff"),
    (b"icns", "image/x-icns"),
    (b"IIU\0", "image/x-panasonic-rw2"),
    (b"IIRO", "image/x-olympus-orf"),
    (b"gimp xcf ", "image/x-xcf"),
    (b"SIMPLE  =", "image/fits"),
    (b"BPG\xfb", "image/bpg"),
    (b"SDPX", "image/x-dpx"),
    (b"XPDS", "image/x-dpx"),
    (b"FOVb", "image/x-x3f"),
    (b"\xd7\xcd\xc6\x9a", "image/wmf"),
];

fn by_signature(head: &[u8]) -> Option<&'static str> {
    if let Some((_, mime_type)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(mime_type);
    }
    if let Some(mime_type) = by_structure(head) {
        return Some(mime_type);
    }
    let mime_type = infer::get(head)?.mime_type();
    let certain = match mime_type {
        "text/html" | "text/xml" | "text/x-shellscript" => false,
        // `infer` compares the first few bytes only; these types were examined more closely before and are not it.
        "image/gif" | "image/webp" | "image/heif" => false,
        // Files of all other types contain bytes that no text contains.
        _ => !is_text(head) || TEXTUAL.contains(&mime_type),
    };
    certain.then_some(mime_type)
}

/// Image types without a distinctive signature, recognised by the fields of their headers.
fn by_structure(head: &[u8]) -> Option<&'static str> {
    match head {
        [b'P', variety, space, rest @ ..] if space.is_ascii_whitespace() && is_portable(*variety, rest) => {
            match variety {
                b'1' | b'4' => Some("image/x-portable-bitmap"),
                b'2' | b'5' => Some("image/x-portable-greymap"),
                b'3' | b'6' => Some("image/x-portable-pixmap"),
                b'F' | b'f' => Some("image/x-portable-floatmap"),
                _ => None,
            }
        }
        // A Windows cursor: number of images, and the reserved byte of the first directory entry.
        [0, 0, 2, 0, 1..=255, 0, _, _, _, 0, ..] => Some("image/x-win-bitmap"),
        // Truevision TGA without a palette: its offset, length and depth are 0.
        [
            _,
            0,
            2 | 3 | 10 | 11,
            0,
            0,
            0,
            0,
            0,
            _,
            _,
            _,
            _,
            w0,
            w1,
            h0,
            h1,
            8 | 15 | 16 | 24 | 32,
            0..=0x3f,
            ..,
        ] if (*w0, *w1) != (0, 0) && (*h0, *h1) != (0, 0) => Some("image/x-tga"),
        _ => None,
    }
}

/// Whether `rest`, which follows `P` and the variety, is that of a portable bitmap, greymap, pixmap or floatmap, and not of a
/// text that begins with such a word and numbers. Source: the netpbm manual, pbm(5) to pfm(5).
fn is_portable(variety: u8, rest: &[u8]) -> bool {
    let is_number = |word: &[u8]| word.iter().all(u8::is_ascii_digit);
    let has_size = words(rest).take(2).filter(|word| is_number(word)).count() == 2;
    match variety {
        // The plain formats consist of numbers only.
        b'1'..=b'3' => has_size && words(rest).all(is_number),
        b'4'..=b'6' => has_size && (!is_text(rest) || is_complete_raster(variety, rest)),
        b'F' | b'f' => has_size && !is_text(rest),
        _ => false,
    }
}

/// The words of a header without its comments.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b'#').next())
        .flat_map(|line| line.split(u8::is_ascii_whitespace))
        .filter(|word| !word.is_empty())
}

/// Whether the header is followed by exactly as many bytes as its numbers demand. Those may all be printable characters.
fn is_complete_raster(variety: u8, rest: &[u8]) -> bool {
    let numbers = if variety == b'4' { 2 } else { 3 };
    let (mut position, mut header) = (0, Vec::new());
    while header.len() < numbers {
        let blank = rest[position..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = position + blank;
        let digits = rest[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let word = std::str::from_utf8(&rest[start..start + digits]).unwrap_or_default();
        let Ok(number) = word.parse::<u64>() else { return false };
        header.push(number);
        position = start + digits;
    }
    let (width, height) = (header[0], header[1]);
    let sample_bytes = if header.get(2).is_some_and(|max| *max > 255) { 2 } else { 1 };
    let row_bytes = match variety {
        b'4' => width.div_ceil(8),
        b'5' => width.saturating_mul(sample_bytes),
        _ => width.saturating_mul(3 * sample_bytes),
    };
    let pixel_bytes = rest.len().saturating_sub(position + 1) as u64;
    row_bytes.saturating_mul(height) == pixel_bytes
}

/// Types with a signature whose files may consist of printable characters.
const TEXTUAL: [&str; 7] = [
    "application/pdf",
    "application/postscript",
    "application/rtf",
    "application/vnd.debian.binary-package",
    "application/x-unix-archive",
    "application/x-x509-ca-cert",
    "text/calendar",
];

fn text(head: &[u8], reader: &mut (impl BufRead + Seek)) -> io::Result<Sniffed> {
    // Byte order marks, and the zero bytes of ASCII characters in UTF-16, are skipped.
    let skipped =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0xef | 0xbb | 0xbf | 0xfe | 0xff);
    if head.iter().find(|byte| !skipped(byte)) == Some(&b'<') {
        reader.seek(SeekFrom::Start(0))?;
        match svg::Root::read(&mut *reader) {
            Some(root) if root.is_svg() => return Ok(Sniffed::Image(Format::Svg, "image/svg+xml")),
            None if first_tag(head).is_some_and(|name| name == b"svg") => {
                return Ok(Sniffed::Damaged("image/svg+xml"));
            }
            _ => {}
        }
    }
    Ok(if is_text(head) {
        Sniffed::Text(text_mime_type(head))
    } else if let Some(text) = utf16_text(head) {
        Sniffed::Text(text_mime_type(text.as_bytes()))
    } else if !head.iter().any(|byte| is_control(char::from(*byte))) {
        Sniffed::LegacyText
    } else {
        Sniffed::Unknown
    })
}

fn text_mime_type(text: &[u8]) -> &'static str {
    match infer::get(text).map(|kind| kind.mime_type()) {
        Some(known @ ("text/html" | "text/xml" | "text/x-shellscript")) => known,
        _ => "text/plain",
    }
}

/// The local name of the first tag of a text that may be malformed XML.
fn first_tag(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let start = text.iter().position(|byte| *byte == b'<')?;
        text = &text[start + 1..];
        if text.starts_with(b"!--") {
            text = &text[text.windows(3).position(|end| end == b"-->")?..];
        } else if text.first()?.is_ascii_alphabetic() {
            let end = text.iter().position(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte))?;
            return text[..end].rsplit(|byte| *byte == b':').next();
        }
    }
}

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // `head` may end inside a character.
        Err(problem) if problem.error_len().is_none() => {
            std::str::from_utf8(&head[..problem.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.chars().any(is_control)
}

/// The text of UTF-16 with a byte order mark, up to the last complete character.
fn utf16_text(head: &[u8]) -> Option<Cow<'_, str>> {
    let (encoding, mark) = Encoding::for_bom(head).filter(|(encoding, _)| *encoding != UTF_8)?;
    let units = &head[mark..head.len() & !1];
    let decoded = |units| encoding.decode_without_bom_handling_and_without_replacement(units);
    // `head` may end inside a surrogate pair.
    let text = decoded(units).or_else(|| decoded(units.get(..units.len().checked_sub(2)?)?))?;
    (!text.chars().any(is_control)).then_some(text)
}

/// Control characters that do not occur in text. Those that terminals understand do.
fn is_control(character: char) -> bool {
    character.is_ascii_control()
        && !matches!(character, '\t' | '\n' | '\r' | '\x07' | '\x08' | '\x0b' | '\x0c' | '\x1b')
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn sniffed(bytes: &[u8]) -> Sniffed {
        sniff(&mut Cursor::new(bytes)).unwrap_or(Sniffed::Unknown)
    }

    #[test]
    fn image_types_without_a_signature() {
        for (bytes, expected) in [
            (&b"P3\n# by hand\n1 1\n255\n1 2 3\n"[..], "image/x-portable-pixmap"),
            (b"P5 2 2 255 abcd", "image/x-portable-greymap"),
            (b"\0\0\x02\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x18\0abc", "image/x-tga"),
            (b"\0\0\x02\0\x01\0\x10\x10\0\0\x01\0\x01\0\0\0\0\0\0\0\0\0", "image/x-win-bitmap"),
        ] {
            assert_eq!(sniffed(bytes), Sniffed::Other(expected));
        }
        assert_eq!(sniffed(b"P3 is a place"), Sniffed::Text("text/plain"));
        for line in ["P1 2024 12 server down\n", "P2 10 20 30 alerts", "P6 10 20 30 alerts", "PF 1 2 of many"]
        {
            assert_eq!(sniffed(line.as_bytes()), Sniffed::Text("text/plain"), "{line}");
        }
    }

    #[test]
    fn text_that_begins_like_a_signature_is_text() {
        for text in
            ["BMW is a car", "GIF is a format", "8BPS", "MZ is no program", "AC1001 and so on", "BOOKMOBI"]
        {
            assert_eq!(sniffed(text.as_bytes()), Sniffed::Text("text/plain"), "{text}");
        }
        assert_eq!(sniffed(b"caf\xe9 au lait"), Sniffed::LegacyText);
        assert_eq!(sniffed(b"\xff\xfea\0,\0b\0"), Sniffed::Text("text/plain"));
        assert_eq!(sniffed(&"é".repeat(5000).into_bytes()[..8193]), Sniffed::Text("text/plain"));
        assert_eq!(sniffed(&[0, 1, 2, 0xff, 0xfe]), Sniffed::Unknown);
        assert_eq!(sniffed(b"%PDF-1.4"), Sniffed::Other("application/pdf"));
    }
}
