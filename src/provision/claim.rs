//! Claims of images: for an attempt that somebody asked for, and for one that is due.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};
use serde_json::Value;

use crate::app::App;
use crate::entity::Failure;
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, Model, NewImage, State};
use crate::error::{Code, Error, Result};
use crate::id::FileId;
use crate::normalization::{original_unless_nfc, to_nfc};
use crate::provision::again::{insert_again, not_an_image, not_ready};
use crate::provision::{refusal, settings};

/// Claims the image of a file for an attempt, made anew where there is none; `None` if somebody is at it already.
pub async fn claim_for_attempt(
    app: &App,
    file: &file::Model,
    new: &NewImage,
    private: bool,
) -> Result<Option<Model>> {
    match file.image_status {
        ImageStatus::NotApplicable if file.blob_id.is_none() => Err(not_ready()),
        ImageStatus::NotApplicable => Err(not_an_image()),
        ImageStatus::Ready => {
            let message = "This file has an image. Delete it first to provision another one.";
            Err(Error::refuse(Code::AlreadyProvisioned, message).at("fileId"))
        }
        ImageStatus::InProgress => Ok(None),
        ImageStatus::Queued | ImageStatus::Failed => {
            let own = image::of_file_unscoped(file.id).one(&app.db.read).await?;
            let kept = own.as_ref().and_then(|image| image.custom_id.clone());
            let wanted = new.custom_id.clone().or(kept);
            refusal::require_free_id(app, wanted.as_deref(), own.map(|image| image.id)).await?;
            claim_again(app, file.id, new).await
        }
        ImageStatus::Removed => {
            // A file that came back from the trash knows what its image was.
            let kept = file.intent.clone().and_then(|intent| intent.image).unwrap_or_default();
            let new = new.clone().or(kept);
            let signed = new.require_signed_urls.unwrap_or(private);
            settings::check(&new, signed).map_err(|e| e.under("image"))?;
            refusal::require_free_id(app, new.custom_id.as_deref(), None).await?;
            insert_again(app, file, &new, signed).await.map(Some)
        }
    }
}

/// Claims a queued or failed image for an attempt now; `None` if somebody is at it already.
async fn claim_again(app: &App, file: FileId, new: &NewImage) -> Result<Option<Model>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let before = image::of_file_unscoped(file)
        .filter(Column::State.is_in([State::Pending, State::Failed]))
        .one(&transaction)
        .await?;
    let Some(before) = before else { return Ok(None) };
    let wanted = new.clone().or(before.settings());
    settings::check(&wanted, wanted.require_signed_urls.unwrap_or_default()).map_err(|e| e.under("image"))?;
    if !show_in_progress(&transaction, file, &[ImageStatus::Queued, ImageStatus::Failed]).await? {
        return Ok(None);
    }
    let claimed = Entity::update_many()
        .col_expr(Column::State, State::Pending.into())
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::WantedAt, Expr::val(now))
        .col_expr(Column::WantedAttempts, Expr::col(Column::Attempts))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .col_expr(Column::RequireSignedUrls, Expr::val(wanted.require_signed_urls.unwrap_or_default()))
        .col_expr(Column::AltSent, Expr::val(wanted.alt.as_deref().and_then(original_unless_nfc)))
        .col_expr(Column::Alt, Expr::val(wanted.alt.as_deref().map(|alt| to_nfc(alt).into_owned())))
        .col_expr(Column::FocalX, Expr::val(wanted.focal_point.map(|point| point.x)))
        .col_expr(Column::FocalY, Expr::val(wanted.focal_point.map(|point| point.y)))
        .col_expr(Column::Creator, Expr::val(wanted.creator))
        .col_expr(Column::CfMetadata, Expr::val(wanted.cf_metadata.map(Value::Object)))
        .col_expr(Column::CustomId, Expr::val(wanted.custom_id))
        .filter(image::COLUMN.id.eq(before.id))
        .filter(Column::State.is_in([State::Pending, State::Failed]))
        .exec_with_returning(&transaction)
        .await?;
    transaction.commit().await?;
    Ok(claimed.into_iter().next())
}

/// Claims one image that is due; `None` if somebody else was faster.
pub async fn claim_due(app: &App, due: &Model) -> Result<Option<Model>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    if due.state == State::Pending {
        // In progress already: whoever had it died or gave up without a word.
        show_in_progress(&transaction, due.file_id, &[ImageStatus::Queued, ImageStatus::InProgress]).await?;
    }
    let claimed = Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(image::COLUMN.id.eq(due.id))
        .filter(Column::State.eq(due.state))
        .filter(image::COLUMN.due_at.lte(now))
        .exec_with_returning(&transaction)
        .await?;
    let Some(claimed) = claimed.into_iter().next() else { return Ok(None) };
    transaction.commit().await?;
    Ok(Some(claimed))
}

/// Shows on a standing file that its image is on the way, if it showed one of `from`; false if it did not.
async fn show_in_progress(
    transaction: &impl ConnectionTrait,
    file: FileId,
    from: &[ImageStatus],
) -> Result<bool> {
    let shown = file::Entity::update_many()
        .col_expr(file::Column::ImageStatus, ImageStatus::InProgress.into())
        .col_expr(file::Column::ImageFailure, Expr::val(None::<Failure>))
        .filter(file::COLUMN.id.eq(file))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::Column::ImageStatus.is_in(from.iter().copied()))
        .exec(transaction)
        .await?;
    Ok(shown.rows_affected == 1)
}
