//! Photographs, which are decoded at a fraction of their size where the result is small: it looks as if they were not.

use cloudflare_images::client::NewImage;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use test_pictures::{encoded, with_exif};

use crate::delivery_host::{flexible, url};
use crate::harness::{Account, create, http};

/// Colours that change slowly, so that JPEG loses little of them, with a frame that a shift would show.
fn card(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let near = x.min(y).min(width - 1 - x).min(height - 1 - y);
        let slow = |side: u32, length: u32| (side * 200 / length) as u8;
        if near < 12 { Rgb([250, 240, 30]) } else { Rgb([slow(x, width), slow(y, height), 90]) }
    })
}

async fn base(account: &Account, bytes: Vec<u8>) -> String {
    let image = create(&account.client, NewImage::default(), bytes).await.unwrap();
    url(account, &image.id, "public").trim_end_matches("public").to_owned()
}

async fn delivered(base: &str, options: &str) -> Vec<u8> {
    let response = http().get(format!("{base}{options}")).send().await.unwrap();
    assert_eq!(response.status(), 200, "{options}");
    response.bytes().await.unwrap().to_vec()
}

/// Mean and greatest difference of the channels.
fn difference(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
    assert_eq!(a.dimensions(), b.dimensions());
    let each: Vec<u8> = a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: f64 = each.iter().map(|difference| f64::from(*difference)).sum();
    (sum / each.len() as f64, each.into_iter().max().unwrap())
}

/// In every orientation, and flipped, rotated and cropped, at sizes that are no multiple of a block, a JPEG is delivered
/// like a PNG of its pixels, which is always decoded whole.
#[tokio::test]
async fn a_fraction_of_a_jpeg_shows_the_same_picture() {
    let account = flexible().await;
    let plain = encoded(card(397, 203), ImageFormat::Jpeg);
    let pixels = image::load_from_memory(&plain).unwrap();
    for orientation in 1..=8 {
        let mut upright: DynamicImage = pixels.clone();
        upright.apply_orientation(image::metadata::Orientation::from_exif(orientation).unwrap());
        let png = base(&account, encoded(upright, ImageFormat::Png)).await;
        let jpeg = base(&account, with_exif(&plain, orientation.into())).await;
        for options in [
            "w=33",
            "h=50",
            "w=100",
            "w=150",
            "w=33,flip=h",
            "w=33,flip=v,rotate=90",
            "w=40,rotate=180",
            "h=41,rotate=270",
            "w=20,h=20,fit=cover,g=left",
            "w=24,h=20,fit=crop,g=1x1",
            "w=31,h=9,fit=squeeze",
            "w=30,h=30,fit=pad",
            "trim=20;30;10;5,w=60",
        ] {
            let options = format!("{options},f=png");
            let of = |bytes: Vec<u8>| image::load_from_memory(&bytes).unwrap().into_rgb8();
            let (expected, found) =
                (of(delivered(&png, &options).await), of(delivered(&jpeg, &options).await));
            let (mean, most) = difference(&expected, &found);
            assert!(mean < 1.5 && most < 40, "{orientation} {options}: {mean:.2}, at most {most}");
        }
    }
}

/// Of the sizes that `format=json` tells, the original's is that of the file.
#[tokio::test]
async fn the_size_of_the_original_is_that_of_the_file() {
    let account = flexible().await;
    let base = base(&account, with_exif(&encoded(card(397, 203), ImageFormat::Jpeg), 6)).await;
    let info: serde_json::Value = serde_json::from_slice(&delivered(&base, "w=20,f=json").await).unwrap();
    assert_eq!((&info["width"], &info["height"]), (&20.into(), &39.into()));
    assert_eq!((&info["original"]["width"], &info["original"]["height"]), (&203.into(), &397.into()));
}

/// Horizontal and vertical sampling of the first component of a JPEG.
fn sampling(jpeg: &[u8]) -> u8 {
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 11]
}

/// JPEG is baseline, with its colours at half the resolution below a quality of 90, and has the quality that is asked for.
#[tokio::test]
async fn the_quality_of_a_jpeg_is_that_of_its_url() {
    let account = flexible().await;
    let pixels = card(120, 80);
    let base = base(&account, encoded(pixels.clone(), ImageFormat::Png)).await;
    let mut last = (usize::MAX, 0.0);
    for (quality, sampled) in [(100, 0x11), (90, 0x11), (85, 0x22), (40, 0x22), (5, 0x22)] {
        let file = delivered(&base, &format!("f=jpeg,q={quality}")).await;
        assert_eq!(sampling(&file), sampled, "{quality}");
        let (mean, _) = difference(&pixels, &image::load_from_memory(&file).unwrap().into_rgb8());
        assert!(file.len() < last.0 && mean > last.1, "{quality}: {} bytes, {mean:.2}", file.len());
        last = (file.len(), mean);
    }
}
