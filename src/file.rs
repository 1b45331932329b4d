//! Files: upload, find, list, rename, delete.

pub mod spool;

pub mod kind;

pub mod exif;

pub mod description;

pub mod update;

pub mod trash;

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};
use uuid::Uuid;

use crate::app::App;
use crate::blob::BlobKey;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, ImageStatus, Model, Status};
use crate::entity::{Texts, event, image as image_entity};
use crate::error::{Code, Error, Result};
use crate::file::kind::Kind;
use crate::file::spool::Spool;
use crate::id::{FileId, UserId, WorkspaceId, uuid_v7};
use crate::image::NewImage;
use crate::page::{self, Key, Keyed, Order, Page, PageArgs, Range};
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

/// Which files are listed, and how.
#[derive(Debug, Clone)]
pub struct List {
    pub workspace_id: Option<WorkspaceId>,
    pub ids: Option<Vec<FileId>>,
    pub page: PageArgs,
    pub order: Order<Column>,
    /// Look up both ends of the page.
    pub both_ends: bool,
}

/// Newest first: the order of every list unless told otherwise.
pub const BY_CREATION: Order<Column> =
    Order { name: "files:CREATED_AT", column: None, numeric: false, descending: true };
/// By name, byte by byte.
pub const BY_FILENAME: Order<Column> =
    Order { name: "files:FILENAME", column: Some(Column::Filename), numeric: false, descending: true };
/// By size in bytes.
pub const BY_SIZE: Order<Column> =
    Order { name: "files:SIZE", column: Some(Column::Size), numeric: true, descending: true };

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

/// A page of files.
pub async fn list(app: &App, viewer: &Viewer, list: List) -> Result<Page<Model>> {
    viewer.require(Scope::FilesRead)?;
    let ranges = ranges(viewer, &list);
    page::page(&app.db.read, &ranges, list.order, list.page.window()?, list.both_ends).await
}

/// How many files a list has, all pages together.
pub async fn count(app: &App, viewer: &Viewer, list: &List) -> Result<i64> {
    viewer.require(Scope::FilesRead)?;
    page::count(&app.db.read, &ranges(viewer, list)).await
}

/// The worker's step for a claimed file, whatever it is due for.
pub async fn repeat(app: &App, file: &Model) -> Result<()> {
    if file.removed_at.is_some() {
        return remove(app, file.id, file.attempts).await;
    }
    if file.deleted_at.is_some() {
        return trash::purge(app, file).await;
    }
    postpone(app, file.id, file.attempts, None).await
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
        return postpone(app, id, attempts, Some(now + worker::backoff(attempts))).await;
    }
    Entity::delete_by_id(id).exec(&app.db.write).await?;
    Ok(())
}

async fn postpone(app: &App, id: FileId, attempts: i32, until: Option<DateTime<Utc>>) -> Result<()> {
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

fn ranges(viewer: &Viewer, list: &List) -> Vec<Range<Entity>> {
    let ranges = file::ranges_visible_to(viewer, list.workspace_id);
    match &list.ids {
        None => ranges,
        Some(ids) => {
            ranges.into_iter().map(|range| range.filter(file::COLUMN.id.is_in(ids.iter().copied()))).collect()
        }
    }
}

impl Keyed<Column> for Model {
    fn id(&self) -> Uuid {
        self.id.0
    }

    fn key(&self, column: Column) -> Key {
        match column {
            Column::Size => Key::Number(self.size),
            _ => Key::Text(self.filename.clone()),
        }
    }
}
