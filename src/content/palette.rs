//! The colours of a picture. Pure functions.

use image::RgbaImage;

/// Most colours of a palette.
const MAX_COLOURS: usize = 6;
/// Colours nearer than this, in steps of all three channels together, count as one.
const NEAR: f64 = 56.0;
/// Share of the picture below which a colour is noise.
const LEAST: f64 = 0.005;

/// A colour and how much of it there is.
#[derive(Clone, Copy)]
struct Swatch {
    /// Sums of the three channels, each pixel by its alpha.
    sums: [u64; 3],
    /// Sum of alpha: what is half seen counts half.
    seen: u64,
}

impl Swatch {
    fn mean(&self) -> [f64; 3] {
        self.sums.map(|sum| sum as f64 / self.seen.max(1) as f64)
    }

    fn add(&mut self, other: &Swatch) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
        self.seen += other.seen;
    }
}

/// Up to six colours as `#rrggbb`, most frequent first. Empty for a picture of which nothing is seen.
pub fn palette(picture: &RgbaImage) -> Vec<String> {
    let mut swatches: Vec<Swatch> = Vec::new();
    let (bins, seen) = bins(picture);
    for bin in bins {
        match swatches.iter_mut().find(|swatch| distance(swatch.mean(), bin.mean()) < NEAR) {
            Some(near) => near.add(&bin),
            None => swatches.push(bin),
        }
    }
    swatches.sort_by_key(|swatch| std::cmp::Reverse(swatch.seen));
    let enough = |swatch: &&Swatch| swatch.seen as f64 >= seen as f64 * LEAST;
    swatches.iter().filter(enough).take(MAX_COLOURS).map(hexadecimal).collect()
}

/// Similar pixels together, most first, and how much is seen at all.
fn bins(picture: &RgbaImage) -> (Vec<Swatch>, u64) {
    let mut bins = vec![Swatch { sums: [0; 3], seen: 0 }; 1 << 12];
    let mut seen = 0;
    for pixel in picture.pixels().filter(|pixel| pixel[3] > 0) {
        let [red, green, blue, alpha] = pixel.0.map(u64::from);
        let place = (red >> 4) << 8 | (green >> 4) << 4 | blue >> 4;
        bins[place as usize].add(&Swatch { sums: [red * alpha, green * alpha, blue * alpha], seen: alpha });
        seen += alpha;
    }
    bins.retain(|bin| bin.seen > 0);
    // Stable: the same picture has the same palette.
    bins.sort_by_key(|bin| std::cmp::Reverse(bin.seen));
    (bins, seen)
}

/// How far apart two colours look, nearly: green counts most, and red and blue by how red the two are.
/// Source: compuphase.com/cmetric.htm.
fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    let redness = (a[0] + b[0]) / 2.0 / 256.0;
    let [red, green, blue] = [0, 1, 2].map(|channel| (a[channel] - b[channel]).powi(2));
    ((2.0 + redness) * red + 4.0 * green + (3.0 - redness) * blue).sqrt()
}

fn hexadecimal(swatch: &Swatch) -> String {
    let [red, green, blue] = swatch.mean().map(|channel| channel.round() as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}
