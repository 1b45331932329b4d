//! Images of files that had one before: deleted since, or gone into the trash with their file.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};

use crate::app::App;
use crate::content::detect::DetectedContent;
use crate::content::mime::DeclaredType;
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{Model, NewImage};
use crate::entity::{Failure, event};
use crate::error::{Code, Error, Refusal, Result};
use crate::provision::provision;
use crate::rows::{self, stored_bytes};
use crate::storage::spool::Spool;

/// Provisions the image of a file that was restored from the trash, as it was before.
///
/// # Errors
/// What the byte store or the database fails with: the file stays due. A refusal is shown on the file.
pub async fn provision_restored(app: &App, file: &file::Model) -> Result<()> {
    let Some(new) = file.intent.clone().and_then(|intent| intent.image) else { return Ok(()) };
    match insert_again(app, file, &new, new.require_signed_urls.unwrap_or_default()).await {
        Ok(image) => provision(app, image).await,
        Err(Error::Refusal(why)) => give_up_again(app, file, why).await,
        Err(fault) if file.attempts >= app.config.provision_attempts => {
            fault.log();
            give_up_again(app, file, fault.public()).await
        }
        Err(fault) => Err(fault),
    }
}

/// Shows on a file that came back from the trash why its image does not.
async fn give_up_again(app: &App, file: &file::Model, why: Refusal) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let shown = file::Entity::update_many()
        .col_expr(file::Column::ImageFailure, Expr::val(Failure::from(why)))
        .col_expr(file::Column::DueAt, Expr::val(None::<DateTime<Utc>>))
        .filter(file::COLUMN.id.eq(file.id))
        .filter(file::COLUMN.deleted_at.is_null())
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::Column::ImageStatus.eq(ImageStatus::Removed))
        .exec(&transaction)
        .await?;
    if shown.rows_affected == 0 {
        return Ok(transaction.rollback().await?);
    }
    let kind = event::EventKind::ImageProvisionFailed;
    rows::event::append(&transaction, kind, file.workspace_id, file.id, None, now).await?;
    Ok(transaction.commit().await?)
}

/// A new image row for a file whose former image was deleted: what is known of the picture comes from its bytes again.
pub(super) async fn insert_again(
    app: &App,
    file: &file::Model,
    new: &NewImage,
    require_signed_urls: bool,
) -> Result<Model> {
    if file.blob_id.is_none() {
        return Err(not_ready());
    }
    let bytes = stored_bytes::read(app, file).await.map_err(|e| e.at("fileId"))?;
    let spool = Spool::receive(&app.config.data_dir, u64::MAX, bytes).await?;
    let kind = DetectedContent::detect(&spool, DeclaredType::default()).await?;
    kind.check_image(spool.size).map_err(|e| e.at("fileId"))?;
    let Some(picture) = kind.picture else { return Err(not_an_image()) };
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    // The file may have been renamed, deleted or provisioned by somebody else while its bytes were read.
    let claimed = file::Entity::update_many()
        .col_expr(file::Column::ImageStatus, ImageStatus::InProgress.into())
        .col_expr(file::Column::ImageFailure, Expr::val(None::<Failure>))
        .col_expr(file::Column::Intent, Expr::val(None::<file::Intent>))
        .col_expr(file::Column::DueAt, Expr::val(None::<DateTime<Utc>>))
        .col_expr(file::Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(file.id))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::COLUMN.deleted_at.is_null())
        .filter(file::Column::ImageStatus.eq(ImageStatus::Removed))
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = claimed.into_iter().next() else {
        let message = "Somebody else changed this file at this moment; try again.";
        return Err(Error::refuse(Code::Conflict, message).at("fileId"));
    };
    let image =
        rows::image::insert_claimed(app, &transaction, &file, &picture, new, require_signed_urls, now)
            .await?;
    transaction.commit().await?;
    Ok(image)
}

pub(super) fn not_ready() -> Error {
    Error::refuse(Code::NotReady, "The bytes of this file have not arrived yet.").at("fileId")
}

pub(super) fn not_an_image() -> Error {
    Error::refuse(Code::NotAnImage, "This file is of no type that Cloudflare Images takes.").at("fileId")
}
