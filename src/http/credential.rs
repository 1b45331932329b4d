//! The bearer token of a request, and its viewer.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request};
use axum::response::Response;

use super::{RequestId, error};
use crate::app::App;
use crate::auth::rate;
use crate::auth::{self, Viewer};
use crate::error::Result;

/// Extracts the viewer, and takes one point from the rate limit of the token.
impl FromRequestParts<App> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, Response> {
        let viewer = match parts.extensions.get::<Viewer>() {
            Some(viewer) => Ok(viewer.clone()),
            None => viewer(app, &parts.headers).await,
        };
        let viewer = viewer.and_then(|viewer| rate::take(app, &viewer, 1).map(|_| viewer));
        viewer.map_err(|error| error::respond::<()>(Err(error), RequestId::of(parts)))
    }
}

/// The viewer whose token is in `Authorization`.
///
/// # Errors
/// `UNAUTHENTICATED` without a valid token.
pub async fn viewer(app: &App, headers: &HeaderMap) -> Result<Viewer> {
    let secret = bearer_token(headers).ok_or_else(auth::unauthenticated)?;
    let now = app.clock.now();
    let viewer = Viewer::from_secret(&app.db.read, secret, now).await?;
    app.token_uses.record(viewer.token.id, now);
    Ok(viewer)
}

/// The bearer token in `Authorization`.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    parse_bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The token in `Bearer <token>`.
pub fn parse_bearer(credentials: &str) -> Option<&str> {
    let (scheme, token) = credentials.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}
