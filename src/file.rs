//! Files: reading them, and the work on a file that is due. The submodules upload, update, list and trash files.

pub mod filter;

pub mod list;

pub mod trash;

pub mod update;

pub mod upload;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, ImageStatus, Model};
use crate::entity::{columns, image};
use crate::error::{Error, Result};
pub use crate::file::list::{
    BY_CREATION, BY_FILENAME, BY_SIZE, BY_UPDATE, FileList, count, count_by_workspace, list,
    list_by_workspace,
};
use crate::id::FileId;
use crate::ingest::dedup;
use crate::{job, provision};

/// One file, if the viewer may see it.
///
/// # Errors
/// `FORBIDDEN` without the scope `FILES_READ`.
pub async fn find(app: &App, viewer: &Viewer, id: FileId, columns: &[Column]) -> Result<Option<Model>> {
    Ok(find_many(app, viewer, &[id], columns).await?.pop())
}

/// The whole row of a file, without a required scope: an operation returns the file that it wrote even if the token may only write.
pub async fn find_visible(app: &App, viewer: &Viewer, id: FileId) -> Result<Option<Model>> {
    Ok(file::visible_to(&viewer.access()).filter(file::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// The given columns of those of the given files that the viewer may see, in no particular order.
///
/// # Errors
/// `FORBIDDEN` without the scope `FILES_READ`.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[FileId], columns: &[Column]) -> Result<Vec<Model>> {
    viewer.require(Scope::FilesRead)?;
    let of_ids = columns::is_one_of(&app.db.read, Column::Id, ids.iter().map(|id| id.0));
    Ok(columns::fetch(&app.db.read, file::visible_to(&viewer.access()).filter(of_ids), columns).await?)
}

/// The worker's step for a claimed file: finishes its removal, deletes it when its time in the trash is over, or provisions
/// the image of a restored file.
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

/// Removes the image of a deleted file from the account, then the bytes, and finally the row, once nothing else is left.
/// Each part may be gone already. If one cannot be removed now, the row is due again later.
async fn remove(app: &App, claimed: &Model) -> Result<()> {
    let now = app.clock.now();
    let Some(file) = file::by_id_unscoped(claimed.id).one(&app.db.read).await? else { return Ok(()) };
    let mut incomplete = false;
    for image in image::of_file_unscoped(file.id).all(&app.db.read).await? {
        // While an image is not due, another task may be adding it to the account or removing it.
        let removed = match image.due_at.is_some_and(|due| due <= now) {
            true => provision::remove::remove(app, &image).await.inspect_err(Error::log).unwrap_or(false),
            false => false,
        };
        incomplete |= !removed;
    }
    app.crash_point("image-removed").await;
    if let Some(blob_id) = file.blob_id
        && let Err(problem) = dedup::release(app, blob_id).await
    {
        problem.log();
        incomplete = true;
    }
    app.crash_point("bytes-removed").await;
    if incomplete {
        return job::retry_later::<Entity>(app, claimed).await;
    }
    Entity::delete_by_id(file.id).exec(&app.db.write).await?;
    Ok(())
}
