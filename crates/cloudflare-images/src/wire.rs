//! The JSON both ends of the Cloudflare Images API speak.
//!
//! The client reads it and the emulator writes it; they share this file and nothing else.
//! Names follow Cloudflare's API: requests say `metadata`, answers say `meta`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Largest image Cloudflare Images takes, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 10 * 1024 * 1024;
/// Largest side of an image, in pixels.
pub const MAX_SIDE: u32 = 12_000;
/// Largest area of an image, in pixels; for animations, summed over the frames.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Largest `metadata` object, in bytes of its JSON text.
pub const MAX_METADATA_BYTES: usize = 1024;

/// The envelope around every answer of the management API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Null on failure.
    pub result: Option<T>,
    /// An answer with `false` is an error whatever its status says.
    pub success: bool,
    /// What went wrong.
    #[serde(default, deserialize_with = "null_as_default")]
    pub errors: Vec<Message>,
    /// Remarks on a call that worked.
    #[serde(default, deserialize_with = "null_as_default")]
    pub messages: Vec<Message>,
}

/// An error or remark with Cloudflare's number for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// At least 1000.
    pub code: u32,
    /// English text.
    #[serde(default)]
    pub message: String,
    /// A page that says more.
    #[serde(default, deserialize_with = "if_readable", skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// What of the request it is about.
    #[serde(default, deserialize_with = "if_readable", skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Where in a request an error lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// JSON pointer (RFC 6901) to a field of the body, or to a parameter of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// An image as every answer shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Generated (a UUID) or custom id; a change of access gives a generated id a new value.
    pub id: String,
    /// Null on a draft.
    #[serde(default)]
    pub filename: Option<String>,
    /// User metadata; left out when none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    /// When the bytes, or the draft, arrived.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis")]
    pub uploaded: Option<DateTime<Utc>>,
    /// Whether delivery needs a signature.
    #[serde(rename = "requireSignedURLs", default)]
    pub require_signed_urls: bool,
    /// Delivery URLs, one per named variant.
    #[serde(default)]
    pub variants: Vec<String>,
    /// True while a direct upload has no bytes; left out afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    /// Free text of at most 1,024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}

/// Result of the deprecated v1 list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImageList {
    /// One page.
    #[serde(default)]
    pub images: Vec<Image>,
}

/// Result of the v2 list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImagePage {
    /// One page.
    #[serde(default)]
    pub images: Vec<Image>,
    /// Opaque; null on the last page.
    #[serde(default)]
    pub continuation_token: Option<String>,
}

/// Result of a direct upload's creation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectUpload {
    /// Id of the draft.
    pub id: String,
    /// One-time URL that takes a multipart POST with a part named `file`.
    #[serde(rename = "uploadURL")]
    pub upload_url: String,
}

/// Body of `PATCH v1/{id}`; fields left out stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImageEdit {
    /// Replaces the whole object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// A change purges caches and gives a generated id a new value.
    #[serde(rename = "requireSignedURLs", default, skip_serializing_if = "Option::is_none")]
    pub require_signed_urls: Option<bool>,
    /// Free text of at most 1,024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}

/// All signing keys of the account.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyList {
    /// At most two.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// A signing key. `Debug` leaves the value out so that no log can hold it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Alphanumeric.
    pub name: String,
    /// The secret; its UTF-8 bytes are the HMAC key.
    pub value: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Storage use of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Images stored and allowed.
    pub count: StatsCount,
}

/// Images stored and allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsCount {
    /// Stored now.
    pub current: u64,
    /// The account's allowance.
    pub allowed: u64,
}

/// All named variants, keyed by id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct VariantList {
    /// At most 100.
    #[serde(default)]
    pub variants: BTreeMap<String, Variant>,
}

/// Result of every call on one variant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariantResult {
    /// The variant.
    pub variant: Variant,
}

/// A named delivery preset; also the body that creates one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Letters and digits, 1-99.
    pub id: String,
    /// How an image is sized.
    pub options: VariantOptions,
    /// Delivered without a signature even for private images.
    #[serde(rename = "neverRequireSignedURLs", default, deserialize_with = "null_as_default")]
    pub never_require_signed_urls: bool,
}

/// Body of `PATCH v1/variants/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariantEdit {
    /// Go over the old options. Give all of them: Cloudflare's descriptions do not agree on what becomes of those left
    /// out.
    pub options: VariantOptions,
    /// Unchanged if absent.
    #[serde(rename = "neverRequireSignedURLs", default, skip_serializing_if = "Option::is_none")]
    pub never_require_signed_urls: Option<bool>,
}

/// How a variant sizes an image. The API accepts options left out; no width or height means no limit.
///
/// What this file does not know is kept as it came, so that it neither hides the variant nor is lost by an edit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VariantOptions {
    /// How the image is fitted to the box.
    #[serde(default, deserialize_with = "null_as_default")]
    pub fit: Named<Fit>,
    /// Box width in pixels.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Box height in pixels.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// What metadata stays in the delivered image.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: Named<Metadata>,
    /// Cache time in browsers, seconds, 3600-31536000.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub browser_ttl: Option<u32>,
    /// Blur radius, 1-250.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub blur: Option<u32>,
    /// Options by other names.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A value out of a list that Cloudflare may lengthen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Named<T> {
    /// One that this file knows.
    Known(T),
    /// Any other, as Cloudflare writes it.
    Unknown(String),
}

impl<T: Copy> Named<T> {
    /// The value, if it is known.
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

/// How an image is fitted to a box, as variants know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Inside the box, never enlarged.
    #[default]
    ScaleDown,
    /// Inside the box, enlarged if need be.
    Contain,
    /// Fills the box exactly, the rest is cropped away.
    Cover,
    /// As `Cover` when larger than the box, as `ScaleDown` when smaller.
    Crop,
    /// As `Contain`, then filled to the box with background.
    Pad,
}

/// What metadata stays in a delivered image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metadata {
    /// Everything.
    Keep,
    /// The copyright tag of JPEG files.
    Copyright,
    /// Nothing.
    #[default]
    None,
}

/// Account-wide switches of `v1/config`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountConfig {
    /// Dynamic transformations by URL options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flexible_variants: Option<bool>,
    /// Cache time in browsers, seconds, 3600-31536000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser_ttl: Option<u32>,
    /// Keep C2PA manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_content_credentials: Option<bool>,
}

/// Credential for the batch host.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchToken {
    /// Bearer token; never logged.
    pub token: String,
    /// RFC 3339 with nanoseconds.
    pub expires_at: DateTime<Utc>,
}

/// What was left out where other parts of Cloudflare's API write null for it.
fn null_as_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What explains an error must not hide it, whatever form it has.
fn if_readable<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// A whole number, also as `350.0`: Cloudflare's schema and its SDKs know numbers and no integers.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(from)? else { return Ok(None) };
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(Some(number as u32));
    }
    Err(D::Error::custom(format!("{number} is not a whole number")))
}

/// Timestamps as Cloudflare prints them: UTC with milliseconds and `Z`.
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
