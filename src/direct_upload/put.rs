//! Direct uploads by PUT: the client sends the raw bytes to a signed URL of this server, or directly to its byte store.

use std::sync::PoisonError;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::stream::{self, Stream, StreamExt};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use tokio::time::{Duration, Instant};
use url::Url;
use uuid::Uuid;

use super::{GRACE, cancelled, expired, failed, incomplete, reject_bytes, workspace_and_file};
use crate::app::App;
use crate::auth::url_signature::{self, Signer};
use crate::content::mime::DeclaredType;
use crate::entity::direct_upload::{self, Column, Entity, Model, Status, Transport};
use crate::entity::{columns, file};
use crate::error::{Code, Error, Result};
use crate::id::{DirectUploadId, uuid_v7};
use crate::ingest::dedup;
use crate::ingest::expected_file::ExpectedFile;
use crate::ingest::{IngestOutcome, Target};
use crate::job;
use crate::provision::{self, claim::Claimed};
use crate::storage::BlobKey;
use crate::storage::spool::{Spool, too_large};

/// How long a client may pause while it sends the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request checks whether an earlier one for the same upload has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often the number of received bytes is recorded.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// The signed query parameters of an upload URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpload {
    /// Unix time in seconds.
    pub expires: i64,
    pub signature: String,
}

/// The signed URLs at which this server receives the bytes of uploads.
pub(super) struct SignedUrls {
    signer: Signer,
    public_url: Url,
}

impl SignedUrls {
    pub(super) async fn new(app: &App) -> Result<Self> {
        Ok(SignedUrls { signer: Signer::load(app).await?, public_url: app.public_url()? })
    }

    pub(super) fn of(&self, upload: &Model) -> Url {
        let expires = upload.expires_at.timestamp();
        let signature = self.signer.sign(&message(upload.id, expires));
        let mut url = self.public_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["uploads", &upload.id.to_string()]);
        }
        url.query_pairs_mut()
            .append_pair("expires", &expires.to_string())
            .append_pair("signature", &signature);
        url
    }
}

