//! The worker: claims rows that are due, and runs the steps that requests could not complete.
//!
//! A claim moves `due_at` into the future and increments `attempts`, in one statement. The new `due_at` is the lease: if the
//! process ends, the row is due again when the lease ends. The new `attempts` is the fencing token: a holder of an older
//! value can no longer change the row. This way several servers on one PostgreSQL share the work.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
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

use crate::app::{App, MAX_IMAGE_OPERATIONS};
use crate::entity::{DueEntity, direct_upload, file, image};
use crate::error::{Error, Result};
use crate::id::ImageId;
use crate::ingest::dedup;
use crate::provision::claim::Claimed;
use crate::{
    api_token, direct_upload as direct_uploads, file as files, idempotency, image as images, import,
    provision, rows,
};

/// Maximum number of rows of a table that a round claims.
const BATCH_SIZE: u64 = 8;

/// Number of images that are claimed at once, or more.
const IMAGE_BATCH_SIZE: u32 = 16;

/// How long a round waits for the steps it has started.
const ROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long running imports may take to end when the worker stops. Imports that take longer are due again later.
const IMPORT_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs rounds, images and imports until cancelled; a round that has started is completed.
pub async fn run(app: App, stop: CancellationToken) {
    let app = app.in_background();
    tokio::join!(rounds(app.clone(), stop.clone()), images(app.clone(), stop.clone()), imports(app, stop));
}

/// The images whose steps run in this process. A step may outlast its lease, for instance while it waits for the rate of the
/// account; another one of the same image beside it would make a second copy.
#[derive(Clone, Default)]
struct RunningImages(Arc<Mutex<HashSet<ImageId>>>);

/// An image whose step runs, until this is dropped.
struct RunningImage {
    all: RunningImages,
    id: ImageId,
}

impl RunningImages {
    fn begin(&self, id: ImageId) -> RunningImage {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        RunningImage { all: self.clone(), id }
    }

