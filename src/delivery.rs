//! Delivery URLs and the pixel sizes behind them: pure functions.

pub mod colour;

pub mod fit;

pub mod srcset;

pub mod transform;

use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use crate::entity::image::{Format, Model};
use cloudflare_images::signing;
use cloudflare_images::wire::{Key, MAX_SIDE, Metadata, Variant, VariantOptions};

/// Longest side Cloudflare delivers, in pixels.
pub const MAX_WIDTH: i32 = MAX_SIDE as i32;

/// One sized version of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// Name of the variant, if it is one.
    pub variant: Option<String>,
    pub url: Url,
    /// Width and height in pixels; `None` when they cannot be told in advance.
    pub size: Option<(u32, u32)>,
    /// When the URL stops working; `None` for a URL that needs no signature.
    pub expires_at: Option<DateTime<Utc>>,
    /// False when it stands in for what was asked for and cannot be had.
    pub exact: bool,
}

/// What it takes to sign URLs.
#[derive(Debug, Clone)]
pub struct Signer {
    pub key: Key,
    /// How long a URL stays valid at least.
    pub ttl: Duration,
    pub now: DateTime<Utc>,
}

/// The URL of a variant, or of an option list, of a provisioned image, signed if a signer is given, and when it stops
/// working.
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
    let whole = source(image)?;
    match image.format {
        // Cloudflare never resizes SVG.
        Format::Svg => Some(whole),
        Format::Heic => None,
        _ if !options.other.is_empty() => None,
        _ => Some(fit::fitted(options.fit.known()?.into(), options.width, options.height, whole)),
    }
}

/// Whether a variant delivers metadata beyond the copyright notice. One with a way that we do not know may.
pub fn keeps_metadata(variant: &Variant) -> bool {
    !matches!(variant.options.metadata.known(), Some(Metadata::Copyright | Metadata::None))
}

/// Width and height of the original in pixels.
pub fn source(image: &Model) -> Option<(u32, u32)> {
    Some((u32::try_from(image.width?).ok()?, u32::try_from(image.height?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

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
