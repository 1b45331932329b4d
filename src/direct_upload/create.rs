//! Creating direct uploads.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use tokio::time::Instant;

use super::{EXPIRES_IN, GRACE, WRITE_SCOPES};
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
use crate::file::find_visible;
use crate::id::{DirectUploadId, ImageId, WorkspaceId};
use crate::idempotency::{self, IdempotencyKey};
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
/// How many uploads of a batch are created concurrently. Each may need a call to the account.
pub const BATCH_CONCURRENCY: usize = 8;
/// How often a repeated request checks whether the first one has its upload URL.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A direct upload to create.
#[derive(Debug, Clone)]
pub struct NewDirectUpload {
    pub workspace_id: WorkspaceId,
    /// The filename is required here.
    pub options: NewFileOptions,
    /// DeclaredType type; the bytes are checked when they arrive.
    pub mime_type: String,
    /// DeclaredType size in bytes, so that limits are checked before the bytes are sent.
    pub size: Option<u64>,
    /// Seconds the upload URL stays valid.
    pub expires_in: i64,
    /// `None` chooses the form for what becomes an image, and PUT otherwise.
    pub transport: Option<Transport>,
}

/// The result of [`create`]: a new upload with its file, or an existing file that has the bytes.
#[derive(Debug, Clone)]
pub struct CreatedUpload {
    /// `None` when the workspace has the bytes already.
    pub upload: Option<Model>,
    pub file: file::Model,
}

