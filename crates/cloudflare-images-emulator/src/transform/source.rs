//! A decoded picture on its way to a result. It may have fewer pixels than its file, but is measured in those of the file.

use image::DynamicImage;
use image::metadata::Orientation;
use media::decode::{Insets, Size};

use super::geometry::{self, Layout};
use super::transformation::{Transformation, Trim};

/// Pixels, and which part of a picture they are.
pub(crate) struct Source {
    pub(crate) pixels: DynamicImage,
    /// Width and height in pixels of the file.
    pub(crate) size: (u32, u32),
    pub(crate) insets: Insets,
}

impl From<DynamicImage> for Source {
    fn from(pixels: DynamicImage) -> Self {
        let size = (pixels.width(), pixels.height());
        Source { pixels, size, insets: Insets::default() }
    }
}

/// A rectangle of pixels, whose edges may lie between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Source {
    /// Flips the picture, then rotates it.
    pub(crate) fn flip_and_rotate(self, transformation: &Transformation) -> Source {
        let Source { mut pixels, mut size, mut insets } = self;
        if transformation.flip_horizontally {
            pixels.apply_orientation(Orientation::FlipHorizontal);
            insets = insets.flipped_horizontally();
        }
        if transformation.flip_vertically {
            pixels.apply_orientation(Orientation::FlipVertical);
            insets = insets.flipped_vertically();
        }
        for _ in 0..transformation.quarter_turns {
            insets = insets.rotated();
            size = (size.1, size.0);
        }
        let pixels = match transformation.quarter_turns {
            1 => pixels.rotate90(),
            2 => pixels.rotate180(),
            3 => pixels.rotate270(),
            _ => pixels,
        };
        Source { pixels, size, insets }
    }

    /// Size in pixels of the part of a layout that is visible.
    pub(crate) fn visible(&self, layout: &Layout) -> (f64, f64) {
        let scale = self.scale();
        (layout.crop.0 * scale.0, layout.crop.1 * scale.1)
    }

    /// The part of a layout that is visible, at a position: the fractions of the excess that are cut off at the left and at
    /// the top.
    pub(crate) fn window(&self, layout: &Layout, (x, y): (f64, f64)) -> Window {
        let scale = self.scale();
        let (width, height) = self.visible(layout);
        let left = self.insets.left + (f64::from(self.size.0) - layout.crop.0).max(0.0) * scale.0 * x;
        let top = self.insets.top + (f64::from(self.size.1) - layout.crop.1).max(0.0) * scale.1 * y;
        // The resampler refuses a window that is rounded to be beyond the pixels.
        let width = width.min(f64::from(self.pixels.width()) - left);
        let height = height.min(f64::from(self.pixels.height()) - top);
        Window { left, top, width, height }
    }

    /// Pixels for each pixel of the file, across and down.
    fn scale(&self) -> (f64, f64) {
        let across = f64::from(self.pixels.width()) - self.insets.left - self.insets.right;
        let down = f64::from(self.pixels.height()) - self.insets.top - self.insets.bottom;
        (across / f64::from(self.size.0), down / f64::from(self.size.1))
    }
}

/// How many pixels are decoded for each that is drawn, at least. Below it, what a decoder leaves out becomes visible.
const DECODED_PER_DRAWN: f64 = 1.5;

/// The size at which to decode a picture for a transformation. `size` is that of the file, upright.
pub(crate) fn decoded_size((width, height): (u32, u32), transformation: &Transformation) -> Size {
    // A trim is in pixels of the file.
    if transformation.trim != Trim::default() {
        return Size::Full;
    }
    let turned = if transformation.quarter_turns % 2 == 1 { (height, width) } else { (width, height) };
    let layout = geometry::layout(turned, transformation.size(), transformation.fit);
    let across = f64::from(layout.draw.0) / layout.crop.0;
    let down = f64::from(layout.draw.1) / layout.crop.1;
    let side = f64::from(width.max(height)) * across.max(down) * DECODED_PER_DRAWN;
    // `as` saturates.
    Size::AtLeast(side.ceil() as u32)
}

#[cfg(test)]
mod tests {
    use super::super::transformation::Fit;
    use super::*;

    fn side(size: (u32, u32), change: impl FnOnce(&mut Transformation)) -> Option<u32> {
        let mut transformation = Transformation::default();
        change(&mut transformation);
        match decoded_size(size, &transformation) {
            Size::Full => None,
            Size::AtLeast(side) => Some(side),
        }
    }

    #[test]
    fn fewer_pixels_are_decoded_for_smaller_results() {
        let photo = (4000, 3000);
        assert_eq!(side(photo, |t| t.width = Some(640)), Some(960));
        assert_eq!(side(photo, |t| (t.width, t.dpr) = (Some(320), 2.0)), Some(960));
        assert_eq!(side(photo, |t| (t.width, t.quarter_turns) = (Some(480), 1)), Some(960));
        // Of a crop, the part that is visible counts, and of both directions the one that is drawn larger.
        let square = |t: &mut Transformation| {
            (t.width, t.height, t.fit) = (Some(600), Some(600), Fit::Cover);
        };
        assert_eq!(side(photo, square), Some(1200));
        assert_eq!(
            side(photo, |t| (t.width, t.height, t.fit) = (Some(10), Some(600), Fit::Squeeze)),
            Some(1200)
        );
        // Not smaller: more than all pixels.
        assert_eq!(side(photo, |t| t.width = Some(9000)), Some(6000));
        assert_eq!(side(photo, |t| t.trim.left = 1), None);
    }

    /// The same part of the picture is drawn, whichever fraction of its pixels there is.
    #[test]
    fn windows_are_the_same_at_every_size() {
        let whole = Source::from(DynamicImage::new_rgb8(413, 207));
        let insets = Insets { left: 0.375, top: 0.125, ..Insets::default() };
        let small = Source { pixels: DynamicImage::new_rgb8(52, 26), size: (413, 207), insets };
        for (fit, width, height) in [(Fit::Cover, 20, 20), (Fit::Crop, 30, 3), (Fit::Contain, 9, 9)] {
            let layout = geometry::layout(whole.size, (Some(width), Some(height)), fit);
            for position in [(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)] {
                let (a, b) = (whole.window(&layout, position), small.window(&layout, position));
                for (a, b, inset) in [
                    (a.left, b.left, 0.375),
                    (a.top, b.top, 0.125),
                    (a.width, b.width, 0.0),
                    (a.height, b.height, 0.0),
                ] {
                    assert!((a / 8.0 - (b - inset)).abs() < 1e-9, "{fit:?} {position:?}: {a} {b}");
                }
                assert!(b.left + b.width <= 52.0 && b.top + b.height <= 26.0);
            }
        }
    }
}
