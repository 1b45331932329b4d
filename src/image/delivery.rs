//! Delivery URLs and the pixel sizes behind them: pure functions.

use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use crate::cloudflare::signing;
use crate::cloudflare::wire::{Fit, Key, VariantOptions};
use crate::entity::image::{Format, Model};

/// One sized version of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// Name of the variant.
    pub variant: String,
    pub url: Url,
    /// Width and height in pixels; `None` when they cannot be told in advance.
    pub size: Option<(u32, u32)>,
    /// When the URL stops working; `None` for a URL that needs no signature.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What it takes to sign URLs.
#[derive(Debug, Clone)]
pub struct Signer {
    pub key: Key,
    /// How long a URL stays valid at least.
    pub ttl: Duration,
    pub now: DateTime<Utc>,
}

/// The URL of a variant of a provisioned image, signed if a signer is given, and when it stops working.
pub fn url(
    delivery: &Url,
    image: &Model,
    variant: &str,
    signer: Option<&Signer>,
) -> (Url, Option<DateTime<Utc>>) {
    // Both are there in every provisioned row; a constraint of the table says so.
    let hash = image.account_hash.as_deref().unwrap_or_default();
    let id = image.cf_image_id.as_deref().unwrap_or_default();
    match signer {
        None => (signing::url(delivery, hash, id, variant), None),
        Some(signer) => {
            let expires_at = expiry(signer.now, signer.ttl);
            let url = signing::sign(delivery, hash, id, variant, &signer.key.value, Some(expires_at));
            (url, Some(expires_at))
        }
    }
}

/// When a URL handed out now expires: at least `ttl` from now and at most twice that, at a multiple of `ttl`, so that
/// everybody who asks within one such window gets the same string and caches keep working.
pub fn expiry(now: DateTime<Utc>, ttl: Duration) -> DateTime<Utc> {
    let window = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
    let end = (now.timestamp().saturating_add(window).saturating_add(window - 1)) / window * window;
    DateTime::from_timestamp(end, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Pixels a variant of this image will have.
///
/// `None` for an image of unknown size, for HEIC, whose encoding after conversion is Cloudflare's own affair, and for
/// a variant with a fit or an option that we do not know.
pub fn rendered_size(image: &Model, options: &VariantOptions) -> Option<(u32, u32)> {
    let source = (u32::try_from(image.width?).ok()?, u32::try_from(image.height?).ok()?);
    match image.format {
        // Cloudflare never resizes SVG.
        Format::Svg => Some(source),
        Format::Heic => None,
        _ if !options.other.is_empty() => None,
        _ => Some(fitted(options.fit.known()?, options.width, options.height, source)),
    }
}

/// Size of an image of `source` pixels after fitting it to a box; a side left out follows the aspect ratio.
/// Source: Cloudflare's "Create variants" and "Features", fit.
pub fn fitted(fit: Fit, width: Option<u32>, height: Option<u32>, source: (u32, u32)) -> (u32, u32) {
    let (w, h) = (f64::from(source.0), f64::from(source.1));
    let ratio_w = width.map_or(f64::INFINITY, |width| f64::from(width) / w);
    let ratio_h = height.map_or(f64::INFINITY, |height| f64::from(height) / h);
    let inside = ratio_w.min(ratio_h);
    if inside.is_infinite() {
        return source;
    }
    let scaled = |scale: f64| {
        let side = |length: f64| (length * scale).round().max(1.0) as u32;
        (
            width.filter(|_| ratio_w == scale).unwrap_or_else(|| side(w)),
            height.filter(|_| ratio_h == scale).unwrap_or_else(|| side(h)),
        )
    };
    match (fit, width.zip(height)) {
        (Fit::Cover | Fit::Pad, Some(exact)) => exact,
        // Shrunk until it covers the box, never enlarged, and cut where it sticks out.
        (Fit::Crop, Some((width, height))) => {
            let scale = ratio_w.max(ratio_h).min(1.0);
            (width.min((w * scale).round() as u32), height.min((h * scale).round() as u32))
        }
        (Fit::Contain | Fit::Cover | Fit::Pad, _) => scaled(inside),
        (Fit::ScaleDown | Fit::Crop, _) => scaled(inside.min(1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_cloudflares_examples() {
        for (fit, width, height, source, expected) in [
            (Fit::ScaleDown, Some(500), Some(500), (1080, 720), (500, 333)),
            (Fit::ScaleDown, Some(1366), Some(768), (4000, 3000), (1024, 768)),
            (Fit::ScaleDown, Some(2000), Some(2000), (1080, 720), (1080, 720)),
            (Fit::ScaleDown, None, None, (1080, 720), (1080, 720)),
            (Fit::ScaleDown, Some(100), None, (1080, 720), (100, 67)),
            (Fit::Contain, Some(2160), None, (1080, 720), (2160, 1440)),
            (Fit::Cover, Some(500), Some(500), (1080, 720), (500, 500)),
            (Fit::Crop, Some(1296), Some(1296), (1080, 720), (1080, 720)),
            (Fit::Crop, Some(500), Some(500), (1080, 720), (500, 500)),
            (Fit::Crop, Some(150), Some(20), (45, 101), (45, 20)),
            (Fit::Pad, Some(500), Some(500), (1080, 720), (500, 500)),
            (Fit::ScaleDown, Some(10), Some(10), (12000, 1), (10, 1)),
        ] {
            assert_eq!(
                fitted(fit, width, height, source),
                expected,
                "{fit:?} {width:?}x{height:?} of {source:?}"
            );
        }
    }

    #[test]
    fn an_expiry_is_the_same_all_through_a_window_and_never_too_soon() {
        let ttl = Duration::from_secs(3600);
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        assert_eq!(expiry(at(7200), ttl), at(10800));
        assert_eq!(expiry(at(7201), ttl), at(14400));
        assert_eq!(expiry(at(10800), ttl), at(14400));
        for now in 7201..=10800 {
            assert_eq!(expiry(at(now), ttl), at(14400));
        }
    }
}
