//! Files whose bytes come with the request.

use sea_orm::{ColumnTrait, QueryFilter};

use crate::app::App;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Model};
use crate::error::Result;
use crate::file::arrive::{self, Arrival, ImageWish, Settled, Target, Wish};
use crate::file::cleaned_filename;
use crate::file::mime::Declared;
use crate::file::spool::Spool;
use crate::id::{ImageId, WorkspaceId};
use crate::idempotency::{self, Key};
use crate::image;
use crate::viewer::Viewer;
use crate::workspace;

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
}

/// Stores received bytes as a file, and provisions its image if they are one.
///
/// The file is there when this returns, whatever the account says; how far its image is tells `image_status`.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, `CONFLICT` for a key that
/// was used for something else, `DUPLICATE_CONTENT`, and what [`arrive::checked_kind`] refuses.
pub async fn upload(app: &App, viewer: &Viewer, new: NewFile) -> Result<Uploaded> {
    viewer.require(Scope::FilesWrite)?;
    let workspace =
        workspace::find_editable(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let granted = new.wish.granted(&workspace)?;
    let request = ("uploadFile", workspace.id.to_string(), &new.wish, &new.sent_filename, new.spool.sha256);
    let key = Key::new(viewer, new.wish.idempotency_key.as_deref(), &request)?;
    if let Some(first) = first(app, viewer, key.as_ref()).await? {
        return Ok(first);
    }
    let filename = granted.filename.as_deref().or(new.sent_filename.as_deref());
    let declared = Declared { mime_type: new.sent_type.as_deref(), filename };
    let (sha256, provision) = (granted.sha256.as_ref(), new.wish.image.provision);
    let kind = arrive::checked_kind(app, &workspace, &new.spool, sha256, declared, provision)
        .await
        .map_err(|e| e.at("file"))?;
    app.step("spooled").await;
    let now = app.clock.now();
    let filename = granted
        .filename
        .clone()
        .unwrap_or_else(|| cleaned_filename(new.sent_filename.as_deref().unwrap_or_default()));
    let row = granted.row(&workspace, viewer.user.id, filename, now);
    let arrival = Arrival {
        workspace: &workspace,
        spool: &new.spool,
        kind: &kind,
        stored: None,
        on_duplicate: granted.on_duplicate,
        image: ImageWish { id: ImageId::new(now), new: &new.wish.image, signed: granted.signed, made: None },
        target: Target::New(Box::new(row), key.as_ref()),
    };
    match arrive::settle(app, &arrival).await.map_err(|e| e.at("file"))? {
        Settled::Known(file) => Ok(Uploaded { file: *file, deduplicated: true }),
        Settled::Repeated | Settled::TooLate => {
            first(app, viewer, key.as_ref()).await?.ok_or_else(idempotency::gone)
        }
        Settled::Ready(file, image) => {
            if let Some(image) = image {
                image::step::provision_in_time(app, *image).await;
            }
            // As it is now, even if the token may only write.
            let file = find(app, viewer, &file).await?.unwrap_or(*file);
            Ok(Uploaded { file, deduplicated: false })
        }
    }
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
    Ok(Some(Uploaded { file, deduplicated: first.deduplicated }))
}

async fn find(app: &App, viewer: &Viewer, file: &Model) -> Result<Option<Model>> {
    Ok(file::visible_to(viewer).filter(file::COLUMN.id.eq(file.id)).one(&app.db.read).await?)
}
