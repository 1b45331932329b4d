//! Direct uploads: bytes that come without a token of ours, by form to Cloudflare or by PUT to us or our byte store.
//!
//! Create makes the rows, then, for a form, the account's draft, then writes down where the bytes go. Complete looks
//! whether they arrived, copies them, and settles file, image and upload in one transaction; a PUT to this server does
//! so by itself. Both ends may be cut off anywhere: a draft that is never filled expires by itself, and what was sent
//! but never reported is completed by the worker when the upload runs out.

pub mod create;

pub mod put;

mod form;

pub mod progress;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use url::Url;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::direct_upload::{self, Entity, Model, Status, Transport};
use crate::entity::event::EventKind;
use crate::entity::{Failure, file};
use crate::error::{Code, Error, Refusal, Result};
use crate::id::{DirectUploadId, FileId};
use crate::job;
use crate::provision::refusal;
use crate::provision::remove;
use crate::rows;
use crate::storage::BlobKey;

/// Shortest and longest life of an upload URL, in seconds, as Cloudflare has them.
pub const EXPIRES_IN: std::ops::RangeInclusive<i64> = 120..=21_600;
/// After its end an upload is looked at once more, for bytes that were on their way.
const GRACE: TimeDelta = TimeDelta::minutes(1);

/// One direct upload, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Option<Model>> {
    viewer.require_any(&[Scope::UploadsCreate, Scope::FilesWrite, Scope::FilesRead])?;
    Ok(direct_upload::visible_to(&viewer.access())
        .filter(direct_upload::COLUMN.id.eq(id))
        .one(&app.db.read)
        .await?)
}

/// Those of the given direct uploads that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[DirectUploadId]) -> Result<Vec<Model>> {
    viewer.require_any(&[Scope::UploadsCreate, Scope::FilesWrite, Scope::FilesRead])?;
    let of_ids = direct_upload::COLUMN.id.is_in(ids.iter().copied());
    Ok(direct_upload::visible_to(&viewer.access()).filter(of_ids).all(&app.db.read).await?)
}

/// Where the bytes go, for those who may send them: whoever knows the URL can. `None` once the upload is over.
pub async fn upload_url(app: &App, viewer: &Viewer, upload: &Model) -> Result<Option<Url>> {
    let may = viewer.require_any(&[Scope::UploadsCreate, Scope::FilesWrite]).is_ok()
        && viewer.require_editor(upload.workspace_id).is_ok();
    if !may || upload.status != Status::Open {
        return Ok(None);
    }
    match (&upload.upload_url, upload.transport) {
        (Some(url), _) => Ok(Url::parse(url).ok()),
        (None, Transport::Put) => put::url(app, upload).await.map(Some),
        (None, Transport::FormPost) => Ok(None),
    }
}

/// What a client was told where it sent the bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// HTTP status.
    pub status: Option<i64>,
    /// The image service's number for an error, such as 5455.
    pub number: Option<i64>,
}

impl Told {
    /// Why the bytes were refused, if that is what the client was told.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for what is no status or no number.
    fn refusal(self) -> Result<Option<Refusal>> {
        if self.status.is_some_and(|status| !(100..=599).contains(&status)) {
            return Err(Error::invalid("uploadStatus", "An HTTP status is a number from 100 to 599."));
        }
        if self.number.is_some_and(|number| !(1000..=99_999).contains(&number)) {
            let message = "The number of an error of the image service has 4 or 5 digits.";
            return Err(Error::invalid("uploadErrorCode", message));
        }
        let known = match (self.number.and_then(|number| u32::try_from(number).ok()), self.status) {
            (Some(number), _) => refusal::from_upload_error_code(number),
            (None, Some(413)) => refusal::from_upload_error_code(5413),
            (None, Some(415)) => refusal::from_upload_error_code(5455),
            // FetchError on the way, or an upload that is over: the same bytes may be taken the next time.
            _ => None,
        };
        Ok(known.map(|(code, message)| Error::refuse(code, message).public()))
    }
}

