//! Input types for the settings of an image.

use async_graphql::InputObject;
use serde_json::Value;

use crate::entity::image::{FocalPoint, NewImage};
use crate::error::{Error, Result};
use crate::graphql::types::scalar::Json;

/// Settings for a new projection.
#[derive(Debug, Default, InputObject)]
pub struct NewImageInput {
    /// False stores the file without provisioning it.
    #[graphql(default_with = "Some(true)")]
    provision: Option<bool>,
    /// Deliver only through signed URLs. Default: the workspace's policy.
    require_signed_urls: Option<bool>,
    /// Alternative text for people who do not see the image, at most 2000 characters. The empty string marks a
    /// decorative image.
    alt: Option<String>,
    /// Point that crops keep in view.
    focal_point: Option<FocalPointInput>,
    /// Custom id in Cloudflare Images; cannot be combined with `requireSignedUrls`.
    cf_image_id: Option<String>,
    /// The image service's `creator` field, 1-1024 characters.
    creator: Option<String>,
    /// A JSON object kept with the image service, at most 978 bytes.
    cf_metadata: Option<Json>,
}

/// Point in an image, as fractions 0-1 of width and height from the top left.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct FocalPointInput {
    /// From the left.
    x: f64,
    /// From the top.
    y: f64,
}

impl From<FocalPointInput> for FocalPoint {
    fn from(FocalPointInput { x, y }: FocalPointInput) -> Self {
        FocalPoint { x, y }
    }
}

impl TryFrom<NewImageInput> for NewImage {
    type Error = Error;

    fn try_from(input: NewImageInput) -> Result<Self> {
        Ok(NewImage {
            provision: input.provision.unwrap_or(true),
            require_signed_urls: input.require_signed_urls,
            alt: input.alt,
            focal_point: input.focal_point.map(Into::into),
            custom_id: input.cf_image_id,
            creator: input.creator,
            cf_metadata: input
                .cf_metadata
                .map(|json| object(json, "cfMetadata"))
                .transpose()
                .map_err(|e| e.under("image"))?,
        })
    }
}

/// The fields of a JSON object.
///
/// # Errors
/// `BAD_USER_INPUT` at `field` for any other JSON value.
pub fn object(json: Json, field: &str) -> Result<serde_json::Map<String, Value>> {
    match json.0 {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::invalid(field, "A JSON object is expected.")),
    }
}
