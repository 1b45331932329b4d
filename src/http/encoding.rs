//! Content codings of request bodies: none is taken but `identity`, so that limits hold for what arrives.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::RequestId;

/// What is taken, as `Accept-Encoding` of a refusal says it (RFC 9110 §12.5.3).
pub(crate) const ACCEPTED: &str = "identity";
/// What a refusal says.
pub(crate) const REFUSAL: &str = "A body is sent as it is: without Content-Encoding, or with `identity`.";

/// Whether the body would have to be decoded first.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|value| {
        let Ok(codings) = value.to_str() else { return true };
        let mut codings = codings.split(',').map(str::trim).filter(|coding| !coding.is_empty());
        codings.any(|coding| !coding.eq_ignore_ascii_case(ACCEPTED))
    })
}

/// Refuses requests whose body would have to be decoded first: 415 (RFC 9110 §15.5.16).
pub(super) async fn only_identity(id: RequestId, request: Request, next: Next) -> Response {
    let bodiless = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if bodiless || !is_encoded(request.headers()) {
        return next.run(request).await;
    }
    let problem =
        json!({ "code": "UNSUPPORTED_MEDIA_TYPE", "message": REFUSAL, "requestId": id.to_string() });
    let accepted = [(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED))];
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, accepted, Json(json!({ "error": problem }))).into_response()
}
