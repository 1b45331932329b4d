//! What the account tells about itself, kept for a while: no answer waits for a call that a value is there without.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::{Code, Error, Refusal, Result};

/// Something of the account that changes rarely. A value older than a minute is still answered at once, while a newer one
/// is fetched beside it.
pub struct Cached<T>(Arc<Shelf<T>>);

struct Shelf<T> {
    times: Times,
    kept: Mutex<Kept<T>>,
    /// Counts the fetches that have ended.
    ended: watch::Sender<u64>,
}

struct Times {
    /// How long a value counts as fresh.
    fresh: Duration,
    /// How long a failure counts as the answer of the account.
    failed: Duration,
    /// How long a caller waits for a first value, or for one after a change.
    wait: Duration,
    /// How long a caller waits where the last fetch has failed.
    short_wait: Duration,
}

struct Kept<T> {
    value: Option<Arc<T>>,
    /// Why there is no newer value.
    failure: Option<Refusal>,
    /// Until when nobody asks again.
    until: Instant,
    /// Grows when a value that was fetched before does not count any more.
    age: u64,
    /// The age for which a value is being fetched.
    fetching: Option<u64>,
    /// The value was forgotten: it is answered only where no newer one can be had.
    forgotten: bool,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self::with(Times {
            fresh: Duration::from_secs(60),
            failed: Duration::from_secs(5),
            wait: Duration::from_secs(5),
            short_wait: Duration::from_secs(1),
        })
    }
}

impl<T> Cached<T> {
    fn with(times: Times) -> Self {
        let kept = Kept {
            value: None,
            failure: None,
            until: Instant::now(),
            age: 0,
            fetching: None,
            forgotten: false,
        };
        Cached(Arc::new(Shelf { times, kept: Mutex::new(kept), ended: watch::Sender::default() }))
    }
}

impl<T: Send + Sync + 'static> Cached<T> {
    /// The value that is kept, or, where there is none yet, what `fetch` answers. One fetch runs at a time, on its own;
    /// those who wait for it share it, and wait some seconds at most.
    ///
    /// # Errors
    /// What the fetch failed with, or `UPSTREAM_ERROR`, while no value was ever fetched.
    pub async fn get(
        &self,
        fetch: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<Arc<T>> {
        // Before the look: a fetch that ends in between is seen.
        let mut ended = self.0.ended.subscribe();
        let age = match self.look(fetch) {
            Look::Known(known) => return known,
            Look::Wait(age) => age,
        };
        let times = &self.0.times;
        let wait = if self.0.kept().failure.is_some() { times.short_wait } else { times.wait };
        let fetched = async {
            while self.0.kept().fetching == Some(age) {
                if ended.changed().await.is_err() {
                    return;
                }
            }
        };
        let late = tokio::time::timeout(wait, fetched).await.is_err();
        let mut kept = self.0.kept();
        if late && kept.fetching == Some(age) {
            // The next caller waits less for the same fetch.
            kept.failure.get_or_insert_with(late_answer);
        }
        kept.answer()
    }

    /// Makes the next caller wait for a new value.
    pub fn forget(&self) {
        let mut kept = self.0.kept();
        kept.age += 1;
        kept.until = Instant::now();
        kept.forgotten = true;
    }

    /// Makes the value an old one: it is still answered, and the next caller has it fetched anew.
    pub fn expire(&self) {
        self.0.kept().until = Instant::now();
    }

    /// What can be answered at once; otherwise the age of the value to wait for. Begins a fetch where one is due.
    fn look(&self, fetch: impl Future<Output = Result<T, Refusal>> + Send + 'static) -> Look<T> {
        let mut kept = self.0.kept();
        let due = Instant::now() >= kept.until;
        if due && kept.fetching != Some(kept.age) {
            kept.fetching = Some(kept.age);
            let fetching = Fetching { shelf: Arc::clone(&self.0), age: kept.age };
            tokio::spawn(async move { fetching.end(fetch.await) }.in_current_span());
        }
        // A minute-old variant or key is right far more often than an error.
        if kept.value.is_some() && !kept.forgotten || !due {
            return Look::Known(kept.answer());
        }
        Look::Wait(kept.age)
    }
}

enum Look<T> {
    Known(Result<Arc<T>>),
    Wait(u64),
}

/// A fetch under way. However it ends, nobody waits for it afterwards.
struct Fetching<T> {
    shelf: Arc<Shelf<T>>,
    age: u64,
}

