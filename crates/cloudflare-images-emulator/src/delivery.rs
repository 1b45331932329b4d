//! The delivery host: who may see an image, in which shape, and how long it may be kept.

mod negotiate;
mod options;
mod renders;
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
use tokio_util::io::ReaderStream;

pub(super) use renders::Renders;

use super::answer::Refusal;
use super::route::DeliveryPath;
use super::store::{Format, image, setting, variant};
use super::transform::encode::Output;
use super::transform::plan::{Plan, Wanted};
use super::{Emulator, cors, hex, now};
use cloudflare_images::wire::VariantOptions;
use negotiate::Choice;
use renders::Job;

/// Answers `GET` and `HEAD` of a delivery URL; errors are text, as everywhere on this host.
pub(super) async fn answer(emulator: &Emulator, path: &DeliveryPath, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return cors::preflight(request.headers(), "GET, HEAD, OPTIONS");
    }
    // Only what is needed is borrowed: a request's body may not cross an await from here.
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    cors::opened(deliver(emulator, path, query, &parts.headers).await.unwrap_or_else(Refusal::into_text))
}

async fn deliver(
    emulator: &Emulator,
    path: &DeliveryPath,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if path.hash != emulator.credentials().account_hash {
        return Err(Refusal::new(StatusCode::FORBIDDEN, 9427, "Incorrect account id"));
    }
    if path.id.is_empty() || path.variant.is_empty() {
        return Err(Refusal::new(StatusCode::FORBIDDEN, 9426, "Invalid part in the URL"));
    }
    let db = &emulator.0.store.db;
    let image = image::Entity::find_by_id(path.id.as_str()).one(db).await?;
    let image = image.filter(|image| image.blob.is_some()).ok_or_else(not_found)?;
    let settings = setting::current(db).await?;
    let preset = preset(emulator, &path.variant, &settings, &image, headers).await?;
    let kept_for = if image.require_signed_urls && !preset.open_to_all {
        let until = signature::verify(emulator, path, query, now()).await?;
        KeptFor::Signed(until)
    } else {
        KeptFor::Public(preset.browser_ttl.unwrap_or(settings.browser_ttl))
    };
    let mut response = respond(emulator, &image, preset.plan, headers).await?;
    common_headers(response.headers_mut(), &kept_for);
    Ok(response)
}

/// What the last part of the URL stands for.
struct Preset {
    plan: Plan,
    /// Overrides the account's, seconds.
    browser_ttl: Option<u32>,
    /// Needs no signature even for private images.
    open_to_all: bool,
}

async fn preset(
    emulator: &Emulator,
    variant: &str,
    settings: &setting::Model,
    image: &image::Model,
    headers: &HeaderMap,
) -> Result<Preset, Refusal> {
    // Names are letters and digits, so this tells them from options.
    if variant.contains('=') {
        if !settings.flexible_variants {
            return Err(Refusal::new(StatusCode::FORBIDDEN, 9429, "Flexible variants are not enabled"));
        }
        if image.require_signed_urls {
            return Err(denied("Flexible variants are not available for private images"));
        }
        let plan = options::parse(variant, headers)?;
        return Ok(Preset { plan, browser_ttl: None, open_to_all: false });
    }
    let name = percent_decode_str(variant).decode_utf8_lossy();
    let row = variant::Entity::find_by_id(name.as_ref()).one(&emulator.0.store.db).await?;
    let row = row.ok_or_else(|| denied("This account doesn't have variant with this name"))?;
    let options: VariantOptions = serde_json::from_str(&row.options).map_err(Refusal::internal)?;
    let open_to_all = row.never_require_signed_urls;
    Ok(Preset { plan: Plan::from(&options), browser_ttl: options.browser_ttl, open_to_all })
}

async fn respond(
    emulator: &Emulator,
    image: &image::Model,
    plan: Plan,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let (Some(blob), Some(format)) = (&image.blob, image.format) else { return Err(not_found()) };
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let choice = negotiate::choose(image, format, &plan, accept)?;
    // The plan is part of the tag, so editing a variant changes it; the file's name is never used twice.
    let digest: [u8; 32] = Sha256::digest(format!("{blob} {choice:?} {plan:?}")).into();
    let tag = format!("\"cf-{}:{}\"", hex(&digest[..12]), &blob[..blob.len().min(16)]);
    let known = Known::of(headers, &tag);
    let mut response = match choice {
        _ if matches!(known, Known::Other) => StatusCode::PRECONDITION_FAILED.into_response(),
        _ if matches!(known, Known::Same) => StatusCode::NOT_MODIFIED.into_response(),
        Choice::Unchanged => unchanged(emulator, blob, image).await?,
        Choice::Make(work) => {
            let path = emulator.0.store.files.path(blob);
            let job = Job { key: digest, path, format, size: (image.width, image.height), plan, work };
            let rendered = emulator.0.renders.get(job).await?;
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

async fn unchanged(emulator: &Emulator, blob: &str, image: &image::Model) -> Result<Response, Refusal> {
    let file = match tokio::fs::File::open(emulator.0.store.files.path(blob)).await {
        Ok(file) => file,
        // Deleted since the row was read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(not_found()),
        Err(error) => return Err(error.into()),
    };
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024)).into_response();
    let headers = response.headers_mut();
    let media_type = image.format.map_or("application/octet-stream", Format::media_type);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(image.size));
    headers.insert("warning", HeaderValue::from_static("299 cf-images \"delivered as uploaded\""));
    Ok(response)
}

/// How long browsers may keep an answer.
enum KeptFor {
    /// Seconds.
    Public(u32),
    /// Until the signature expires, if it does.
    Signed(Option<DateTime<Utc>>),
}

fn common_headers(headers: &mut HeaderMap, kept_for: &KeptFor) {
    let cache = match kept_for {
        KeptFor::Public(seconds) => format!("public, max-age={seconds}, stale-while-revalidate=7200"),
        KeptFor::Signed(None) => "private, max-age=3600".to_owned(),
        KeptFor::Signed(Some(until)) => {
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

/// What an answer has to do with those that the client knows, in the order of RFC 9110, 13.2.2.
enum Known {
    /// It is none of those that `If-Match` lists.
    Other,
    /// The client has it.
    Same,
    /// It is to be sent.
    New,
}

impl Known {
    fn of(headers: &HeaderMap, tag: &str) -> Known {
        let listed = |name: &HeaderName, weak: bool| {
            let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            lines.flat_map(|line| line.split(',')).map(str::trim).any(|known| {
                let known = if weak { known.strip_prefix("W/").unwrap_or(known) } else { known };
                known == "*" || known == tag
            })
        };
        if headers.contains_key(IF_MATCH) && !listed(&IF_MATCH, false) {
            return Known::Other;
        }
        if listed(&IF_NONE_MATCH, true) { Known::Same } else { Known::New }
    }
}

fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, 9431, "Image not found")
}

fn denied(why: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, 9425, format!("Image access denied: {why}"))
}
