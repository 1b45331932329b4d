//! Changing an image: what is ours at once, what Cloudflare keeps in a step that may be repeated.
//!
//! A change of access gives the image another id in the account. The row says that such a change is under way before
//! the account is asked, so that a server killed in between leaves a row that the worker can put right: our own id in
//! the account's metadata leads to the image, whatever its id there is by then.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};
use serde_json::{Map, Value};

use crate::app::App;
use crate::entity::event::EventKind;
use crate::entity::file;
use crate::entity::image::{self, Column, Entity, FocalPoint, Model, State};
use crate::error::{Code, Error, Result};
use crate::normalization::{original_unless_nfc, to_nfc};
use crate::provision::settings::{self, METADATA_FIELD};
use crate::provision::{refusal, stray};
use crate::rows::revision::{conflict, next_updated_at};
use crate::{job, rows};
use cloudflare_images::{Error as AccountError, signing, wire};

/// What to change of an image; `None` leaves it as it is, `Some(None)` clears it.
#[derive(Debug, Clone, Default)]
pub struct ImageChange {
    pub alt: Option<Option<String>>,
    pub focal_point: Option<Option<FocalPoint>>,
    pub require_signed_urls: Option<bool>,
    pub creator: Option<Option<String>>,
    pub cf_metadata: Option<Option<Map<String, Value>>>,
    /// Only if the image was last changed then.
    pub if_updated_at: Option<DateTime<Utc>>,
}

