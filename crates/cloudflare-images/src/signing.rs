//! Delivery URLs, plain and signed, as pure functions.

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

/// The delivery URL of an image: `{delivery}/{account hash}/{image id}/{variant}`.
///
/// `delivery` is the base URL, such as `https://imagedelivery.net` or `https://example.com/cdn-cgi/imagedelivery`.
/// `account_hash` is not the account id; [`account_hash()`] finds it in an image.
/// `variant` is the id of a variant, or a list of options such as `w=400,fit=cover` if the account has flexible variants
/// enabled. In a list of options, `#`, `(` and `,` inside a value have to be percent-encoded.
pub fn url(delivery: &Url, account_hash: &str, image_id: &str, variant: &str) -> Url {
    join_path(delivery, &path(account_hash, image_id, variant))
}

/// The delivery URL of an image with a signature, which images that require signed URLs are delivered by.
///
/// `key` is the value of any signing key of the account (see [`Key`](wire::Key)). The URL expires at `expires_at`, to the
/// second; without it the URL is valid as long as the key exists with this value. The other parameters are those of
/// [`url()`].
///
/// The signature is HMAC-SHA256 in lower-case hexadecimal over `/{account hash}/{image id}/{variant}`, without the path of
/// `delivery`, and the query `?exp={Unix seconds}`. Source: developers.cloudflare.com, "Serve private images".
pub fn sign(
    delivery: &Url,
    account_hash: &str,
    image_id: &str,
    variant: &str,
    key: &str,
    expires_at: Option<DateTime<Utc>>,
) -> Url {
    let mut message = path(account_hash, image_id, variant);
    let mut url = join_path(delivery, &message);
    if let Some(at) = expires_at {
        let exp = format!("exp={}", at.timestamp());
        url.set_query(Some(&exp));
        message.push('?');
        message.push_str(&exp);
    }
    url.query_pairs_mut().append_pair("sig", &signature(&message, key));
    url
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

/// The path of a delivery URL, relative to the base URL.
fn path(account_hash: &str, image_id: &str, variant: &str) -> String {
    let mut path = format!("/{}", utf8_percent_encode(account_hash, PATH_SEGMENT));
    // The slashes of a custom id stay unencoded.
    for segment in image_id.split('/') {
        path.push('/');
        path.extend(utf8_percent_encode(segment, PATH_SEGMENT));
    }
    path.push('/');
    path.extend(utf8_percent_encode(variant, VARIANT));
    path
}

/// A base URL with an encoded path appended, without query and fragment.
pub(super) fn join_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

fn signature(message: &str, key: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(message.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Oix0bbNaT8Rge9PuyxUBrjI6zrgnsyJ5=";
    const HASH: &str = "cheeW4oKsx5ljh8e8BoL2A";
    const ID: &str = "bc27a117-9509-446b-8c69-c81bfeac0a01";
    const WITHOUT_EXPIRY: &str = "f650d16a54309cc5560ccf74ba805cd33c92ba5edaa7f09abeebfaf7e3f5895e";
    const WITH_EXPIRY: &str = "72411885ee02134d38662f3e70ac8ff694f408e9d14b05125f6b022c3f403efa";

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
            format!("https://imagedelivery.net/{HASH}/{ID}/mobile?exp=1631289275&sig={WITH_EXPIRY}"),
        );
    }

    #[test]
    fn signs_the_path_alone_without_expiry() {
        let url = sign(&base("https://imagedelivery.net/"), HASH, ID, "mobile", KEY, None);
        assert_eq!(
            url.as_str(),
            format!("https://imagedelivery.net/{HASH}/{ID}/mobile?sig={WITHOUT_EXPIRY}")
        );
    }

    #[test]
    fn the_path_of_the_base_url_is_not_signed() {
        let url =
            sign(&base("http://127.0.0.1:8080/cloudflare/imagedelivery"), HASH, ID, "mobile", KEY, None);
        let path = format!("/cloudflare/imagedelivery/{HASH}/{ID}/mobile");
        assert_eq!(
            (url.path(), url.query()),
            (path.as_str(), Some(format!("sig={WITHOUT_EXPIRY}").as_str()))
        );
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
    fn a_variant_stays_one_segment() {
        let url = url(&base("https://imagedelivery.net"), HASH, ID, "../x?sig=1#y");
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
