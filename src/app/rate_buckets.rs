//! Rate limits: a token bucket of points for each API token, refilled evenly over time.
//!
//! The buckets are in memory, so each of several servers behind one address grants the full limit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::{Code, Error, Refusal, Result};
use crate::id::ApiTokenId;

/// Seconds in which an empty bucket is refilled.
pub const RATE_WINDOW: u32 = 60;

/// The buckets of all tokens that have spent points within the last minute.
#[derive(Default)]
pub struct RateBuckets(Mutex<Buckets>);

#[derive(Default)]
struct Buckets {
    /// When the bucket of each token is full again. Full buckets are removed.
    full_at: HashMap<ApiTokenId, DateTime<Utc>>,
    /// When full buckets are removed next.
    sweep_at: DateTime<Utc>,
}

/// The cost of a request, and the state of the bucket after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Points that were taken.
    pub cost: u32,
    /// Points in a full bucket.
    pub limit: u32,
    /// Points that are left.
    pub remaining: u32,
    /// When the bucket is full again.
    pub reset_at: DateTime<Utc>,
}

/// Points per [`RATE_WINDOW`].
#[derive(Clone, Copy)]
pub struct Rate(pub u32);

impl Rate {
    /// The time in which a number of points is refilled.
    fn refill_time(self, points: u32) -> TimeDelta {
        TimeDelta::nanoseconds(i64::from(points).saturating_mul(self.nanos_per_point()))
    }

    /// Takes points from a bucket that is full again at `full_at`. Returns the new time at which it is full.
    ///
    /// # Errors
    /// `RATE_LIMITED` if the bucket has too few points.
    fn spend(self, cost: u32, full_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
        let full_at = full_at + self.refill_time(cost);
        let missing = full_at - now - self.refill_time(self.0);
        if missing > TimeDelta::zero() { Err(rate_limited(cost, self, missing)) } else { Ok(full_at) }
    }

    /// Points in a bucket that is full again after this time.
    fn remaining(self, until_full: TimeDelta) -> u32 {
        let nanos = until_full.num_nanoseconds().unwrap_or(i64::MAX).max(0).cast_unsigned();
        // A partly refilled point cannot be spent.
        let missing = nanos.div_ceil(self.nanos_per_point().cast_unsigned());
        self.0.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    fn nanos_per_point(self) -> i64 {
        i64::from(RATE_WINDOW) * 1_000_000_000 / i64::from(self.0.max(1))
    }
}

impl RateBuckets {
    /// Takes points from the bucket of a token.
    ///
    /// # Errors
    /// `RATE_LIMITED` if it has too few; none are taken then.
    pub fn take(&self, token: ApiTokenId, cost: u32, rate: Rate, now: DateTime<Utc>) -> Result<Balance> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.sweep(now);
        let before = buckets.full_at(token, rate, now);
        let spent = rate.spend(cost, before, now);
        let full_at = *spent.as_ref().unwrap_or(&before);
        buckets.full_at.insert(token, full_at);
        spent.map(|_| Balance {
            cost,
            limit: rate.0,
            remaining: rate.remaining(full_at - now),
            reset_at: full_at,
        })
    }

    /// Checks that at least one point is left, and takes none.
    ///
    /// # Errors
    /// `RATE_LIMITED` if the bucket is empty.
    pub fn check(&self, token: ApiTokenId, rate: Rate, now: DateTime<Utc>) -> Result<()> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rate.spend(1, buckets.full_at(token, rate, now), now).map(drop)
    }

    /// The state of the bucket of a token, with a cost of 0.
    pub fn balance(&self, token: ApiTokenId, rate: Rate, now: DateTime<Utc>) -> Balance {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.full_at(token, rate, now);
        Balance { cost: 0, limit: rate.0, remaining: rate.remaining(full_at - now), reset_at: full_at }
    }
}

impl Buckets {
    /// When the bucket of a token is full: not before now, and, in case the clock was set back, not later than an empty
    /// bucket.
    fn full_at(&self, token: ApiTokenId, rate: Rate, now: DateTime<Utc>) -> DateTime<Utc> {
        let latest = now + rate.refill_time(rate.0);
        self.full_at.get(&token).map_or(now, |full_at| (*full_at).clamp(now, latest))
    }

    /// Removes the full buckets, at most once per [`RATE_WINDOW`].
    fn sweep(&mut self, now: DateTime<Utc>) {
        let window = TimeDelta::seconds(RATE_WINDOW.into());
        if now >= self.sweep_at || self.sweep_at > now + window {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = now + window;
        }
    }
}

fn rate_limited(cost: u32, rate: Rate, missing: TimeDelta) -> Error {
    let message = format!(
        "This request costs {cost} points, and the token has fewer left of its {} per minute. Try again later.",
        rate.0
    );
    // In whole seconds, rounded up, so that a retry after them succeeds.
    let wait = Duration::from_secs_f64(missing.to_std().unwrap_or_default().as_secs_f64().ceil());
    Error::Refusal(Refusal { code: Code::RateLimited, message, field: None, retry_after: Some(wait) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    #[test]
    fn a_full_bucket_is_removed() {
        let (buckets, now) = (RateBuckets::default(), start());
        let stored = || buckets.0.lock().unwrap().full_at.len();
        for _ in 0..100 {
            buckets.take(ApiTokenId::new(start()), 5, Rate(7), now).unwrap();
        }
        assert_eq!(stored(), 100);
        buckets.take(ApiTokenId::new(start()), 1, Rate(7), now + TimeDelta::seconds(61)).unwrap();
        assert_eq!(stored(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_block_a_token() {
        let (buckets, now) = (RateBuckets::default(), start());
        let token = ApiTokenId::new(start());
        assert_eq!(buckets.take(token, 7, Rate(7), now).unwrap().remaining, 0);
        let earlier = now - TimeDelta::hours(3);
        assert!(buckets.take(token, 1, Rate(7), earlier).is_err());
        assert!(buckets.take(token, 1, Rate(7), earlier + TimeDelta::seconds(61)).is_ok());
    }

    #[test]
    fn every_point_of_any_limit_can_be_spent_and_no_more() {
        for limit in [1, 3, 7, 60, 997, 20_000, 99_999_999] {
            let (buckets, now, rate) = (RateBuckets::default(), start(), Rate(limit));
            let token = ApiTokenId::new(start());
            let first = buckets.take(token, limit.div_ceil(3), rate, now).unwrap();
            assert_eq!(first.remaining, limit - limit.div_ceil(3), "{limit}");
            if first.remaining > 0 {
                assert_eq!(buckets.take(token, first.remaining, rate, now).unwrap().remaining, 0, "{limit}");
            }
            assert!(buckets.take(token, 1, rate, now).is_err(), "{limit}");
        }
    }
}
