//! How much each token may still ask for: a bucket of points for each, filled evenly as the app's clock goes on.
//!
//! Buckets live in this process: several servers behind one address each grant the whole limit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::{Code, Error, Refusal, Result};
use crate::id::ApiTokenId;

/// Seconds in which an empty bucket is full again.
pub const RATE_WINDOW: u32 = 60;

/// The buckets of all tokens that spent something within the last minute.
#[derive(Default)]
pub struct RateBuckets(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// When a token's bucket is full again. What is full is not kept.
    full_at: HashMap<ApiTokenId, DateTime<Utc>>,
    sweep_at: DateTime<Utc>,
}

/// What a request cost and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Points taken.
    pub cost: u32,
    /// Points of a full bucket.
    pub limit: u32,
    /// Points left.
    pub remaining: u32,
    /// When the bucket is full again.
    pub reset_at: DateTime<Utc>,
}

/// Points per window.
#[derive(Clone, Copy)]
pub struct Rate(pub u32);

impl Rate {
    /// In what time so many points come back.
    fn time_of(self, points: u32) -> TimeDelta {
        TimeDelta::nanoseconds(i64::from(points).saturating_mul(self.nanos_per_point()))
    }

    /// When a bucket that would be full at a time is full if so many points are taken from it now.
    fn pay(self, cost: u32, full_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
        let full_at = full_at + self.time_of(cost);
        let short = full_at - now - self.time_of(self.0);
        if short > TimeDelta::zero() { Err(refused(cost, self, short)) } else { Ok(full_at) }
    }

    /// Points left in a bucket that is full again after this time.
    fn left(self, until_full: TimeDelta) -> u32 {
        let nanos = until_full.num_nanoseconds().unwrap_or(i64::MAX).max(0).cast_unsigned();
        // A point that is half back cannot be spent.
        let missing = nanos.div_ceil(self.nanos_per_point().cast_unsigned());
        self.0.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    fn nanos_per_point(self) -> i64 {
        i64::from(RATE_WINDOW) * 1_000_000_000 / i64::from(self.0.max(1))
    }
}

impl RateBuckets {
    /// Takes points, or refuses and takes nothing.
    pub fn take(&self, token: ApiTokenId, cost: u32, rate: Rate, now: DateTime<Utc>) -> Result<Balance> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.sweep(now);
        let before = kept.full_at(token, rate, now);
        let paid = rate.pay(cost, before, now);
        let full_at = *paid.as_ref().unwrap_or(&before);
        kept.full_at.insert(token, full_at);
        paid.map(|_| Balance { cost, limit: rate.0, remaining: rate.left(full_at - now), reset_at: full_at })
    }

    /// Refuses when not even one point is left.
    pub fn admit(&self, token: ApiTokenId, rate: Rate, now: DateTime<Utc>) -> Result<()> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rate.pay(1, kept.full_at(token, rate, now), now).map(drop)
    }

    /// What is left.
    pub fn balance(&self, token: ApiTokenId, rate: Rate, now: DateTime<Utc>) -> Balance {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = kept.full_at(token, rate, now);
        Balance { cost: 0, limit: rate.0, remaining: rate.left(full_at - now), reset_at: full_at }
    }
}

impl Kept {
    /// Not before now; and not further off than an empty bucket is, should the clock be set back.
    fn full_at(&self, token: ApiTokenId, rate: Rate, now: DateTime<Utc>) -> DateTime<Utc> {
        let latest = now + rate.time_of(rate.0);
        self.full_at.get(&token).map_or(now, |full_at| (*full_at).clamp(now, latest))
    }

    /// Once a window, forgets the full buckets.
    fn sweep(&mut self, now: DateTime<Utc>) {
        let window = TimeDelta::seconds(RATE_WINDOW.into());
        if now >= self.sweep_at || self.sweep_at > now + window {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = now + window;
        }
    }
}

fn refused(cost: u32, rate: Rate, short: TimeDelta) -> Error {
    let message = format!(
        "This costs {cost} points, and the token in use has fewer left of its {} per minute. Try again later.",
        rate.0
    );
    // In whole seconds, and none too early.
    let wait = Duration::from_secs_f64(short.to_std().unwrap_or_default().as_secs_f64().ceil());
    Error::Refusal(Refusal { code: Code::RateLimited, message, field: None, retry_after: Some(wait) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    #[test]
    fn a_bucket_that_is_full_again_is_forgotten() {
        let (buckets, now) = (RateBuckets::default(), start());
        let kept = || buckets.0.lock().unwrap().full_at.len();
        for _ in 0..100 {
            buckets.take(ApiTokenId::new(start()), 5, Rate(7), now).unwrap();
        }
        assert_eq!(kept(), 100);
        buckets.take(ApiTokenId::new(start()), 1, Rate(7), now + TimeDelta::seconds(61)).unwrap();
        assert_eq!(kept(), 1);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
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
