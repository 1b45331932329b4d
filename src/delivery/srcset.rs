//! The candidates of a `srcset`: the widths, and the variants or transformations that deliver them.

use std::fmt::Write;

use super::fit::{Fit, fitted_size};
use super::transform::Transform;
use super::{MAX_DELIVERED_SIDE, Rendition, original_size};
use crate::entity::image::Model;
use crate::error::{Error, Result};
use cloudflare_images::wire::Variant;

/// Most widths of one `srcset`.
pub const MAX_WIDTHS: usize = 12;
/// Longest `sizes`, in characters.
const MAX_SIZES: usize = 500;
/// Largest width of `src`, which browsers without support for `srcset` load, in pixels.
const FALLBACK_WIDTH: u32 = 1280;

/// The attributes of a responsive `<img>`.
#[derive(Debug, Clone, PartialEq)]
pub struct SrcSet {
    /// Absolute URL.
    pub src: String,
    pub srcset: String,
    pub sizes: String,
    /// Width and height of `src` in pixels; `None` if they cannot be computed.
    pub size: Option<(u32, u32)>,
    /// In the order of `srcset`, by ascending width.
    pub candidates: Vec<Rendition>,
}

/// A rendition with the width of its descriptor in pixels; `None` if the width is unknown.
pub type Candidate = (Option<u32>, Rendition);

/// Checks the requested widths.
///
/// # Errors
/// `BAD_USER_INPUT` at `widths`.
pub fn check_widths(widths: &[i32]) -> Result<()> {
    if (1..=MAX_WIDTHS).contains(&widths.len())
        && widths.iter().all(|width| (1..=MAX_DELIVERED_SIDE).contains(width))
    {
        return Ok(());
    }
    let message = format!("Give 1 to {MAX_WIDTHS} widths, each from 1 to {MAX_DELIVERED_SIDE} pixels.");
    Err(Error::invalid("widths", message))
}

/// Checks a `sizes` attribute. Clients copy it into HTML, so characters that end an attribute are rejected.
///
/// # Errors
/// `BAD_USER_INPUT` at `sizes`.
pub fn check_sizes(sizes: &str) -> Result<()> {
    let quoted = |c: char| matches!(c, '"' | '\'' | '`') || c.is_control();
    if !sizes.trim().is_empty() && sizes.chars().count() <= MAX_SIZES && !sizes.contains(quoted) {
        return Ok(());
    }
    let message = format!(
        "`sizes` must be an attribute such as `(min-width: 60em) 33vw, 100vw`, of at most {MAX_SIZES} characters, without \
         quotes and control characters."
    );
    Err(Error::invalid("sizes", message))
}

/// One transformation per requested width, ascending. Widths above that of the original are left out; if all are, the width
/// of the original is used. `base.width` and `base.height` are an aspect ratio, to which the image is cropped unless
/// `base.fit` is set. Transformations that would be higher than Cloudflare delivers are left out; the result may be empty.
///
/// # Errors
/// `BAD_USER_INPUT` under `transform` for options that are invalid for every image.
pub fn transforms_for_widths(widths: &[i32], base: &Transform, image: &Model) -> Result<Vec<Transform>> {
    let ratio = check_base(base)?;
    let original = original_size(image).map(|original| base.rotated_size(original).0);
    let transforms = usable_widths(widths, original).into_iter().map(|width| with_width(base, ratio, width));
    Ok(transforms.filter(|transform| transform.check().is_ok() && transform.is_deliverable(image)).collect())
}

/// Checks the transformation of a `srcset`, whatever the image; returns its aspect ratio, the height as a multiple of the width.
///
/// # Errors
/// `BAD_USER_INPUT` under `transform`.
pub fn check_base(base: &Transform) -> Result<Option<f64>> {
    if base.dpr.is_some() {
        let message = "Omit `dpr`: `widths` are in device pixels.";
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
            let message = "In a srcset, `width` and `height` are the aspect ratio: give both or neither.";
            return Err(Error::invalid("width", message).under("transform"));
        }
    };
    with_width(base, ratio, 1).check().map_err(|e| e.under("transform"))?;
    Ok(ratio)
}

fn with_width(base: &Transform, ratio: Option<f64>, width: i32) -> Transform {
    let height = ratio.map(|ratio| (f64::from(width) * ratio).round().max(1.0) as i32);
    let fit = base.fit.or(ratio.map(|_| Fit::Cover));
    Transform { width: Some(width), height, fit, ..base.clone() }
}

