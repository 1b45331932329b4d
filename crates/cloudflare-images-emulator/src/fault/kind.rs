//! The kinds of faults.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};

use super::CallInfo;
use crate::error::ApiError;

type Headers = BTreeMap<String, String>;

/// A fault. "Carried out" means that the call has its effect although its response is altered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// An error; the call is not carried out. At least one of status and code is required.
    Status {
        status: Option<u16>,
        /// Cloudflare's error code, such as 5453.
        code: Option<u32>,
        message: Option<String>,
        /// The `Retry-After` header: seconds, or a date.
        retry_after: Option<RetryAfter>,
        /// If absent, text on the delivery host and JSON elsewhere.
        form: Option<ErrorForm>,
        #[serde(default)]
        headers: Headers,
    },
    /// The call is carried out. If it fails, its error has this form: Cloudflare does not document when it uses which.
    Errors { form: ErrorForm },
    /// This response; the call is not carried out.
    Answer {
        #[serde(default = "default_status")]
        status: u16,
        #[serde(default = "default_content_type")]
        content_type: String,
        body: String,
        #[serde(default)]
        headers: Headers,
    },
    /// Status 200 and a web page; the call is not carried out.
    Garbage,
    /// The call is carried out after a delay in milliseconds.
    Delay { ms: u64 },
    /// The call is carried out; the response follows after a delay in milliseconds.
    DelayAfter { ms: u64 },
    /// The call is carried out; the response is sent in pieces of `bytes` bytes, each after a delay in milliseconds.
    Slow {
        #[serde(default = "default_piece")]
        bytes: usize,
        ms: u64,
    },
    /// The connection is closed without a response; the call is not carried out.
    Drop,
    /// The call is carried out; the connection is closed without a response.
    LostAnswer,
    /// The call is carried out; the connection is closed after `bytes` bytes of the response body.
    Cut { bytes: usize },
    /// There is no response; the call is not carried out.
    Hang,
    /// The call is carried out; there is no response.
    HangAfter,
}

/// The form of an error response.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorForm {
    /// The envelope of the API.
    Json,
    /// `ERROR 5404: Image not found`.
    Text,
    /// A web page without an error code, as proxies send it.
    Html,
}

/// Value of the `retry-after` header.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RetryAfter {
    Seconds(u64),
    Text(String),
}

impl Fault {
    /// An error for values that no HTTP response can have.
    pub(super) fn validate(&self) -> Result<(), ApiError> {
        match self {
            Fault::Status { status: None, code: None, .. } => {
                Err(ApiError::bad_request("a status or a code is needed").with_pointer(&["fault", "status"]))
            }
            Fault::Status { status, headers, retry_after, .. } => {
                check_status(status.unwrap_or(500))?;
                if let Some(RetryAfter::Text(text)) = retry_after {
                    check_header("retry-after", text)?;
                }
                check_headers(headers)
            }
            Fault::Answer { status, headers, content_type, .. } => {
                check_status(*status)?;
                check_header(CONTENT_TYPE.as_str(), content_type)?;
                check_headers(headers)
            }
            Fault::Slow { bytes: 0, .. } => {
                Err(ApiError::bad_request("bytes must be 1 or more").with_pointer(&["fault", "bytes"]))
            }
            Fault::Delay { ms } | Fault::DelayAfter { ms } | Fault::Slow { ms, .. } if *ms > MAX_DELAY_MS => {
                Err(ApiError::bad_request(format!("ms must be at most {MAX_DELAY_MS}"))
                    .with_pointer(&["fault", "ms"]))
            }
            _ => Ok(()),
        }
    }

    /// Answers a call with this fault. `response` carries out the call when it is polled.
    pub(super) async fn apply(self, call: &CallInfo, response: impl Future<Output = Response>) -> Response {
        match self {
            Fault::Status { status, code, message, retry_after, form, headers } => {
                let form =
                    form.unwrap_or(if call.has_text_errors { ErrorForm::Text } else { ErrorForm::Json });
                let mut response = error_response(injected_error(status, code, message), form);
                if let Some(wait) = retry_after {
                    set_header(&mut response, "retry-after", &wait.to_string());
                }
                with_headers(response, &headers)
            }
            Fault::Errors { form } => with_error_form(response.await, call, form),
            Fault::Answer { status, content_type, body, headers } => with_headers(
                (status_code(status), [(CONTENT_TYPE, content_type)], body).into_response(),
                &headers,
            ),
            Fault::Garbage => Html("<!doctype html><title>?</title><p>Empty you asked for.").into_response(),
            Fault::Delay { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                response.await
            }
            Fault::DelayAfter { ms } => {
                let response = response.await;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                response
            }
            Fault::Slow { bytes, ms } => in_pieces(response.await, bytes, Duration::from_millis(ms)).await,
            Fault::Drop => closed_connection(),
            Fault::LostAnswer => {
                response.await;
                closed_connection()
            }
            Fault::Cut { bytes } => cut(response.await, bytes).await,
            Fault::Hang => std::future::pending().await,
            Fault::HangAfter => {
                response.await;
                std::future::pending().await
            }
        }
    }
}

/// Longest delay, in milliseconds: an hour.
const MAX_DELAY_MS: u64 = 3_600_000;

fn check_status(status: u16) -> Result<(), ApiError> {
    // hyper sends no final response below 200, and statuses above 599 are not defined.
    match status {
        200..=599 => Ok(()),
        _ => {
            Err(ApiError::bad_request("status must be between 200 and 599")
                .with_pointer(&["fault", "status"]))
        }
    }
}

