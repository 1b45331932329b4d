//! Direct uploads by form: the bytes go to the account, and are copied from there.

use super::{expired, incomplete, refuse_bytes};
use crate::app::App;
use crate::cloudflare::{Error as AccountError, signing};
use crate::entity::direct_upload::Model;
use crate::entity::file::{self, Intent};
use crate::entity::workspace as workspace_entity;
use crate::error::{Code, Error, Result};
use crate::file::arrive::{self, Arrival, ImageWish, Made, Target};
use crate::file::description::check_sha256;
use crate::file::mime::Declared;
use crate::file::spool::Spool;
use crate::image::step;

/// Completes an upload whose bytes the account has.
pub(super) async fn settle(app: &App, upload: &Model) -> Result<()> {
    let upstream = |problem: &AccountError| Error::Refusal(step::refusal(problem));
    let Some(id) = upload.cf_image_id.as_deref() else { return Err(incomplete()) };
    let Some(image) = app.cloudflare.find(id).await.map_err(|e| upstream(&e))? else { return Err(expired()) };
    if image.draft {
        let over = app.clock.now() > upload.expires_at;
        return Err(if over { expired() } else { incomplete() });
    }
    let Some(account_hash) = signing::account_hash(&image) else {
        return Err(Error::refuse(Code::UpstreamError, "Cloudflare Images answered without a delivery URL."));
    };
    let blob = app.cloudflare.blob(id).await.map_err(|e| upstream(&e))?;
    // What broke off comes as a fault; a refusal is about the bytes.
    let filled = match Spool::receive(&app.config.data_dir, app.config.max_file_size, blob.stream).await {
        Ok(spool) => fill(app, upload, &spool, &Made { image, account_hash }).await,
        Err(problem) => Err(problem),
    };
    app.step("upload-settled").await;
    match filled {
        Err(Error::Refusal(why)) => refuse_bytes(app, upload, why).await,
        other => other,
    }
}

async fn fill(app: &App, upload: &Model, spool: &Spool, made: &Made) -> Result<()> {
    let workspace = workspace_entity::for_step(upload.workspace_id).one(&app.db.read).await?;
    let file = match upload.file_id {
        Some(file) => file::for_step(file).one(&app.db.read).await?,
        None => None,
    };
    let (Some(workspace), Some(file)) = (workspace, file) else { return Ok(()) };
    let Intent { image, on_duplicate, sha256, .. } = file.intent.unwrap_or_default();
    let sha256 = sha256.as_deref().map(check_sha256).transpose()?;
    // What the account took is not refused for its size again: it may hand out a re-encoding that is a little larger.
    let declared = Declared::default();
    let kind = arrive::checked_kind(app, &workspace, spool, sha256.as_ref(), declared, false).await?;
    if kind.picture.is_none() {
        let message = format!("The bytes are {}, which is no image that is taken.", kind.mime_type);
        return Err(Error::refuse(Code::UnsupportedMimeType, message));
    }
    let arrival = Arrival {
        workspace: &workspace,
        spool,
        kind: &kind,
        stored: None,
        on_duplicate: on_duplicate.unwrap_or(workspace.on_duplicate),
        image: ImageWish {
            id: upload.image_id,
            new: &image.unwrap_or_default(),
            signed: made.image.require_signed_urls,
            made: Some(made),
        },
        target: Target::Upload(upload),
    };
    // If somebody else settled it first, those bytes count.
    arrive::settle(app, &arrival).await.map(drop)
}
