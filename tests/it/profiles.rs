//! Colour profiles: colours are analysed and delivered as they are shown, converted to sRGB.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, GrayImage, ImageEncoder, ImageFormat, Luma, Rgb, RgbImage};
use serde_json::Value;

use crate::golden::{flexible, get};
use crate::harness::{Database, Server, eventually};
use crate::pictures::{crc32, encoded};

/// A colour as it is stored, and the same in sRGB if the profile is Display P3: computed by the matrices of
/// www.w3.org/TR/css-color-4, section 10.9.
const STORED: [u8; 3] = [200, 100, 60];
const IN_SRGB: [u8; 3] = [215, 93, 47];

fn solid() -> RgbImage {
    RgbImage::from_pixel(40, 30, Rgb(STORED))
}

fn rgb(colour: &Value) -> [u8; 3] {
    let number = u32::from_str_radix(colour.as_str().unwrap().strip_prefix('#').unwrap(), 16).unwrap();
    [(number >> 16) as u8, (number >> 8) as u8, number as u8]
}

fn near(found: [u8; 3], expected: [u8; 3], what: &str) {
    let near = found.iter().zip(expected).all(|(one, other)| one.abs_diff(other) <= 4);
    assert!(near, "{what}: {found:?} for {expected:?}");
}

/// The colours that the API reports: the palette, and the mean colour in the BlurHash.
async fn found(server: &Server, what: &str, bytes: Vec<u8>) -> ([u8; 3], String) {
    let file = server.file(what, bytes).await;
    assert_eq!(file["imageStatus"], "READY", "{what}: {file:#}");
    let (id, url) = (file["image"]["id"].clone(), file["image"]["url"].as_str().unwrap().to_owned());
    let query = "query($id: ID!) { image(id: $id) { dominantColor palette blurhash } }";
    let seen = eventually(what, async || {
        let seen = server.query(query, serde_json::json!({ "id": id })).await["image"].clone();
        Some(seen).filter(|seen| seen["dominantColor"].is_string())
    });
    let seen = seen.await;
    let colour = rgb(&seen["dominantColor"]);
    near(mean_of(seen["blurhash"].as_str().unwrap()), colour, what);
    (colour, url.rsplit_once('/').unwrap().0.to_owned())
}

/// The mean colour in a BlurHash: the four base-83 digits after the first two.
fn mean_of(blurhash: &str) -> [u8; 3] {
    const DIGITS: &str =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";
    let digits = blurhash[2..6].chars().map(|c| DIGITS.find(c).unwrap() as u32);
    let number = digits.fold(0, |number, digit| number * 83 + digit);
    [(number >> 16) as u8, (number >> 8) as u8, number as u8]
}

fn chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let named = [&name[..], payload].concat();
    [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], &named, &crc32(&named).to_be_bytes()].concat()
}

fn png_with(chunks: &[Vec<u8>]) -> Vec<u8> {
    let plain = encoded(solid(), ImageFormat::Png);
    [&plain[..33], &chunks.concat(), &plain[33..]].concat()
}

fn with_profile<'a>(mut encoder: impl ImageEncoder + 'a, pixels: impl Into<DynamicImage>, profile: &[u8]) {
    encoder.set_icc_profile(profile.to_vec()).unwrap();
    pixels.into().write_with_encoder(encoder).unwrap();
}

fn s15(number: f64) -> [u8; 4] {
    ((number * 65_536.0).round() as i32).to_be_bytes()
}

