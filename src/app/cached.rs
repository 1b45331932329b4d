//! Values of the Cloudflare account, cached with stale-while-revalidate: as long as a value is known, no request waits for a
//! call to the account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::{Code, Error, Refusal, Result};

/// A value of the account that changes rarely. A value older than a minute is still returned at once, while a new one is
/// fetched in the background.
pub struct Cached<T>(Arc<Shared<T>>);

struct Shared<T> {
    times: Times,
    state: Mutex<State<T>>,
    /// Number of fetches that have ended.
    ended: watch::Sender<u64>,
}

struct Times {
    /// How long a value is fresh.
    fresh: Duration,
    /// How long a failed fetch is not repeated.
    failed: Duration,
    /// How long a caller waits for the first value, or for a new value after an invalidation.
    wait: Duration,
    /// How long a caller waits if the last fetch failed.
    wait_after_failure: Duration,
}

struct State<T> {
    value: Option<Arc<T>>,
    /// Why there is no newer value.
    failure: Option<Refusal>,
    /// Before this time, no fetch is started.
    next_fetch_at: Instant,
    /// Incremented by each invalidation. A value that was requested in an earlier generation is outdated.
    generation: u64,
    /// The generation in which the running fetch was started.
    fetching: Option<u64>,
    /// The value was invalidated: it is returned only if no newer value can be fetched.
    invalidated: bool,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self::with(Times {
            fresh: Duration::from_secs(60),
            failed: Duration::from_secs(5),
            wait: Duration::from_secs(5),
            wait_after_failure: Duration::from_secs(1),
        })
    }
}

impl<T> Cached<T> {
    fn with(times: Times) -> Self {
        let state = State {
            value: None,
            failure: None,
            next_fetch_at: Instant::now(),
            generation: 0,
            fetching: None,
            invalidated: false,
        };
        Cached(Arc::new(Shared { times, state: Mutex::new(state), ended: watch::Sender::default() }))
    }
}

impl<T: Send + Sync + 'static> Cached<T> {
    /// The cached value. If there is none yet, the result of `fetch`. One fetch runs at a time, in a task of its own. All
    /// callers without a value wait for it, for a few seconds at most.
    ///
    /// # Errors
    /// If there is no value: the error of the last fetch, or `UPSTREAM_ERROR` if it takes too long.
    pub async fn get(
        &self,
        fetch: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<Arc<T>> {
        // Subscribed before the lookup, so that a fetch that ends in between is noticed.
        let mut ended = self.0.ended.subscribe();
        let generation = match self.look_up(fetch) {
            Lookup::Answer(answer) => return answer,
            Lookup::Wait { generation } => generation,
        };
        let times = &self.0.times;
        let failed_before = self.0.state().failure.is_some();
        let wait = if failed_before { times.wait_after_failure } else { times.wait };
        let fetched = async {
            while self.0.state().fetching == Some(generation) {
                if ended.changed().await.is_err() {
                    return;
                }
            }
        };
        let timed_out = tokio::time::timeout(wait, fetched).await.is_err();
        let mut state = self.0.state();
        if timed_out && state.fetching == Some(generation) {
            // The next caller waits for a shorter time.
            state.failure.get_or_insert_with(timeout_refusal);
        }
        state.answer()
    }

    /// Invalidates the value: the next caller waits for a new one.
    pub fn invalidate(&self) {
        let mut state = self.0.state();
        state.generation += 1;
        state.next_fetch_at = Instant::now();
        state.invalidated = true;
    }

    /// Marks the value as stale: the next caller receives it, and a new one is fetched in the background.
    pub fn mark_stale(&self) {
        self.0.state().next_fetch_at = Instant::now();
    }

    /// Starts a fetch if one is due, and looks up the answer.
    fn look_up(&self, fetch: impl Future<Output = Result<T, Refusal>> + Send + 'static) -> Lookup<T> {
        let mut state = self.0.state();
        let is_due = Instant::now() >= state.next_fetch_at;
        if is_due && state.fetching != Some(state.generation) {
            state.fetching = Some(state.generation);
            let running = RunningFetch { shared: Arc::clone(&self.0), generation: state.generation };
            tokio::spawn(async move { running.complete(fetch.await) }.in_current_span());
        }
        // A stale value is better than an error: variants and keys rarely change.
        if state.value.is_some() && !state.invalidated || !is_due {
            return Lookup::Answer(state.answer());
        }
        Lookup::Wait { generation: state.generation }
    }
}

enum Lookup<T> {
    Answer(Result<Arc<T>>),
    /// The fetch of this generation has to be waited for.
    Wait {
        generation: u64,
    },
}

/// A fetch in progress. Dropping it ends the fetch, also after a panic, and wakes the callers that wait for it.
struct RunningFetch<T> {
    shared: Arc<Shared<T>>,
    generation: u64,
}

