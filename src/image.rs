//! Images: reading, provisioning and deleting them. The submodules list, filter, update, render and analyse images.

pub mod update;

pub mod rendition;

pub mod analysis;

pub mod list;

pub mod filter;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, JoinType, QueryFilter, QueryTrait, sea_query::Expr,
};

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::editable;
use crate::entity::api_token::Scope;
use crate::entity::event::EventKind;
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, Model, State};
pub use crate::entity::image::{FocalPoint, NewImage};
use crate::entity::{Failure, columns};
use crate::error::{Error, Refusal, Result};
use crate::id::{FileId, ImageId};
pub use crate::image::list::{
    BY_CREATION, BY_FILENAME, BY_HEIGHT, BY_SIZE, BY_TAKEN, BY_UPDATE, BY_WIDTH, ImageList, count,
    count_by_workspace, list, list_by_workspace, list_with_files,
};
use crate::job;
use crate::provision;
use crate::provision::claim::{self, Claimed};
use crate::rows;

/// The given columns of an image, if the viewer may see it.
///
/// # Errors
/// `FORBIDDEN` without the scope `IMAGES_READ`.
pub async fn find(app: &App, viewer: &Viewer, id: ImageId, columns: &[Column]) -> Result<Option<Model>> {
    Ok(find_many(app, viewer, &[id], columns).await?.pop())
}

/// The given columns of those of the given images that the viewer may see, in no particular order.
///
/// # Errors
/// `FORBIDDEN` without the scope `IMAGES_READ`.
pub async fn find_many(
    app: &App,
    viewer: &Viewer,
    ids: &[ImageId],
    columns: &[Column],
) -> Result<Vec<Model>> {
    viewer.require(Scope::ImagesRead)?;
    let of_ids = columns::is_one_of(&app.db.read, Column::Id, ids.iter().map(|id| id.0));
    Ok(columns::fetch(&app.db.read, image::visible_to(&viewer.access()).filter(of_ids), columns).await?)
}

/// An image with its file, in one statement, each with the given columns. Without the file if the viewer may not see it.
///
/// # Errors
/// `FORBIDDEN` without the scopes `IMAGES_READ` and `FILES_READ`.
pub async fn find_with_file(
    app: &App,
    viewer: &Viewer,
    id: ImageId,
    columns: &[Column],
    file_columns: &[file::Column],
) -> Result<Option<(Model, Option<file::Model>)>> {
    viewer.require(Scope::ImagesRead)?;
    viewer.require(Scope::FilesRead)?;
    // The key comes first: it tells whether there is a file.
    let file_columns = columns::after(file::Column::Id, file_columns);
    let visible = image::visible_to(&viewer.access()).filter(image::COLUMN.id.eq(id));
    let mut query = columns::only(visible, columns).into_query();
    let of_image = Expr::col((file::Entity, file::Column::Id)).equals((Entity, Column::FileId));
    query.exprs(file_columns.iter().map(|column| Expr::col((file::Entity, *column)))).join(
        JoinType::LeftJoin,
        file::Entity,
        file::joined(&viewer.access()).add(of_image),
    );
    let Some(row) = app.db.read.query_one(&query).await? else { return Ok(None) };
    let file: Option<FileId> = row.try_get_by_index(columns.len())?;
    let file = file.map(|_| columns::decode(&row, &file_columns, columns.len())).transpose()?;
    Ok(Some((columns::decode(&row, columns, 0)?, file)))
}

/// The given columns of the images of the given files, as far as the viewer may see them, in no particular order.
///
/// # Errors
/// `FORBIDDEN` without the scope `IMAGES_READ`.
pub async fn find_by_files(
    app: &App,
    viewer: &Viewer,
    files: &[FileId],
    columns: &[Column],
) -> Result<Vec<Model>> {
    viewer.require(Scope::ImagesRead)?;
    let of_files = columns::is_one_of(&app.db.read, Column::FileId, files.iter().map(|id| id.0));
    Ok(columns::fetch(&app.db.read, image::visible_to(&viewer.access()).filter(of_files), columns).await?)
}

