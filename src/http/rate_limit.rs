//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::rate;

/// The remaining points of a token, and the time until all are restored.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The points of a token per minute.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Adds the headers to a response, if the server has a rate limit.
pub fn add_headers(headers: &mut HeaderMap, app: &App, viewer: &Viewer) {
    let Some(balance) = rate::balance(app, viewer) else { return };
    let reset = (balance.reset_at - app.clock.now()).num_milliseconds().max(0).cast_unsigned().div_ceil(1000);
    let policy = format!("\"token\";q={};w={}", balance.limit, crate::app::RATE_WINDOW);
    let limit = format!("\"token\";r={};t={reset}", balance.remaining);
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}
