//! How fast we may call, and how long we wait before a repetition.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Said};

/// However long a server asks us to stay away, no call is held back longer than this; it is
/// Cloudflare's own window.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// A token bucket: some calls at once, the rest evenly spread.
pub(super) struct Pace {
    /// Between two calls once the burst is used up.
    interval: Duration,
    /// What calls at once take out of the future.
    tolerance: Duration,
    state: Mutex<PaceState>,
}

struct PaceState {
    /// When the bucket is full again.
    full_at: Instant,
    /// The server asked for silence until then.
    held_until: Instant,
}

impl Pace {
    /// At most `calls` in any `window`, a fifth of them at once.
    pub(super) fn new(calls: u32, window: Duration) -> Self {
        let burst = (calls / 5).max(1);
        let interval = window / calls.saturating_sub(burst).max(1);
        let now = Instant::now();
        Self {
            interval,
            tolerance: interval * (burst - 1),
            state: Mutex::new(PaceState { full_at: now, held_until: now }),
        }
    }

    /// Waits for a turn; fails at once when there is none before `until`.
    pub(super) async fn turn(&self, until: Instant) -> Result<(), Error> {
        let at = self.reserve(Instant::now(), until)?;
        tokio::time::sleep_until(at).await;
        Ok(())
    }

    /// Holds every call back because the server asked for it.
    pub(super) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_HOLD);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.held_until = state.held_until.max(until);
    }

    fn reserve(&self, now: Instant, until: Instant) -> Result<Instant, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let free_at = state.full_at.checked_sub(self.tolerance).unwrap_or(now);
        let at = free_at.max(state.held_until).max(now);
        if at > until {
            return Err(Error::RateLimited {
                said: Said::ours("the client holds back calls to stay under Cloudflare's rate"),
                retry_after: Some(at - now),
            });
        }
        state.full_at = state.full_at.max(at) + self.interval;
        Ok(at)
    }
}

/// What to wait after a number of tries in vain: what the server asked for, else twice as long
/// each time; never the same for two callers.
pub(super) fn pause(tries: u32, retry_after: Option<Duration>) -> Duration {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(8);
    match retry_after {
        Some(wait) => wait.saturating_add(FIRST.mul_f64(rand::random())),
        None => {
            let longest = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(LONGEST);
            longest.mul_f64(rand::random_range(0.5..=1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_its_calls() {
        let window = Duration::from_secs(300);
        let pace = Pace::new(1200, window);
        let start = Instant::now();
        let never = start + window * 10;
        let turns: Vec<Instant> = (0..3000).map(|_| pace.reserve(start, never).unwrap()).collect();
        assert_eq!(turns.iter().filter(|&&at| at == start).count(), 240);
        for (index, &from) in turns.iter().enumerate() {
            let held = turns[index..].iter().take_while(|&&at| at < from + window).count();
            assert!(held <= 1200, "{held} calls within one window");
        }
    }

    #[test]
    fn no_turn_before_the_deadline_is_an_error_that_says_when() {
        let pace = Pace::new(5, Duration::from_secs(4));
        let now = Instant::now();
        pace.reserve(now, now).unwrap();
        let error = pace.reserve(now, now).unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert!(error.is_transient() && !error.ambiguous());
        // The refused call took no turn.
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.reserve(now, later).unwrap(), later);
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        assert!(pause(1, None) <= Duration::from_millis(250));
        assert!(pause(3, None) >= Duration::from_millis(500));
        assert!(pause(u32::MAX, None) <= Duration::from_secs(8));
        assert!(pause(1, Some(Duration::MAX)) == Duration::MAX);
        assert!(pause(9, Some(Duration::ZERO)) <= Duration::from_millis(250));
    }
}
