//! Optimistic concurrency: the time of a row's last change tells whether somebody else changed it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::{Code, Error, Result};

/// Requires that a row was last changed at the time the caller knows.
///
/// # Errors
/// `CONFLICT` at `ifUpdatedAt`.
pub fn require_unchanged(known: Option<DateTime<Utc>>, updated_at: DateTime<Utc>) -> Result<()> {
    if known.is_none_or(|known| known == updated_at) { Ok(()) } else { Err(conflict()) }
}

/// The time of a change: later than the last one even within one millisecond, so that no two changes share a time.
pub fn next_updated_at(now: DateTime<Utc>, last: DateTime<Utc>) -> DateTime<Utc> {
    now.max(last + TimeDelta::milliseconds(1))
}

/// The refusal of a change to something that somebody else changed.
pub fn conflict() -> Error {
    let message = "It was changed since then. Read it again, and decide whether your change still holds.";
    Error::refuse(Code::Conflict, message).at("ifUpdatedAt")
}
