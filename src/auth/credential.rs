//! The bearer token of a connection that stays open.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Result;

/// The bearer token of a connection that stays open. Its viewer is looked up again and again, because rights may change.
pub struct Credential {
    secret: String,
    last: Mutex<Option<(Instant, Arc<Viewer>)>>,
}

impl Credential {
    /// How old a viewer may become while nothing is delivered.
    pub const MAX_AGE: Duration = Duration::from_secs(3);

    /// A credential nobody has looked at.
    pub fn new(secret: String) -> Self {
        Credential { secret, last: Mutex::new(None) }
    }

    /// The viewer, looked up at most `max_age` ago. All operations of a connection share the look-up.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` once the token is not usable.
    pub async fn viewer(&self, app: &App, max_age: Duration) -> Result<Arc<Viewer>> {
        let mut last = self.last.lock().await;
        if let Some((at, viewer)) = &*last
            && at.elapsed() < max_age
        {
            return Ok(Arc::clone(viewer));
        }
        let now = app.clock.now();
        let viewer = Arc::new(Viewer::from_secret(&app.db.read, &self.secret, now).await?);
        app.token_uses.note(viewer.token.id, now);
        *last = Some((Instant::now(), Arc::clone(&viewer)));
        Ok(viewer)
    }
}
