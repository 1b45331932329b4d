//! Files whose bytes come with the request.

use sea_orm::{ColumnTrait, QueryFilter};

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::editable;
use crate::content::mime::DeclaredType;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Model};
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::error::Result;
use crate::id::{ImageId, UserId, WorkspaceId};
use crate::idempotency::{self, Key};
use crate::ingest::Uploaded;
use crate::ingest::dedup;
use crate::ingest::filename::cleaned_filename;
use crate::ingest::first_result;
use crate::ingest::policy;
use crate::ingest::{self, ImageRequest, IngestOutcome, NewFileOptions, ReceivedFile, Target};
use crate::job;
use crate::provision;
use crate::provision::refusal;
use crate::storage::spool::Spool;

/// A file to be made of received bytes.
#[derive(Clone)]
pub struct NewFile {
    pub workspace_id: WorkspaceId,
    pub spool: Spool,
    pub options: NewFileOptions,
    /// The name the bytes came with; its last part is taken where the options has none.
    pub sent_filename: Option<String>,
    /// The type the bytes came with.
    pub sent_type: Option<String>,
}

/// Stores received bytes as a file, and provisions its image if they are one.
///
/// The file is there when this returns, whatever the account says; how far its image is tells `image_status`.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, `CUSTOM_ID_TAKEN`,
/// `CONFLICT` for a key that was used for something else, `DUPLICATE_CONTENT`, and what [`policy::checked_kind`] refuses.
pub async fn upload(app: &App, viewer: &Viewer, new: NewFile) -> Result<Uploaded> {
    viewer.require(Scope::FilesWrite)?;
    let workspace =
        editable::find_workspace(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let request =
        ("uploadFile", workspace.id.to_string(), &new.options, &new.sent_filename, new.spool.sha256);
    let key = Key::new(viewer, new.options.idempotency_key.as_deref(), &request)?;
    // Before anything that may have changed since the first request.
    if let Some(first) = first_result(app, viewer, key.as_ref()).await? {
        return Ok(first);
    }
    let (task_app, task_key, user) = (app.clone(), key.clone(), viewer.user.id);
    // Received bytes become a file and its image, even if the client has left.
    let settled = job::run_to_end(async move {
        let (app, key) = (&task_app, task_key.as_ref());
        match store(app, &workspace, user, &new, key).await? {
            IngestOutcome::Ready(file, Some(image)) => {
                provision::provision_within_answer_time(app, *image).await;
                Ok(IngestOutcome::Ready(file, None))
            }
            other => Ok(other),
        }
    });
    match settled.await? {
        IngestOutcome::Existing(file) => Ok(Uploaded::new(*file, true)),
        IngestOutcome::Repeated | IngestOutcome::TooLate => {
            first_result(app, viewer, key.as_ref()).await?.ok_or_else(idempotency::gone)
        }
        IngestOutcome::Ready(file, _) => {
            // As it is now, even if the token may only write.
            let file = find(app, viewer, &file).await?.unwrap_or(*file);
            Ok(Uploaded::new(file, false))
        }
    }
}

/// Checks what was received, and makes a file of it or finds the one there is.
async fn store(
    app: &App,
    workspace: &Workspace,
    user: UserId,
    new: &NewFile,
    key: Option<&Key>,
) -> Result<IngestOutcome> {
    let options = new.options.validate(workspace)?;
    let filename = options.filename.as_deref().or(new.sent_filename.as_deref());
    let declared = DeclaredType { mime_type: new.sent_type.as_deref(), filename };
    let (sha256, provision) = (options.sha256.as_ref(), new.options.image.provision);
    let kind = policy::checked_kind(app, workspace, &new.spool, sha256, declared, provision)
        .await
        .map_err(|e| e.at("file"))?;
    app.crash_point("spooled").await;
    let becomes_image = kind.picture.is_some() && provision;
    if becomes_image && !is_known(app, workspace, &new.spool, options.on_duplicate).await? {
        let free = refusal::require_free_id(app, options.image.custom_id.as_deref(), None).await;
        // Taken by what the same request has made by now.
        if let (Err(_), Some(key)) = (&free, key)
            && key.first(app).await?.is_some()
        {
            return Ok(IngestOutcome::Repeated);
        }
        free?;
    }
    let now = app.clock.now();
    let filename = options
        .filename
        .clone()
        .unwrap_or_else(|| cleaned_filename(new.sent_filename.as_deref().unwrap_or_default()));
    let row = options.row(workspace, user, filename, now);
    let received = ReceivedFile {
        workspace,
        spool: &new.spool,
        kind: &kind,
        stored: None,
        on_duplicate: options.on_duplicate,
        image: ImageRequest {
            id: ImageId::new(now),
            new: &new.options.image,
            signed: options.signed,
            in_account: None,
        },
        target: Target::New(Box::new(row), key),
    };
    ingest::ingest(app, &received).await.map_err(|e| e.at("file"))
}

/// Whether the workspace has these bytes and wants no second file with them.
async fn is_known(
    app: &App,
    workspace: &Workspace,
    spool: &Spool,
    on_duplicate: DuplicatePolicy,
) -> Result<bool> {
    if on_duplicate == DuplicatePolicy::Create {
        return Ok(false);
    }
    Ok(dedup::find(&app.db.read, workspace.id, &spool.sha256).await?.is_some())
}

async fn find(app: &App, viewer: &Viewer, file: &Model) -> Result<Option<Model>> {
    Ok(file::visible_to(&viewer.access()).filter(file::COLUMN.id.eq(file.id)).one(&app.db.read).await?)
}
