//! Making direct uploads.

use std::time::Duration;

use chrono::TimeDelta;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use tokio::time::Instant;

use super::{EXPIRES_IN, GRACE};
use crate::app::App;
use crate::auth::Viewer;
use crate::auth::editable;
use crate::content::detect::IMAGE_MIME_TYPES;
use crate::content::mime;
use crate::entity::api_token::Scope;
use crate::entity::direct_upload::{self, Column, Entity, Model, Status, Transport};
use crate::entity::event::EventKind;
use crate::entity::file::{self, Intent};
use crate::entity::idempotency_key;
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::error::{Code, Error, Refusal, Result};
use crate::id::{DirectUploadId, ImageId, WorkspaceId};
use crate::idempotency::{self, Key};
use crate::ingest::dedup;
use crate::ingest::policy;
use crate::ingest::{self, NewFileOptions, ValidatedOptions};
use crate::job;
use crate::provision;
use crate::provision::refusal;
use crate::provision::stray;
use crate::rows;
use crate::rows::stored_bytes;
use crate::storage::BlobKey;
use crate::storage::spool::too_large;
use cloudflare_images::Error as AccountError;
use cloudflare_images::client::{NewDirectUpload as Draft, NewImage};
use cloudflare_images::wire::{self, MAX_IMAGE_BYTES};

/// Most direct uploads of one batch.
pub const MAX_BATCH: usize = 100;
/// How many of a batch are made at a time: each may be a call to the account.
pub const AT_ONCE: usize = 8;
/// How often a repeated request looks whether the first one has its URL.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A direct upload to be made.
#[derive(Debug, Clone)]
pub struct NewDirectUpload {
    pub workspace_id: WorkspaceId,
    /// Its name is needed here.
    pub options: NewFileOptions,
    /// Claimed type; the bytes are looked at when they are here.
    pub mime_type: String,
    /// Claimed size in bytes, so that a limit is known before they are sent.
    pub size: Option<u64>,
    /// Seconds the upload URL stays valid.
    pub expires_in: i64,
    /// `None` takes the form for what becomes an image, and else PUT.
    pub transport: Option<Transport>,
}

/// A direct upload that was made, or the file that needs none.
#[derive(Debug, Clone)]
pub struct Created {
    /// `None` when the bytes are there already.
    pub upload: Option<Model>,
    pub file: file::Model,
}