impl ImageChange {
    /// Whether Cloudflare keeps a part of it.
    pub fn concerns_account(&self) -> bool {
        self.require_signed_urls.is_some() || self.creator.is_some() || self.cf_metadata.is_some()
    }

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

/// Changes what the account keeps of an image, and then the row.
pub async fn change_in_account(app: &App, image: &Model, change: &ImageChange) -> Result<Model> {
    let claimed = claim(app, image, change).await?;
    let edit = wire::ImageEdit {
        metadata: change
            .cf_metadata
            .as_ref()
            .map(|users| crate::provision::metadata(image.id, users.as_ref())),
        require_signed_urls: change.require_signed_urls.filter(|signed| *signed != image.require_signed_urls),
        // Cloudflare takes an empty text for none.
        creator: change.creator.clone().map(Option::unwrap_or_default),
    };
    let edited = app.cloudflare.edit(claimed.cf_image_id.as_deref().unwrap_or_default(), &edit).await;
    app.crash_point("image-edited").await;
    match edited {
        Ok(made) => write(app, &claimed, change, Some(&made)).await,
        Err(problem) => {
            release(app, &claimed, &problem).await?;
            Err(Error::Refusal(refusal::refusal(&problem)))
        }
    }
}

/// Resumes a change that was interrupted: the row takes over what the account has.
pub async fn resume(app: &App, image: &Model) -> Result<()> {
    let made = match stray::find(app, image.id).await {
        Ok(mut found) => {
            // Of several, the one that is what was wanted; the check for strays removes the others.
            let wanted = image.switching_to.unwrap_or(image.require_signed_urls);
            found.sort_by_key(|made| made.require_signed_urls != wanted);
            found.into_iter().next()
        }
        Err(_) => return job::back_off::<Entity>(app, image).await,
    };
    let Some(made) = made else {
        // Gone there, or its list does not show it yet: the image can be changed again, and is looked for once more.
        tracing::warn!(image = %image.id, "the account shows no such image");
        return unlock(app, image, app.clock.now() + app.config.stray_check).await;
    };
    let mut metadata = made.meta.clone().unwrap_or_default();
    metadata.remove(METADATA_FIELD);
    let change = ImageChange {
        creator: Some(made.creator.clone()),
        cf_metadata: Some((!metadata.is_empty()).then_some(metadata)),
        ..ImageChange::default()
    };
    match write(app, image, &change, Some(&made)).await {
        // Deleted or taken over in the meantime: whoever did that goes on.
        Err(Error::Refusal(_)) => Ok(()),
        other => other.map(drop),
    }
}

/// Says on the row that the account is being asked; nobody else asks until the lease is over.
async fn claim(app: &App, image: &Model, change: &ImageChange) -> Result<Model> {
    let now = app.clock.now();
    let target = change.require_signed_urls.unwrap_or(image.require_signed_urls);
    let mut claim = Entity::update_many()
        .col_expr(Column::SwitchingTo, Expr::val(target))
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(image::COLUMN.id.eq(image.id))
        .filter(Column::State.eq(State::Ready))
        .filter(image::COLUMN.switching_to.is_null())
        .filter(image::COLUMN.attempts.eq(image.attempts));
    if let Some(then) = change.if_updated_at {
        claim = claim.filter(image::COLUMN.updated_at.eq(then));
    }
    let claimed = claim.exec_with_returning(&app.db.write).await?;
    claimed.into_iter().next().ok_or_else(overtaken)
}

fn overtaken() -> Error {
    Error::refuse(Code::Conflict, "Somebody else is changing this image at this moment; try again.").at("id")
}

/// Writes a change, and what the account made of it.
pub async fn write(
    app: &App,
    image: &Model,
    change: &ImageChange,
    made: Option<&wire::Image>,
) -> Result<Model> {
    let now = next_updated_at(app.clock.now(), image.updated_at);
    let transaction = app.db.begin().await?;
    lock_file(&transaction, image).await?;
    let mut update = Entity::update_many().col_expr(Column::UpdatedAt, Expr::val(now));
    if let Some(alt) = &change.alt {
        update = update
            .col_expr(Column::Alt, Expr::val(alt.as_deref().map(|alt| to_nfc(alt).into_owned())))
            .col_expr(Column::AltSent, Expr::val(alt.as_deref().and_then(original_unless_nfc)));
    }
    if let Some(point) = change.focal_point {
        update = update
            .col_expr(Column::FocalX, Expr::val(point.map(|point| point.x)))
            .col_expr(Column::FocalY, Expr::val(point.map(|point| point.y)));
    }
    if let Some(creator) = &change.creator {
        update = update.col_expr(Column::Creator, Expr::val(creator.clone()));
    }
    if let Some(metadata) = &change.cf_metadata {
        update = update.col_expr(Column::CfMetadata, Expr::val(metadata.clone().map(Value::Object)));
    }
    if let Some(made) = made {
        // A request given up earlier may still be carried out: the look at the account comes after that.
        let check = now + app.config.stray_check;
        update = update
            .col_expr(Column::CfImageId, Expr::val(made.id.as_str()))
            .col_expr(Column::RequireSignedUrls, Expr::val(made.require_signed_urls))
            .col_expr(Column::SwitchingTo, Expr::val(None::<bool>))
            .col_expr(Column::DueAt, Expr::val(check))
            .filter(image::COLUMN.attempts.eq(image.attempts));
        if let Some(hash) = signing::account_hash(made) {
            update = update.col_expr(Column::AccountHash, Expr::val(hash));
        }
    }
    update = update.filter(image::COLUMN.id.eq(image.id)).filter(Column::State.eq(State::Ready));
    if let (Some(then), None) = (change.if_updated_at, made) {
        update = update.filter(image::COLUMN.updated_at.eq(then));
    }
    let updated = update.exec_with_returning(&transaction).await?;
    let Some(image) = updated.into_iter().next() else {
        return Err(if made.is_some() { overtaken() } else { conflict() });
    };
    let kind = EventKind::ImageUpdated;
    rows::event::append(&transaction, kind, image.workspace_id, image.file_id, Some(image.id), now).await?;
    transaction.commit().await?;
    Ok(image)
}

/// Whoever writes an image and tells of it locks its file first, as everybody does who writes both.
async fn lock_file(transaction: &impl sea_orm::ConnectionTrait, image: &Model) -> Result<()> {
    file::Entity::update_many()
        .col_expr(file::Column::Attempts, Expr::col(file::Column::Attempts))
        .filter(file::COLUMN.id.eq(image.file_id))
        .exec(transaction)
        .await?;
    Ok(())
}

/// After a failed edit: what was certainly not done is forgotten, what may have been done is left to the worker.
async fn release(app: &App, claimed: &Model, problem: &AccountError) -> Result<()> {
    if !problem.is_account_error() {
        tracing::warn!(image = %claimed.id, %problem, "changing an image in the account did not work");
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
        // It has another id than we know, or is gone: the worker looks for it.
        AccountError::NotFound(_) => unlock(app, claimed, now).await,
        _ => job::back_off::<Entity>(app, claimed).await,
    }
}

/// Lets others change the image again, and has the worker look at it at a moment.
async fn unlock(app: &App, claimed: &Model, look: DateTime<Utc>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::SwitchingTo, Expr::val(None::<bool>))
        .col_expr(Column::DueAt, Expr::val(look))
        .filter(image::COLUMN.id.eq(claimed.id))
        .filter(image::COLUMN.attempts.eq(claimed.attempts))
        .exec(&app.db.write)
        .await?;
    Ok(())
}
