//! How bytes become a usable file, whichever way they came: uploaded with the request, sent directly, or fetched.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::app::{App, Transaction};
use crate::entity::file::{self, Column, Entity, ImageStatus, Intent, Model, Status};
use crate::entity::image::{self as image_entity, NewImage, State};
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::entity::{direct_upload, event};
use crate::error::{Code, Error, Result};
use crate::file::content::{self, Claim};
use crate::file::description::{Tags, check_metadata, check_sha256, check_tags};
use crate::file::kind::Kind;
use crate::file::mime::Declared;
use crate::file::spool::{Spool, too_large};
use crate::file::{checked_filename, policy, presence};
use crate::id::{FileId, ImageId, UserId};
use crate::idempotency::Key;
use crate::spelling::{as_sent, composed};
use crate::{direct_upload as uploads, event as events, image};
use cloudflare_images::wire;

/// What is wanted of a file to be made, whichever way its bytes come.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Wish {
    pub filename: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Option<Map<String, Value>>,
    pub image: NewImage,
    /// `None` follows the workspace's policy.
    pub on_duplicate: Option<DuplicatePolicy>,
    /// Lower-case hex SHA-256 the bytes must have.
    pub sha256: Option<String>,
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// A wish that can be granted in its workspace.
#[derive(Debug, Clone)]
pub struct Granted {
    pub filename: Option<String>,
    pub tags: Tags,
    pub metadata: Option<Value>,
    pub image: NewImage,
    /// The access its image will have.
    pub signed: bool,
    pub on_duplicate: DuplicatePolicy,
    pub sha256: Option<[u8; 32]>,
}

impl Wish {
    /// Checks what can be checked without the bytes.
    ///
    /// # Errors
    /// `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, each with its field.
    pub fn granted(&self, workspace: &Workspace) -> Result<Granted> {
        let name = |name: &String| checked_filename(name).map_err(|e| e.at("filename"));
        let filename = self.filename.as_ref().map(name).transpose()?;
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata)?;
        }
        let signed = self.image.require_signed_urls.unwrap_or(workspace.private_by_default);
        image::settings::check(&self.image, signed).map_err(|e| e.under("image"))?;
        Ok(Granted {
            filename,
            tags: check_tags(&self.tags)?,
            metadata: self.metadata.clone().map(Value::Object),
            image: self.image.clone(),
            signed,
            on_duplicate: self.on_duplicate.unwrap_or(workspace.on_duplicate),
            sha256: self.sha256.as_deref().map(check_sha256).transpose()?,
        })
    }
}

impl Granted {
    /// The row of a file whose bytes are not there yet.
    pub fn row(&self, workspace: &Workspace, user: UserId, filename: String, now: DateTime<Utc>) -> Model {
        Model {
            id: FileId::new(now),
            workspace_id: workspace.id,
            created_by: Some(user),
            filename_sent: as_sent(&filename),
            filename: composed(&filename).into_owned(),
            status: Status::AwaitingUpload,
            mime_type: None,
            size: 0,
            sha256: None,
            blob_id: None,
            failure: None,
            image_status: ImageStatus::NotApplicable,
            image_failure: None,
            tags: self.tags.stored.clone(),
            tags_sent: self.tags.sent.clone(),
            metadata: self.metadata.clone(),
            source_url: None,
            intent: None,
            deleted_at: None,
            removed_at: None,
            due_at: None,
            attempts: 0,
            created_at: now,
            updated_at: now,
        }
    }
}

/// Received bytes that were looked at, and what is to become of them.
pub struct Arrival<'a> {
    pub workspace: &'a Workspace,
    pub spool: &'a Spool,
    pub kind: &'a Kind,
    /// Where the bytes lie, if they were stored for this arrival already.
    pub stored: Option<Uuid>,
    pub on_duplicate: DuplicatePolicy,
    pub image: ImageWish<'a>,
    pub target: Target<'a>,
}

/// The image to be made of them, if they are one.
pub struct ImageWish<'a> {
    pub id: ImageId,
    pub new: &'a NewImage,
    pub signed: bool,
    /// It is in the account already.
    pub made: Option<&'a Made>,
}

/// An image the account has, and its name for the account in delivery URLs.
pub struct Made {
    pub image: wire::Image,
    pub account_hash: String,
}

