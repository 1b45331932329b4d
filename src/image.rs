//! Images: find, provision, delete; what else is done to them is below.

pub mod step;

pub mod settle;

pub mod delivery;

pub mod settings;

pub mod update;

pub mod rendition;

pub mod photo;

pub mod analysis;

pub mod palette;

pub mod placeholder;

pub mod list;

pub mod filter;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr,
};
use tokio::sync::OnceCell;

use crate::app::App;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, Model, State};
pub use crate::entity::image::{FocalPoint, NewImage};
use crate::entity::workspace::ExifPolicy;
use crate::entity::{Failure, Texts, event, workspace};
use crate::error::{Code, Error, Refusal, Result};
use crate::file::kind::{Kind, Picture};
use crate::file::mime::Declared;
use crate::file::spool::Spool;
use crate::file::{exif, presence};
use crate::id::{FileId, ImageId, WorkspaceId};
pub use crate::image::list::{
    BY_CREATION, BY_FILENAME, BY_HEIGHT, BY_SIZE, BY_TAKEN, BY_UPDATE, BY_WIDTH, List, count, list,
};
use crate::spelling::{as_sent, composed};
use crate::viewer::Viewer;
use crate::workspace as workspaces;
use crate::{event as events, file as files, worker};

/// One image, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: ImageId) -> Result<Option<Model>> {
    viewer.require(Scope::ImagesRead)?;
    Ok(image::visible_to(viewer).filter(image::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// Those of the given images that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[ImageId]) -> Result<Vec<Model>> {
    viewer.require(Scope::ImagesRead)?;
    Ok(image::visible_to(viewer)
        .filter(image::COLUMN.id.is_in(ids.iter().copied()))
        .all(&app.db.read)
        .await?)
}

/// The images bound to the given files, as far as the viewer may see them, in no order.
pub async fn find_by_files(app: &App, viewer: &Viewer, files: &[FileId]) -> Result<Vec<Model>> {
    viewer.require(Scope::ImagesRead)?;
    let of_files = image::COLUMN.file_id.is_in(files.iter().copied());
    Ok(image::visible_to(viewer).filter(of_files).all(&app.db.read).await?)
}

/// The images with these ids of Cloudflare's, as far as the viewer may see them, in no order.
pub async fn find_by_account_ids(app: &App, viewer: &Viewer, ids: &[&str]) -> Result<Vec<Model>> {
    viewer.require(Scope::ImagesRead)?;
    let of_ids = image::COLUMN.cf_image_id.is_in(ids.iter().copied());
    Ok(image::visible_to(viewer).filter(of_ids).all(&app.db.read).await?)
}

/// The image bound to a file, if there is one and the viewer may see it.
pub async fn find_by_file(app: &App, viewer: &Viewer, file: FileId) -> Result<Option<Model>> {
    Ok(find_by_files(app, viewer, &[file]).await?.pop())
}

/// What the workspaces of some images keep of metadata, read in one statement when it first matters.
pub struct ExifPolicies<'a> {
    app: &'a App,
    workspaces: HashSet<WorkspaceId>,
    read: OnceCell<HashMap<WorkspaceId, ExifPolicy>>,
}

impl<'a> ExifPolicies<'a> {
    /// Those of these workspaces.
    pub fn of(app: &'a App, workspaces: impl IntoIterator<Item = WorkspaceId>) -> Self {
        ExifPolicies { app, workspaces: workspaces.into_iter().collect(), read: OnceCell::new() }
    }

    /// That of one of them; the strictest while it cannot be found out.
    pub async fn get(&self, id: WorkspaceId) -> ExifPolicy {
        let read = || async {
            let workspaces = self.workspaces.iter().copied();
            workspace::exif_policies(&self.app.db.read, workspaces).await.map_err(Error::from)
        };
        let policies = self.read.get_or_try_init(read).await.inspect_err(|problem| problem.log()).ok();
        policies.and_then(|policies| policies.get(&id).copied()).unwrap_or(ExifPolicy::StripAll)
    }
}

