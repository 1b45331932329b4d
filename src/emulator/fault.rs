//! Faults on demand, so that a test can see what its server does when Cloudflare misbehaves.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Request;
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

impl Faults {
    /// Answers a call, spoiled if a rule says so. Text errors are for the delivery host.
    pub(super) async fn around(
        &self,
        call: &'static str,
        in_text: bool,
        answer: impl Future<Output = Response>,
    ) -> Response {
        match self.next(call) {
            None => answer.await,
            Some(Fault::Status { status, code, message, retry_after }) => {
                refuse(status, code, message, retry_after, in_text)
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

fn refuse(status: u16, code: u32, message: String, retry_after: Option<u64>, in_text: bool) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let refusal = Refusal::new(status, code, message);
    let mut response = if in_text { refusal.into_text() } else { refusal.into_response() };
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

fn internal_error() -> u32 {
    5500
}
