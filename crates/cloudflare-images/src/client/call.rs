//! One call: its request, and the attempts to get a response.

use std::time::Duration;

use reqwest::Method;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::rate_limit::{Priority, retry_delay};
use super::request::RequestBody;
use super::{DeleteOutcome, Error};

/// Most attempts of one call, even if its time allows more.
const MAX_ATTEMPTS: u32 = 5;
/// The longest time of one call. A limit keeps the deadline within the range of `Instant`.
const MAX_CALL_TIME: Duration = Duration::from_secs(3600);

/// A request to one of the hosts.
pub(super) struct Call {
    pub(super) method: Method,
    /// Percent-encoded, relative to the base URL of the host.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: RequestBody,
    pub(super) accept: &'static str,
    retry: Retry,
}

/// Which errors a call may be retried after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Any transient error: the call is idempotent.
    Always,
    /// Only errors that prove that the call was not carried out.
    IfNotApplied,
}

/// A call without a further attempt.
pub(super) struct FailedCall {
    pub(super) error: Error,
    /// Whether any of the attempts may have been carried out.
    pub(super) maybe_applied: bool,
    /// Whether the host's token was rejected and is replaced for the next call.
    pub(super) token_renewed: bool,
}

/// The attempts of one call so far.
#[derive(Debug, Clone)]
pub(super) struct Attempts {
    /// The end of the call's time.
    pub(super) deadline: Instant,
    pub(super) priority: Priority,
    /// Whether the host's token was rejected and replaced.
    pub(super) token_renewed: bool,
    /// Whether the next attempt has its place in the rate of the host already.
    admitted: bool,
    max: u32,
    failed: u32,
    maybe_applied: bool,
}

impl Call {
    /// A call without a body. GET and DELETE may be retried after any transient error.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        let retry = match method {
            Method::GET | Method::DELETE => Retry::Always,
            _ => Retry::IfNotApplied,
        };
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            body: RequestBody::None,
            accept: "application/json",
            retry,
        }
    }

    pub(super) fn query(self, query: Vec<(String, String)>) -> Self {
        Self { query, ..self }
    }

    pub(super) fn body(self, body: RequestBody) -> Self {
        Self { body, ..self }
    }

    pub(super) fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    pub(super) fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Whether the latest attempt may have been carried out: it changes something, and all of its bytes were sent.
    pub(super) fn maybe_applied(&self) -> bool {
        self.method != Method::GET && self.body.is_sent()
    }

    /// Whether the call can be made again after all attempts at one host have failed.
    pub(super) fn is_safe_after(&self, failed: &FailedCall) -> bool {
        !failed.maybe_applied || self.retry == Retry::Always
    }

    fn may_retry(&self, error: &Error) -> bool {
        let safe = match error {
            Error::RateLimited { .. } => true,
            Error::Unavailable { maybe_applied, .. } => !maybe_applied || self.retry == Retry::Always,
            _ => false,
        };
        safe && self.body.can_be_resent()
    }
}

impl Attempts {
    pub(super) fn new(call_timeout: Duration, priority: Priority) -> Self {
        let deadline = Instant::now() + call_timeout.min(MAX_CALL_TIME);
        Self {
            deadline,
            priority,
            token_renewed: false,
            admitted: false,
            max: MAX_ATTEMPTS,
            failed: 0,
            maybe_applied: false,
        }
    }

    /// The first attempt does not wait for its place in the rate of the host, because it has it.
    pub(super) fn admitted(self) -> Self {
        Self { admitted: true, ..self }
    }

    /// At most so many attempts.
    pub(super) fn at_most(self, max: u32) -> Self {
        Self { max, ..self }
    }

    /// These attempts, made at another host after some have failed.
    pub(super) fn after(self, failed: &FailedCall) -> Self {
        Self { maybe_applied: failed.maybe_applied, ..self }
    }

    /// Whether this attempt has its place in the rate of the host; the next one has to wait for it.
    pub(super) fn take_admission(&mut self) -> bool {
        std::mem::take(&mut self.admitted)
    }

    /// Waits before the next attempt; returns the error if there is none.
    pub(super) async fn wait_for_retry(&mut self, call: &Call, error: Error) -> Result<(), FailedCall> {
        self.failed += 1;
        self.maybe_applied |= error.maybe_applied();
        let delay = retry_delay(self.failed, error.retry_after());
        let in_time = delay < self.deadline.saturating_duration_since(Instant::now());
        if self.failed >= self.max || !in_time || !call.may_retry(&error) {
            let (maybe_applied, token_renewed) = (self.maybe_applied, self.token_renewed);
            return Err(FailedCall { error, maybe_applied, token_renewed });
        }
        tracing::debug!(method = %call.method, path = call.path, %error, ?delay, "retrying a call to Cloudflare");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// The result of a call that must have one.
pub(super) fn required<T>(call: &Call, answered: Result<Option<T>, FailedCall>) -> Result<T, FailedCall> {
    answered?.ok_or_else(|| {
        let error = Error::invalid_response("the response has no result", call.maybe_applied());
        FailedCall { maybe_applied: error.maybe_applied(), token_renewed: false, error }
    })
}

/// The outcome of a call that deletes.
pub(super) fn deletion(answered: Result<Option<IgnoredAny>, FailedCall>) -> Result<DeleteOutcome, Error> {
    match answered {
        Ok(_) => Ok(DeleteOutcome::Deleted),
        // If an earlier attempt may have been carried out, it is what made the resource disappear.
        Err(FailedCall { error: Error::NotFound(_), maybe_applied: true, .. }) => Ok(DeleteOutcome::Deleted),
        Err(FailedCall { error: Error::NotFound(_), .. }) => Ok(DeleteOutcome::NotFound),
        Err(FailedCall { error, .. }) => Err(error),
    }
}

impl From<FailedCall> for Error {
    fn from(failed: FailedCall) -> Self {
        failed.error
    }
}
