//! Following the events of a workspace: first what was missed, then what happens, in the order of commits.

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

/// Most events read at once.
const BATCH: u64 = 100;
/// How often in a row the database may fail before a follower is let go, and how long to wait each time.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Events of one read, oldest first, at least one; and who was looked up to see them.
pub struct Batch {
    pub events: Vec<Model>,
    pub viewer: Arc<Viewer>,
}

/// Follows a workspace from now on or, with a cursor, from the event after it. The stream ends only with an error: the
/// viewer's rights are looked up before each read.
///
/// # Errors
/// At first and later on: `FORBIDDEN` without the scope `FILES_READ`, `NOT_FOUND` for a workspace out of sight,
/// `UNAUTHENTICATED`. At first: `BAD_USER_INPUT` for a cursor that cannot be used.
pub async fn follow(
    app: &App,
    credential: &Arc<Credential>,
    workspace: WorkspaceId,
    after: Option<&str>,
) -> Result<impl Stream<Item = Result<Batch>> + Send + use<>> {
    let viewer = credential.viewer(app, Credential::MAX_AGE).await?;
    check(&viewer, workspace)?;
    // An admin sees every workspace, but only those that there are.
    let visible =
        workspace_entity::visible_to(&viewer.access()).filter(workspace_entity::COLUMN.id.eq(workspace));
    visible.one(&app.db.read).await?.ok_or_else(not_found)?;
    // Before the table is looked at: what is appended after that wakes us.
    let news = app.event_notifier.subscribe(workspace);
    let place = match after {
        Some(text) => cursor::place(text, workspace, app.clock.now())?,
        None => newest(app, workspace).await?,
    };
    let follower = Follower {
        app: app.clone(),
        credential: Arc::clone(credential),
        workspace,
        news,
        place,
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
    news: watch::Receiver<i64>,
    /// Number of the last event read.
    place: i64,
    failures: u32,
}

impl Follower {
    /// The next events, however long that takes.
    async fn next(&mut self) -> Result<Batch> {
        loop {
            match self.read().await {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => self.wait().await?,
                // The database may be back in a moment; nothing is delivered meanwhile, and nothing is skipped.
                Err(fault @ Error::Fault { .. }) if self.failures < PATIENCE => {
                    fault.log();
                    self.failures += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Batch>> {
        let viewer = self.credential.viewer(&self.app, Duration::ZERO).await?;
        check(&viewer, self.workspace)?;
        let db = &self.app.db.read;
        let events =
            event::visible_to(&viewer.access(), self.workspace, self.place, db.get_database_backend());
        let events = events.ok_or_else(not_found)?.limit(BATCH).all(db).await?;
        self.failures = 0;
        let Some(last) = events.last() else { return Ok(None) };
        self.place = last.seq;
        Ok(Some(Batch { events, viewer }))
    }

    /// Waits for news, and looks now and then whether the viewer still may have them.
    async fn wait(&mut self) -> Result<()> {
        let place = self.place;
        loop {
            let news = async { self.news.wait_for(|newest| *newest > place).await.map(drop) };
            match tokio::time::timeout(Credential::MAX_AGE, news).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(gone)) => return Err(Error::fault("following events", gone)),
                Err(_) => still_allowed(&self.app, &self.credential, self.workspace).await?,
            }
        }
    }
}

/// Whether the rights to follow a workspace still stand, as of a few seconds ago: also before each event of a batch, which
/// a client may take slowly.
///
/// # Errors
/// Those of [`follow`].
pub async fn still_allowed(app: &App, credential: &Credential, workspace: WorkspaceId) -> Result<()> {
    match credential.viewer(app, Credential::MAX_AGE).await {
        Ok(viewer) => check(&viewer, workspace),
        // The next read, or the next look, will tell.
        Err(fault @ Error::Fault { .. }) => {
            fault.log();
            Ok(())
        }
        Err(refusal) => Err(refusal),
    }
}

/// Whether a viewer may follow a workspace.
fn check(viewer: &Viewer, workspace: WorkspaceId) -> Result<()> {
    viewer.require(Scope::FilesRead)?;
    if viewer.sees(workspace) { Ok(()) } else { Err(not_found()) }
}

fn not_found() -> Error {
    Error::not_found("workspace").at("workspaceId")
}

async fn newest(app: &App, workspace: WorkspaceId) -> Result<i64> {
    let Some(statement) = event::newest_of(&[workspace], app.db.read.get_database_backend()) else {
        return Ok(0);
    };
    let row = app.db.read.query_one(&statement).await?;
    Ok(row.map(|row| row.try_get_by::<Option<i64>, _>(1)).transpose()?.flatten().unwrap_or(0))
}
