//! Files: finding them, and what the worker does with one that is due. Uploading, changing, trashing and listing are below.

pub mod filter;

pub mod list;

pub mod trash;

pub mod update;

pub mod upload;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Entity, ImageStatus, Model};
use crate::entity::image;
use crate::error::{Error, Result};
pub use crate::file::list::{BY_CREATION, BY_FILENAME, BY_SIZE, BY_UPDATE, FileList, count, list};
use crate::id::FileId;
use crate::ingest::dedup;
use crate::{job, provision};

/// One file, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: FileId) -> Result<Option<Model>> {
    viewer.require(Scope::FilesRead)?;
    Ok(file::visible_to(&viewer.access()).filter(file::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// Those of the given files that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[FileId]) -> Result<Vec<Model>> {
    viewer.require(Scope::FilesRead)?;
    Ok(file::visible_to(&viewer.access())
        .filter(file::COLUMN.id.is_in(ids.iter().copied()))
        .all(&app.db.read)
        .await?)
}

/// Does what a claimed file is due for: removes it, empties it out of the trash, or provisions its image again.
pub async fn run_due(app: &App, file: &Model) -> Result<()> {
    if file.removed_at.is_some() {
        return remove(app, file).await;
    }
    if file.deleted_at.is_some() {
        return trash::purge(app, file).await;
    }
    if file.image_status == ImageStatus::Removed && file.intent.is_some() {
        let provisioned = provision::reprovision::provision_restored(app, file).await;
        if provisioned.is_err() {
            job::retry_later::<Entity>(app, file).await?;
        }
        return provisioned;
    }
    job::reschedule::<Entity>(app, file, None).await
}

/// Removes the image of a deleted file from the account, then its bytes and, when nothing depends on it any more, the row.
/// Each part may be gone already; what cannot be removed now is removed when the row is due again.
async fn remove(app: &App, claimed: &Model) -> Result<()> {
    let now = app.clock.now();
    let Some(file) = file::by_id_unscoped(claimed.id).one(&app.db.read).await? else { return Ok(()) };
    let mut left = false;
    for image in image::of_file_unscoped(file.id).all(&app.db.read).await? {
        // An image that is not due may be on its way into the account, or out of it, at this moment.
        let removed = match image.due_at.is_some_and(|due| due <= now) {
            true => provision::remove::remove(app, &image).await.inspect_err(Error::log).unwrap_or(false),
            false => false,
        };
        left |= !removed;
    }
    app.crash_point("image-removed").await;
    if let Some(blob_id) = file.blob_id
        && let Err(problem) = dedup::release(app, blob_id).await
    {
        problem.log();
        left = true;
    }
    app.crash_point("bytes-removed").await;
    if left {
        return job::retry_later::<Entity>(app, claimed).await;
    }
    Entity::delete_by_id(file.id).exec(&app.db.write).await?;
    Ok(())
}
