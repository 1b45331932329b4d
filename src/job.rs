//! Background work: the delay between attempts, when a claimed row is due again, and operations that continue after the
//! request that started them has ended.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, QueryFilter, UpdateMany};
use tracing::Instrument;

use crate::app::App;
use crate::entity::DueEntity;
use crate::error::{Error, Result};

/// Delay before the next attempt: doubles from 2 seconds to 10 minutes. A jitter of 25 % spreads the next attempts of rows
/// that failed at the same time.
pub fn backoff(attempts: i32) -> TimeDelta {
    let seconds = 2f64.powi(attempts.clamp(1, 10)).min(600.0);
    TimeDelta::milliseconds((seconds * 1000.0 * rand::random_range(0.75..1.25)) as i64)
}

/// Sets when a claimed row is due again; `None` if there is nothing left to do. A row that another claim has taken over is
/// not changed.
pub async fn reschedule<E: DueEntity>(
    app: &App,
    row: &E::Model,
    due_at: Option<DateTime<Utc>>,
) -> Result<()> {
    reschedule_statement::<E>(row, due_at).exec(&app.db.write).await?;
    Ok(())
}

/// The statement of [`reschedule`], for callers that set further columns or have further conditions.
pub fn reschedule_statement<E: DueEntity>(row: &E::Model, due_at: Option<DateTime<Utc>>) -> UpdateMany<E> {
    let (id, attempts) = E::id_and_attempts(row);
    E::update_many()
        .col_expr(E::DUE_AT, Expr::val(due_at))
        .filter(E::ID.eq(id))
        .filter(E::ATTEMPTS.eq(attempts))
}

/// [`reschedule`]s a claimed row for its next attempt, after the [`backoff`] for its number of attempts.
pub async fn retry_later<E: DueEntity>(app: &App, row: &E::Model) -> Result<()> {
    let (_, attempts) = E::id_and_attempts(row);
    reschedule::<E>(app, row, Some(app.clock.now() + backoff(attempts))).await
}

/// Runs an operation in a task of its own and waits for its result at most `IMAGEGRAPH_PROVISION_WAIT`. The operation continues
/// when that time has passed, for which `None` is returned, or when the client has disconnected; its error is logged.
pub async fn run_within_answer_time<T: Send + 'static>(
    app: &App,
    operation: impl Future<Output = Result<T>> + Send + 'static,
) -> Option<T> {
    let task = tokio::spawn(async move { operation.await.inspect_err(Error::log).ok() });
    tokio::time::timeout(app.config.provision_wait, task).await.ok()?.ok()?
}

/// Runs an operation in a task of its own and waits for its result. The operation continues if the client disconnects, so
/// that it is not left unfinished.
///
/// # Errors
/// The error of the operation, or a fault if it panics.
pub async fn run_to_end<T: Send + 'static>(
    operation: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let result = tokio::spawn(operation.in_current_span()).await;
    result.unwrap_or_else(|panic| Err(Error::fault("running an operation", panic)))
}
