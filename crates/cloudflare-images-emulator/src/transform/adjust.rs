//! Colours, blur, sharpness and background.

use image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage};

use super::transformation::Transformation;

/// Changes brightness, contrast, gamma and saturation, in this order.
pub(crate) fn colours(image: &mut DynamicImage, transformation: &Transformation) {
    if (transformation.brightness, transformation.contrast, transformation.gamma) != (1.0, 1.0, 1.0) {
        let curve: [u8; 256] = std::array::from_fn(|level| {
            let bright = level as f32 / 255.0 * transformation.brightness;
            let contrasted = ((bright - 0.5) * transformation.contrast + 0.5).clamp(0.0, 1.0);
            to_level(contrasted.powf(1.0 / transformation.gamma) * 255.0)
        });
        map_colours(image, |colour| colour.map(|level| curve[usize::from(level)]));
    }
    if transformation.saturation != 1.0 {
        map_colours(image, |colour| {
            let [red, green, blue] = colour.map(f32::from);
            let grey = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
            [red, green, blue].map(|level| to_level(grey + (level - grey) * transformation.saturation))
        });
    }
}

/// Blurs, then sharpens.
pub(crate) fn sharpness(image: DynamicImage, transformation: &Transformation) -> DynamicImage {
    let image = match transformation.blur {
        // Cloudflare's radius is about two standard deviations of the Gaussian.
        Some(radius) => image.fast_blur(radius / 2.0),
        None => image,
    };
    if transformation.sharpen == 0.0 {
        return image;
    }
    let soft = image.fast_blur(1.0).into_rgba8();
    let has_alpha = image.color().has_alpha();
    let mut sharp = image.into_rgba8();
    for (pixel, soft) in sharp.pixels_mut().zip(soft.pixels()) {
        for channel in 0..3 {
            let level = f32::from(pixel.0[channel]);
            let detail = level - f32::from(soft.0[channel]);
            pixel.0[channel] = to_level(level + detail * transformation.sharpen);
        }
    }
    let sharp = DynamicImage::ImageRgba8(sharp);
    if has_alpha { sharp } else { DynamicImage::ImageRgb8(sharp.into_rgb8()) }
}

/// Puts the image into the middle of a canvas with this colour, or a white one.
pub(crate) fn background(image: DynamicImage, canvas: (u32, u32), colour: Option<Rgba<u8>>) -> DynamicImage {
    let padded = canvas != (image.width(), image.height());
    if !padded && (colour.is_none() || !image.color().has_alpha()) {
        return image;
    }
    let colour = colour.unwrap_or(WHITE);
    let mut canvas_pixels = RgbaImage::from_pixel(canvas.0, canvas.1, colour);
    let (left, top) = ((canvas.0 - image.width()) / 2, (canvas.1 - image.height()) / 2);
    image::imageops::overlay(&mut canvas_pixels, &image.into_rgba8(), left.into(), top.into());
    let filled = DynamicImage::ImageRgba8(canvas_pixels);
    if colour.0[3] == u8::MAX { DynamicImage::ImageRgb8(filled.into_rgb8()) } else { filled }
}

/// Puts the image on white, for formats without transparency.
pub(crate) fn opaque(image: DynamicImage) -> RgbImage {
    let size = (image.width(), image.height());
    background(image, size, Some(WHITE)).into_rgb8()
}

const WHITE: Rgba<u8> = Rgba([255, 255, 255, 255]);

fn map_colours(image: &mut DynamicImage, change: impl Fn([u8; 3]) -> [u8; 3]) {
    match image {
        DynamicImage::ImageRgb8(image) => {
            for pixel in image.pixels_mut() {
                *pixel = Rgb(change(pixel.0));
            }
        }
        DynamicImage::ImageRgba8(image) => {
            for pixel in image.pixels_mut() {
                let [red, green, blue, alpha] = pixel.0;
                let [red, green, blue] = change([red, green, blue]);
                *pixel = Rgba([red, green, blue, alpha]);
            }
        }
        // The decoder gives no other types.
        _ => {}
    }
}

fn to_level(value: f32) -> u8 {
    // `as` saturates at 0 and 255.
    value.round() as u8
}