/// Receives the bytes of an upload and completes it; the signed URL is the authorization. Until the URL expires, a repeated
/// request with the same bytes returns the same file.
///
/// # Errors
/// `FORBIDDEN` for an invalid signature, `UPLOAD_EXPIRED`, `CONFLICT` for bytes that differ from those received first;
/// `UPLOAD_INCOMPLETE` and `CHECKSUM_MISMATCH`, after which the bytes can be sent again. The following end the upload:
/// `DUPLICATE_CONTENT` and what [`policy::check_content`](crate::ingest::policy::check_content) refuses.
pub async fn receive<S>(
    app: &App,
    id: DirectUploadId,
    signed: &SignedUpload,
    length: Option<u64>,
    chunks: S,
) -> Result<(Model, file::Model)>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    find_signed(app, id, signed).await?;
    let guard = UploadGuard::acquire(app, id).await?;
    // Read again: an earlier request may have ended the upload.
    let upload = find_signed(app, id, signed).await?;
    let spool = receive_bytes(app, &upload, length, chunks).await?;
    app.crash_point("upload-received").await;
    let sha256 = spool.sha256;
    if upload.status == Status::Open {
        let task_app = app.clone();
        // Runs to its end even if the client disconnects.
        job::run_to_end(async move {
            let claimed = complete_received(&task_app, &upload, &spool, None).await?;
            drop((spool, guard));
            provision(&task_app, claimed).await;
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
    // The file has other bytes if another request was first, and none if the upload was cancelled in the meantime.
    let filled = file.filter(|file| file.removed_at.is_none() && file.sha256.as_deref() == Some(&sha256[..]));
    let Some(file) = filled else { return Err(closed(&upload)) };
    Ok((upload, file))
}

/// Receives the body of a PUT, and checks its size against the declared size and the limit of the upload.
async fn receive_bytes<S>(app: &App, upload: &Model, length: Option<u64>, chunks: S) -> Result<Spool>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    let max_size = u64::try_from(upload.size.unwrap_or(upload.max_size)).unwrap_or_default();
    if length.is_some_and(|length| length > max_size) {
        return Err(too_large(max_size));
    }
    let time_left = (upload.expires_at + GRACE - app.clock.now()).to_std().unwrap_or_default();
    let chunks = Box::pin(with_progress(app, upload.id, chunks));
    let received = tokio::time::timeout(time_left, Spool::receive(&app.config.data_dir, max_size, chunks));
    let spool = received.await.unwrap_or_else(|_| Err(expired()))?;
    if upload.size.is_some_and(|size| u64::try_from(size).is_ok_and(|size| spool.size < size))
        || spool.size == 0
    {
        return Err(incomplete_body());
    }
    Ok(spool)
}

/// Held while the bytes of an upload are received or copied: with one URL, a client can fill the disk with one body at a time.
struct UploadGuard(App, DirectUploadId);

impl UploadGuard {
    /// Waits until no other request holds the guard of this upload, but no longer than `provision_wait`.
    async fn acquire(app: &App, id: DirectUploadId) -> Result<UploadGuard> {
        let deadline = Instant::now() + app.config.provision_wait;
        loop {
            if app.receiving.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
                return Ok(UploadGuard(app.clone(), id));
            }
            if Instant::now() >= deadline {
                let message =
                    "Another request is sending the bytes of this upload; try again when it has ended.";
                return Err(Error::refuse(Code::Conflict, message));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.0.receiving.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Completes an upload whose bytes were sent directly to the byte store, if they have arrived.
///
/// # Errors
/// `UPLOAD_INCOMPLETE` and `UPLOAD_EXPIRED` while there are no bytes, and what [`reject_bytes`] returns.
pub(super) async fn complete_presigned(app: &App, upload: &Model) -> Result<()> {
    // Each call makes a copy in the store and one on disk, so calls for one upload run one after the other.
    let _guard = UploadGuard::acquire(app, upload.id).await?;
    let of_id = direct_upload::by_id_unscoped(upload.id);
    let current = columns::fetch(&app.db.read, of_id, &[Column::Status]).await?.pop();
    if current.is_none_or(|current| current.status != Status::Open) {
        return Ok(());
    }
    let incoming = BlobKey::Incoming(upload.id.0);
    let is_expired = app.clock.now() > upload.expires_at;
    let Some(size) = app.blobs.size(incoming).await? else {
        return Err(if is_expired { expired() } else { incomplete() });
    };
    let max_size = u64::try_from(upload.max_size).unwrap_or_default();
    if size > max_size {
        return reject_bytes(app, upload, too_large(max_size).public()).await;
    }
    if upload.size.is_some_and(|declared| u64::try_from(declared) != Ok(size)) {
        return Err(incomplete_body());
    }
    // The client can overwrite the object until the URL expires, so all that follows reads a copy.
    let blob_id = uuid_v7(app.clock.now());
    match app.blobs.copy(incoming, BlobKey::Original(blob_id)).await {
        // The worker has removed the object in the meantime.
        Err(object_store::Error::NotFound { .. }) => return Err(incomplete()),
        copied => copied?,
    }
    app.crash_point("upload-copied").await;
    let bytes = app.blobs.get(BlobKey::Original(blob_id)).await?;
    let spool = Spool::receive(&app.config.data_dir, max_size, bytes).await?;
    if spool.size != size {
        // A fault and not a rejection: the store reported one size and returned another.
        dedup::discard(app, blob_id).await;
        return Err(Error::fault("reading an upload", "the byte store returned a different number of bytes"));
    }
    let claimed = complete_received(app, upload, &spool, Some(blob_id)).await?;
    app.due.notify_one();
    provision(app, claimed).await;
    Ok(())
}

async fn provision(app: &App, claimed: Option<Claimed>) {
    if let Some(claimed) = claimed {
        provision::provision_within_answer_time(app, claimed).await;
    }
}

/// Completes an upload with received bytes, and returns the image to provision, if they are one. Bytes that are not accepted
/// end the upload, unless a checksum shows that they were damaged in transit.
async fn complete_received(
    app: &App,
    upload: &Model,
    spool: &Spool,
    stored: Option<Uuid>,
) -> Result<Option<Claimed>> {
    let problem = match fill(app, upload, spool, stored).await {
        Ok(IngestOutcome::Ready(file, image)) => {
            return Ok(image.map(|image| Claimed { image: *image, file: Some(*file) }));
        }
        Ok(_) => return Ok(None),
        Err(problem) => problem,
    };
    // After a fault the transaction may have been committed nevertheless. The sweep removes bytes that no file owns.
    if let (Some(blob_id), Error::Refusal(_)) = (stored, &problem) {
        dedup::discard(app, blob_id).await;
    }
    match problem {
        Error::Refusal(reason) if reason.code != Code::ChecksumMismatch || stored.is_some() => {
            reject_bytes(app, upload, reason).await.map(|()| None)
        }
        problem => Err(problem),
    }
}

async fn fill(app: &App, upload: &Model, spool: &Spool, stored: Option<Uuid>) -> Result<IngestOutcome> {
    let Some((workspace, file)) = workspace_and_file(app, upload).await? else {
        return Ok(IngestOutcome::TooLate);
    };
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

/// The upload of a signed URL, if it is open or completed.
async fn find_signed(app: &App, id: DirectUploadId, signed: &SignedUpload) -> Result<Model> {
    url_signature::require_valid(app, &message(id, signed.expires), &signed.signature).await?;
    let found = direct_upload::by_id_unscoped(id).one(&app.db.read).await?;
    let Some(upload) = found.filter(|upload| upload.transport == Transport::Put) else {
        return Err(Error::not_found("direct upload"));
    };
    if !matches!(upload.status, Status::Open | Status::Completed) {
        return Err(closed(&upload));
    }
    if DateTime::from_timestamp(signed.expires, 0).is_none_or(|until| until <= app.clock.now()) {
        return Err(expired());
    }
    Ok(upload)
}

fn incomplete_body() -> Error {
    let message = "The body is incomplete or not of the declared size; send all of the bytes again.";
    Error::refuse(Code::UploadIncomplete, message)
}

/// The refusal of bytes for an upload that accepts no more.
fn closed(upload: &Model) -> Error {
    match upload.status {
        Status::Expired => expired(),
        Status::Cancelled => cancelled(),
        Status::Failed => failed(upload),
        Status::Completed | Status::Open => {
            Error::refuse(Code::Conflict, "This upload has already received its bytes.")
        }
    }
}

/// The same chunks. Records the number of received bytes at intervals, and ends with an error after [`IDLE_TIMEOUT`].
fn with_progress<S>(app: &App, id: DirectUploadId, chunks: S) -> impl Stream<Item = Result<Bytes>> + Send
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    let start = (chunks, 0i64, Instant::now(), app.clone());
    stream::unfold(start, move |(mut chunks, mut bytes, mut recorded_at, app)| async move {
        let chunk = match tokio::time::timeout(IDLE_TIMEOUT, chunks.next()).await {
            Ok(chunk) => chunk?,
            Err(_) => Err(incomplete_body()),
        };
        bytes += chunk.as_ref().map_or(0, |chunk| i64::try_from(chunk.len()).unwrap_or(0));
        if recorded_at.elapsed() > PROGRESS_INTERVAL {
            if let Err(problem) = record_progress(&app, id, bytes).await {
                problem.log();
            }
            recorded_at = Instant::now();
        }
        Some((chunk, (chunks, bytes, recorded_at, app)))
    })
}

async fn record_progress(app: &App, id: DirectUploadId, bytes: i64) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::BytesReceived, Expr::val(bytes))
        .filter(direct_upload::COLUMN.id.eq(id))
        .filter(Column::Status.eq(Status::Open))
        .exec(&app.db.write)
        .await?;
    Ok(())
}

/// The text that is signed.
fn message(id: DirectUploadId, expires: i64) -> String {
    format!("upload\n{id}\n{expires}")
}
