//! Removes images from the account.

use serde_json::Value;

use sea_orm::EntityTrait;

use crate::app::App;
use crate::entity::image::{self, Entity, Model};
use crate::error::{Error, Result};
use crate::id::ImageId;
use crate::job;
use crate::provision::settings::METADATA_FIELD;
use crate::provision::{claim, run_due, stray};
use cloudflare_images::Error as AccountError;

/// Removes an image from the account whose row was just marked as being removed. If the row is not due yet, because an
/// attempt may still be sending the image, the worker removes it later.
pub async fn remove_marked(app: &App, id: ImageId) {
    let claimed = async {
        let Some(row) = image::by_id_unscoped(id).one(&app.db.read).await? else { return Ok(None) };
        claim::claim_due(app, &row).await
    };
    match claimed.await {
        Ok(Some(claimed)) => {
            let task_app = app.clone();
            job::run_within_answer_time(app, async move { run_due(&task_app, claimed).await }).await;
        }
        Ok(None) => {}
        Err(problem) => problem.log(),
    }
}

/// Deletes an image and all its strays from the account, and then its row. Returns false if the row has to stay for a while,
/// because the account may still carry out a create request whose answer was not awaited: the row is due again after that.
///
/// # Errors
/// A fault with the account's error; the row stays.
pub async fn remove(app: &App, image: &Model) -> Result<bool> {
    let removal_fault = |problem| Error::fault("removing an image from the account", problem);
    if let Some(id) = &image.cf_image_id {
        delete_from_account(app, id, image.id).await.map_err(removal_fault)?;
    }
    // If the answer to a create request was lost, the account has a copy with an unknown id.
    let strays = match image.cf_image_id.is_none() || image.attempts > 1 {
        true => stray::find(app, image.id).await.map_err(removal_fault)?,
        false => Vec::new(),
    };
    for stray in &strays {
        app.cloudflare.delete(&stray.id).await.map_err(removal_fault)?;
    }
    app.crash_point("account-image-deleted").await;
    let copy_may_appear = image.cf_image_id.is_none() && image.attempts > 0 && strays.is_empty();
    let no_copy_after = image.updated_at + app.config.stray_check;
    if copy_may_appear && app.clock.now() < no_copy_after {
        job::reschedule::<Entity>(app, image, Some(no_copy_after)).await?;
        return Ok(false);
    }
    Entity::delete_by_id(image.id).exec(&app.db.write).await?;
    Ok(true)
}

/// Deletes an image of ours from the account; it is no error if the account does not have it. A custom id may belong to
/// another image by now, which is not deleted. Cloudflare's own ids are UUIDs and never used again.
pub async fn delete_from_account(
    app: &App,
    id: &str,
    image: ImageId,
) -> std::result::Result<(), AccountError> {
    if uuid::Uuid::try_parse(id).is_err() {
        let found = app.cloudflare.find(id).await?;
        let owner = found.and_then(|found| found.meta?.remove(METADATA_FIELD));
        if owner.is_some_and(|owner| owner != Value::String(image.to_string())) {
            return Ok(());
        }
    }
    app.cloudflare.delete(id).await.map(drop)
}
