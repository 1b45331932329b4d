//! Following the events of a workspace in the order of commits: first those after a cursor, then new ones.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use sea_orm::{ColumnTrait, ConnectionTrait, QueryFilter, QuerySelect};
use tokio::sync::watch;

use super::cursor;
use crate::app::App;
use crate::auth::{Credential, Viewer};
use crate::entity::api_token::Scope;
use crate::entity::event::{self, Model};
use crate::entity::workspace as workspace_entity;
use crate::error::{Error, Result};
use crate::id::WorkspaceId;

/// Most events of one read.
const MAX_BATCH: u64 = 100;
/// How often in a row the database may fail before the stream ends with an error.
const MAX_FAILURES: u32 = 10;
/// How long to wait after such a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The events of one read, oldest first, at least one; and the viewer whose rights were checked for them.
pub struct EventBatch {
    pub events: Vec<Model>,
    pub viewer: Arc<Viewer>,
}

/// Streams the events of a workspace from now on or, with a cursor, those after it. The stream ends only with an error. The
/// rights of the viewer are checked before each read.
///
/// # Errors
/// At the start and in the stream: `FORBIDDEN` without the scope `FILES_READ`, `NOT_FOUND` for a workspace that the viewer
/// may not see, `UNAUTHENTICATED`. At the start: `BAD_USER_INPUT` for a cursor that cannot be used.
pub async fn follow(
    app: &App,
    credential: &Arc<Credential>,
    workspace: WorkspaceId,
    after: Option<&str>,
) -> Result<impl Stream<Item = Result<EventBatch>> + Send + use<>> {
    let viewer = credential.viewer(app, Credential::MAX_AGE).await?;
    check(&viewer, workspace)?;
    // `check` accepts any id from an admin, so whether the workspace exists is looked up here.
    let visible =
        workspace_entity::visible_to(&viewer.access()).filter(workspace_entity::COLUMN.id.eq(workspace));
    visible.one(&app.db.read).await?.ok_or_else(not_found)?;
    // Subscribes before the table is read, so that no event in between is missed.
    let latest_seq = app.event_notifier.subscribe(workspace);
    let seq = match after {
        Some(text) => cursor::seq(text, workspace, app.clock.now())?,
        None => newest_seq(app, workspace).await?,
    };
    let follower = Follower {
        app: app.clone(),
        credential: Arc::clone(credential),
        workspace,
        latest_seq,
        seq,
        failures: 0,
    };
    Ok(stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(batch) => Some((Ok(batch), Some(follower))),
            Err(problem) => Some((Err(problem), None)),
        }
    }))
}

struct Follower {
    app: App,
    credential: Arc<Credential>,
    workspace: WorkspaceId,
    /// Sequence number of the newest event of the workspace.
    latest_seq: watch::Receiver<i64>,
    /// Sequence number of the last event read.
    seq: i64,
    /// Failures of the database since the last successful read.
    failures: u32,
}

impl Follower {
    /// Waits for the next events without a time limit.
    async fn next(&mut self) -> Result<EventBatch> {
        loop {
            match self.read().await {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => self.wait().await?,
                // The database may recover soon. Until then nothing is delivered, and nothing is skipped.
                Err(fault @ Error::Fault { .. }) if self.failures < MAX_FAILURES => {
                    fault.log();
                    self.failures += 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    /// The events after the last one read; `None` if there are none.
    async fn read(&mut self) -> Result<Option<EventBatch>> {
        let viewer = self.credential.viewer(&self.app, Duration::ZERO).await?;
        check(&viewer, self.workspace)?;
        let db = &self.app.db.read;
        let events = event::visible_to(&viewer.access(), self.workspace, self.seq, db.get_database_backend());
        let events = events.ok_or_else(not_found)?.limit(MAX_BATCH).all(db).await?;
        self.failures = 0;
        let Some(last) = events.last() else { return Ok(None) };
        self.seq = last.seq;
        Ok(Some(EventBatch { events, viewer }))
    }

    /// Waits for a new event, and checks at intervals whether the viewer may still follow the workspace.
    async fn wait(&mut self) -> Result<()> {
        let seq = self.seq;
        loop {
            let new_event = async { self.latest_seq.wait_for(|latest| *latest > seq).await.map(drop) };
            match tokio::time::timeout(Credential::MAX_AGE, new_event).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(closed)) => return Err(Error::fault("following events", closed)),
                Err(_) => still_allowed(&self.app, &self.credential, self.workspace).await?,
            }
        }
    }
}

/// Checks whether the credential may still follow a workspace; a result of a few seconds ago may be reused. Also called
/// before each event of a batch, because a slow client may take long to receive them.
///
/// # Errors
/// Those of [`follow`].
pub async fn still_allowed(app: &App, credential: &Credential, workspace: WorkspaceId) -> Result<()> {
    match credential.viewer(app, Credential::MAX_AGE).await {
        Ok(viewer) => check(&viewer, workspace),
        // A fault does not end the stream: the next read or check decides.
        Err(fault @ Error::Fault { .. }) => {
            fault.log();
            Ok(())
        }
        Err(refusal) => Err(refusal),
    }
}

/// Checks whether a viewer may follow a workspace.
fn check(viewer: &Viewer, workspace: WorkspaceId) -> Result<()> {
    viewer.require(Scope::FilesRead)?;
    if viewer.sees(workspace) { Ok(()) } else { Err(not_found()) }
}

fn not_found() -> Error {
    Error::not_found("workspace").at("workspaceId")
}

/// Sequence number of the newest event of a workspace; 0 if there is none.
async fn newest_seq(app: &App, workspace: WorkspaceId) -> Result<i64> {
    let Some(statement) = event::newest_of(&[workspace], app.db.read.get_database_backend()) else {
        return Ok(0);
    };
    let row = app.db.read.query_one(&statement).await?;
    Ok(row.map(|row| row.try_get_by::<Option<i64>, _>(1)).transpose()?.flatten().unwrap_or(0))
}
