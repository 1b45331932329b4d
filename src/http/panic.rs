//! Panics of request handlers: they are logged, and the response is an internal error.

use std::any::Any;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::{RequestId, error};
use crate::error::{Code, FAULT_MESSAGE};

type PanicHandler = fn(Box<dyn Any + Send>) -> axum::http::Response<Body>;

/// Catches panics in the services that it wraps. A layer that adds headers to responses, such as CORS, must wrap this layer, so
/// that the response to a panic has them too.
pub fn layer() -> CatchPanicLayer<PanicHandler> {
    CatchPanicLayer::custom(handle as PanicHandler)
}

/// Marks the response to a request whose handler panicked, until [`response`] replaces it.
#[derive(Clone)]
struct Panicked;

/// Logs the message of a panic. It is not sent to the client, because it may contain secrets.
fn handle(cause: Box<dyn Any + Send>) -> axum::http::Response<Body> {
    let cause = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(cause, "panic");
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(Panicked);
    response
}

/// Whether a response is the marker of a panic.
pub(super) fn is_panic(response: &Response) -> bool {
    response.extensions().get::<Panicked>().is_some()
}

/// The response to a request whose handler panicked.
pub(super) fn response(id: RequestId) -> Response {
    error::for_both_faces(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal.as_str(), FAULT_MESSAGE, id)
}
