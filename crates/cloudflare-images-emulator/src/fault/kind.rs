//! What can go wrong with one call.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};

use super::Seen;
use crate::answer::Refusal;

type Headers = BTreeMap<String, String>;

/// A fault. "Carried out" says that the call has its effect all the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// Answers an error; nothing is carried out. Of status and code one is enough.
    Status {
        status: Option<u16>,
        /// Cloudflare's number, such as 5453.
        code: Option<u32>,
        message: Option<String>,
        /// The `retry-after` header: seconds, or a date as text.
        retry_after: Option<RetryAfter>,
        /// Text on the delivery host and JSON elsewhere if absent.
        form: Option<Form>,
        #[serde(default)]
        headers: Headers,
    },
    /// Answers normally, but errors in another form: Cloudflare does not say when it uses which.
    Errors { form: Form },
    /// Answers exactly this; nothing is carried out.
    Answer {
        #[serde(default = "ok")]
        status: u16,
        #[serde(default = "json_type")]
        content_type: String,
        body: String,
        #[serde(default)]
        headers: Headers,
    },
    /// Answers 200 with a web page; nothing is carried out.
    Garbage,
    /// Waits, then carries out and answers.
    Delay { ms: u64 },
    /// Carries out, waits, then answers.
    DelayAfter { ms: u64 },
    /// Carries out, then answers in pieces of so many bytes, each after a wait.
    Slow {
        #[serde(default = "one")]
        bytes: usize,
        ms: u64,
    },
    /// Closes the connection without an answer; nothing is carried out.
    Drop,
    /// Carries out, then closes the connection without an answer.
    LostAnswer,
    /// Carries out, answers so many bytes of the body, then closes the connection.
    Cut { bytes: usize },
    /// Never answers; nothing is carried out.
    Hang,
    /// Carries out, then never answers.
    HangAfter,
}

/// How an error is written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// The envelope of the API.
    Json,
    /// `ERROR 5404: Image not found`.
    Text,
    /// A web page with no number in it, as proxies on the way answer.
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
    /// Refuses what cannot be answered.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self {
            Fault::Status { status: None, code: None, .. } => {
                Err(Refusal::bad_request("a status or a code is needed").at(&["fault", "status"]))
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
                Err(Refusal::bad_request("bytes must be 1 or more").at(&["fault", "bytes"]))
            }
            Fault::Delay { ms } | Fault::DelayAfter { ms } | Fault::Slow { ms, .. } if *ms > LONGEST_WAIT => {
                Err(Refusal::bad_request(format!("ms must be at most {LONGEST_WAIT}")).at(&["fault", "ms"]))
            }
            _ => Ok(()),
        }
    }

    /// Answers a call as this fault has it. `answer` carries the call out when it is polled.
    pub(super) async fn strike(self, seen: &Seen, answer: impl Future<Output = Response>) -> Response {
        match self {
            Fault::Status { status, code, message, retry_after, form, headers } => {
                let form = form.unwrap_or(if seen.in_text { Form::Text } else { Form::Json });
                let mut response = written(refusal(status, code, message), form);
                if let Some(wait) = retry_after {
                    set(&mut response, "retry-after", &wait.to_string());
                }
                with(response, &headers)
            }
            Fault::Errors { form } => rewritten(answer.await, seen, form),
            Fault::Answer { status, content_type, body, headers } => {
                with((status_code(status), [(CONTENT_TYPE, content_type)], body).into_response(), &headers)
            }
            Fault::Garbage => {
                Html("<!doctype html><title>?</title><p>Nothing you asked for.").into_response()
            }
            Fault::Delay { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                answer.await
            }
            Fault::DelayAfter { ms } => {
                let response = answer.await;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                response
            }
            Fault::Slow { bytes, ms } => in_pieces(answer.await, bytes, Duration::from_millis(ms)).await,
            Fault::Drop => broken_connection(),
            Fault::LostAnswer => {
                answer.await;
                broken_connection()
            }
            Fault::Cut { bytes } => cut(answer.await, bytes).await,
            Fault::Hang => std::future::pending().await,
            Fault::HangAfter => {
                answer.await;
                std::future::pending().await
            }
        }
    }
}

