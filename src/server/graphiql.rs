//! The GraphiQL page at `/`, embedded in the binary.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

use crate::app::App;

/// The output of `npm run build` in `web/`. Missing output is allowed, so that a checkout compiles without Node.js.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct BuiltPage;

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
        .route("/", get(page))
        .route("/assets/{*path}", get(asset))
        .route("/licenses.md", get(licenses))
}

async fn page() -> Response {
    let (body, policy) = match BuiltPage::get("index.html") {
        Some(file) => (file.data.into_owned(), BUILT_CSP),
        None => (FALLBACK.into(), FALLBACK_CSP.as_str()),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, body).into_response()
}

async fn asset(Path(path): Path<String>) -> Response {
    match BuiltPage::get(&format!("assets/{path}")) {
        // File names contain a hash of the content, so a file never changes.
        Some(file) => file_response(&path, file, "public, max-age=31536000, immutable"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn licenses() -> Response {
    match BuiltPage::get("licenses.md") {
        Some(file) => file_response("licenses.md", file, "no-cache"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn file_response(path: &str, file: EmbeddedFile, cache: &'static str) -> Response {
    let media_type = match path.rsplit('.').next().unwrap_or_default() {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        "md" => "text/markdown; charset=utf-8",
        _ => "application/octet-stream",
    };
    let mut response = file.data.into_owned().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}
