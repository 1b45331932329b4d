//! Where the pixels go: how much of a source is shown, how large, on how large a canvas.

use super::plan::Fit;

/// The outcome of fitting a source to a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Layout {
    /// Size of the part of the source that is shown, in its pixels.
    pub(crate) crop: (f64, f64),
    /// Size that part is drawn at, in pixels.
    pub(crate) draw: (u32, u32),
    /// Size of the output; larger than `draw` only for [`Fit::Pad`].
    pub(crate) canvas: (u32, u32),
}

/// Fits a source, in pixels, to a box whose sides may be open: an open side follows the source's ratio.
pub(crate) fn layout(source: (u32, u32), size: (Option<u32>, Option<u32>), fit: Fit) -> Layout {
    let (source_width, source_height) = (f64::from(source.0), f64::from(source.1));
    let (width, height) = match size {
        (Some(width), Some(height)) => (f64::from(width), f64::from(height)),
        (Some(width), None) => (f64::from(width), f64::from(width) * source_height / source_width),
        (None, Some(height)) => (f64::from(height) * source_width / source_height, f64::from(height)),
        (None, None) => (source_width, source_height),
    };
    let (across, down) = (width / source_width, height / source_height);
    let inside = across.min(down);
    let scaled = |scale: f64| (pixels(source_width * scale), pixels(source_height * scale));
    let whole = |draw| Layout { crop: (source_width, source_height), draw, canvas: draw };
    match fit {
        Fit::ScaleDown => whole(scaled(inside.min(1.0))),
        Fit::ScaleUp => whole(scaled(inside.max(1.0))),
        Fit::Contain => whole(scaled(inside)),
        Fit::Squeeze => whole((pixels(width), pixels(height))),
        Fit::Pad => Layout { canvas: (pixels(width), pixels(height)), ..whole(scaled(inside)) },
        Fit::Cover => cut(source, across.max(down), (width, height)),
        Fit::Crop => {
            // Never enlarged: a side the source does not fill is left as it is.
            let scale = across.max(down).min(1.0);
            cut(source, scale, (width.min(source_width * scale), height.min(source_height * scale)))
        }
        Fit::AspectCrop => {
            let shrink = (source_width / width).min(source_height / height).min(1.0);
            let (width, height) = (width * shrink, height * shrink);
            cut(source, (width / source_width).max(height / source_height), (width, height))
        }
    }
}

/// Shows as much of the scaled source as fills `width` and `height`.
fn cut(source: (u32, u32), scale: f64, (width, height): (f64, f64)) -> Layout {
    let draw = (pixels(width), pixels(height));
    let crop = ((width / scale).min(f64::from(source.0)), (height / scale).min(f64::from(source.1)));
    Layout { crop, draw, canvas: draw }
}

fn pixels(length: f64) -> u32 {
    // `as` saturates; an output that large is refused later.
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
    fn an_open_side_follows_the_ratio() {
        assert_eq!(layout((1080, 720), (Some(540), None), Fit::Cover).canvas, (540, 360));
        assert_eq!(layout((1080, 720), (None, Some(72)), Fit::ScaleDown).canvas, (108, 72));
        assert_eq!(layout((3, 12_000), (None, Some(10)), Fit::Contain).canvas, (1, 10));
    }
}
