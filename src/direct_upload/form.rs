//! Direct uploads by form: the bytes go to the account, and are copied from there.

use futures_util::TryStreamExt;

use super::{expired, incomplete, refuse_bytes};
use crate::app::App;
use crate::content::detect::DetectedContent;
use crate::content::mime::{self, DeclaredType};
use crate::entity::direct_upload::Model;
use crate::entity::file::{self};
use crate::entity::workspace as workspace_entity;
use crate::error::{Code, Error, Refusal, Result};
use crate::ingest::expected_file::ExpectedFile;
use crate::ingest::{AccountImage, Target};
use crate::provision::refusal;
use crate::provision::stray;
use crate::storage::spool::Spool;
use cloudflare_images::client::Blob;
use cloudflare_images::wire::MAX_IMAGE_BYTES;
use cloudflare_images::{Error as AccountError, signing};

/// Completes an upload whose bytes the account has.
pub(super) async fn settle(app: &App, upload: &Model) -> Result<()> {
    let made = look(app, upload).await?;
    let spool = fetch(app, &made.image.id).await?;
    let filled = fill(app, upload, &spool, &made).await;
    app.crash_point("upload-settled").await;
    let Err(Error::Refusal(why)) = filled else { return filled };
    // The account has the only copy, and it is deleted after this: what was seen is looked at once more.
    let again = fetch(app, &made.image.id).await?;
    if again.sha256 != spool.sha256 {
        return Err(doubtful("it hands out different bytes from one time to the next"));
    }
    refuse_bytes(app, upload, why).await
}

/// The image that has become of an upload's draft. The account is asked for it by its id and by ours: what one answer
/// says is missing, the other may show.
async fn look(app: &App, upload: &Model) -> Result<AccountImage> {
    let upstream = |problem: &AccountError| Error::Refusal(refusal::from_account_error(problem));
    let Some(id) = upload.cf_image_id.as_deref() else { return Err(incomplete()) };
    let image = match app.cloudflare.find(id).await.map_err(|e| upstream(&e))? {
        Some(image) if !image.draft => image,
        other => {
            let listed = stray::find(app, upload.image_id).await.map_err(|e| upstream(&e))?;
            let over = app.clock.now() > upload.expires_at;
            return Err(match (listed.is_empty(), other) {
                (false, _) => doubtful("it lists an image that it does not find"),
                (true, Some(_)) if !over => incomplete(),
                (true, _) => expired(),
            });
        }
    };
    let Some(account_hash) = signing::account_hash(&image) else {
        return Err(doubtful("it answers without a delivery URL"));
    };
    Ok(AccountImage { image, account_hash })
}

/// The bytes of an image of the account, if what comes is an image, all of it, and what it says it is.
async fn fetch(app: &App, id: &str) -> Result<Spool> {
    let blob = app.cloudflare.blob(id).await.map_err(|e| Error::Refusal(refusal::from_account_error(&e)))?;
    let Blob { content_type, length, stream } = blob;
    let said = mime::essence(&content_type.unwrap_or_default());
    if !said.starts_with("image/") {
        return Err(doubtful("it hands out something that is no image"));
    }
    // A little above what it takes, for what it has encoded again.
    let most = MAX_IMAGE_BYTES * 4;
    let chunks = stream.map_err(|problem| Error::Refusal(refusal::from_account_error(&problem)));
    let spool = Spool::receive(&app.config.data_dir, most, chunks).await.map_err(unreadable)?;
    if spool.size == 0 || length.is_some_and(|length| length != spool.size) {
        return Err(doubtful("it hands out other bytes than it announces"));
    }
    let kind = DetectedContent::detect(&spool, DeclaredType::default()).await.map_err(unreadable)?;
    if kind.picture.is_none() || !mime::aliases(&kind.mime_type).contains(&said.as_str()) {
        return Err(doubtful("it hands out an image of another type than it announces"));
    }
    Ok(spool)
}

/// What cannot be read, or has no end, is no fault of the picture: the account has decoded it.
fn unreadable(problem: Error) -> Error {
    match problem {
        Error::Refusal(Refusal { code: Code::UpstreamError | Code::UpstreamRateLimited, .. }) => problem,
        Error::Refusal(_) => doubtful("it hands out bytes that cannot be read"),
        fault @ Error::Fault { .. } => fault,
    }
}

/// An answer that cannot be true. It is asked for again later, and nothing is concluded from it.
fn doubtful(what: &'static str) -> Error {
    tracing::error!(what, "the Cloudflare account contradicts itself");
    Error::refuse(Code::UpstreamError, "Cloudflare Images cannot be reached or does not answer properly.")
}

async fn fill(app: &App, upload: &Model, spool: &Spool, made: &AccountImage) -> Result<()> {
    let workspace = workspace_entity::by_id_unscoped(upload.workspace_id).one(&app.db.read).await?;
    let file = match upload.file_id {
        Some(file) => file::by_id_unscoped(file).one(&app.db.read).await?,
        None => None,
    };
    let (Some(workspace), Some(file)) = (workspace, file) else { return Ok(()) };
    let expected = ExpectedFile {
        workspace: &workspace,
        intent: file.intent.unwrap_or_default(),
        declared: DeclaredType::default(),
        image_id: upload.image_id,
        signed: made.image.require_signed_urls,
        in_account: Some(made),
        stored: None,
        target: Target::Upload(upload),
    };
    // If somebody else completed the upload first, those bytes count.
    expected.fill(app, spool).await.map(drop)
}
