//! Events: following what happens in a workspace.

mod cursor;

mod follow;

mod watch;

use chrono::TimeDelta;

pub use cursor::cursor;
pub use follow::{Batch, follow, still_allowed};
pub use watch::run;

/// How long a cursor can be used.
const KEPT: TimeDelta = TimeDelta::hours(24);
