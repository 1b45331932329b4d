//! CORS of the upload and delivery hosts: scripts of every origin may use them, because the URL is the permission.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Response headers that scripts may read beside those that CORS always allows.
const EXPOSED: &str = "accept-ranges, cf-images, cf-resized, content-length, etag, retry-after";

/// Answers a preflight request. The requested headers are listed in the response, because `*` does not include
/// `Authorization`.
pub(super) fn preflight(request_headers: &HeaderMap, methods: &'static str) -> Response {
    let mut response = allow(Body::empty().into_response());
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::VARY, HeaderValue::from_static("access-control-request-headers"));
    for names in request_headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.append(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

/// Lets scripts of any origin read a response.
pub(super) fn allow(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    response
}
