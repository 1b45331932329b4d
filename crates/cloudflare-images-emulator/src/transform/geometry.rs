//! Sizes: which part of a source is visible, at which size, and on how large a canvas.

use super::transformation::Fit;

/// A source fitted to a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Layout {
    /// Size of the visible part of the source, in pixels of the source.
    pub(crate) crop: (f64, f64),
    /// Size of that part in the result, in pixels.
    pub(crate) draw: (u32, u32),
    /// Size of the result; larger than `draw` only for [`Fit::Pad`].
    pub(crate) canvas: (u32, u32),
}

/// Fits a source to a box. A side of the box that is `None` follows from the source's aspect ratio.
pub(crate) fn layout(source: (u32, u32), size: (Option<u32>, Option<u32>), fit: Fit) -> Layout {
    let (source_width, source_height) = (f64::from(source.0), f64::from(source.1));
    let (width, height) = match size {
        (Some(width), Some(height)) => (f64::from(width), f64::from(height)),
        (Some(width), None) => (f64::from(width), f64::from(width) * source_height / source_width),
        (None, Some(height)) => (f64::from(height) * source_width / source_height, f64::from(height)),
        (None, None) => (source_width, source_height),
    };
    let (scale_x, scale_y) = (width / source_width, height / source_height);
    let inside = scale_x.min(scale_y);
    let scaled = |scale: f64| (pixels(source_width * scale), pixels(source_height * scale));
    let uncropped = |draw| Layout { crop: (source_width, source_height), draw, canvas: draw };
    match fit {
        Fit::ScaleDown => uncropped(scaled(inside.min(1.0))),
        Fit::ScaleUp => uncropped(scaled(inside.max(1.0))),
        Fit::Contain => uncropped(scaled(inside)),
        Fit::Squeeze => uncropped((pixels(width), pixels(height))),
        Fit::Pad => Layout { canvas: (pixels(width), pixels(height)), ..uncropped(scaled(inside)) },
        Fit::Cover => cropped(source, scale_x.max(scale_y), (width, height)),
        Fit::Crop => {
            // Never enlarged: a side that is smaller than the box keeps its length.
            let scale = scale_x.max(scale_y).min(1.0);
            cropped(source, scale, (width.min(source_width * scale), height.min(source_height * scale)))
        }
        Fit::AspectCrop => {
            let shrink = (source_width / width).min(source_height / height).min(1.0);
            let (width, height) = (width * shrink, height * shrink);
            cropped(source, (width / source_width).max(height / source_height), (width, height))
        }
    }
}

/// The part of the scaled source that fills `width` and `height`.
fn cropped(source: (u32, u32), scale: f64, (width, height): (f64, f64)) -> Layout {
    let draw = (pixels(width), pixels(height));
    let crop = ((width / scale).min(f64::from(source.0)), (height / scale).min(f64::from(source.1)));
    Layout { crop, draw, canvas: draw }
}

fn pixels(length: f64) -> u32 {
    // `as` saturates; results that are too large are rejected later.
    (length.round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(source: (u32, u32), width: u32, height: u32, fit: Fit) -> (u32, u32) {
        layout(source, (Some(width), Some(height)), fit).canvas
    }

    #[test]
    fn sizes_are_those_of_cloudflares_examples() {
        assert_eq!(canvas((1080, 720), 500, 500, Fit::ScaleDown), (500, 333));
        assert_eq!(canvas((1080, 720), 500, 500, Fit::Cover), (500, 500));
        assert_eq!(canvas((1080, 720), 1296, 1296, Fit::Crop), (1080, 720));
        assert_eq!(canvas((612, 613), 1920, 1120, Fit::AspectCrop), (612, 357));
    }

    #[test]
    fn each_fit_enlarges_or_not_as_its_name_says() {
        assert_eq!(canvas((100, 50), 400, 400, Fit::ScaleDown), (100, 50));
        assert_eq!(canvas((100, 50), 400, 400, Fit::Contain), (400, 200));
        assert_eq!(canvas((100, 50), 400, 400, Fit::Pad), (400, 400));
        assert_eq!(canvas((100, 50), 400, 400, Fit::Squeeze), (400, 400));
        assert_eq!(canvas((100, 50), 60, 400, Fit::Crop), (60, 50));
        assert_eq!(canvas((400, 400), 100, 50, Fit::ScaleUp), (400, 400));
    }

    #[test]
    fn a_missing_side_follows_the_ratio() {
        assert_eq!(layout((1080, 720), (Some(540), None), Fit::Cover).canvas, (540, 360));
        assert_eq!(layout((1080, 720), (None, Some(72)), Fit::ScaleDown).canvas, (108, 72));
        assert_eq!(layout((3, 12_000), (None, Some(10)), Fit::Contain).canvas, (1, 10));
    }
}