/// An ICC profile, version 2.1, for a colour space, with these tags. Source: ICC.1:2001-04.
fn icc(space: &[u8; 4], class: &[u8; 4], connection: &[u8; 4], tags: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut head = vec![0; 128];
    head[8..12].copy_from_slice(&[2, 0x10, 0, 0]);
    head[12..16].copy_from_slice(class);
    head[16..20].copy_from_slice(space);
    head[20..24].copy_from_slice(connection);
    head[36..40].copy_from_slice(b"acsp");
    // The illuminant is D50.
    for (at, number) in [(68, 0.9642), (72, 1.0), (76, 0.8249)] {
        head[at..at + 4].copy_from_slice(&s15(number));
    }
    let mut table = u32::try_from(tags.len()).unwrap().to_be_bytes().to_vec();
    let mut data: Vec<u8> = Vec::new();
    let start = 128 + 4 + tags.len() * 12;
    for (name, body) in tags {
        table.extend(*name);
        table.extend(u32::try_from(start + data.len()).unwrap().to_be_bytes());
        table.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        data.extend(body);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(start + data.len()).unwrap().to_be_bytes();
    head[..4].copy_from_slice(&length);
    [head, table, data].concat()
}

fn xyz([x, y, z]: [f64; 3]) -> Vec<u8> {
    [&b"XYZ \0\0\0\0"[..], &s15(x), &s15(y), &s15(z)].concat()
}

/// A curve of 1,024 points.
fn curve(of: impl Fn(f64) -> f64) -> Vec<u8> {
    let mut bytes = b"curv\0\0\0\0\0\0\x04\0".to_vec();
    for step in 0..1024 {
        let level = (of(f64::from(step) / 1023.0) * 65_535.0).round() as u16;
        bytes.extend(level.to_be_bytes());
    }
    bytes
}

fn srgb_curve() -> Vec<u8> {
    curve(|level| if level <= 0.04045 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) })
}

/// With the colorants of Apple's profile.
fn display_p3() -> Vec<u8> {
    icc(
        b"RGB ",
        b"mntr",
        b"XYZ ",
        &[
            (b"wtpt", xyz([0.9505, 1.0, 1.0891])),
            (b"rXYZ", xyz([0.51512, 0.24120, -0.00105])),
            (b"gXYZ", xyz([0.29198, 0.69225, 0.04189])),
            (b"bXYZ", xyz([0.15710, 0.06657, 0.78407])),
            (b"rTRC", srgb_curve()),
            (b"gTRC", srgb_curve()),
            (b"bTRC", srgb_curve()),
        ],
    )
}

/// RGB with green and blue exchanged, which differs from sRGB visibly.
fn green_and_blue_exchanged() -> Vec<u8> {
    icc(
        b"RGB ",
        b"mntr",
        b"XYZ ",
        &[
            (b"wtpt", xyz([0.9505, 1.0, 1.0891])),
            (b"rXYZ", xyz([0.43607, 0.22249, 0.01392])),
            (b"bXYZ", xyz([0.38515, 0.71687, 0.09708])),
            (b"gXYZ", xyz([0.14307, 0.06061, 0.71410])),
            (b"rTRC", srgb_curve()),
            (b"gTRC", srgb_curve()),
            (b"bTRC", srgb_curve()),
        ],
    )
}

/// Grey in proportion to light.
fn linear_grey() -> Vec<u8> {
    icc(b"GRAY", b"mntr", b"XYZ ", &[(b"wtpt", xyz([0.9642, 1.0, 0.8249])), (b"kTRC", curve(|level| level))])
}

/// CMYK of which each ink is grey: full cyan takes 50 of lightness, the others nothing. A table with two steps for
/// each ink.
fn grey_inks() -> Vec<u8> {
    let mut table = b"mft1\0\0\0\0".to_vec();
    table.extend([4, 3, 2, 0]);
    for row in 0..3 {
        for column in 0..3 {
            table.extend(s15(if row == column { 1.0 } else { 0.0 }));
        }
    }
    for _ in 0..4 {
        table.extend(0..=255_u8);
    }
    // Cyan varies slowest. 255 is a lightness of 100; 128 is neutral.
    for corner in 0..16 {
        table.extend([if corner < 8 { 255 } else { 128 }, 128, 128]);
    }
    for _ in 0..3 {
        table.extend(0..=255_u8);
    }
    let tags: Vec<(&[u8; 4], Vec<u8>)> =
        vec![(b"wtpt", xyz([0.9642, 1.0, 0.8249])), (b"A2B0", table.clone()), (b"A2B1", table)];
    icc(b"CMYK", b"prtr", b"Lab ", &tags)
}

