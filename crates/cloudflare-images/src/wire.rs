//! The JSON of the Cloudflare Images API, for clients and servers.
//!
//! Names are Cloudflare's: user metadata are `metadata` in requests and `meta` in responses. Fields that the API may leave
//! out or write as null are read as their default, and unknown fields are ignored.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Largest image that Cloudflare Images accepts, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 10 * 1024 * 1024;
/// Longest side of an image, in pixels. WebP is exempt.
pub const MAX_SIDE: u32 = 12_000;
/// Largest area of an image, in pixels; for animations, summed over the frames.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Largest metadata of an image, in bytes of its JSON text.
pub const MAX_METADATA_BYTES: usize = 1024;

/// The envelope around every JSON response of the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The result; null on failure.
    pub result: Option<T>,
    /// Whether the call succeeded. A response with `false` is an error even if its HTTP status is a success.
    pub success: bool,
    /// Why the call failed.
    #[serde(default, deserialize_with = "null_as_default")]
    pub errors: Vec<Message>,
    /// Remarks on a call that succeeded.
    #[serde(default, deserialize_with = "null_as_default")]
    pub messages: Vec<Message>,
}

/// An error or a remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Cloudflare's code, at least 1000; 5404, for example, means "not found".
    pub code: u32,
    /// English text.
    #[serde(default)]
    pub message: String,
    /// URL of a page that explains it.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// The part of the request that it is about.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// The part of a request that an error is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// JSON pointer (RFC 6901) to a field of the body, or to a parameter of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// An image, in the responses of all calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Id: a UUID made by Cloudflare, or a custom id. A change of `require_signed_urls` changes the UUID.
    pub id: String,
    /// Name of the uploaded file; null for a draft.
    #[serde(default)]
    pub filename: Option<String>,
    /// User metadata; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    /// When the image was uploaded or the draft was created. Written in UTC with milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis")]
    pub uploaded: Option<DateTime<Utc>>,
    /// Whether delivery needs a signed URL.
    #[serde(rename = "requireSignedURLs", default)]
    pub require_signed_urls: bool,
    /// Delivery URLs, one for each variant of the account.
    #[serde(default)]
    pub variants: Vec<String>,
    /// True for a direct upload without bytes; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    /// Any text of up to 1024 characters that identifies who made the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}

/// Result of `GET v1`, the deprecated list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImageList {
    /// The images of this page.
    #[serde(default)]
    pub images: Vec<Image>,
}

/// Result of `GET v2`, the list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImagePage {
    /// The images of this page.
    #[serde(default)]
    pub images: Vec<Image>,
    /// Opaque token for the next page; null on the last page.
    #[serde(default)]
    pub continuation_token: Option<String>,
}

/// Result of `POST v2/direct_upload`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectUpload {
    /// Id of the draft, and of the image that it becomes.
    pub id: String,
    /// One-time URL for a multipart `POST` with a part named `file`, without credentials.
    #[serde(rename = "uploadURL")]
    pub upload_url: String,
}

/// Body of `PATCH v1/{id}`. Properties that are `None` stay unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImageEdit {
    /// Replaces all user metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Whether delivery needs a signed URL. A change purges cached copies and gives the image a new id.
    #[serde(rename = "requireSignedURLs", default, skip_serializing_if = "Option::is_none")]
    pub require_signed_urls: Option<bool>,
    /// Any text of up to 1024 characters that identifies who made the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}

