//! Direct uploads: the client's bytes go straight to Cloudflare, without a token of ours.
//!
//! Create makes the rows, then the account's draft, then writes down where the bytes go. Complete asks the account
//! whether they arrived, copies them here, and settles file, image and upload in one transaction. Both ends may be cut
//! off anywhere: a draft that is never filled expires by itself, and what was sent but never reported is completed by
//! the worker when the upload runs out.

pub mod progress;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};

use crate::app::App;
use crate::blob::BlobKey;
use crate::cloudflare::client::{NewDirectUpload as Draft, NewImage};
use crate::cloudflare::{Error as AccountError, signing, wire};
use crate::entity::api_token::Scope;
use crate::entity::direct_upload::{self, Column, Entity, Model, Status, Transport};
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self as image_entity, State};
use crate::entity::{Failure, Texts, event};
use crate::error::{Code, Error, Refusal, Result};
use crate::file::kind::{IMAGE_MIME_TYPES, Kind, Picture};
use crate::file::spool::Spool;
use crate::id::{DirectUploadId, FileId, ImageId, WorkspaceId};
use crate::image::step;
use crate::viewer::Viewer;
use crate::{event as events, file as files, image as images, worker, workspace};

/// Shortest and longest life of an upload URL, in seconds, as Cloudflare has them.
pub const EXPIRES_IN: std::ops::RangeInclusive<i64> = 120..=21_600;
/// After its end an upload is looked at once more, for bytes that were on their way.
const GRACE: TimeDelta = TimeDelta::minutes(1);

/// A direct upload to be made.
#[derive(Debug, Clone)]
pub struct NewDirectUpload {
    pub workspace_id: WorkspaceId,
    pub filename: String,
    /// Claimed type; the bytes are looked at when they are here.
    pub mime_type: String,
    /// Claimed size, so that a limit is known before bytes are sent.
    pub size: Option<u64>,
    /// Seconds the upload URL stays valid.
    pub expires_in: i64,
    pub image: images::NewImage,
}

/// Makes a one-time upload URL, and the file it will fill.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `UNSUPPORTED_MIME_TYPE`, `FILE_TOO_LARGE`; `UPSTREAM_ERROR` and
/// `UPSTREAM_RATE_LIMITED` when the account gives no URL, and then nothing is left.
pub async fn create(app: &App, viewer: &Viewer, new: NewDirectUpload) -> Result<(Model, file::Model)> {
    require_any(viewer, &[Scope::UploadsCreate, Scope::FilesWrite])?;
    let workspace =
        workspace::find_editable(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    check(&new)?;
    let signed = new.image.require_signed_urls.unwrap_or(workspace.private_by_default);
    images::settings::check(&new.image, signed).map_err(|e| e.under("image"))?;
    let (upload, file) = insert_rows(app, viewer, &new, signed).await?;
    app.step("upload-inserted").await;
    let draft = Draft {
        image: NewImage {
            id: new.image.custom_id.as_deref(),
            metadata: Some(&step::metadata(upload.image_id, new.image.cf_metadata.as_ref())),
            require_signed_urls: signed,
            creator: new.image.creator.as_deref(),
        },
        expiry: Some(upload.expires_at),
    };
    let made = match app.cloudflare.direct_upload(&draft).await {
        Ok(made) => made,
        Err(problem) => {
            // A draft whose answer was lost is never filled: the account forgets it by itself.
            discard(app, &upload).await?;
            return Err(Error::Refusal(step::refusal(&problem)));
        }
    };
    app.step("draft-made").await;
    let opened = Entity::update_many()
        .col_expr(Column::CfImageId, Expr::val(made.id.as_str()))
        .col_expr(Column::UploadUrl, Expr::val(made.upload_url))
        .col_expr(Column::UpdatedAt, Expr::val(app.clock.now()))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::Status.eq(Status::Open))
        .exec_with_returning(&app.db.write)
        .await?;
    match opened.into_iter().next() {
        Some(upload) => Ok((upload, file)),
        None => {
            // Given up while the account was answering. What is left of the draft expires.
            let _ = app.cloudflare.delete(&made.id).await;
            Err(Error::refuse(
                Code::Conflict,
                "Somebody else deleted the file of this upload at this moment.",
            ))
        }
    }
}

