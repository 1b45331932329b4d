//! Files: upload, find, list, rename, delete.

pub mod spool;

pub mod kind;

pub mod exif;

pub mod list;

pub mod filter;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr,
};
use uuid::Uuid;

use crate::app::App;
use crate::blob::BlobKey;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, ImageStatus, Model, Status};
use crate::entity::{Texts, direct_upload, event, image as image_entity};
use crate::error::{Code, Error, Result};
use crate::file::kind::Kind;
pub use crate::file::list::{BY_CREATION, BY_FILENAME, BY_SIZE, BY_UPDATE, List, count, list};
use crate::file::spool::Spool;
use crate::id::{FileId, ImageId, UserId, WorkspaceId, uuid_v7};
use crate::image::NewImage;
use crate::viewer::Viewer;
use crate::{event as events, image, worker, workspace};

/// Longest file name, in characters.
const MAX_FILENAME: usize = 255;

/// A file to be made of received bytes.
#[derive(Clone)]
pub struct NewFile {
    pub workspace_id: WorkspaceId,
    pub spool: Spool,
    /// The name the caller wants; otherwise the last part of `sent_filename` is taken.
    pub filename: Option<String>,
    /// The name the bytes came with.
    pub sent_filename: Option<String>,
    /// The type the bytes came with.
    pub sent_type: Option<String>,
    pub image: NewImage,
}

/// What a deletion took with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    pub file: FileId,
    pub image: Option<ImageId>,
}