/// Result of every call on signing keys: all keys of the account.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyList {
    /// One or two keys.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// A signing key. `Debug` does not show its value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Letters and digits, up to 20.
    pub name: String,
    /// The secret. Its UTF-8 bytes are the key of the HMAC; it is not decoded from base64.
    pub value: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Result of `GET v1/stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Numbers of images.
    pub count: StatsCount,
}

/// Numbers of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsCount {
    /// Images in the account.
    pub current: u64,
    /// Images that the account may have.
    pub allowed: u64,
}

/// Result of `GET v1/variants`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct VariantList {
    /// Variants by id; at most 100.
    #[serde(default)]
    pub variants: BTreeMap<String, Variant>,
}

/// Result of every call on one variant except its deletion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariantResult {
    /// The variant.
    pub variant: Variant,
}

/// A variant: a named preset of image delivery. Also the body of `POST v1/variants`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Letters and digits, 1 to 99.
    pub id: String,
    /// How an image is resized.
    pub options: VariantOptions,
    /// Whether this variant is delivered without a signature even for images that require signed URLs.
    #[serde(rename = "neverRequireSignedURLs", default, deserialize_with = "null_as_default")]
    pub never_require_signed_urls: bool,
}

/// Body of `PATCH v1/variants/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariantEdit {
    /// The new options. Set all of them, because Cloudflare's documentation contradicts itself on whether absent options
    /// are kept or reset.
    pub options: VariantOptions,
    /// See [`Variant::never_require_signed_urls`]; unchanged if `None`.
    #[serde(rename = "neverRequireSignedURLs", default, skip_serializing_if = "Option::is_none")]
    pub never_require_signed_urls: Option<bool>,
}

/// How a variant resizes an image.
///
/// Values and options that this crate does not know are preserved, so that such a variant can be read and edited without
/// loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VariantOptions {
    /// How the image is fitted to the box of `width` and `height`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub fit: Named<Fit>,
    /// Width of the box in pixels; `None` for no limit.
    #[serde(default, deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height of the box in pixels; `None` for no limit.
    #[serde(default, deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Which metadata of the file are kept in the delivered image.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: Named<Metadata>,
    /// How long browsers may cache the image, in seconds, 3600 to 31,536,000.
    #[serde(default, deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub browser_ttl: Option<u32>,
    /// Blur radius, 1 to 250.
    #[serde(default, deserialize_with = "integer", skip_serializing_if = "Option::is_none")]
    pub blur: Option<u32>,
    /// Options that this crate does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A value of an enumeration to which Cloudflare may add values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Named<T> {
    /// A value that this crate knows.
    Known(T),
    /// Any other value, as Cloudflare writes it.
    Unknown(String),
}

impl<T: Copy> Named<T> {
    /// The value, if this crate knows it.
    pub fn known(&self) -> Option<T> {
        match self {
            Named::Known(value) => Some(*value),
            Named::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Named<T> {
    fn from(value: T) -> Self {
        Named::Known(value)
    }
}

impl<T: Default> Default for Named<T> {
    fn default() -> Self {
        Named::Known(T::default())
    }
}

/// How an image is fitted to a box.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Resized to fit inside the box, and never enlarged.
    #[default]
    ScaleDown,
    /// Resized to fit inside the box, and enlarged if it is smaller.
    Contain,
    /// Resized to fill the box, and cropped to its size.
    Cover,
    /// `Cover` for an image larger than the box, `ScaleDown` for a smaller one.
    Crop,
    /// `Contain`, with the rest of the box filled by a background colour.
    Pad,
}

/// Which metadata of the file are kept in a delivered image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metadata {
    /// All.
    Keep,
    /// The copyright tag of a JPEG file.
    Copyright,
    /// None.
    #[default]
    None,
}

/// Settings of the account: result of `GET v1/config`, and body of `PATCH v1/config`, which leaves those that are `None`
/// unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountConfig {
    /// Whether delivery URLs may contain a list of options instead of the id of a variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flexible_variants: Option<bool>,
    /// How long browsers may cache images, in seconds, 3600 to 31,536,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser_ttl: Option<u32>,
    /// Whether delivered images keep the C2PA manifests of their files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_content_credentials: Option<bool>,
}

/// Result of `GET v1/batch_token`: the credential for the batch host.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchToken {
    /// The bearer token.
    pub token: String,
    /// When the token expires.
    pub expires_at: DateTime<Utc>,
}

/// Reads null as the default: some parts of Cloudflare's API write null for an absent value.
fn null_as_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads a value of another shape as `None`, so that an unexpected detail of an error does not hide the error.
fn or_none<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// Reads an integer, also from `350.0`: Cloudflare's schema has numbers and no integers.
fn integer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(from)? else { return Ok(None) };
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(Some(number as u32));
    }
    Err(D::Error::custom(format!("{number} is not an integer from 0 to {}", u32::MAX)))
}

/// Timestamps as Cloudflare writes them: in UTC with milliseconds and `Z`.
mod millis {
    use chrono::{DateTime, SecondsFormat, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        Option::deserialize(from)
    }
}
