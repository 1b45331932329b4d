//! Dominant colours of a picture.

use image::RgbaImage;

/// Most colours of a palette.
const MAX_COLOURS: usize = 6;
/// Colours at a smaller [`distance`] count as one.
const MERGE_DISTANCE: f64 = 56.0;
/// Colours with a smaller share of the picture are left out.
const MIN_SHARE: f64 = 0.005;

/// A colour and its weight.
#[derive(Clone, Copy)]
struct Swatch {
    /// Sums of red, green and blue, each multiplied by alpha.
    sums: [u64; 3],
    /// Sum of alpha: a half transparent pixel counts half.
    weight: u64,
}

impl Swatch {
    fn mean(&self) -> [f64; 3] {
        self.sums.map(|sum| sum as f64 / self.weight.max(1) as f64)
    }

    fn add(&mut self, other: &Swatch) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
        self.weight += other.weight;
    }
}

/// Up to six colours as `#rrggbb`, most frequent first. Empty for a fully transparent picture.
pub fn palette(picture: &RgbaImage) -> Vec<String> {
    let mut swatches: Vec<Swatch> = Vec::new();
    let (bins, total_weight) = bins(picture);
    for bin in bins {
        match swatches.iter_mut().find(|swatch| distance(swatch.mean(), bin.mean()) < MERGE_DISTANCE) {
            Some(near) => near.add(&bin),
            None => swatches.push(bin),
        }
    }
    swatches.sort_by_key(|swatch| std::cmp::Reverse(swatch.weight));
    let min_weight = total_weight as f64 * MIN_SHARE;
    let frequent = swatches.iter().filter(|swatch| swatch.weight as f64 >= min_weight);
    frequent.take(MAX_COLOURS).map(to_hex).collect()
}

/// Groups similar pixels, by the high four bits of each channel. Sorted by descending weight, with the sum of all weights.
fn bins(picture: &RgbaImage) -> (Vec<Swatch>, u64) {
    let mut bins = vec![Swatch { sums: [0; 3], weight: 0 }; 1 << 12];
    let mut total_weight = 0;
    for pixel in picture.pixels().filter(|pixel| pixel[3] > 0) {
        let [red, green, blue, alpha] = pixel.0.map(u64::from);
        let index = (red >> 4) << 8 | (green >> 4) << 4 | blue >> 4;
        bins[index as usize].add(&Swatch { sums: [red * alpha, green * alpha, blue * alpha], weight: alpha });
        total_weight += alpha;
    }
    bins.retain(|bin| bin.weight > 0);
    // A stable sort, so that the same picture always has the same palette.
    bins.sort_by_key(|bin| std::cmp::Reverse(bin.weight));
    (bins, total_weight)
}

/// Perceptual distance of two colours, approximated: green has the largest weight, and the weights of red and blue depend on
/// the mean of red. Source: <https://www.compuphase.com/cmetric.htm>.
fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    let redness = (a[0] + b[0]) / 2.0 / 256.0;
    let [red, green, blue] = [0, 1, 2].map(|channel| (a[channel] - b[channel]).powi(2));
    ((2.0 + redness) * red + 4.0 * green + (3.0 - redness) * blue).sqrt()
}

fn to_hex(swatch: &Swatch) -> String {
    let [red, green, blue] = swatch.mean().map(|channel| channel.round() as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}
