//! Every fit of every source in every box has the size of Cloudflare's documentation and of the product's own
//! calculation. The deliveries are written as contact sheets to `target/tmp/sheets`.

use std::path::PathBuf;

use cloudflare_images::wire::Fit;
use image::imageops::overlay;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use imagegraph::delivery;

use crate::golden::{flexible, get, put};
use crate::harness::Server;
use crate::pictures::{encoded, quadrants, with_exif};

/// A test card: coloured corners, a frame of one pixel, and a circle that shows whether it is stretched or cropped.
fn card(width: u32, height: u32) -> RgbImage {
    let mut pixels = quadrants(width, height);
    let (across, down) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let radius = across.min(down) * 0.8;
    for (x, y, pixel) in pixels.enumerate_pixels_mut() {
        let away = (f64::from(x) + 0.5 - across).hypot(f64::from(y) + 0.5 - down);
        let edge = x == 0 || y == 0 || x + 1 == width || y + 1 == height;
        if edge || (away < radius && away > radius * 0.8) {
            *pixel = Rgb([20, 20, 20]);
        } else if away < radius * 0.3 {
            *pixel = Rgb([250, 210, 40]);
        }
    }
    pixels
}

type Size = (u32, u32);
type Box = (Option<u32>, Option<u32>);

/// Larger, smaller, wider, taller, equal, larger on one side only, and square.
const SOURCES: [Size; 7] = [(180, 120), (40, 30), (200, 50), (50, 200), (90, 60), (120, 40), (100, 100)];
const BOXES: [Box; 4] = [(Some(90), Some(60)), (Some(60), Some(90)), (Some(80), None), (None, Some(70))];

/// Sizes in the first box, one row for each fit, in the order of [`SOURCES`]; worked out by hand from Cloudflare's
/// description of the fits.
const FIRST_BOX: [(&str, [Size; 7]); 7] = [
    ("scale-down", [(90, 60), (40, 30), (90, 23), (15, 60), (90, 60), (90, 30), (60, 60)]),
    ("contain", [(90, 60), (80, 60), (90, 23), (15, 60), (90, 60), (90, 30), (60, 60)]),
    ("cover", [(90, 60); 7]),
    ("crop", [(90, 60), (40, 30), (90, 50), (50, 60), (90, 60), (90, 40), (90, 60)]),
    ("pad", [(90, 60); 7]),
    ("squeeze", [(90, 60); 7]),
    ("aspect-crop", [(90, 60), (40, 27), (75, 50), (50, 33), (90, 60), (60, 40), (90, 60)]),
];

/// The fit as an enum, for those that named variants support.
fn named(fit: &str) -> Option<Fit> {
    serde_json::from_value(fit.into()).ok()
}

fn options((width, height): Box, fit: &str) -> String {
    let side = |name: &str, side: Option<u32>| side.map(|side| format!("{name}={side},")).unwrap_or_default();
    format!("{}{}fit={fit}", side("w", width), side("h", height))
}

/// Deliveries side by side, row by row, on grey.
struct Sheet {
    rows: Vec<Vec<RgbaImage>>,
}

impl Sheet {
    async fn add(&mut self, server: &Server, base: &str, options: &str) -> Size {
        let delivered = get(server, base, options, "image/png").await;
        let text = String::from_utf8_lossy(&delivered.bytes);
        assert_eq!(delivered.status, 200, "{options}: {text}");
        let pixels = image::load_from_memory(&delivered.bytes).unwrap().into_rgba8();
        let size = pixels.dimensions();
        self.rows.last_mut().unwrap().push(pixels);
        size
    }

    fn write(&self, name: &str) {
        const GAP: u32 = 6;
        let side =
            |length: fn(&RgbaImage) -> u32, row: &[RgbaImage]| row.iter().map(length).max().unwrap_or(0);
        let cells = self.rows.iter().map(Vec::len).max().unwrap();
        let widest = self.rows.iter().map(|row| side(RgbaImage::width, row)).max().unwrap() + GAP;
        let heights: Vec<u32> = self.rows.iter().map(|row| side(RgbaImage::height, row) + GAP).collect();
        let size = (widest * cells as u32 + GAP, heights.iter().sum::<u32>() + GAP);
        let mut sheet = RgbaImage::from_pixel(size.0, size.1, Rgba([150, 150, 150, 255]));
        let mut top = GAP;
        for (row, height) in self.rows.iter().zip(heights) {
            for (i, pixels) in row.iter().enumerate() {
                overlay(&mut sheet, pixels, i64::from(widest * i as u32 + GAP), i64::from(top));
            }
            top += height;
        }
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sheets");
        std::fs::create_dir_all(&folder).unwrap();
        sheet.save(folder.join(name)).unwrap();
    }
}

