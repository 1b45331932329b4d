//! Files whose bytes come with the request.

use sea_orm::{ColumnTrait, QueryFilter};

use crate::app::App;
use crate::entity::Failure;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, ImageStatus, Model};
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::error::{Refusal, Result};
use crate::file::arrive::{self, Arrival, ImageWish, Settled, Target, Wish};
use crate::file::mime::Declared;
use crate::file::spool::Spool;
use crate::file::{cleaned_filename, content};
use crate::id::{ImageId, UserId, WorkspaceId};
use crate::idempotency::{self, Key};
use crate::image::{self, settle};
use crate::viewer::Viewer;
use crate::{worker, workspace};

/// A file to be made of received bytes.
#[derive(Clone)]
pub struct NewFile {
    pub workspace_id: WorkspaceId,
    pub spool: Spool,
    pub wish: Wish,
    /// The name the bytes came with; its last part is taken where the wish has none.
    pub sent_filename: Option<String>,
    /// The type the bytes came with.
    pub sent_type: Option<String>,
}

/// A file that was made, or was there.
#[derive(Debug, Clone)]
pub struct Uploaded {
    pub file: Model,
    /// The bytes were there already, and this is the file that had them.
    pub deduplicated: bool,
    /// What of the input its image was refused for. The file is there all the same.
    pub refusal: Option<Refusal>,
}

impl Uploaded {
    pub fn new(file: Model, deduplicated: bool) -> Uploaded {
        let failure = file.image_failure.as_ref().filter(|_| file.image_status == ImageStatus::Failed);
        let refusal = failure.map(Failure::refusal).filter(|refusal| refusal.field.is_some());
        Uploaded { file, deduplicated, refusal: refusal.filter(|_| !deduplicated) }
    }
}

/// Stores received bytes as a file, and provisions its image if they are one.
///
/// The file is there when this returns, whatever the account says; how far its image is tells `image_status`.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, `CUSTOM_ID_TAKEN`,
/// `CONFLICT` for a key that was used for something else, `DUPLICATE_CONTENT`, and what [`arrive::checked_kind`] refuses.
pub async fn upload(app: &App, viewer: &Viewer, new: NewFile) -> Result<Uploaded> {
    viewer.require(Scope::FilesWrite)?;
    let workspace =
        workspace::find_editable(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let request = ("uploadFile", workspace.id.to_string(), &new.wish, &new.sent_filename, new.spool.sha256);
    let key = Key::new(viewer, new.wish.idempotency_key.as_deref(), &request)?;
    // Before anything that may have changed since the first request.
    if let Some(first) = first(app, viewer, key.as_ref()).await? {
        return Ok(first);
    }
    let (task_app, task_key, user) = (app.clone(), key.clone(), viewer.user.id);
    // Received bytes become a file and its image, even if the client has left.
    let settled = worker::run_on(async move {
        let (app, key) = (&task_app, task_key.as_ref());
        match store(app, &workspace, user, &new, key).await? {
            Settled::Ready(file, Some(image)) => {
                image::step::provision_in_time(app, *image).await;
                Ok(Settled::Ready(file, None))
            }
            other => Ok(other),
        }
    });
    match settled.await? {
        Settled::Known(file) => Ok(Uploaded::new(*file, true)),
        Settled::Repeated | Settled::TooLate => {
            first(app, viewer, key.as_ref()).await?.ok_or_else(idempotency::gone)
        }
        Settled::Ready(file, _) => {
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
) -> Result<Settled> {
    let granted = new.wish.granted(workspace)?;
    let filename = granted.filename.as_deref().or(new.sent_filename.as_deref());
    let declared = Declared { mime_type: new.sent_type.as_deref(), filename };
    let (sha256, provision) = (granted.sha256.as_ref(), new.wish.image.provision);
    let kind = arrive::checked_kind(app, workspace, &new.spool, sha256, declared, provision)
        .await
        .map_err(|e| e.at("file"))?;
    app.step("spooled").await;
    let becomes_image = kind.picture.is_some() && provision;
    if becomes_image && !is_known(app, workspace, &new.spool, granted.on_duplicate).await? {
        let free = settle::require_free_id(app, granted.image.custom_id.as_deref(), None).await;
        // Taken by what the same request has made by now.
        if let (Err(_), Some(key)) = (&free, key)
            && key.first(app).await?.is_some()
        {
            return Ok(Settled::Repeated);
        }
        free?;
    }
    let now = app.clock.now();
    let filename = granted
        .filename
        .clone()
        .unwrap_or_else(|| cleaned_filename(new.sent_filename.as_deref().unwrap_or_default()));
    let row = granted.row(workspace, user, filename, now);
    let arrival = Arrival {
        workspace,
        spool: &new.spool,
        kind: &kind,
        stored: None,
        on_duplicate: granted.on_duplicate,
        image: ImageWish { id: ImageId::new(now), new: &new.wish.image, signed: granted.signed, made: None },
        target: Target::New(Box::new(row), key),
    };
    arrive::settle(app, &arrival).await.map_err(|e| e.at("file"))
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
    Ok(content::find(&app.db.read, workspace.id, &spool.sha256).await?.is_some())
}

/// What the first request with this key made.
///
/// # Errors
/// `CONFLICT` at `idempotencyKey` if it asked for something else, or if its file is gone.
pub async fn first(app: &App, viewer: &Viewer, key: Option<&Key>) -> Result<Option<Uploaded>> {
    let Some(key) = key else { return Ok(None) };
    let Some(first) = key.first(app).await? else { return Ok(None) };
    let found = file::visible_to(viewer).filter(file::COLUMN.id.eq(first.file_id)).one(&app.db.read).await?;
    let file = found.ok_or_else(idempotency::gone)?;
    Ok(Some(Uploaded::new(file, first.deduplicated)))
}

async fn find(app: &App, viewer: &Viewer, file: &Model) -> Result<Option<Model>> {
    Ok(file::visible_to(viewer).filter(file::COLUMN.id.eq(file.id)).one(&app.db.read).await?)
}
