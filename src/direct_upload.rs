//! Direct uploads: a client without an API token sends the bytes, by form to Cloudflare or by PUT to this server or its byte
//! store.
//!
//! [`create`](crate::direct_upload::create::create) inserts the rows, requests a draft from the account (form uploads only), and
//! stores the upload URL. [`complete`](crate::direct_upload::complete) checks that the bytes arrived, copies them, and completes
//! file, image and upload in one transaction; a PUT to this server does the same without a further call. Each of them may be
//! interrupted at any point: a draft without bytes expires in the account, and the worker completes an upload whose bytes were
//! sent but never reported.

pub mod create;

pub mod put;

mod form;

pub mod progress;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use url::Url;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::direct_upload::{self, Column, Entity, Model, Status, Transport};
use crate::entity::event::EventKind;
use crate::entity::{Failure, columns, file, workspace};
use crate::error::{Code, Error, Refusal, Result};
use crate::id::{DirectUploadId, FileId};
use crate::job;
use crate::provision::refusal;
use crate::provision::remove;
use crate::rows;
use crate::storage::BlobKey;

/// Shortest and longest life of an upload URL, in seconds, as Cloudflare has them.
pub const EXPIRES_IN: std::ops::RangeInclusive<i64> = 120..=21_600;
/// How long after the expiry of its URL an upload is checked once more, for bytes that were still in transit.
const GRACE: TimeDelta = TimeDelta::minutes(1);

/// Any of these lets a token read direct uploads.
const READ_SCOPES: [Scope; 3] = [Scope::UploadsCreate, Scope::FilesWrite, Scope::FilesRead];
/// Any of these lets a token create, complete and cancel them.
const WRITE_SCOPES: [Scope; 2] = [Scope::UploadsCreate, Scope::FilesWrite];

/// The given columns of a direct upload, if the viewer may see it.
///
/// # Errors
/// `FORBIDDEN` without one of the scopes that may read it.
pub async fn find(
    app: &App,
    viewer: &Viewer,
    id: DirectUploadId,
    columns: &[Column],
) -> Result<Option<Model>> {
    Ok(find_many(app, viewer, &[id], columns).await?.pop())
}

/// The given columns of those of the given direct uploads that the viewer may see, in no particular order.
///
/// # Errors
/// `FORBIDDEN` without one of the scopes that may read them.
pub async fn find_many(
    app: &App,
    viewer: &Viewer,
    ids: &[DirectUploadId],
    columns: &[Column],
) -> Result<Vec<Model>> {
    viewer.require_any(&READ_SCOPES)?;
    let of_ids = columns::is_one_of(&app.db.read, Column::Id, ids.iter().map(|id| id.0));
    Ok(columns::fetch(&app.db.read, direct_upload::visible_to(&viewer.access()).filter(of_ids), columns)
        .await?)
}

/// Where the bytes of uploads are sent.
pub struct UploadUrls {
    viewer: Arc<Viewer>,
    /// `None` if none of the uploads needs it.
    signed: Option<put::SignedUrls>,
}

impl UploadUrls {
    /// The columns of an upload that its URL depends on.
    pub const COLUMNS: [Column; 6] = [
        Column::Id,
        Column::WorkspaceId,
        Column::Status,
        Column::Transport,
        Column::UploadUrl,
        Column::ExpiresAt,
    ];

    /// Loads what the URLs of these uploads need.
    pub async fn new(
        app: &App,
        viewer: &Arc<Viewer>,
        uploads: impl IntoIterator<Item = &Model>,
    ) -> Result<Self> {
        let mut urls = UploadUrls { viewer: Arc::clone(viewer), signed: None };
        if uploads.into_iter().any(|upload| urls.may_send(upload) && is_signed(upload)) {
            urls.signed = Some(put::SignedUrls::new(app).await?);
        }
        Ok(urls)
    }

    /// That of one of them. `None` for a viewer who may not upload, because the URL is all that sending the bytes takes, and for an
    /// upload that is no longer open.
    pub fn of(&self, upload: &Model) -> Option<Url> {
        if !self.may_send(upload) {
            return None;
        }
        match (&upload.upload_url, &self.signed) {
            (Some(url), _) => Url::parse(url).ok(),
            (None, Some(signed)) if is_signed(upload) => Some(signed.of(upload)),
            (None, _) => None,
        }
    }

    fn may_send(&self, upload: &Model) -> bool {
        upload.status == Status::Open
            && self.viewer.require_any(&WRITE_SCOPES).is_ok()
            && self.viewer.require_editor(upload.workspace_id).is_ok()
    }
}

/// Whether the bytes are sent to this server.
fn is_signed(upload: &Model) -> bool {
    upload.upload_url.is_none() && upload.transport == Transport::Put
}

