//! Direct uploads by form: the client sends the bytes to the account, and this server copies them from there.

use futures_util::TryStreamExt;

use super::{expired, incomplete, reject_bytes, workspace_and_file};
use crate::app::App;
use crate::content::detect::DetectedContent;
use crate::content::mime::{self, DeclaredType};
use crate::entity::direct_upload::Model;
use crate::error::{Code, Error, Refusal, Result};
use crate::ingest::expected_file::ExpectedFile;
use crate::ingest::{AccountImage, Target};
use crate::provision::refusal;
use crate::provision::stray;
use crate::storage::spool::Spool;
use cloudflare_images::client::Blob;
use cloudflare_images::wire::MAX_IMAGE_BYTES;
use cloudflare_images::{Error as AccountError, signing};

/// Completes an upload whose bytes are in the account.
///
/// # Errors
/// `UPLOAD_INCOMPLETE` and `UPLOAD_EXPIRED` while there are no bytes, `UPSTREAM_ERROR`, and what [`reject_bytes`] returns.
pub(super) async fn complete(app: &App, upload: &Model) -> Result<()> {
    let uploaded = find_uploaded(app, upload).await?;
    let spool = read_bytes(app, &uploaded.image.id).await?;
    let filled = fill(app, upload, &spool, &uploaded).await;
    app.crash_point("upload-completed").await;
    let Err(Error::Refusal(reason)) = filled else { return filled };
    // A rejection deletes the only copy of the bytes, so they are read once more to be sure that they were read correctly.
    let second = read_bytes(app, &uploaded.image.id).await?;
    if second.sha256 != spool.sha256 {
        return Err(inconsistent("two reads of an image returned different bytes"));
    }
    reject_bytes(app, upload, reason).await
}

/// The image that the account has made of an upload's draft. If the account does not find it by Cloudflare's id, it is also
/// searched for by our id: only when both agree is it missing.
async fn find_uploaded(app: &App, upload: &Model) -> Result<AccountImage> {
    let refused = |problem: &AccountError| Error::Refusal(refusal::from_account_error(problem));
    let Some(id) = upload.cf_image_id.as_deref() else { return Err(incomplete()) };
    let image = match app.cloudflare.find(id).await.map_err(|e| refused(&e))? {
        Some(image) if !image.draft => image,
        other => {
            let listed = stray::find(app, upload.image_id).await.map_err(|e| refused(&e))?;
            let is_expired = app.clock.now() > upload.expires_at;
            return Err(match (listed.is_empty(), other) {
                (false, _) => inconsistent("an image is listed, but not found by its id"),
                (true, Some(_)) if !is_expired => incomplete(),
                (true, _) => expired(),
            });
        }
    };
    let Some(account_hash) = signing::account_hash(&image) else {
        return Err(inconsistent("an image has no delivery URL"));
    };
    Ok(AccountImage { image, account_hash })
}

/// Reads the bytes of an image from the account. Checks that they are a whole image of the declared type.
async fn read_bytes(app: &App, id: &str) -> Result<Spool> {
    let blob = app.cloudflare.blob(id).await.map_err(|e| Error::Refusal(refusal::from_account_error(&e)))?;
    let Blob { content_type, length, stream } = blob;
    let declared = content_type.unwrap_or_default().to_ascii_lowercase();
    let declared = declared.split(';').next().unwrap_or_default().trim();
    if !declared.starts_with("image/") {
        return Err(inconsistent("the response with the bytes of an image has no image type"));
    }
    // Above the limit of an upload, because the account may have encoded the image again.
    let max_size = MAX_IMAGE_BYTES * 4;
    let chunks = stream.map_err(|problem| Error::Refusal(refusal::from_account_error(&problem)));
    let spool = Spool::receive(&app.config.data_dir, max_size, chunks).await.map_err(unreadable)?;
    if spool.size == 0 || length.is_some_and(|length| length != spool.size) {
        return Err(inconsistent("an image is empty or not of the declared size"));
    }
    let kind = DetectedContent::detect(&spool, DeclaredType::default()).await.map_err(unreadable)?;
    if kind.picture.is_none() || !mime::aliases(&kind.mime_type).contains(&declared) {
        return Err(inconsistent("an image is not of the declared type"));
    }
    Ok(spool)
}

/// Bytes that cannot be read are not the client's fault: the account has decoded the image, so its response was damaged.
fn unreadable(problem: Error) -> Error {
    match problem {
        Error::Refusal(Refusal { code: Code::UpstreamError | Code::UpstreamRateLimited, .. }) => problem,
        Error::Refusal(_) => inconsistent("the bytes of an image cannot be read"),
        fault @ Error::Fault { .. } => fault,
    }
}

/// A response of the account that contradicts itself or an earlier one. The upload stays open and is checked again later.
fn inconsistent(what: &'static str) -> Error {
    tracing::error!(what, "the Cloudflare account returned an inconsistent response");
    Error::refuse(Code::UpstreamError, "Cloudflare Images cannot be reached or does not answer properly.")
}

async fn fill(app: &App, upload: &Model, spool: &Spool, uploaded: &AccountImage) -> Result<()> {
    let Some((workspace, file)) = workspace_and_file(app, upload).await? else { return Ok(()) };
    let expected = ExpectedFile {
        workspace: &workspace,
        intent: file.intent.unwrap_or_default(),
        declared: DeclaredType::default(),
        image_id: upload.image_id,
        signed: uploaded.image.require_signed_urls,
        in_account: Some(uploaded),
        stored: None,
        target: Target::Upload(upload),
    };
    // If another request has completed the upload in the meantime, its bytes are kept and these ignored.
    expected.fill(app, spool).await.map(drop)
}
