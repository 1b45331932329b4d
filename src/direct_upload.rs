//! Direct uploads: the client's bytes go straight to Cloudflare, without a token of ours.
//!
//! Create makes the rows, then the account's draft, then writes down where the bytes go. Complete asks the account
//! whether they arrived, copies them here, and settles file, image and upload in one transaction. Both ends may be cut
//! off anywhere: a draft that is never filled expires by itself, and what was sent but never reported is completed by
//! the worker when the upload runs out.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    sea_query::Expr,
};

use crate::app::App;
use crate::blob::BlobKey;
use crate::cloudflare::client::{NewDirectUpload as Draft, NewImage};
use crate::cloudflare::{Error as AccountError, signing, wire};
use crate::entity::api_token::Scope;
use crate::entity::direct_upload::{self, Column, Entity, Model, Status};
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self as image_entity, State};
use crate::entity::{Failure, event};
use crate::error::{Code, Error, Refusal, Result};
use crate::file::kind::{IMAGE_MIME_TYPES, Kind};
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
    pub require_signed_urls: bool,
}

/// Makes a one-time upload URL, and the file it will fill.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `UNSUPPORTED_MIME_TYPE`, `FILE_TOO_LARGE`; `UPSTREAM_ERROR` and
/// `UPSTREAM_RATE_LIMITED` when the account gives no URL, and then nothing is left.
pub async fn create(app: &App, viewer: &Viewer, new: NewDirectUpload) -> Result<(Model, file::Model)> {
    if viewer.require(Scope::UploadsCreate).is_err() {
        viewer.require(Scope::FilesWrite)?;
    }
    workspace::find_editable(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    check(&new)?;
    let (upload, file) = insert_rows(app, viewer, &new).await?;
    app.step("upload-inserted").await;
    let draft = Draft {
        image: NewImage {
            metadata: Some(&step::metadata(upload.image_id)),
            require_signed_urls: new.require_signed_urls,
            ..NewImage::default()
        },
        expiry: Some(upload.expires_at),
    };
    match app.cloudflare.direct_upload(&draft).await {
        Ok(made) => {
            app.step("draft-made").await;
            let mut row: direct_upload::ActiveModel = upload.into();
            row.cf_image_id = Set(Some(made.id));
            row.upload_url = Set(Some(made.upload_url));
            row.updated_at = Set(app.clock.now());
            Ok((row.update(&app.db.write).await?, file))
        }
        Err(problem) => {
            // A draft whose answer was lost is never filled: the account forgets it by itself.
            Entity::delete_by_id(upload.id).exec(&app.db.write).await?;
            file::Entity::delete_by_id(file.id).exec(&app.db.write).await?;
            Err(Error::Refusal(step::refusal(&problem)))
        }
    }
}

/// One direct upload, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Option<Model>> {
    Ok(direct_upload::visible_to(viewer).filter(direct_upload::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// Those of the given direct uploads that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[DirectUploadId]) -> Result<Vec<Model>> {
    let of_ids = direct_upload::COLUMN.id.is_in(ids.iter().copied());
    Ok(direct_upload::visible_to(viewer).filter(of_ids).all(&app.db.read).await?)
}

/// Checks that the bytes arrived, reads them, and settles file and image. Repeating it changes nothing.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `UPLOAD_INCOMPLETE` while there are no bytes, `UPLOAD_EXPIRED`, `CONFLICT` for a cancelled
/// one, what [`files::checked_kind`] refuses, and `UPSTREAM_ERROR` while the account does not answer.
pub async fn complete(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Model> {
    let upload = find_changeable(app, viewer, id).await?;
    match upload.status {
        Status::Open => settle(app, &upload).await?,
        Status::Completed => {}
        Status::Failed => {
            let failure = upload.failure.as_ref().map(Failure::refusal);
            return Err(
                failure.map_or_else(|| Error::refuse(Code::Conflict, "This upload failed."), Error::Refusal)
            );
        }
        Status::Expired => return Err(expired()),
        Status::Cancelled => return Err(Error::refuse(Code::Conflict, "This upload was cancelled.")),
    }
    find(app, viewer, id).await?.ok_or_else(|| Error::not_found("direct upload"))
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
    let gone = give_up(app, &upload, Status::Cancelled, None).await?;
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
            give_up(app, &upload, Status::Expired, None).await.map(drop)
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

async fn insert_rows(app: &App, viewer: &Viewer, new: &NewDirectUpload) -> Result<(Model, file::Model)> {
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
        require_signed_urls: new.require_signed_urls,
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
    if viewer.require(Scope::UploadsCreate).is_err() {
        viewer.require(Scope::FilesWrite)?;
    }
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
    let blob = app.cloudflare.blob(id).await.map_err(|e| upstream(&e))?;
    // Cloudflare may hand out a re-encoding that is a little larger than what was sent.
    let max = app.config.max_file_size.max(2 * wire::MAX_IMAGE_BYTES);
    let spool = Spool::receive(&app.config.data_dir, max, blob.stream).await?;
    let kind = match files::checked_kind(&spool, None, true).await {
        Ok(kind) => kind,
        Err(Error::Refusal(why)) => return refuse_bytes(app, upload, why).await,
        Err(problem) => return Err(problem),
    };
    let blob_id = files::store(app, &spool).await?;
    app.step("upload-copied").await;
    let settled = write_settled(app, upload, &made, &spool, &kind, blob_id).await;
    if !matches!(settled, Ok(true)) {
        // Somebody else settled it first, and those bytes count; or the database did not take ours.
        let _ = app.blobs.delete(BlobKey::Original(blob_id)).await;
    }
    app.step("upload-settled").await;
    settled.map(drop)
}

/// Settles file, image and upload; false if somebody else did so first.
async fn write_settled(
    app: &App,
    upload: &Model,
    made: &wire::Image,
    spool: &Spool,
    kind: &Kind,
    blob_id: uuid::Uuid,
) -> Result<bool> {
    let now = app.clock.now();
    let Some(account_hash) = signing::account_hash(made) else {
        return Err(Error::fault("completing a direct upload", "the account's answer has no delivery URL"));
    };
    let Some(picture) = &kind.picture else {
        return Err(Error::fault(
            "completing a direct upload",
            "the account took something that is no image",
        ));
    };
    let transaction = app.db.begin().await?;
    if !end(&transaction, upload, Status::Completed, None, None, now).await? {
        transaction.rollback().await?;
        return Ok(false);
    }
    let file_id =
        upload.file_id.ok_or_else(|| Error::fault("completing a direct upload", "its file is gone"))?;
    let Some(file) = file::Entity::find_by_id(file_id).one(&transaction).await? else {
        return Err(Error::fault("completing a direct upload", "its file is gone"));
    };
    let mut row: file::ActiveModel = file.into();
    row.status = Set(file::Status::Ready);
    row.mime_type = Set(Some(kind.mime_type.clone()));
    row.size = Set(i64::try_from(spool.size).unwrap_or(i64::MAX));
    row.sha256 = Set(Some(spool.sha256.to_vec()));
    row.blob_id = Set(Some(blob_id));
    row.image_status = Set(ImageStatus::Ready);
    row.updated_at = Set(now);
    let file = row.update(&transaction).await?;
    let image = image_entity::Model {
        cf_image_id: Some(made.id.clone()),
        account_hash: Some(account_hash),
        due_at: None,
        ..images::row(upload.image_id, &file, picture, made.require_signed_urls, State::Ready, now)
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
    if end(&transaction, upload, Status::Failed, Some(failure.clone()), Some(now), now).await? {
        if let Some(file_id) = upload.file_id {
            file::Entity::update_many()
                .col_expr(file::Column::Status, file::Status::Failed.into())
                .col_expr(file::Column::Failure, Expr::val(failure))
                .col_expr(file::Column::UpdatedAt, Expr::val(now))
                .filter(file::COLUMN.id.eq(file_id))
                .exec(&transaction)
                .await?;
            let kind = event::Kind::FileFailed;
            events::append(&transaction, kind, upload.workspace_id, file_id, None, now).await?;
        }
        transaction.commit().await?;
        app.due.notify_one();
    }
    Err(Error::Refusal(why))
}

/// Ends an open upload and removes its file, which never had bytes; answers the file if this call removed it.
async fn give_up(
    app: &App,
    upload: &Model,
    status: Status,
    failure: Option<Failure>,
) -> Result<Option<FileId>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    if !end(&transaction, upload, status, failure, Some(now), now).await? {
        transaction.rollback().await?;
        return Ok(None);
    }
    if let Some(file_id) = upload.file_id {
        let kind = event::Kind::FilePurged;
        events::append(&transaction, kind, upload.workspace_id, file_id, None, now).await?;
        file::Entity::delete_by_id(file_id).exec(&transaction).await?;
    }
    transaction.commit().await?;
    app.due.notify_one();
    Ok(upload.file_id)
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

fn expired() -> Error {
    Error::refuse(Code::UploadExpired, "This upload has expired; create another one.")
}
