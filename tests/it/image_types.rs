//! Types of images that people upload: each is accepted, and delivered with its size and colours.

use std::io::Cursor;

use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::codecs::webp::WebPDecoder;
use image::metadata::LoopCount;
use image::{AnimationDecoder, Delay, DynamicImage, Frame, ImageBuffer, ImageFormat, Rgb, Rgba, RgbaImage};
use serde_json::Value;

use crate::golden::{Delivered, flexible, get, put};
use crate::pictures::{QUADRANTS, encoded, quadrants, with_exif};

type Colours = [[u8; 3]; 4];

const ANY: &str = "*/*";
const WEBP: &str = "image/webp,image/*,*/*;q=0.8";

/// The colours in the middle of the four quadrants; transparent ones are `[0, 0, 0]`.
fn colours(pixels: &DynamicImage) -> Colours {
    let (right, bottom) = (pixels.width() * 3 / 4, pixels.height() * 3 / 4);
    let (left, top) = (pixels.width() / 4, pixels.height() / 4);
    let pixels = pixels.to_rgba8();
    [(left, top), (right, top), (left, bottom), (right, bottom)].map(|(x, y)| {
        let Rgba([red, green, blue, alpha]) = *pixels.get_pixel(x, y);
        if alpha < 40 { [0; 3] } else { [red, green, blue] }
    })
}

/// Whether two colours are nearly equal.
fn nearly_equal(one: [u8; 3], other: [u8; 3]) -> bool {
    one.iter().zip(other).all(|(one, other)| one.abs_diff(other) < 50)
}

fn assert_shows(delivered: &Delivered, media_type: &str, size: (u32, u32), expected: Colours, what: &str) {
    let text = String::from_utf8_lossy(&delivered.bytes);
    assert_eq!(delivered.status, 200, "{what}: {text}");
    assert_eq!(delivered.content_type, media_type, "{what}");
    let pixels = image::load_from_memory(&delivered.bytes).unwrap();
    assert_eq!((pixels.width(), pixels.height()), size, "{what}");
    assert_colours(&pixels, expected, what);
}

fn assert_colours(pixels: &DynamicImage, expected: Colours, what: &str) {
    let found = colours(pixels);
    let same = found.iter().zip(expected).all(|(found, expected)| nearly_equal(*found, expected));
    assert!(same, "{what}: {found:?} for {expected:?}");
}

const TRANSPARENT: [u8; 3] = [0; 3];
const WHITE: [u8; 3] = [255; 3];

/// Three colours and a transparent quadrant.
fn with_transparent_quadrant() -> Colours {
    [QUADRANTS[0], QUADRANTS[1], QUADRANTS[2], TRANSPARENT]
}

fn transparent() -> RgbaImage {
    let mut pixels = DynamicImage::from(quadrants(48, 32)).into_rgba8();
    for (x, y, pixel) in pixels.enumerate_pixels_mut() {
        if x >= 24 && y >= 16 {
            *pixel = Rgba([0; 4]);
        }
    }
    pixels
}

