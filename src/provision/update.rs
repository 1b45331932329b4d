//! Changes of an image. What only the database stores is written at once; what the account stores is changed in a step that
//! can be repeated.
//!
//! A change of access gives the image another id in the account. The row records that such a change is in progress before
//! the request is sent. If the server is killed before it records the answer, the worker finds the image by the row's id in
//! the account's metadata, and records the image's current id and access.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, UpdateMany, sea_query::Expr};
use serde_json::{Map, Value};

use crate::app::App;
use crate::entity::event::EventKind;
use crate::entity::file;
use crate::entity::image::{self, Column, Entity, FocalPoint, Model, State};
use crate::error::{Code, Error, Result};
use crate::provision::settings::{self, METADATA_FIELD};
use crate::provision::{refusal, stray};
use crate::rows::image::{set_alt, set_focal_point};
use crate::rows::revision::{conflict, next_updated_at};
use crate::{job, rows};
use cloudflare_images::{Error as AccountError, signing, wire};

/// Fields of an image to change: `None` leaves a field unchanged, `Some(None)` clears it.
#[derive(Debug, Clone, Default)]
pub struct ImageChange {
    pub alt: Option<Option<String>>,
    pub focal_point: Option<Option<FocalPoint>>,
    pub require_signed_urls: Option<bool>,
    pub creator: Option<Option<String>>,
    pub cf_metadata: Option<Option<Map<String, Value>>>,
    /// Change the image only if its `updated_at` has this value.
    pub if_updated_at: Option<DateTime<Utc>>,
}

impl ImageChange {
    /// Whether it changes a field that the account stores.
    pub fn concerns_account(&self) -> bool {
        self.require_signed_urls.is_some() || self.creator.is_some() || self.cf_metadata.is_some()
    }

    /// Checks the new values.
    ///
    /// # Errors
    /// `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, each at its field.
    pub fn check(&self, image: &Model) -> Result<()> {
        settings::check_alt(self.alt.as_ref().and_then(|alt| alt.as_deref()))?;
        self.focal_point.flatten().map_or(Ok(()), FocalPoint::check)?;
        settings::check_creator(self.creator.as_ref().and_then(|creator| creator.as_deref()))?;
        settings::check_metadata(self.cf_metadata.as_ref().and_then(|metadata| metadata.as_ref()))?;
        if image.custom_id.is_some() && self.require_signed_urls == Some(true) {
            let message =
                "An image with a custom id cannot require signed URLs. Provision it again without one.";
            return Err(Error::refuse(Code::CustomIdNotAllowed, message).at("requireSignedUrls"));
        }
        Ok(())
    }
}

/// Changes an image in the account, and then its row.
///
/// # Errors
/// `CONFLICT` if the image is being changed by another request, and what the account refuses.
pub async fn change_in_account(app: &App, image: &Model, change: &ImageChange) -> Result<Model> {
    let claimed = claim_for_change(app, image, change).await?;
    let edit = wire::ImageEdit {
        metadata: change
            .cf_metadata
            .as_ref()
            .map(|user_metadata| crate::provision::metadata(image.id, user_metadata.as_ref())),
        require_signed_urls: change.require_signed_urls.filter(|signed| *signed != image.require_signed_urls),
        // An empty string clears the field at Cloudflare.
        creator: change.creator.clone().map(Option::unwrap_or_default),
    };
    let edited = app.cloudflare.edit(claimed.cf_image_id.as_deref().unwrap_or_default(), &edit).await;
    app.crash_point("account-image-edited").await;
    match edited {
        Ok(account_image) => write(app, &claimed, change, Some(&account_image)).await,
        Err(problem) => {
            record_account_error(app, &claimed, &problem).await?;
            Err(Error::Refusal(refusal::from_account_error(&problem)))
        }
    }
}

/// Completes an interrupted change: writes what the account has into the row.
pub async fn resume(app: &App, image: &Model) -> Result<()> {
    let Ok(mut found) = stray::find(app, image.id).await else {
        return job::retry_later::<Entity>(app, image).await;
    };
    // If there are several, the one with the requested access; the check for second copies deletes the others.
    let requested = image.switching_to.unwrap_or(image.require_signed_urls);
    found.sort_by_key(|candidate| candidate.require_signed_urls != requested);
    let Some(account_image) = found.into_iter().next() else {
        // The account has lost the image, or its list does not show it yet. The image can be changed again, and is looked
        // for once more.
        tracing::warn!(image = %image.id, "the account does not list this image");
        return unlock(app, image, app.clock.now() + app.config.stray_check).await;
    };
    let mut metadata = account_image.meta.clone().unwrap_or_default();
    metadata.remove(METADATA_FIELD);
    let change = ImageChange {
        creator: Some(account_image.creator.clone()),
        cf_metadata: Some((!metadata.is_empty()).then_some(metadata)),
        ..ImageChange::default()
    };
    match write(app, image, &change, Some(&account_image)).await {
        // The image was deleted or claimed in the meantime, and that operation continues.
        Err(Error::Refusal(_)) => Ok(()),
        other => other.map(drop),
    }
}