/// Makes a one-time upload URL, and the file it will fill; or answers the file that has the bytes already, where their
/// hash was given and that is the policy.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `UNSUPPORTED_MIME_TYPE`, `FILE_TOO_LARGE`, `DUPLICATE_CONTENT`, `CONFLICT`
/// for a key that was used for something else; `UPSTREAM_ERROR` and `UPSTREAM_RATE_LIMITED` when the account gives no
/// URL, and then nothing is left.
pub async fn create(app: &App, viewer: &Viewer, new: NewDirectUpload) -> Result<Created> {
    viewer.require_any(&[Scope::UploadsCreate, Scope::FilesWrite])?;
    let workspace =
        editable::find_workspace(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let by_form = new.transport.map(|transport| transport == Transport::FormPost);
    let asked = (by_form, &new.mime_type, new.size, new.expires_in);
    let request = ("createDirectUpload", workspace.id.to_string(), &new.options, asked);
    let key = Key::new(viewer, new.options.idempotency_key.as_deref(), &request)?;
    let (app, viewer) = (app.clone(), viewer.clone());
    // What has begun gets its URL or is removed, even if the client has left.
    job::run_to_end(async move {
        let key = key.as_ref();
        // A second time if the request that was first had to give up while this one waited for its URL.
        for _ in 0..2 {
            if let Some(first) = first(&app, &viewer, key).await? {
                match first {
                    First::Made(created) => return Ok(*created),
                    First::GivenUp => continue,
                }
            }
            if let Some(made) = make(&app, &viewer, &workspace, &new, key).await? {
                return Ok(made);
            }
        }
        Err(opening())
    })
    .await
}

/// Makes an upload, or finds the file that has the bytes; `None` if another request with the same key was faster.
async fn make(
    app: &App,
    viewer: &Viewer,
    workspace: &Workspace,
    new: &NewDirectUpload,
    key: Option<&Key>,
) -> Result<Option<Created>> {
    let options = new.options.validate(workspace)?;
    let claim = Claim::checked(app, workspace, new)?;
    if let Some(known) = known(app, viewer, workspace, &options, key).await? {
        return Ok(Some(known));
    }
    if claim.becomes_image && !claim.form {
        // A form learns it from the account, which keeps the id for it.
        refusal::require_free_id(app, options.image.custom_id.as_deref(), None).await?;
    }
    let Some((upload, file)) = insert_rows(app, viewer, workspace, &options, new, claim, key).await? else {
        return Ok(None);
    };
    app.crash_point("upload-inserted").await;
    let upload = if needs_place(&upload) { open(app, upload, &file, key).await? } else { upload };
    Ok(Some(Created { upload: Some(upload), file }))
}

/// What a caller says about bytes to come, checked.
struct Claim {
    mime_type: String,
    /// By form, straight to the image service.
    form: bool,
    /// By its claimed type.
    becomes_image: bool,
    /// Most bytes that are accepted.
    max_size: u64,
}

impl Claim {
    fn checked(app: &App, workspace: &Workspace, new: &NewDirectUpload) -> Result<Claim> {
        if new.options.filename.is_none() {
            return Err(Error::invalid("filename", "A direct upload needs the name of the file."));
        }
        let mime_type = checked_type(&new.mime_type)?;
        let image_type = IMAGE_MIME_TYPES.contains(&mime::canonical(&mime_type));
        let becomes_image = image_type && new.options.image.provision;
        let form = match new.transport {
            None => becomes_image,
            Some(transport) => transport == Transport::FormPost,
        };
        if form && !image_type {
            let message = format!(
                "A direct upload by form takes {}; send anything else by PUT.",
                IMAGE_MIME_TYPES.join(", ")
            );
            return Err(Error::refuse(Code::UnsupportedMimeType, message).at("mimeType"));
        }
        if form && !new.options.image.provision {
            let message =
                "A form goes to the image service, which provisions the image; send the bytes by PUT.";
            return Err(Error::invalid("image.provision", message));
        }
        policy::check_type(workspace, &mime_type).map_err(|e| e.at("mimeType"))?;
        let most = if becomes_image { MAX_IMAGE_BYTES } else { u64::MAX };
        let max_size = most.min(policy::max_size(app, workspace));
        if new.size.is_some_and(|size| size > max_size) {
            return Err(too_large(max_size).at("size"));
        }
        if new.size == Some(0) {
            return Err(Error::refuse(Code::EmptyFile, "The file has no bytes.").at("size"));
        }
        if !EXPIRES_IN.contains(&new.expires_in) {
            let message = format!(
                "An upload URL stays valid for {} to {} seconds.",
                EXPIRES_IN.start(),
                EXPIRES_IN.end()
            );
            return Err(Error::invalid("expiresIn", message));
        }
        Ok(Claim { mime_type, form, becomes_image, max_size })
    }

    fn transport(&self) -> Transport {
        if self.form { Transport::FormPost } else { Transport::Put }
    }
}

/// A claimed type in lower case and without parameters.
fn checked_type(text: &str) -> Result<String> {
    Some(mime::essence(text))
        .filter(|essence| mime::is_valid(essence))
        .ok_or_else(|| Error::invalid("mimeType", "A type is written as in image/jpeg or application/pdf."))
}

/// What became of the first request with a key.
enum First {
    Made(Box<Created>),
    /// It had to give up: the account gave no URL.
    GivenUp,
}

/// What the first request with this key made. One that is at it is waited for, and one that was cut off before the
/// account gave a URL is gone on with.
async fn first(app: &App, viewer: &Viewer, key: Option<&Key>) -> Result<Option<First>> {
    let Some(key) = key else { return Ok(None) };
    let Some(first) = key.first(app).await? else { return Ok(None) };
    let patience = Instant::now() + app.config.provision_wait;
    loop {
        let Some(made) = made_under(app, viewer, &first).await? else {
            // Given up, and its key with it; or deleted since, and then the key is still there.
            return if key.first(app).await?.is_some() {
                Err(idempotency::gone())
            } else {
                Ok(Some(First::GivenUp))
            };
        };
        let Some(placeless) = made.upload.as_ref().filter(|upload| needs_place(upload)) else {
            return Ok(Some(First::Made(Box::new(made))));
        };
        if let Some(upload) = take_over(app, placeless).await? {
            let upload = open(app, upload, &made.file, Some(key)).await?;
            return Ok(Some(First::Made(Box::new(Created { upload: Some(upload), ..made }))));
        }
        if Instant::now() >= patience {
            return Err(opening());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What the request made that is written down under a key; `None` if it is gone.
async fn made_under(app: &App, viewer: &Viewer, first: &idempotency_key::Model) -> Result<Option<Created>> {
    let file = file::visible_to(&viewer.access())
        .filter(file::COLUMN.id.eq(first.file_id))
        .one(&app.db.read)
        .await?;
    let Some(file) = file else { return Ok(None) };
    let Some(id) = first.direct_upload_id else { return Ok(Some(Created { upload: None, file })) };
    let of_id = direct_upload::COLUMN.id.eq(id);
    let upload = direct_upload::visible_to(&viewer.access()).filter(of_id).one(&app.db.read).await?;
    Ok(upload.map(|upload| Created { upload: Some(upload), file }))
}

/// Whether an upload is still to get a place for its bytes from the account.
fn needs_place(upload: &Model) -> bool {
    upload.transport == Transport::FormPost && upload.status == Status::Open && upload.cf_image_id.is_none()
}

/// Claims the opening of an upload whose request was cut off; `None` while that request may be at it.
async fn take_over(app: &App, upload: &Model) -> Result<Option<Model>> {
    let now = app.clock.now();
    let claimed = Entity::update_many()
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::Status.eq(Status::Open))
        .filter(Column::CfImageId.is_null())
        .filter(Column::UpdatedAt.lte(now - app.config.lease))
        .exec_with_returning(&app.db.write)
        .await?;
    Ok(claimed.into_iter().next())
}

fn opening() -> Error {
    let message = "The first request with this key still waits for the image service; try again.";
    let refusal = Error::refuse(Code::Conflict, message).at("idempotencyKey").public();
    Error::Refusal(Refusal { retry_after: Some(Duration::from_secs(5)), ..refusal })
}

/// The file that has the bytes already, if their hash was given and no other is wanted.
async fn known(
    app: &App,
    viewer: &Viewer,
    workspace: &Workspace,
    options: &ValidatedOptions,
    key: Option<&Key>,
) -> Result<Option<Created>> {
    let (Some(sha256), DuplicatePolicy::Reuse | DuplicatePolicy::Reject) =
        (&options.sha256, options.on_duplicate)
    else {
        return Ok(None);
    };
    // Who may not read files learns nothing of them from a hash alone: they send the bytes, which are then shared.
    if viewer.require(Scope::FilesRead).is_err() {
        return Ok(None);
    }
    let file = loop {
        let Some(file) = dedup::find(&app.db.read, workspace.id, sha256).await? else { return Ok(None) };
        // One whose bytes are lost is none, and is not found again.
        if stored_bytes::verified_blob_of(app, &file).await?.is_some() {
            break file;
        }
    };
    // The file may be what the same request made the first time.
    if let Some(First::Made(created)) = first(app, viewer, key).await? {
        return Ok(Some(*created));
    }
    if options.on_duplicate == DuplicatePolicy::Reject {
        return Err(ingest::duplicate(file.id).at("sha256"));
    }
    if let Some(key) = key
        && !key.insert(&app.db.write, file.id, None, true, app.clock.now()).await?
    {
        return match first(app, viewer, Some(key)).await? {
            Some(First::Made(created)) => Ok(Some(*created)),
            _ => Err(idempotency::gone()),
        };
    }
    Ok(Some(Created { upload: None, file }))
}

/// Inserts file, upload, key and event; `None` if another request with the same key was faster.
async fn insert_rows(
    app: &App,
    viewer: &Viewer,
    workspace: &Workspace,
    options: &ValidatedOptions,
    new: &NewDirectUpload,
    claim: Claim,
    key: Option<&Key>,
) -> Result<Option<(Model, file::Model)>> {
    let now = app.clock.now();
    let expires_at = now + TimeDelta::seconds(new.expires_in);
    let id = DirectUploadId::new(now);
    let upload_url = match claim.form {
        true => None,
        false => {
            let lifetime = Duration::from_secs(new.expires_in.unsigned_abs());
            app.blobs.presigned_put_url(BlobKey::Incoming(id.0), lifetime).await?
        }
    };
    let intent = Intent {
        image: Some(options.image.clone()),
        on_duplicate: new.options.on_duplicate,
        sha256: new.options.sha256.clone(),
        mime_type: Some(claim.mime_type.clone()),
        named: true,
    };
    let filename = options.filename.clone().unwrap_or_default();
    let row = options.row(workspace, viewer.user.id, filename, now);
    let file = file::Model { intent: Some(intent), ..row };
    let upload = Model {
        id,
        workspace_id: workspace.id,
        file_id: Some(file.id),
        image_id: ImageId::new(now),
        created_by: Some(viewer.user.id),
        status: Status::Open,
        transport: claim.transport(),
        mime_type: Some(claim.mime_type),
        size: new.size.and_then(|size| i64::try_from(size).ok()),
        max_size: i64::try_from(claim.max_size).unwrap_or(i64::MAX),
        bytes_received: 0,
        require_signed_urls: options.signed,
        cf_image_id: None,
        upload_url: upload_url.map(Into::into),
        failure: None,
        expires_at,
        due_at: Some(expires_at + GRACE),
        attempts: 0,
        created_at: now,
        updated_at: now,
    };
    let transaction = app.db.begin().await?;
    let file = rows::file::insert(&transaction, file).await?;
    let row: direct_upload::ActiveModel = upload.into();
    let upload = row.reset_all().insert(&transaction).await?;
    if let Some(key) = key
        && !key.insert(&transaction, file.id, Some(upload.id), false, now).await?
    {
        transaction.rollback().await?;
        return Ok(None);
    }
    rows::event::append(&transaction, EventKind::FileCreated, file.workspace_id, file.id, None, now).await?;
    transaction.commit().await?;
    Ok(Some((upload, file)))
}

/// Gets a place for the bytes of an upload by form from the account. One caller at a time does so.
async fn open(app: &App, upload: Model, file: &file::Model, key: Option<&Key>) -> Result<Model> {
    let made = match make_draft(app, &upload, file).await {
        Ok(made) => made,
        Err(problem) => {
            // A draft whose answer was lost is never filled: the account forgets it by itself.
            discard(app, &upload, key).await?;
            return Err(Error::Refusal(refusal::from_account_error(&problem)));
        }
    };
    app.crash_point("draft-made").await;
    let opened = Entity::update_many()
        .col_expr(Column::CfImageId, Expr::val(made.id.as_str()))
        .col_expr(Column::UploadUrl, Expr::val(made.upload_url))
        .col_expr(Column::UpdatedAt, Expr::val(app.clock.now()))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::Status.eq(Status::Open))
        .filter(Column::CfImageId.is_null())
        .exec_with_returning(&app.db.write)
        .await?;
    if let Some(upload) = opened.into_iter().next() {
        return Ok(upload);
    }
    // Given up, or opened by a repetition, while the account was answering. What is left of the draft expires.
    let now = direct_upload::by_id_unscoped(upload.id).one(&app.db.read).await?;
    let now = now.filter(|upload| upload.cf_image_id.is_some());
    if now.as_ref().and_then(|upload| upload.cf_image_id.as_deref()) != Some(&made.id) {
        let _ = app.cloudflare.delete(&made.id).await;
    }
    now.ok_or_else(|| {
        Error::refuse(Code::Conflict, "Somebody else deleted the file of this upload at this moment.")
    })
}

/// Asks the account for a draft. An id that is taken by a draft of this very upload, whose answer was lost, is set free
/// first: the account tells the URL of a draft only once.
async fn make_draft(
    app: &App,
    upload: &Model,
    file: &file::Model,
) -> std::result::Result<wire::DirectUpload, AccountError> {
    let wanted = file.intent.clone().and_then(|intent| intent.image).unwrap_or_default();
    let draft = Draft {
        image: NewImage {
            id: wanted.custom_id.as_deref(),
            metadata: Some(&provision::metadata(upload.image_id, wanted.cf_metadata.as_ref())),
            require_signed_urls: upload.require_signed_urls,
            creator: wanted.creator.as_deref(),
        },
        expiry: Some(upload.expires_at),
    };
    let made = app.cloudflare.direct_upload(&draft).await;
    let (Err(AccountError::Conflict(_)), Some(id)) = (&made, draft.image.id) else { return made };
    match app.cloudflare.find(id).await {
        Ok(Some(found)) if found.draft && stray::is_ours(&found, upload.image_id) => {
            app.cloudflare.delete(id).await?;
            app.cloudflare.direct_upload(&draft).await
        }
        _ => made,
    }
}

/// Removes an upload that never came to be, with its file and its key, unless a repetition has opened it.
async fn discard(app: &App, upload: &Model, key: Option<&Key>) -> Result<()> {
    let transaction = app.db.begin().await?;
    let removed = Entity::delete_many()
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::CfImageId.is_null())
        // A request that took it over goes on with it.
        .filter(Column::UpdatedAt.eq(upload.updated_at))
        .exec(&transaction)
        .await?;
    if removed.rows_affected == 0 {
        return Ok(transaction.rollback().await?);
    }
    rows::direct_upload::delete_file_row(&transaction, upload, app.clock.now()).await?;
    if let Some(key) = key {
        key.forget(&transaction, upload.id).await?;
    }
    Ok(transaction.commit().await?)
}