/// Three frames of 100, 200 and 300 milliseconds, played twice, with the colours rotating.
fn animated_gif() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(Repeat::Finite(2)).unwrap();
    for i in 0..3 {
        let mut pixels = transparent();
        for (x, y, pixel) in pixels.enumerate_pixels_mut() {
            let quadrant = usize::from(x >= 24) + 2 * usize::from(y >= 16);
            if quadrant < 3 {
                let [red, green, blue] = QUADRANTS[(quadrant + i) % 4];
                *pixel = Rgba([red, green, blue, 255]);
            }
        }
        let delay = Delay::from_numer_denom_ms(100 * (i as u32 + 1), 1);
        encoder.encode_frame(Frame::from_parts(pixels, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    bytes
}

/// Still images: description, bytes, and expected colours.
fn stills() -> Vec<(&'static str, Vec<u8>, Colours)> {
    let deep = ImageBuffer::from_fn(48, 32, |x, y| {
        Rgb(quadrants(48, 32).get_pixel(x, y).0.map(|level| u16::from(level) * 257))
    });
    let cmyk = [[255, 0, 0], [0, 255, 0], [0, 0, 255], WHITE];
    vec![
        ("baseline JPEG", encoded(quadrants(48, 32), ImageFormat::Jpeg), QUADRANTS),
        ("progressive JPEG", include_bytes!("fixtures/progressive.jpg").to_vec(), QUADRANTS),
        ("CMYK JPEG, inverted", include_bytes!("fixtures/cmyk_adobe.jpg").to_vec(), cmyk),
        ("CMYK JPEG, plain", include_bytes!("fixtures/cmyk_plain.jpg").to_vec(), cmyk),
        ("16-bit PNG", encoded(DynamicImage::ImageRgb16(deep), ImageFormat::Png), QUADRANTS),
        ("transparent PNG", encoded(transparent(), ImageFormat::Png), with_transparent_quadrant()),
        (
            "transparent WebP",
            include_bytes!("fixtures/transparent.webp").to_vec(),
            with_transparent_quadrant(),
        ),
        ("still GIF", encoded(transparent(), ImageFormat::Gif), with_transparent_quadrant()),
    ]
}

/// Every still image is accepted and delivered in its size, smaller, and in each format that can be requested.
#[tokio::test]
async fn stills_arrive_in_every_format() {
    let server = flexible().await;
    for (what, bytes, expected) in stills() {
        let base = put(&server, bytes.clone()).await;
        let own = match image::guess_format(&bytes).unwrap() {
            ImageFormat::Jpeg => "image/jpeg",
            ImageFormat::Png => "image/png",
            ImageFormat::Gif => "image/gif",
            _ => "image/webp",
        };
        // JPEG has no transparency, which becomes white.
        let filled = expected.map(|colour| if colour == TRANSPARENT { WHITE } else { colour });
        for (options, accept, media_type, size, expected) in [
            ("public", ANY, own, (48, 32), expected),
            ("public", WEBP, "image/webp", (48, 32), expected),
            ("w=24", ANY, own, (24, 16), expected),
            ("w=24,h=24,fit=squeeze,f=webp", ANY, "image/webp", (24, 24), expected),
            ("w=24,f=webp,q=100", ANY, "image/webp", (24, 16), expected),
            ("w=24,f=png", WEBP, "image/png", (24, 16), expected),
            ("w=24,f=jpeg", WEBP, "image/jpeg", (24, 16), filled),
            ("w=24,background=white", "image/png", own, (24, 16), filled),
        ] {
            let delivered = get(&server, &base, options, accept).await;
            assert_shows(&delivered, media_type, size, expected, &format!("{what} {options} {accept}"));
        }
    }
}

/// Positions of the quadrants after applying each EXIF orientation.
const TURNED: [[usize; 4]; 8] = [
    [0, 1, 2, 3],
    [1, 0, 3, 2],
    [3, 2, 1, 0],
    [2, 3, 0, 1],
    [0, 2, 1, 3],
    [2, 0, 3, 1],
    [3, 1, 2, 0],
    [1, 3, 0, 2],
];

/// All eight orientations are applied, whichever metadata is kept, and options refer to the upright image.
#[tokio::test]
async fn every_orientation_is_upright() {
    let server = flexible().await;
    let plain = encoded(quadrants(60, 40), ImageFormat::Jpeg);
    for (orientation, places) in (1..).zip(TURNED) {
        let base = put(&server, with_exif(&plain, orientation)).await;
        let upright = places.map(|place| QUADRANTS[place]);
        let size = if orientation < 5 { (60, 40) } else { (40, 60) };
        for (options, accept) in [("public", ANY), ("public", WEBP), ("metadata=keep", ANY)] {
            let delivered = get(&server, &base, options, accept).await;
            let media_type = if accept == WEBP { "image/webp" } else { "image/jpeg" };
            let what = format!("orientation {orientation} {options} {accept}");
            assert_shows(&delivered, media_type, size, upright, &what);
            let kept = delivered.bytes.windows(4).any(|window| window == b"Exif");
            assert_eq!(kept, options == "metadata=keep", "{what}");
        }
        let small = get(&server, &base, "w=20,h=20,fit=pad,f=png", ANY).await;
        assert_eq!(small.size(), (20, 20));
    }
}

/// Duration of each frame in milliseconds, the frames, and the number of repetitions, 0 for endless.
fn frames(bytes: &[u8]) -> (Vec<u32>, Vec<DynamicImage>, u32) {
    let (loops, frames) = if bytes.starts_with(b"GIF") {
        let decoder = GifDecoder::new(Cursor::new(bytes)).unwrap();
        (decoder.loop_count(), decoder.into_frames())
    } else {
        let decoder = WebPDecoder::new(Cursor::new(bytes)).unwrap();
        assert!(decoder.has_animation());
        (decoder.loop_count(), decoder.into_frames())
    };
    let loops = match loops {
        LoopCount::Infinite => 0,
        LoopCount::Finite(times) => times.get(),
    };
    let frames = frames.collect_frames().unwrap();
    let delays = frames.iter().map(|frame| frame.delay().numer_denom_ms().0).collect();
    (delays, frames.into_iter().map(|frame| frame.into_buffer().into()).collect(), loops)
}

/// An animation keeps its frames, durations and repetitions: as WebP for clients that accept it, as GIF for others.
/// With `anim=false` it is still.
#[tokio::test]
async fn animations_are_preserved() {
    let server = flexible().await;
    let webp = include_bytes!("fixtures/animated.webp").to_vec();
    for (what, bytes) in [("GIF", animated_gif()), ("WebP", webp)] {
        let (_, _, loops) = frames(&bytes);
        let base = put(&server, bytes).await;
        for (options, accept, media_type, size) in [
            ("public", ANY, "image/gif", (48, 32)),
            ("public", WEBP, "image/webp", (48, 32)),
            ("w=24,f=webp", ANY, "image/webp", (24, 16)),
            ("w=24,f=webp,q=100", ANY, "image/webp", (24, 16)),
            ("w=24,h=24,fit=cover", "image/gif", "image/gif", (24, 24)),
            ("w=24,f=avif", ANY, "image/webp", (24, 16)),
        ] {
            let what = format!("{what} {options} {accept}");
            let delivered = get(&server, &base, options, accept).await;
            assert_eq!(delivered.content_type, media_type, "{what}");
            let (delays, pictures, repeated) = frames(&delivered.bytes);
            assert_eq!(delays, [100, 200, 300], "{what}");
            assert_eq!(repeated, loops, "{what}");
            for (i, picture) in pictures.iter().enumerate() {
                assert_eq!((picture.width(), picture.height()), size, "{what}");
                let turned = [QUADRANTS[i], QUADRANTS[i + 1], QUADRANTS[(i + 2) % 4], TRANSPARENT];
                assert_colours(picture, turned, &format!("{what}, frame {i}"));
            }
        }
        for (options, accept, media_type) in [
            ("w=24,anim=false", ANY, if what == "GIF" { "image/gif" } else { "image/webp" }),
            ("w=24,anim=false", WEBP, "image/webp"),
            ("w=24,anim=false,f=webp", ANY, "image/webp"),
            ("w=24,f=png", ANY, "image/png"),
        ] {
            let delivered = get(&server, &base, options, accept).await;
            assert_shows(
                &delivered,
                media_type,
                (24, 16),
                with_transparent_quadrant(),
                &format!("{what} {options}"),
            );
            let moves = delivered.bytes.windows(4).any(|window| window == b"ANMF" || window == b"NETS");
            assert!(!moves, "{what} {options}");
        }
    }
}

/// Lower quality means fewer bytes, and the highest loses nothing.
#[tokio::test]
async fn quality_changes_the_size() {
    let server = flexible().await;
    let noisy = ImageBuffer::from_fn(200, 120, |x, y| {
        Rgb([(x * 7 + y * 13) as u8, (x * x / 9 + y) as u8, (x + y * y / 5) as u8])
    });
    let base = put(&server, encoded(noisy.clone(), ImageFormat::Png)).await;
    for format in ["webp", "jpeg"] {
        let mut last = 0;
        for quality in ["5", "low", "85"] {
            let options = format!("f={format},q={quality}");
            let delivered = get(&server, &base, &options, ANY).await;
            assert_eq!(delivered.content_type, format!("image/{format}"));
            assert!(delivered.bytes.len() > last, "{options}");
            last = delivered.bytes.len();
        }
    }
    let lossless = get(&server, &base, "f=webp,q=100", ANY).await;
    assert!(image::load_from_memory(&lossless.bytes).unwrap().into_rgb8() == noisy);
    let slow = server.http.get(format!("{base}/f=webp,q=90,scq=10")).header("save-data", "on");
    let slow = slow.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(slow, get(&server, &base, "f=webp,q=10", ANY).await.bytes);
}

/// AVIF if the build supports it and the image is small enough; otherwise WebP, as Cloudflare does.
#[tokio::test]
async fn avif_falls_back_to_webp() {
    let server = flexible().await;
    let avif = if cfg!(feature = "avif") { "image/avif" } else { "image/webp" };
    let both = "image/avif,image/webp,*/*";
    let base = put(&server, encoded(quadrants(1700, 20), ImageFormat::Png)).await;
    for (options, accept, media_type, size) in [
        ("w=1200", both, avif, (1200, 14)),
        ("w=1300", both, "image/webp", (1300, 15)),
        ("w=1600,f=avif", ANY, avif, (1600, 19)),
        ("w=1700,f=avif", ANY, "image/webp", (1700, 20)),
        ("w=1200", "image/avif;q=0,image/webp", "image/webp", (1200, 14)),
    ] {
        let delivered = get(&server, &base, options, accept).await;
        assert_eq!(
            (delivered.status, delivered.content_type.as_str()),
            (200, media_type),
            "{options} {accept}"
        );
        let found = imagesize::blob_size(&delivered.bytes).unwrap();
        assert_eq!((found.width, found.height), (size.0 as usize, size.1), "{options}");
    }
    // A client that accepts only AVIF gets the original format from a server without it.
    let only = get(&server, &base, "w=100", "image/avif").await;
    assert_eq!(only.content_type, if cfg!(feature = "avif") { "image/avif" } else { "image/png" });
    let hole = put(&server, encoded(transparent(), ImageFormat::Png)).await;
    assert_eq!(get(&server, &hole, "f=avif,q=50", ANY).await.content_type, avif);
}

/// Scripts and external references are removed from a drawing. It is never resized, and never a raster image.
#[tokio::test]
async fn drawings_are_sanitised() {
    let server = flexible().await;
    let svg = br##"<?xml version="1.0"?>
        <svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="48" height="32" onload="alert(1)">
        <script>alert(2)</script><rect width="24" height="16" fill="#dc1e1e" onclick="alert(3)"/>
        <a xlink:href="javascript:alert(4)"><text>x</text></a><image href="https://example.com/spy.png"/>
        <foreignObject><iframe src="https://example.com"/></foreignObject></svg>"##;
    let base = put(&server, svg.to_vec()).await;
    for options in ["public", "w=300,f=auto", "f=svg", "w=10,h=10,fit=cover,blur=9"] {
        let delivered = get(&server, &base, options, WEBP).await;
        assert_eq!((delivered.status, delivered.content_type.as_str()), (200, "image/svg+xml"), "{options}");
        let text = String::from_utf8(delivered.bytes).unwrap();
        assert!(text.contains("#dc1e1e") && text.contains("48"), "{text}");
        for bad in ["alert", "script", "onload", "example.com", "iframe"] {
            assert!(!text.contains(bad), "{bad} in {text}");
        }
    }
    for options in ["f=webp", "f=png", "f=avif", "f=json"] {
        let refused = get(&server, &base, options, WEBP).await;
        assert_eq!(refused.status, 415, "{options}");
        assert!(refused.bytes.starts_with(b"ERROR 9412: "), "{options}");
    }
    let raster = put(&server, encoded(quadrants(4, 4), ImageFormat::Png)).await;
    assert!(get(&server, &raster, "f=svg", WEBP).await.bytes.starts_with(b"ERROR 9412: "));
}

/// The `metadata` option decides what is kept in JPEG; WebP and PNG have no metadata.
#[tokio::test]
async fn metadata_option() {
    let server = flexible().await;
    let base = put(&server, with_exif(&encoded(quadrants(48, 32), ImageFormat::Jpeg), 6)).await;
    for (options, camera) in [
        ("metadata=keep", true),
        ("metadata=copyright", false),
        ("metadata=none", false),
        ("metadata=keep,f=webp", false),
        ("metadata=keep,f=png", false),
    ] {
        let delivered = get(&server, &base, options, ANY).await;
        let found = delivered.bytes.windows(9).any(|window| window == b"Acme Inc.");
        assert_eq!(found, camera, "{options}");
    }
    let info: Value = serde_json::from_slice(&get(&server, &base, "w=16,f=json", ANY).await.bytes).unwrap();
    assert_eq!((&info["width"], &info["height"]), (&16.into(), &24.into()));
}
