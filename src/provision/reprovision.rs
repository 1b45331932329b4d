//! Provisions the image of a file whose former image was deleted, by itself or together with the file in the trash.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, QueryFilter, sea_query::Expr};

use crate::app::App;
use crate::content::detect::{DetectedContent, Picture};
use crate::content::mime::DeclaredType;
use crate::entity::event::EventKind;
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::NewImage;
use crate::error::{Code, Error, Refusal, Result};
use crate::provision::claim::Claimed;
use crate::provision::provision;
use crate::rows::{self, stored_bytes};
use crate::storage::spool::Spool;

/// Provisions the image of a file that was restored from the trash, with the settings it had before.
///
/// # Errors
/// A fault of the byte store or the database, unless it was the last attempt: the file stays due. A refusal is recorded on
/// the file.
pub async fn provision_restored(app: &App, file: &file::Model) -> Result<()> {
    let Some(new) = file.intent.clone().and_then(|intent| intent.image) else { return Ok(()) };
    match insert_image(app, file, &new, new.require_signed_urls.unwrap_or_default()).await {
        Ok(claimed) => provision(app, claimed).await.map(drop),
        Err(Error::Refusal(reason)) => record_failure(app, file, reason).await,
        Err(fault) if file.attempts >= app.config.provision_attempts => {
            fault.log();
            record_failure(app, file, fault.public()).await
        }
        Err(fault) => Err(fault),
    }
}

/// Records on a restored file why its image could not be provisioned again. The file is not due any more.
async fn record_failure(app: &App, file: &file::Model, reason: Refusal) -> Result<()> {
    let transaction = app.db.begin().await?;
    let updated = rows::image::set_status_on_file(file.id, ImageStatus::Removed, Some(reason.into()))
        .col_expr(file::Column::DueAt, Expr::val(None::<DateTime<Utc>>))
        .filter(file::COLUMN.deleted_at.is_null())
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::Column::ImageStatus.eq(ImageStatus::Removed))
        .exec(&transaction)
        .await?;
    if updated.rows_affected == 0 {
        return Ok(transaction.rollback().await?);
    }
    let kind = EventKind::ImageProvisionFailed;
    rows::event::append_for_file(&transaction, kind, file, app.clock.now()).await?;
    Ok(transaction.commit().await?)
}

/// Inserts an image row, claimed by the caller, for a file whose former image was deleted. Format, size and EXIF are read
/// from the stored bytes.
///
/// # Errors
/// `NOT_READY`, `NOT_AN_IMAGE`, what Cloudflare Images would refuse, `BYTES_MISSING`, and `CONFLICT` if the file was changed
/// by another request, each at `fileId`.
pub(super) async fn insert_image(
    app: &App,
    file: &file::Model,
    new: &NewImage,
    require_signed_urls: bool,
) -> Result<Claimed> {
    let picture = read_picture(app, file).await?;
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    // The file may have been renamed, deleted or provisioned by another request while its bytes were read.
    let updated = rows::image::set_status_on_file(file.id, ImageStatus::InProgress, None)
        .col_expr(file::Column::Intent, Expr::val(None::<file::Intent>))
        .col_expr(file::Column::DueAt, Expr::val(None::<DateTime<Utc>>))
        .col_expr(file::Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::COLUMN.deleted_at.is_null())
        .filter(file::Column::ImageStatus.eq(ImageStatus::Removed))
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = updated.into_iter().next() else {
        let message = "This file was changed by another request at the same time; try again.";
        return Err(Error::refuse(Code::Conflict, message).at("fileId"));
    };
    let image =
        rows::image::insert_claimed(app, &transaction, &file, &picture, new, require_signed_urls, now)
            .await?;
    transaction.commit().await?;
    Ok(Claimed { image, file: Some(file) })
}

/// Reads the properties of a picture from the stored bytes of its file.
async fn read_picture(app: &App, file: &file::Model) -> Result<Picture> {
    if file.blob_id.is_none() {
        return Err(not_ready());
    }
    let bytes = stored_bytes::read(app, file).await.map_err(|e| e.at("fileId"))?;
    let spool = Spool::receive(&app.config.data_dir, u64::MAX, bytes).await?;
    let kind = DetectedContent::detect(&spool, DeclaredType::default()).await?;
    kind.check_image(spool.size).map_err(|e| e.at("fileId"))?;
    kind.picture.ok_or_else(not_an_image)
}

pub(super) fn not_ready() -> Error {
    Error::refuse(Code::NotReady, "The bytes of this file have not been received yet.").at("fileId")
}

pub(super) fn not_an_image() -> Error {
    Error::refuse(Code::NotAnImage, "Cloudflare Images does not accept files of this type.").at("fileId")
}
