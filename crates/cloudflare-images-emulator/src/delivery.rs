//! The delivery host: access to images, variants, conditional requests and caching.

mod negotiate;
mod options;
mod renderer;
mod signature;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use sea_orm::EntityTrait;
use sha2::{Digest, Sha256};

pub(super) use renderer::Renderer;

use super::error::ApiError;
use super::route::DeliveryPath;
use super::store::{Format, image, setting, variant};
use super::transform::encode::OutputFormat;
use super::transform::transformation::{RequestedFormat, Transformation};
use super::{Emulator, cors, now};
use cloudflare_images::wire::VariantOptions;
use negotiate::Delivery;
use renderer::RenderJob;

/// Answers `GET`, `HEAD` and the preflight request of a delivery URL. Errors are plain text.
pub(super) async fn respond(emulator: &Emulator, path: &DeliveryPath, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return cors::preflight(request.headers(), "GET, HEAD, OPTIONS");
    }
    // The body is dropped here, because it is not `Sync` and so may not be borrowed across an await.
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    cors::allow(deliver(emulator, path, query, &parts.headers).await.unwrap_or_else(ApiError::into_text))
}

async fn deliver(
    emulator: &Emulator,
    path: &DeliveryPath,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if path.hash != emulator.credentials().account_hash {
        return Err(ApiError::new(StatusCode::FORBIDDEN, 9427, "Incorrect account id"));
    }
    if path.id.is_empty() || path.variant.is_empty() {
        return Err(ApiError::new(StatusCode::FORBIDDEN, 9426, "Invalid part in the URL"));
    }
    let db = &emulator.0.store.db;
    let image = image::Entity::find_by_id(path.id.as_str()).one(db).await?;
    let image = image.filter(|image| image.blob.is_some()).ok_or_else(not_found)?;
    let settings = setting::current(db).await?;
    let variant = resolve_variant(emulator, &path.variant, &settings, &image, headers).await?;
    let cache_policy = if image.require_signed_urls && !variant.never_require_signed_urls {
        let until = signature::verify(emulator, path, query, now()).await?;
        CachePolicy::Signed(until)
    } else {
        CachePolicy::Public(variant.browser_ttl.unwrap_or(settings.browser_ttl))
    };
    let mut response = render_or_not_modified(emulator, &image, variant.transformation, headers).await?;
    common_headers(response.headers_mut(), &cache_policy);
    Ok(response)
}

/// A named variant, or the options in a URL.
struct ResolvedVariant {
    transformation: Transformation,
    /// Browser TTL in seconds, instead of the account's.
    browser_ttl: Option<u32>,
    /// Delivers private images without a signature.
    never_require_signed_urls: bool,
}

async fn resolve_variant(
    emulator: &Emulator,
    variant: &str,
    settings: &setting::Model,
    image: &image::Model,
    headers: &HeaderMap,
) -> Result<ResolvedVariant, ApiError> {
    // Names of variants consist of letters and digits, so options are recognised by this character.
    if variant.contains('=') {
        if !settings.flexible_variants {
            return Err(ApiError::new(StatusCode::FORBIDDEN, 9429, "Flexible variants are not enabled"));
        }
        if image.require_signed_urls {
            return Err(access_denied("Flexible variants are not available for private images"));
        }
        let transformation = options::parse(variant, headers)?;
        return Ok(ResolvedVariant { transformation, browser_ttl: None, never_require_signed_urls: false });
    }
    let name = percent_decode_str(variant).decode_utf8_lossy();
    let row = variant::Entity::find_by_id(name.as_ref()).one(&emulator.0.store.db).await?;
    let row = row.ok_or_else(|| access_denied("This account doesn't have variant with this name"))?;
    let options: VariantOptions = serde_json::from_str(&row.options).map_err(ApiError::internal)?;
    let never_require_signed_urls = row.never_require_signed_urls;
    Ok(ResolvedVariant {
        transformation: Transformation::from(&options),
        browser_ttl: options.browser_ttl,
        never_require_signed_urls,
    })
}

