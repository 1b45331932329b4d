//! One call: what is asked, and the tries it is given.

use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;

use super::body::Content;
use super::{Error, pace};

/// Tries of one call, whatever its deadline allows.
const MAX_TRIES: u32 = 5;

/// What is asked of a host.
pub(super) struct Call {
    pub(super) method: Method,
    /// Below the host's base, percent-encoded.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) content: Content,
    pub(super) accept: &'static str,
    repeat: Repeat,
}

/// Which failures a call may be repeated after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice is doing it once.
    Always,
    /// Only those that show the deed was not done.
    Unseen,
}

/// A call that has failed for good.
pub(super) struct Failed {
    pub(super) error: Error,
    /// Whether one of its tries may have done the deed.
    pub(super) in_doubt: bool,
}

/// The tries of a call so far.
pub(super) struct Tries {
    /// No try or wait reaches past this.
    pub(super) until: Instant,
    /// The host's token was refused and has been replaced.
    pub(super) renewed: bool,
    made: u32,
    in_doubt: bool,
}

impl Call {
    /// Without a body; reads and deletions may always be repeated.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        let repeat = match method {
            Method::GET | Method::DELETE => Repeat::Always,
            _ => Repeat::Unseen,
        };
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            content: Content::None,
            accept: "application/json",
            repeat,
        }
    }

    pub(super) fn query(self, query: Vec<(String, String)>) -> Self {
        Self { query, ..self }
    }

    pub(super) fn content(self, content: Content) -> Self {
        Self { content, ..self }
    }

    pub(super) fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    pub(super) fn repeat(self, repeat: Repeat) -> Self {
        Self { repeat, ..self }
    }

    /// Whether a request that went out may have changed something by now.
    pub(super) fn may_be_done(&self) -> bool {
        self.method != Method::GET && self.content.sent()
    }
}

impl Tries {
    pub(super) fn new(deadline: Duration) -> Self {
        // An hour is longer than any caller waits, and cannot overflow the clock.
        let until = Instant::now() + deadline.min(Duration::from_secs(3600));
        Self { until, renewed: false, made: 0, in_doubt: false }
    }

    /// Waits for the next try, or gives the failure back when there is none.
    pub(super) async fn again(&mut self, call: &Call, error: Error) -> Result<(), Failed> {
        self.made += 1;
        self.in_doubt |= error.ambiguous();
        let wait = pace::pause(self.made, error.retry_after());
        let in_time = wait < self.until.saturating_duration_since(Instant::now());
        if self.made >= MAX_TRIES || !in_time || !may_repeat(call, &error) {
            return Err(Failed { error, in_doubt: self.in_doubt });
        }
        tracing::debug!(method = %call.method, path = call.path, %error, ?wait, "repeating a call to Cloudflare");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

fn may_repeat(call: &Call, error: &Error) -> bool {
    let harmless = match error {
        Error::RateLimited { .. } => true,
        Error::Unavailable { ambiguous, .. } => !ambiguous || call.repeat == Repeat::Always,
        _ => false,
    };
    harmless && call.content.repeatable()
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}