/// Stores received bytes as a file, and provisions its image if they are one.
///
/// The file is there when this returns, whatever the account says; how far its image is tells `image_status`.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `EMPTY_FILE`, `FILE_TOO_LARGE`, `MIME_TYPE_MISMATCH`, `CORRUPT_IMAGE`,
/// `IMAGE_TOO_LARGE`, `BAD_USER_INPUT`.
pub async fn upload(app: &App, viewer: &Viewer, new: NewFile) -> Result<Model> {
    viewer.require(Scope::FilesWrite)?;
    let workspace =
        workspace::find_editable(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let signed = new.image.require_signed_urls.unwrap_or(workspace.private_by_default);
    image::settings::check(&new.image, signed).map_err(|e| e.under("image"))?;
    let filename = match &new.filename {
        Some(name) => checked_filename(name).map_err(|e| e.at("filename"))?,
        None => cleaned_filename(new.sent_filename.as_deref().unwrap_or_default()),
    };
    let kind = checked_kind(&new.spool, new.sent_type.as_deref(), new.image.provision)
        .await
        .map_err(|e| e.at("file"))?;
    app.step("spooled").await;
    let blob_id = store(app, &new.spool).await?;
    app.step("bytes-stored").await;
    // If this fails, the commit may have happened all the same; the sweep finds out whether somebody owns the bytes.
    let (file, image) = write_rows(app, viewer.user.id, &new, signed, filename, &kind, blob_id).await?;
    app.step("rows-written").await;
    let Some(image) = image else { return Ok(file) };
    image::step::provision_in_time(app, image).await;
    // As it is now, even if the token may only write.
    Ok(file::visible_to(viewer).filter(file::COLUMN.id.eq(file.id)).one(&app.db.read).await?.unwrap_or(file))
}

/// Checks received bytes against what is accepted and finds out what they are.
///
/// # Errors
/// `EMPTY_FILE`, `MIME_TYPE_MISMATCH`, `CORRUPT_IMAGE`; with `provision` also what Cloudflare Images would refuse.
pub async fn checked_kind(spool: &Spool, sent_type: Option<&str>, provision: bool) -> Result<Kind> {
    if spool.size == 0 {
        return Err(Error::refuse(Code::EmptyFile, "The file has no bytes."));
    }
    let kind = Kind::of(spool).await?;
    let claimed_image =
        sent_type.is_some_and(|sent| sent.trim_start().to_ascii_lowercase().starts_with("image/"));
    if claimed_image && !kind.mime_type.starts_with("image/") {
        let message = format!(
            "The file was sent as {}, but its bytes are {}. Send it under its own type.",
            sent_type.unwrap_or_default(),
            kind.mime_type
        );
        return Err(Error::refuse(Code::MimeTypeMismatch, message));
    }
    if let (Some(picture), true) = (&kind.picture, provision) {
        picture.check(spool.size)?;
    }
    Ok(kind)
}

/// Puts received bytes into the byte store under a key nobody else will use.
pub async fn store(app: &App, spool: &Spool) -> Result<Uuid> {
    let blob_id = uuid_v7(app.clock.now());
    let reader = spool.reader().map_err(|io| Error::fault("reading a spooled upload", io))?;
    app.blobs.put(BlobKey::Original(blob_id), tokio::fs::File::from_std(reader)).await?;
    Ok(blob_id)
}

/// One file, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: FileId) -> Result<Option<Model>> {
    viewer.require(Scope::FilesRead)?;
    Ok(file::visible_to(viewer).filter(file::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// Those of the given files that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[FileId]) -> Result<Vec<Model>> {
    viewer.require(Scope::FilesRead)?;
    Ok(file::visible_to(viewer).filter(file::COLUMN.id.is_in(ids.iter().copied())).all(&app.db.read).await?)
}

/// Renames a file.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn rename(app: &App, viewer: &Viewer, id: FileId, filename: Option<&str>) -> Result<Model> {
    viewer.require(Scope::FilesWrite)?;
    let file = find_editable(app, viewer, id).await?;
    let Some(filename) = filename else { return Ok(file) };
    let filename = checked_filename(filename).map_err(|e| e.at("filename"))?;
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let renamed = Entity::update_many()
        .col_expr(Column::Filename, Expr::val(filename.as_str()))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = renamed.into_iter().next() else { return Err(Error::not_found("file")) };
    image_entity::Entity::update_many()
        .col_expr(image_entity::Column::Filename, Expr::val(filename))
        .col_expr(image_entity::Column::UpdatedAt, Expr::val(now))
        .filter(image_entity::COLUMN.file_id.eq(id))
        .exec(&transaction)
        .await?;
    events::append(&transaction, event::Kind::FileUpdated, file.workspace_id, id, None, now).await?;
    transaction.commit().await?;
    Ok(file)
}

/// Deletes a file, its image and its bytes. It is invisible when this returns; what could not be removed from the
/// account or the byte store by then, the worker removes.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`.
pub async fn delete(app: &App, viewer: &Viewer, id: FileId) -> Result<Deleted> {
    viewer.require(Scope::FilesWrite)?;
    find_editable(app, viewer, id).await?;
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let marked = Entity::update_many()
        .col_expr(Column::RemovedAt, Expr::val(now))
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = marked.into_iter().next() else { return Err(Error::not_found("file")) };
    let sending = file.image_status == ImageStatus::InProgress;
    let image = image::mark_removed(&transaction, id, sending, now).await?;
    abandon_uploads(&transaction, id, now).await?;
    let shown =
        image.as_ref().filter(|image| image.state == image_entity::State::Ready).map(|image| image.id);
    if shown.is_some() {
        events::append(&transaction, event::Kind::ImageDeleted, file.workspace_id, id, shown, now).await?;
    }
    events::append(&transaction, event::Kind::FilePurged, file.workspace_id, id, shown, now).await?;
    transaction.commit().await?;
    app.step("file-marked").await;
    let (task_app, attempts) = (app.clone(), file.attempts);
    worker::in_time(app, async move { remove(&task_app, id, attempts).await }).await;
    Ok(Deleted { file: id, image: shown })
}

/// The worker's step for a deleted file: removes its image from the account, its bytes, and, when nothing is left that
/// hangs on it, the row. Each part may be gone already.
pub async fn remove(app: &App, id: FileId, attempts: i32) -> Result<()> {
    let now = app.clock.now();
    let Some(file) = file::for_step(id).one(&app.db.read).await? else { return Ok(()) };
    let mut left = false;
    for image in image_entity::of_file_for_step(id).all(&app.db.read).await? {
        // Not due: somebody may be sending it to the account, or removing it, at this moment.
        let removed = match image.due_at.is_some_and(|due| due <= now) {
            true => image::step::remove(app, &image).await.inspect_err(Error::log).unwrap_or(false),
            false => false,
        };
        left |= !removed;
    }
    app.step("image-removed").await;
    if let Some(blob_id) = file.blob_id
        && let Err(problem) = app.blobs.delete(BlobKey::Original(blob_id)).await
    {
        Error::from(problem).log();
        left = true;
    }
    app.step("bytes-removed").await;
    if left {
        return postpone(app, id, attempts, now + worker::backoff(attempts)).await;
    }
    Entity::delete_by_id(id).exec(&app.db.write).await?;
    Ok(())
}

async fn postpone(app: &App, id: FileId, attempts: i32, until: DateTime<Utc>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(until))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.attempts.eq(attempts))
        .exec(&app.db.write)
        .await?;
    Ok(())
}

