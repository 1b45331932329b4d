//! `gravity=auto`: finds the part of an image with the most contrast.

use image::DynamicImage;

/// The position of the crop with the most contrast. Between equal crops, the one nearest to the middle is taken.
///
/// `crop` is in pixels of the image; the result are the fractions of [`super::transformation::Gravity::Point`].
pub(crate) fn focus(image: &DynamicImage, crop: (f64, f64)) -> (f64, f64) {
    // A small copy is enough to tell a face from a sky.
    let small = image.thumbnail(SIDE, SIDE).into_luma8();
    let (width, height) = (small.width() as usize, small.height() as usize);
    let share = |part: f64, whole: u32, cells: usize| {
        ((part / f64::from(whole) * cells as f64).round() as usize).clamp(1, cells)
    };
    let window = (share(crop.0, image.width(), width), share(crop.1, image.height(), height));
    let sums = contrast_sums(&small);
    let at = |x: usize, y: usize| sums[y * (width + 1) + x];
    let (free_x, free_y) = (width - window.0, height - window.1);
    let mut best = (f64::MIN, 0.5, 0.5);
    for y in 0..=free_y {
        for x in 0..=free_x {
            let (right, bottom) = (x + window.0, y + window.1);
            let inside = at(right, bottom) + at(x, y) - at(right, y) - at(x, bottom);
            let (fx, fy) = (fraction(x, free_x), fraction(y, free_y));
            let off_centre = (fx - 0.5).hypot(fy - 0.5);
            let score = inside * (1.0 - 0.1 * off_centre);
            if score > best.0 || (score == best.0 && off_centre < (best.1 - 0.5_f64).hypot(best.2 - 0.5)) {
                best = (score, fx, fy);
            }
        }
    }
    (best.1, best.2)
}

const SIDE: u32 = 96;

fn fraction(step: usize, steps: usize) -> f64 {
    if steps == 0 { 0.5 } else { step as f64 / steps as f64 }
}

/// Summed-area table of the differences between neighbours, with one row and column more than the image.
fn contrast_sums(small: &image::GrayImage) -> Vec<f64> {
    let (width, height) = (small.width(), small.height());
    let stride = width as usize + 1;
    let mut sums = vec![0.0; stride * (height as usize + 1)];
    for y in 0..height {
        let mut row = 0.0;
        for x in 0..width {
            let here = f64::from(small.get_pixel(x, y).0[0]);
            let right = f64::from(small.get_pixel((x + 1).min(width - 1), y).0[0]);
            let below = f64::from(small.get_pixel(x, (y + 1).min(height - 1)).0[0]);
            row += (here - right).abs() + (here - below).abs();
            let cell = (y as usize + 1) * stride + x as usize + 1;
            sums[cell] = sums[cell - stride] + row;
        }
    }
    sums
}
