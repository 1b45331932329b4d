//! Counters of failed calls, for monitoring.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;

/// Numbers of failed calls since the client was made, by kind.
///
/// A call that succeeded after a retry is not counted, and neither is [`Error::NotFound`].
#[derive(Debug, Default)]
pub struct Failures {
    refused: AtomicU64,
    account: AtomicU64,
    rate_limited: AtomicU64,
    unavailable: AtomicU64,
}

impl Failures {
    /// The name and the number of each kind:
    ///
    /// - `refused`: caused by the content of the request, see [`Error::is_request_error`];
    /// - `account`: the operator of the account has to act, see [`Error::is_account_error`];
    /// - `rate_limited`: too many calls;
    /// - `unavailable`: no usable response.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("refused", count(&self.refused)),
            ("account", count(&self.account)),
            ("rate_limited", count(&self.rate_limited)),
            ("unavailable", count(&self.unavailable)),
        ]
    }

    /// Counts a failed call, and logs it at level `error` if the operator of the account has to act.
    pub(super) fn record(&self, call: &str, error: &Error) {
        let counter = match error {
            Error::NotFound(_) | Error::UploadSource(_) | Error::Settings { .. } => return,
            Error::RateLimited { .. } => &self.rate_limited,
            Error::Unavailable { .. } | Error::InvalidResponse { .. } => &self.unavailable,
            _ if !error.is_account_error() => &self.refused,
            _ => {
                let (code, status, reason) = (error.code(), error.status(), error.message());
                tracing::error!(call, code, status, reason, "the Cloudflare account rejected a call");
                &self.account
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
