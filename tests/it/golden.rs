//! Deliveries of the emulator for the options of a URL: sizes of every fit, formats, and refusals.

use std::io::Cursor;

use cloudflare_images::client::{Body, NewImage, Upload};
use cloudflare_images::wire::AccountConfig;
use image::{ImageFormat, ImageReader};

use crate::harness::{Database, Server};
use crate::pictures::{gif, lying_png, photo, picture};

/// A server whose account has flexible variants enabled.
pub(crate) async fn flexible() -> Server {
    let server = Server::start(Database::Sqlite).await;
    let on = AccountConfig { flexible_variants: Some(true), ..AccountConfig::default() };
    server.running.app.cloudflare.edit_config(&on).await.unwrap();
    server
}

/// Uploads bytes to the account; returns the delivery URL without its last segment.
pub(crate) async fn put(server: &Server, bytes: Vec<u8>) -> String {
    let upload = Upload {
        filename: "picture".to_owned(),
        content_type: "application/octet-stream".to_owned(),
        length: bytes.len() as u64,
        stream: Box::pin(futures_util::stream::iter([Ok(bytes.into())])),
    };
    let image =
        server.running.app.cloudflare.create(NewImage::default(), Body::Upload(upload)).await.unwrap();
    image.variants[0].rsplit_once('/').unwrap().0.to_owned()
}