/// Claims an image for a change in the account. Until the lease ends no other request changes it there.
async fn claim_for_change(app: &App, image: &Model, change: &ImageChange) -> Result<Model> {
    let now = app.clock.now();
    let target = change.require_signed_urls.unwrap_or(image.require_signed_urls);
    let mut update = Entity::update_many()
        .col_expr(Column::SwitchingTo, Expr::val(target))
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(image::COLUMN.id.eq(image.id))
        .filter(State::Ready.condition())
        .filter(image::COLUMN.switching_to.is_null())
        .filter(image::COLUMN.attempts.eq(image.attempts));
    if let Some(then) = change.if_updated_at {
        update = update.filter(image::COLUMN.updated_at.eq(then));
    }
    let claimed = update.exec_with_returning(&app.db.write).await?;
    claimed.into_iter().next().ok_or_else(changed_concurrently)
}

fn changed_concurrently() -> Error {
    Error::refuse(Code::Conflict, "Another request is changing this image at the moment; try again.").at("id")
}

/// Writes a change into the row of an image, with the image as the account has it after the change, if it was changed there.
///
/// # Errors
/// `CONFLICT` if the row was changed or claimed by another request.
pub async fn write(
    app: &App,
    image: &Model,
    change: &ImageChange,
    account_image: Option<&wire::Image>,
) -> Result<Model> {
    let now = next_updated_at(app.clock.now(), image.updated_at);
    let transaction = app.db.begin().await?;
    lock_file(&transaction, image).await?;
    let mut update = update_fields(change)
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(image::COLUMN.id.eq(image.id))
        .filter(State::Ready.condition());
    if let Some(account_image) = account_image {
        // The account may still carry out an earlier request: second copies are looked for after that.
        let second_copy_check = now + app.config.stray_check;
        update = update
            .col_expr(Column::CfImageId, Expr::val(account_image.id.as_str()))
            .col_expr(Column::RequireSignedUrls, Expr::val(account_image.require_signed_urls))
            .col_expr(Column::SwitchingTo, Expr::val(None::<bool>))
            .col_expr(Column::DueAt, Expr::val(second_copy_check))
            .filter(image::COLUMN.attempts.eq(image.attempts));
        if let Some(hash) = signing::account_hash(account_image) {
            update = update.col_expr(Column::AccountHash, Expr::val(hash));
        }
    } else if let Some(then) = change.if_updated_at {
        update = update.filter(image::COLUMN.updated_at.eq(then));
    }
    let updated = update.exec_with_returning(&transaction).await?;
    let Some(image) = updated.into_iter().next() else {
        return Err(if account_image.is_some() { changed_concurrently() } else { conflict() });
    };
    rows::event::append_for_image(&transaction, EventKind::ImageUpdated, &image, now).await?;
    transaction.commit().await?;
    Ok(image)
}

/// Sets the fields that a change names.
fn update_fields(change: &ImageChange) -> UpdateMany<Entity> {
    let mut update = Entity::update_many();
    if let Some(alt) = &change.alt {
        update = set_alt(update, alt.as_deref());
    }
    if let Some(point) = change.focal_point {
        update = set_focal_point(update, point);
    }
    if let Some(creator) = &change.creator {
        update = update.col_expr(Column::Creator, Expr::val(creator.clone()));
    }
    if let Some(metadata) = &change.cf_metadata {
        update = update.col_expr(Column::CfMetadata, Expr::val(metadata.clone().map(Value::Object)));
    }
    update
}

/// Locks the row of an image's file. Every transaction that writes both rows locks the file first, which avoids deadlocks.
async fn lock_file(transaction: &impl sea_orm::ConnectionTrait, image: &Model) -> Result<()> {
    file::Entity::update_many()
        .col_expr(file::Column::Attempts, Expr::col(file::Column::Attempts))
        .filter(file::COLUMN.id.eq(image.file_id))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Records that the account did not confirm a change. If it certainly did not change the image, the image can be changed
/// again at once; otherwise the worker finds out what the account has.
async fn record_account_error(app: &App, claimed: &Model, problem: &AccountError) -> Result<()> {
    if !problem.is_account_error() {
        tracing::warn!(image = %claimed.id, %problem, "changing an image in the account failed");
    }
    let now = app.clock.now();
    match problem {
        AccountError::TooLarge(_)
        | AccountError::Unsupported(_)
        | AccountError::Invalid(_)
        | AccountError::Conflict(_)
        | AccountError::Account(_)
        | AccountError::Unauthorized(_)
        | AccountError::RateLimited { .. } => unlock(app, claimed, now + app.config.stray_check).await,
        // The image has another id in the account, or is not there: the worker looks for it now.
        AccountError::NotFound(_) => unlock(app, claimed, now).await,
        _ => job::retry_later::<Entity>(app, claimed).await,
    }
}

/// Lets other requests change the image again. The worker compares it with the account at `check_at`.
async fn unlock(app: &App, claimed: &Model, check_at: DateTime<Utc>) -> Result<()> {
    job::reschedule_statement::<Entity>(claimed, Some(check_at))
        .col_expr(Column::SwitchingTo, Expr::val(None::<bool>))
        .exec(&app.db.write)
        .await?;
    Ok(())
}
