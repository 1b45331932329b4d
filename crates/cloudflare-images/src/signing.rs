//! Delivery URLs, plain and signed, as pure functions.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Sha256;
use url::Url;

use super::wire;

/// The characters to encode in a segment of a path: all but the unreserved ones of RFC 3986.
pub(super) const PATH_SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The characters to encode in a variant or a list of options. Not among them are `=` and `,`, which separate options, and
/// `%`, because the values of options are encoded already.
const VARIANT: &AsciiSet = &CONTROLS
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

/// Makes the delivery URLs of an account's images.
#[derive(Debug, Clone)]
pub struct DeliveryUrls {
    /// Without query, fragment and final slash.
    base: String,
}

/// A signing key of an account, ready for use.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// `value` is that of a [`Key`](wire::Key).
    pub fn new(value: &str) -> SigningKey {
        SigningKey(Hmac::new_from_slice(value.as_bytes()).expect("HMAC takes a key of any length"))
    }
}

impl DeliveryUrls {
    /// `base` is such as `https://imagedelivery.net` or `https://example.com/cdn-cgi/imagedelivery`.
    pub fn new(base: &Url) -> DeliveryUrls {
        let base = join_path(base, "");
        DeliveryUrls { base: base.as_str().trim_end_matches('/').to_owned() }
    }

    /// The delivery URL of an image: `{base}/{account hash}/{image id}/{variant}`.
    ///
    /// `account_hash` is not the account id; [`account_hash()`] finds it in an image.
    /// `variant` is the id of a variant, or a list of options such as `w=400,fit=cover` if the account has flexible variants
    /// enabled. In a list of options, `#`, `(` and `,` inside a value have to be percent-encoded.
    pub fn plain(&self, account_hash: &str, image_id: &str, variant: &str) -> String {
        let mut url = self.start(account_hash, image_id, variant, 0);
        add_path(&mut url, account_hash, image_id, variant);
        url
    }

    /// The delivery URL of an image with a signature, which images that require signed URLs are delivered by.
    ///
    /// `key` is any signing key of the account. The URL expires at `expires_at`, to the second; without it the URL is valid as
    /// long as the key exists with this value. The other parameters are those of [`DeliveryUrls::plain`].
    ///
    /// The signature is HMAC-SHA256 in lower-case hexadecimal over `/{account hash}/{image id}/{variant}`, without the path of
    /// the base URL, and the query `?exp={Unix seconds}`. Source: developers.cloudflare.com, "Serve private images".
    pub fn signed(
        &self,
        account_hash: &str,
        image_id: &str,
        variant: &str,
        key: &SigningKey,
        expires_at: Option<DateTime<Utc>>,
    ) -> String {
        let mut url = self.start(account_hash, image_id, variant, 100);
        add_path(&mut url, account_hash, image_id, variant);
        if let Some(at) = expires_at {
            let _ = write!(url, "?exp={}", at.timestamp());
        }
        let signature = key.0.clone().chain_update(&url.as_bytes()[self.base.len()..]).finalize();
        url.push_str(if expires_at.is_some() { "&sig=" } else { "?sig=" });
        let mut digits = [0; 64];
        hex::encode_to_slice(signature.into_bytes(), &mut digits).expect("two digits for each of 32 bytes");
        url.push_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"));
        url
    }

    /// The base, with room for the rest.
    fn start(&self, account_hash: &str, image_id: &str, variant: &str, more: usize) -> String {
        let length = self.base.len() + account_hash.len() + image_id.len() + variant.len() + more + 8;
        let mut url = String::with_capacity(length);
        url.push_str(&self.base);
        url
    }
}

/// The account hash, from the delivery URLs of an image: no call of the API returns it. `None` if the image has no delivery
/// URL that contains its id.
pub fn account_hash(image: &wire::Image) -> Option<String> {
    image.variants.iter().find_map(|url| account_hash_in_url(url, &image.id))
}

