//! Entity tags of answers to reads, and 304 for a client that has the answer already.
//!
//! The tags are weak: an answer has the same one in every content coding. A file that is downloaded has a strong one; see
//! `transfer`.

use axum::body::{self, Body};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{RequestId, condition, panic};

/// Of REST: the token decides what is seen.
const VARY: &str = "authorization";

/// Headers that describe the body that a 304 has not.
const OF_THE_BODY: [HeaderName; 3] = [header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// A weak entity tag of some content.
pub fn weak_tag(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    format!("W/\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash.finalize()[..16]))
}

/// The response with this entity tag; 304 in its place if `If-None-Match` names the tag.
pub fn with_tag(request: &HeaderMap, mut response: Response, tag: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    if condition::is_current(request, tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        for name in OF_THE_BODY {
            response.headers_mut().remove(name);
        }
    }
    response
}

/// The answer to a read with the tag of its type and bytes, or 304; and the headers that let the client, and nobody else, keep
/// it until it asks again. `vary` names the request headers that the answer depends on.
pub async fn private(request: &HeaderMap, response: Response, vary: &'static str, id: RequestId) -> Response {
    let (parts, body) = response.into_parts();
    // The body is in memory already.
    let Ok(bytes) = body::to_bytes(body, usize::MAX).await else { return panic::response(id) };
    let media_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let tag = weak_tag(&[media_type, &bytes]);
    let mut response = with_tag(request, Response::from_parts(parts, Body::from(bytes)), &tag);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.append(header::VARY, HeaderValue::from_static(vary));
    response
}

/// Does so for the reads of REST that succeed.
pub async fn revalidate(id: RequestId, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers().clone();
    let response = next.run(request).await;
    match is_read && response.status() == StatusCode::OK {
        true => private(&headers, response, VARY, id).await,
        false => response,
    }
}