fn check_headers(headers: &Headers) -> Result<(), ApiError> {
    headers.iter().try_for_each(|(name, value)| check_header(name, value))
}

fn check_header(name: &str, value: &str) -> Result<(), ApiError> {
    let valid = HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok();
    valid.then_some(()).ok_or_else(|| {
        ApiError::bad_request(format!("`{name}` is not a valid header")).with_pointer(&["fault", "headers"])
    })
}

/// The error of a `status` fault. Members that are left out have the values that Cloudflare uses with the others.
fn injected_error(status: Option<u16>, code: Option<u32>, message: Option<String>) -> ApiError {
    let status = status.unwrap_or_else(|| usual_status(code.unwrap_or(5500)));
    let code = code.unwrap_or_else(|| usual_code(status));
    let message = message.unwrap_or_else(|| usual_message(code).to_owned());
    ApiError::new(status_code(status), code, message)
}

/// The status that Cloudflare uses with a code. The last two digits of many codes 54xx are those of the status.
fn usual_status(code: u32) -> u16 {
    match code {
        971 => 429,
        5401 | 7000 | 7003 => 404,
        5403 | 5453 | 10000 => 403,
        5443 | 7011 => 413,
        5455 => 415,
        5400 | 5404 | 5408 | 5409 | 5413 | 5415 => u16::try_from(code % 100).map_or(400, |part| 400 + part),
        5503 => 503,
        5500..=5599 => 500,
        7001 => 405,
        _ => 400,
    }
}

fn usual_code(status: u16) -> u32 {
    match status {
        400 | 404 | 408 | 409 | 413 | 415 => 5000 + u32::from(status),
        401 | 403 => 10000,
        429 => 971,
        503 => 5503,
        _ => 5500,
    }
}

fn usual_message(code: u32) -> &'static str {
    match code {
        971 => "Please wait and consider throttling your request speed",
        5400 => "Bad Request",
        5401 => "Variant not found",
        5403 => "The given account is not valid or is not authorized to access this service",
        5404 => "Image not found",
        5408 => "Client was sending upload too slowly",
        5409 => "Resource already exists",
        5413 => "Maximum image size of 10 MB is reached",
        5453 => "The given account has reached a service limit",
        5503 => "Server Unavailable",
        7003 => "Could not route to the URI, perhaps your object identifier is invalid?",
        10000 => "Authentication error",
        5500..=5599 => "Internal Server Error",
        _ => "Injected fault",
    }
}

/// A response, with its error, if it is one, in another form.
fn with_error_form(response: Response, call: &CallInfo, form: ErrorForm) -> Response {
    match response.extensions().get::<ApiError>().cloned() {
        // The only text error that was observed without a code.
        Some(error) if call.name == "variants.get" && matches!(form, ErrorForm::Text) => {
            (error.status, "variant not found").into_response()
        }
        Some(error) => error_response(error, form),
        None => response,
    }
}

fn error_response(error: ApiError, form: ErrorForm) -> Response {
    match form {
        ErrorForm::Json => error.into_response(),
        ErrorForm::Text => error.into_text(),
        ErrorForm::Html => {
            let status = error.status;
            let page =
                format!("<html>\n<head><title>{status}</title></head>\n<body>{status}</body>\n</html>\n");
            (status, Html(page)).into_response()
        }
    }
}

/// Sends the body in pieces, with the same `Content-Length`.
async fn in_pieces(response: Response, bytes: usize, wait: Duration) -> Response {
    with_body_stream(response, |body| {
        let pieces: Vec<_> = (0..body.len()).step_by(bytes).collect();
        stream::iter(pieces).then(move |start| {
            let piece = body.slice(start..body.len().min(start.saturating_add(bytes)));
            async move {
                tokio::time::sleep(wait).await;
                Ok(piece)
            }
        })
    })
    .await
}

/// Sends the first bytes of the body and closes the connection.
async fn cut(response: Response, bytes: usize) -> Response {
    with_body_stream(response, |body| {
        let sent = body.slice(..bytes.min(body.len().saturating_sub(1)));
        stream::iter([Ok(sent)]).chain(stream::once(async {
            // If the error came immediately, hyper would not even send the head.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(injected_io_error())
        }))
    })
    .await
}

/// The response with its body replaced by a stream that is made of it.
async fn with_body_stream<S>(response: Response, stream_of: impl FnOnce(Bytes) -> S) -> Response
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let (mut parts, body) = response.into_parts();
    // Responses fit in memory: the largest are images and lists of images.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return closed_connection() };
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Response::from_parts(parts, Body::from_stream(stream_of(body)))
}

/// A response whose body fails before the head is sent, so that hyper closes the connection without sending anything.
fn closed_connection() -> Response {
    Body::from_stream(stream::iter([Err::<Bytes, _>(injected_io_error())])).into_response()
}

fn injected_io_error() -> std::io::Error {
    std::io::Error::other("connection cut by an injected fault")
}

fn with_headers(mut response: Response, headers: &Headers) -> Response {
    for (name, value) in headers {
        set_header(&mut response, name, value);
    }
    response
}

fn set_header(response: &mut Response, name: &str, value: &str) {
    // Both were validated when the fault was added.
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl std::fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RetryAfter::Seconds(seconds) => write!(f, "{seconds}"),
            RetryAfter::Text(text) => f.write_str(text),
        }
    }
}

fn default_status() -> u16 {
    200
}

fn default_piece() -> usize {
    1
}

fn default_content_type() -> String {
    "application/json".to_owned()
}
