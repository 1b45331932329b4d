//! Direct uploads: a draft and the one-time URL that takes its bytes.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use chrono::{DateTime, Duration, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::particulars::{Particulars, make_way};
use crate::answer::Refusal;
use crate::{Emulator, form, id, now, store};
use cloudflare_images::wire::DirectUpload;

/// `POST v2/direct_upload`: a form, JSON, or nothing at all; also under `v1`, whose description knows JSON.
pub(super) async fn create(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<DirectUpload, Refusal> {
    let (asked, expiry) = read(emulator, headers, body).await?;
    let expires = check_expiry(expiry, now())?;
    if let Some(id) = &asked.id {
        make_way(emulator, id).await?;
    }
    let draft = asked.into_draft(Some(expires.timestamp_millis()))?;
    let id = draft.id.clone();
    if !store::insert(&emulator.0.store.db, draft).await? {
        return Err(Refusal::exists());
    }
    let hash = &emulator.credentials().account_hash;
    let upload_url = format!("{}/upload/{hash}/{}", emulator.0.public_url, id::in_url(&id));
    Ok(DirectUpload { id, upload_url })
}

const DEFAULT_EXPIRY: Duration = Duration::minutes(30);
const SHORTEST_EXPIRY: Duration = Duration::minutes(2);
const LONGEST_EXPIRY: Duration = Duration::hours(6);
/// A client that asks for exactly the shortest or longest time has a clock and a way to us of its own.
const LENIENCY: Duration = Duration::seconds(5);

/// The JSON form of the request.
#[derive(Debug, Default, Deserialize)]
struct JsonBody {
    id: Option<String>,
    metadata: Option<Map<String, Value>>,
    creator: Option<String>,
    #[serde(rename = "requireSignedURLs")]
    require_signed_urls: Option<bool>,
    expiry: Option<String>,
}

async fn read(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Particulars, Option<String>), Refusal> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = content_type.to_ascii_lowercase().starts_with("application/json");
    let body = match form::some(body).await? {
        // Every field is optional, whatever the type of the body that is not there.
        None => JsonBody::default(),
        Some(body) if is_json => form::json(body).await?,
        Some(body) => {
            let form = form::multipart(emulator, headers, body).await?;
            return Ok((Particulars::from_form(&form)?, form.text("expiry").map(str::to_owned)));
        }
    };
    let asked = Particulars {
        id: body.id,
        metadata: body.metadata,
        creator: body.creator,
        require_signed_urls: body.require_signed_urls.unwrap_or(false),
    };
    Ok((asked.checked()?, body.expiry))
}

fn check_expiry(expiry: Option<String>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal> {
    let Some(text) = expiry else { return Ok(now + DEFAULT_EXPIRY) };
    let expires = DateTime::parse_from_rfc3339(&text)
        .map_err(|_| Refusal::bad_request("expiry must be an RFC 3339 timestamp").at(&["expiry"]))?
        .with_timezone(&Utc);
    let ahead = expires - now;
    if ahead < SHORTEST_EXPIRY - LENIENCY || ahead > LONGEST_EXPIRY + LENIENCY {
        let message = "expiry must be between 2 minutes and 6 hours in the future";
        return Err(Refusal::bad_request(message).at(&["expiry"]));
    }
    Ok(expires)
}