impl<T: Send + Sync + 'static> RunningFetch<T> {
    fn complete(self, fetched: Result<T, Refusal>) {
        let mut state = self.shared.state();
        let is_current = state.generation == self.generation;
        match fetched {
            // The value may be from before the invalidation. It is used only if there is no other.
            Ok(value) if !is_current && state.value.is_some() => drop(value),
            Ok(value) => {
                state.value = Some(Arc::new(value));
                state.failure = None;
                if is_current {
                    state.invalidated = false;
                    state.next_fetch_at = Instant::now() + self.shared.times.fresh;
                }
            }
            Err(failure) if is_current => {
                state.failure = Some(failure);
                state.next_fetch_at = Instant::now() + self.shared.times.failed;
            }
            Err(_) => {}
        }
    }
}

impl<T> Drop for RunningFetch<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.fetching == Some(self.generation) {
            state.fetching = None;
        }
        drop(state);
        self.shared.ended.send_modify(|count| *count += 1);
    }
}

impl<T> Shared<T> {
    /// Locks the state. It is consistent even after a panic elsewhere, so poisoning is ignored.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn answer(&self) -> Result<Arc<T>> {
        match (&self.value, &self.failure) {
            (Some(value), _) => Ok(Arc::clone(value)),
            (None, Some(failure)) => Err(Error::Refusal(failure.clone())),
            (None, None) => Err(Error::Refusal(timeout_refusal())),
        }
    }
}

fn timeout_refusal() -> Refusal {
    Refusal {
        code: Code::UpstreamError,
        message: "Cloudflare Images does not answer in time.".to_owned(),
        field: None,
        retry_after: Some(Duration::from_secs(5)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Values are never fresh, and callers wait no longer than a test should take.
    fn never_fresh<T>() -> Cached<T> {
        Cached::with(Times {
            fresh: Duration::ZERO,
            failed: Duration::ZERO,
            wait: Duration::from_secs(10),
            wait_after_failure: Duration::from_secs(10),
        })
    }

    fn refusal() -> Refusal {
        Error::refuse(Code::UpstreamError, "down").public()
    }

    /// A fetch that waits until it is released.
    fn paused_fetch(
        value: i32,
    ) -> (tokio::sync::oneshot::Sender<()>, impl Future<Output = Result<i32, Refusal>>) {
        let (release, released) = tokio::sync::oneshot::channel();
        (release, async move {
            let _ = released.await;
            Ok(value)
        })
    }

    #[tokio::test]
    async fn a_stale_value_is_returned_at_once_and_refreshed_in_the_background() {
        let cached = never_fresh();
        assert_eq!(*cached.get(async { Ok(1) }).await.unwrap(), 1);
        let (release, slow) = paused_fetch(2);
        assert_eq!(*cached.get(slow).await.unwrap(), 1);
        // No second fetch starts while the first is running.
        assert_eq!(*cached.get(async { Ok(3) }).await.unwrap(), 1);
        release.send(()).unwrap();
        while *cached.get(std::future::pending()).await.unwrap() != 2 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn concurrent_callers_share_the_first_fetch() {
        let (cached, fetches) = (Cached::default(), Arc::new(AtomicU32::new(0)));
        let fetch = || {
            let fetches = Arc::clone(&fetches);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                fetches.fetch_add(1, Ordering::Relaxed);
                Ok(7)
            }
        };
        let answers = futures_util::future::join_all((0..9).map(|_| cached.get(fetch()))).await;
        assert!(answers.into_iter().all(|answer| *answer.unwrap() == 7));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn waiting_ends_after_a_timeout() {
        let second = Duration::from_secs(1);
        let times =
            Times { fresh: second, failed: second, wait: Duration::ZERO, wait_after_failure: Duration::ZERO };
        let cached = Cached::<i32>::with(times);
        let (release, slow) = paused_fetch(1);
        assert!(cached.get(slow).await.is_err());
        assert!(cached.get(async { Ok(2) }).await.is_err(), "one fetch at a time");
        release.send(()).unwrap();
        while cached.get(std::future::pending()).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*cached.get(std::future::pending()).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_invalidation_is_not_undone_by_an_earlier_fetch() {
        let cached = Cached::default();
        cached.get(async { Ok(1) }).await.unwrap();
        cached.invalidate();
        let (release, earlier) = paused_fetch(1);
        let waiting = tokio::spawn({
            let cached = Cached(Arc::clone(&cached.0));
            async move { *cached.get(earlier).await.unwrap() }
        });
        tokio::task::yield_now().await;
        cached.invalidate();
        assert_eq!(*cached.get(async { Ok(2) }).await.unwrap(), 2);
        release.send(()).unwrap();
        waiting.await.unwrap();
        assert_eq!(*cached.get(async { Ok(3) }).await.unwrap(), 2);
        // If no newer value can be fetched, the old one is returned.
        cached.invalidate();
        assert_eq!(*cached.get(async { Err(refusal()) }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_end_the_waiting() {
        let cached = Cached::<i32>::default();
        assert!(cached.get(async { panic!("in a fetch") }).await.is_err());
        assert!(cached.get(async { Err(refusal()) }).await.is_err());
        assert!(cached.get(async { Ok(1) }).await.is_err(), "a failure is remembered for five seconds");
        cached.invalidate();
        assert_eq!(*cached.get(async { Ok(1) }).await.unwrap(), 1);
    }
}