/// An hour, in milliseconds.
const LONGEST_WAIT: u64 = 3_600_000;

fn check_status(status: u16) -> Result<(), Refusal> {
    // The HTTP layer answers nothing below 200, and nothing above 599 has a meaning.
    match status {
        200..=599 => Ok(()),
        _ => Err(Refusal::bad_request("status must be between 200 and 599").at(&["fault", "status"])),
    }
}

fn check_headers(headers: &Headers) -> Result<(), Refusal> {
    headers.iter().try_for_each(|(name, value)| check_header(name, value))
}

fn check_header(name: &str, value: &str) -> Result<(), Refusal> {
    let valid = HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok();
    valid
        .then_some(())
        .ok_or_else(|| Refusal::bad_request(format!("`{name}` is no header")).at(&["fault", "headers"]))
}

/// The error of a `status` fault; what it leaves out follows from the rest.
fn refusal(status: Option<u16>, code: Option<u32>, message: Option<String>) -> Refusal {
    let status = status.unwrap_or_else(|| usual_status(code.unwrap_or(5500)));
    let code = code.unwrap_or_else(|| usual_code(status));
    let message = message.unwrap_or_else(|| usual_message(code).to_owned());
    Refusal::new(status_code(status), code, message)
}

/// The last two digits of 54xx and 55xx mirror the status where there is one.
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

/// An answer with its error, if it is one, in another form.
fn rewritten(response: Response, seen: &Seen, form: Form) -> Response {
    match response.extensions().get::<Refusal>().cloned() {
        // The one text that was seen without a number.
        Some(refusal) if seen.call == "variants.get" && matches!(form, Form::Text) => {
            (refusal.status, "variant not found").into_response()
        }
        Some(refusal) => written(refusal, form),
        None => response,
    }
}

fn written(refusal: Refusal, form: Form) -> Response {
    match form {
        Form::Json => refusal.into_response(),
        Form::Text => refusal.into_text(),
        Form::Html => {
            let status = refusal.status;
            let page =
                format!("<html>\n<head><title>{status}</title></head>\n<body>{status}</body>\n</html>\n");
            (status, Html(page)).into_response()
        }
    }
}

/// Sends the body piece by piece. Its length is told, as it would be.
async fn in_pieces(response: Response, bytes: usize, wait: Duration) -> Response {
    spread(response, |body| {
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

/// Sends the first bytes of the body and breaks off.
async fn cut(response: Response, bytes: usize) -> Response {
    spread(response, |body| {
        let begun = body.slice(..bytes.min(body.len().saturating_sub(1)));
        stream::iter([Ok(begun)]).chain(stream::once(async {
            // An error at once would keep even the head from being sent.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(injected())
        }))
    })
    .await
}

/// The same answer with its body sent in another way.
async fn spread<S>(response: Response, way: impl FnOnce(Bytes) -> S) -> Response
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let (mut parts, body) = response.into_parts();
    // No answer is larger than an image, but for a list of a thousand.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return broken_connection() };
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Response::from_parts(parts, Body::from_stream(way(body)))
}

/// A body that fails before the head was flushed: the HTTP layer closes the connection and sends nothing.
fn broken_connection() -> Response {
    Body::from_stream(stream::iter([Err::<Bytes, _>(injected())])).into_response()
}

fn injected() -> std::io::Error {
    std::io::Error::other("connection cut by an injected fault")
}

fn with(mut response: Response, headers: &Headers) -> Response {
    for (name, value) in headers {
        set(&mut response, name, value);
    }
    response
}

fn set(response: &mut Response, name: &str, value: &str) {
    // Both were checked when the fault was added.
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

fn ok() -> u16 {
    200
}

fn one() -> usize {
    1
}

fn json_type() -> String {
    "application/json".to_owned()
}
