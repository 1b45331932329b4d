//! Content codings of request bodies: only `identity` is accepted, so that limits on the size of a body apply to the bytes on the
//! wire.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::{RequestId, error};

/// `Accept-Encoding` in the error response (RFC 9110, 12.5.3).
pub const ACCEPT_ENCODING: &str = "identity";
/// Message of the error response.
pub const MESSAGE: &str = "Content-Encoding is not supported: send the body uncompressed, as `identity`.";

/// Whether `Content-Encoding` names a coding other than `identity`.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|value| {
        let Ok(codings) = value.to_str() else { return true };
        let mut codings = codings.split(',').map(str::trim).filter(|coding| !coding.is_empty());
        codings.any(|coding| !coding.eq_ignore_ascii_case(ACCEPT_ENCODING))
    })
}

/// Rejects a request with an encoded body with 415 (RFC 9110, 15.5.16).
pub async fn reject_encoded(id: RequestId, request: Request, next: Next) -> Response {
    let has_no_body = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if has_no_body || !is_encoded(request.headers()) {
        return next.run(request).await;
    }
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let mut response = error::reject(status, "UNSUPPORTED_MEDIA_TYPE", MESSAGE, id);
    response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPT_ENCODING));
    response
}
