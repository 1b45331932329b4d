//! How much a token may ask for per minute.

use crate::app::{App, Balance, Rate};
use crate::auth::Viewer;
use crate::error::Result;

/// Takes points from the bucket of the token in use; at least one. `None` while there is no limit.
///
/// # Errors
/// `RATE_LIMITED` with the time after which there are enough; nothing is taken then.
pub fn take(app: &App, viewer: &Viewer, points: usize) -> Result<Option<Balance>> {
    let Some(limit) = app.config.rate_limit else { return Ok(None) };
    let cost = u32::try_from(points).unwrap_or(u32::MAX).max(1);
    app.rate_buckets.take(viewer.token.id, cost, Rate(limit), app.clock.now()).map(Some)
}

/// Whether the token in use has anything left: asked before its request is read. Takes nothing.
///
/// # Errors
/// `RATE_LIMITED` with the time after which one point is back.
pub fn admit(app: &App, viewer: &Viewer) -> Result<()> {
    let Some(limit) = app.config.rate_limit else { return Ok(()) };
    app.rate_buckets.admit(viewer.token.id, Rate(limit), app.clock.now())
}

/// What the token in use has left, with a cost of 0. `None` while there is no limit.
pub fn balance(app: &App, viewer: &Viewer) -> Option<Balance> {
    let limit = app.config.rate_limit?;
    Some(app.rate_buckets.balance(viewer.token.id, Rate(limit), app.clock.now()))
}
