//! Rejects requests whose headers give the body a meaning that the server does not support.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::RequestId;

/// Why a request is rejected before it is routed.
struct FramingError {
    status: StatusCode,
    code: &'static str,
    header: HeaderName,
    message: String,
}

/// Rejects the transfer codings and expectations that hyper accepts and the server does not support.
pub(super) async fn reject_unsupported(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let rejected = transfer_coding(headers).or_else(|| expectation(request.version(), headers));
    match rejected {
        Some(error) => error.response(&request),
        None => next.run(request).await,
    }
}

/// Rejects partial bodies, which have `Content-Range`, and bodies with two types.
pub async fn reject_partial(request: Request, next: Next) -> Response {
    let has_body = [Method::PUT, Method::POST, Method::PATCH].contains(request.method());
    let headers = request.headers();
    match has_body.then(|| content_range(headers).or_else(|| content_type(headers))).flatten() {
        Some(error) => error.response(&request),
        None => next.run(request).await,
    }
}

/// RFC 9112, 6.1: 501 for a transfer coding that is not supported.
fn transfer_coding(headers: &HeaderMap) -> Option<FramingError> {
    let unknown = |value: &[u8]| !value.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.any(|value| unknown(value.as_bytes())).then(|| FramingError {
        status: StatusCode::NOT_IMPLEMENTED,
        code: "NOT_IMPLEMENTED",
        header: header::TRANSFER_ENCODING,
        message: "The only supported transfer coding is `chunked`.".to_owned(),
    })
}

/// RFC 9110, 10.1.1: 417 for an expectation that cannot be met.
fn expectation(version: Version, headers: &HeaderMap) -> Option<FramingError> {
    let unknown = |value: &[u8]| !value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
    let mut expected = headers.get_all(header::EXPECT).iter();
    let unmet = version > Version::HTTP_10 && expected.any(|value| unknown(value.as_bytes()));
    unmet.then(|| FramingError {
        status: StatusCode::EXPECTATION_FAILED,
        code: "EXPECTATION_FAILED",
        header: header::EXPECT,
        message: "The only supported expectation is `100-continue`.".to_owned(),
    })
}

/// RFC 9110, 14.5: 400 for a partial body where the server does not support it.
fn content_range(headers: &HeaderMap) -> Option<FramingError> {
    headers.contains_key(header::CONTENT_RANGE).then(|| FramingError {
        status: StatusCode::BAD_REQUEST,
        code: "BAD_USER_INPUT",
        header: header::CONTENT_RANGE,
        message:
            "Partial bodies are not supported: send the whole body in one request, without Content-Range."
                .to_owned(),
    })
}

fn content_type(headers: &HeaderMap) -> Option<FramingError> {
    (headers.get_all(header::CONTENT_TYPE).iter().count() > 1).then(|| FramingError {
        status: StatusCode::BAD_REQUEST,
        code: "BAD_USER_INPUT",
        header: header::CONTENT_TYPE,
        message: "Content-Type must be sent once.".to_owned(),
    })
}

impl FramingError {
    /// The response, in the forms of GraphQL and REST, because the request has not been routed to one of them.
    fn response(self, request: &Request) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message, "field": self.header.as_str() });
        // `reject_unsupported` runs before the request has an id.
        if let Some(id) = request.extensions().get::<RequestId>() {
            error["requestId"] = json!(id.to_string());
        }
        let errors = json!([{ "message": self.message, "extensions": { "code": self.code } }]);
        (self.status, Json(json!({ "error": error, "errors": errors }))).into_response()
    }
}
