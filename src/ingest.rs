//! Makes a ready file of received bytes, whether they were uploaded with a request, sent by a direct upload, or imported.

pub mod dedup;

pub mod description;

pub mod expected_file;

pub mod filename;

pub mod options;

pub mod outcome;

pub mod policy;

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, UpdateMany, sea_query::Expr};
use uuid::Uuid;

pub use crate::ingest::options::{NewFileOptions, ValidatedOptions};
pub use crate::ingest::outcome::{Uploaded, first_result};

use crate::app::{App, Transaction};
use crate::content::detect::DetectedContent;
use crate::entity::direct_upload;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, ImageStatus, Intent, Model, Status};
use crate::entity::image::{self as image_entity, NewImage, State};
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::error::{Code, Error, Result};
use crate::id::{FileId, ImageId};
use crate::idempotency::IdempotencyKey;
use crate::ingest::dedup::{CandidateBlobs, ContentLookup};
use crate::normalization::{original_unless_nfc, to_nfc};
use crate::rows::{self, stored_bytes};
use crate::storage::spool::Spool;
use cloudflare_images::wire;

/// Received bytes whose type was determined, and how to store them.
pub struct ReceivedFile<'a> {
    pub workspace: &'a Workspace,
    pub spool: &'a Spool,
    pub kind: &'a DetectedContent,
    /// A file of the workspace with the same bytes, if one was found a moment ago.
    pub existing: Option<&'a Model>,
    /// The blob of these bytes, if they were written to the byte store already.
    pub stored: Option<Uuid>,
    pub on_duplicate: DuplicatePolicy,
    pub image: ImageRequest<'a>,
    pub target: Target<'a>,
}

/// The image to insert with the file, if the bytes are a picture.
pub struct ImageRequest<'a> {
    pub id: ImageId,
    pub new: &'a NewImage,
    /// Whether the image requires signed URLs.
    pub signed: bool,
    /// The image in the account, if the bytes were uploaded there first.
    pub in_account: Option<&'a AccountImage>,
}

/// An image in the account, and the account's hash in delivery URLs.
pub struct AccountImage {
    pub image: wire::Image,
    pub account_hash: String,
}