/// A file the viewer may change.
pub async fn find_editable(app: &App, viewer: &Viewer, id: FileId) -> Result<Model> {
    let found = file::visible_to(viewer).filter(file::COLUMN.id.eq(id)).one(&app.db.read).await?;
    let Some(file) = found else { return Err(Error::not_found("file")) };
    viewer.require_editor(file.workspace_id)?;
    Ok(file)
}

/// Demands that a file is not in the trash.
///
/// # Errors
/// `CONFLICT`.
pub fn require_standing(file: &Model) -> Result<()> {
    if file.deleted_at.is_none() {
        return Ok(());
    }
    Err(Error::refuse(Code::Conflict, "This file is in the trash; restore it first."))
}

/// A name as the caller asked for it.
///
/// # Errors
/// `BAD_USER_INPUT` for names that are empty, too long, or have slashes or control characters.
pub fn checked_filename(name: &str) -> Result<String> {
    let length = name.chars().count();
    if name.trim().is_empty()
        || length > MAX_FILENAME
        || name.contains(['/', '\\'])
        || name.chars().any(char::is_control)
    {
        let message =
            format!("A file name has 1 to {MAX_FILENAME} characters, no slash and no control character.");
        return Err(Error::invalid("filename", message));
    }
    Ok(name.to_owned())
}

/// A name as a client sent it along, made presentable: its last path component without control characters.
pub fn cleaned_filename(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).take(MAX_FILENAME).collect();
    match clean.trim() {
        "" | "." | ".." => "upload".to_owned(),
        name => name.to_owned(),
    }
}

async fn write_rows(
    app: &App,
    user: UserId,
    new: &NewFile,
    signed: bool,
    filename: String,
    kind: &Kind,
    blob_id: Uuid,
) -> Result<(Model, Option<image_entity::Model>)> {
    let now = app.clock.now();
    let picture = kind.picture.as_ref();
    let image_status = match (picture, new.image.provision) {
        (None, _) => ImageStatus::NotApplicable,
        (Some(_), true) => ImageStatus::InProgress,
        // As if it had been deleted: `provisionImage` makes one.
        (Some(_), false) => ImageStatus::Removed,
    };
    let file = Model {
        id: FileId::new(now),
        workspace_id: new.workspace_id,
        created_by: Some(user),
        filename,
        status: Status::Ready,
        mime_type: Some(kind.mime_type.clone()),
        size: i64::try_from(new.spool.size).unwrap_or(i64::MAX),
        sha256: Some(new.spool.sha256.to_vec()),
        blob_id: Some(blob_id),
        failure: None,
        image_status,
        image_failure: None,
        tags: Texts::default(),
        metadata: None,
        source_url: None,
        intent: None,
        deleted_at: None,
        removed_at: None,
        due_at: None,
        attempts: 0,
        created_at: now,
        updated_at: now,
    };
    let transaction = app.db.begin().await?;
    let file = insert(&transaction, file).await?;
    events::append(&transaction, event::Kind::FileCreated, file.workspace_id, file.id, None, now).await?;
    events::append(&transaction, event::Kind::FileReady, file.workspace_id, file.id, None, now).await?;
    let image = match picture {
        Some(picture) if new.image.provision => {
            Some(image::insert_claimed(app, &transaction, &file, picture, &new.image, signed, now).await?)
        }
        _ => None,
    };
    transaction.commit().await?;
    Ok((file, image))
}

/// Inserts a file row.
pub async fn insert(transaction: &impl ConnectionTrait, file: Model) -> Result<Model> {
    let row: file::ActiveModel = file.into();
    Ok(row.reset_all().insert(transaction).await?)
}

/// Gives up the open direct uploads of a file; the worker removes their drafts from the account.
async fn abandon_uploads(transaction: &impl ConnectionTrait, file: FileId, now: DateTime<Utc>) -> Result<()> {
    direct_upload::Entity::update_many()
        .col_expr(direct_upload::Column::Status, direct_upload::Status::Cancelled.into())
        .col_expr(direct_upload::Column::UploadUrl, Expr::val(None::<String>))
        .col_expr(direct_upload::Column::DueAt, Expr::val(now))
        .col_expr(direct_upload::Column::UpdatedAt, Expr::val(now))
        .filter(direct_upload::COLUMN.file_id.eq(file))
        .filter(direct_upload::Column::Status.eq(direct_upload::Status::Open))
        .exec(transaction)
        .await?;
    Ok(())
}
