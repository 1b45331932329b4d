//! Where somebody stopped reading the events of a workspace.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::CURSOR_LIFETIME;
use crate::entity::event::Model;
use crate::error::{Error, Result};
use crate::id::WorkspaceId;

/// Longest cursor we make, and then some.
const MAX_CURSOR: usize = 200;
const VERSION: u8 = 1;

/// Version, workspace, number and time in milliseconds of the last event seen.
type Cursor = (u8, Uuid, i64, i64);

/// The place after an event, as text.
pub fn cursor(event: &Model) -> String {
    let cursor: Cursor = (VERSION, event.workspace_id.0, event.seq, event.at.timestamp_millis());
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
}

/// The number after which somebody goes on.
///
/// # Errors
/// `BAD_USER_INPUT` for what is no cursor of this workspace's events, and for one that is too old to miss nothing.
pub(super) fn place(text: &str, workspace: WorkspaceId, now: DateTime<Utc>) -> Result<i64> {
    let cursor: Cursor = Some(text)
        .filter(|text| text.len() <= MAX_CURSOR)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .filter(|(version, _, seq, _): &Cursor| *version == VERSION && *seq >= 0)
        .ok_or_else(|| refused("This is not a cursor; give one back as an event gave it."))?;
    let (_, of, seq, at) = cursor;
    if of != workspace.0 {
        return Err(refused(
            "This cursor was made for another workspace; give one of this workspace's events.",
        ));
    }
    if at < (now - CURSOR_LIFETIME).timestamp_millis() {
        return Err(refused(
            "This cursor is more than 24 hours old, and events may be missing since. Leave `after` out, and read \
             the lists anew.",
        ));
    }
    Ok(seq)
}

fn refused(message: &str) -> Error {
    Error::invalid("after", message)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::entity::event::EventKind;
    use crate::id::FileId;

    #[test]
    fn a_cursor_leads_back_to_its_place_for_a_day() {
        let now = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let (here, elsewhere) = (WorkspaceId::new(now), WorkspaceId::new(now));
        let kind = EventKind::FileCreated;
        let event =
            Model { seq: 7, workspace_id: here, kind, file_id: FileId::new(now), image_id: None, at: now };
        let text = cursor(&event);
        assert_eq!(place(&text, here, now + TimeDelta::hours(24)).ok(), Some(7));
        assert!(place(&text, here, now + TimeDelta::milliseconds(86_400_001)).is_err());
        assert!(place(&text, elsewhere, now).is_err());
        let forged = URL_SAFE_NO_PAD.encode(format!("[1,\"{}\",-1,0]", here.0));
        for text in ["", "x", "WzFd", &"A".repeat(1000), forged.as_str()] {
            assert!(place(text, here, now).is_err(), "{text}");
        }
    }
}
