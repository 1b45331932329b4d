//! How received bytes become a usable file, whichever way they came: uploaded with the request, sent directly, or fetched.

pub mod dedup;

pub mod description;

pub mod filename;

pub mod options;

pub mod outcome;

pub mod policy;

pub mod promise;

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use uuid::Uuid;

pub use crate::ingest::options::{NewFileOptions, ValidatedOptions};
pub use crate::ingest::outcome::{Uploaded, first_result};

use crate::app::{App, Transaction};
use crate::content::kind::ContentKind;
use crate::entity::direct_upload;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, ImageStatus, Intent, Model, Status};
use crate::entity::image::{self as image_entity, NewImage, State};
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::error::{Code, Error, Result};
use crate::id::{FileId, ImageId};
use crate::idempotency::IdempotencyKey;
use crate::ingest::dedup::Claim;
use crate::rows::{self, stored_bytes};
use crate::spelling::{as_sent, composed};
use crate::storage::spool::Spool;
use cloudflare_images::wire;

/// Received bytes that were looked at, and what is to become of them.
pub struct ReceivedFile<'a> {
    pub workspace: &'a Workspace,
    pub spool: &'a Spool,
    pub kind: &'a ContentKind,
    /// Where the bytes lie, if they were stored for this received already.
    pub stored: Option<Uuid>,
    pub on_duplicate: DuplicatePolicy,
    pub image: ImageRequest<'a>,
    pub target: Target<'a>,
}

/// The image to be in_account of them, if they are one.
pub struct ImageRequest<'a> {
    pub id: ImageId,
    pub new: &'a NewImage,
    pub signed: bool,
    /// It is in the account already.
    pub in_account: Option<&'a AccountImage>,
}

/// An image the account has, and its name for the account in delivery URLs.
pub struct AccountImage {
    pub image: wire::Image,
    pub account_hash: String,
}

