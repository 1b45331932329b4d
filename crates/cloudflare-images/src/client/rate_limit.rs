//! The client's own rate limit, and the pause before a retry.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Error, ErrorDetails};

/// The longest time that `Retry-After` can block all calls: Cloudflare's rate limit counts the calls of five minutes.
const MAX_BLOCK: Duration = Duration::from_secs(300);

/// A limiter by the generic cell rate algorithm: some calls at once, the others evenly spread.
pub(super) struct RateLimiter {
    /// Time between two calls once the burst is used up.
    interval: Duration,
    /// How far the calls of a burst may run ahead of the even spread.
    tolerance: Duration,
    state: Mutex<State>,
}

struct State {
    /// When a full burst is possible again.
    full_at: Instant,
    /// Before this time no call is made, because a response asked for a pause.
    blocked_until: Instant,
}

impl RateLimiter {
    /// Allows at most `calls` in any `window`, a fifth of them at once.
    pub(super) fn new(calls: u32, window: Duration) -> Self {
        let burst = (calls / 5).max(1);
        let interval = window / calls.saturating_sub(burst).max(1);
        let now = Instant::now();
        Self {
            interval,
            tolerance: interval * (burst - 1),
            state: Mutex::new(State { full_at: now, blocked_until: now }),
        }
    }

    /// Waits until the next call is allowed; fails at once if that is after `deadline`.
    pub(super) async fn acquire(&self, deadline: Instant) -> Result<(), Error> {
        let at = self.reserve(Instant::now(), deadline)?;
        tokio::time::sleep_until(at).await;
        Ok(())
    }

    /// Blocks all calls for a time that a response asked for.
    pub(super) fn block(&self, wait: Duration) {
        let until = Instant::now() + wait.min(MAX_BLOCK);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.blocked_until = state.blocked_until.max(until);
    }

    fn reserve(&self, now: Instant, deadline: Instant) -> Result<Instant, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let free_at = state.full_at.checked_sub(self.tolerance).unwrap_or(now);
        let at = free_at.max(state.blocked_until).max(now);
        if at > deadline {
            return Err(Error::RateLimited {
                details: ErrorDetails::local("the client delays calls to stay below Cloudflare's rate limit"),
                retry_after: Some(at - now),
            });
        }
        state.full_at = state.full_at.max(at) + self.interval;
        Ok(at)
    }
}

/// The pause after a number of failed attempts: what the response asks for, or else exponential backoff. Jitter keeps
/// several clients from calling at the same time again.
pub(super) fn retry_delay(attempts: u32, retry_after: Option<Duration>) -> Duration {
    const BASE: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_secs(8);
    match retry_after {
        Some(wait) => wait.saturating_add(BASE.mul_f64(rand::random())),
        None => {
            let longest = BASE.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(MAX);
            longest.mul_f64(rand::random_range(0.5..=1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_at_most_its_number_of_calls() {
        let window = Duration::from_secs(300);
        let limiter = RateLimiter::new(1200, window);
        let start = Instant::now();
        let never = start + window * 10;
        let calls: Vec<Instant> = (0..3000).map(|_| limiter.reserve(start, never).unwrap()).collect();
        assert_eq!(calls.iter().filter(|&&at| at == start).count(), 240);
        for (index, &from) in calls.iter().enumerate() {
            let count = calls[index..].iter().take_while(|&&at| at < from + window).count();
            assert!(count <= 1200, "{count} calls within one window");
        }
    }

    #[test]
    fn a_call_after_the_deadline_is_an_error_with_the_wait() {
        let limiter = RateLimiter::new(5, Duration::from_secs(4));
        let now = Instant::now();
        limiter.reserve(now, now).unwrap();
        let error = limiter.reserve(now, now).unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert!(error.is_transient() && !error.maybe_applied());
        // The rejected call does not count.
        let later = now + Duration::from_secs(1);
        assert_eq!(limiter.reserve(now, later).unwrap(), later);
    }

    #[test]
    fn retry_delays_grow_up_to_a_maximum() {
        assert!(retry_delay(1, None) <= Duration::from_millis(250));
        assert!(retry_delay(3, None) >= Duration::from_millis(500));
        assert!(retry_delay(u32::MAX, None) <= Duration::from_secs(8));
        assert!(retry_delay(1, Some(Duration::MAX)) == Duration::MAX);
        assert!(retry_delay(9, Some(Duration::ZERO)) <= Duration::from_millis(250));
    }
}