    fn ids(&self) -> Vec<ImageId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl Drop for RunningImage {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Runs the steps of images, apart from the rounds: a queue is worked off as fast as the account takes it, and a slow account
/// does not delay other work.
async fn images(app: App, stop: CancellationToken) {
    let running = RunningImages::default();
    while !stop.is_cancelled() {
        let started = start_images(&app, &running).await.inspect_err(Error::log).unwrap_or_default().len();
        // More may be due, for which the permits of several images are awaited: claims of single images cost more.
        let several = async {
            match started {
                0 => std::future::pending().await,
                _ => drop(app.image_permits.acquire_many(IMAGE_BATCH_SIZE).await),
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = several => {}
            () = tokio::time::sleep(app.config.worker_interval) => {}
        }
    }
    let all = u32::try_from(MAX_IMAGE_OPERATIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(ROUND_TIMEOUT, app.image_permits.acquire_many(all)).await;
}

/// Imports files, apart from the rounds, so that a slow source does not delay other work.
async fn imports(app: App, stop: CancellationToken) {
    let concurrency = usize::try_from(app.config.import_concurrency).unwrap_or(1);
    let mut running = JoinSet::new();
    while !stop.is_cancelled() {
        let free = u64::try_from(concurrency.saturating_sub(running.len())).unwrap_or(0);
        if free > 0 {
            let claimed = import::claim_due(&app, free).await.inspect_err(Error::log).unwrap_or_default();
            for file in claimed {
                let app = app.clone();
                running.spawn(async move { import::run_due(&app, &file).await });
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(result) = running.join_next() => match result {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => problem.log(),
                Err(panic) => Error::fault("importing a file", panic).log(),
            },
            () = app.imports.notified() => {}
            // A new import on this server is notified. This poll is for imports that are tried again, and for those of other
            // servers.
            () = tokio::time::sleep(app.config.worker_interval * 5) => {}
        }
    }
    let _ = tokio::time::timeout(IMPORT_STOP_TIMEOUT, running.join_all()).await;
}

async fn rounds(app: App, stop: CancellationToken) {
    let mut next_sweep = app.clock.now();
    while !stop.is_cancelled() {
        let started = start_others(&app).await.inspect_err(Error::log).unwrap_or_default();
        let claimed = started.len();
        // A step that takes longer continues in its task.
        let _ = tokio::time::timeout(ROUND_TIMEOUT, join_all(started)).await;
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
        if claimed > 0 {
            // More rows may be due.
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.due.notified() => {}
            () = tokio::time::sleep(app.config.worker_interval) => {}
        }
    }
}

/// Analyses images until cancelled, concurrently with [`run`], so that provisioning does not wait for it.
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

/// Analyses one image that is due; returns false if none is.
pub async fn analyse_next(app: &App) -> Result<bool> {
    let columns = [image::Column::Id, image::Column::AnalysisDueAt, image::Column::AnalysisAttempts];
    let any = image::Column::AnalysisDueAt.is_not_null();
    let Some(image) = claim::<image::Entity>(app, columns, any, 1).await?.pop() else { return Ok(false) };
    images::analysis::analyse(app, image).await?;
    Ok(true)
}

/// Runs the steps of rows that are due now, at most a batch of each table; returns the number of rows. For tests, which do not
/// wait for the worker.
pub async fn round(app: &App) -> Result<usize> {
    let app = app.in_background();
    let mut started = start_images(&app, &RunningImages::default()).await?;
    started.extend(start_others(&app).await?);
    let claimed = started.len();
    let _ = tokio::time::timeout(ROUND_TIMEOUT, join_all(started)).await;
    Ok(claimed)
}

/// Claims images that are due, as many as there are permits, and starts their steps.
async fn start_images(app: &App, running: &RunningImages) -> Result<Vec<JoinHandle<()>>> {
    let free = u64::try_from(app.image_permits.available_permits()).unwrap_or(0);
    let claimed = claim_images(app, free, running.ids()).await?;
    let start = |claimed: Claimed| {
        let (app, running) = (app.clone(), running.begin(claimed.image.id));
        let permit = Arc::clone(&app.image_permits).try_acquire_owned();
        spawn_logged(async move {
            let _held = (permit, running);
            provision::run_due(&app, claimed).await
        })
    };
    Ok(claimed.into_iter().map(start).collect())
}

/// Claims files and direct uploads that are due, at most a batch of each, and starts their steps.
async fn start_others(app: &App) -> Result<Vec<JoinHandle<()>>> {
    let mut tasks = Vec::new();
    // Imports are claimed by `imports`.
    let not_imports = file::Column::Status
        .ne(file::Status::Processing)
        .or(file::COLUMN.removed_at.is_not_null())
        .or(file::COLUMN.deleted_at.is_not_null());
    for file in claim_due::<file::Entity>(app, not_imports).await? {
        let app = app.clone();
        tasks.push(spawn_logged(async move { files::run_due(&app, &file).await }));
    }
    let any = direct_upload::Column::DueAt.is_not_null();
    for upload in claim_due::<direct_upload::Entity>(app, any).await? {
        let app = app.clone();
        tasks.push(spawn_logged(async move { direct_uploads::run_due(&app, upload).await }));
    }
    Ok(tasks)
}

/// Spawns a step as a task of its own and logs its error, so that a panic does not end the worker.
fn spawn_logged(step: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        match tokio::spawn(step).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => problem.log(),
            Err(panic) => Error::fault("running a step of the worker", panic).log(),
        }
    })
}

/// Deletes old idempotency keys and events, incomplete objects of the byte store, and blobs that no file owns, and checks
/// whether the store has the bytes of some files.
pub async fn sweep(app: &App) -> Result<()> {
    let (age, now) = (app.config.sweep_age, app.clock.now());
    // First what does not need the byte store, which may not work at the moment.
    idempotency::purge(&app.db.write, now).await?;
    rows::event::purge(&app.db.write, now).await?;
    let half_written = app.blobs.remove_incomplete(age, now.into()).await;
    half_written.map_err(|io| Error::fault("sweeping half-written bytes", io))?;
    // The check does not depend on the deletion: it also works if the store refuses to list or delete objects.
    let removed = dedup::remove_unowned(app).await;
    rows::stored_bytes::check_some(app).await?;
    removed
}

/// Claims at most `limit` images that are due, without those that are `running`, in a transaction that also updates their files.
async fn claim_images(app: &App, limit: u64, running: Vec<ImageId>) -> Result<Vec<Claimed>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let due = image::Entity::find()
        .filter(image::COLUMN.due_at.lte(app.clock.now()))
        .filter(image::COLUMN.id.is_not_in(running))
        .order_by_asc(image::Column::DueAt)
        .limit(limit)
        .all(&app.db.read)
        .await?;
    provision::claim::claim_all_due(app, due).await
}

/// Claims rows that are due, at most a batch.
async fn claim_due<E>(app: &App, condition: SimpleExpr) -> Result<Vec<E::Model>>
where
    E: DueEntity,
    E::Column: Iterable,
    E::Model: ModelTrait<Entity = E> + IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelTrait<Entity = E>,
{
    claim::<E>(app, [E::ID, E::DUE_AT, E::ATTEMPTS], condition, BATCH_SIZE).await
}

/// Claims at most `limit` rows that are due according to three columns: id, due time, attempts.
///
/// The condition that a row is due is repeated outside the subquery: of two servers that selected the same row, the second
/// waits for the row lock of the first, and finds the row no longer due.
async fn claim<E>(
    app: &App,
    [id, due_at, attempts]: [E::Column; 3],
    condition: SimpleExpr,
    limit: u64,
) -> Result<Vec<E::Model>>
where
    E: EntityTrait,
    E::Column: Iterable,
    E::Model: ModelTrait<Entity = E> + IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelTrait<Entity = E>,
{
    let now: DateTime<Utc> = app.clock.now();
    let nothing_due =
        E::find().filter(due_at.lte(now)).filter(condition.clone()).one(&app.db.read).await?.is_none();
    if nothing_due {
        // Most rounds end here. Reading first does not occupy SQLite's only connection that writes.
        return Ok(Vec::new());
    }
    let due = Query::select()
        .column(id)
        .from(E::default())
        .and_where(due_at.lte(now))
        .and_where(condition)
        .order_by(due_at, sea_orm::Order::Asc)
        .limit(limit)
        .to_owned();
    Ok(E::update_many()
        .col_expr(due_at, Expr::val(app.lease(now)))
        .col_expr(attempts, Expr::col(attempts).add(1))
        .filter(id.in_subquery(due))
        .filter(due_at.lte(now))
        .exec_with_returning(&app.db.write)
        .await?)
}