/// The response that a client received when it sent the bytes, as it reports it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportedResponse {
    /// HTTP status.
    pub status: Option<i64>,
    /// The error number of the image service, such as 5455.
    pub error_code: Option<i64>,
}

impl ReportedResponse {
    /// Why the bytes were rejected; `None` if the response does not say that they were.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a status or an error number out of range.
    fn refusal(self) -> Result<Option<Refusal>> {
        if self.status.is_some_and(|status| !(100..=599).contains(&status)) {
            return Err(Error::invalid("uploadStatus", "An HTTP status is a number from 100 to 599."));
        }
        if self.error_code.is_some_and(|number| !(1000..=99_999).contains(&number)) {
            let message = "An error number of the image service has 4 or 5 digits.";
            return Err(Error::invalid("uploadErrorCode", message));
        }
        let rejection = match (self.error_code.and_then(|number| u32::try_from(number).ok()), self.status) {
            (Some(number), _) => refusal::from_upload_error_code(number),
            (None, Some(413)) => refusal::from_upload_error_code(5413),
            (None, Some(415)) => refusal::from_upload_error_code(5455),
            // A failed transfer or an expired upload: the same bytes may be accepted another time.
            _ => None,
        };
        Ok(rejection.map(|(code, message)| Error::refuse(code, message).public()))
    }
}

