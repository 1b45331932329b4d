//! AVIF files, in builds with the feature `avif`.

use image::DynamicImage;
use ravif::{Encoder, Img, RGB8, RGBA8};

/// Encodes a still image. The pixels must be sRGB; EXIF and ICC profiles are not written.
pub(crate) fn still(pixels: &DynamicImage, quality: u8) -> Result<Vec<u8>, String> {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let encoder = Encoder::new()
        .with_quality(f32::from(quality))
        .with_alpha_quality(f32::from(quality))
        .with_speed(SPEED)
        // The renderer gives each transformation one processor.
        .with_num_threads(Some(1));
    let encoded = match pixels {
        DynamicImage::ImageRgb8(pixels) => {
            let pixels: Vec<RGB8> = pixels.pixels().map(|pixel| RGB8::from(pixel.0)).collect();
            encoder.encode_rgb(Img::new(&pixels, width, height))
        }
        other => {
            let pixels: Vec<RGBA8> = other.to_rgba8().pixels().map(|pixel| RGBA8::from(pixel.0)).collect();
            encoder.encode_rgba(Img::new(&pixels, width, height))
        }
    };
    Ok(encoded.map_err(|error| error.to_string())?.avif_file)
}

/// From 1, for the smallest files, to 10, the fastest.
const SPEED: u8 = 10;