/// Creates a one-time upload URL and the file that it fills. If the hash of the bytes is given and the workspace has a file
/// with them, `onDuplicate` decides between that file and a refusal.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `UNSUPPORTED_MIME_TYPE`, `FILE_TOO_LARGE`, `DUPLICATE_CONTENT`, `CONFLICT`
/// for an idempotency key of another request; `UPSTREAM_ERROR` and `UPSTREAM_RATE_LIMITED` when the account gives no URL,
/// in which case nothing has been created.
pub async fn create(app: &App, viewer: &Viewer, new: NewDirectUpload) -> Result<CreatedUpload> {
    viewer.require_any(&WRITE_SCOPES)?;
    let workspace =
        editable::find_workspace(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let by_form = new.transport.map(|transport| transport == Transport::FormPost);
    let declared = (by_form, &new.mime_type, new.size, new.expires_in);
    let request = ("createDirectUpload", workspace.id.to_string(), &new.options, declared);
    let key = IdempotencyKey::new(viewer, new.options.idempotency_key.as_deref(), &request)?;
    let (app, viewer) = (app.clone(), viewer.clone());
    // Runs to its end even if the client disconnects: the upload gets its URL, or its rows are deleted.
    job::run_to_end(async move {
        let key = key.as_ref();
        // A second round is for a first request that was abandoned while this one waited for its URL.
        for _ in 0..2 {
            match first_request(&app, &viewer, key).await? {
                Some(FirstRequest::Created(created)) => return Ok(*created),
                Some(FirstRequest::Abandoned) => continue,
                None => {}
            }
            if let Some(created) = create_new(&app, &viewer, &workspace, &new, key).await? {
                return Ok(created);
            }
        }
        Err(first_request_in_progress())
    })
    .await
}

/// Creates an upload, or finds the file that has the bytes; `None` if another request with the same key was first.
async fn create_new(
    app: &App,
    viewer: &Viewer,
    workspace: &Workspace,
    new: &NewDirectUpload,
    key: Option<&IdempotencyKey>,
) -> Result<Option<CreatedUpload>> {
    let options = new.options.validate(workspace)?;
    let declared = DeclaredUpload::validate(app, workspace, new)?;
    if let Some(existing) = find_duplicate(app, viewer, workspace, &options, key).await? {
        return Ok(Some(existing));
    }
    if declared.becomes_image && declared.transport == Transport::Put {
        // With a form, the account checks the id when it creates the draft.
        refusal::require_free_id(app, options.image.custom_id.as_deref(), None).await?;
    }
    let Some((upload, file)) = insert_rows(app, viewer, workspace, &options, new, declared, key).await?
    else {
        return Ok(None);
    };
    app.crash_point("upload-inserted").await;
    let upload = if needs_draft(&upload) { add_draft(app, upload, &file, key).await? } else { upload };
    Ok(Some(CreatedUpload { upload: Some(upload), file }))
}

/// What the caller declares about the bytes, after validation.
struct DeclaredUpload {
    mime_type: String,
    transport: Transport,
    /// Whether the declared type is one of an image that will be provisioned.
    becomes_image: bool,
    /// Most bytes that are accepted.
    max_size: u64,
}

impl DeclaredUpload {
    fn validate(app: &App, workspace: &Workspace, new: &NewDirectUpload) -> Result<DeclaredUpload> {
        if new.options.filename.is_none() {
            return Err(Error::invalid("filename", "A direct upload needs the name of the file."));
        }
        let mime_type = checked_type(&new.mime_type)?;
        let image_type = IMAGE_MIME_TYPES.contains(&mime::canonical(&mime_type));
        let becomes_image = image_type && new.options.image.provision;
        let by_default = if becomes_image { Transport::FormPost } else { Transport::Put };
        let transport = new.transport.unwrap_or(by_default);
        if transport == Transport::FormPost {
            check_form(image_type, new.options.image.provision)?;
        }
        policy::check_type(workspace, &mime_type).map_err(|e| e.at("mimeType"))?;
        let max_image = if becomes_image { MAX_IMAGE_BYTES } else { u64::MAX };
        let max_size = max_image.min(policy::max_size(app, workspace));
        if new.size.is_some_and(|size| size > max_size) {
            return Err(too_large(max_size).at("size"));
        }
        if new.size == Some(0) {
            return Err(Error::refuse(Code::EmptyFile, "The file has no bytes.").at("size"));
        }
        if !EXPIRES_IN.contains(&new.expires_in) {
            let (min, max) = (EXPIRES_IN.start(), EXPIRES_IN.end());
            let message = format!("An upload URL stays valid for {min} to {max} seconds.");
            return Err(Error::invalid("expiresIn", message));
        }
        Ok(DeclaredUpload { mime_type, transport, becomes_image, max_size })
    }
}

/// Checks that the image service accepts the bytes by form, and that it may: it provisions all that it accepts.
fn check_form(image_type: bool, provision: bool) -> Result<()> {
    if !image_type {
        let types = IMAGE_MIME_TYPES.join(", ");
        let message = format!("A direct upload by form accepts {types}; send anything else by PUT.");
        return Err(Error::refuse(Code::UnsupportedMimeType, message).at("mimeType"));
    }
    if !provision {
        let message = "A form upload always provisions an image; send the bytes by PUT to create none.";
        return Err(Error::invalid("image.provision", message));
    }
    Ok(())
}

/// A declared type in lower case and without parameters.
fn checked_type(text: &str) -> Result<String> {
    Some(mime::essence(text)).filter(|essence| mime::is_valid(essence)).ok_or_else(|| {
        Error::invalid("mimeType", "A MIME type such as image/jpeg or application/pdf is expected.")
    })
}

/// How the first request with an idempotency key ended.
enum FirstRequest {
    Created(Box<CreatedUpload>),
    /// The account gave no URL, and the rows of the upload were deleted.
    Abandoned,
}

/// The result of the first request with this key, if there is one. Waits for a request that is in progress, and continues
/// one that was interrupted before the account gave a URL.
async fn first_request(
    app: &App,
    viewer: &Viewer,
    key: Option<&IdempotencyKey>,
) -> Result<Option<FirstRequest>> {
    let Some(key) = key else { return Ok(None) };
    let Some(row) = key.find_first_request(app).await? else { return Ok(None) };
    let deadline = Instant::now() + app.config.provision_wait;
    loop {
        let Some(created) = created_by(app, viewer, &row).await? else {
            // An abandoned request has deleted its key. If the key still exists, its result was deleted later.
            return match key.find_first_request(app).await? {
                Some(_) => Err(idempotency::result_deleted()),
                None => Ok(Some(FirstRequest::Abandoned)),
            };
        };
        let Some(without_draft) = created.upload.as_ref().filter(|upload| needs_draft(upload)) else {
            return Ok(Some(FirstRequest::Created(Box::new(created))));
        };
        if let Some(upload) = take_over(app, without_draft).await? {
            let upload = add_draft(app, upload, &created.file, Some(key)).await?;
            let created = CreatedUpload { upload: Some(upload), ..created };
            return Ok(Some(FirstRequest::Created(Box::new(created))));
        }
        if Instant::now() >= deadline {
            return Err(first_request_in_progress());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The upload and the file of the request that has written `row`; `None` if they have been deleted.
async fn created_by(
    app: &App,
    viewer: &Viewer,
    row: &idempotency_key::Model,
) -> Result<Option<CreatedUpload>> {
    let Some(file) = find_visible(app, viewer, row.file_id).await? else { return Ok(None) };
    let Some(id) = row.direct_upload_id else { return Ok(Some(CreatedUpload { upload: None, file })) };
    let of_id = direct_upload::COLUMN.id.eq(id);
    let upload = direct_upload::visible_to(&viewer.access()).filter(of_id).one(&app.db.read).await?;
    Ok(upload.map(|upload| CreatedUpload { upload: Some(upload), file }))
}

/// Whether the account has yet to give an upload its draft, and with it the upload URL.
fn needs_draft(upload: &Model) -> bool {
    upload.transport == Transport::FormPost && upload.status == Status::Open && upload.cf_image_id.is_none()
}

/// Takes over an upload without a draft from an interrupted request; `None` until the lease of that request has ended.
async fn take_over(app: &App, upload: &Model) -> Result<Option<Model>> {
    let now = app.clock.now();
    let taken = Entity::update_many()
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::Status.eq(Status::Open))
        .filter(Column::CfImageId.is_null())
        .filter(Column::UpdatedAt.lte(now - app.config.lease))
        .exec_with_returning(&app.db.write)
        .await?;
    Ok(taken.into_iter().next())
}

fn first_request_in_progress() -> Error {
    let message = "The first request with this key is still waiting for the image service; try again.";
    let refusal = Error::refuse(Code::Conflict, message).at("idempotencyKey").public();
    Error::Refusal(Refusal { retry_after: Some(Duration::from_secs(5)), ..refusal })
}

/// The existing file with the same bytes, if their hash is given and the policy is not to store duplicates.
async fn find_duplicate(
    app: &App,
    viewer: &Viewer,
    workspace: &Workspace,
    options: &ValidatedOptions,
    key: Option<&IdempotencyKey>,
) -> Result<Option<CreatedUpload>> {
    let (Some(sha256), DuplicatePolicy::Reuse | DuplicatePolicy::Reject) =
        (&options.sha256, options.on_duplicate)
    else {
        return Ok(None);
    };
    // A viewer who may not read files must not learn from a hash that a file exists. They send the bytes, which are then
    // shared.
    if viewer.require(Scope::FilesRead).is_err() {
        return Ok(None);
    }
    let Some(file) = find_with_bytes(app, workspace.id, sha256).await? else { return Ok(None) };
    // The file may be the result of the first request with this key.
    if let Some(FirstRequest::Created(created)) = first_request(app, viewer, key).await? {
        return Ok(Some(*created));
    }
    if options.on_duplicate == DuplicatePolicy::Reject {
        return Err(ingest::duplicate(file.id).at("sha256"));
    }
    if let Some(key) = key
        && !key.insert(&app.db.write, file.id, None, true, app.clock.now()).await?
    {
        return match first_request(app, viewer, Some(key)).await? {
            Some(FirstRequest::Created(created)) => Ok(Some(*created)),
            _ => Err(idempotency::result_deleted()),
        };
    }
    Ok(Some(CreatedUpload { upload: None, file }))
}

/// A file of the workspace with this hash, whose bytes are in the byte store.
async fn find_with_bytes(
    app: &App,
    workspace: WorkspaceId,
    sha256: &[u8; 32],
) -> Result<Option<file::Model>> {
    loop {
        let Some(file) = dedup::find(&app.db.read, workspace, sha256).await? else { return Ok(None) };
        // If the bytes are missing, this check marks the file, which is then not found again.
        if stored_bytes::verified_blob_of(app, &file).await?.is_some() {
            return Ok(Some(file));
        }
    }
}

/// Inserts file, upload, key and event; `None` if another request with the same key was first.
async fn insert_rows(
    app: &App,
    viewer: &Viewer,
    workspace: &Workspace,
    options: &ValidatedOptions,
    new: &NewDirectUpload,
    declared: DeclaredUpload,
    key: Option<&IdempotencyKey>,
) -> Result<Option<(Model, file::Model)>> {
    let now = app.clock.now();
    let intent = Intent {
        image: Some(options.image.clone()),
        on_duplicate: new.options.on_duplicate,
        sha256: new.options.sha256.clone(),
        mime_type: Some(declared.mime_type.clone()),
        named: true,
    };
    let filename = options.filename.clone().unwrap_or_default();
    let row = options.row(workspace, viewer.user.id, filename, now);
    let file = file::Model { intent: Some(intent), ..row };
    let upload = upload_row(app, &file, options.signed, new, declared, now).await?;
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
    rows::event::append_for_file(&transaction, EventKind::FileCreated, &file, now).await?;
    transaction.commit().await?;
    Ok(Some((upload, file)))
}

/// The row of a new upload that fills `file`, with the URL of the byte store if that accepts the bytes itself.
async fn upload_row(
    app: &App,
    file: &file::Model,
    require_signed_urls: bool,
    new: &NewDirectUpload,
    declared: DeclaredUpload,
    now: DateTime<Utc>,
) -> Result<Model> {
    let id = DirectUploadId::new(now);
    let expires_at = now + TimeDelta::seconds(new.expires_in);
    let upload_url = match declared.transport {
        Transport::FormPost => None,
        Transport::Put => {
            let lifetime = Duration::from_secs(new.expires_in.unsigned_abs());
            app.blobs.presigned_put_url(BlobKey::Incoming(id.0), lifetime).await?
        }
    };
    Ok(Model {
        id,
        workspace_id: file.workspace_id,
        file_id: Some(file.id),
        image_id: ImageId::new(now),
        created_by: file.created_by,
        status: Status::Open,
        transport: declared.transport,
        mime_type: Some(declared.mime_type),
        size: new.size.and_then(|size| i64::try_from(size).ok()),
        max_size: i64::try_from(declared.max_size).unwrap_or(i64::MAX),
        bytes_received: 0,
        require_signed_urls,
        cf_image_id: None,
        upload_url: upload_url.map(Into::into),
        failure: None,
        expires_at,
        due_at: Some(expires_at + GRACE),
        attempts: 0,
        created_at: now,
        updated_at: now,
    })
}

/// Requests a draft from the account, and records its id and URL on the upload. Only the request that has inserted or taken
/// over the upload calls this.
async fn add_draft(
    app: &App,
    upload: Model,
    file: &file::Model,
    key: Option<&IdempotencyKey>,
) -> Result<Model> {
    let draft = match create_draft(app, &upload, file).await {
        Ok(draft) => draft,
        Err(problem) => {
            // If there is a draft whose response was lost, it never gets bytes and expires in the account.
            delete_without_draft(app, &upload, key).await?;
            return Err(Error::Refusal(refusal::from_account_error(&problem)));
        }
    };
    app.crash_point("draft-created").await;
    let opened = Entity::update_many()
        .col_expr(Column::CfImageId, Expr::val(draft.id.as_str()))
        .col_expr(Column::UploadUrl, Expr::val(draft.upload_url))
        .col_expr(Column::UpdatedAt, Expr::val(app.clock.now()))
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::Status.eq(Status::Open))
        .filter(Column::CfImageId.is_null())
        .exec_with_returning(&app.db.write)
        .await?;
    if let Some(upload) = opened.into_iter().next() {
        return Ok(upload);
    }
    // While the account was responding, the upload was deleted, or a repeated request took it over and added its draft.
    let current = direct_upload::by_id_unscoped(upload.id).one(&app.db.read).await?;
    let current = current.filter(|upload| upload.cf_image_id.is_some());
    if current.as_ref().and_then(|upload| upload.cf_image_id.as_deref()) != Some(&draft.id) {
        // If this fails, the draft expires in the account.
        let _ = app.cloudflare.delete(&draft.id).await;
    }
    current
        .ok_or_else(|| Error::refuse(Code::Conflict, "The file of this upload was deleted in the meantime."))
}

/// Requests a draft from the account. A custom id may be taken by an earlier draft of this upload whose response was lost.
/// That draft is deleted first, because the account returns the URL of a draft only when it creates it.
async fn create_draft(
    app: &App,
    upload: &Model,
    file: &file::Model,
) -> std::result::Result<wire::DirectUpload, AccountError> {
    let settings = file.intent.clone().and_then(|intent| intent.image).unwrap_or_default();
    let draft = Draft {
        image: NewImage {
            id: settings.custom_id.as_deref(),
            metadata: Some(&provision::metadata(upload.image_id, settings.cf_metadata.as_ref())),
            require_signed_urls: upload.require_signed_urls,
            creator: settings.creator.as_deref(),
        },
        expiry: Some(upload.expires_at),
    };
    let created = app.cloudflare.direct_upload(&draft).await;
    let (Err(AccountError::Conflict(_)), Some(id)) = (&created, draft.image.id) else { return created };
    match app.cloudflare.find(id).await {
        Ok(Some(found)) if found.draft && stray::is_ours(&found, upload.image_id) => {
            app.cloudflare.delete(id).await?;
            app.cloudflare.direct_upload(&draft).await
        }
        _ => created,
    }
}

/// Deletes an upload that got no draft, with its file and its key, unless a repeated request has taken it over.
async fn delete_without_draft(app: &App, upload: &Model, key: Option<&IdempotencyKey>) -> Result<()> {
    let transaction = app.db.begin().await?;
    let deleted = Entity::delete_many()
        .filter(direct_upload::COLUMN.id.eq(upload.id))
        .filter(Column::CfImageId.is_null())
        // A request that takes the upload over changes this time.
        .filter(Column::UpdatedAt.eq(upload.updated_at))
        .exec(&transaction)
        .await?;
    if deleted.rows_affected == 0 {
        return Ok(transaction.rollback().await?);
    }
    rows::direct_upload::delete_file_row(&transaction, upload, app.clock.now()).await?;
    if let Some(key) = key {
        key.delete(&transaction, upload.id).await?;
    }
    Ok(transaction.commit().await?)
}
