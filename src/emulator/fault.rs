//! Faults on demand, so that a test can see what its server does when Cloudflare misbehaves.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::answer::Refusal;
use super::form;
use super::route::FaultCall;

/// Faults waiting for their calls, and how often each call was made since the start.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    rules: Vec<Rule>,
    calls: BTreeMap<&'static str, u64>,
}

/// Body of `POST /faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// A call's name, or `*` for all.
    call: String,
    fault: Fault,
    /// How many calls it spoils; all if absent.
    times: Option<u64>,
    /// How many matching calls it lets through first.
    #[serde(default)]
    skip: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Fault {
    /// Answers an error instead of doing the deed.
    Status {
        status: u16,
        #[serde(default = "internal_error")]
        code: u32,
        #[serde(default)]
        message: String,
        /// Seconds, in the `retry-after` header.
        retry_after: Option<u64>,
        /// Text on the delivery host and JSON elsewhere if absent.
        form: Option<Form>,
    },
    /// Answers normally, but errors in another form: Cloudflare does not say when it uses which.
    Errors { form: Form },
    /// Answers this instead of doing the deed.
    Answer {
        #[serde(default = "ok")]
        status: u16,
        #[serde(default = "json_type")]
        content_type: String,
        body: String,
    },
    /// Waits, then answers normally.
    Delay { ms: u64 },
    /// Closes the connection without an answer, before the deed.
    Drop,
    /// Answers 200 with a web page, before the deed.
    Garbage,
    /// Does the deed, then closes the connection without an answer.
    LostAnswer,
    /// Does the deed, then never answers.
    HangAfter,
}

/// How an error is written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// The envelope of the API.
    Json,
    /// `ERROR 5404: Image not found`.
    Text,
    /// A web page with no number in it, as proxies on the way answer.
    Html,
}

impl Faults {
    /// Answers a call, spoiled if a rule says so. `in_text`: whether errors of this call are text by themselves.
    pub(super) async fn around(
        &self,
        call: &'static str,
        in_text: bool,
        answer: impl Future<Output = Response>,
    ) -> Response {
        match self.next(call) {
            None => answer.await,
            Some(Fault::Status { status, code, message, retry_after, form }) => {
                let form = form.unwrap_or(if in_text { Form::Text } else { Form::Json });
                refuse(Refusal::new(status_code(status), code, message), retry_after, form)
            }
            Some(Fault::Errors { form }) => {
                let response = answer.await;
                match response.extensions().get::<Refusal>().cloned() {
                    // The one text that was seen without a number.
                    Some(refusal) if call == "variants.get" && matches!(form, Form::Text) => {
                        (refusal.status, "variant not found").into_response()
                    }
                    Some(refusal) => refuse(refusal, None, form),
                    None => response,
                }
            }
            Some(Fault::Answer { status, content_type, body }) => {
                (status_code(status), [(CONTENT_TYPE, content_type)], body).into_response()
            }
            Some(Fault::Delay { ms }) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                answer.await
            }
            Some(Fault::Drop) => broken_connection(),
            Some(Fault::Garbage) => {
                Html("<!doctype html><title>?</title><p>Nothing you asked for.").into_response()
            }
            Some(Fault::LostAnswer) => {
                answer.await;
                broken_connection()
            }
            Some(Fault::HangAfter) => {
                answer.await;
                std::future::pending().await
            }
        }
    }

    /// Counts the call and takes the first fault that is due for it.
    fn next(&self, call: &'static str) -> Option<Fault> {
        let mut ledger = self.ledger();
        *ledger.calls.entry(call).or_default() += 1;
        for rule in ledger.rules.iter_mut().filter(|rule| rule.call == "*" || rule.call == call) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            match &mut rule.times {
                Some(0) => continue,
                Some(times) => *times -= 1,
                None => {}
            }
            return Some(rule.fault.clone());
        }
        None
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves `/faults`.
pub(super) async fn control(faults: &Faults, call: FaultCall, request: Request) -> Response {
    match call {
        FaultCall::Counts => Json(json!({ "calls": faults.ledger().calls })).into_response(),
        FaultCall::Clear => {
            faults.ledger().rules.clear();
            Json(json!({})).into_response()
        }
        FaultCall::Add => match form::json::<Rule>(request.into_body()).await {
            Ok(rule) => {
                faults.ledger().rules.push(rule);
                Json(json!({})).into_response()
            }
            Err(refusal) => refusal.into_response(),
        },
    }
}

fn refuse(refusal: Refusal, retry_after: Option<u64>, form: Form) -> Response {
    let mut response = match form {
        Form::Json => refusal.into_response(),
        Form::Text => refusal.into_text(),
        Form::Html => {
            let status = refusal.status;
            let page =
                format!("<html>\n<head><title>{status}</title></head>\n<body>{status}</body>\n</html>\n");
            (status, Html(page)).into_response()
        }
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    }
    response
}

/// A body that fails before the head was flushed: the HTTP layer closes the connection and sends nothing.
fn broken_connection() -> Response {
    let cut = std::io::Error::other("connection cut by an injected fault");
    Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(cut)])).into_response()
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn internal_error() -> u32 {
    5500
}

fn ok() -> u16 {
    200
}

fn json_type() -> String {
    "application/json".to_owned()
}