/// A file whose image was to be provisioned.
#[derive(Debug, Clone)]
pub struct Provisioned {
    pub file: file::Model,
    /// Once it is there.
    pub image: Option<Model>,
    /// Why there will be none.
    pub refusal: Option<Refusal>,
}

/// Provisions, or tries again to provision, the image of a file.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `NOT_READY` while the bytes are not there, `NOT_AN_IMAGE`, `ALREADY_PROVISIONED`,
/// `CUSTOM_ID_TAKEN`, and what Cloudflare Images would refuse.
pub async fn provision(app: &App, viewer: &Viewer, file_id: FileId, new: &NewImage) -> Result<Provisioned> {
    viewer.require(Scope::ImagesWrite)?;
    let file = files::find_editable(app, viewer, file_id).await.map_err(|e| e.at("fileId"))?;
    files::require_standing(&file).map_err(|e| e.at("fileId"))?;
    if !new.provision {
        return Err(Error::invalid(
            "image.provision",
            "To provision an image, leave this out or set it to true.",
        ));
    }
    let workspace = workspaces::find_editable(app, viewer, file.workspace_id).await?;
    let (task_app, new) = (app.clone(), new.clone());
    let private = workspace.private_by_default;
    worker::run_on(async move {
        if let Some(image) = claim(&task_app, &file, &new, private).await? {
            step::provision_in_time(&task_app, image).await;
        }
        Ok(())
    })
    .await?;
    let file = files::find_editable(app, viewer, file_id).await.map_err(|e| e.at("fileId"))?;
    let image = image::visible_to(viewer).filter(image::COLUMN.file_id.eq(file_id)).one(&app.db.read).await?;
    let refusal = match file.image_status {
        ImageStatus::Failed => file.image_failure.as_ref().map(Failure::refusal),
        _ => None,
    };
    Ok(Provisioned { file, image, refusal })
}

/// Claims the image of a file for an attempt, made anew where there is none; `None` if somebody is at it already.
async fn claim(app: &App, file: &file::Model, new: &NewImage, private: bool) -> Result<Option<Model>> {
    match file.image_status {
        ImageStatus::NotApplicable if file.blob_id.is_none() => Err(not_ready()),
        ImageStatus::NotApplicable => Err(not_an_image()),
        ImageStatus::Ready => {
            let message = "This file has an image. Delete it first to provision another one.";
            Err(Error::refuse(Code::AlreadyProvisioned, message).at("fileId"))
        }
        ImageStatus::InProgress => Ok(None),
        ImageStatus::Queued | ImageStatus::Failed => {
            let own = image::of_file_for_step(file.id).one(&app.db.read).await?;
            let kept = own.as_ref().and_then(|image| image.custom_id.clone());
            let wanted = new.custom_id.clone().or(kept);
            settle::require_free_id(app, wanted.as_deref(), own.map(|image| image.id)).await?;
            step::claim_again(app, file.id, new).await
        }
        ImageStatus::Removed => {
            // A file that came back from the trash knows what its image was.
            let kept = file.intent.clone().and_then(|intent| intent.image).unwrap_or_default();
            let new = new.clone().or(kept);
            let signed = new.require_signed_urls.unwrap_or(private);
            settings::check(&new, signed).map_err(|e| e.under("image"))?;
            settle::require_free_id(app, new.custom_id.as_deref(), None).await?;
            insert_again(app, file, &new, signed).await.map(Some)
        }
    }
}

fn not_ready() -> Error {
    Error::refuse(Code::NotReady, "The bytes of this file have not arrived yet.").at("fileId")
}

fn not_an_image() -> Error {
    Error::refuse(Code::NotAnImage, "This file is of no type that Cloudflare Images takes.").at("fileId")
}