/// A JPEG with a profile in one segment before all others.
fn jpeg_with(jpeg: &[u8], profile: &[u8], number: u8, of: u8) -> Vec<u8> {
    let body = [b"ICC_PROFILE\0", &[number, of][..], profile].concat();
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe2], &length, &body, &jpeg[2..]].concat()
}

/// A profile in every format that supports one, and the other ways to declare a colour space in PNG.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colours_are_converted_to_srgb() {
    let server = flexible().await;
    let profile = display_p3();
    let (mut jpeg, mut png, mut webp) = (Vec::new(), Vec::new(), Vec::new());
    with_profile(JpegEncoder::new_with_quality(&mut jpeg, 95), solid(), &profile);
    with_profile(PngEncoder::new(&mut png), solid(), &profile);
    with_profile(WebPEncoder::new_lossless(&mut webp), solid(), &profile);
    let plain_jpeg = encoded(solid(), ImageFormat::Jpeg);
    let (start, rest) = profile.split_at(900);
    let in_parts = jpeg_with(&jpeg_with(&plain_jpeg, rest, 2, 2), start, 1, 2);
    let half = jpeg_with(&plain_jpeg, start, 1, 2);
    let numbers =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let p3 = [31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000];
    let srgb = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];
    let gamma = chunk(b"gAMA", &numbers(&[45_455]));
    let measured = png_with(&[gamma.clone(), chunk(b"cHRM", &numbers(&p3))]);
    let linear = STORED.map(|level| ((f64::from(level) / 255.0).powf(1.0 / 2.2) * 255.0).round() as u8);
    for (what, bytes, expected) in [
        ("JPEG", jpeg, IN_SRGB),
        ("JPEG, profile in two parts", in_parts, IN_SRGB),
        ("JPEG, half a profile", half, STORED),
        ("JPEG, no profile", plain_jpeg.clone(), STORED),
        ("JPEG, a broken profile", jpeg_with(&plain_jpeg, b"no profile at all", 1, 1), STORED),
        (
            "JPEG, green and blue exchanged",
            jpeg_with(&plain_jpeg, &green_and_blue_exchanged(), 1, 1),
            [STORED[0], STORED[2], STORED[1]],
        ),
        ("JPEG, a profile for grey", jpeg_with(&plain_jpeg, &linear_grey(), 1, 1), STORED),
        ("JPEG, a profile for CMYK", jpeg_with(&plain_jpeg, &grey_inks(), 1, 1), STORED),
        ("PNG", png, IN_SRGB),
        ("PNG, coded", png_with(&[chunk(b"cICP", &[12, 13, 0, 1])]), IN_SRGB),
        ("PNG, coded as YCbCr", png_with(&[chunk(b"cICP", &[12, 13, 1, 1])]), STORED),
        ("PNG, measured", measured, IN_SRGB),
        ("PNG, measured as sRGB", png_with(&[gamma.clone(), chunk(b"cHRM", &numbers(&srgb))]), STORED),
        (
            "PNG, sRGB before what is measured",
            png_with(&[chunk(b"sRGB", &[0]), gamma.clone(), chunk(b"cHRM", &numbers(&p3))]),
            STORED,
        ),
        ("PNG, the usual gamma", png_with(&[gamma]), STORED),
        ("PNG, no gamma", png_with(&[chunk(b"gAMA", &numbers(&[100_000]))]), linear),
        ("PNG, a gamma of nothing", png_with(&[chunk(b"gAMA", &numbers(&[0]))]), STORED),
        ("WebP", webp, IN_SRGB),
    ] {
        let (colour, base) = found(&server, what, bytes).await;
        near(colour, expected, what);
        // The delivered image has its profile, or its colours in sRGB, so that it looks the same.
        for options in ["f=png", "f=jpeg,q=95", "f=webp,q=100"] {
            let delivered = get(&server, &base, options, "*/*").await.bytes;
            let (again, _) = found(&server, &format!("{what} {options}"), delivered).await;
            near(again, expected, &format!("{what} {options}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grey_and_cmyk_are_converted() {
    let server = flexible().await;
    let grey = GrayImage::from_pixel(40, 30, Luma([55]));
    let (mut jpeg, mut png) = (Vec::new(), Vec::new());
    with_profile(JpegEncoder::new_with_quality(&mut jpeg, 95), grey.clone(), &linear_grey());
    with_profile(PngEncoder::new(&mut png), grey, &linear_grey());
    // A light of 55 of 255 is 0.2157, which is 128 in sRGB. Half of the lightness is 119.
    let cmyk = cyan();
    for (what, bytes, expected) in [
        ("JPEG", jpeg, [128; 3]),
        ("PNG", png, [128; 3]),
        ("CMYK", jpeg_with(&cmyk, &grey_inks(), 1, 1), [119; 3]),
        ("CMYK without a profile", cmyk, [0, 255, 255]),
    ] {
        let (colour, base) = found(&server, what, bytes).await;
        near(colour, expected, what);
        let delivered = get(&server, &base, "f=png", "*/*").await.bytes;
        let pixel = *image::load_from_memory(&delivered).unwrap().into_rgb8().get_pixel(8, 8);
        near(pixel.0, expected, what);
    }
}

/// A CMYK JPEG without Adobe's marker, cyan all over: 16 × 16 pixels, with one Huffman table for all four components.
fn cyan() -> Vec<u8> {
    let segment = |marker: u8, body: &[u8]| {
        [&[0xff, marker], &u16::try_from(body.len() + 2).unwrap().to_be_bytes()[..], body].concat()
    };
    let quantisation = [&[0][..], &[8; 64]].concat();
    let components: Vec<u8> = (1..=4).flat_map(|id| [id, 0x11, 0]).collect();
    let frame = [&[8, 0, 16, 0, 16, 4][..], &components].concat();
    // Differences of 0 and of up to 8 bits; then nothing but the end of each block.
    let mut first = vec![0x00, 0, 2];
    first.extend([0; 14]);
    first.extend([0, 8]);
    let mut rest = vec![0x10, 1];
    rest.extend([0; 15]);
    rest.push(0);
    let scan: Vec<u8> = [&[4][..], &[1, 0, 2, 0, 3, 0, 4, 0], &[0, 63, 0]].concat();
    // Of the first block of cyan 128 × 8 × 8 / 8 above the middle, of the others 128 × 8 below; then no difference.
    let mut bits = String::new();
    for block in 0..4 {
        for component in 0..4 {
            let level = if component == 0 { 128 } else { -128 };
            match block {
                0 if level > 0 => bits.push_str(&format!("01{level:08b}0")),
                0 => bits.push_str(&format!("01{:08b}0", 255 + level)),
                _ => bits.push_str("000"),
            }
        }
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let mut pixels = Vec::new();
    for byte in bits.as_bytes().chunks(8) {
        let byte = u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap();
        pixels.push(byte);
        if byte == 0xff {
            pixels.push(0);
        }
    }
    [
        vec![0xff, 0xd8],
        segment(0xdb, &quantisation),
        segment(0xc0, &frame),
        segment(0xc4, &first),
        segment(0xc4, &rest),
        segment(0xda, &scan),
        pixels,
        vec![0xff, 0xd9],
    ]
    .concat()
}

/// Malformed profiles are ignored, and crash nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_profiles_are_ignored() {
    let server = Server::start(Database::Sqlite).await;
    let plain = encoded(solid(), ImageFormat::Jpeg);
    let profile = display_p3();
    for at in (0..300).step_by(23) {
        let mut damaged = profile.clone();
        damaged[at..at + 4].copy_from_slice(&[0xff; 4]);
        found(&server, &format!("byte {at}"), jpeg_with(&plain, &damaged, 1, 1)).await;
    }
    for length in [0, 40, 128, 132, 200] {
        let (colour, _) = found(&server, "cut", jpeg_with(&plain, &profile[..length], 1, 1)).await;
        near(colour, STORED, &format!("{length} bytes"));
    }
}