/// The path segment before the image's id. The base URL before it may have any path.
fn account_hash_in_url(variant_url: &str, image_id: &str) -> Option<String> {
    let url = Url::parse(variant_url).ok()?;
    let (path, _variant) = url.path().rsplit_once('/')?;
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let base = path.strip_suffix(image_id)?.strip_suffix('/')?;
    let (_, hash) = base.rsplit_once('/')?;
    (!hash.is_empty()).then(|| hash.to_owned())
}

/// Appends the path of a delivery URL, relative to the base URL.
fn add_path(url: &mut String, account_hash: &str, image_id: &str, variant: &str) {
    url.push('/');
    url.extend(utf8_percent_encode(account_hash, PATH_SEGMENT));
    // The slashes of a custom id stay unencoded.
    for segment in image_id.split('/') {
        url.push('/');
        url.extend(utf8_percent_encode(segment, PATH_SEGMENT));
    }
    url.push('/');
    url.extend(utf8_percent_encode(variant, VARIANT));
}

/// A base URL with an encoded path appended, without query and fragment.
pub(super) fn join_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Oix0bbNaT8Rge9PuyxUBrjI6zrgnsyJ5=";
    const HASH: &str = "cheeW4oKsx5ljh8e8BoL2A";
    const ID: &str = "bc27a117-9509-446b-8c69-c81bfeac0a01";
    const WITHOUT_EXPIRY: &str = "f650d16a54309cc5560ccf74ba805cd33c92ba5edaa7f09abeebfaf7e3f5895e";
    const WITH_EXPIRY: &str = "72411885ee02134d38662f3e70ac8ff694f408e9d14b05125f6b022c3f403efa";

    fn urls(base: &str) -> DeliveryUrls {
        DeliveryUrls::new(&Url::parse(base).unwrap())
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
        let url = urls("https://imagedelivery.net").signed(HASH, ID, "mobile", &SigningKey::new(KEY), at);
        assert_eq!(
            url.as_str(),
            format!("https://imagedelivery.net/{HASH}/{ID}/mobile?exp=1631289275&sig={WITH_EXPIRY}"),
        );
    }

    #[test]
    fn signs_the_path_alone_without_expiry() {
        let url = urls("https://imagedelivery.net/").signed(HASH, ID, "mobile", &SigningKey::new(KEY), None);
        assert_eq!(
            url.as_str(),
            format!("https://imagedelivery.net/{HASH}/{ID}/mobile?sig={WITHOUT_EXPIRY}")
        );
    }

    #[test]
    fn the_path_of_the_base_url_is_not_signed() {
        let base = "http://127.0.0.1:8080/cloudflare/imagedelivery";
        let url = urls(base).signed(HASH, ID, "mobile", &SigningKey::new(KEY), None);
        assert_eq!(url, format!("{base}/{HASH}/{ID}/mobile?sig={WITHOUT_EXPIRY}"));
    }

    #[test]
    fn ids_are_encoded_by_segment_and_options_are_not() {
        let urls = urls("https://example.com/cdn-cgi/imagedelivery/?x#y");
        let url = urls.plain(HASH, "katzen/süß 100%.png", "w=400,background=%23ff0000,sharpen=3");
        assert_eq!(
            url.as_str(),
            format!(
                "https://example.com/cdn-cgi/imagedelivery/{HASH}/katzen/s%C3%BC%C3%9F%20100%25.png/\
                 w=400,background=%23ff0000,sharpen=3"
            ),
        );
    }

    #[test]
    fn a_variant_stays_one_segment() {
        let url = urls("https://imagedelivery.net").plain(HASH, ID, "../x?sig=1#y");
        assert_eq!(url.as_str(), format!("https://imagedelivery.net/{HASH}/{ID}/..%2Fx%3Fsig=1%23y"));
    }

    #[test]
    fn the_account_hash_is_the_segment_before_the_id() {
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
    fn urls_without_the_id_have_no_account_hash() {
        let other = format!("https://imagedelivery.net/{HASH}/another/public");
        assert_eq!(account_hash(&image(ID, &[&other, "https://imagedelivery.net/", "%"])), None);
        let suffix = format!("https://imagedelivery.net/{HASH}/x{ID}/public");
        assert_eq!(account_hash(&image(ID, &[&suffix])), None);
        assert_eq!(account_hash(&image(ID, &[])), None);
    }
}