/// The file they fill.
pub enum Target<'a> {
    /// One that is not there yet: its row, and the key it was asked for under.
    New(Box<Model>, Option<&'a Key>),
    /// One that was promised when its source was named, claimed for this attempt. Perhaps it has a better name by now.
    Import(&'a Model, Option<String>),
    /// One that was promised with a direct upload.
    Upload(&'a direct_upload::Model),
}

/// What became of an arrival.
pub enum Settled {
    /// The file is ready. The image, if one is to be provisioned, is claimed by whoever asked.
    Ready(Box<Model>, Option<Box<image_entity::Model>>),
    /// The workspace had a file with these bytes, and the policy is to take that one.
    Known(Box<Model>),
    /// Another request with the same key was faster.
    Repeated,
    /// The promised file is gone, or somebody else filled it.
    TooLate,
}

/// Checks received bytes against what the workspace takes and finds out what they are.
///
/// # Errors
/// `EMPTY_FILE`, `FILE_TOO_LARGE`, `CHECKSUM_MISMATCH`, `MIME_TYPE_MISMATCH`, `UNSUPPORTED_MIME_TYPE`, `CORRUPT_IMAGE`;
/// with `provision` also what Cloudflare Images would refuse.
pub async fn checked_kind(
    app: &App,
    workspace: &Workspace,
    spool: &Spool,
    sha256: Option<&[u8; 32]>,
    declared: Declared<'_>,
    provision: bool,
) -> Result<Kind> {
    if spool.size == 0 {
        return Err(Error::refuse(Code::EmptyFile, "The file has no bytes."));
    }
    let most = policy::max_size(app, workspace);
    if spool.size > most {
        return Err(too_large(most));
    }
    if sha256.is_some_and(|expected| *expected != spool.sha256) {
        let message =
            "The bytes do not have the SHA-256 that was given: they were changed or cut off on their way.";
        return Err(Error::refuse(Code::ChecksumMismatch, message));
    }
    let kind = Kind::of(spool, declared).await?;
    kind.check_claim(declared)?;
    policy::check_type(workspace, &kind.mime_type)?;
    if provision {
        kind.check_image(spool.size)?;
    }
    Ok(kind)
}

/// Stores the bytes, unless the workspace has them, and makes the file ready: file, image, upload, key and events in one
/// transaction.
///
/// # Errors
/// `DUPLICATE_CONTENT`.
pub async fn settle(app: &App, arrival: &Arrival<'_>) -> Result<Settled> {
    let (workspace, sha256) = (arrival.workspace.id, &arrival.spool.sha256);
    let (mut own, mut seen) = (arrival.stored, None);
    if own.is_none() {
        if let Some(standing) = content::find(&app.db.read, workspace, sha256).await? {
            seen = presence::seen(app, &standing).await?;
        }
        if seen.is_none() {
            own = Some(content::store(app, arrival.spool).await?);
        }
    }
    app.step("bytes-stored").await;
    // A promised file has its id already: it shares the bytes of the one that is there.
    let policy = match (&arrival.target, arrival.on_duplicate) {
        (Target::Import(..) | Target::Upload(_), DuplicatePolicy::Reuse) => DuplicatePolicy::Create,
        (_, policy) => policy,
    };
    let (settled, used) = loop {
        let transaction = app.db.begin().await?;
        match content::claim(&transaction, workspace, sha256, policy, own, seen).await? {
            Claim::Missing => {
                transaction.rollback().await?;
                own = Some(content::store(app, arrival.spool).await?);
            }
            Claim::Unseen(standing) => {
                transaction.rollback().await?;
                seen = presence::seen(app, &standing).await?;
            }
            Claim::Exists(file) => break (take_known(app, transaction, arrival, policy, file).await, None),
            // If this fails, the commit may have happened all the same; the sweep finds out whether somebody owns the
            // bytes.
            Claim::Bytes(blob_id) => {
                let settled = write(app, transaction, arrival, blob_id).await?;
                break (Ok(settled), Some(blob_id));
            }
        }
    };
    let unused = !matches!(settled, Ok(Settled::Ready(..))) || used != own;
    if let (Some(blob_id), true) = (own, unused) {
        content::discard(app, blob_id).await;
    }
    app.step("rows-written").await;
    settled
}

/// Answers the file that has these bytes already, or refuses.
async fn take_known(
    app: &App,
    transaction: Transaction,
    arrival: &Arrival<'_>,
    policy: DuplicatePolicy,
    file: Box<Model>,
) -> Result<Settled> {
    // The file that has the bytes may be what the same request made the first time.
    if let Some(settled) = settled_before(app, &transaction, &arrival.target).await? {
        transaction.rollback().await?;
        return Ok(settled);
    }
    if policy == DuplicatePolicy::Reject {
        transaction.rollback().await?;
        return Err(duplicate(file.id));
    }
    if let Target::New(_, Some(key)) = &arrival.target
        && !key.insert(&transaction, file.id, None, true, app.clock.now()).await?
    {
        return Ok(Settled::Repeated);
    }
    transaction.commit().await?;
    Ok(Settled::Known(file))
}

/// What became of an arrival that is settled already. Asked while nobody else decides on the same content: all who did
/// before have committed.
async fn settled_before(
    app: &App,
    transaction: &Transaction,
    target: &Target<'_>,
) -> Result<Option<Settled>> {
    let (promised, before) = match target {
        Target::New(_, None) => return Ok(None),
        Target::New(_, Some(key)) => {
            let used = key.used(transaction, app.clock.now()).await?;
            return Ok(used.then_some(Settled::Repeated));
        }
        Target::Import(file, _) => (Some(file.id), Status::Processing),
        Target::Upload(upload) => (upload.file_id, Status::AwaitingUpload),
    };
    let Some(id) = promised else { return Ok(Some(Settled::TooLate)) };
    let file = file::for_step(id).one(transaction).await?;
    Ok(file.is_none_or(|file| file.status != before).then_some(Settled::TooLate))
}

/// The refusal of bytes the workspace has.
pub fn duplicate(existing: FileId) -> Error {
    let message = format!("The workspace has these bytes already, in the file {existing}.");
    Error::refuse(Code::DuplicateContent, message)
}

async fn write(app: &App, transaction: Transaction, arrival: &Arrival<'_>, blob_id: Uuid) -> Result<Settled> {
    let now = app.clock.now();
    let file = match &arrival.target {
        Target::New(row, key) => {
            let file = super::insert(&transaction, filled(row, arrival, blob_id)).await?;
            if let Some(key) = key
                && !key.insert(&transaction, file.id, None, false, now).await?
            {
                return Ok(Settled::Repeated);
            }
            events::append(&transaction, event::Kind::FileCreated, file.workspace_id, file.id, None, now)
                .await?;
            file
        }
        promised => match fill(&transaction, promised, arrival, blob_id, now).await? {
            Some(file) => file,
            None => return Ok(Settled::TooLate),
        },
    };
    events::append(&transaction, event::Kind::FileReady, file.workspace_id, file.id, None, now).await?;
    let image = write_image(app, &transaction, arrival, &file, now).await?;
    transaction.commit().await?;
    Ok(Settled::Ready(Box::new(file), image.map(Box::new)))
}

async fn write_image(
    app: &App,
    transaction: &Transaction,
    arrival: &Arrival<'_>,
    file: &Model,
    now: DateTime<Utc>,
) -> Result<Option<image_entity::Model>> {
    let (Some(picture), ImageWish { id, new, signed, made }) = (&arrival.kind.picture, &arrival.image) else {
        return Ok(None);
    };
    let row = image::row(*id, file, picture, new, *signed, now);
    if let Some(made) = made {
        let row = image_entity::Model {
            state: State::Ready,
            cf_image_id: Some(made.image.id.clone()),
            account_hash: Some(made.account_hash.clone()),
            ..row
        };
        image::insert(transaction, row).await?;
        let kind = event::Kind::ImageProvisioned;
        events::append(transaction, kind, file.workspace_id, file.id, Some(*id), now).await?;
        return Ok(None);
    }
    if !new.provision {
        return Ok(None);
    }
    let row = image_entity::Model { due_at: Some(app.lease(now)), ..row };
    Ok(Some(image::insert(transaction, row).await?))
}

/// The row of a file with its bytes.
fn filled(row: &Model, arrival: &Arrival<'_>, blob_id: Uuid) -> Model {
    Model {
        status: Status::Ready,
        mime_type: Some(arrival.kind.mime_type.clone()),
        size: i64::try_from(arrival.spool.size).unwrap_or(i64::MAX),
        sha256: Some(arrival.spool.sha256.to_vec()),
        blob_id: Some(blob_id),
        image_status: image_status(arrival),
        ..row.clone()
    }
}

fn image_status(arrival: &Arrival<'_>) -> ImageStatus {
    match (&arrival.kind.picture, arrival.image.made, arrival.image.new.provision) {
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
    arrival: &Arrival<'_>,
    blob_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Model>> {
    let (id, before, attempts, name) = match promised {
        Target::Import(file, name) => (Some(file.id), Status::Processing, Some(file.attempts), name.as_ref()),
        Target::Upload(upload) => (upload.file_id, Status::AwaitingUpload, None, None),
        Target::New(..) => return Ok(None),
    };
    let Some(id) = id else { return Ok(None) };
    let size = i64::try_from(arrival.spool.size).unwrap_or(i64::MAX);
    let mut update = Entity::update_many()
        .col_expr(Column::Status, Status::Ready.into())
        .col_expr(Column::MimeType, Expr::val(arrival.kind.mime_type.as_str()))
        .col_expr(Column::Size, Expr::val(size))
        .col_expr(Column::Sha256, Expr::val(arrival.spool.sha256.to_vec()))
        .col_expr(Column::BlobId, Expr::val(blob_id))
        .col_expr(Column::ImageStatus, image_status(arrival).into())
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
        && !uploads::end_completed(transaction, upload, size, now).await?
    {
        return Ok(None);
    }
    Ok(Some(file))
}
