//! Images that tests generate.

#![warn(missing_docs)]
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failure of the test")]

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{Delay, DynamicImage, Frame, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

/// An image whose left half is red and whose right half is blue, in the given format.
pub fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let pixels =
        RgbImage::from_fn(
            width,
            height,
            |x, _| if x < width / 2 { Rgb([250, 20, 20]) } else { Rgb([20, 20, 250]) },
        );
    let mut bytes = Vec::new();
    DynamicImage::from(pixels).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// Red, green, blue and white, from the top left to the bottom right.
pub fn quadrants(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height / 2) {
        (true, true) => Rgb(QUADRANTS[0]),
        (false, true) => Rgb(QUADRANTS[1]),
        (true, false) => Rgb(QUADRANTS[2]),
        (false, false) => Rgb(QUADRANTS[3]),
    })
}

/// Colours of [`quadrants`], and of fixtures of the tests.
pub const QUADRANTS: [[u8; 3]; 4] = [[220, 30, 30], [30, 160, 30], [30, 30, 220], [240, 240, 240]];

/// Encodes pixels in the given format.
pub fn encoded(pixels: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    pixels.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// A PNG that is different for each seed.
pub fn png(seed: u32) -> Vec<u8> {
    let mut pixels = RgbImage::new(8, 6);
    pixels.put_pixel(0, 0, Rgb([seed as u8, (seed >> 8) as u8, (seed >> 16) as u8]));
    let mut bytes = Vec::new();
    DynamicImage::from(pixels).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

/// A JPEG of 60 × 40 pixels with EXIF: orientation, camera, time, exposure and position.
pub fn photo(orientation: u16) -> Vec<u8> {
    with_exif(&picture(60, 40, ImageFormat::Jpeg), orientation)
}

/// A JPEG with the EXIF of [`photo`].
pub fn with_exif(plain: &[u8], orientation: u16) -> Vec<u8> {
    let exif = exif(orientation);
    let mut bytes = plain[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend(u16::try_from(exif.len() + 8).unwrap().to_be_bytes());
    bytes.extend(b"Exif\0\0");
    bytes.extend(exif);
    bytes.extend(&plain[2..]);
    bytes
}

/// A GIF with this many frames.
pub fn gif(frames: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new(&mut bytes);
        for i in 0..frames {
            let shade = u8::try_from(i * 20).unwrap();
            let pixels = RgbaImage::from_pixel(30, 20, Rgba([shade, 100, 200, 255]));
            encoder
                .encode_frame(Frame::from_parts(pixels, 0, 0, Delay::from_numer_denom_ms(100, 1)))
                .unwrap();
        }
    }
    bytes
}

/// A PNG of one pixel whose header declares another size.
pub fn lying_png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = picture(1, 1, ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Little-endian TIFF with an IFD and an EXIF and a GPS sub-IFD.
fn exif(orientation: u16) -> Vec<u8> {
    const ASCII: u16 = 2;
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    const RATIONAL: u16 = 5;
    let mut tail: Vec<u8> = Vec::new();
    let (ifd0, exif_ifd, gps_ifd) = (8u32, 8 + 2 + 4 * 12 + 4, 8 + 2 + 4 * 12 + 4 + 2 + 3 * 12 + 4);
    let tail_at = gps_ifd + 2 + 2 * 12 + 4;
    let mut away = |data: &[u8]| {
        let at = tail_at + u32::try_from(tail.len()).unwrap();
        tail.extend(data);
        at
    };
    let make = away(b"Acme Inc.\0");
    let taken = away(b"2024:05:06 07:08:09\0");
    let exposure = away(&[1u32.to_le_bytes(), 250u32.to_le_bytes()].concat());
    let degrees = [43u32, 1, 28, 1, 282, 100].map(u32::to_le_bytes).concat();
    let latitude = away(&degrees);
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    let ifd = |entries: &[Vec<u8>]| {
        let count = u16::try_from(entries.len()).unwrap();
        [&count.to_le_bytes()[..], &entries.concat(), &0u32.to_le_bytes()].concat()
    };
    let mut bytes = b"II*\0".to_vec();
    bytes.extend(ifd0.to_le_bytes());
    bytes.extend(ifd(&[
        entry(0x010f, ASCII, 10, make),
        entry(0x0112, SHORT, 1, u32::from(orientation)),
        entry(0x8769, LONG, 1, exif_ifd),
        entry(0x8825, LONG, 1, gps_ifd),
    ]));
    bytes.extend(ifd(&[
        entry(0x829a, RATIONAL, 1, exposure),
        entry(0x8827, SHORT, 1, 200),
        entry(0x9003, ASCII, 20, taken),
    ]));
    bytes.extend(ifd(&[entry(0x0001, ASCII, 2, u32::from(b'N')), entry(0x0002, RATIONAL, 3, latitude)]));
    bytes.extend(tail);
    bytes
}

/// The checksum of PNG chunks.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
