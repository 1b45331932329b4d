//! Rows of images, and the copy of their state on the file.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};

use crate::app::App;
use crate::content::detect::Picture;
use crate::content::{exif, photo};
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, Model, NewImage, State};
use crate::entity::{Failure, StringList, workspace};
use crate::error::Result;
use crate::id::{FileId, ImageId};
use crate::normalization::{original_unless_nfc, to_nfc};

/// Inserts the row of an image that is about to be provisioned by whoever inserts it.
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
    insert(transaction, Model { due_at: Some(app.lease(now)), ..row }).await
}

/// Inserts an image row, with as much of its EXIF as the workspace's policy keeps: every way in leads through here.
pub async fn insert(transaction: &impl ConnectionTrait, mut image: Model) -> Result<Model> {
    let policy = workspace::exif_policy(transaction, image.workspace_id).await?;
    image.exif = image.exif.and_then(|exif| exif::apply_policy(exif, policy));
    image.taken_at = photo::taken_at(image.exif.as_ref());
    let row: image::ActiveModel = image.into();
    Ok(row.reset_all().insert(transaction).await?)
}

/// The row of a new image of this file, to be provisioned by a first attempt.
pub fn row(
    id: ImageId,
    file: &file::Model,
    picture: &Picture,
    new: &NewImage,
    require_signed_urls: bool,
    now: DateTime<Utc>,
) -> Model {
    let pixels = |side: u32| i32::try_from(side).ok();
    Model {
        id,
        workspace_id: file.workspace_id,
        file_id: file.id,
        filename: file.filename.clone(),
        size: file.size,
        mime_type: file.mime_type.clone().unwrap_or_default(),
        format: picture.format,
        width: picture.size.and_then(|(width, _)| pixels(width)),
        height: picture.size.and_then(|(_, height)| pixels(height)),
        animated: picture.frames > 1,
        exif: picture.exif.clone(),
        has_alpha: None,
        taken_at: None,
        tags: file.tags.clone(),
        alt: new.alt.as_deref().map(|alt| to_nfc(alt).into_owned()),
        alt_sent: new.alt.as_deref().and_then(original_unless_nfc),
        focal_x: new.focal_point.map(|point| point.x),
        focal_y: new.focal_point.map(|point| point.y),
        creator: new.creator.clone(),
        cf_metadata: new.cf_metadata.clone().map(serde_json::Value::Object),
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

/// Writes on the file how far its image is. Before the image's own row is written: whoever writes both locks the file
/// first, so that nobody waits for somebody who waits for them.
pub async fn show_on_file(
    transaction: &impl ConnectionTrait,
    file: FileId,
    status: ImageStatus,
    failure: Option<Failure>,
    now: DateTime<Utc>,
) -> Result<()> {
    file::Entity::update_many()
        .col_expr(file::Column::ImageStatus, status.into())
        .col_expr(file::Column::ImageFailure, Expr::val(failure))
        .col_expr(file::Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(file))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Marks the image of a file that is being deleted; answers the row as it was. The caller has locked the file's row, as
/// everybody does who writes both, so nobody settles the image in between.
pub async fn mark_removed(
    transaction: &impl ConnectionTrait,
    file: FileId,
    sending: bool,
    now: DateTime<Utc>,
) -> Result<Option<Model>> {
    let standing =
        image::of_file_unscoped(file).filter(Column::State.ne(State::Removing)).one(transaction).await?;
    let Some(image) = standing else { return Ok(None) };
    // Somebody may be sending it to the account at this moment: nobody looks for it there before that is over.
    let due = if sending { image.due_at.unwrap_or(now) } else { now };
    // What was refused at once is certainly not in the account.
    let refused = image.state == State::Failed && image.attempts <= 1;
    let attempts = if refused { 0 } else { image.attempts };
    Entity::update_many()
        .col_expr(Column::State, State::Removing.into())
        .col_expr(Column::DueAt, Expr::val(due))
        .col_expr(Column::Attempts, Expr::val(attempts))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(image::COLUMN.id.eq(image.id))
        .exec(transaction)
        .await?;
    Ok(Some(image))
}
