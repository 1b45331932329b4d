//! Pixel sizes of images after they are fitted to a box.

use crate::error::{Error, Result};
use cloudflare_images::wire;

/// How an image is fitted to a box. Named variants have the first five only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fit {
    /// Resized to fit inside the box, never enlarged.
    #[default]
    ScaleDown,
    /// Resized to fit inside the box, enlarged if it is smaller.
    Contain,
    /// Resized to fill the box, and cropped to it.
    Cover,
    /// As `Cover` if larger than the box, as `ScaleDown` if smaller.
    Crop,
    /// As `Contain`, with background added to fill the box.
    Pad,
    /// Cropped to the aspect ratio of the box, never enlarged.
    AspectCrop,
    /// Resized to the box without keeping the aspect ratio.
    Squeeze,
}

impl Fit {
    /// Whether parts of the image may be cropped.
    pub fn crops(self) -> bool {
        matches!(self, Fit::Cover | Fit::Crop | Fit::AspectCrop)
    }

    /// The same fit of a named variant.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at `fit` for a fit that named variants do not have.
    pub fn for_variant(self) -> Result<wire::Fit> {
        match self {
            Fit::ScaleDown => Ok(wire::Fit::ScaleDown),
            Fit::Contain => Ok(wire::Fit::Contain),
            Fit::Cover => Ok(wire::Fit::Cover),
            Fit::Crop => Ok(wire::Fit::Crop),
            Fit::Pad => Ok(wire::Fit::Pad),
            Fit::AspectCrop | Fit::Squeeze => {
                let message = "The fit of a named variant must be SCALE_DOWN, CONTAIN, COVER, CROP or PAD.";
                Err(Error::invalid("fit", message))
            }
        }
    }
}

impl From<wire::Fit> for Fit {
    fn from(fit: wire::Fit) -> Self {
        match fit {
            wire::Fit::ScaleDown => Fit::ScaleDown,
            wire::Fit::Contain => Fit::Contain,
            wire::Fit::Cover => Fit::Cover,
            wire::Fit::Crop => Fit::Crop,
            wire::Fit::Pad => Fit::Pad,
        }
    }
}

/// Size in pixels of an image of `source` pixels after it is fitted to a box. A side that is `None` follows from the aspect
/// ratio. Source: `fit` in Cloudflare's documentation, "Create variants" and "Features".
pub fn fitted_size(fit: Fit, width: Option<u32>, height: Option<u32>, source: (u32, u32)) -> (u32, u32) {
    let (source_width, source_height) = (f64::from(source.0), f64::from(source.1));
    let (width, height) = match (width.map(f64::from), height.map(f64::from)) {
        (Some(width), Some(height)) => (width, height),
        (Some(width), None) => (width, width * source_height / source_width),
        (None, Some(height)) => (height * source_width / source_height, height),
        (None, None) => return source,
    };
    let (scale_x, scale_y) = (width / source_width, height / source_height);
    let scaled = |scale: f64| (source_width * scale, source_height * scale);
    let (width, height) = match fit {
        Fit::ScaleDown => scaled(scale_x.min(scale_y).min(1.0)),
        Fit::Contain => scaled(scale_x.min(scale_y)),
        Fit::Cover | Fit::Pad | Fit::Squeeze => (width, height),
        // Reduced until it just covers the box, never enlarged; then cropped to the box.
        Fit::Crop => {
            let (scaled_width, scaled_height) = scaled(scale_x.max(scale_y).min(1.0));
            (width.min(scaled_width), height.min(scaled_height))
        }
        Fit::AspectCrop => {
            let shrink = (source_width / width).min(source_height / height).min(1.0);
            (width * shrink, height * shrink)
        }
    };
    // `as` saturates, so a large number does not overflow.
    let pixels = |length: f64| (length.round() as u32).max(1);
    (pixels(width), pixels(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_match_cloudflares_examples() {
        for (fit, width, height, source, expected) in [
            (Fit::ScaleDown, Some(500), Some(500), (1080, 720), (500, 333)),
            (Fit::ScaleDown, Some(1366), Some(768), (4000, 3000), (1024, 768)),
            (Fit::ScaleDown, Some(2000), Some(2000), (1080, 720), (1080, 720)),
            (Fit::ScaleDown, None, None, (1080, 720), (1080, 720)),
            (Fit::ScaleDown, Some(100), None, (1080, 720), (100, 67)),
            (Fit::Contain, Some(2160), None, (1080, 720), (2160, 1440)),
            (Fit::Cover, Some(500), Some(500), (1080, 720), (500, 500)),
            (Fit::Cover, None, Some(72), (1080, 720), (108, 72)),
            (Fit::Crop, Some(1296), Some(1296), (1080, 720), (1080, 720)),
            (Fit::Crop, Some(500), Some(500), (1080, 720), (500, 500)),
            (Fit::Crop, Some(150), Some(20), (45, 101), (45, 20)),
            (Fit::AspectCrop, Some(1920), Some(1120), (612, 613), (612, 357)),
            (Fit::AspectCrop, Some(100), Some(50), (612, 613), (100, 50)),
            (Fit::Pad, Some(500), Some(500), (1080, 720), (500, 500)),
            (Fit::Squeeze, Some(1500), Some(10), (1080, 720), (1500, 10)),
            (Fit::ScaleDown, Some(10), Some(10), (12000, 1), (10, 1)),
        ] {
            assert_eq!(
                fitted_size(fit, width, height, source),
                expected,
                "{fit:?} {width:?}x{height:?} of {source:?}"
            );
        }
    }
}
