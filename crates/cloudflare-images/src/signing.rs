//! Delivery URLs, plain and signed. Pure: no clock, no network.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Sha256;
use url::Url;

use super::wire;

/// What is encoded in a name that stands in a path: everything but RFC 3986's unreserved characters.
pub(super) const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is encoded in a list of options, whose own `%`, `=` and `,` have a meaning.
const OPTIONS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Where an image is delivered: `{delivery}/{account hash}/{image id}/{variant}`.
///
/// `delivery` may have a path of its own, as a custom domain or another server has.
/// `variant` is the name of one, or a list of options such as `w=400,fit=cover` in which `#`, `(`
/// and `,` inside a value are already percent-encoded.
pub fn url(delivery: &Url, account_hash: &str, image_id: &str, variant: &str) -> Url {
    below(delivery, &path(account_hash, image_id, variant))
}

/// As [`url()`], signed with the value of one of the account's keys.
///
/// Without `expires_at` the URL is good for as long as the key. The signature is HMAC-SHA256 over
/// the path as imagedelivery.net sees it, whatever path `delivery` has, and the query.
/// Source: Cloudflare's "Serve private images".
pub fn sign(
    delivery: &Url,
    account_hash: &str,
    image_id: &str,
    variant: &str,
    key: &str,
    expires_at: Option<DateTime<Utc>>,
) -> Url {
    let mut signed = path(account_hash, image_id, variant);
    let mut url = below(delivery, &signed);
    if let Some(at) = expires_at {
        let exp = format!("exp={}", at.timestamp());
        url.set_query(Some(&exp));
        signed.push('?');
        signed.push_str(&exp);
    }
    url.query_pairs_mut().append_pair("sig", &signature(&signed, key));
    url
}

/// The account hash, which Cloudflare tells only inside an image's delivery URLs.
pub fn account_hash(image: &wire::Image) -> Option<String> {
    image.variants.iter().find_map(|url| hash_in(url, &image.id))
}

/// The segment before the image's id; what comes before it is the base, whatever that is.
fn hash_in(variant_url: &str, image_id: &str) -> Option<String> {
    let url = Url::parse(variant_url).ok()?;
    let (path, _variant) = url.path().rsplit_once('/')?;
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let base = path.strip_suffix(image_id)?.strip_suffix('/')?;
    let (_, hash) = base.rsplit_once('/')?;
    (!hash.is_empty()).then(|| hash.to_owned())
}

/// The path as imagedelivery.net sees it.
fn path(account_hash: &str, image_id: &str, variant: &str) -> String {
    let mut path = format!("/{}", utf8_percent_encode(account_hash, NAME));
    // The subpaths of a custom id are segments.
    for segment in image_id.split('/') {
        path.push('/');
        path.extend(utf8_percent_encode(segment, NAME));
    }
    path.push('/');
    path.extend(utf8_percent_encode(variant, OPTIONS));
    path
}

/// A base URL with a path, already encoded, below it.
pub(super) fn below(delivery: &Url, path: &str) -> Url {
    let mut url = delivery.clone();
    url.set_path(&format!("{}{path}", delivery.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Lower-case hexadecimal.
fn signature(text: &str, key: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes any text");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Oix0bbNaT8Rge9PuyxUBrjI6zrgnsyJ5=";
    const HASH: &str = "cheeW4oKsx5ljh8e8BoL2A";
    const ID: &str = "bc27a117-9509-446b-8c69-c81bfeac0a01";
    const BARE: &str = "f650d16a54309cc5560ccf74ba805cd33c92ba5edaa7f09abeebfaf7e3f5895e";
    const EXPIRING: &str = "72411885ee02134d38662f3e70ac8ff694f408e9d14b05125f6b022c3f403efa";

    fn base(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn image(id: &str, variants: &[&str]) -> wire::Image {
        let variants = variants.iter().map(|&url| url.to_owned()).collect();
        wire::Image {
            id: id.to_owned(),
            filename: None,
            meta: None,
            uploaded: None,
            require_signed_urls: false,
            variants,
            draft: false,
            creator: None,
        }
    }

    #[test]
    fn signs_path_and_expiry() {
        let at = DateTime::from_timestamp(1_631_289_275, 999_000_000);
        let url = sign(&base("https://imagedelivery.net"), HASH, ID, "mobile", KEY, at);
        assert_eq!(
            url.as_str(),
            format!("https://imagedelivery.net/{HASH}/{ID}/mobile?exp=1631289275&sig={EXPIRING}"),
        );
    }

    #[test]
    fn signs_the_bare_path_without_expiry() {
        let url = sign(&base("https://imagedelivery.net/"), HASH, ID, "mobile", KEY, None);
        assert_eq!(url.as_str(), format!("https://imagedelivery.net/{HASH}/{ID}/mobile?sig={BARE}"));
    }

    #[test]
    fn a_path_of_the_base_is_not_signed() {
        let url =
            sign(&base("http://127.0.0.1:8080/cloudflare/imagedelivery"), HASH, ID, "mobile", KEY, None);
        let path = format!("/cloudflare/imagedelivery/{HASH}/{ID}/mobile");
        assert_eq!((url.path(), url.query()), (path.as_str(), Some(format!("sig={BARE}").as_str())));
    }

    #[test]
    fn ids_are_encoded_by_segment_and_options_are_not() {
        let url = url(
            &base("https://example.com/cdn-cgi/imagedelivery/?x#y"),
            HASH,
            "katzen/süß 100%.png",
            "w=400,background=%23ff0000,sharpen=3",
        );
        assert_eq!(
            url.as_str(),
            format!(
                "https://example.com/cdn-cgi/imagedelivery/{HASH}/katzen/s%C3%BC%C3%9F%20100%25.png/\
                 w=400,background=%23ff0000,sharpen=3"
            ),
        );
    }

    #[test]
    fn a_variant_cannot_leave_its_segment() {
        let url = url(&base("https://imagedelivery.net"), HASH, ID, "../x?sig=1#y");
        assert_eq!(url.as_str(), format!("https://imagedelivery.net/{HASH}/{ID}/..%2Fx%3Fsig=1%23y"));
    }

    #[test]
    fn the_account_hash_is_what_precedes_the_id() {
        let plain = format!("https://imagedelivery.net/{HASH}/{ID}/public");
        assert_eq!(account_hash(&image(ID, &[&plain])).as_deref(), Some(HASH));
        let prefixed = format!("http://localhost:1/cloudflare/imagedelivery/{HASH}/{ID}/public");
        assert_eq!(account_hash(&image(ID, &["nonsense", &prefixed])).as_deref(), Some(HASH));
        for id in ["katzen/süß.png", "katzen%2Fs%C3%BC%C3%9F.png"] {
            let url = format!("https://imagedelivery.net/{HASH}/{id}/public");
            assert_eq!(account_hash(&image("katzen/süß.png", &[&url])).as_deref(), Some(HASH));
        }
    }

    #[test]
    fn no_account_hash_where_the_id_is_not() {
        let other = format!("https://imagedelivery.net/{HASH}/another/public");
        assert_eq!(account_hash(&image(ID, &[&other, "https://imagedelivery.net/", "%"])), None);
        let suffix = format!("https://imagedelivery.net/{HASH}/x{ID}/public");
        assert_eq!(account_hash(&image(ID, &[&suffix])), None);
        assert_eq!(account_hash(&image(ID, &[])), None);
    }
}
