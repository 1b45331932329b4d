//! The id of a request: in its log lines, its errors and the header `X-Request-Id` of its response.

use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderName, HeaderValue, request};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

use super::panic;

/// The response header.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Random id of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(Uuid);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

impl RequestId {
    /// The id that [`assign`] has set; nil for a request that did not pass it.
    pub(super) fn of(parts: &request::Parts) -> Self {
        parts.extensions.get().copied().unwrap_or(RequestId(Uuid::nil()))
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}

/// Gives each request an id, and sets it in the log span and in the response. The request id layers of tower-http are not used,
/// because they keep an id that the client sends, which may not be unique.
pub async fn assign(mut request: Request, next: Next) -> Response {
    let id = RequestId(Uuid::new_v4());
    request.extensions_mut().insert(id);
    // Without the query, because signatures in it are secrets.
    let path = path_without_secrets(request.uri().path());
    let span = tracing::info_span!("request", %id, method = %request.method(), path);
    let mut response = async move {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await;
    if panic::is_panic(&response) {
        response = panic::response(id);
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// The path for the log, without the secret that the emulator's one-time upload URLs have in it.
fn path_without_secrets(path: &str) -> &str {
    let upload = path.match_indices("/upload/").next();
    upload.map_or(path, |(start, found)| &path[..start + found.len()])
}