impl<T: Send + Sync + 'static> Fetching<T> {
    fn end(self, fetched: Result<T, Refusal>) {
        let mut kept = self.shelf.kept();
        let current = kept.age == self.age;
        match fetched {
            // Asked before something was changed, perhaps answered after: better than nothing, and no more.
            Ok(value) if !current && kept.value.is_some() => drop(value),
            Ok(value) => {
                kept.value = Some(Arc::new(value));
                kept.failure = None;
                if current {
                    kept.forgotten = false;
                    kept.until = Instant::now() + self.shelf.times.fresh;
                }
            }
            Err(failure) if current => {
                kept.failure = Some(failure);
                kept.until = Instant::now() + self.shelf.times.failed;
            }
            Err(_) => {}
        }
    }
}

impl<T> Drop for Fetching<T> {
    fn drop(&mut self) {
        let mut kept = self.shelf.kept();
        if kept.fetching == Some(self.age) {
            kept.fetching = None;
        }
        drop(kept);
        self.shelf.ended.send_modify(|count| *count += 1);
    }
}

impl<T> Shelf<T> {
    /// A panic elsewhere does not spoil what is kept.
    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Kept<T> {
    fn answer(&self) -> Result<Arc<T>> {
        match (&self.value, &self.failure) {
            (Some(value), _) => Ok(Arc::clone(value)),
            (None, Some(failure)) => Err(Error::Refusal(failure.clone())),
            (None, None) => Err(Error::Refusal(late_answer())),
        }
    }
}

fn late_answer() -> Refusal {
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

    /// Never fresh, and waited for no longer than a test should take.
    fn never_fresh<T>() -> Cached<T> {
        Cached::with(Times {
            fresh: Duration::ZERO,
            failed: Duration::ZERO,
            wait: Duration::from_secs(10),
            short_wait: Duration::from_secs(10),
        })
    }

    fn refusal() -> Refusal {
        Error::refuse(Code::UpstreamError, "down").public()
    }

    /// A fetch that ends when it is told to.
    fn held(value: i32) -> (tokio::sync::oneshot::Sender<()>, impl Future<Output = Result<i32, Refusal>>) {
        let (release, held) = tokio::sync::oneshot::channel();
        (release, async move {
            let _ = held.await;
            Ok(value)
        })
    }

    #[tokio::test]
    async fn a_stale_value_is_answered_at_once_and_renewed_beside() {
        let cached = never_fresh();
        assert_eq!(*cached.get(async { Ok(1) }).await.unwrap(), 1);
        let (release, slow) = held(2);
        assert_eq!(*cached.get(slow).await.unwrap(), 1);
        // No second fetch beside the first.
        assert_eq!(*cached.get(async { Ok(3) }).await.unwrap(), 1);
        release.send(()).unwrap();
        while *cached.get(std::future::pending()).await.unwrap() != 2 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_first_value_is_fetched_once_for_all() {
        let (cached, asked) = (Cached::default(), Arc::new(AtomicU32::new(0)));
        let fetch = || {
            let asked = Arc::clone(&asked);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                asked.fetch_add(1, Ordering::Relaxed);
                Ok(7)
            }
        };
        let answers = futures_util::future::join_all((0..9).map(|_| cached.get(fetch()))).await;
        assert!(answers.into_iter().all(|answer| *answer.unwrap() == 7));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let second = Duration::from_secs(1);
        let times = Times { fresh: second, failed: second, wait: Duration::ZERO, short_wait: Duration::ZERO };
        let cached = Cached::<i32>::with(times);
        let (release, slow) = held(1);
        assert!(cached.get(slow).await.is_err());
        assert!(cached.get(async { Ok(2) }).await.is_err(), "one fetch at a time");
        release.send(()).unwrap();
        while cached.get(std::future::pending()).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*cached.get(std::future::pending()).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_change_is_seen_by_the_next_caller_and_not_undone_by_an_earlier_fetch() {
        let cached = Cached::default();
        cached.get(async { Ok(1) }).await.unwrap();
        cached.forget();
        let (release, earlier) = held(1);
        let waiting = tokio::spawn({
            let cached = Cached(Arc::clone(&cached.0));
            async move { *cached.get(earlier).await.unwrap() }
        });
        tokio::task::yield_now().await;
        cached.forget();
        assert_eq!(*cached.get(async { Ok(2) }).await.unwrap(), 2);
        release.send(()).unwrap();
        waiting.await.unwrap();
        assert_eq!(*cached.get(async { Ok(3) }).await.unwrap(), 2);
        // Nothing newer to be had: better the old value than none.
        cached.forget();
        assert_eq!(*cached.get(async { Err(refusal()) }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_leave_nobody_waiting() {
        let cached = Cached::<i32>::default();
        assert!(cached.get(async { panic!("in a fetch") }).await.is_err());
        assert!(cached.get(async { Err(refusal()) }).await.is_err());
        assert!(cached.get(async { Ok(1) }).await.is_err(), "the failure counts for a while");
        cached.forget();
        assert_eq!(*cached.get(async { Ok(1) }).await.unwrap(), 1);
    }
}
