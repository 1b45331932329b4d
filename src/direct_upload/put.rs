//! Direct uploads by PUT: the raw bytes, to this server at a URL it signed, or straight to its byte store.

use std::sync::PoisonError;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::stream::{self, Stream, StreamExt};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use tokio::time::{Duration, Instant};
use url::Url;
use uuid::Uuid;

use super::{GRACE, cancelled, expired, failed, incomplete, refuse_bytes};
use crate::app::App;
use crate::auth::url_signature;
use crate::content::mime::DeclaredType;
use crate::entity::direct_upload::{self, Column, Entity, Model, Status, Transport};
use crate::entity::file::{self};
use crate::entity::image as image_entity;
use crate::entity::workspace as workspace_entity;
use crate::error::{Code, Error, Result};
use crate::id::{DirectUploadId, uuid_v7};
use crate::ingest::dedup;
use crate::ingest::expected_file::ExpectedFile;
use crate::ingest::{IngestOutcome, Target};
use crate::job;
use crate::provision;
use crate::storage::BlobKey;
use crate::storage::spool::{Spool, too_large};

/// Longest silence of a client in the middle of its bytes.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// How often a request looks whether the one before it is over.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the number of bytes that have arrived is written down.
const PROGRESS: Duration = Duration::from_millis(500);

/// What the URL of an upload permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// Unix time.
    pub expires: i64,
    pub signature: String,
}

/// Where the bytes of an upload by PUT are sent, if they are sent to this server.
pub async fn url(app: &App, upload: &Model) -> Result<Url> {
    let expires = upload.expires_at.timestamp();
    let signature = url_signature::sign(app, &message(upload.id, expires)).await?;
    let mut url = app.public_url()?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["uploads", &upload.id.to_string()]);
    }
    url.query_pairs_mut().append_pair("expires", &expires.to_string()).append_pair("signature", &signature);
    Ok(url)
}

/// Receives the bytes of an upload and settles it; the URL is the permission. It can be repeated: the bytes that have
/// filled the file are answered with that file again, for as long as the URL is good.
///
/// # Errors
/// `FORBIDDEN` for a signature that is not ours, `UPLOAD_EXPIRED`, `CONFLICT` for other bytes than those that came first,
/// `UPLOAD_INCOMPLETE` and `CHECKSUM_MISMATCH` for bytes to be sent again, and what ends the upload: `DUPLICATE_CONTENT`
/// and what [`policy::checked_kind`](crate::ingest::policy::checked_kind) refuses.
pub async fn receive<S>(
    app: &App,
    id: DirectUploadId,
    permit: &Permit,
    length: Option<u64>,
    chunks: S,
) -> Result<(Model, file::Model)>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    permitted(app, id, permit).await?;
    let turn = UploadGuard::take(app, id).await?;
    // As it is now: the request before this one may have ended it.
    let upload = permitted(app, id, permit).await?;
    let spool = receive_bytes(app, &upload, length, chunks).await?;
    app.crash_point("upload-received").await;
    let sha256 = spool.sha256;
    if upload.status == Status::Open {
        let task_app = app.clone();
        // All the bytes are here: they are settled, even if the client has left.
        job::run_to_end(async move {
            let image = settle(&task_app, &upload, &spool, None).await?;
            drop((spool, turn));
            provision(&task_app, image).await;
            Ok(())
        })
        .await?;
    }
    let upload = direct_upload::by_id_unscoped(id).one(&app.db.read).await?;
    let upload = upload.ok_or_else(|| Error::not_found("direct upload"))?;
    let file = match (upload.status, upload.file_id) {
        (Status::Completed, Some(file)) => file::by_id_unscoped(file).one(&app.db.read).await?,
        _ => None,
    };
    // Other bytes came first, or somebody gave the upload up while these were on their way.
    let these = file.filter(|file| file.removed_at.is_none() && file.sha256.as_deref() == Some(&sha256[..]));
    let Some(file) = these else { return Err(over(&upload)) };
    Ok((upload, file))
}

