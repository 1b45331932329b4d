//! Background work: how long to wait between attempts, when a claimed row is due again, and operations that outlive the
//! request that began them.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, QueryFilter, UpdateMany};
use tracing::Instrument;

use crate::app::App;
use crate::entity::DueEntity;
use crate::error::{Error, Result};

/// How long to wait before the next attempt: doubling from two seconds to ten minutes, with jitter so that rows that
/// failed together do not come back together.
pub fn backoff(attempts: i32) -> TimeDelta {
    let seconds = 2f64.powi(attempts.clamp(1, 10)).min(600.0);
    TimeDelta::milliseconds((seconds * 1000.0 * rand::random_range(0.75..1.25)) as i64)
}

/// Sets when a claimed row is due again, or that it is not; nothing happens to a row that was claimed anew since.
pub async fn reschedule<E: DueEntity>(
    app: &App,
    row: &E::Model,
    due_at: Option<DateTime<Utc>>,
) -> Result<()> {
    rescheduled::<E>(row, due_at).exec(&app.db.write).await?;
    Ok(())
}

/// The statement of [`reschedule`], for callers with further conditions.
pub fn rescheduled<E: DueEntity>(row: &E::Model, due_at: Option<DateTime<Utc>>) -> UpdateMany<E> {
    let (id, attempts) = E::claim_of(row);
    E::update_many()
        .col_expr(E::DUE_AT, Expr::val(due_at))
        .filter(E::ID.eq(id))
        .filter(E::ATTEMPTS.eq(attempts))
}

/// [`reschedule`]s a claimed row for its next attempt, after the [`backoff`] of its number of attempts.
pub async fn back_off<E: DueEntity>(app: &App, row: &E::Model) -> Result<()> {
    let (_, attempts) = E::claim_of(row);
    reschedule::<E>(app, row, Some(app.clock.now() + backoff(attempts))).await
}

/// Runs an operation as a task of its own and waits for it as long as an answer may wait. The operation goes on when the
/// time is up or the client has disconnected; its error is logged.
pub async fn run_within_answer_time(app: &App, operation: impl Future<Output = Result<()>> + Send + 'static) {
    let task = tokio::spawn(async move {
        if let Err(problem) = operation.await {
            problem.log();
        }
    });
    let _ = tokio::time::timeout(app.config.provision_wait, task).await;
}

/// Runs an operation to its end and waits for it: a client that disconnects does not leave it half done.
///
/// # Errors
/// What the operation fails with.
pub async fn run_to_end<T: Send + 'static>(
    operation: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let ended = tokio::spawn(operation.in_current_span()).await;
    ended.unwrap_or_else(|panicked| Err(Error::fault("running an operation", panicked)))
}
