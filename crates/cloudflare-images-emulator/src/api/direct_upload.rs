//! Direct uploads: a draft, and the URL that accepts its file once.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use chrono::{DateTime, Duration, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::image_fields::{ImageFields, ensure_id_is_free};
use crate::error::ApiError;
use crate::{Emulator, form, id, now, store};
use cloudflare_images::wire::DirectUpload;

/// `POST v2/direct_upload`: a form, JSON or no body. `v1` is the same; Cloudflare documents JSON for it.
pub(super) async fn create(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<DirectUpload, ApiError> {
    let (fields, expiry) = read_fields(emulator, headers, body).await?;
    let expires = check_expiry(expiry, now())?;
    if let Some(id) = &fields.id {
        ensure_id_is_free(emulator, id).await?;
    }
    let draft = fields.into_draft(Some(expires.timestamp_millis()))?;
    let id = draft.id.clone();
    if !store::insert(&emulator.0.store.db, draft).await? {
        return Err(ApiError::already_exists());
    }
    let hash = &emulator.credentials().account_hash;
    let upload_url = format!("{}/upload/{hash}/{}", emulator.0.public_url, id::percent_encoded(&id));
    Ok(DirectUpload { id, upload_url })
}

const DEFAULT_EXPIRY: Duration = Duration::minutes(30);
const SHORTEST_EXPIRY: Duration = Duration::minutes(2);
const LONGEST_EXPIRY: Duration = Duration::hours(6);
/// Tolerance for the difference between the clocks, for clients that ask for exactly the shortest or longest time.
const CLOCK_TOLERANCE: Duration = Duration::seconds(5);

/// A JSON request.
#[derive(Debug, Default, Deserialize)]
struct JsonBody {
    id: Option<String>,
    metadata: Option<Map<String, Value>>,
    creator: Option<String>,
    #[serde(rename = "requireSignedURLs")]
    require_signed_urls: Option<bool>,
    expiry: Option<String>,
}

async fn read_fields(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ImageFields, Option<String>), ApiError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = content_type.to_ascii_lowercase().starts_with("application/json");
    let body = match form::non_empty(body).await? {
        // Every field is optional, so an empty body of any content type is valid.
        None => JsonBody::default(),
        Some(body) if is_json => form::json(body).await?,
        Some(body) => {
            let form = form::multipart(emulator, headers, body).await?;
            return Ok((ImageFields::from_form(&form)?, form.text("expiry").map(str::to_owned)));
        }
    };
    let fields = ImageFields {
        id: body.id,
        metadata: body.metadata,
        creator: body.creator,
        require_signed_urls: body.require_signed_urls.unwrap_or(false),
    };
    Ok((fields.validate()?, body.expiry))
}

fn check_expiry(expiry: Option<String>, now: DateTime<Utc>) -> Result<DateTime<Utc>, ApiError> {
    let Some(text) = expiry else { return Ok(now + DEFAULT_EXPIRY) };
    let expires = DateTime::parse_from_rfc3339(&text)
        .map_err(|_| ApiError::bad_request("expiry must be an RFC 3339 timestamp").with_pointer(&["expiry"]))?
        .with_timezone(&Utc);
    let ahead = expires - now;
    if ahead < SHORTEST_EXPIRY - CLOCK_TOLERANCE || ahead > LONGEST_EXPIRY + CLOCK_TOLERANCE {
        let message = "expiry must be between 2 minutes and 6 hours in the future";
        return Err(ApiError::bad_request(message).with_pointer(&["expiry"]));
    }
    Ok(expires)
}
