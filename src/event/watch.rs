//! Detects new events and notifies the subscriptions of this process.
//!
//! On PostgreSQL a trigger notifies every server of each commit. On both databases a server also polls the table: at
//! intervals, in case a notification was lost, and, unless it receives notifications, after each commit of its own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, DbBackend, sqlx};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::entity::event;
use crate::error::Result;
use crate::id::WorkspaceId;

/// The channel of the database's trigger.
const CHANNEL: &str = "imagegraph_event";
/// Most workspaces of one statement.
const MAX_WORKSPACES: usize = 100;
/// How long the listener may receive nothing before its connection is checked.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long that check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after a failure of the database.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Notifies subscribers until cancelled.
pub async fn run(app: App, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = poll(&app) => {}
        () = keep_listening(&app) => {}
    }
}

/// Polls the table after each commit and at intervals.
async fn poll(app: &App) {
    loop {
        tokio::select! {
            () = app.db.committed.notified() => {
                // This server is notified of its own commits, too.
                if app.event_notifier.listening.load(Ordering::Relaxed) {
                    continue;
                }
            }
            () = tokio::time::sleep(app.config.event_poll) => {}
        }
        if let Err(problem) = notify_latest(app).await {
            problem.log();
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// Reads the newest sequence number of each workspace with subscribers, and notifies them.
async fn notify_latest(app: &App) -> Result<()> {
    for workspaces in app.event_notifier.subscribed_workspaces().chunks(MAX_WORKSPACES) {
        let Some(statement) = event::newest_of(workspaces, app.db.read.get_database_backend()) else {
            continue;
        };
        for row in app.db.read.query_all(&statement).await? {
            let (workspace, seq): (Uuid, Option<i64>) = (row.try_get_by(0)?, row.try_get_by(1)?);
            app.event_notifier.notify(WorkspaceId(workspace), seq.unwrap_or(0));
        }
    }
    Ok(())
}

/// Listens for notifications, and connects again when the connection is lost. Does nothing on SQLite.
async fn keep_listening(app: &App) {
    if app.db.read.get_database_backend() != DbBackend::Postgres {
        return std::future::pending().await;
    }
    loop {
        let Err(problem) = listen(app).await;
        app.event_notifier.listening.store(false, Ordering::Relaxed);
        tracing::warn!(%problem, "lost the connection that receives event notifications; polling until it is back");
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Listens on a dedicated connection until it fails.
async fn listen(app: &App) -> std::result::Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect(&app.config.database_url()).await?;
    listener.listen(CHANNEL).await?;
    app.event_notifier.listening.store(true, Ordering::Relaxed);
    notify_latest_or_log(app).await;
    loop {
        match tokio::time::timeout(IDLE_TIMEOUT, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Some((workspace, seq)) = parse(notification.payload()) {
                    app.event_notifier.notify(workspace, seq);
                }
            }
            // The connection was lost and opened again; notifications in between are missing.
            Ok(Ok(None)) => notify_latest_or_log(app).await,
            Ok(Err(problem)) => return Err(problem),
            // A connection whose peer is gone may report no error for hours, so it is checked with a statement.
            Err(_) => {
                let check = sqlx::query("SELECT 1").execute(&mut listener);
                tokio::time::timeout(CHECK_TIMEOUT, check).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

/// Notifies of events that were committed while this server was not listening.
async fn notify_latest_or_log(app: &App) {
    if let Err(problem) = notify_latest(app).await {
        problem.log();
    }
}

/// The workspace and sequence number in the payload of a notification.
fn parse(payload: &str) -> Option<(WorkspaceId, i64)> {
    let (workspace, seq) = payload.split_once(' ')?;
    Some((WorkspaceId(workspace.parse().ok()?), seq.parse().ok()?))
}
