//! Following one direct upload until it ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::{Credential, Viewer};
use crate::entity::columns;
use crate::entity::direct_upload::{Column, Model, Status};
use crate::error::{Error, Result};
use crate::id::DirectUploadId;

/// Shortest time between two reads of the upload.
const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// Longest time between two reads of an upload that does not change.
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// Streams the given columns of an upload and then each change of it, at most twice a second. The stream ends after the first
/// state that is not `OPEN`. Each item has the viewer whose rights were checked for it.
///
/// # Errors
/// At the start and in the stream: what [`super::find`] refuses, `NOT_FOUND` when the viewer may not see the upload,
/// `UNAUTHENTICATED`.
pub async fn follow(
    app: &App,
    credential: &Arc<Credential>,
    id: DirectUploadId,
    columns: &[Column],
) -> Result<impl Stream<Item = Result<(Model, Arc<Viewer>)>> + Send + use<>> {
    let viewer = credential.viewer(app, Credential::MAX_AGE).await?;
    let columns = FOLLOWED.iter().fold(columns.to_vec(), |columns, column| columns::with(&columns, *column));
    let Some(first) = super::find(app, &viewer, id, &columns).await? else {
        return Err(Error::not_found("direct upload").at("id"));
    };
    let latest_event = app.event_notifier.subscribe(first.workspace_id);
    let follower = Follower {
        app: app.clone(),
        credential: Arc::clone(credential),
        columns,
        latest_event,
        sent: first.clone(),
        read_at: Instant::now(),
        interval: MIN_INTERVAL,
    };
    Ok(stream::unfold(Next::First(first, viewer, follower), |next| async move {
        let (item, follower) = match next {
            Next::End => return None,
            Next::First(upload, viewer, follower) => (Ok((upload, viewer)), follower),
            Next::Change(mut follower) => (follower.next().await, follower),
        };
        let open = item.as_ref().is_ok_and(|(upload, _)| upload.status == Status::Open);
        Some((item, if open { Next::Change(follower) } else { Next::End }))
    }))
}

#[expect(clippy::large_enum_variant, reason = "one value per subscription, moved a few times")]
enum Next {
    First(Model, Arc<Viewer>, Follower),
    Change(Follower),
    End,
}

struct Follower {
    app: App,
    credential: Arc<Credential>,
    columns: Vec<Column>,
    /// Sequence number of the newest event of the workspace. Every end of an upload appends an event.
    latest_event: watch::Receiver<i64>,
    /// The state that was sent last.
    sent: Model,
    read_at: Instant,
    interval: Duration,
}

impl Follower {
    async fn next(&mut self) -> Result<(Model, Arc<Viewer>)> {
        loop {
            let (earliest, latest) = (self.read_at + MIN_INTERVAL, self.read_at + self.interval);
            tokio::select! {
                () = tokio::time::sleep_until(latest) => {}
                Ok(()) = self.latest_event.changed() => tokio::time::sleep_until(earliest).await,
            }
            self.read_at = Instant::now();
            let viewer = self.credential.viewer(&self.app, Credential::MAX_AGE).await?;
            let found = super::find(&self.app, &viewer, self.sent.id, &self.columns).await?;
            let found = found.ok_or_else(|| Error::not_found("direct upload").at("id"))?;
            if visible_fields(&found) != visible_fields(&self.sent) {
                self.interval = MIN_INTERVAL;
                self.sent = found.clone();
                return Ok((found, viewer));
            }
            self.interval = (self.interval * 2).min(MAX_INTERVAL);
        }
    }
}

/// The columns that following an upload reads itself.
const FOLLOWED: [Column; 8] = [
    Column::Id,
    Column::WorkspaceId,
    Column::Status,
    Column::BytesReceived,
    Column::FileId,
    Column::UploadUrl,
    Column::Failure,
    Column::ExpiresAt,
];

/// The fields whose changes are sent.
fn visible_fields(upload: &Model) -> impl PartialEq {
    let Model { status, bytes_received, file_id, upload_url, failure, expires_at, .. } = upload.clone();
    (status, bytes_received, file_id, upload_url, failure, expires_at)
}
