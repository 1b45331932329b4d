//! The worker: claims rows that are due and repeats the step a request could not finish.
//!
//! A claim moves `due_at` into the future and raises `attempts`, in one statement. The moved `due_at` is the lease: if
//! the process dies, the row is due again when it ends. The raised number is the fence: whoever holds an older one can
//! no longer settle the row. Several servers on one PostgreSQL share the work this way.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use sea_orm::sea_query::{Expr, Query, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, ExprTrait, IntoActiveModel, Iterable, ModelTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::app::App;
use crate::blob::BlobKey;
use crate::entity::{direct_upload, file, image};
use crate::error::{Error, Result};
use crate::{
    api_token, direct_upload as direct_uploads, event, file as files, idempotency, image as images, import,
};

/// Rows of one kind claimed at once.
const BATCH: u64 = 8;

/// How long a round waits for what it has begun.
const ROUND: Duration = Duration::from_secs(5);

/// How long a fetch under way may take to end once the worker is asked to; another server takes it up otherwise.
const IMPORT_STOP_TIME: Duration = Duration::from_secs(5);

/// Works until cancelled, and ends between two rounds.
pub async fn run(app: App, stop: CancellationToken) {
    tokio::join!(rounds(app.clone(), stop.clone()), imports(app, stop));
}

/// Fetches files from elsewhere. Apart from the rounds, because a slow source must keep nothing else waiting.
async fn imports(app: App, stop: CancellationToken) {
    let most = usize::try_from(app.config.import_concurrency).unwrap_or(1);
    let mut running = JoinSet::new();
    while !stop.is_cancelled() {
        let free = u64::try_from(most.saturating_sub(running.len())).unwrap_or(0);
        if free > 0 {
            let claimed = import::claim_due(&app, free).await.inspect_err(Error::log).unwrap_or_default();
            for file in claimed {
                let app = app.clone();
                running.spawn(async move { import::step(&app, &file).await });
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = running.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => problem.log(),
                Err(panicked) => Error::fault("importing", panicked).log(),
            },
            () = app.imports.notified() => {}
            // New ones are announced: this look is for what is tried again, here or after another server's end.
            () = tokio::time::sleep(app.config.worker_interval * 5) => {}
        }
    }
    let _ = tokio::time::timeout(IMPORT_STOP_TIME, running.join_all()).await;
}

async fn rounds(app: App, stop: CancellationToken) {
    let mut next_sweep = app.clock.now();
    while !stop.is_cancelled() {
        let done = round(&app).await.inspect_err(Error::log).unwrap_or(0);
        if let Err(problem) = api_token::write_uses(&app).await {
            problem.log();
        }
        let now = app.clock.now();
        if now >= next_sweep {
            if let Err(problem) = sweep(&app).await {
                problem.log();
            }
            let hour = Duration::from_secs(3600);
            next_sweep = now + app.config.sweep_age.min(hour);
        }
        if done > 0 {
            // There may be more.
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.due.notified() => {}
            () = tokio::time::sleep(app.config.worker_interval) => {}
        }
    }
}

/// Looks at pictures until cancelled, beside [`run`]: nobody waits for what they are like.
pub async fn run_analysis(app: App, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if analyse_next(&app).await.inspect_err(Error::log).unwrap_or(false) {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(app.config.worker_interval) => {}
        }
    }
}

/// Looks at one picture that is due; false if none is.
pub async fn analyse_next(app: &App) -> Result<bool> {
    let (id, due_at, attempts) =
        (image::Column::Id, image::Column::AnalysisDueAt, image::Column::AnalysisAttempts);
    let Some(image) = claim::<image::Entity>(app, id, due_at, attempts, due_at.is_not_null(), 1).await?.pop()
    else {
        return Ok(false);
    };
    images::analysis::analyse(app, image).await?;
    Ok(true)
}

/// Does what is due now, at most a batch of each kind; answers how many rows that were.
pub async fn round(app: &App) -> Result<usize> {
    let mut steps = Vec::new();
    let free = u64::try_from(app.image_steps.available_permits()).unwrap_or(0);
    for image in claim_images(app, Ord::min(free, BATCH)).await? {
        let app = app.clone();
        let turn = Arc::clone(&app.image_steps).try_acquire_owned();
        steps.push(begin(async move {
            let _turn = turn;
            images::step::repeat(&app, image).await
        }));
    }
    let (id, due_at, attempts) = (file::Column::Id, file::Column::DueAt, file::Column::Attempts);
    // What is to be fetched is not for these rounds.
    let others = file::Column::Status
        .ne(file::Status::Processing)
        .or(file::COLUMN.removed_at.is_not_null())
        .or(file::COLUMN.deleted_at.is_not_null());
    for file in claim::<file::Entity>(app, id, due_at, attempts, others, BATCH).await? {
        let app = app.clone();
        steps.push(begin(async move { files::repeat(&app, &file).await }));
    }
    let (id, due_at, attempts) =
        (direct_upload::Column::Id, direct_upload::Column::DueAt, direct_upload::Column::Attempts);
    for upload in
        claim::<direct_upload::Entity>(app, id, due_at, attempts, due_at.is_not_null(), BATCH).await?
    {
        let app = app.clone();
        steps.push(begin(async move { direct_uploads::expire(&app, upload).await }));
    }
    let done = steps.len();
    // A step that takes long, such as sending an image over a slow line, keeps nothing else waiting.
    let _ = tokio::time::timeout(ROUND, join_all(steps)).await;
    Ok(done)
}

