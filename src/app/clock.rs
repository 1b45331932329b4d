//! The clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// The clock of a server, which tests can advance.
#[derive(Clone, Default)]
pub struct Clock {
    /// How far the clock is ahead of the system time.
    offset_millis: Arc<AtomicI64>,
}

impl Clock {
    /// The current time in whole milliseconds, the precision of stored times and of responses.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system time")]
    pub fn now(&self) -> DateTime<Utc> {
        (Utc::now() + TimeDelta::milliseconds(self.offset_millis.load(Ordering::Relaxed))).trunc_subsecs(3)
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.offset_millis.fetch_add(millis, Ordering::Relaxed);
    }
}
