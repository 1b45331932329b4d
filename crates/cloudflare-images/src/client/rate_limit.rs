//! The client's own rate limit, and the pause before a retry.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Error, ErrorDetails};

/// The longest time that `Retry-After` can block all calls: Cloudflare's rate limit counts the calls of five minutes.
const MAX_BLOCK: Duration = Duration::from_secs(300);

/// How urgent a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Calls to another host wait for it: the one that fetches a token.
    Token,
    /// Somebody waits for it. It leaves one call of a burst to the token.
    Interactive,
    /// Nobody waits for it: it leaves half of a burst to interactive calls.
    Background,
}

/// A limiter by the generic cell rate algorithm: some calls at once, the others evenly spread.
pub(super) struct RateLimiter {
    /// `None` for a host without a rate limit.
    pace: Option<Pace>,
    state: Mutex<State>,
}

struct Pace {
    /// Time between two calls once the burst is used up.
    interval: Duration,
    /// Number of calls that may come at once.
    burst: u32,
}

struct State {
    /// When a full burst is possible again.
    full_at: Instant,
    /// Before this time no call is made, because a response asked for a pause.
    blocked_until: Instant,
}

impl Pace {
    fn new(calls: NonZeroU32, window: Duration) -> Self {
        let burst = (calls.get() / 5).max(1);
        Self { interval: window / (calls.get() - burst).max(1), burst }
    }

    /// How far calls may run ahead of the even spread.
    fn tolerance(&self, priority: Priority) -> Duration {
        let burst = match priority {
            Priority::Token => self.burst,
            Priority::Interactive => self.burst - 1,
            Priority::Background => self.burst / 2,
        };
        self.interval * burst.saturating_sub(1)
    }
}

impl RateLimiter {
    /// Allows at most `calls` in any `window`, a fifth of them at once; `None` allows any number.
    pub(super) fn new(calls: Option<NonZeroU32>, window: Duration) -> Self {
        let now = Instant::now();
        Self {
            pace: calls.map(|calls| Pace::new(calls, window)),
            state: Mutex::new(State { full_at: now, blocked_until: now }),
        }
    }

    /// Waits until the next call is allowed; fails at once if that is after `deadline`.
    pub(super) async fn acquire(&self, priority: Priority, deadline: Instant) -> Result<(), Error> {
        let at = self.reserve(Instant::now(), priority, deadline)?;
        tokio::time::sleep_until(at).await;
        Ok(())
    }

    /// Whether a call is allowed now; if so, it counts as made.
    pub(super) fn try_acquire(&self, priority: Priority) -> bool {
        let now = Instant::now();
        self.reserve(now, priority, now).is_ok()
    }

    /// Blocks all calls for a time that a response asked for.
    pub(super) fn block(&self, wait: Duration) {
        let until = Instant::now() + wait.min(MAX_BLOCK);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.blocked_until = state.blocked_until.max(until);
    }

    fn reserve(&self, now: Instant, priority: Priority, deadline: Instant) -> Result<Instant, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let tolerance = self.pace.as_ref().map_or(Duration::ZERO, |pace| pace.tolerance(priority));
        let free_at = state.full_at.checked_sub(tolerance).unwrap_or(now);
        let at = free_at.max(state.blocked_until).max(now);
        if at > deadline {
            return Err(Error::RateLimited {
                details: ErrorDetails::local("the client delays calls to stay below Cloudflare's rate limit"),
                retry_after: Some(at - now),
            });
        }
        if let Some(pace) = &self.pace {
            state.full_at = state.full_at.max(at) + pace.interval;
        }
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
    use super::Priority::{Background, Interactive, Token};
    use super::*;

    fn limiter(calls: u32, window: Duration) -> RateLimiter {
        RateLimiter::new(NonZeroU32::new(calls), window)
    }

    /// Whatever the order of urgent and other calls.
    #[test]
    fn a_window_has_at_most_its_number_of_calls() {
        let window = Duration::from_secs(300);
        for background in [0, 1, 3] {
            let limiter = limiter(1200, window);
            let start = Instant::now();
            let never = start + window * 10;
            let priority = |i: u32| match i % 4 {
                i if i < background => Background,
                3 => Token,
                _ => Interactive,
            };
            let mut calls: Vec<Instant> =
                (0..3000).map(|i| limiter.reserve(start, priority(i), never).unwrap()).collect();
            calls.sort();
            let at_once = calls.iter().filter(|&&at| at == start).count();
            assert!(at_once > 120 && at_once <= 240, "{at_once}");
            for (index, &from) in calls.iter().enumerate() {
                let count = calls[index..].iter().take_while(|&&at| at < from + window).count();
                assert!(count <= 1200, "{count} calls within one window");
            }
        }
    }

    /// Background calls that wait do not make interactive ones wait, and these not the one for a token.
    #[test]
    fn background_calls_leave_half_of_a_burst() {
        let limiter = limiter(1200, Duration::from_secs(300));
        let now = Instant::now();
        let soon = now + Duration::from_secs(15);
        let background = (0..1200).map_while(|_| limiter.reserve(now, Background, soon).ok());
        let background: Vec<Instant> = background.collect();
        assert_eq!(background.iter().filter(|&&at| at == now).count(), 120);
        assert!(background.len() > 120 && background.len() < 240, "{}", background.len());
        let interactive = (0..240).filter(|_| limiter.reserve(now, Interactive, now).is_ok()).count();
        assert_eq!(interactive, 239 - background.len());
        assert!(!limiter.try_acquire(Background) && limiter.reserve(now, Token, now).is_ok());
    }

    #[test]
    fn without_a_rate_only_a_response_delays_calls() {
        let limiter = RateLimiter::new(None, Duration::from_secs(300));
        assert!((0..10_000).all(|_| limiter.try_acquire(Interactive)));
        limiter.block(Duration::from_secs(60));
        assert!(!limiter.try_acquire(Interactive));
    }

    #[test]
    fn a_call_after_the_deadline_is_an_error_with_the_wait() {
        let limiter = limiter(5, Duration::from_secs(4));
        let now = Instant::now();
        limiter.reserve(now, Interactive, now).unwrap();
        let error = limiter.reserve(now, Interactive, now).unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert!(error.is_transient() && !error.maybe_applied());
        // The rejected call does not count.
        let later = now + Duration::from_secs(1);
        assert_eq!(limiter.reserve(now, Interactive, later).unwrap(), later);
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