/// Begins a step, as a task of its own, so that a panic costs one step and not the worker.
fn begin(step: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        match tokio::spawn(step).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => problem.log(),
            Err(panicked) => Error::fault("working", panicked).log(),
        }
    })
}

/// Removes bytes that no file owns, half-written objects, old idempotency keys and old events, and looks whether files
/// still have their bytes.
pub async fn sweep(app: &App) -> Result<()> {
    let (age, now) = (app.config.sweep_age, app.clock.now());
    // These first: they need no byte store, which may not work at the moment.
    idempotency::purge(&app.db.write, now).await?;
    event::purge(&app.db.write, now).await?;
    let half_written = app.blobs.sweep_half_written(age, now.into()).await;
    half_written.map_err(|io| Error::fault("sweeping half-written bytes", io))?;
    // A store that lets nothing be listed or removed can be asked for single objects all the same.
    let removed = remove_unowned(app).await;
    files::presence::check_some(app).await?;
    removed
}

/// Removes stored bytes that no file owns.
async fn remove_unowned(app: &App) -> Result<()> {
    let (age, now) = (app.config.sweep_age, app.clock.now());
    for ids in app.blobs.originals_older_than(age, now.into()).await?.chunks(500) {
        let owned: Vec<_> = file::Entity::find()
            .filter(file::Column::BlobId.is_in(ids.iter().copied()))
            .all(&app.db.read)
            .await?
            .into_iter()
            .filter_map(|file| file.blob_id)
            .collect();
        for id in ids.iter().filter(|id| !owned.contains(id)) {
            tracing::info!(blob = %id, "removing bytes that no file owns");
            app.blobs.delete(BlobKey::Original(*id)).await?;
        }
    }
    Ok(())
}

/// How long to wait before the next attempt: doubling from two seconds to ten minutes, with jitter so that rows that
/// failed together do not come back together.
pub fn backoff(attempts: i32) -> TimeDelta {
    let seconds = 2f64.powi(attempts.clamp(1, 10)).min(600.0);
    TimeDelta::milliseconds((seconds * 1000.0 * rand::random_range(0.75..1.25)) as i64)
}

/// Runs a step on its own and waits for it as long as an answer may wait. The step goes on when the time is up or the
/// client has left.
pub async fn in_time(app: &App, step: impl Future<Output = Result<()>> + Send + 'static) {
    let task = tokio::spawn(async move {
        if let Err(problem) = step.await {
            problem.log();
        }
    });
    let _ = tokio::time::timeout(app.config.provision_wait, task).await;
}

/// Runs an operation to its end and waits for it, however soon the client leaves: what has begun is not left half done.
///
/// # Errors
/// What the operation fails with.
pub async fn run_on<T: Send + 'static>(
    operation: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let ended = tokio::spawn(operation.in_current_span()).await;
    ended.unwrap_or_else(|panicked| Err(Error::fault("running an operation", panicked)))
}

async fn claim_images(app: &App, most: u64) -> Result<Vec<image::Model>> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let due = image::Entity::find()
        .filter(image::COLUMN.due_at.lte(app.clock.now()))
        .order_by_asc(image::Column::DueAt)
        .limit(most)
        .all(&app.db.read)
        .await?;
    let mut claimed = Vec::new();
    for image in due {
        claimed.extend(images::step::claim_due(app, &image).await?);
    }
    Ok(claimed)
}

/// Claims rows that are due, at most so many. The condition stands outside the subquery as well: of two servers that picked the same
/// row, the second waits for the first, looks again, and finds it no longer due.
async fn claim<E>(
    app: &App,
    id: E::Column,
    due_at: E::Column,
    attempts: E::Column,
    which: SimpleExpr,
    most: u64,
) -> Result<Vec<E::Model>>
where
    E: EntityTrait,
    E::Column: Iterable,
    E::Model: ModelTrait<Entity = E> + IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelTrait<Entity = E>,
{
    let now: DateTime<Utc> = app.clock.now();
    let nothing_due =
        E::find().filter(due_at.lte(now)).filter(which.clone()).one(&app.db.read).await?.is_none();
    if nothing_due {
        // Most rounds end here, without a word to the one writer.
        return Ok(Vec::new());
    }
    let picked = Query::select()
        .column(id)
        .from(E::default())
        .and_where(due_at.lte(now))
        .and_where(which)
        .order_by(due_at, sea_orm::Order::Asc)
        .limit(most)
        .to_owned();
    Ok(E::update_many()
        .col_expr(due_at, Expr::val(app.lease(now)))
        .col_expr(attempts, Expr::col(attempts).add(1))
        .filter(id.in_subquery(picked))
        .filter(due_at.lte(now))
        .exec_with_returning(&app.db.write)
        .await?)
}
