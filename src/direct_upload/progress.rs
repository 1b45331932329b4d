//! Following one direct upload until it is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::{Credential, Viewer};
use crate::entity::direct_upload::{Model, Status};
use crate::error::{Error, Result};
use crate::id::DirectUploadId;

/// Shortest time between two looks: twice a second.
const SHORTEST: Duration = Duration::from_millis(500);
/// Longest time between two looks at an upload to which nothing happens.
const LONGEST: Duration = Duration::from_secs(2);

/// An upload as it is at first, and again whenever it has changed, at most twice a second; ends after the first that is
/// over. With who was looked up to see it.
///
/// # Errors
/// At first and later on: what [`super::find`] refuses, `NOT_FOUND` when it is out of sight, `UNAUTHENTICATED`.
pub async fn follow(
    app: &App,
    credential: &Arc<Credential>,
    id: DirectUploadId,
) -> Result<impl Stream<Item = Result<(Model, Arc<Viewer>)>> + Send + use<>> {
    let viewer = credential.viewer(app, Credential::MAX_AGE).await?;
    let Some(first) = super::find(app, &viewer, id).await? else {
        return Err(Error::not_found("direct upload").at("id"));
    };
    let news = app.event_notifier.subscribe(first.workspace_id);
    let follower = Follower {
        app: app.clone(),
        credential: Arc::clone(credential),
        news,
        shown: first.clone(),
        read: Instant::now(),
        pause: SHORTEST,
    };
    Ok(stream::unfold(Next::First(first, viewer, follower), |next| async move {
        let (shown, follower) = match next {
            Next::Over => return None,
            Next::First(upload, viewer, follower) => (Ok((upload, viewer)), follower),
            Next::Change(mut follower) => (follower.next().await, follower),
        };
        let open = shown.as_ref().is_ok_and(|(upload, _)| upload.status == Status::Open);
        Some((shown, if open { Next::Change(follower) } else { Next::Over }))
    }))
}

#[expect(clippy::large_enum_variant, reason = "one of it per subscription, moved a few times")]
enum Next {
    First(Model, Arc<Viewer>, Follower),
    Change(Follower),
    Over,
}

struct Follower {
    app: App,
    credential: Arc<Credential>,
    /// An upload that ends appends an event.
    news: watch::Receiver<i64>,
    shown: Model,
    read: Instant,
    pause: Duration,
}

impl Follower {
    async fn next(&mut self) -> Result<(Model, Arc<Viewer>)> {
        loop {
            let (soonest, latest) = (self.read + SHORTEST, self.read + self.pause);
            tokio::select! {
                () = tokio::time::sleep_until(latest) => {}
                Ok(()) = self.news.changed() => tokio::time::sleep_until(soonest).await,
            }
            self.read = Instant::now();
            let viewer = self.credential.viewer(&self.app, Credential::MAX_AGE).await?;
            let found = super::find(&self.app, &viewer, self.shown.id).await?;
            let found = found.ok_or_else(|| Error::not_found("direct upload").at("id"))?;
            if seen_of(&found) != seen_of(&self.shown) {
                self.pause = SHORTEST;
                self.shown = found.clone();
                return Ok((found, viewer));
            }
            self.pause = (self.pause * 2).min(LONGEST);
        }
    }
}

/// What a change of is worth telling.
fn seen_of(upload: &Model) -> impl PartialEq {
    let Model { status, bytes_received, file_id, upload_url, failure, expires_at, .. } = upload.clone();
    (status, bytes_received, file_id, upload_url, failure, expires_at)
}
