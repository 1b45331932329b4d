//! The bearer tokens of WebSockets and event streams.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Result;

/// The bearer token of a WebSocket or event stream. Its viewer is looked up repeatedly, because rights may change while the
/// connection is open.
pub struct Credential {
    secret: String,
    /// The viewer, and when it was looked up.
    cached: Mutex<Option<(Instant, Arc<Viewer>)>>,
}

impl Credential {
    /// How old a viewer may be while a connection is idle.
    pub const MAX_AGE: Duration = Duration::from_secs(3);

    /// The credential of a token that has not been looked up.
    pub fn new(secret: String) -> Self {
        Credential { secret, cached: Mutex::new(None) }
    }

    /// The viewer, which was looked up at most `max_age` ago. All operations of a connection share the lookup.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if the token is expired or revoked.
    pub async fn viewer(&self, app: &App, max_age: Duration) -> Result<Arc<Viewer>> {
        let mut cached = self.cached.lock().await;
        if let Some((at, viewer)) = &*cached
            && at.elapsed() < max_age
        {
            return Ok(Arc::clone(viewer));
        }
        let now = app.clock.now();
        let viewer = Arc::new(Viewer::from_secret(&app.db.read, &self.secret, now).await?);
        app.token_uses.record(viewer.token.id, now);
        *cached = Some((Instant::now(), Arc::clone(&viewer)));
        Ok(viewer)
    }
}
