//! The GraphiQL page at `/`, embedded in the binary.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::app::App;

/// What `npm run build` made of `web/`. A checkout without it compiles all the same.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// Loads GraphiQL from a public CDN, and says how to bundle it.
const FALLBACK: &str = include_str!("../../web/fallback.html");

const BUILT_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    font-src 'self' data:; img-src 'self' data: https:; connect-src 'self'; worker-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";
const FALLBACK_CSP: &str = "default-src 'none'; script-src 'self' 'unsafe-inline' https://esm.sh; \
    style-src 'self' 'unsafe-inline' https://esm.sh; font-src 'self' data: https://esm.sh; \
    img-src 'self' data: https:; connect-src 'self' https://esm.sh; worker-src 'self' blob: https://esm.sh; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Routes of the page.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/", get(page))
        .route("/assets/{*path}", get(asset))
        .route("/licenses.md", get(licenses))
}

async fn page() -> Response {
    let (body, policy) = match Dist::get("index.html") {
        Some(file) => (file.data.into_owned(), BUILT_CSP),
        None => (FALLBACK.into(), FALLBACK_CSP),
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
    match Dist::get(&format!("assets/{path}")) {
        // Names carry a hash of the content.
        Some(file) => file_response(&path, file, "public, max-age=31536000, immutable"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn licenses() -> Response {
    match Dist::get("licenses.md") {
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
