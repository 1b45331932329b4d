//! A photograph that the bench makes: light, shapes, textures and the noise of a sensor. Always the same bytes.

use mozjpeg::{ColorSpace, Compress};

/// Pixels of a camera with 12 megapixels.
pub(crate) const SIZE: (u32, u32) = (4032, 3024);
/// At which cameras write several megabytes; this picture takes two.
const QUALITY: f32 = 92.0;

/// A baseline JPEG with colours at half the resolution, as cameras write it.
pub(crate) fn jpeg() -> Vec<u8> {
    let (width, height) = SIZE;
    let mut encoder = Compress::new(ColorSpace::JCS_RGB);
    encoder.set_fastest_defaults();
    encoder.set_size(width as usize, height as usize);
    encoder.set_quality(QUALITY);
    let mut encoder = encoder.start_compress(Vec::new()).unwrap();
    for y in 0..height {
        let row: Vec<u8> = (0..width).flat_map(|x| pixel(x, y)).collect();
        encoder.write_scanlines(&row).unwrap();
    }
    encoder.finish().unwrap()
}

/// A sky above hills above a field with stones.
fn pixel(x: u32, y: u32) -> [u8; 3] {
    let (across, down) = (x as f32 / SIZE.0 as f32, y as f32 / SIZE.1 as f32);
    let ridge = 0.38 + 0.12 * texture(across * 5.0, 1.5, 4) + 0.02 * texture(across * 80.0, 9.5, 2);
    let [red, green, blue] = if down < ridge {
        let cloud = (texture(across * 4.0, down * 9.0, 5) * 2.0 - 0.8).clamp(0.0, 1.0);
        [[90.0, 235.0], [140.0, 235.0], [215.0, 240.0]]
            .map(|[sky, white]| sky + (white - sky) * cloud + 30.0 * down)
    } else if stone(across, down) {
        let grain = texture(across * 220.0, down * 170.0, 3);
        [70.0, 66.0, 62.0].map(|level| level + 120.0 * grain)
    } else {
        // Nearer, the texture is coarser and the contrast stronger.
        let near = (down - ridge) / (1.0 - ridge);
        let blades = texture(across * (420.0 - 250.0 * near), down * (260.0 - 160.0 * near), 4);
        let patch = texture(across * 12.0, down * 14.0, 3);
        let light = 0.35 + (0.5 + 0.6 * near) * (blades - 0.3) + 0.4 * patch;
        [120.0 + 60.0 * patch, 150.0, 70.0].map(|level| level * light)
    };
    // A sensor's noise is stronger in the dark, and differs between the channels.
    let noise = |channel: u32| (random(x * 3 + channel, y) - 0.5) * 7.0;
    let mut number = 0;
    [red, green, blue].map(|level| {
        number += 1;
        // `as` saturates.
        (level + noise(number) * (1.3 - level / 400.0)) as u8
    })
}

/// Whether a point is in one of the stones: hard edges.
fn stone(across: f32, down: f32) -> bool {
    let (column, row) = ((across * 9.0).floor(), (down * 8.0).floor());
    let of = |seed: u32| random(column as u32 * 7 + seed, row as u32 * 13 + seed);
    let (centre_x, centre_y) = (column + 0.3 + 0.4 * of(1), row + 0.3 + 0.4 * of(2));
    let radius = 0.1 + 0.2 * of(3);
    (across * 9.0 - centre_x).hypot((down * 8.0 - centre_y) * (1.2 + of(4))) < radius && of(5) < 0.6
}

/// Smooth noise in several octaves, from 0 to 1.
fn texture(x: f32, y: f32, octaves: u32) -> f32 {
    let (mut sum, mut weight, mut scale) = (0.0, 0.5, 1.0);
    for _ in 0..octaves {
        sum += weight * smooth(x * scale, y * scale);
        weight *= 0.5;
        scale *= 2.0;
    }
    sum / (1.0 - 0.5_f32.powi(octaves as i32))
}

/// Random values at whole numbers, and between them interpolated.
fn smooth(x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let ease = |part: f32| part * part * (3.0 - 2.0 * part);
    let (right, bottom) = (ease(x - left), ease(y - top));
    let at = |dx: u32, dy: u32| random(left as u32 + dx, top as u32 + dy);
    let upper = at(0, 0) + (at(1, 0) - at(0, 0)) * right;
    let lower = at(0, 1) + (at(1, 1) - at(0, 1)) * right;
    upper + (lower - upper) * bottom
}

/// A value from 0 to 1 that belongs to a place.
fn random(x: u32, y: u32) -> f32 {
    let mut bits = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39);
    bits ^= bits >> 15;
    (bits >> 8) as f32 / (1 << 24) as f32
}
