//! Colours, blur, sharpness and background.

use image::{DynamicImage, Rgb, Rgba, RgbaImage};

use super::plan::Plan;

/// Brightness, contrast, gamma and saturation, in this order.
pub(crate) fn colours(image: &mut DynamicImage, plan: &Plan) {
    if (plan.brightness, plan.contrast, plan.gamma) != (1.0, 1.0, 1.0) {
        let curve: [u8; 256] = std::array::from_fn(|level| {
            let bright = level as f32 / 255.0 * plan.brightness;
            let contrasted = ((bright - 0.5) * plan.contrast + 0.5).clamp(0.0, 1.0);
            to_level(contrasted.powf(1.0 / plan.gamma) * 255.0)
        });
        each_colour(image, |colour| colour.map(|level| curve[usize::from(level)]));
    }
    if plan.saturation != 1.0 {
        each_colour(image, |colour| {
            let [red, green, blue] = colour.map(f32::from);
            let grey = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
            [red, green, blue].map(|level| to_level(grey + (level - grey) * plan.saturation))
        });
    }
}

/// Blur, then sharpening.
pub(crate) fn sharpness(image: DynamicImage, plan: &Plan) -> DynamicImage {
    let image = match plan.blur {
        // A radius reaches about as far as two standard deviations.
        Some(radius) => image.fast_blur(radius / 2.0),
        None => image,
    };
    if plan.sharpen == 0.0 {
        return image;
    }
    let soft = image.fast_blur(1.0).into_rgba8();
    let has_alpha = image.color().has_alpha();
    let mut sharp = image.into_rgba8();
    for (pixel, soft) in sharp.pixels_mut().zip(soft.pixels()) {
        for channel in 0..3 {
            let level = f32::from(pixel.0[channel]);
            let detail = level - f32::from(soft.0[channel]);
            pixel.0[channel] = to_level(level + detail * plan.sharpen);
        }
    }
    let sharp = DynamicImage::ImageRgba8(sharp);
    if has_alpha { sharp } else { DynamicImage::ImageRgb8(sharp.into_rgb8()) }
}

/// Puts the image in the middle of a canvas, over the background; padding is white unless it has a colour.
pub(crate) fn background(image: DynamicImage, canvas: (u32, u32), colour: Option<Rgba<u8>>) -> DynamicImage {
    let padded = canvas != (image.width(), image.height());
    if !padded && (colour.is_none() || !image.color().has_alpha()) {
        return image;
    }
    let colour = colour.unwrap_or(WHITE);
    let mut page = RgbaImage::from_pixel(canvas.0, canvas.1, colour);
    let (left, top) = ((canvas.0 - image.width()) / 2, (canvas.1 - image.height()) / 2);
    image::imageops::overlay(&mut page, &image.into_rgba8(), left.into(), top.into());
    let page = DynamicImage::ImageRgba8(page);
    if colour.0[3] == u8::MAX { DynamicImage::ImageRgb8(page.into_rgb8()) } else { page }
}

/// Fills transparent parts, for formats without transparency.
pub(crate) fn opaque(image: DynamicImage) -> DynamicImage {
    let size = (image.width(), image.height());
    match background(image, size, Some(WHITE)) {
        DynamicImage::ImageRgb8(image) => DynamicImage::ImageRgb8(image),
        other => DynamicImage::ImageRgb8(other.into_rgb8()),
    }
}

const WHITE: Rgba<u8> = Rgba([255, 255, 255, 255]);

fn each_colour(image: &mut DynamicImage, change: impl Fn([u8; 3]) -> [u8; 3]) {
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
        // The decoder makes no other kind.
        _ => {}
    }
}

fn to_level(value: f32) -> u8 {
    // `as` saturates at both ends.
    value.round() as u8
}