pub(crate) struct Delivered {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

impl Delivered {
    pub(crate) fn size(&self) -> (u32, u32) {
        ImageReader::new(Cursor::new(&self.bytes)).with_guessed_format().unwrap().into_dimensions().unwrap()
    }
}

pub(crate) async fn get(server: &Server, base: &str, options: &str, accept: &str) -> Delivered {
    let response =
        server.http.get(format!("{base}/{options}")).header("accept", accept).send().await.unwrap();
    let header =
        |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    Delivered {
        status: response.status().as_u16(),
        content_type: header("content-type"),
        bytes: response.bytes().await.unwrap().to_vec(),
    }
}

/// Source size, options and delivered size: the examples of Cloudflare's documentation, and one more of each kind.
#[tokio::test]
async fn every_fit_has_the_contracts_size() {
    let server = flexible().await;
    for (source, options, expected) in [
        ((1080, 720), "w=500,h=500,fit=scale-down", (500, 333)),
        ((1080, 720), "w=500,h=500,fit=contain", (500, 333)),
        ((1080, 720), "w=500,h=500,fit=cover", (500, 500)),
        ((1080, 720), "w=500,h=500,fit=crop", (500, 500)),
        ((1080, 720), "w=500,h=500,fit=pad", (500, 500)),
        ((1080, 720), "w=500,h=500,fit=squeeze", (500, 500)),
        ((1080, 720), "w=1296,h=1296,fit=crop", (1080, 720)),
        ((1080, 720), "w=1296,h=1296,fit=scale-down", (1080, 720)),
        ((1080, 720), "w=2160,fit=contain", (2160, 1440)),
        ((612, 613), "w=1920,h=1120,fit=aspect-crop", (612, 357)),
        ((200, 100), "w=50", (50, 25)),
        ((200, 100), "height=50", (100, 50)),
        ((200, 100), "w=50,dpr=2", (100, 50)),
        ((200, 100), "w=50,rotate=90", (50, 100)),
        ((200, 100), "rotate=180", (200, 100)),
        ((200, 100), "flip=h,w=20", (20, 10)),
        ((200, 100), "trim=10;20;30;40", (140, 60)),
        ((200, 100), "w=60,h=60,fit=cover,g=left", (60, 60)),
        ((200, 100), "w=60,h=60,fit=cover,gravity=0.2x0.8", (60, 60)),
        // A face only matters if the image is cropped.
        ((200, 100), "w=60,gravity=face,zoom=0.5", (60, 30)),
        ((200, 100), "w=60,h=60,fit=scale-up,upscale=interpolate", (200, 100)),
        ((200, 100), "w=60,h=60,fit=cover,g=entropy,metadata=none,compression=fast", (60, 60)),
        ((200, 100), "w=60,blur=10,sharpen=1,brightness=1.2,contrast=0.8,gamma=1.1,saturation=0", (60, 30)),
    ] {
        let base = put(&server, picture(source.0, source.1, ImageFormat::Png)).await;
        let delivered = get(&server, &base, options, "image/png").await;
        assert_eq!(delivered.status, 200, "{options}: {}", String::from_utf8_lossy(&delivered.bytes));
        assert_eq!(delivered.size(), expected, "{source:?} {options}");
    }
}

/// Crops keep the requested side of an image that is red on the left and blue on the right.
#[tokio::test]
async fn gravity_decides_what_is_kept() {
    let server = flexible().await;
    let base = put(&server, picture(200, 100, ImageFormat::Png)).await;
    for (gravity, red) in [("left", true), ("right", false), ("0x0.5", true), ("1x0.5", false)] {
        let options = format!("w=40,h=40,fit=cover,gravity={gravity}");
        let bytes = get(&server, &base, &options, "image/png").await.bytes;
        let pixel = *image::load_from_memory(&bytes).unwrap().to_rgb8().get_pixel(20, 20);
        assert_eq!(pixel[0] > pixel[2], red, "{gravity}: {pixel:?}");
    }
    let flipped = get(&server, &base, "flip=h", "image/png").await.bytes;
    let pixel = *image::load_from_memory(&flipped).unwrap().to_rgb8().get_pixel(5, 50);
    assert!(pixel[2] > pixel[0], "blue is on the left now: {pixel:?}");
    let grey = get(&server, &base, "saturation=0", "image/png").await.bytes;
    let pixel = *image::load_from_memory(&grey).unwrap().to_rgb8().get_pixel(5, 50);
    assert!(pixel[0].abs_diff(pixel[2]) < 4, "{pixel:?}");
    let padded = get(&server, &base, "w=100,h=100,fit=pad,background=%2300ff00", "image/png").await.bytes;
    let pixel = *image::load_from_memory(&padded).unwrap().to_rgb8().get_pixel(50, 5);
    assert!(pixel[1] > 240 && pixel[0] < 16, "{pixel:?}");
}

/// The format follows the options and the `Accept` header, and photos are upright in each.
#[tokio::test]
async fn formats_are_negotiated() {
    let server = flexible().await;
    let turned = put(&server, photo(6)).await;
    let png = put(&server, picture(60, 40, ImageFormat::Png)).await;
    let moving = put(&server, gif(3)).await;
    for (base, options, accept, content_type, size) in [
        (&png, "w=30", "image/webp,*/*", "image/webp", (30, 20)),
        (&png, "w=30", "image/png", "image/png", (30, 20)),
        (&png, "w=30,f=jpeg", "image/webp,*/*", "image/jpeg", (30, 20)),
        (&png, "w=30,f=webp", "*/*", "image/webp", (30, 20)),
        (&turned, "w=20", "image/jpeg", "image/jpeg", (20, 30)),
        (&turned, "w=20,f=webp", "*/*", "image/webp", (20, 30)),
        (&moving, "w=15", "*/*", "image/gif", (15, 10)),
        (&moving, "w=15,anim=false,f=jpeg", "*/*", "image/jpeg", (15, 10)),
    ] {
        let delivered = get(&server, base, options, accept).await;
        assert_eq!(
            (delivered.status, delivered.content_type.as_str()),
            (200, content_type),
            "{options} {accept}"
        );
        assert_eq!(delivered.size(), size, "{options}");
    }
    let frames = |bytes: &[u8]| {
        use image::AnimationDecoder;
        image::codecs::gif::GifDecoder::new(Cursor::new(bytes)).unwrap().into_frames().count()
    };
    assert_eq!(frames(&get(&server, &moving, "w=15", "*/*").await.bytes), 3);
    assert_eq!(frames(&get(&server, &moving, "w=15,anim=false,f=auto", "image/gif").await.bytes), 1);
    let info = get(&server, &png, "w=30,f=json", "*/*").await;
    let info: serde_json::Value = serde_json::from_slice(&info.bytes).unwrap();
    assert_eq!(
        (&info["width"], &info["height"], &info["original"]["width"]),
        (&30.into(), &20.into(), &60.into())
    );
}

/// An SVG is never resized, and its script is removed.
#[tokio::test]
async fn svg_is_sanitised_and_never_resized() {
    let server = flexible().await;
    let svg = br#"<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20" onload="alert(1)"><script>alert(2)</script><rect width="9" height="9"/></svg>"#;
    let base = put(&server, svg.to_vec()).await;
    let delivered = get(&server, &base, "w=300", "*/*").await;
    let text = String::from_utf8(delivered.bytes).unwrap();
    assert_eq!((delivered.status, delivered.content_type.as_str()), (200, "image/svg+xml"));
    assert!(
        text.contains("rect") && text.contains("30") && !text.contains("script") && !text.contains("alert"),
        "{text}"
    );
}

/// Requests that cannot be served are refused with their error code, and malicious images take little time and
/// memory.
#[tokio::test]
async fn refusals_have_codes_and_cost_little() {
    let server = flexible().await;
    let base = put(&server, picture(60, 40, ImageFormat::Png)).await;
    for (options, status, code) in [
        ("w=0", 400, "9401"),
        ("w=abc", 400, "9401"),
        ("w=10,nope=1", 400, "9401"),
        ("w=10,w=20", 400, "9401"),
        ("fit=nope,w=10", 400, "9401"),
        ("q=101,w=10", 400, "9401"),
        ("blur=251", 400, "9401"),
        ("rotate=45", 400, "9401"),
        ("w=20,h=20,fit=cover,gravity=face", 400, "gravity=face is not emulated"),
        ("gravity=face,w=20,h=20,fit=aspect-crop,zoom=0.5", 400, "gravity=face is not emulated"),
        ("zoom=2", 400, "invalid zoom"),
        ("segment=foreground", 400, "segment=foreground is not emulated"),
        ("segment=all", 400, "invalid segment"),
        ("w=900,upscale=generate", 400, "upscale=generate is not emulated"),
        ("trim=border", 400, "trim=border is not emulated"),
        ("border=1", 400, "not available in URLs"),
        ("onerror=redirect", 400, "not available for hosted images"),
        ("w=10, h=10", 400, "9401"),
        ("w=12000,h=12000,fit=pad", 403, "9413"),
        ("nosuchvariant", 403, "9425"),
    ] {
        let refused = get(&server, &base, options, "*/*").await;
        let text = String::from_utf8_lossy(&refused.bytes).into_owned();
        assert_eq!(refused.status, status, "{options}: {text}");
        assert!(text.contains(code), "{options}: {text}");
    }
    for bytes in [
        lying_png(100_000, 100_000),
        lying_png(11_000, 9_000),
        picture(300, 300, ImageFormat::Jpeg)[..2000].to_vec(),
    ] {
        let upload = Upload {
            filename: "bad".to_owned(),
            content_type: "image/png".to_owned(),
            length: bytes.len() as u64,
            stream: Box::pin(futures_util::stream::iter([Ok(bytes.into())])),
        };
        let refused = server.running.app.cloudflare.create(NewImage::default(), Body::Upload(upload)).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    let off = AccountConfig { flexible_variants: Some(false), ..AccountConfig::default() };
    server.running.app.cloudflare.edit_config(&off).await.unwrap();
    let refused = get(&server, &base, "w=10", "*/*").await;
    assert_eq!(refused.status, 403);
    assert!(String::from_utf8_lossy(&refused.bytes).contains("9429"));
}