/// The file row that gets the bytes.
pub enum Target<'a> {
    /// A new row to insert, and the idempotency key of its request.
    New(Box<Model>, Option<&'a IdempotencyKey>),
    /// The row of an import, claimed for this attempt, and a file name from the source that replaces the one in the row.
    Import(&'a Model, Option<String>),
    /// The row of a direct upload's file.
    Upload(&'a direct_upload::Model),
}

/// How an ingest ended.
pub enum IngestOutcome {
    /// The file is ready. An image that is to be provisioned is claimed by the caller.
    Ready(Box<Model>, Option<Box<image_entity::Model>>),
    /// The workspace has a file with the same bytes, and `onDuplicate` is `REUSE`.
    Existing(Box<Model>),
    /// Another request with the same idempotency key was committed first.
    Repeated,
    /// The row of the import or direct upload was deleted, or got its bytes from another request.
    TooLate,
}

/// Stores received bytes, unless the workspace has them already, and makes the file ready. File, image, direct upload,
/// idempotency key and events are written in one transaction.
///
/// # Errors
/// `DUPLICATE_CONTENT` if the workspace has the bytes and `onDuplicate` is `REJECT`.
pub async fn ingest(app: &App, received: &ReceivedFile<'_>) -> Result<IngestOutcome> {
    let (workspace, sha256) = (received.workspace.id, &received.spool.sha256);
    let mut blobs = find_or_store(app, received).await?;
    app.crash_point("bytes-stored").await;
    // The row of an import or direct upload cannot be replaced by another file, so it shares the bytes of that file.
    let policy = match (&received.target, received.on_duplicate) {
        (Target::Import(..) | Target::Upload(_), DuplicatePolicy::Reuse) => DuplicatePolicy::Create,
        (_, policy) => policy,
    };
    let (outcome, used) = loop {
        let transaction = app.db.begin().await?;
        dedup::lock_content(&transaction, workspace, sha256).await?;
        // If writing fails, here or below, the transaction may have been committed all the same. The bytes are kept therefore;
        // the sweep deletes them if no file owns them.
        if let (Target::New(row, _), CandidateBlobs { new: Some(id), verified: None }) =
            (&received.target, blobs)
        {
            let row = with_content(row, received, id);
            if let Some(file) = rows::file::insert_unless_duplicate(&transaction, row, sha256).await? {
                let now = app.clock.now();
                break (Ok(complete(app, transaction, received, file, now).await?), blobs.new);
            }
        }
        match dedup::choose_blob(&transaction, workspace, sha256, policy, blobs).await? {
            ContentLookup::NotStored => {
                transaction.rollback().await?;
                blobs.new = Some(dedup::store(app, received.spool).await?);
            }
            ContentLookup::Unverified(file) => {
                transaction.rollback().await?;
                blobs.verified = stored_bytes::verified_blob_of(app, &file).await?;
            }
            ContentLookup::Duplicate(file) => {
                break (reuse_or_reject(app, transaction, received, policy, file).await, None);
            }
            ContentLookup::Blob(id) => {
                break (Ok(write_rows(app, transaction, received, id).await?), Some(id));
            }
        }
    };
    let unused = !matches!(outcome, Ok(IngestOutcome::Ready(..))) || used != blobs.new;
    if let (Some(blob_id), true) = (blobs.new, unused) {
        dedup::discard(app, blob_id).await;
    }
    app.crash_point("rows-written").await;
    outcome
}

/// The blob of the file with the same bytes, if the byte store has it; otherwise the bytes are stored.
async fn find_or_store(app: &App, received: &ReceivedFile<'_>) -> Result<CandidateBlobs> {
    if received.stored.is_some() {
        return Ok(CandidateBlobs { new: received.stored, verified: None });
    }
    if let Some(file) = received.existing
        && let Some(verified) = stored_bytes::verified_blob_of(app, file).await?
    {
        return Ok(CandidateBlobs { new: None, verified: Some(verified) });
    }
    Ok(CandidateBlobs { new: Some(dedup::store(app, received.spool).await?), verified: None })
}

/// Returns the file that has these bytes already, or refuses them.
async fn reuse_or_reject(
    app: &App,
    transaction: Transaction,
    received: &ReceivedFile<'_>,
    policy: DuplicatePolicy,
    file: Box<Model>,
) -> Result<IngestOutcome> {
    // The file may be the result of the same request, sent before.
    if let Some(outcome) = outcome_of_earlier_request(app, &transaction, &received.target).await? {
        transaction.rollback().await?;
        return Ok(outcome);
    }
    if policy == DuplicatePolicy::Reject {
        transaction.rollback().await?;
        return Err(duplicate(file.id));
    }
    if let Target::New(_, Some(key)) = &received.target
        && !key.insert(&transaction, file.id, None, true, app.clock.now()).await?
    {
        return Ok(IngestOutcome::Repeated);
    }
    transaction.commit().await?;
    Ok(IngestOutcome::Existing(file))
}

/// The outcome if an earlier request has filled the same target. The caller holds the lock on the content, so every other
/// request with the same content is either committed or has not begun to write.
async fn outcome_of_earlier_request(
    app: &App,
    transaction: &Transaction,
    target: &Target<'_>,
) -> Result<Option<IngestOutcome>> {
    let (file, status) = match target {
        Target::New(_, None) => return Ok(None),
        Target::New(_, Some(key)) => {
            let used = key.used(transaction, app.clock.now()).await?;
            return Ok(used.then_some(IngestOutcome::Repeated));
        }
        Target::Import(file, _) => (Some(file.id), Status::Processing),
        Target::Upload(upload) => (upload.file_id, Status::AwaitingUpload),
    };
    let Some(id) = file else { return Ok(Some(IngestOutcome::TooLate)) };
    let file = file::by_id_unscoped(id).one(transaction).await?;
    Ok(file.is_none_or(|file| file.status != status).then_some(IngestOutcome::TooLate))
}

/// The refusal of bytes that a file of the workspace has already.
pub fn duplicate(existing: FileId) -> Error {
    let message = format!("The workspace has these bytes already, in the file {existing}.");
    Error::refuse(Code::DuplicateContent, message)
}

/// Writes the rows of a file whose bytes are stored in `blob_id`, and commits.
async fn write_rows(
    app: &App,
    transaction: Transaction,
    received: &ReceivedFile<'_>,
    blob_id: Uuid,
) -> Result<IngestOutcome> {
    let now = app.clock.now();
    let file = match &received.target {
        Target::New(row, _) => {
            Some(rows::file::insert(&transaction, with_content(row, received, blob_id)).await?)
        }
        target => fill_row(&transaction, target, received, blob_id, now).await?,
    };
    match file {
        Some(file) => complete(app, transaction, received, file, now).await,
        None => Ok(IngestOutcome::TooLate),
    }
}

/// Writes what belongs to the written row of a file: idempotency key, image and events; and commits.
async fn complete(
    app: &App,
    transaction: Transaction,
    received: &ReceivedFile<'_>,
    file: Model,
    now: DateTime<Utc>,
) -> Result<IngestOutcome> {
    let mut events = vec![(EventKind::FileReady, None)];
    if let Target::New(_, key) = &received.target {
        if let Some(key) = key
            && !key.insert(&transaction, file.id, None, false, now).await?
        {
            return Ok(IngestOutcome::Repeated);
        }
        events.insert(0, (EventKind::FileCreated, None));
    }
    let image = match image_row(app, received, &file, now) {
        Some(row) => Some(rows::image::insert(&transaction, row, received.workspace.exif_policy).await?),
        None => None,
    };
    let (provisioned, pending) = match image {
        Some(image) if image.state == State::Ready => (Some(image), None),
        other => (None, other),
    };
    events.extend(provisioned.map(|image| (EventKind::ImageProvisioned, Some(image.id))));
    rows::event::append_all(&transaction, &file, &events, now).await?;
    transaction.commit().await?;
    Ok(IngestOutcome::Ready(Box::new(file), pending.map(Box::new)))
}

/// The image of a file, if it is to have one: ready if the account has it, and claimed for being provisioned otherwise.
fn image_row(
    app: &App,
    received: &ReceivedFile<'_>,
    file: &Model,
    now: DateTime<Utc>,
) -> Option<image_entity::Model> {
    let ImageRequest { id, new, signed, in_account } = &received.image;
    let row = rows::image::row(*id, file, received.kind.picture.as_ref()?, new, *signed, now);
    match in_account {
        Some(in_account) => Some(image_entity::Model {
            state: State::Ready,
            cf_image_id: Some(in_account.image.id.clone()),
            account_hash: Some(in_account.account_hash.clone()),
            ..row
        }),
        None if new.provision => Some(image_entity::Model { due_at: Some(app.lease(now)), ..row }),
        None => None,
    }
}

/// The row of a new file with the properties of its bytes.
fn with_content(row: &Model, received: &ReceivedFile<'_>, blob_id: Uuid) -> Model {
    Model {
        status: Status::Ready,
        mime_type: Some(received.kind.mime_type.clone()),
        size: size(received),
        sha256: Some(received.spool.sha256.to_vec()),
        blob_id: Some(blob_id),
        image_status: image_status(received),
        ..row.clone()
    }
}

/// Sets the same properties in the row of an import or direct upload.
fn set_content(received: &ReceivedFile<'_>, blob_id: Uuid, now: DateTime<Utc>) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::Status, Status::Ready.into())
        .col_expr(Column::MimeType, Expr::val(received.kind.mime_type.as_str()))
        .col_expr(Column::Size, Expr::val(size(received)))
        .col_expr(Column::Sha256, Expr::val(received.spool.sha256.to_vec()))
        .col_expr(Column::BlobId, Expr::val(blob_id))
        .col_expr(Column::ImageStatus, image_status(received).into())
        .col_expr(Column::SourceUrl, Expr::val(None::<String>))
        .col_expr(Column::Intent, Expr::val(None::<Intent>))
        .col_expr(Column::DueAt, Expr::val(None::<DateTime<Utc>>))
        .col_expr(Column::UpdatedAt, Expr::val(now))
}

fn size(received: &ReceivedFile<'_>) -> i64 {
    i64::try_from(received.spool.size).unwrap_or(i64::MAX)
}

fn image_status(received: &ReceivedFile<'_>) -> ImageStatus {
    match (&received.kind.picture, received.image.in_account, received.image.new.provision) {
        (None, ..) => ImageStatus::NotApplicable,
        (Some(_), Some(_), _) => ImageStatus::Ready,
        (Some(_), None, true) => ImageStatus::InProgress,
        // The same status as after `deleteImage`: `provisionImage` creates an image.
        (Some(_), None, false) => ImageStatus::Removed,
    }
}

/// Makes the row of an import or direct upload ready, and completes the direct upload; `None` if another request did so first,
/// or the file was deleted.
async fn fill_row(
    transaction: &Transaction,
    target: &Target<'_>,
    received: &ReceivedFile<'_>,
    blob_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Model>> {
    let mut update = set_content(received, blob_id, now);
    let id = match target {
        Target::New(..) => return Ok(None),
        Target::Import(file, name) => {
            if let Some(name) = name {
                update = update
                    .col_expr(Column::Filename, Expr::val(to_nfc(name).as_ref()))
                    .col_expr(Column::FilenameSent, Expr::val(original_unless_nfc(name)));
            }
            update = update
                .filter(Column::Status.eq(Status::Processing))
                .filter(file::COLUMN.attempts.eq(file.attempts));
            Some(file.id)
        }
        Target::Upload(upload) => {
            update = update.filter(Column::Status.eq(Status::AwaitingUpload));
            upload.file_id
        }
    };
    let Some(id) = id else { return Ok(None) };
    let updated = update
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::COLUMN.deleted_at.is_null())
        .exec_with_returning(transaction)
        .await?;
    let Some(file) = updated.into_iter().next() else { return Ok(None) };
    if let Target::Upload(upload) = target
        && !rows::direct_upload::end_completed(transaction, upload, size(received), now).await?
    {
        return Ok(None);
    }
    Ok(Some(file))
}