/// Receives the body of a PUT.
async fn receive_bytes<S>(app: &App, upload: &Model, length: Option<u64>, chunks: S) -> Result<Spool>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    let most = u64::try_from(upload.size.unwrap_or(upload.max_size)).unwrap_or_default();
    if length.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let left = (upload.expires_at + GRACE - app.clock.now()).to_std().unwrap_or_default();
    let chunks = Box::pin(counted(app, upload.id, chunks));
    let received = tokio::time::timeout(left, Spool::receive(&app.config.data_dir, most, chunks));
    let spool = received.await.unwrap_or_else(|_| Err(expired()))?;
    if upload.size.is_some_and(|size| u64::try_from(size).is_ok_and(|size| spool.size < size))
        || spool.size == 0
    {
        return Err(not_all());
    }
    Ok(spool)
}

/// Held while a body is received or copied: the holder of one URL fills the disk with one body at a time.
struct UploadGuard(App, DirectUploadId);

impl UploadGuard {
    /// Waits for the body that is being received, as long as an answer may wait.
    async fn take(app: &App, id: DirectUploadId) -> Result<UploadGuard> {
        let until = Instant::now() + app.config.provision_wait;
        loop {
            if app.receiving.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
                return Ok(UploadGuard(app.clone(), id));
            }
            if Instant::now() >= until {
                let message = "The bytes of this upload are arriving by another request; wait for its end.";
                return Err(Error::refuse(Code::Conflict, message));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.0.receiving.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Completes an upload whose bytes were sent straight to the byte store, if they are there.
pub(super) async fn settle_presigned(app: &App, upload: &Model) -> Result<()> {
    // A copy and a spool each: one request at a time makes them.
    let _turn = UploadGuard::take(app, upload.id).await?;
    let upload_now = direct_upload::by_id_unscoped(upload.id).one(&app.db.read).await?;
    if upload_now.is_none_or(|now| now.status != Status::Open) {
        return Ok(());
    }
    let incoming = BlobKey::Incoming(upload.id.0);
    let late = app.clock.now() > upload.expires_at;
    let Some(size) = app.blobs.size(incoming).await? else {
        return Err(if late { expired() } else { incomplete() });
    };
    let most = u64::try_from(upload.max_size).unwrap_or_default();
    if size > most {
        return refuse_bytes(app, upload, too_large(most).public()).await;
    }
    if upload.size.is_some_and(|claimed| u64::try_from(claimed) != Ok(size)) {
        return Err(not_all());
    }
    // The URL works until it expires: from here on the bytes are those of a copy that nobody else can change.
    let blob_id = uuid_v7(app.clock.now());
    match app.blobs.copy(incoming, BlobKey::Original(blob_id)).await {
        // The worker removed them at this moment.
        Err(object_store::Error::NotFound { .. }) => return Err(incomplete()),
        copied => copied?,
    }
    app.crash_point("upload-copied").await;
    let bytes = app.blobs.get(BlobKey::Original(blob_id)).await?;
    let spool = Spool::receive(&app.config.data_dir, most, bytes).await?;
    if spool.size != size {
        // Nothing is concluded from a store that contradicts itself.
        dedup::discard(app, blob_id).await;
        return Err(Error::fault("reading an upload", "the byte store hands out another number of bytes"));
    }
    let image = settle(app, upload, &spool, Some(blob_id)).await?;
    app.due.notify_one();
    provision(app, image).await;
    Ok(())
}

async fn provision(app: &App, image: Option<Box<image_entity::Model>>) {
    if let Some(image) = image {
        provision::provision_within_answer_time(app, *image).await;
    }
}

/// Settles received bytes; answers the image to be provisioned, if they are one. Those that are not accepted end the
/// upload, unless they were damaged on their way.
async fn settle(
    app: &App,
    upload: &Model,
    spool: &Spool,
    stored: Option<Uuid>,
) -> Result<Option<Box<image_entity::Model>>> {
    let problem = match fill(app, upload, spool, stored).await {
        Ok(IngestOutcome::Ready(_, image)) => return Ok(image),
        Ok(_) => return Ok(None),
        Err(problem) => problem,
    };
    // After a fault the commit may have happened all the same; the sweep finds out whether somebody owns the bytes.
    if let (Some(blob_id), Error::Refusal(_)) = (stored, &problem) {
        dedup::discard(app, blob_id).await;
    }
    match problem {
        Error::Refusal(why) if why.code != Code::ChecksumMismatch || stored.is_some() => {
            refuse_bytes(app, upload, why).await.map(|()| None)
        }
        problem => Err(problem),
    }
}

async fn fill(app: &App, upload: &Model, spool: &Spool, stored: Option<Uuid>) -> Result<IngestOutcome> {
    let workspace = workspace_entity::by_id_unscoped(upload.workspace_id).one(&app.db.read).await?;
    let file = match upload.file_id {
        Some(file) => file::by_id_unscoped(file).one(&app.db.read).await?,
        None => None,
    };
    let (Some(workspace), Some(file)) = (workspace, file) else { return Ok(IngestOutcome::TooLate) };
    let intent = file.intent.unwrap_or_default();
    let mime_type = intent.mime_type.clone();
    let expected = ExpectedFile {
        workspace: &workspace,
        intent,
        declared: DeclaredType { mime_type: mime_type.as_deref(), filename: Some(&file.filename) },
        image_id: upload.image_id,
        signed: upload.require_signed_urls,
        in_account: None,
        stored,
        target: Target::Upload(upload),
    };
    expected.fill(app, spool).await
}

/// The upload that a URL of ours permits to fill, or to fill again with the same bytes.
async fn permitted(app: &App, id: DirectUploadId, permit: &Permit) -> Result<Model> {
    if !url_signature::verify(app, &message(id, permit.expires), &permit.signature).await? {
        let message = "The signature of this URL does not fit: use it exactly as it was handed out.";
        return Err(Error::refuse(Code::Forbidden, message));
    }
    let found = direct_upload::by_id_unscoped(id).one(&app.db.read).await?;
    let Some(upload) = found.filter(|upload| upload.transport == Transport::Put) else {
        return Err(Error::not_found("direct upload"));
    };
    if !matches!(upload.status, Status::Open | Status::Completed) {
        return Err(over(&upload));
    }
    if DateTime::from_timestamp(permit.expires, 0).is_none_or(|until| until <= app.clock.now()) {
        return Err(expired());
    }
    Ok(upload)
}

fn not_all() -> Error {
    Error::refuse(
        Code::UploadIncomplete,
        "These are not the bytes that were announced; send them again, all of them.",
    )
}

/// Why no bytes are taken any more.
fn over(upload: &Model) -> Error {
    match upload.status {
        Status::Expired => expired(),
        Status::Cancelled => cancelled(),
        Status::Failed => failed(upload),
        Status::Completed | Status::Open => {
            Error::refuse(Code::Conflict, "The bytes of this upload have arrived already.")
        }
    }
}

/// The same chunks; now and then the row is told how many bytes they were.
fn counted<S>(app: &App, id: DirectUploadId, chunks: S) -> impl Stream<Item = Result<Bytes>> + Send
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    let start = (chunks, 0i64, Instant::now(), app.clone());
    stream::unfold(start, move |(mut chunks, mut bytes, mut told, app)| async move {
        let chunk = match tokio::time::timeout(MAX_SILENCE, chunks.next()).await {
            Ok(chunk) => chunk?,
            Err(_) => Err(not_all()),
        };
        bytes += chunk.as_ref().map_or(0, |chunk| i64::try_from(chunk.len()).unwrap_or(0));
        if told.elapsed() > PROGRESS {
            if let Err(problem) = note(&app, id, bytes).await {
                problem.log();
            }
            told = Instant::now();
        }
        Some((chunk, (chunks, bytes, told, app)))
    })
}

async fn note(app: &App, id: DirectUploadId, bytes: i64) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::BytesReceived, Expr::val(bytes))
        .filter(direct_upload::COLUMN.id.eq(id))
        .filter(Column::Status.eq(Status::Open))
        .exec(&app.db.write)
        .await?;
    Ok(())
}

fn message(id: DirectUploadId, expires: i64) -> String {
    format!("upload\n{id}\n{expires}")
}
