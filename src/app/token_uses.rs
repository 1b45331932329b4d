//! When tokens were used, until it is written to the database.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::id::ApiTokenId;

/// The latest use of each token that is not in the database yet.
#[derive(Default)]
pub struct TokenUses(std::sync::Mutex<PendingUses>);

#[derive(Default)]
struct PendingUses {
    uses: HashMap<ApiTokenId, DateTime<Utc>>,
    /// When they were last taken.
    taken_at: Option<DateTime<Utc>>,
}

impl TokenUses {
    /// Records a use of a token.
    pub fn record(&self, id: ApiTokenId, now: DateTime<Utc>) {
        if let Ok(mut pending) = self.0.lock() {
            pending.uses.insert(id, now);
        }
    }

    /// Takes the recorded uses; none if they were last taken less than `interval` ago.
    pub fn take(&self, now: DateTime<Utc>, interval: TimeDelta) -> HashMap<ApiTokenId, DateTime<Utc>> {
        match self.0.lock() {
            Ok(mut pending)
                if pending.taken_at.is_none_or(|at| now - at >= interval) && !pending.uses.is_empty() =>
            {
                pending.taken_at = Some(now);
                std::mem::take(&mut pending.uses)
            }
            _ => HashMap::new(),
        }
    }
}
