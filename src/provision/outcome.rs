//! Records how an attempt to provision an image ended: the image is ready, another attempt follows later, or it failed for
//! good.
//!
//! Each function writes only if the row is still held by the claim of `image`, whose `attempts` it compares, and returns the
//! rows that it wrote, so that nobody has to read them again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{QueryFilter, UpdateMany, sea_query::Expr};

use crate::app::App;
use crate::entity::Failure;
use crate::entity::event::EventKind;
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, Model, State};
use crate::error::{Code, Error, Refusal, Result};
use crate::id::ImageId;
use crate::provision::refusal::{self, is_being_removed};
use crate::provision::remove;
use crate::{job, rows};
use cloudflare_images::{Error as AccountError, signing, wire};

/// Number of attempts before the time limit applies: the server may have been down for most of that time.
const MIN_ATTEMPTS: i32 = 5;
/// Longest delay requested by the account that is followed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A file and its image as the end of an attempt was recorded on them.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub file: file::Model,
    pub image: Model,
}

/// Records that the account has the image, with its id there.
pub async fn record_ready(app: &App, image: &Model, created: &wire::Image) -> Result<Option<Recorded>> {
    let Some(account_hash) = signing::account_hash(created) else {
        Error::fault("provisioning an image", "the account's answer has no delivery URL").log();
        let message = "Cloudflare Images answered without a delivery URL.";
        return record_delay(app, image, Error::refuse(Code::UpstreamError, message).public()).await;
    };
    let now = app.clock.now();
    // The account may still carry out the request of an earlier attempt: its copy is looked for after that.
    let second_copy_check = (image.attempts > 1).then_some(now + app.config.stray_check);
    let update = update_claimed(image, State::Ready, second_copy_check, now)
        .col_expr(Column::CfImageId, Expr::val(created.id.as_str()))
        .col_expr(Column::AccountHash, Expr::val(account_hash))
        .col_expr(Column::RequireSignedUrls, Expr::val(created.require_signed_urls));
    let shown = (ImageStatus::Ready, None);
    let recorded = record(app, image, update, shown, EventKind::ImageProvisioned, now).await?;
    if recorded.is_none() {
        delete_unless_adopted(app, image.id, &created.id).await?;
        return Ok(None);
    }
    app.crash_point("image-ready").await;
    Ok(recorded)
}

/// Deletes an image that was created in the account by an attempt whose claim has expired. It is kept if a later attempt
/// has adopted it or still may.
async fn delete_unless_adopted(app: &App, id: ImageId, cf_image_id: &str) -> Result<()> {
    let row = image::by_id_unscoped(id).one(&app.db.read).await?;
    let adoptable =
        row.is_some_and(|row| row.state == State::Pending || row.cf_image_id.as_deref() == Some(cf_image_id));
    if !adoptable {
        remove::delete_from_account(app, cf_image_id, id)
            .await
            .map_err(|e| Error::fault("removing a second copy from the account", e))?;
    }
    Ok(())
}

/// Records that the account returned an error. An error that is certainly about this image or its settings fails the image;
/// after any other error it is tried again.
pub async fn record_account_error(
    app: &App,
    image: &Model,
    problem: &AccountError,
) -> Result<Option<Recorded>> {
    // The client has logged errors of the account itself, once per call.
    if !problem.is_account_error() {
        tracing::warn!(image = %image.id, attempts = image.attempts, %problem, "an attempt to provision an image failed");
    }
    let reason = refusal::from_account_error(problem);
    if problem.is_request_error() && !is_conflict_that_ends(app, image, problem).await? {
        record_failure(app, image, reason).await
    } else {
        record_delay(app, image, reason).await
    }
}

/// Whether the custom id was taken by an image of ours that is being removed, so that it becomes free by itself, or is free by now.
async fn is_conflict_that_ends(app: &App, image: &Model, problem: &AccountError) -> Result<bool> {
    let (AccountError::Conflict(_), Some(id)) = (problem, &image.custom_id) else { return Ok(false) };
    // In this order: the row of a removed image goes after the image itself.
    Ok(is_being_removed(app, id).await? || matches!(app.cloudflare.find(id).await, Ok(None)))
}

/// Schedules the next attempt, or fails the image if the limit of attempts or of time is reached.
pub async fn record_delay(app: &App, image: &Model, mut reason: Refusal) -> Result<Option<Recorded>> {
    let now = app.clock.now();
    let attempts = image.attempts - image.wanted_attempts;
    let elapsed = now - image.wanted_at.unwrap_or(image.created_at);
    let time_limit = TimeDelta::from_std(app.config.provision_time).unwrap_or(TimeDelta::MAX);
    let timed_out = elapsed >= time_limit && attempts >= MIN_ATTEMPTS;
    if attempts >= app.config.provision_attempts || timed_out {
        reason.message = format!(
            "{} Provisioning failed after {attempts} attempts in {} hours; `provisionImage` starts it again.",
            reason.message,
            elapsed.num_hours()
        );
        return record_failure(app, image, reason).await;
    }
    let backoff = job::backoff(attempts).to_std().unwrap_or(Duration::from_secs(60));
    let delay = reason.retry_after.unwrap_or(backoff).min(MAX_RETRY_AFTER);
    reason.retry_after = Some(Duration::from_secs(Ord::max(delay.as_secs(), 1)));
    let update = update_claimed(image, State::Pending, Some(now + delay), now);
    let shown = (ImageStatus::Queued, Some(reason));
    record(app, image, update, shown, EventKind::ImageProvisionDelayed, now).await
}

/// Fails the image for good, with the reason on its file and an event.
pub async fn record_failure(app: &App, image: &Model, mut reason: Refusal) -> Result<Option<Recorded>> {
    reason.retry_after = None;
    let now = app.clock.now();
    let update = update_claimed(image, State::Failed, None, now);
    let shown = (ImageStatus::Failed, Some(reason));
    record(app, image, update, shown, EventKind::ImageProvisionFailed, now).await
}

/// Shows the end of an attempt on the file, updates the image and appends an event, in one transaction. `None`, and nothing is
/// written, if the claim of `image` does not hold its row any more.
async fn record(
    app: &App,
    image: &Model,
    update: UpdateMany<Entity>,
    (status, reason): (ImageStatus, Option<Refusal>),
    kind: EventKind,
    now: DateTime<Utc>,
) -> Result<Option<Recorded>> {
    let transaction = app.db.begin().await?;
    let reason = reason.map(Failure::from);
    let file = rows::image::show_on_file(&transaction, image.file_id, status, reason, now).await?;
    let updated = update.exec_with_returning(&transaction).await?.pop();
    let (Some(file), Some(updated)) = (file, updated) else {
        transaction.rollback().await?;
        return Ok(None);
    };
    rows::event::append_for_image(&transaction, kind, image, now).await?;
    transaction.commit().await?;
    Ok(Some(Recorded { file, image: updated }))
}

/// Moves a pending image to a state, if the claim of `image` still holds it.
fn update_claimed(
    image: &Model,
    state: State,
    due_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> UpdateMany<Entity> {
    job::reschedule_statement::<Entity>(image, due_at)
        .col_expr(Column::State, state.into())
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(State::Pending.condition())
}
