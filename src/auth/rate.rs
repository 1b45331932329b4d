//! The rate limit of API tokens, in points per minute.

use crate::app::{App, Balance, Rate};
use crate::auth::Viewer;
use crate::error::Result;

/// Takes points, at least one, from the limit of the token of the request. `None` if there is no limit.
///
/// # Errors
/// `RATE_LIMITED`, with the time after which there are enough; none are taken then.
pub fn take(app: &App, viewer: &Viewer, points: usize) -> Result<Option<Balance>> {
    let Some(limit) = app.config.rate_limit else { return Ok(None) };
    let cost = u32::try_from(points).unwrap_or(u32::MAX).max(1);
    app.rate_buckets.take(viewer.token.id, cost, Rate(limit), app.clock.now()).map(Some)
}

/// Checks, before the body of a request is read, that its token has at least one point left. Takes none.
///
/// # Errors
/// `RATE_LIMITED`, with the time after which there is one.
pub fn check(app: &App, viewer: &Viewer) -> Result<()> {
    let Some(limit) = app.config.rate_limit else { return Ok(()) };
    app.rate_buckets.check(viewer.token.id, Rate(limit), app.clock.now())
}

/// What is left of the limit of the token, with a cost of 0. `None` if there is no limit.
pub fn balance(app: &App, viewer: &Viewer) -> Option<Balance> {
    let limit = app.config.rate_limit?;
    Some(app.rate_buckets.balance(viewer.token.id, Rate(limit), app.clock.now()))
}
