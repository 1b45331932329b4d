//! Rows of images, and the image status on their files.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, UpdateMany, sea_query::Expr,
};

use crate::app::App;
use crate::content::detect::Picture;
use crate::content::{exif, photo};
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, FocalPoint, Model, NewImage, State};
use crate::entity::workspace::{self, ExifPolicy};
use crate::entity::{Failure, StringList};
use crate::error::Result;
use crate::id::{FileId, ImageId};
use crate::normalization::{original_unless_nfc, to_nfc};

/// Inserts the row of an image, claimed by the caller for its first attempt.
pub async fn insert_claimed(
    app: &App,
    transaction: &impl ConnectionTrait,
    file: &file::Model,
    picture: &Picture,
    new: &NewImage,
    require_signed_urls: bool,
    now: DateTime<Utc>,
) -> Result<Model> {
    let row = row(ImageId::new(now), file, picture, new, require_signed_urls, now);
    let policy = workspace::exif_policy(transaction, file.workspace_id).await?;
    insert(transaction, Model { due_at: Some(app.lease(now)), ..row }, policy).await
}

/// Inserts an image row, with the part of its EXIF that the policy of its workspace keeps. All image rows are inserted here.
pub async fn insert(
    transaction: &impl ConnectionTrait,
    mut image: Model,
    policy: ExifPolicy,
) -> Result<Model> {
    let exif = image.exif.and_then(|exif| exif::apply_policy(exif.value(), policy));
    image.taken_at = photo::taken_at(exif.as_ref());
    image.exif = exif.map(Into::into);
    let row: image::ActiveModel = image.into();
    Ok(row.reset_all().insert(transaction).await?)
}

/// The row of a new image of a file, pending and not due.
pub fn row(
    id: ImageId,
    file: &file::Model,
    picture: &Picture,
    new: &NewImage,
    require_signed_urls: bool,
    now: DateTime<Utc>,
) -> Model {
    let to_i32 = |pixels: u32| i32::try_from(pixels).ok();
    Model {
        id,
        workspace_id: file.workspace_id,
        file_id: file.id,
        filename: file.filename.clone(),
        size: file.size,
        mime_type: file.mime_type.clone().unwrap_or_default(),
        format: picture.format,
        width: picture.size.and_then(|(width, _)| to_i32(width)),
        height: picture.size.and_then(|(_, height)| to_i32(height)),
        animated: picture.frames > 1,
        exif: picture.exif.clone().map(Into::into),
        has_alpha: None,
        taken_at: None,
        tags: file.tags.clone(),
        alt: new.alt.as_deref().map(|alt| to_nfc(alt).into_owned()),
        alt_sent: new.alt.as_deref().and_then(original_unless_nfc),
        focal_x: new.focal_point.map(|point| point.x),
        focal_y: new.focal_point.map(|point| point.y),
        creator: new.creator.clone(),
        cf_metadata: new.cf_metadata.clone().map(|metadata| serde_json::Value::Object(metadata).into()),
        custom_id: new.custom_id.clone(),
        thumbhash: None,
        blurhash: None,
        dominant_color: None,
        palette: StringList::default(),
        require_signed_urls,
        switching_to: None,
        state: State::Pending,
        cf_image_id: None,
        account_hash: None,
        due_at: None,
        attempts: 1,
        wanted_at: Some(now),
        wanted_attempts: 0,
        analysis_due_at: (picture.format != image::Format::Svg).then_some(now),
        analysis_attempts: 0,
        created_at: now,
        updated_at: now,
    }
}

/// Sets the image status of a file, with the reason of a failure or a delay, and returns its row, if there is one. Every
/// transaction that writes both rows writes the file before the image, which avoids deadlocks.
pub async fn show_on_file(
    transaction: &impl ConnectionTrait,
    file: FileId,
    status: ImageStatus,
    failure: Option<Failure>,
    now: DateTime<Utc>,
) -> Result<Option<file::Model>> {
    let updated = set_status_on_file(file, status, failure)
        .col_expr(file::Column::UpdatedAt, Expr::val(now))
        .exec_with_returning(transaction)
        .await?;
    Ok(updated.into_iter().next())
}

/// The statement of [`show_on_file`] without `updated_at`, for callers that have further conditions.
pub fn set_status_on_file(
    file: FileId,
    status: ImageStatus,
    failure: Option<Failure>,
) -> UpdateMany<file::Entity> {
    file::Entity::update_many()
        .col_expr(file::Column::ImageStatus, status.into())
        .col_expr(file::Column::ImageFailure, Expr::val(failure))
        .filter(file::COLUMN.id.eq(file))
}

/// Sets the alternative text, in composed form and as it was sent.
pub fn set_alt(update: UpdateMany<Entity>, alt: Option<&str>) -> UpdateMany<Entity> {
    update
        .col_expr(Column::Alt, Expr::val(alt.map(|alt| to_nfc(alt).into_owned())))
        .col_expr(Column::AltSent, Expr::val(alt.and_then(original_unless_nfc)))
}

/// Sets the focal point.
pub fn set_focal_point(update: UpdateMany<Entity>, point: Option<FocalPoint>) -> UpdateMany<Entity> {
    update
        .col_expr(Column::FocalX, Expr::val(point.map(|point| point.x)))
        .col_expr(Column::FocalY, Expr::val(point.map(|point| point.y)))
}

/// Marks the image of a file that is being deleted as being removed, and returns its former row. The caller has locked the
/// file's row, so that no other transaction changes the image at the same time.
///
/// `sending` is whether an attempt may be sending the image to the account at the moment: it is then removed from there when
/// the lease of that attempt has ended.
pub async fn mark_removed(
    transaction: &impl ConnectionTrait,
    file: FileId,
    sending: bool,
    now: DateTime<Utc>,
) -> Result<Option<Model>> {
    let current =
        image::of_file_unscoped(file).filter(Column::State.ne(State::Removing)).one(transaction).await?;
    let Some(image) = current else { return Ok(None) };
    let due_at = if sending { image.due_at.unwrap_or(now) } else { now };
    // An image that the account refused at the first attempt is certainly not there. With 0 attempts its removal does not
    // wait for a copy that may appear later.
    let refused = image.state == State::Failed && image.attempts <= 1;
    let attempts = if refused { 0 } else { image.attempts };
    Entity::update_many()
        .col_expr(Column::State, State::Removing.into())
        .col_expr(Column::DueAt, Expr::val(due_at))
        .col_expr(Column::Attempts, Expr::val(attempts))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(image::COLUMN.id.eq(image.id))
        .exec(transaction)
        .await?;
    Ok(Some(image))
}
