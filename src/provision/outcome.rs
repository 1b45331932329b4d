//! How an attempt to provision an image ends: with the image, with another attempt later, or in failure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};

use crate::app::App;
use crate::entity::event::EventKind;
use crate::entity::file::ImageStatus;
use crate::entity::image::{self, Column, Entity, Model, State};
use crate::error::{Code, Error, Refusal, Result};
use crate::id::ImageId;
use crate::provision::refusal::{self, is_being_removed};
use crate::provision::remove;
use crate::{job, rows};
use cloudflare_images::{Error as AccountError, signing, wire};

/// The account has the image.
pub async fn ready(app: &App, image: &Model, made: &wire::Image) -> Result<()> {
    let Some(account_hash) = signing::account_hash(made) else {
        let problem = Error::fault("provisioning an image", "the account's answer has no delivery URL");
        problem.log();
        let failure = Refusal {
            code: Code::UpstreamError,
            message: "Cloudflare Images answered without a delivery URL.".to_owned(),
            field: None,
            retry_after: None,
        };
        return later(app, image, failure).await;
    };
    let now = app.clock.now();
    // A request given up earlier may still be carried out.
    let check = (image.attempts > 1).then_some(now + app.config.stray_check);
    let transaction = app.db.begin().await?;
    rows::image::show_on_file(&transaction, image.file_id, ImageStatus::Ready, None, now).await?;
    let settled = Entity::update_many()
        .col_expr(Column::State, State::Ready.into())
        .col_expr(Column::CfImageId, Expr::val(made.id.as_str()))
        .col_expr(Column::AccountHash, Expr::val(account_hash))
        .col_expr(Column::RequireSignedUrls, Expr::val(made.require_signed_urls))
        .col_expr(Column::DueAt, Expr::val(check))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(image::COLUMN.id.eq(image.id))
        .filter(Column::State.eq(State::Pending))
        .filter(image::COLUMN.attempts.eq(image.attempts))
        .exec(&transaction)
        .await?;
    if settled.rows_affected == 0 {
        transaction.rollback().await?;
        return give_back(app, image.id, &made.id).await;
    }
    let kind = EventKind::ImageProvisioned;
    rows::event::append(&transaction, kind, image.workspace_id, image.file_id, Some(image.id), now).await?;
    transaction.commit().await?;
    app.crash_point("settled").await;
    Ok(())
}

/// Somebody else took the row over while the account was answering us. What we made is theirs if they adopted it or
/// still may; otherwise nobody wants it.
async fn give_back(app: &App, id: ImageId, made: &str) -> Result<()> {
    let row = image::by_id_unscoped(id).one(&app.db.read).await?;
    let wanted =
        row.is_some_and(|row| row.state == State::Pending || row.cf_image_id.as_deref() == Some(made));
    if !wanted {
        remove::delete_from_account(app, made, id)
            .await
            .map_err(|e| Error::fault("removing a second copy from the account", e))?;
    }
    Ok(())
}

/// The account did not take the image. Only what is certainly about this picture or its settings ends it; anything else
/// waits.
pub async fn problem(app: &App, image: &Model, problem: &AccountError) -> Result<()> {
    // Trouble of the account is in the log already, once for the call.
    if !problem.is_account_error() {
        tracing::warn!(image = %image.id, attempts = image.attempts, %problem, "provisioning did not work");
    }
    // The id may still be that of a former image of ours, which is on its way out.
    if problem.is_request_error() && !is_being_freed(app, image, problem).await? {
        failed(app, image, refusal::refusal(problem)).await
    } else {
        later(app, image, refusal::refusal(problem)).await
    }
}

async fn is_being_freed(app: &App, image: &Model, problem: &AccountError) -> Result<bool> {
    let (AccountError::Conflict(_), Some(id)) = (problem, &image.custom_id) else { return Ok(false) };
    is_being_removed(app, id).await
}

/// Attempts that an image has, however long ago it was asked for: the time may have passed while the server was down.
const LEAST_ATTEMPTS: i32 = 5;

/// Leaves the row to the worker, unless it was tried often or long enough.
pub async fn later(app: &App, image: &Model, mut why: Refusal) -> Result<()> {
    let now = app.clock.now();
    let (attempts, since) =
        (image.attempts - image.wanted_attempts, image.wanted_at.unwrap_or(image.created_at));
    let time = TimeDelta::from_std(app.config.provision_time).unwrap_or(TimeDelta::MAX);
    let over = now - since >= time && attempts >= LEAST_ATTEMPTS;
    if attempts >= app.config.provision_attempts || over {
        let hours = (now - since).num_hours();
        why.message = format!(
            "{} It was tried {attempts} times in {hours} hours and is given up; `provisionImage` begins again.",
            why.message
        );
        return failed(app, image, why).await;
    }
    let backoff = job::backoff(attempts).to_std().unwrap_or(Duration::from_secs(60));
    // A delay that the account asks for counts, up to an hour.
    let delay = why.retry_after.unwrap_or(backoff).min(Duration::from_secs(3600));
    why.retry_after = Some(Duration::from_secs(Ord::max(delay.as_secs(), 1)));
    let until = now + delay;
    settle(app, image, State::Pending, Some(until), ImageStatus::Queued, why).await
}

/// Ends it, with the reason on the file and an event.
pub async fn failed(app: &App, image: &Model, mut why: Refusal) -> Result<()> {
    why.retry_after = None;
    settle(app, image, State::Failed, None, ImageStatus::Failed, why).await
}

async fn settle(
    app: &App,
    image: &Model,
    state: State,
    due: Option<DateTime<Utc>>,
    status: ImageStatus,
    why: Refusal,
) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    rows::image::show_on_file(&transaction, image.file_id, status, Some(why.into()), now).await?;
    let settled = Entity::update_many()
        .col_expr(Column::State, state.into())
        .col_expr(Column::DueAt, Expr::val(due))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(image::COLUMN.id.eq(image.id))
        .filter(Column::State.eq(State::Pending))
        .filter(image::COLUMN.attempts.eq(image.attempts))
        .exec(&transaction)
        .await?;
    if settled.rows_affected == 0 {
        return Ok(transaction.rollback().await?);
    }
    let kind = match status {
        ImageStatus::Failed => EventKind::ImageProvisionFailed,
        _ => EventKind::ImageProvisionDelayed,
    };
    rows::event::append(&transaction, kind, image.workspace_id, image.file_id, Some(image.id), now).await?;
    Ok(transaction.commit().await?)
}
