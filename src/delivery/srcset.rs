//! The candidates of a `srcset`: which widths, of which variants or transformations.

use url::Url;

use super::fit::{Fit, fitted};
use super::transform::Transform;
use super::{MAX_WIDTH, Rendition, source};
use crate::entity::image::Model;
use crate::error::{Error, Result};
use cloudflare_images::wire::Variant;

/// Most widths of one `srcset`.
pub const MAX_WIDTHS: usize = 12;
/// Longest `sizes`, in characters.
const MAX_SIZES: usize = 500;
/// The widest candidate that a browser without `srcset` is given, in pixels.
const FALLBACK_WIDTH: u32 = 1280;

/// All that an `<img>` needs.
#[derive(Debug, Clone, PartialEq)]
pub struct SrcSet {
    pub src: Url,
    pub srcset: String,
    pub sizes: String,
    /// Width and height in pixels of `src`; `None` when they cannot be told in advance.
    pub size: Option<(u32, u32)>,
    /// In the order of `srcset`: from the narrowest to the widest.
    pub candidates: Vec<Rendition>,
}

/// A version with the width that its descriptor says, in pixels; `None` when nobody knows.
pub type Candidate = (Option<u32>, Rendition);

/// Checks the widths asked for.
///
/// # Errors
/// `BAD_USER_INPUT` at `widths`.
pub fn check_widths(widths: &[i32]) -> Result<()> {
    if (1..=MAX_WIDTHS).contains(&widths.len()) && widths.iter().all(|width| (1..=MAX_WIDTH).contains(width))
    {
        return Ok(());
    }
    let message = format!("1 to {MAX_WIDTHS} widths are expected, each 1 to {MAX_WIDTH} pixels.");
    Err(Error::invalid("widths", message))
}

/// Checks a `sizes` attribute, which is passed through into HTML.
///
/// # Errors
/// `BAD_USER_INPUT` at `sizes`.
pub fn check_sizes(sizes: &str) -> Result<()> {
    let quoted = |c: char| matches!(c, '"' | '\'' | '`') || c.is_control();
    if !sizes.trim().is_empty() && sizes.chars().count() <= MAX_SIZES && !sizes.contains(quoted) {
        return Ok(());
    }
    let message = format!(
        "A `sizes` attribute is expected, such as `(min-width: 60em) 33vw, 100vw`: at most {MAX_SIZES} characters, no \
         quotes and no control characters."
    );
    Err(Error::invalid("sizes", message))
}

/// One transformation per width, ascending, without those wider than the original; the original's own width when
/// all are. The width and height of `base` are the ratio of each, and fill it unless `base` says another fit. Those that
/// would be too high are left out, which may be all.
///
/// # Errors
/// `BAD_USER_INPUT` under `transform`, for what is wrong whatever the image.
pub fn transforms(widths: &[i32], base: &Transform, image: &Model) -> Result<Vec<Transform>> {
    if base.dpr.is_some() {
        let message = "`widths` are the device's pixels already: leave `dpr` out.";
        return Err(Error::invalid("dpr", message).under("transform"));
    }
    let ratio = match (base.width, base.height) {
        (None, None) => None,
        (Some(width), Some(height)) => {
            let sides = Transform { width: base.width, height: base.height, ..Transform::default() };
            sides.check().map_err(|e| e.under("transform"))?;
            Some(f64::from(height) / f64::from(width))
        }
        _ => {
            let message = "In a srcset `width` and `height` are the aspect ratio: give both or neither.";
            return Err(Error::invalid("width", message).under("transform"));
        }
    };
    let of_width = |width: i32| {
        let height = ratio.map(|ratio| (f64::from(width) * ratio).round().max(1.0) as i32);
        let fit = base.fit.or(ratio.map(|_| Fit::Cover));
        Transform { width: Some(width), height, fit, ..base.clone() }
    };
    of_width(1).check().map_err(|e| e.under("transform"))?;
    let original = source(image).map(|whole| base.turned_size(whole).0);
    let transforms = kept(widths, original).into_iter().map(of_width);
    Ok(transforms.filter(|transform| transform.check().is_ok() && transform.is_deliverable(image)).collect())
}