/// The named variants for the requested widths, among those that show the whole image: for each width the narrowest variant
/// that is wide enough, or else the widest. Ascending, with the width that each has.
pub fn variants_for_widths<'a>(
    widths: &[i32],
    variants: &[&'a Variant],
    image: &Model,
) -> Vec<(u32, &'a Variant)> {
    let Some(original) = original_size(image) else { return Vec::new() };
    let uncropped = uncropped_variants(variants, image);
    let mut chosen: Vec<(u32, &Variant)> = usable_widths(widths, Some(original.0))
        .into_iter()
        .filter_map(|wanted| {
            let wide_enough = uncropped.iter().find(|((width, _), _)| *width >= wanted.unsigned_abs());
            wide_enough.or(uncropped.last()).map(|((width, _), variant)| (*width, *variant))
        })
        .collect();
    chosen.dedup_by_key(|(width, _)| *width);
    chosen
}

/// The named variant that is nearest to a size in pixels: the smallest variant that shows the whole image and is at least as
/// large, or else the largest.
pub fn nearest_variant<'a>(
    wanted: (u32, u32),
    variants: &[&'a Variant],
    image: &Model,
) -> Option<&'a Variant> {
    let uncropped = uncropped_variants(variants, image);
    let large_enough =
        uncropped.iter().find(|((width, height), _)| *width >= wanted.0 && *height >= wanted.1);
    large_enough.or(uncropped.last()).map(|(_, variant)| *variant)
}

/// The named variants that show the whole image, unchanged and not enlarged, with the size that each has. Ascending, one
/// variant per width.
fn uncropped_variants<'a>(variants: &[&'a Variant], image: &Model) -> Vec<((u32, u32), &'a Variant)> {
    let Some(original) = original_size(image) else { return Vec::new() };
    let mut uncropped: Vec<((u32, u32), &Variant)> = variants
        .iter()
        .filter(|variant| variant.options.blur.is_none() && variant.options.other.is_empty())
        .filter_map(|variant| {
            let options = &variant.options;
            let fit = Fit::from(options.fit.known()?);
            let has_both_sides = options.width.is_some() && options.height.is_some();
            let is_uncropped = matches!(fit, Fit::ScaleDown | Fit::Contain) || !has_both_sides;
            let size = fitted_size(fit, options.width, options.height, original);
            (is_uncropped && size.0 <= original.0).then_some((size, *variant))
        })
        .collect();
    uncropped.sort_by(|((a, _), first), ((b, _), second)| a.cmp(b).then_with(|| first.id.cmp(&second.id)));
    uncropped.dedup_by_key(|((width, _), _)| *width);
    uncropped
}

/// Builds the attributes. Of several candidates with one width, the first is used. `None` without candidates.
pub fn assemble(mut candidates: Vec<Candidate>, sizes: &str) -> Option<SrcSet> {
    candidates.sort_by_key(|(width, _)| *width);
    candidates.dedup_by_key(|(width, _)| *width);
    let length: usize = candidates.iter().map(|(_, rendition)| rendition.url.len() + 10).sum();
    let mut srcset = String::with_capacity(length);
    for (index, (width, rendition)) in candidates.iter().enumerate() {
        srcset.push_str(if index > 0 { ", " } else { "" });
        srcset.push_str(&rendition.url);
        if let Some(width) = width {
            let _ = write!(srcset, " {width}w");
        }
    }
    let fallback = candidates.iter().rfind(|(width, _)| width.is_none_or(|width| width <= FALLBACK_WIDTH));
    let (_, src) = fallback.or(candidates.first())?;
    Some(SrcSet {
        src: src.url.clone(),
        size: src.size,
        srcset,
        sizes: sizes.to_owned(),
        candidates: candidates.into_iter().map(|(_, rendition)| rendition).collect(),
    })
}

fn usable_widths(widths: &[i32], original: Option<u32>) -> Vec<i32> {
    let max = original.and_then(|width| i32::try_from(width).ok()).unwrap_or(i32::MAX);
    let mut usable: Vec<i32> = widths.iter().copied().filter(|width| *width <= max).collect();
    if usable.is_empty() {
        usable.push(max.min(MAX_DELIVERED_SIDE));
    }
    usable.sort_unstable();
    usable.dedup();
    usable
}