/// The images with these Cloudflare ids, as far as the viewer may see them, in no particular order.
pub async fn find_by_account_ids(app: &App, viewer: &Viewer, ids: &[&str]) -> Result<Vec<Model>> {
    viewer.require(Scope::ImagesRead)?;
    let of_ids = image::COLUMN.cf_image_id.is_in(ids.iter().copied());
    Ok(image::visible_to(&viewer.access()).filter(of_ids).all(&app.db.read).await?)
}

/// The result of [`provision()`].
#[derive(Debug, Clone)]
pub struct Provisioned {
    pub file: file::Model,
    /// Once it is provisioned.
    pub image: Option<Model>,
    /// Why provisioning has failed.
    pub refusal: Option<Refusal>,
}

/// Provisions the image of a file, also after a failure.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `NOT_READY` while the bytes have not arrived, `NOT_AN_IMAGE`, `ALREADY_PROVISIONED`,
/// `CUSTOM_ID_TAKEN`, and the code of any check that Cloudflare Images would fail.
pub async fn provision(app: &App, viewer: &Viewer, file_id: FileId, new: &NewImage) -> Result<Provisioned> {
    viewer.require(Scope::ImagesWrite)?;
    let file = editable::find_file(app, viewer, file_id).await.map_err(|e| e.at("fileId"))?;
    rows::file::require_not_trashed(&file).map_err(|e| e.at("fileId"))?;
    if !new.provision {
        return Err(Error::invalid(
            "image.provision",
            "To provision an image, omit this field or set it to true.",
        ));
    }
    let workspace = editable::find_workspace(app, viewer, file.workspace_id).await?;
    let (task_app, new) = (app.clone(), new.clone());
    let private = workspace.private_by_default;
    job::run_to_end(async move {
        if let Some(claimed) = claim::claim_for_attempt(&task_app, &file, &new, private).await? {
            provision::provision_within_answer_time(&task_app, claimed).await;
        }
        Ok(())
    })
    .await?;
    let file = editable::find_file(app, viewer, file_id).await.map_err(|e| e.at("fileId"))?;
    let image = image::visible_to(&viewer.access())
        .filter(image::COLUMN.file_id.eq(file_id))
        .one(&app.db.read)
        .await?;
    let refusal = match file.image_status {
        ImageStatus::Failed => file.image_failure.as_ref().map(Failure::refusal),
        _ => None,
    };
    Ok(Provisioned { file, image, refusal })
}

/// Deletes an image and keeps its file. When this returns, the image is hidden; its copy in the account is removed now or
/// later by the worker.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`.
pub async fn delete(app: &App, viewer: &Viewer, id: ImageId) -> Result<FileId> {
    viewer.require(Scope::ImagesWrite)?;
    let image = editable::find_image(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let task_app = app.clone();
    let (file_id, marked) = job::run_to_end(async move { mark_removing(&task_app, image).await }).await?;
    let image = marked.ok_or_else(|| Error::not_found("image").at("id"))?;
    app.crash_point("image-marked").await;
    let (task_app, claimed) = (app.clone(), Claimed { image, file: None });
    job::run_within_answer_time(app, async move { provision::run_due(&task_app, claimed).await }).await;
    Ok(file_id)
}

/// Sets an image to `REMOVING`, which hides it; `None` if another request has done so before.
async fn mark_removing(app: &App, image: Model) -> Result<(FileId, Option<Model>)> {
    let (id, now) = (image.id, app.clock.now());
    let transaction = app.db.begin().await?;
    rows::image::show_on_file(&transaction, image.file_id, ImageStatus::Removed, None, now).await?;
    let marked = Entity::update_many()
        .col_expr(Column::State, State::Removing.into())
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(image::COLUMN.id.eq(id))
        .filter(State::Ready.condition())
        .exec_with_returning(&transaction)
        .await?;
    let Some(marked) = marked.into_iter().next() else { return Ok((image.file_id, None)) };
    rows::event::append_for_image(&transaction, EventKind::ImageDeleted, &image, now).await?;
    transaction.commit().await?;
    Ok((image.file_id, Some(marked)))
}