/// One direct upload, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Option<Model>> {
    require_any(viewer, &[Scope::UploadsCreate, Scope::FilesWrite, Scope::FilesRead])?;
    Ok(direct_upload::visible_to(viewer).filter(direct_upload::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// Those of the given direct uploads that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[DirectUploadId]) -> Result<Vec<Model>> {
    require_any(viewer, &[Scope::UploadsCreate, Scope::FilesWrite, Scope::FilesRead])?;
    let of_ids = direct_upload::COLUMN.id.is_in(ids.iter().copied());
    Ok(direct_upload::visible_to(viewer).filter(of_ids).all(&app.db.read).await?)
}

/// Where the bytes go, for those who may send them: whoever knows the URL can.
pub fn upload_url<'a>(viewer: &Viewer, upload: &'a Model) -> Option<&'a str> {
    require_any(viewer, &[Scope::UploadsCreate, Scope::FilesWrite]).ok()?;
    viewer.require_editor(upload.workspace_id).ok()?;
    upload.upload_url.as_deref()
}

/// Checks that the bytes arrived, reads them, and settles file and image. Repeating it changes nothing.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `UPLOAD_INCOMPLETE` while there are no bytes, `UPLOAD_EXPIRED`, `CONFLICT` for a cancelled
/// one, what [`files::checked_kind`] refuses, and `UPSTREAM_ERROR` while the account does not answer.
pub async fn complete(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Model> {
    let upload = find_changeable(app, viewer, id).await?;
    if upload.status == Status::Open {
        settle(app, &upload).await?;
    }
    // Somebody else may have ended it in the meantime.
    let upload = find(app, viewer, id).await?.ok_or_else(|| Error::not_found("direct upload"))?;
    match upload.status {
        Status::Completed => Ok(upload),
        Status::Failed => {
            let failure = upload.failure.as_ref().map(Failure::refusal);
            Err(failure.map_or_else(|| Error::refuse(Code::Conflict, "This upload failed."), Error::Refusal))
        }
        Status::Expired => Err(expired()),
        Status::Cancelled => Err(Error::refuse(Code::Conflict, "This upload was cancelled.")),
        Status::Open => {
            Err(Error::refuse(Code::Conflict, "Somebody else is completing this upload; try again."))
        }
    }
}

/// Gives up an upload and its half-made file. Answers the file that is gone; `None` if it was given up before.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `CONFLICT` for a completed one.
pub async fn cancel(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<(Model, Option<FileId>)> {
    let upload = find_changeable(app, viewer, id).await?;
    if matches!(upload.status, Status::Completed) {
        return Err(Error::refuse(Code::Conflict, "This upload is completed; delete its file instead."));
    }
    let gone = give_up(app, &upload, Status::Cancelled).await?;
    let upload = find(app, viewer, id).await?.ok_or_else(|| Error::not_found("direct upload"))?;
    Ok((upload, gone))
}

/// The worker's step for an upload that is due: completes what was sent and never reported, ends what was never sent,
/// and removes from the account what an ended upload left there.
pub async fn expire(app: &App, upload: Model) -> Result<()> {
    if upload.status != Status::Open {
        return remove_draft(app, &upload).await;
    }
    match settle(app, &upload).await {
        Ok(()) => Ok(()),
        Err(Error::Refusal(why)) if matches!(why.code, Code::UpstreamError | Code::UpstreamRateLimited) => {
            put_off(app, &upload, Some(app.clock.now() + worker::backoff(upload.attempts))).await
        }
        Err(Error::Refusal(why)) if matches!(why.code, Code::UploadIncomplete | Code::UploadExpired) => {
            give_up(app, &upload, Status::Expired).await.map(drop)
        }
        // Refused bytes have ended the upload already.
        Err(Error::Refusal(_)) => Ok(()),
        Err(problem) => Err(problem),
    }
}

fn check(new: &NewDirectUpload) -> Result<()> {
    files::checked_filename(&new.filename).map_err(|e| e.at("filename"))?;
    if !IMAGE_MIME_TYPES.contains(&new.mime_type.to_ascii_lowercase().as_str()) {
        let message = format!("A direct upload takes {}.", IMAGE_MIME_TYPES.join(", "));
        return Err(Error::refuse(Code::UnsupportedMimeType, message).at("mimeType"));
    }
    if new.size.is_some_and(|size| size > wire::MAX_IMAGE_BYTES) {
        return Err(files::spool::too_large(wire::MAX_IMAGE_BYTES).at("size"));
    }
    if new.size == Some(0) {
        return Err(Error::refuse(Code::EmptyFile, "The file has no bytes.").at("size"));
    }
    if !EXPIRES_IN.contains(&new.expires_in) {
        let message =
            format!("An upload URL stays valid for {} to {} seconds.", EXPIRES_IN.start(), EXPIRES_IN.end());
        return Err(Error::invalid("expiresIn", message));
    }
    Ok(())
}

async fn insert_rows(
    app: &App,
    viewer: &Viewer,
    new: &NewDirectUpload,
    signed: bool,
) -> Result<(Model, file::Model)> {
    let now = app.clock.now();
    let expires_at = now + TimeDelta::seconds(new.expires_in);
    let file = file::Model {
        id: FileId::new(now),
        workspace_id: new.workspace_id,
        created_by: Some(viewer.user.id),
        filename: new.filename.clone(),
        status: file::Status::AwaitingUpload,
        mime_type: None,
        size: 0,
        sha256: None,
        blob_id: None,
        failure: None,
        image_status: ImageStatus::NotApplicable,
        image_failure: None,
        tags: Texts::default(),
        metadata: None,
        source_url: None,
        intent: Some(file::Intent { image: Some(new.image.clone()), ..file::Intent::default() }),
        deleted_at: None,
        removed_at: None,
        due_at: None,
        attempts: 0,
        created_at: now,
        updated_at: now,
    };
    let upload = Model {
        id: DirectUploadId::new(now),
        workspace_id: new.workspace_id,
        file_id: Some(file.id),
        image_id: ImageId::new(now),
        created_by: Some(viewer.user.id),
        status: Status::Open,
        transport: Transport::FormPost,
        mime_type: Some(new.mime_type.clone()),
        size: new.size.and_then(|size| i64::try_from(size).ok()),
        max_size: i64::try_from(wire::MAX_IMAGE_BYTES).unwrap_or(i64::MAX),
        bytes_received: 0,
        require_signed_urls: signed,
        cf_image_id: None,
        upload_url: None,
        failure: None,
        expires_at,
        due_at: Some(expires_at + GRACE),
        attempts: 0,
        created_at: now,
        updated_at: now,
    };
    let transaction = app.db.begin().await?;
    let file = files::insert(&transaction, file).await?;
    let row: direct_upload::ActiveModel = upload.into();
    let upload = row.reset_all().insert(&transaction).await?;
    events::append(&transaction, event::Kind::FileCreated, file.workspace_id, file.id, None, now).await?;
    transaction.commit().await?;
    Ok((upload, file))
}

async fn find_changeable(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Model> {
    require_any(viewer, &[Scope::UploadsCreate, Scope::FilesWrite])?;
    let Some(upload) = find(app, viewer, id).await? else { return Err(Error::not_found("direct upload")) };
    viewer.require_editor(upload.workspace_id)?;
    Ok(upload)
}

/// Completes an open upload.
async fn settle(app: &App, upload: &Model) -> Result<()> {
    let upstream = |problem: &AccountError| Error::Refusal(step::refusal(problem));
    let incomplete = || {
        let message = "The bytes have not arrived yet: send them to `uploadUrl`, then complete again.";
        Error::refuse(Code::UploadIncomplete, message)
    };
    let Some(id) = upload.cf_image_id.as_deref() else { return Err(incomplete()) };
    let Some(made) = app.cloudflare.find(id).await.map_err(|e| upstream(&e))? else { return Err(expired()) };
    if made.draft {
        let over = app.clock.now() > upload.expires_at;
        return Err(if over { expired() } else { incomplete() });
    }
    let Some(account_hash) = signing::account_hash(&made) else {
        return Err(Error::refuse(Code::UpstreamError, "Cloudflare Images answered without a delivery URL."));
    };
    let blob = app.cloudflare.blob(id).await.map_err(|e| upstream(&e))?;
    let spool = Spool::receive(&app.config.data_dir, app.config.max_file_size, blob.stream).await;
    // What the account took is not refused for its size again: it may hand out a re-encoding that is a little larger.
    let kind = match &spool {
        Ok(spool) => files::checked_kind(spool, None, false).await,
        Err(Error::Refusal(why)) => Err(Error::Refusal(why.clone())),
        Err(_) => return spool.map(drop),
    };
    let (spool, kind, picture) = match (spool, kind) {
        (Ok(spool), Ok(Kind { mime_type, picture: Some(picture) })) => (spool, mime_type, picture),
        (_, Ok(kind)) => {
            let message = format!("The bytes are {}, which is no image that is taken.", kind.mime_type);
            let why = Error::refuse(Code::UnsupportedMimeType, message).public();
            return refuse_bytes(app, upload, why).await;
        }
        (_, Err(Error::Refusal(why))) => return refuse_bytes(app, upload, why).await,
        (_, Err(problem)) => return Err(problem),
    };
    let arrived = Arrived { made, account_hash, spool, mime_type: kind, picture };
    let blob_id = files::store(app, &arrived.spool).await?;
    app.step("upload-copied").await;
    let settled = write_settled(app, upload, &arrived, blob_id).await;
    if let Ok(false) = settled {
        // Somebody else settled it first, and those bytes count. After an error the commit may have happened all the
        // same; then the sweep finds out whether somebody owns the bytes.
        let _ = app.blobs.delete(BlobKey::Original(blob_id)).await;
    }
    app.step("upload-settled").await;
    settled.map(drop)
}

/// Bytes that arrived at the account, copied here and looked at.
struct Arrived {
    made: wire::Image,
    account_hash: String,
    spool: Spool,
    mime_type: String,
    picture: Picture,
}

/// Settles file, image and upload; false if somebody else did so first.
async fn write_settled(app: &App, upload: &Model, arrived: &Arrived, blob_id: uuid::Uuid) -> Result<bool> {
    let now = app.clock.now();
    let Some(file_id) = upload.file_id else { return Ok(false) };
    let transaction = app.db.begin().await?;
    let filled = file::Entity::update_many()
        .col_expr(file::Column::Status, file::Status::Ready.into())
        .col_expr(file::Column::MimeType, Expr::val(arrived.mime_type.as_str()))
        .col_expr(file::Column::Size, Expr::val(i64::try_from(arrived.spool.size).unwrap_or(i64::MAX)))
        .col_expr(file::Column::Sha256, Expr::val(arrived.spool.sha256.to_vec()))
        .col_expr(file::Column::BlobId, Expr::val(blob_id))
        .col_expr(file::Column::ImageStatus, ImageStatus::Ready.into())
        .col_expr(file::Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(file_id))
        .filter(file::Column::Status.eq(file::Status::AwaitingUpload))
        .filter(file::COLUMN.removed_at.is_null())
        .exec_with_returning(&transaction)
        .await?;
    let Some(file) = filled.into_iter().next() else { return Ok(false) };
    if !end(&transaction, upload, Status::Completed, None, None, now).await? {
        return Ok(false);
    }
    let signed = arrived.made.require_signed_urls;
    let wanted = file.intent.clone().and_then(|intent| intent.image).unwrap_or_default();
    let image = image_entity::Model {
        state: State::Ready,
        cf_image_id: Some(arrived.made.id.clone()),
        account_hash: Some(arrived.account_hash.clone()),
        ..images::row(upload.image_id, &file, &arrived.picture, &wanted, signed, now)
    };
    images::insert(&transaction, image).await?;
    events::append(&transaction, event::Kind::FileReady, file.workspace_id, file.id, None, now).await?;
    let kind = event::Kind::ImageProvisioned;
    events::append(&transaction, kind, file.workspace_id, file.id, Some(upload.image_id), now).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Ends an upload whose bytes are no image we take: the file stays and says why.
async fn refuse_bytes(app: &App, upload: &Model, why: Refusal) -> Result<()> {
    let now = app.clock.now();
    let failure = Failure::from(why.clone());
    let transaction = app.db.begin().await?;
    if let Some(file_id) = upload.file_id {
        file::Entity::update_many()
            .col_expr(file::Column::Status, file::Status::Failed.into())
            .col_expr(file::Column::Failure, Expr::val(failure.clone()))
            .col_expr(file::Column::UpdatedAt, Expr::val(now))
            .filter(file::COLUMN.id.eq(file_id))
            .exec(&transaction)
            .await?;
        let kind = event::Kind::FileFailed;
        events::append(&transaction, kind, upload.workspace_id, file_id, None, now).await?;
    }
    if end(&transaction, upload, Status::Failed, Some(failure), Some(now), now).await? {
        transaction.commit().await?;
        app.due.notify_one();
    }
    Err(Error::Refusal(why))
}

/// Ends an open upload and removes its file, which never had bytes; answers the file if this call removed it.
async fn give_up(app: &App, upload: &Model, status: Status) -> Result<Option<FileId>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    delete_file_row(&transaction, upload, now).await?;
    if !end(&transaction, upload, status, None, Some(now), now).await? {
        return Ok(None);
    }
    transaction.commit().await?;
    app.due.notify_one();
    Ok(upload.file_id)
}

/// Removes an upload that never came to be, with its file.
async fn discard(app: &App, upload: &Model) -> Result<()> {
    let transaction = app.db.begin().await?;
    delete_file_row(&transaction, upload, app.clock.now()).await?;
    Entity::delete_by_id(upload.id).exec(&transaction).await?;
    Ok(transaction.commit().await?)
}

async fn delete_file_row(
    transaction: &impl ConnectionTrait,
    upload: &Model,
    now: DateTime<Utc>,
) -> Result<()> {
    let Some(file_id) = upload.file_id else { return Ok(()) };
    file::Entity::delete_many()
        .filter(file::COLUMN.id.eq(file_id))
        .filter(file::Column::Status.eq(file::Status::AwaitingUpload))
        .exec(transaction)
        .await?;
    events::append(transaction, event::Kind::FilePurged, upload.workspace_id, file_id, None, now).await
}

/// Moves an upload out of `OPEN`; false if somebody else did so first.
async fn end(
    transaction: &impl ConnectionTrait,
    upload: &Model,
    status: Status,
    failure: Option<Failure>,
    due_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let ended = Entity::update_many()
        .col_expr(Column::Status, status.into())
        .col_expr(Column::Failure, Expr::val(failure))
        .col_expr(Column::UploadUrl, Expr::val(None::<String>))
        .col_expr(Column::DueAt, Expr::val(due_at))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::Status.eq(Status::Open))
        .exec(transaction)
        .await?;
    Ok(ended.rows_affected == 1)
}

/// Removes from the account what an ended upload left there.
async fn remove_draft(app: &App, upload: &Model) -> Result<()> {
    if let (Some(id), true) = (&upload.cf_image_id, upload.status != Status::Completed)
        && app.cloudflare.delete(id).await.is_err()
    {
        return put_off(app, upload, Some(app.clock.now() + worker::backoff(upload.attempts))).await;
    }
    put_off(app, upload, None).await
}

async fn put_off(app: &App, upload: &Model, until: Option<DateTime<Utc>>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(until))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(direct_upload::COLUMN.attempts.eq(upload.attempts))
        .exec(&app.db.write)
        .await?;
    Ok(())
}

fn require_any(viewer: &Viewer, scopes: &[Scope]) -> Result<()> {
    let Some((last, others)) = scopes.split_last() else { return Ok(()) };
    if others.iter().any(|scope| viewer.require(*scope).is_ok()) { Ok(()) } else { viewer.require(*last) }
}

fn expired() -> Error {
    Error::refuse(Code::UploadExpired, "This upload has expired; create another one.")
}
