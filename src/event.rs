//! Events: following the changes of files and images in a workspace.

mod cursor;

mod follow;

mod watch;

use chrono::TimeDelta;

pub use cursor::cursor;
pub use follow::{EventBatch, follow, still_allowed};
pub use watch::run;

/// How long a cursor can be used.
const CURSOR_LIFETIME: TimeDelta = TimeDelta::hours(24);
