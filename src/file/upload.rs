//! Uploads: files whose bytes are part of the request.

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::editable;
use crate::content::mime::DeclaredType;
use crate::entity::api_token::Scope;
use crate::entity::file::{ImageStatus, Model as File};
use crate::entity::image::State;
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::error::Result;
use crate::file::find_visible;
use crate::id::{ImageId, UserId, WorkspaceId};
use crate::idempotency::{self, IdempotencyKey};
use crate::ingest::Uploaded;
use crate::ingest::filename::cleaned_filename;
use crate::ingest::first_result;
use crate::ingest::policy;
use crate::ingest::{self, ImageRequest, IngestOutcome, NewFileOptions, ReceivedFile, Target};
use crate::job;
use crate::provision::claim::Claimed;
use crate::provision::outcome::Recorded;
use crate::provision::{self, refusal};
use crate::storage::spool::Spool;

/// A file to create from received bytes.
#[derive(Clone)]
pub struct NewFile {
    pub workspace_id: WorkspaceId,
    pub spool: Spool,
    pub options: NewFileOptions,
    /// Filename of the multipart part; its last path segment is the default name.
    pub declared_filename: Option<String>,
    /// `Content-Type` of the multipart part.
    pub declared_type: Option<String>,
}

/// Stores received bytes as a file and, if they are an image, provisions it.
///
/// The file exists when this returns, even if provisioning has failed or goes on; see its `image_status`.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, `CUSTOM_ID_TAKEN`,
/// `CONFLICT` for an idempotency key of another request, `DUPLICATE_CONTENT`, and what [`policy::check_content`] refuses.
pub async fn upload(app: &App, viewer: &Viewer, new: NewFile) -> Result<Uploaded> {
    viewer.require(Scope::FilesWrite)?;
    let found = editable::find_workspace_and_content(app, viewer, new.workspace_id, &new.spool.sha256).await;
    let (workspace, existing) = found.map_err(|e| e.at("workspaceId"))?;
    let request =
        ("uploadFile", workspace.id.to_string(), &new.options, &new.declared_filename, new.spool.sha256);
    let key = IdempotencyKey::new(viewer, new.options.idempotency_key.as_deref(), &request)?;
    // Comes first: a repetition gets the first result even if the checks below would now fail.
    if let Some(result) = first_result(app, viewer, key.as_ref()).await? {
        return Ok(result);
    }
    let (task_app, task_key, user) = (app.clone(), key.clone(), viewer.user.id);
    // Runs to its end even if the client disconnects. Boxed, because it is large: without optimisation each function that passes
    // it on would have a copy of it on the stack.
    let ingested = job::run_to_end(Box::pin(async move {
        let (app, key) = (&task_app, task_key.as_ref());
        let outcome = ingest_upload(app, &workspace, existing.as_ref(), user, &new, key).await?;
        let IngestOutcome::Ready(file, Some(image)) = outcome else { return Ok(outcome) };
        let claimed = Claimed { image: *image, file: Some((*file).clone()) };
        Ok(match provision::provision_within_answer_time(app, claimed).await {
            Some(Recorded { file, image }) => IngestOutcome::Ready(Box::new(file), Some(Box::new(image))),
            None => IngestOutcome::Ready(file, None),
        })
    }));
    match ingested.await? {
        IngestOutcome::Existing(file) => Ok(Uploaded::new(*file, true)),
        IngestOutcome::Repeated | IngestOutcome::TooLate => {
            first_result(app, viewer, key.as_ref()).await?.ok_or_else(idempotency::result_deleted)
        }
        IngestOutcome::Ready(file, None) if file.image_status == ImageStatus::InProgress => {
            // Read again: the attempt goes on, and may have ended by now.
            let file = find_visible(app, viewer, file.id).await?.unwrap_or(*file);
            Ok(Uploaded::new(file, false))
        }
        IngestOutcome::Ready(file, image) => {
            let image = image.map(|image| *image).filter(|image| image.state == State::Ready);
            Ok(Uploaded { image, ..Uploaded::new(*file, false) })
        }
    }
}

/// Checks the received bytes, and creates a file of them or finds the existing one.
async fn ingest_upload(
    app: &App,
    workspace: &Workspace,
    existing: Option<&File>,
    user: UserId,
    new: &NewFile,
    key: Option<&IdempotencyKey>,
) -> Result<IngestOutcome> {
    let options = new.options.validate(workspace)?;
    let filename = options.filename.as_deref().or(new.declared_filename.as_deref());
    let declared = DeclaredType { mime_type: new.declared_type.as_deref(), filename };
    let (sha256, provision) = (options.sha256.as_ref(), new.options.image.provision);
    let kind = policy::check_content(app, workspace, &new.spool, sha256, declared, provision)
        .await
        .map_err(|e| e.at("file"))?;
    app.crash_point("spooled").await;
    let becomes_image = kind.picture.is_some() && provision;
    let is_duplicate = existing.is_some() && options.on_duplicate != DuplicatePolicy::Create;
    if becomes_image && !is_duplicate {
        let custom_id = options.image.custom_id.as_deref();
        if let Err(taken) = refusal::require_free_id(app, custom_id, None).await {
            return if is_repeated(app, key).await? { Ok(IngestOutcome::Repeated) } else { Err(taken) };
        }
    }
    let now = app.clock.now();
    let filename = options
        .filename
        .clone()
        .unwrap_or_else(|| cleaned_filename(new.declared_filename.as_deref().unwrap_or_default()));
    let row = options.row(workspace, user, filename, now);
    let received = ReceivedFile {
        workspace,
        spool: &new.spool,
        kind: &kind,
        existing,
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

/// Whether a parallel request with the same key has created its file in the meantime, and so perhaps the image that has the
/// requested custom id.
async fn is_repeated(app: &App, key: Option<&IdempotencyKey>) -> Result<bool> {
    match key {
        Some(key) => Ok(key.find_first_request(app).await?.is_some()),
        None => Ok(false),
    }
}