/// The named variants that show the whole image as it is, one per width asked for: the narrowest that is wide enough,
/// or else the widest. Ascending, with the width each will have.
pub fn named<'a>(widths: &[i32], variants: &[&'a Variant], image: &Model) -> Vec<(u32, &'a Variant)> {
    let Some(original) = source(image) else { return Vec::new() };
    let fitting = whole(variants, image);
    let mut chosen: Vec<(u32, &Variant)> = kept(widths, Some(original.0))
        .into_iter()
        .filter_map(|wanted| {
            let wide_enough = fitting.iter().find(|((width, _), _)| *width >= wanted.unsigned_abs());
            wide_enough.or(fitting.last()).map(|((width, _), variant)| (*width, *variant))
        })
        .collect();
    chosen.dedup_by_key(|(width, _)| *width);
    chosen
}

/// The named variant that comes nearest to a size in pixels: the smallest that shows the whole image and covers it, or
/// else the largest.
pub fn nearest<'a>(wanted: (u32, u32), variants: &[&'a Variant], image: &Model) -> Option<&'a Variant> {
    let fitting = whole(variants, image);
    let large_enough = fitting.iter().find(|((width, height), _)| *width >= wanted.0 && *height >= wanted.1);
    large_enough.or(fitting.last()).map(|(_, variant)| *variant)
}

/// The named variants that show the whole image as it is and not enlarged, with the size each will have: ascending, one
/// of each width.
fn whole<'a>(variants: &[&'a Variant], image: &Model) -> Vec<((u32, u32), &'a Variant)> {
    let Some(original) = source(image) else { return Vec::new() };
    let mut fitting: Vec<((u32, u32), &Variant)> = variants
        .iter()
        .filter(|variant| variant.options.blur.is_none() && variant.options.other.is_empty())
        .filter_map(|variant| {
            let options = &variant.options;
            let fit = Fit::from(options.fit.known()?);
            let changes_ratio = options.width.is_some() && options.height.is_some();
            let keeps = matches!(fit, Fit::ScaleDown | Fit::Contain) || !changes_ratio;
            let size = fitted(fit, options.width, options.height, original);
            (keeps && size.0 <= original.0).then_some((size, *variant))
        })
        .collect();
    fitting.sort_by(|((a, _), first), ((b, _), second)| a.cmp(b).then_with(|| first.id.cmp(&second.id)));
    fitting.dedup_by_key(|((width, _), _)| *width);
    fitting
}

/// Puts the attributes together. Candidates of the same width are one.
pub fn assemble(mut candidates: Vec<Candidate>, sizes: &str) -> Option<SrcSet> {
    candidates.sort_by_key(|(width, _)| *width);
    candidates.dedup_by_key(|(width, _)| *width);
    let descriptors = candidates.iter().map(|(width, rendition)| match width {
        Some(width) => format!("{} {width}w", rendition.url),
        None => rendition.url.to_string(),
    });
    let srcset = descriptors.collect::<Vec<_>>().join(", ");
    let narrow = candidates.iter().rfind(|(width, _)| width.is_none_or(|width| width <= FALLBACK_WIDTH));
    let (_, src) = narrow.or(candidates.first())?;
    Some(SrcSet {
        src: src.url.clone(),
        size: src.size,
        srcset,
        sizes: sizes.to_owned(),
        candidates: candidates.into_iter().map(|(_, rendition)| rendition).collect(),
    })
}

fn kept(widths: &[i32], original: Option<u32>) -> Vec<i32> {
    let most = original.and_then(|width| i32::try_from(width).ok()).unwrap_or(i32::MAX);
    let mut kept: Vec<i32> = widths.iter().copied().filter(|width| *width <= most).collect();
    if kept.is_empty() {
        kept.push(most.min(MAX_WIDTH));
    }
    kept.sort_unstable();
    kept.dedup();
    kept
}