#[tokio::test]
async fn every_fit_of_every_size() {
    let server = flexible().await;
    let mut bases = Vec::new();
    for (width, height) in SOURCES {
        bases.push(put(&server, encoded(card(width, height), ImageFormat::Png)).await);
    }
    for (i, size) in BOXES.into_iter().enumerate() {
        let mut sheet = Sheet { rows: Vec::new() };
        for (fit, first) in FIRST_BOX {
            sheet.rows.push(Vec::new());
            for (source, (base, expected)) in SOURCES.into_iter().zip(bases.iter().zip(first)) {
                let delivered = sheet.add(&server, base, &options(size, fit)).await;
                if i == 0 {
                    assert_eq!(delivered, expected, "{source:?} {fit}");
                }
                if let Some(fit) = named(fit) {
                    let told = delivery::fit::fitted_size(fit.into(), size.0, size.1, source);
                    assert_eq!(delivered, told, "{source:?} {fit:?} {size:?}");
                }
            }
        }
        sheet.write(&format!("fits-{i}.png"));
    }
}

/// Random sources and boxes: the size that the product predicts is delivered.
#[tokio::test]
async fn sizes_of_any_source_in_any_box() {
    let server = flexible().await;
    let mut seed = 7_u32;
    let mut side = |most: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % most + 1
    };
    for _ in 0..20 {
        let source = (side(300), side(300));
        let base = put(&server, encoded(card(source.0, source.1), ImageFormat::Png)).await;
        for (i, fit) in ["scale-down", "contain", "cover", "crop", "pad"].iter().cycle().take(25).enumerate()
        {
            let size = (Some(side(400)).filter(|_| i % 3 != 1), Some(side(400)).filter(|_| i % 4 != 2));
            let told = delivery::fit::fitted_size(named(fit).unwrap().into(), size.0, size.1, source);
            let options = format!("{},f=json", options(size, fit));
            let delivered = get(&server, &base, &options, "*/*").await;
            let info: serde_json::Value = serde_json::from_slice(&delivered.bytes).unwrap();
            assert_eq!(
                (&info["width"], &info["height"]),
                (&told.0.into(), &told.1.into()),
                "{source:?} {options}"
            );
        }
    }
}

/// One row for each kind of option; nothing is asserted but that each is delivered: the sheet is for looking at.
#[tokio::test]
async fn options_on_a_sheet() {
    let server = flexible().await;
    let base = put(&server, encoded(card(120, 80), ImageFormat::Png)).await;
    let mut hole = DynamicImage::from(card(120, 80)).into_rgba8();
    hole.pixels_mut().filter(|pixel| pixel.0[0] > 230).for_each(|pixel| *pixel = Rgba([0; 4]));
    let hole = put(&server, encoded(hole, ImageFormat::Png)).await;
    let mut sheet = Sheet { rows: Vec::new() };
    for row in [
        ["g=left", "g=right", "g=top", "g=bottom", "g=0.25x0.75", "g=auto"]
            .map(|gravity| format!("w=50,h=50,fit=cover,{gravity}")),
        ["rotate=90", "rotate=180", "rotate=270", "flip=h", "flip=v", "flip=hv,rotate=90"].map(str::to_owned),
        [
            "trim=20;0;0;40",
            "trim.left=60",
            "trim.width=60,trim.height=40",
            "w=60,dpr=2",
            "w=30,dpr=1.5",
            "zoom=0.5",
        ]
        .map(str::to_owned),
        ["blur=4", "blur=50", "sharpen=5", "w=300,fit=contain,sharpen=1", "blur=2,sharpen=10", "w=30"]
            .map(str::to_owned),
        ["brightness=1.5", "brightness=0.5", "contrast=2", "contrast=0.5", "gamma=2", "gamma=0.5"]
            .map(str::to_owned),
        ["saturation=0", "saturation=2", "saturation=0.5", "q=5,f=jpeg", "q=5,f=webp", "q=100,f=webp"]
            .map(str::to_owned),
    ] {
        sheet.rows.push(Vec::new());
        for options in row {
            sheet.add(&server, &base, &options).await;
        }
    }
    for row in [
        [
            "w=100,h=100,fit=pad",
            "background=red",
            "background=%2300ff0080",
            "background=hsl%28200%2C80%25%2C50%25%29",
        ],
        ["w=100,h=100,fit=pad,background=navy", "f=jpeg", "f=webp,q=60", "blur=6"],
    ] {
        sheet.rows.push(Vec::new());
        for options in row {
            sheet.add(&server, &hole, options).await;
        }
    }
    sheet.rows.push(Vec::new());
    for orientation in 1..9 {
        let photo = with_exif(&encoded(card(60, 40), ImageFormat::Jpeg), orientation);
        let base = put(&server, photo).await;
        sheet.add(&server, &base, "w=40").await;
    }
    sheet.write("options.png");
}