/// The response to a request that is allowed, with its ETag.
async fn render_or_not_modified(
    emulator: &Emulator,
    image: &image::Model,
    transformation: Transformation,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (Some(blob), Some(format)) = (&image.blob, image.format) else { return Err(not_found()) };
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let delivery = negotiate::choose(image, format, &transformation, accept)?;
    // The ETag depends on the transformation, so it changes when a variant is edited. Names of files are never reused.
    let digest: [u8; 32] = Sha256::digest(format!("{blob} {delivery:?} {transformation:?}")).into();
    let tag = format!("\"cf-{}:{}\"", hex::encode(&digest[..12]), &blob[..blob.len().min(16)]);
    let mut response = match (Precondition::evaluate(headers, &tag), delivery) {
        (Precondition::Failed, _) => StatusCode::PRECONDITION_FAILED.into_response(),
        (Precondition::NotModified, _) => StatusCode::NOT_MODIFIED.into_response(),
        (Precondition::Passed, Delivery::Original) => original(emulator, blob, image).await?,
        (Precondition::Passed, Delivery::Render(rendering)) => {
            let path = emulator.0.store.files.path(blob);
            let job = RenderJob {
                key: digest,
                path,
                format,
                size: (image.width, image.height),
                transformation,
                rendering,
            };
            let rendered = emulator.0.renderer.render(job).await?;
            let mut response = Body::from(rendered.bytes).into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(rendered.media_type));
            response
        }
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    if format == Format::Svg {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox";
        response.headers_mut().insert("content-security-policy", HeaderValue::from_static(policy));
    }
    Ok(response)
}

/// The file as uploaded, with a warning that it was not transformed.
async fn original(emulator: &Emulator, blob: &str, image: &image::Model) -> Result<Response, ApiError> {
    let body = emulator.0.store.files.body(blob).await?.ok_or_else(not_found)?;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let media_type = image.format.map_or("application/octet-stream", Format::media_type);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(image.size));
    headers.insert("warning", HeaderValue::from_static("299 cf-images \"delivered as uploaded\""));
    Ok(response)
}

/// How long clients may cache a response.
enum CachePolicy {
    /// In seconds.
    Public(u32),
    /// Until the signature expires, if it does.
    Signed(Option<DateTime<Utc>>),
}

fn common_headers(headers: &mut HeaderMap, cache_policy: &CachePolicy) {
    let cache = match cache_policy {
        CachePolicy::Public(seconds) => format!("public, max-age={seconds}, stale-while-revalidate=7200"),
        CachePolicy::Signed(None) => "private, max-age=3600".to_owned(),
        CachePolicy::Signed(Some(until)) => {
            format!("private, max-age={}", (*until - now()).num_seconds().max(3600))
        }
    };
    if let Ok(cache) = HeaderValue::from_str(&cache) {
        headers.insert(CACHE_CONTROL, cache);
    }
    headers.insert("vary", HeaderValue::from_static("Accept"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("cf-images", HeaderValue::from_static("internal=ok/-"));
    headers.insert("cf-resized", HeaderValue::from_static("internal=ok/-"));
}

/// The outcome of `If-Match` and `If-None-Match`, in the order of RFC 9110, 13.2.2.
enum Precondition {
    /// `If-Match` does not list the ETag.
    Failed,
    /// `If-None-Match` lists the ETag.
    NotModified,
    /// The image is sent.
    Passed,
}

impl Precondition {
    fn evaluate(headers: &HeaderMap, tag: &str) -> Precondition {
        let listed = |name: &HeaderName, compare_weakly: bool| {
            let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            lines.flat_map(|line| line.split(',')).map(str::trim).any(|listed| {
                let listed =
                    if compare_weakly { listed.strip_prefix("W/").unwrap_or(listed) } else { listed };
                listed == "*" || listed == tag
            })
        };
        if headers.contains_key(IF_MATCH) && !listed(&IF_MATCH, false) {
            return Precondition::Failed;
        }
        if listed(&IF_NONE_MATCH, true) { Precondition::NotModified } else { Precondition::Passed }
    }
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, 9431, "Image not found")
}

fn access_denied(reason: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, 9425, format!("Image access denied: {reason}"))
}
