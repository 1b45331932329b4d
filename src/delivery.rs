//! Delivery URLs of images, and the pixel size of what they deliver. All functions are pure.

pub mod colour;

pub mod fit;

pub mod srcset;

pub mod transform;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::entity::image::{Format, Model};
use cloudflare_images::signing::{DeliveryUrls, SigningKey};
use cloudflare_images::wire::{MAX_SIDE, Metadata, Variant, VariantOptions};

/// Longest side that Cloudflare delivers, in pixels.
pub const MAX_DELIVERED_SIDE: i32 = MAX_SIDE as i32;

/// A sized version of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// Name of the variant; `None` for a transformation.
    pub variant: Option<String>,
    /// Absolute URL.
    pub url: String,
    /// Width and height in pixels; `None` if they cannot be computed.
    pub size: Option<(u32, u32)>,
    /// When the URL stops working; `None` for a URL that needs no signature.
    pub expires_at: Option<DateTime<Utc>>,
    /// False if this is a fallback because the requested version cannot be delivered.
    pub exact: bool,
}

/// Parameters of signed URLs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub key: &'a SigningKey,
    /// Minimum validity of a URL.
    pub ttl: Duration,
    pub now: DateTime<Utc>,
}

/// The delivery URL of a provisioned image, and when it expires. `variant` is the name of a variant or a list of URL options.
/// With `signer`, the URL is signed.
pub fn url(
    delivery: &DeliveryUrls,
    image: &Model,
    variant: &str,
    signer: Option<&Signer<'_>>,
) -> (String, Option<DateTime<Utc>>) {
    // A constraint of the table ensures that every provisioned row has both.
    let hash = image.account_hash.as_deref().unwrap_or_default();
    let id = image.cf_image_id.as_deref().unwrap_or_default();
    match signer {
        None => (delivery.plain(hash, id, variant), None),
        Some(signer) => {
            let expires_at = expiry(signer.now, signer.ttl);
            (delivery.signed(hash, id, variant, signer.key, Some(expires_at)), Some(expires_at))
        }
    }
}

/// When a URL signed now expires: after at least `ttl` and at most twice that, at a multiple of `ttl`. URLs signed between two
/// multiples are equal, so that caches can use them.
pub fn expiry(now: DateTime<Utc>, ttl: Duration) -> DateTime<Utc> {
    let interval = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
    let end = (now.timestamp().saturating_add(interval).saturating_add(interval - 1)) / interval * interval;
    DateTime::from_timestamp(end, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Width and height in pixels of a variant of an image.
///
/// `None` for an image of unknown size, for HEIC, which Cloudflare converts in a way it does not document, and for a variant
/// with an unknown fit or option.
pub fn rendered_size(image: &Model, options: &VariantOptions) -> Option<(u32, u32)> {
    let original = original_size(image)?;
    match image.format {
        // Cloudflare never resizes SVG.
        Format::Svg => Some(original),
        Format::Heic => None,
        _ if !options.other.is_empty() => None,
        _ => Some(fit::fitted_size(options.fit.known()?.into(), options.width, options.height, original)),
    }
}

/// Whether a variant delivers metadata beyond the copyright notice. True for an unknown value of `metadata`, to be safe.
pub fn keeps_metadata(variant: &Variant) -> bool {
    !matches!(variant.options.metadata.known(), Some(Metadata::Copyright | Metadata::None))
}

/// Width and height of the original in pixels.
pub fn original_size(image: &Model) -> Option<(u32, u32)> {
    Some((u32::try_from(image.width?).ok()?, u32::try_from(image.height?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_the_same_within_an_interval_and_never_too_soon() {
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
