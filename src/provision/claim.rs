//! Claims of images: for an attempt that a user requested, and for a step that is due.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};
use serde_json::Value;

use crate::app::{App, Transaction};
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, Model, NewImage, State};
use crate::error::{Code, Error, Result};
use crate::id::FileId;
use crate::provision::reprovision::{insert_image, not_an_image, not_ready};
use crate::provision::{refusal, settings};
use crate::rows::image::{set_alt, set_focal_point, set_status_on_file};

/// An image that the caller has claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub image: Model,
    /// Its file, if the row is known from the claim.
    pub file: Option<file::Model>,
}

/// Claims the image of a file for an attempt that a user requested, and inserts its row if the former image was deleted.
/// `None` if an attempt is in progress already.
///
/// `new` has the settings that the user wants to change. `private` is the access of an image whose settings do not name
/// one.
///
/// # Errors
/// `NOT_READY`, `NOT_AN_IMAGE`, `ALREADY_PROVISIONED`, `CUSTOM_ID_TAKEN`, what [`settings::check`] refuses, and `CONFLICT`.
pub async fn claim_for_attempt(
    app: &App,
    file: &file::Model,
    new: &NewImage,
    private: bool,
) -> Result<Option<Claimed>> {
    match file.image_status {
        ImageStatus::NotApplicable if file.blob_id.is_none() => Err(not_ready()),
        ImageStatus::NotApplicable => Err(not_an_image()),
        ImageStatus::Ready => {
            let message = "This file has an image. Delete it first to provision another one.";
            Err(Error::refuse(Code::AlreadyProvisioned, message).at("fileId"))
        }
        ImageStatus::InProgress => Ok(None),
        ImageStatus::Queued | ImageStatus::Failed => {
            let image = image::of_file_unscoped(file.id).one(&app.db.read).await?;
            let former_id = image.as_ref().and_then(|image| image.custom_id.clone());
            let custom_id = new.custom_id.clone().or(former_id);
            refusal::require_free_id(app, custom_id.as_deref(), image.map(|image| image.id)).await?;
            claim_queued_or_failed(app, file.id, new).await
        }
        ImageStatus::Removed => {
            // A file that was restored from the trash has kept the settings of its former image.
            let former = file.intent.clone().and_then(|intent| intent.image).unwrap_or_default();
            let new = new.clone().or(former);
            let signed = new.require_signed_urls.unwrap_or(private);
            settings::check(&new, signed)?;
            refusal::require_free_id(app, new.custom_id.as_deref(), None).await?;
            insert_image(app, file, &new, signed).await.map(Some)
        }
    }
}

/// Claims a queued or failed image for an attempt now; `None` if an attempt is in progress already.
async fn claim_queued_or_failed(app: &App, file: FileId, new: &NewImage) -> Result<Option<Claimed>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let former = image::of_file_unscoped(file)
        .filter(Column::State.is_in([State::Pending, State::Failed]))
        .one(&transaction)
        .await?;
    let Some(former) = former else { return Ok(None) };
    let new = new.clone().or(former.settings());
    let signed = new.require_signed_urls.unwrap_or_default();
    settings::check(&new, signed)?;
    let shown = show_in_progress(&transaction, file, &[ImageStatus::Queued, ImageStatus::Failed]).await?;
    if shown.is_none() {
        return Ok(None);
    }
    let update = Entity::update_many()
        .col_expr(Column::State, State::Pending.into())
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::WantedAt, Expr::val(now))
        .col_expr(Column::WantedAttempts, Expr::col(Column::Attempts))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .col_expr(Column::RequireSignedUrls, Expr::val(signed))
        .col_expr(Column::Creator, Expr::val(new.creator))
        .col_expr(Column::CfMetadata, Expr::val(new.cf_metadata.map(Value::Object)))
        .col_expr(Column::CustomId, Expr::val(new.custom_id));
    let update = set_focal_point(set_alt(update, new.alt.as_deref()), new.focal_point);
    let claimed = update
        .filter(image::COLUMN.id.eq(former.id))
        .filter(Column::State.is_in([State::Pending, State::Failed]))
        .exec_with_returning(&transaction)
        .await?;
    transaction.commit().await?;
    Ok(claimed.into_iter().next().map(|image| Claimed { image, file: shown }))
}

/// Claims an image that is due; `None` if another claim came first.
pub async fn claim_due(app: &App, due: &Model) -> Result<Option<Claimed>> {
    let transaction = app.db.begin().await?;
    let Some(claimed) = claim(app, &transaction, due).await? else { return Ok(None) };
    transaction.commit().await?;
    Ok(Some(claimed))
}

/// Claims images that are due, in one transaction; without those for which another claim came first.
pub async fn claim_all_due(app: &App, mut due: Vec<Model>) -> Result<Vec<Claimed>> {
    if due.is_empty() {
        return Ok(Vec::new());
    }
    // Two servers that claim the same images lock their rows in the same order.
    due.sort_by_key(|image| image.file_id);
    let transaction = app.db.begin().await?;
    let mut claimed = Vec::new();
    for image in &due {
        let Some(image) = claim(app, &transaction, image).await? else {
            // Another server claims images too. What was written for this one must not be committed.
            transaction.rollback().await?;
            return claim_each_due(app, &due).await;
        };
        claimed.push(image);
    }
    transaction.commit().await?;
    Ok(claimed)
}

async fn claim_each_due(app: &App, due: &[Model]) -> Result<Vec<Claimed>> {
    let mut claimed = Vec::new();
    for image in due {
        claimed.extend(claim_due(app, image).await?);
    }
    Ok(claimed)
}

async fn claim(app: &App, transaction: &Transaction, due: &Model) -> Result<Option<Claimed>> {
    let now = app.clock.now();
    let file = match due.state {
        // The file shows `IN_PROGRESS` already if the process that had claimed the row ended without recording a result.
        State::Pending => {
            show_in_progress(transaction, due.file_id, &[ImageStatus::Queued, ImageStatus::InProgress])
                .await?
        }
        _ => None,
    };
    let claimed = Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(image::COLUMN.id.eq(due.id))
        .filter(due.state.condition())
        .filter(image::COLUMN.due_at.lte(now))
        .exec_with_returning(transaction)
        .await?;
    Ok(claimed.into_iter().next().map(|image| Claimed { image, file }))
}

/// Sets the image status of a file to `IN_PROGRESS` and returns its row, if the status was one of `from`.
async fn show_in_progress(
    transaction: &impl ConnectionTrait,
    file: FileId,
    from: &[ImageStatus],
) -> Result<Option<file::Model>> {
    let updated = set_status_on_file(file, ImageStatus::InProgress, None)
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::Column::ImageStatus.is_in(from.iter().copied()))
        .exec_with_returning(transaction)
        .await?;
    Ok(updated.into_iter().next())
}
