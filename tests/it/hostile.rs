//! Malicious images: each is refused with an error code, and the emulator's time and memory stay bounded.

use std::process::Command;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Frame, ImageFormat, RgbaImage};
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Program, http};
use crate::pictures::{crc32, encoded, gif, lying_png, picture, quadrants};

/// An emulator in a process of its own, whose memory can be measured.
pub(crate) struct Emulator {
    program: Program,
    pub(crate) root: String,
    _dir: TempDir,
}

impl Emulator {
    pub(crate) async fn start() -> Emulator {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
        command.env_clear().current_dir(dir.path());
        let arguments = "emulator --listen 127.0.0.1:0 --data-dir . --account-id demo --api-token demo-token";
        command.args(arguments.split(' '));
        let mut program = Program::start(command);
        let said = program.output_until("CLOUDFLARE_DELIVERY_URL").await;
        let url = said.split("CLOUDFLARE_BASE_URL=").nth(1).unwrap().lines().next().unwrap().to_owned();
        Emulator { program, root: format!("{url}/accounts/demo/images/v1"), _dir: dir }
    }

    /// Status and body of the answer to an upload. The timeout of a minute allows for a busy machine.
    pub(crate) async fn upload(&self, bytes: Vec<u8>) -> (u16, Value) {
        let part = Part::bytes(bytes).file_name("picture");
        let upload =
            http().post(&self.root).bearer_auth("demo-token").multipart(Form::new().part("file", part));
        let answer = upload.timeout(Duration::from_secs(60)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn refused(&self, what: &str, bytes: Vec<u8>, code: u32) {
        let (status, body) = self.upload(bytes).await;
        assert_eq!(body["errors"][0]["code"], code, "{what}: {body}");
        assert!((400..500).contains(&status), "{what}: {status}");
        self.assert_memory_is_bounded(what);
    }

    /// Asserts that the process needs less memory than one image of the largest allowed size.
    fn assert_memory_is_bounded(&self, what: &str) {
        let Some(peak) = self.program.peak_memory() else { return };
        println!("{what}: {peak} MiB");
        assert!(peak < 900, "{what}: {peak} MiB");
    }
}

/// A JPEG whose header claims another size.
fn lying_jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = picture(16, 16, ImageFormat::Jpeg);
    let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// A GIF whose screen, and not its frames, claims another size.
fn lying_gif(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = gif(1);
    bytes[6..8].copy_from_slice(&width.to_le_bytes());
    bytes[8..10].copy_from_slice(&height.to_le_bytes());
    bytes
}

/// A GIF with this many frames of one pixel on a screen of another size.
fn endless_gif(frames: u32, screen: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    for _ in 0..frames {
        encoder.encode_frame(Frame::new(RgbaImage::new(1, 1))).unwrap();
    }
    drop(encoder);
    bytes[6..8].copy_from_slice(&screen.to_le_bytes());
    bytes[8..10].copy_from_slice(&screen.to_le_bytes());
    bytes
}

/// A WebP whose extended header claims another size.
fn lying_webp(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = include_bytes!("fixtures/animated.webp").to_vec();
    let header = bytes.windows(4).position(|name| name == b"VP8X").unwrap() + 12;
    bytes[header..header + 3].copy_from_slice(&(width - 1).to_le_bytes()[..3]);
    bytes[header + 3..header + 6].copy_from_slice(&(height - 1).to_le_bytes()[..3]);
    bytes
}

/// A PNG with a colour profile that inflates to 158 times its size.
fn packed_png(length: usize) -> Vec<u8> {
    // After the zlib header one block with fixed codes: a zero, then runs of 258 zeros in 13 bits each.
    let mut bits: Vec<u8> = Vec::new();
    let (mut held, mut count) = (0_u32, 0);
    let mut put = |value: u32, width: u32, bits: &mut Vec<u8>| {
        held |= value << count;
        count += width;
        while count >= 8 {
            bits.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    };
    put(0b011, 3, &mut bits);
    put(0b0000_1100, 8, &mut bits);
    while bits.len() < length {
        // Code 285, most significant bit first, and distance code 0.
        put(0b1010_0011, 8, &mut bits);
        put(0, 5, &mut bits);
    }
    let chunk = |name: &[u8; 4], payload: &[u8]| {
        let named = [&name[..], payload].concat();
        [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], &named, &crc32(&named).to_be_bytes()]
            .concat()
    };
    let profile = [b"x\0\0\x78\x9c", &bits[..]].concat();
    let plain = encoded(quadrants(8, 8), ImageFormat::Png);
    [&plain[..33], &chunk(b"iCCP", &profile), &plain[33..]].concat()
}

/// An SVG whose entities expand to a thousand million characters.
fn packed_svg() -> Vec<u8> {
    let mut svg = "<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY a0 \"aaaaaaaaaa\">".to_owned();
    for level in 1..9 {
        let inner = format!("&a{};", level - 1).repeat(10);
        svg.push_str(&format!("<!ENTITY a{level} \"{inner}\">"));
    }
    svg.push_str("]><svg xmlns=\"http://www.w3.org/2000/svg\"><text>&a8;</text></svg>");
    svg.into_bytes()
}

#[tokio::test]
async fn false_sizes_are_refused_without_decoding() {
    let emulator = Emulator::start().await;
    emulator.refused("PNG of 10,000 megapixels", lying_png(100_000, 100_000), 5443).await;
    emulator.refused("PNG of the largest numbers", lying_png(0x7fff_ffff, 0x7fff_ffff), 5443).await;
    emulator.refused("PNG without width", lying_png(0, 10), 9422).await;
    emulator.refused("PNG of 99 megapixels in one", lying_png(11_000, 9_000), 9422).await;
    emulator.refused("JPEG of 4,295 megapixels", lying_jpeg(65_535, 65_535), 5443).await;
    emulator.refused("JPEG of 12,001 pixels across", lying_jpeg(12_001, 10), 5443).await;
    emulator.refused("GIF of 4,295 megapixels", lying_gif(65_535, 65_535), 5443).await;
    emulator.refused("WebP of 268 megapixels", lying_webp(16_383, 16_383), 5443).await;
    emulator.refused("WebP of three times 96 megapixels", lying_webp(12_000, 8_000), 5443).await;
    emulator.refused("JPEG of 99 megapixels in 256", lying_jpeg(11_000, 9_000), 9422).await;
}

#[tokio::test]
async fn endless_animations_are_refused() {
    let emulator = Emulator::start().await;
    emulator.refused("GIF of 10,000 frames", endless_gif(10_000, 200), 5443).await;
    emulator.refused("GIF of 10,000 large frames", endless_gif(10_000, 7_000), 5443).await;
    let (status, body) = emulator.upload(endless_gif(10_000, 40)).await;
    assert_eq!(status, 200, "16 megapixels in all are allowed: {body}");
    let url = body["result"]["variants"][0].as_str().unwrap();
    let answer = http().get(url).header("accept", "image/webp").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/webp");
    emulator.assert_memory_is_bounded("10,000 frames delivered");
}

#[tokio::test]
async fn decompression_bombs_are_not_expanded() {
    let emulator = Emulator::start().await;
    emulator.refused("SVG of a thousand million letters", packed_svg(), 9422).await;
    let (status, body) = emulator.upload(packed_png(9 * 1024 * 1024)).await;
    // The profile is not part of the pixels: without it, the image is complete.
    assert!(status == 200 || body["errors"][0]["code"] == 9422, "{body}");
    emulator.assert_memory_is_bounded("PNG with a profile of 1,400 megabytes");
    let deep = format!("<svg xmlns=\"http://www.w3.org/2000/svg\">{}</svg>", "<g>".repeat(500_000));
    emulator.refused("SVG of depth 500,000", deep.into_bytes(), 9422).await;
    let attributes: String = (0..200_000).map(|i| format!(" data-a{i}=\"\"")).collect();
    let (status, body) = emulator
        .upload(format!("<svg xmlns=\"http://www.w3.org/2000/svg\"{attributes}/>").into_bytes())
        .await;
    assert!(status == 200 || body["errors"][0]["code"] == 9422, "{body}");
    emulator.assert_memory_is_bounded("SVG of 200,000 attributes");
    let shallow = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\">{}{}{}</svg>",
        "<g>".repeat(250),
        "<g/>".repeat(100_000),
        "</g>".repeat(250)
    );
    let (status, _) = emulator.upload(shallow.into_bytes()).await;
    assert_eq!(status, 200);
    emulator.assert_memory_is_bounded("SVG of 100,000 elements");
    assert_eq!(emulator.upload(picture(8, 8, ImageFormat::Png)).await.0, 200, "the emulator still runs");
}

/// A truncated image of any type is refused, and no wrong byte brings the emulator down.
#[tokio::test]
async fn damaged_images_are_refused() {
    let emulator = Emulator::start().await;
    let noisy =
        image::RgbImage::from_fn(90, 60, |x, y| image::Rgb([(x * y) as u8, (x * 7) as u8, (y * 5) as u8]));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
        let whole = encoded(noisy.clone(), format);
        for part in [whole.len() / 2, whole.len() * 9 / 10] {
            emulator.refused(&format!("{format:?} of {part} bytes"), whole[..part].to_vec(), 9422).await;
        }
        let head = whole[..16].to_vec();
        emulator.refused(&format!("the head of {format:?}"), head, 9422).await;
        for at in (20..whole.len()).step_by(whole.len() / 40) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let (status, body) = emulator.upload(damaged).await;
            let code = body["errors"][0]["code"].as_u64();
            assert!(status == 200 || matches!(code, Some(9422 | 5443 | 5455)), "{format:?} {at}: {body}");
            let Some(url) = body["result"]["variants"][0].as_str() else { continue };
            assert_eq!(http().get(url).send().await.unwrap().status(), 200, "{format:?} {at}");
        }
    }
    emulator.assert_memory_is_bounded("damage");
}
