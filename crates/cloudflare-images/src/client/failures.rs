//! How many calls failed, and why: what an operator watches.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;

/// Failed calls since the client was made, by kind. A call that was repeated with success has not failed, and something
/// that is not there is no failure.
#[derive(Debug, Default)]
pub struct Failures {
    refused: AtomicU64,
    account: AtomicU64,
    rate_limited: AtomicU64,
    unavailable: AtomicU64,
}

impl Failures {
    /// Name and number of each kind: `refused` for what was sent, `account` for what the account cannot take or does not
    /// allow, `rate_limited`, and `unavailable` for no usable answer.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("refused", count(&self.refused)),
            ("account", count(&self.account)),
            ("rate_limited", count(&self.rate_limited)),
            ("unavailable", count(&self.unavailable)),
        ]
    }

    /// Counts the failure of a call; what only the operator of the account can mend is a line of the log as well.
    pub(super) fn note(&self, call: &str, error: &Error) {
        let counter = match error {
            Error::NotFound(_) | Error::Source(_) | Error::Setup { .. } => return,
            Error::RateLimited { .. } => &self.rate_limited,
            Error::Unavailable { .. } | Error::Nonsense { .. } => &self.unavailable,
            _ if !error.is_of_account() => &self.refused,
            _ => {
                let (code, status) = (error.code(), error.status());
                let said = error.message();
                tracing::error!(call, code, status, said, "the Cloudflare account does not take a call");
                &self.account
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
