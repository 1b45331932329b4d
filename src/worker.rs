//! The worker: claims rows that are due and repeats the step a request could not finish.
//!
//! A claim moves `due_at` into the future and raises `attempts`, in one statement. The moved `due_at` is the lease: if
//! the process dies, the row is due again when it ends. The raised number is the fence: whoever holds an older one can
//! no longer settle the row. Several servers on one PostgreSQL share the work this way.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use sea_orm::sea_query::{Expr, Query, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, ExprTrait, IntoActiveModel, Iterable, ModelTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::entity::{DueEntity, direct_upload, file, image};
use crate::error::{Error, Result};
use crate::ingest::dedup;
use crate::{
    api_token, direct_upload as direct_uploads, file as files, idempotency, image as images, import,
    provision, rows,
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
                running.spawn(async move { import::run_due(&app, &file).await });
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
    let columns = [image::Column::Id, image::Column::AnalysisDueAt, image::Column::AnalysisAttempts];
    let any = image::Column::AnalysisDueAt.is_not_null();
    let Some(image) = claim::<image::Entity>(app, columns, any, 1).await?.pop() else { return Ok(false) };
    images::analysis::analyse(app, image).await?;
    Ok(true)
}

/// Does what is due now, at most a batch of each kind; answers how many rows that were.
pub async fn round(app: &App) -> Result<usize> {
    let mut tasks = Vec::new();
    let free = u64::try_from(app.image_permits.available_permits()).unwrap_or(0);
    for image in claim_images(app, Ord::min(free, BATCH)).await? {
        let app = app.clone();
        let permit = Arc::clone(&app.image_permits).try_acquire_owned();
        tasks.push(spawn_logged(async move {
            let _permit = permit;
            provision::run_due(&app, image).await
        }));
    }
    // Files to be fetched are not for these rounds, but for `imports`.
    let others = file::Column::Status
        .ne(file::Status::Processing)
        .or(file::COLUMN.removed_at.is_not_null())
        .or(file::COLUMN.deleted_at.is_not_null());
    for file in claim_due::<file::Entity>(app, others).await? {
        let app = app.clone();
        tasks.push(spawn_logged(async move { files::run_due(&app, &file).await }));
    }
    let any = direct_upload::Column::DueAt.is_not_null();
    for upload in claim_due::<direct_upload::Entity>(app, any).await? {
        let app = app.clone();
        tasks.push(spawn_logged(async move { direct_uploads::run_due(&app, upload).await }));
    }
    let done = tasks.len();
    // A task that takes long, such as sending an image over a slow line, keeps nothing else waiting.
    let _ = tokio::time::timeout(ROUND, join_all(tasks)).await;
    Ok(done)
}

/// Spawns work as a task of its own, so that a panic ends this work and not the worker.
fn spawn_logged(work: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        match tokio::spawn(work).await {
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
    rows::event::purge(&app.db.write, now).await?;
    let half_written = app.blobs.remove_incomplete(age, now.into()).await;
    half_written.map_err(|io| Error::fault("sweeping half-written bytes", io))?;
    // A store that lets nothing be listed or removed can be asked for single objects all the same.
    let removed = dedup::remove_unowned(app).await;
    rows::stored_bytes::check_some(app).await?;
    removed
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
        claimed.extend(provision::claim::claim_due(app, &image).await?);
    }
    Ok(claimed)
}

/// Claims rows that are due, at most a batch.
async fn claim_due<E>(app: &App, which: SimpleExpr) -> Result<Vec<E::Model>>
where
    E: DueEntity,
    E::Column: Iterable,
    E::Model: ModelTrait<Entity = E> + IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelTrait<Entity = E>,
{
    claim::<E>(app, [E::ID, E::DUE_AT, E::ATTEMPTS], which, BATCH).await
}

/// Claims at most `most` rows that are due by these columns: id, due time, attempts. The condition stands outside the
/// subquery as well: of two servers that picked the same row, the second waits for the first, looks again, and finds it
/// no longer due.
async fn claim<E>(
    app: &App,
    [id, due_at, attempts]: [E::Column; 3],
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