/// The step for a file that came back from the trash: provisions its image as it was.
///
/// # Errors
/// What the byte store or the database fails with: the file stays due. A refusal is shown on the file.
pub async fn provision_again(app: &App, file: &file::Model) -> Result<()> {
    let Some(new) = file.intent.clone().and_then(|intent| intent.image) else { return Ok(()) };
    match insert_again(app, file, &new, new.require_signed_urls.unwrap_or_default()).await {
        Ok(image) => step::provision(app, image).await,
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
    let kind = event::Kind::ImageProvisionFailed;
    events::append(&transaction, kind, file.workspace_id, file.id, None, now).await?;
    Ok(transaction.commit().await?)
}

/// Deletes an image and leaves its file. The image is invisible when this returns; the account loses its copy now or by
/// the worker's hand.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`.
pub async fn delete(app: &App, viewer: &Viewer, id: ImageId) -> Result<FileId> {
    viewer.require(Scope::ImagesWrite)?;
    let image = image::visible_to(viewer).filter(image::COLUMN.id.eq(id)).one(&app.db.read).await?;
    let missing = || Error::not_found("image").at("id");
    let image = image.ok_or_else(missing)?;
    viewer.require_editor(image.workspace_id).map_err(|e| e.at("id"))?;
    let task_app = app.clone();
    let (file_id, marked) = worker::run_on(async move { mark(&task_app, image).await }).await?;
    let marked = marked.ok_or_else(missing)?;
    app.step("image-marked").await;
    let task_app = app.clone();
    worker::in_time(app, async move { step::repeat(&task_app, marked).await }).await;
    Ok(file_id)
}

/// Makes an image invisible, to be removed from the account; `None` if somebody else did so first.
async fn mark(app: &App, image: Model) -> Result<(FileId, Option<Model>)> {
    let (id, now) = (image.id, app.clock.now());
    let transaction = app.db.begin().await?;
    show_on_file(&transaction, image.file_id, ImageStatus::Removed, None, now).await?;
    let marked = Entity::update_many()
        .col_expr(Column::State, State::Removing.into())
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(image::COLUMN.id.eq(id))
        .filter(Column::State.eq(State::Ready))
        .exec_with_returning(&transaction)
        .await?;
    let Some(marked) = marked.into_iter().next() else { return Ok((image.file_id, None)) };
    events::append(&transaction, event::Kind::ImageDeleted, image.workspace_id, image.file_id, Some(id), now)
        .await?;
    transaction.commit().await?;
    Ok((image.file_id, Some(marked)))
}

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
    image.exif = image.exif.and_then(|exif| exif::kept(exif, policy));
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
        alt: new.alt.as_deref().map(|alt| composed(alt).into_owned()),
        alt_sent: new.alt.as_deref().and_then(as_sent),
        focal_x: new.focal_point.map(|point| point.x),
        focal_y: new.focal_point.map(|point| point.y),
        creator: new.creator.clone(),
        cf_metadata: new.cf_metadata.clone().map(serde_json::Value::Object),
        custom_id: new.custom_id.clone(),
        thumbhash: None,
        blurhash: None,
        dominant_color: None,
        palette: Texts::default(),
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
        image::of_file_for_step(file).filter(Column::State.ne(State::Removing)).one(transaction).await?;
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

/// A new image row for a file whose former image was deleted: what is known of the picture comes from its bytes again.
async fn insert_again(
    app: &App,
    file: &file::Model,
    new: &NewImage,
    require_signed_urls: bool,
) -> Result<Model> {
    if file.blob_id.is_none() {
        return Err(not_ready());
    }
    let bytes = presence::read(app, file).await.map_err(|e| e.at("fileId"))?;
    let spool = Spool::receive(&app.config.data_dir, u64::MAX, bytes).await?;
    let kind = Kind::of(&spool, Declared::default()).await?;
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
    let image = insert_claimed(app, &transaction, &file, &picture, new, require_signed_urls, now).await?;
    transaction.commit().await?;
    Ok(image)
}
