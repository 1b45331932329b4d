//! The GraphiQL page at `/`, embedded in the binary.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::bundle;
use crate::app::App;
use crate::http::{compression, revalidation};

/// Page of a build without that output: loads GraphiQL from a public CDN, and says how to embed it.
const FALLBACK: &str = include_str!("../../web/fallback.html");

const BUILT_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    font-src 'self' data:; img-src 'self' data: https:; connect-src 'self'; worker-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// Allows the inline script by its hash, and the scripts of the CDN, which the page pins by `integrity`. Requests go to this
/// server only.
static FALLBACK_CSP: LazyLock<String> = LazyLock::new(|| {
    let inline = FALLBACK.split_once("<script>").and_then(|(_, rest)| rest.split_once("</script>"));
    let hash = BASE64_STANDARD.encode(Sha256::digest(inline.map_or("", |(script, _)| script)));
    format!(
        "default-src 'none'; script-src 'sha256-{hash}' https://cdn.jsdelivr.net/npm/; \
         style-src 'unsafe-inline' https://cdn.jsdelivr.net/npm/; font-src data:; img-src 'self' data: https:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Routes of the page and its files.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/", get(page).layer(middleware::from_fn(compression::compress)))
        .route("/assets/{*path}", get(asset))
        .route("/licenses.md", get(licenses))
}

async fn page(request: HeaderMap) -> Response {
    let built = bundle::response("index.html", &request);
    let policy = if built.is_some() { BUILT_CSP } else { FALLBACK_CSP.as_str() };
    let response = built.unwrap_or_else(|| {
        let tag = revalidation::weak_tag(&[FALLBACK.as_bytes()]);
        let headers = [(header::CONTENT_TYPE, bundle::media_type("index.html"))];
        revalidation::with_tag(&request, (headers, FALLBACK).into_response(), &tag)
    });
    let headers = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, response).into_response()
}

async fn asset(Path(path): Path<String>, request: HeaderMap) -> Response {
    // File names contain a hash of the content, so a file never changes.
    file(&format!("assets/{path}"), &request, "public, max-age=31536000, immutable")
}

async fn licenses(request: HeaderMap) -> Response {
    file("licenses.md", &request, "no-cache")
}

fn file(path: &str, request: &HeaderMap, cache: &'static str) -> Response {
    let Some(mut response) = bundle::response(path, request) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}
