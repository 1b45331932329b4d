//! The bearer token of a request, and the viewer it stands for.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request};
use axum::response::Response;

use super::{RequestId, error};
use crate::app::App;
use crate::auth::rate;
use crate::auth::{self, Viewer};
use crate::error::Result;

/// The viewer for handlers that need one. Takes one point of the token's rate limit.
impl FromRequestParts<App> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, Response> {
        let viewer = match parts.extensions.get::<Viewer>() {
            Some(viewer) => Ok(viewer.clone()),
            None => viewer(app, &parts.headers).await,
        };
        let admitted = viewer.and_then(|viewer| rate::take(app, &viewer, 1).map(|_| viewer));
        admitted.map_err(|problem| error::respond::<()>(Err(problem), RequestId::of(parts)))
    }
}

/// The viewer whose token is in `Authorization`.
///
/// # Errors
/// `UNAUTHENTICATED` without a usable token.
pub async fn viewer(app: &App, headers: &HeaderMap) -> Result<Viewer> {
    let secret = bearer_token(headers).ok_or_else(auth::unauthenticated)?;
    let now = app.clock.now();
    let viewer = Viewer::from_secret(&app.db.read, secret, now).await?;
    app.token_uses.note(viewer.token.id, now);
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