/// The file they fill.
pub enum Target<'a> {
    /// One that is not there yet: its row, and the key it was asked for under.
    New(Box<Model>, Option<&'a IdempotencyKey>),
    /// One that was promised when its source was named, claimed for this attempt. Perhaps it has a better name by now.
    Import(&'a Model, Option<String>),
    /// One that was promised with a direct upload.
    Upload(&'a direct_upload::Model),
}

/// What became of an received.
pub enum IngestOutcome {
    /// The file is ready. The image, if one is to be provisioned, is claimed by whoever asked.
    Ready(Box<Model>, Option<Box<image_entity::Model>>),
    /// The workspace had a file with these bytes, and the policy is to take that one.
    Known(Box<Model>),
    /// Another request with the same key was faster.
    Repeated,
    /// The promised file is gone, or somebody else filled it.
    TooLate,
}

/// Stores the bytes, unless the workspace has them, and makes the file ready: file, image, upload, key and events in one
/// transaction.
///
/// # Errors
/// `DUPLICATE_CONTENT`.
pub async fn ingest(app: &App, received: &ReceivedFile<'_>) -> Result<IngestOutcome> {
    let (workspace, sha256) = (received.workspace.id, &received.spool.sha256);
    let (mut own, mut verified_blob) = (received.stored, None);
    if own.is_none() {
        if let Some(standing) = dedup::find(&app.db.read, workspace, sha256).await? {
            verified_blob = stored_bytes::verified_blob_of(app, &standing).await?;
        }
        if verified_blob.is_none() {
            own = Some(dedup::store(app, received.spool).await?);
        }
    }
    app.crash_point("bytes-stored").await;
    // A promised file has its id already: it shares the bytes of the one that is there.
    let policy = match (&received.target, received.on_duplicate) {
        (Target::Import(..) | Target::Upload(_), DuplicatePolicy::Reuse) => DuplicatePolicy::Create,
        (_, policy) => policy,
    };
    let (settled, used) = loop {
        let transaction = app.db.begin().await?;
        match dedup::claim(&transaction, workspace, sha256, policy, own, verified_blob).await? {
            Claim::Missing => {
                transaction.rollback().await?;
                own = Some(dedup::store(app, received.spool).await?);
            }
            Claim::Unverified(standing) => {
                transaction.rollback().await?;
                verified_blob = stored_bytes::verified_blob_of(app, &standing).await?;
            }
            Claim::Exists(file) => break (take_known(app, transaction, received, policy, file).await, None),
            // If this fails, the commit may have happened all the same; the sweep finds out whether somebody owns the
            // bytes.
            Claim::Bytes(blob_id) => {
                let settled = write(app, transaction, received, blob_id).await?;
                break (Ok(settled), Some(blob_id));
            }
        }
    };
    let unused = !matches!(settled, Ok(IngestOutcome::Ready(..))) || used != own;
    if let (Some(blob_id), true) = (own, unused) {
        dedup::discard(app, blob_id).await;
    }
    app.crash_point("rows-written").await;
    settled
}

/// Answers the file that has these bytes already, or refuses.
async fn take_known(
    app: &App,
    transaction: Transaction,
    received: &ReceivedFile<'_>,
    policy: DuplicatePolicy,
    file: Box<Model>,
) -> Result<IngestOutcome> {
    // The file that has the bytes may be what the same request in_account the first time.
    if let Some(settled) = outcome_before(app, &transaction, &received.target).await? {
        transaction.rollback().await?;
        return Ok(settled);
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
    Ok(IngestOutcome::Known(file))
}

/// What became of an received that is settled already. Asked while nobody else decides on the same content: all who did
/// before have committed.
async fn outcome_before(
    app: &App,
    transaction: &Transaction,
    target: &Target<'_>,
) -> Result<Option<IngestOutcome>> {
    let (promised, before) = match target {
        Target::New(_, None) => return Ok(None),
        Target::New(_, Some(key)) => {
            let used = key.used(transaction, app.clock.now()).await?;
            return Ok(used.then_some(IngestOutcome::Repeated));
        }
        Target::Import(file, _) => (Some(file.id), Status::Processing),
        Target::Upload(upload) => (upload.file_id, Status::AwaitingUpload),
    };
    let Some(id) = promised else { return Ok(Some(IngestOutcome::TooLate)) };
    let file = file::by_id_unscoped(id).one(transaction).await?;
    Ok(file.is_none_or(|file| file.status != before).then_some(IngestOutcome::TooLate))
}

/// The refusal of bytes the workspace has.
pub fn duplicate(existing: FileId) -> Error {
    let message = format!("The workspace has these bytes already, in the file {existing}.");
    Error::refuse(Code::DuplicateContent, message)
}

async fn write(
    app: &App,
    transaction: Transaction,
    received: &ReceivedFile<'_>,
    blob_id: Uuid,
) -> Result<IngestOutcome> {
    let now = app.clock.now();
    let file = match &received.target {
        Target::New(row, key) => {
            let file = rows::file::insert(&transaction, filled(row, received, blob_id)).await?;
            if let Some(key) = key
                && !key.insert(&transaction, file.id, None, false, now).await?
            {
                return Ok(IngestOutcome::Repeated);
            }
            rows::event::append(&transaction, EventKind::FileCreated, file.workspace_id, file.id, None, now)
                .await?;
            file
        }
        promised => match fill(&transaction, promised, received, blob_id, now).await? {
            Some(file) => file,
            None => return Ok(IngestOutcome::TooLate),
        },
    };
    rows::event::append(&transaction, EventKind::FileReady, file.workspace_id, file.id, None, now).await?;
    let image = write_image(app, &transaction, received, &file, now).await?;
    transaction.commit().await?;
    Ok(IngestOutcome::Ready(Box::new(file), image.map(Box::new)))
}

async fn write_image(
    app: &App,
    transaction: &Transaction,
    received: &ReceivedFile<'_>,
    file: &Model,
    now: DateTime<Utc>,
) -> Result<Option<image_entity::Model>> {
    let (Some(picture), ImageRequest { id, new, signed, in_account }) =
        (&received.kind.picture, &received.image)
    else {
        return Ok(None);
    };
    let row = rows::image::row(*id, file, picture, new, *signed, now);
    if let Some(in_account) = in_account {
        let row = image_entity::Model {
            state: State::Ready,
            cf_image_id: Some(in_account.image.id.clone()),
            account_hash: Some(in_account.account_hash.clone()),
            ..row
        };
        rows::image::insert(transaction, row).await?;
        let kind = EventKind::ImageProvisioned;
        rows::event::append(transaction, kind, file.workspace_id, file.id, Some(*id), now).await?;
        return Ok(None);
    }
    if !new.provision {
        return Ok(None);
    }
    let row = image_entity::Model { due_at: Some(app.lease(now)), ..row };
    Ok(Some(rows::image::insert(transaction, row).await?))
}

/// The row of a file with its bytes.
fn filled(row: &Model, received: &ReceivedFile<'_>, blob_id: Uuid) -> Model {
    Model {
        status: Status::Ready,
        mime_type: Some(received.kind.mime_type.clone()),
        size: i64::try_from(received.spool.size).unwrap_or(i64::MAX),
        sha256: Some(received.spool.sha256.to_vec()),
        blob_id: Some(blob_id),
        image_status: image_status(received),
        ..row.clone()
    }
}

fn image_status(received: &ReceivedFile<'_>) -> ImageStatus {
    match (&received.kind.picture, received.image.in_account, received.image.new.provision) {
        (None, ..) => ImageStatus::NotApplicable,
        (Some(_), Some(_), _) => ImageStatus::Ready,
        (Some(_), None, true) => ImageStatus::InProgress,
        // As if it had been deleted: `provisionImage` makes one.
        (Some(_), None, false) => ImageStatus::Removed,
    }
}

/// Fills a promised file, and ends its direct upload; `None` if somebody else did so first, or the file is gone.
async fn fill(
    transaction: &Transaction,
    promised: &Target<'_>,
    received: &ReceivedFile<'_>,
    blob_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Model>> {
    let (id, before, attempts, name) = match promised {
        Target::Import(file, name) => (Some(file.id), Status::Processing, Some(file.attempts), name.as_ref()),
        Target::Upload(upload) => (upload.file_id, Status::AwaitingUpload, None, None),
        Target::New(..) => return Ok(None),
    };
    let Some(id) = id else { return Ok(None) };
    let size = i64::try_from(received.spool.size).unwrap_or(i64::MAX);
    let mut update = Entity::update_many()
        .col_expr(Column::Status, Status::Ready.into())
        .col_expr(Column::MimeType, Expr::val(received.kind.mime_type.as_str()))
        .col_expr(Column::Size, Expr::val(size))
        .col_expr(Column::Sha256, Expr::val(received.spool.sha256.to_vec()))
        .col_expr(Column::BlobId, Expr::val(blob_id))
        .col_expr(Column::ImageStatus, image_status(received).into())
        .col_expr(Column::SourceUrl, Expr::val(None::<String>))
        .col_expr(Column::Intent, Expr::val(None::<Intent>))
        .col_expr(Column::DueAt, Expr::val(None::<DateTime<Utc>>))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(id))
        .filter(Column::Status.eq(before))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::COLUMN.deleted_at.is_null());
    if let Some(attempts) = attempts {
        update = update.filter(file::COLUMN.attempts.eq(attempts));
    }
    if let Some(name) = name {
        update = update
            .col_expr(Column::Filename, Expr::val(composed(name).as_ref()))
            .col_expr(Column::FilenameSent, Expr::val(as_sent(name)));
    }
    let Some(file) = update.exec_with_returning(transaction).await?.into_iter().next() else {
        return Ok(None);
    };
    if let Target::Upload(upload) = promised
        && !rows::direct_upload::end_completed(transaction, upload, size, now).await?
    {
        return Ok(None);
    }
    Ok(Some(file))
}
