//! When tokens were used, on its way to the database.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::id::ApiTokenId;

/// The latest use of each token that is not written down yet.
#[derive(Default)]
pub struct TokenUses(std::sync::Mutex<Noted>);

#[derive(Default)]
struct Noted {
    uses: HashMap<ApiTokenId, DateTime<Utc>>,
    taken_at: Option<DateTime<Utc>>,
}

impl TokenUses {
    /// Notes that a token is used.
    pub fn note(&self, id: ApiTokenId, now: DateTime<Utc>) {
        if let Ok(mut noted) = self.0.lock() {
            noted.uses.insert(id, now);
        }
    }

    /// Takes what is noted, unless that was done less than `step` ago.
    pub fn take(&self, now: DateTime<Utc>, step: TimeDelta) -> HashMap<ApiTokenId, DateTime<Utc>> {
        match self.0.lock() {
            Ok(mut noted) if noted.taken_at.is_none_or(|at| now - at >= step) && !noted.uses.is_empty() => {
                noted.taken_at = Some(now);
                std::mem::take(&mut noted.uses)
            }
            _ => HashMap::new(),
        }
    }
}
