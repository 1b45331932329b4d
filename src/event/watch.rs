//! Finds new events and notifies the subscriptions of this process.
//!
//! On PostgreSQL each commit notifies every server. In addition, and on SQLite alone, a server polls the table: at once
//! when it has committed something, and at intervals for what no notification announced.

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

/// What the database's trigger notifies.
const CHANNEL: &str = "imagegraph_event";
/// Workspaces looked at in one statement.
const CHUNK: usize = 100;
/// How long a silent listener counts as alive, and how long it may take to prove it.
const SILENCE: Duration = Duration::from_secs(60);
const PROOF: Duration = Duration::from_secs(10);
/// Between two attempts to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// Notifies subscribers until cancelled.
pub async fn run(app: App, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = poll(&app) => {}
        () = keep_listening(&app) => {}
    }
}

async fn poll(app: &App) {
    loop {
        tokio::select! {
            () = app.db.committed.notified() => {
                // What was committed here is notified to us as well.
                if app.event_notifier.listening.load(Ordering::Relaxed) {
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

/// Looks at the newest number of each workspace that has subscribers.
async fn look(app: &App) -> Result<()> {
    for workspaces in app.event_notifier.subscribed_workspaces().chunks(CHUNK) {
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

async fn keep_listening(app: &App) {
    if app.db.read.get_database_backend() != DbBackend::Postgres {
        return std::future::pending().await;
    }
    loop {
        let Err(problem) = listen(app).await;
        app.event_notifier.listening.store(false, Ordering::Relaxed);
        tracing::warn!(%problem, "not notified of events for the moment; the table is looked at instead");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens on a connection of its own, until that is lost.
async fn listen(app: &App) -> std::result::Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect(&app.config.database_url()).await?;
    listener.listen(CHANNEL).await?;
    app.event_notifier.listening.store(true, Ordering::Relaxed);
    look_or_log(app).await;
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Some((workspace, seq)) = parse(notification.payload()) {
                    app.event_notifier.notify(workspace, seq);
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
