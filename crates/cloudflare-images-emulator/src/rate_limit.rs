//! The rates that Cloudflare allows: calls to the management API in five minutes, and to the batch host in a second.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};

use super::Settings;
use super::error::ApiError;

/// The limits of an emulator; `None` for a host without one.
#[derive(Debug)]
pub(super) struct RateLimits {
    pub(super) api: Option<RateLimit>,
    pub(super) batch: Option<RateLimit>,
}

/// A maximum of calls in any period of this length. After a call beyond it, all are refused for as long again.
#[derive(Debug)]
pub(super) struct RateLimit {
    calls: NonZeroU32,
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When calls were made, within one period.
    made: VecDeque<Instant>,
    refused_until: Option<Instant>,
}

impl RateLimits {
    pub(super) fn new(settings: &Settings) -> Self {
        let limit = |calls: Option<NonZeroU32>, period| {
            calls.map(|calls| RateLimit { calls, period, state: Mutex::default() })
        };
        Self {
            api: limit(settings.rate, Duration::from_secs(300)),
            batch: limit(settings.batch_rate, Duration::from_secs(1)),
        }
    }
}

impl RateLimit {
    /// Counts a call; the answer to it if there were too many: 429 and 971, with the seconds to wait.
    pub(super) fn admit(&self) -> Result<(), Box<Response>> {
        self.count(Instant::now()).map_err(|wait| {
            let mut response = ApiError::rate_limited().into_response();
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            Box::new(response)
        })
    }

    /// Counts a call at `now`; how long to wait if there were too many.
    fn count(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = state.refused_until.filter(|until| now < *until) {
            return Err(until - now);
        }
        while state.made.front().is_some_and(|made| now.duration_since(*made) >= self.period) {
            state.made.pop_front();
        }
        if state.made.len() >= self.calls.get() as usize {
            state.refused_until = Some(now + self.period);
            return Err(self.period);
        }
        state.made.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_too_many_is_refused_for_one_period() {
        let (calls, period) = (NonZeroU32::new(3).unwrap(), Duration::from_secs(300));
        let limit = RateLimit { calls, period, state: Mutex::default() };
        let start = Instant::now();
        let at = |seconds| limit.count(start + Duration::from_secs(seconds));
        assert_eq!((at(0), at(0), at(200)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(at(299), Err(period));
        assert_eq!(at(598), Err(Duration::from_secs(1)));
        assert_eq!((at(599), at(599), at(599)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(at(600), Err(period));
    }

    /// The period is any of that length, not one of the clock.
    #[test]
    fn calls_leave_one_by_one() {
        let (calls, period) = (NonZeroU32::new(2).unwrap(), Duration::from_secs(1));
        let limit = RateLimit { calls, period, state: Mutex::default() };
        let start = Instant::now();
        for half_seconds in 0..10 {
            assert_eq!(limit.count(start + Duration::from_millis(500 * half_seconds)), Ok(()));
        }
    }
}
