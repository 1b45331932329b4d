//! Who is told that there are new events. The table is the truth: what wakes somebody only says that it is worth reading.
//!
//! On PostgreSQL each commit notifies every server. Besides, and on SQLite, a server looks at the table itself: at once
//! when it has committed something, and now and then for what nobody announced.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, DbBackend, sqlx};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::entity::event;
use crate::error::Result;
use crate::id::WorkspaceId;

/// What the database's trigger notifies.
const CHANNEL: &str = "imagegraph_event";
/// Workspaces looked at in one statement.
const CHUNK: usize = 100;
/// How long a silent listener counts as alive, and how long it may take to prove it.
const SILENCE: Duration = Duration::from_secs(60);
const PROOF: Duration = Duration::from_secs(10);
/// Between two attempts to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// The newest number known of each workspace that somebody follows.
#[derive(Default)]
pub struct Wakes {
    newest: Mutex<HashMap<WorkspaceId, watch::Sender<i64>>>,
    listening: AtomicBool,
}

impl Wakes {
    /// Follows a workspace: the newest number known of it, 0 at first.
    pub fn follow(&self, workspace: WorkspaceId) -> watch::Receiver<i64> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.entry(workspace).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// How many follow some workspace.
    pub fn followers(&self) -> usize {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.values().map(watch::Sender::receiver_count).sum()
    }

    /// Wakes those who have not read up to this number of a workspace.
    fn saw(&self, workspace: WorkspaceId, seq: i64) {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = newest.get(&workspace) {
            known.send_if_modified(|known| {
                let news = seq > *known;
                *known = seq.max(*known);
                news
            });
        }
    }

    /// The workspaces that somebody follows.
    fn followed(&self) -> Vec<WorkspaceId> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.retain(|_, known| known.receiver_count() > 0);
        newest.keys().copied().collect()
    }
}

/// Wakes followers until cancelled.
pub async fn run(app: App, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = look_again_and_again(&app) => {}
        () = listen_again_and_again(&app) => {}
    }
}

async fn look_again_and_again(app: &App) {
    loop {
        tokio::select! {
            () = app.db.committed.notified() => {
                // What was committed here is notified to us as well.
                if app.wakes.listening.load(Ordering::Relaxed) {
                    continue;
                }
            }
            () = tokio::time::sleep(app.config.event_poll) => {}
        }
        if let Err(problem) = look(app).await {
            problem.log();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Looks at the newest number of each workspace that somebody follows.
async fn look(app: &App) -> Result<()> {
    for workspaces in app.wakes.followed().chunks(CHUNK) {
        let Some(statement) = event::newest_of(workspaces, app.db.read.get_database_backend()) else {
            continue;
        };
        for row in app.db.read.query_all(&statement).await? {
            let (workspace, seq): (Uuid, Option<i64>) = (row.try_get_by(0)?, row.try_get_by(1)?);
            app.wakes.saw(WorkspaceId(workspace), seq.unwrap_or(0));
        }
    }
    Ok(())
}

async fn listen_again_and_again(app: &App) {
    if app.db.read.get_database_backend() != DbBackend::Postgres {
        return std::future::pending().await;
    }
    loop {
        let Err(problem) = listen(app).await;
        app.wakes.listening.store(false, Ordering::Relaxed);
        tracing::warn!(%problem, "not notified of events for the moment; the table is looked at instead");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens on a connection of its own, until that is lost.
async fn listen(app: &App) -> std::result::Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect(&app.config.database_url()).await?;
    listener.listen(CHANNEL).await?;
    app.wakes.listening.store(true, Ordering::Relaxed);
    look_or_log(app).await;
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Some((workspace, seq)) = parse(notification.payload()) {
                    app.wakes.saw(workspace, seq);
                }
            }
            // Lost, and connected anew.
            Ok(Ok(None)) => look_or_log(app).await,
            Ok(Err(problem)) => return Err(problem),
            // A connection whose other end is gone may be silent for hours.
            Err(_) => {
                let proof = sqlx::query("SELECT 1").execute(&mut listener);
                tokio::time::timeout(PROOF, proof).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

/// Looks for what was not notified while nobody listened.
async fn look_or_log(app: &App) {
    if let Err(problem) = look(app).await {
        problem.log();
    }
}

fn parse(payload: &str) -> Option<(WorkspaceId, i64)> {
    let (workspace, seq) = payload.split_once(' ')?;
    Some((WorkspaceId(workspace.parse().ok()?), seq.parse().ok()?))
}
