//! Out of the account.

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

/// Removes an image that was just marked from the account, unless somebody may still be sending it there: then the worker
/// does, when that is over.
pub async fn remove_marked(app: &App, id: ImageId) {
    let claimed = async {
        let Some(row) = image::by_id_unscoped(id).one(&app.db.read).await? else { return Ok(None) };
        claim::claim_due(app, &row).await
    };
    match claimed.await {
        Ok(Some(image)) => {
            let task_app = app.clone();
            job::run_within_answer_time(app, async move { run_due(&task_app, image).await }).await;
        }
        Ok(None) => {}
        Err(problem) => Error::log(&problem),
    }
}

/// Deletes an image from the account, with all strays of it, and then its row. False when the row has to stay a while,
/// because a create that was given up may yet be carried out; the worker comes back for it.
///
/// # Errors
/// A fault that names what the account did; the row stays.
pub async fn remove(app: &App, image: &Model) -> Result<bool> {
    let unremoved = |problem| Error::fault("removing an image from the account", problem);
    if let Some(id) = &image.cf_image_id {
        delete_from_account(app, id, image.id).await.map_err(unremoved)?;
    }
    // A create whose answer was lost has left its copy under an id we never learned.
    let strays = match image.cf_image_id.is_none() || image.attempts > 1 {
        true => stray::find(app, image.id).await.map_err(unremoved)?,
        false => Vec::new(),
    };
    for stray in &strays {
        app.cloudflare.delete(&stray.id).await.map_err(unremoved)?;
    }
    app.crash_point("removed").await;
    let in_doubt = image.cf_image_id.is_none() && image.attempts > 0 && strays.is_empty();
    let certain = image.updated_at + app.config.stray_check;
    if in_doubt && app.clock.now() < certain {
        job::reschedule::<Entity>(app, image, Some(certain)).await?;
        return Ok(false);
    }
    Entity::delete_by_id(image.id).exec(&app.db.write).await?;
    Ok(true)
}

/// Deletes an image of ours from the account; already gone is fine. An id that a user chose may be another image's by
/// now, which stays: Cloudflare's own ids are used once.
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