/// Checks that the bytes arrived, reads them, and settles file and image; or, where none have arrived because they were
/// refused, settles that. Repeating it changes nothing and answers the same.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `UPLOAD_INCOMPLETE` while there are no bytes, `UPLOAD_EXPIRED`, `CONFLICT` for a cancelled
/// one, what [`policy::checked_kind`](crate::ingest::policy::checked_kind) refuses, and `UPSTREAM_ERROR` while the account does not answer.
pub async fn complete(app: &App, viewer: &Viewer, id: DirectUploadId, told: Told) -> Result<Model> {
    let upload = find_changeable(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let refused = told.refusal()?;
    let settled = match upload.status {
        Status::Open => {
            let task_app = app.clone();
            // What has begun comes to its end, even if the client has left.
            job::run_to_end(async move { settle_as_told(&task_app, &upload, refused).await }).await
        }
        _ => Ok(()),
    };
    // However this attempt ended, what counts is how the upload did: somebody else may have ended it in the meantime.
    let upload = find(app, viewer, id).await?.ok_or_else(|| Error::not_found("direct upload").at("id"))?;
    let over = match upload.status {
        Status::Completed => return Ok(upload),
        Status::Failed => failed(&upload),
        Status::Expired => expired(),
        Status::Cancelled => cancelled(),
        Status::Open => match settled {
            Err(Error::Refusal(why)) => Error::Refusal(why),
            Err(fault) => return Err(fault),
            Ok(()) => Error::refuse(Code::Conflict, "Somebody else is completing this upload; try again."),
        },
    };
    Err(over.at("id"))
}

async fn settle_as_told(app: &App, upload: &Model, refused: Option<Refusal>) -> Result<()> {
    match (settle(app, upload).await, refused) {
        // Nothing has arrived, as the client says.
        (Err(Error::Refusal(Refusal { code: Code::UploadIncomplete, .. })), Some(why)) => {
            refuse_bytes(app, upload, why).await
        }
        (settled, _) => settled,
    }
}

/// Gives up an upload and its half-made file. Answers the file that is gone; `None` if it was given up before.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `CONFLICT` for a completed one.
pub async fn cancel(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<(Model, Option<FileId>)> {
    let upload = find_changeable(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let gone = match upload.status {
        Status::Completed => None,
        _ => {
            let (task_app, upload) = (app.clone(), upload.clone());
            job::run_to_end(async move { give_up(&task_app, &upload, Status::Cancelled).await }).await?
        }
    };
    let upload = find(app, viewer, id).await?.ok_or_else(|| Error::not_found("direct upload").at("id"))?;
    if upload.status == Status::Completed {
        let message = "This upload is completed; delete its file instead.";
        return Err(Error::refuse(Code::Conflict, message).at("id"));
    }
    Ok((upload, gone))
}

/// Does what a claimed upload is due for: completes what was sent and never reported, ends what was never sent,
/// and removes from the account what an ended upload left there.
pub async fn run_due(app: &App, upload: Model) -> Result<()> {
    if upload.status != Status::Open {
        return remove_draft(app, &upload).await;
    }
    match settle(app, &upload).await {
        Ok(()) => Ok(()),
        Err(Error::Refusal(why)) if matches!(why.code, Code::UpstreamError | Code::UpstreamRateLimited) => {
            let now = app.clock.now();
            let patience = TimeDelta::from_std(app.config.provision_time).unwrap_or(TimeDelta::MAX);
            if upload.attempts >= app.config.provision_attempts || now - upload.expires_at >= patience {
                // What the account has of it, if it has anything, stays there: nobody has seen it.
                return fail(app, &upload, why, None).await.map(drop);
            }
            job::retry_later::<Entity>(app, &upload).await
        }
        // The byte store is asked twice: one that finds nothing for a moment must not cost anybody what they sent.
        Err(Error::Refusal(why))
            if why.code == Code::UploadExpired
                && upload.transport == Transport::Put
                && app.blobs.can_presign()
                && upload.attempts < 2 =>
        {
            job::reschedule::<Entity>(app, &upload, Some(app.clock.now() + app.config.stray_check)).await
        }
        Err(Error::Refusal(why)) if matches!(why.code, Code::UploadIncomplete | Code::UploadExpired) => {
            give_up(app, &upload, Status::Expired).await.map(drop)
        }
        // Refused bytes have ended the upload already.
        Err(Error::Refusal(_)) => Ok(()),
        Err(problem) => Err(problem),
    }
}

async fn find_changeable(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Model> {
    viewer.require_any(&[Scope::UploadsCreate, Scope::FilesWrite])?;
    let Some(upload) = find(app, viewer, id).await? else { return Err(Error::not_found("direct upload")) };
    viewer.require_editor(upload.workspace_id)?;
    Ok(upload)
}

/// Completes an open upload, if its bytes are there.
async fn settle(app: &App, upload: &Model) -> Result<()> {
    match (upload.transport, &upload.upload_url) {
        (Transport::FormPost, _) => form::settle(app, upload).await,
        (Transport::Put, Some(_)) => put::settle_presigned(app, upload).await,
        // Sent to this server, the bytes settle the upload as they arrive.
        (Transport::Put, None) if app.clock.now() > upload.expires_at => Err(expired()),
        (Transport::Put, None) => Err(incomplete()),
    }
}

/// Ends an upload whose bytes are not accepted: the file stays and says why, and what the account and the byte store have
/// of it is removed.
///
/// # Errors
/// The refusal, unless somebody else ended the upload first: then that counts.
async fn refuse_bytes(app: &App, upload: &Model, why: Refusal) -> Result<()> {
    match fail(app, upload, why.clone(), Some(app.clock.now())).await? {
        true => Err(Error::Refusal(why)),
        false => Ok(()),
    }
}

/// Ends an open upload as failed, with its file; false if somebody else ended it first.
async fn fail(app: &App, upload: &Model, why: Refusal, due_at: Option<DateTime<Utc>>) -> Result<bool> {
    let now = app.clock.now();
    let failure = Failure::from(Refusal { retry_after: None, ..why });
    let transaction = app.db.begin().await?;
    if let Some(file_id) = upload.file_id {
        file::Entity::update_many()
            .col_expr(file::Column::Status, file::Status::Failed.into())
            .col_expr(file::Column::Failure, Expr::val(failure.clone()))
            .col_expr(file::Column::UpdatedAt, Expr::val(now))
            .filter(file::COLUMN.id.eq(file_id))
            .exec(&transaction)
            .await?;
        let kind = EventKind::FileFailed;
        rows::event::append(&transaction, kind, upload.workspace_id, file_id, None, now).await?;
    }
    if !rows::direct_upload::end(&transaction, upload, Status::Failed, Some(failure), due_at, now).await? {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    app.due.notify_one();
    Ok(true)
}

/// Ends an open upload and removes its file, which never had bytes; answers the file if this call removed it.
async fn give_up(app: &App, upload: &Model, status: Status) -> Result<Option<FileId>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    rows::direct_upload::delete_file_row(&transaction, upload, now).await?;
    if !rows::direct_upload::end(&transaction, upload, status, None, Some(now), now).await? {
        return Ok(None);
    }
    transaction.commit().await?;
    app.due.notify_one();
    Ok(upload.file_id)
}

/// Removes from the account and the byte store what an ended upload left there.
async fn remove_draft(app: &App, upload: &Model) -> Result<()> {
    if let (Some(id), true) = (&upload.cf_image_id, upload.status != Status::Completed)
        && remove::delete_from_account(app, id, upload.image_id).await.is_err()
    {
        return job::retry_later::<Entity>(app, upload).await;
    }
    if upload.transport == Transport::Put && app.blobs.can_presign() {
        if let Err(problem) = app.blobs.delete(BlobKey::Incoming(upload.id.0)).await {
            Error::from(problem).log();
            return job::retry_later::<Entity>(app, upload).await;
        }
        // Until it expires the URL takes bytes, wanted or not.
        let end = upload.expires_at + GRACE;
        return job::reschedule::<Entity>(app, upload, (app.clock.now() < end).then_some(end)).await;
    }
    job::reschedule::<Entity>(app, upload, None).await
}

fn incomplete() -> Error {
    let message = "No bytes have arrived: send them to `uploadUrl`, then complete again. If they were refused there, say \
                   with which status.";
    Error::refuse(Code::UploadIncomplete, message)
}

/// The refusal with which an upload ended.
fn failed(upload: &Model) -> Error {
    let failure = upload.failure.as_ref().map(Failure::refusal);
    failure.map_or_else(|| Error::refuse(Code::Conflict, "This upload failed."), Error::Refusal)
}

fn cancelled() -> Error {
    Error::refuse(Code::Conflict, "This upload was cancelled.")
}

fn expired() -> Error {
    Error::refuse(Code::UploadExpired, "This upload has expired; create another one.")
}
