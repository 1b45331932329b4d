//! Cursors: positions in the events of a workspace.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::CURSOR_LIFETIME;
use crate::entity::event::Model;
use crate::error::{Error, Result};
use crate::id::WorkspaceId;
use crate::query::cursor::{self, CursorVersion};

/// Version, workspace, and sequence number and time (Unix milliseconds) of the last event received.
type Cursor = (CursorVersion, Uuid, i64, i64);

/// The cursor of the position after an event.
pub fn cursor(event: &Model) -> String {
    let cursor: Cursor = (CursorVersion, event.workspace_id.0, event.seq, event.at.timestamp_millis());
    cursor::encode(&cursor)
}

/// The sequence number of the event that a cursor points after.
///
/// # Errors
/// `BAD_USER_INPUT` for text that is no cursor of this workspace's events, and for one so old that later events may be
/// deleted.
pub(super) fn seq(text: &str, workspace: WorkspaceId, now: DateTime<Utc>) -> Result<i64> {
    let cursor: Cursor = cursor::decode(text)
        .filter(|(_, _, seq, _): &Cursor| *seq >= 0)
        .ok_or_else(|| cursor::malformed("after"))?;
    let (_, of, seq, at) = cursor;
    if of != workspace.0 {
        return Err(refused("This is the cursor of another workspace; give one of this workspace's events."));
    }
    if at < (now - CURSOR_LIFETIME).timestamp_millis() {
        return Err(refused(
            "This cursor is more than 24 hours old, and later events may be deleted. Omit `after`, and read \
             the lists again.",
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
    fn a_cursor_is_valid_for_a_day_and_one_workspace() {
        let now = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let (here, elsewhere) = (WorkspaceId::new(now), WorkspaceId::new(now));
        let kind = EventKind::FileCreated;
        let event =
            Model { seq: 7, workspace_id: here, kind, file_id: FileId::new(now), image_id: None, at: now };
        let text = cursor(&event);
        assert_eq!(seq(&text, here, now + TimeDelta::hours(24)).ok(), Some(7));
        assert!(seq(&text, here, now + TimeDelta::milliseconds(86_400_001)).is_err());
        assert!(seq(&text, elsewhere, now).is_err());
        let forged = cursor::encode(&(CursorVersion, here.0, -1, 0));
        for text in ["", "x", "WzFd", &"A".repeat(1000), forged.as_str()] {
            assert!(seq(text, here, now).is_err(), "{text}");
        }
    }
}