/// Completes an upload: checks that the bytes arrived, reads them, and completes the file and its image. If none arrived and
/// `response` says that they were rejected, the upload fails with that reason. A repeated call changes nothing and returns
/// the same result.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `UPLOAD_INCOMPLETE` while there are no bytes, `UPLOAD_EXPIRED`, `CONFLICT` for a cancelled
/// one, what [`policy::check_content`](crate::ingest::policy::check_content) refuses, and `UPSTREAM_ERROR` while the account
/// does not respond.
pub async fn complete(
    app: &App,
    viewer: &Viewer,
    id: DirectUploadId,
    response: ReportedResponse,
) -> Result<Model> {
    let upload = find_editable(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let rejection = response.refusal()?;
    let completed = match upload.status {
        Status::Open => {
            let task_app = app.clone();
            // Runs to its end even if the client disconnects.
            job::run_to_end(async move { complete_or_reject(&task_app, &upload, rejection).await }).await
        }
        _ => Ok(()),
    };
    // The state of the row decides, and not the result of this call: another request may have ended the upload first.
    let upload = find_whole(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let error = match upload.status {
        Status::Completed => return Ok(upload),
        Status::Failed => failed(&upload),
        Status::Expired => expired(),
        Status::Cancelled => cancelled(),
        Status::Open => match completed {
            Err(Error::Refusal(why)) => Error::Refusal(why),
            Err(fault) => return Err(fault),
            Ok(()) => Error::refuse(Code::Conflict, "Another request is completing this upload; try again."),
        },
    };
    Err(error.at("id"))
}

async fn complete_or_reject(app: &App, upload: &Model, rejection: Option<Refusal>) -> Result<()> {
    match (complete_open(app, upload).await, rejection) {
        // No bytes have arrived, which agrees with the reported rejection.
        (Err(Error::Refusal(Refusal { code: Code::UploadIncomplete, .. })), Some(reason)) => {
            reject_bytes(app, upload, reason).await
        }
        (completed, _) => completed,
    }
}

/// Cancels an upload and deletes its incomplete file. Returns the id of the file; `None` if the upload had ended before.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `CONFLICT` for a completed one.
pub async fn cancel(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<(Model, Option<FileId>)> {
    let upload = find_editable(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let deleted_file = match upload.status {
        Status::Completed => None,
        _ => {
            let (task_app, upload) = (app.clone(), upload.clone());
            job::run_to_end(async move { end_without_file(&task_app, &upload, Status::Cancelled).await })
                .await?
        }
    };
    let upload = find_whole(app, viewer, id).await.map_err(|e| e.at("id"))?;
    if upload.status == Status::Completed {
        let message = "This upload is completed and cannot be cancelled; delete its file instead.";
        return Err(Error::refuse(Code::Conflict, message).at("id"));
    }
    Ok((upload, deleted_file))
}

/// The worker's step for a claimed upload: completes one whose bytes were sent but not reported, expires one whose bytes were
/// not sent, and removes what an ended upload has left in the account and the byte store.
pub async fn run_due(app: &App, upload: Model) -> Result<()> {
    if upload.status != Status::Open {
        return remove_leftovers(app, &upload).await;
    }
    match complete_open(app, &upload).await {
        Ok(()) => Ok(()),
        Err(Error::Refusal(reason))
            if matches!(reason.code, Code::UpstreamError | Code::UpstreamRateLimited) =>
        {
            let now = app.clock.now();
            let max_time = TimeDelta::from_std(app.config.provision_time).unwrap_or(TimeDelta::MAX);
            if upload.attempts >= app.config.provision_attempts || now - upload.expires_at >= max_time {
                // The image stays in the account, if there is one: its bytes were never checked.
                return end_as_failed(app, &upload, reason, None).await.map(drop);
            }
            job::retry_later::<Entity>(app, &upload).await
        }
        // The byte store is checked twice, because a store may not show an object at once.
        Err(Error::Refusal(reason))
            if reason.code == Code::UploadExpired
                && upload.transport == Transport::Put
                && app.blobs.can_presign()
                && upload.attempts < 2 =>
        {
            job::reschedule::<Entity>(app, &upload, Some(app.clock.now() + app.config.stray_check)).await
        }
        Err(Error::Refusal(reason))
            if matches!(reason.code, Code::UploadIncomplete | Code::UploadExpired) =>
        {
            end_without_file(app, &upload, Status::Expired).await.map(drop)
        }
        // The bytes were rejected, which has ended the upload.
        Err(Error::Refusal(_)) => Ok(()),
        Err(problem) => Err(problem),
    }
}

/// A direct upload that the viewer may change.
async fn find_editable(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Model> {
    viewer.require_any(&WRITE_SCOPES)?;
    let upload = find_whole(app, viewer, id).await?;
    viewer.require_editor(upload.workspace_id)?;
    Ok(upload)
}

/// A direct upload with all its columns.
async fn find_whole(app: &App, viewer: &Viewer, id: DirectUploadId) -> Result<Model> {
    let upload = find(app, viewer, id, &columns::all::<Entity>()).await?;
    upload.ok_or_else(|| Error::not_found("direct upload"))
}

/// Completes an open upload, if its bytes have arrived.
async fn complete_open(app: &App, upload: &Model) -> Result<()> {
    match (upload.transport, &upload.upload_url) {
        (Transport::FormPost, _) => form::complete(app, upload).await,
        (Transport::Put, Some(_)) => put::complete_presigned(app, upload).await,
        // A PUT to this server completes its upload itself.
        (Transport::Put, None) if app.clock.now() > upload.expires_at => Err(expired()),
        (Transport::Put, None) => Err(incomplete()),
    }
}

/// The workspace and the file of an upload; `None` when one of them has been deleted.
async fn workspace_and_file(app: &App, upload: &Model) -> Result<Option<(workspace::Model, file::Model)>> {
    let Some(file_id) = upload.file_id else { return Ok(None) };
    let workspace = workspace::by_id_unscoped(upload.workspace_id).one(&app.db.read).await?;
    let file = file::by_id_unscoped(file_id).one(&app.db.read).await?;
    Ok(workspace.zip(file))
}

/// Ends an upload whose bytes are not accepted: the file stays and shows the reason, and the bytes are removed from the account
/// and the byte store.
///
/// # Errors
/// The given refusal; none if another request has ended the upload before.
async fn reject_bytes(app: &App, upload: &Model, reason: Refusal) -> Result<()> {
    match end_as_failed(app, upload, reason.clone(), Some(app.clock.now())).await? {
        true => Err(Error::Refusal(reason)),
        false => Ok(()),
    }
}

/// Sets an open upload and its file to `FAILED`; false if another request has ended the upload before.
async fn end_as_failed(
    app: &App,
    upload: &Model,
    reason: Refusal,
    due_at: Option<DateTime<Utc>>,
) -> Result<bool> {
    let now = app.clock.now();
    let failure = Failure::from(Refusal { retry_after: None, ..reason });
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

/// Ends an open upload and deletes its file, which has no bytes. Returns the id of the file if this call deleted it.
async fn end_without_file(app: &App, upload: &Model, status: Status) -> Result<Option<FileId>> {
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

/// Removes the draft or the bytes that an ended upload has left in the account and the byte store.
async fn remove_leftovers(app: &App, upload: &Model) -> Result<()> {
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
        // The store accepts bytes at the URL until that expires, so they are removed once more after that.
        let end = upload.expires_at + GRACE;
        return job::reschedule::<Entity>(app, upload, (app.clock.now() < end).then_some(end)).await;
    }
    job::reschedule::<Entity>(app, upload, None).await
}

fn incomplete() -> Error {
    let message = "No bytes have arrived: send them to `uploadUrl`, then complete the upload again. If they were rejected \
                   there, give `uploadStatus`.";
    Error::refuse(Code::UploadIncomplete, message)
}

/// The refusal that is recorded on a failed upload.
fn failed(upload: &Model) -> Error {
    let failure = upload.failure.as_ref().map(Failure::refusal);
    failure.map_or_else(|| Error::refuse(Code::Conflict, "This upload failed."), Error::Refusal)
}

fn cancelled() -> Error {
    Error::refuse(Code::Conflict, "This upload was cancelled.")
}

fn expired() -> Error {
    Error::refuse(Code::UploadExpired, "This upload has expired; create a new one.")
}
