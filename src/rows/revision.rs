//! Optimistic concurrency: a client names the `updatedAt` it has read, and its change is refused if the row has changed since.

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::{Code, Error, Result};

/// Requires that a row was last changed at the time that the client has read; `None` requires nothing.
///
/// # Errors
/// `CONFLICT` at `ifUpdatedAt`.
pub fn require_unchanged(known: Option<DateTime<Utc>>, updated_at: DateTime<Utc>) -> Result<()> {
    if known.is_none_or(|known| known == updated_at) { Ok(()) } else { Err(conflict()) }
}

/// The time of a change: at least a millisecond after the last one, so that no two changes of a row have the same time.
pub fn next_updated_at(now: DateTime<Utc>, last: DateTime<Utc>) -> DateTime<Utc> {
    now.max(last + TimeDelta::milliseconds(1))
}

/// The refusal of a change to a row that has changed since the client read it.
pub fn conflict() -> Error {
    let message =
        "It has changed since `ifUpdatedAt`. Read it again and decide whether your change still applies.";
    Error::refuse(Code::Conflict, message).at("ifUpdatedAt")
}
