//! JPEG compared with libjpeg's programs: the pixels that are analysed and delivered are those of djpeg.

use std::path::PathBuf;

use image::{ImageFormat, RgbImage};
use imagegraph::entity::image::Format;
use imagegraph::image::analysis::analyse_bytes as look;

use crate::golden::{flexible, get, put};
use crate::hostile::Emulator;
use crate::pictures::{encoded, picture};

fn fixtures() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/jpeg");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jpg"));
    files.sort();
    assert!(files.len() > 20);
    files
}

/// The pixels of a fixture by djpeg: PPM, or PGM if it is grey.
fn reference(jpeg: &std::path::Path) -> RgbImage {
    let (ending, repeated) = if jpeg.with_extension("ppm").exists() { ("ppm", 1) } else { ("pgm", 3) };
    let bytes = std::fs::read(jpeg.with_extension(ending)).unwrap();
    let head: Vec<&[u8]> = bytes.splitn(4, |byte| *byte == b'\n').collect();
    let (width, height) = std::str::from_utf8(head[1]).unwrap().split_once(' ').unwrap();
    let pixels = head[3].iter().flat_map(|level| std::iter::repeat_n(*level, repeated)).collect();
    RgbImage::from_raw(width.parse().unwrap(), height.parse().unwrap(), pixels).unwrap()
}

/// Every subsampling, scan order and coding is delivered with djpeg's pixels, and analysed with their colours.
#[tokio::test]
async fn every_jpeg_shows_what_djpeg_shows() {
    let server = flexible().await;
    for path in fixtures() {
        let what = path.file_name().unwrap().to_string_lossy().into_owned();
        let (bytes, expected) = (std::fs::read(&path).unwrap(), reference(&path));
        let plain = encoded(expected.clone(), ImageFormat::Png);
        assert_eq!(look(&bytes, Format::Jpeg), look(&plain, Format::Png), "{what}");
        // Browsers do not show arithmetic coding. Whether the account accepts it is a different question from how it
        // is decoded.
        if what.starts_with("arithmetic") {
            continue;
        }
        let told = server.file(&what, bytes.clone()).await["image"].clone();
        let size = (&told["width"], &told["height"]);
        assert_eq!(size, (&expected.width().into(), &expected.height().into()), "{what}");
        let base = put(&server, bytes).await;
        let delivered = get(&server, &base, "f=png", "*/*").await;
        assert_eq!(delivered.status, 200, "{what}: {}", String::from_utf8_lossy(&delivered.bytes));
        let pixels = image::load_from_memory(&delivered.bytes).unwrap().into_rgb8();
        assert!(pixels == expected, "{what} differs from djpeg");
    }
}

/// Offsets of a marker's code in a JPEG.
fn marker(bytes: &[u8], code: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, code]).unwrap()
}

/// Varieties that cannot be decoded are refused by name, and never shown wrong.
#[tokio::test]
async fn undecodable_varieties_are_refused() {
    let emulator = Emulator::start().await;
    let plain = picture(40, 30, ImageFormat::Jpeg);
    let frame = marker(&plain, 0xc0);
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = plain.clone();
        for (at, value) in changes {
            bytes[frame + at] = *value;
        }
        bytes
    };
    for (what, bytes) in [
        ("lossless", with(&[(1, 0xc3)])),
        ("hierarchical", with(&[(1, 0xc5)])),
        ("12 bits", with(&[(4, 12)])),
        ("sampling of 0", with(&[(11, 0x00)])),
        ("sampling of 5", with(&[(11, 0x51)])),
        ("no such table", with(&[(12, 3)])),
    ] {
        emulator.refused(what, bytes.clone(), 9422).await;
        assert!(look(&bytes, Format::Jpeg).is_err(), "{what}");
    }
}

/// A file without an end marker is complete if all its pixels are there, and refused if it lacks a component.
#[tokio::test]
async fn the_end_marker_may_be_missing() {
    let server = flexible().await;
    for path in fixtures() {
        let what = path.file_name().unwrap().to_string_lossy().into_owned();
        // Arithmetic coding has no defined end, so missing data cannot be detected.
        if what.starts_with("arithmetic") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let whole = bytes.len() - 2;
        assert_eq!(look(&bytes[..whole], Format::Jpeg), look(&bytes, Format::Jpeg), "{what}");
        let cut = &bytes[..whole - 30];
        assert_eq!(look(cut, Format::Jpeg).unwrap_err(), "unexpected end of file", "{what}");
        assert_eq!(server.file(&what, cut.to_vec()).await["imageStatus"], "FAILED", "{what}");
        if what.starts_with("scans") {
            let last = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
            assert!(look(&bytes[..last], Format::Jpeg).is_err(), "{what}");
        }
    }
}

/// Thousands of scans over a large image are refused without decoding them.
#[tokio::test]
async fn too_many_scans_are_refused() {
    let emulator = Emulator::start().await;
    let path = fixtures().into_iter().find(|path| path.ends_with("progressive_2x2.jpg")).unwrap();
    let plain = std::fs::read(path).unwrap();
    let (first, end) = (marker(&plain, 0xda), plain.len() - 2);
    // The last scan refines existing coefficients, so repeating it is valid.
    let last = plain.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let mut bytes = plain[..end].to_vec();
    let frame = marker(&plain, 0xc2);
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x23, 0x28, 0x23, 0x28]);
    while bytes.len() < 4 * 1024 * 1024 {
        bytes.extend(&plain[last..end]);
    }
    bytes.extend([0xff, 0xd9]);
    assert!(first < last);
    let began = std::time::Instant::now();
    emulator.refused("tens of thousands of scans of 81 megapixels", bytes.clone(), 9422).await;
    assert!(look(&bytes, Format::Jpeg).is_err());
    assert!(began.elapsed() < std::time::Duration::from_secs(60));
}
