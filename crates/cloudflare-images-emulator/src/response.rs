//! Successful responses of the API, and the JSON form of all of them.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use cloudflare_images::wire::Envelope;

/// The envelope around a result, status 200.
pub(super) fn success<T: Serialize>(result: T) -> Response {
    let envelope = Envelope { result: Some(result), success: true, errors: vec![], messages: vec![] };
    json(StatusCode::OK, &envelope)
}

/// The result of a deletion: an empty object.
#[derive(Debug, Serialize)]
pub(super) struct Empty {}

/// Indented JSON with the headers that Cloudflare's responses were observed to have.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(body) {
        Ok(text) => {
            let mut response = (status, Body::from(text)).into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
            headers.insert("cf-cache-status", HeaderValue::from_static("DYNAMIC"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "a response of the Cloudflare Images emulator cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
