//! The steps that copy an image into the Cloudflare account and remove it from there.
//!
//! A request runs each step once; the worker repeats it until it succeeds or fails for good. Every step can therefore be
//! repeated: it tolerates that an earlier attempt did all of its work or a part of it.

pub mod claim;

pub mod outcome;

pub mod refusal;

pub mod remove;

pub mod reprovision;

pub mod settings;

pub mod stray;

pub mod update;

use futures_util::TryStreamExt;
use serde_json::{Map, Value};

use crate::app::App;
use crate::entity::file;
use crate::entity::image::{Entity, Model, State};
use crate::entity::json_text::JsonText;
use crate::error::{Code, Error, Refusal, Result, bytes_missing};
use crate::id::ImageId;
use crate::job;
use crate::provision::claim::Claimed;
use crate::provision::outcome::Recorded;
use crate::provision::settings::METADATA_FIELD;
use crate::rows::stored_bytes;
use cloudflare_images::client::{Body, NewImage, Upload};
use cloudflare_images::{Error as AccountError, wire};

/// Runs the step that a claimed image is due for: provisions it, resumes an interrupted change of it, deletes second
/// copies of it, or removes it.
pub async fn run_due(app: &App, claimed: Claimed) -> Result<()> {
    let image = &claimed.image;
    match image.state {
        State::Pending => provision(app, claimed).await.map(drop),
        State::Ready if image.switching_to.is_some() => update::resume(app, image).await,
        State::Ready => stray::remove_second_copies(app, image).await,
        State::Removing => match remove::remove(app, image).await {
            Ok(_) => Ok(()),
            Err(problem) => {
                problem.log();
                job::retry_later::<Entity>(app, image).await
            }
        },
        State::Failed => job::reschedule::<Entity>(app, image, None).await,
    }
}

/// Provisions a claimed image. Returns what was recorded when that has ended, or `None` after `IMAGEGRAPH_PROVISION_WAIT` while
/// it continues in a task of its own.
pub async fn provision_within_answer_time(app: &App, claimed: Claimed) -> Option<Recorded> {
    let task_app = app.clone();
    job::run_within_answer_time(app, async move { provision(&task_app, claimed).await }).await?
}

/// Copies a file's bytes into the account and records the result in the image row: `READY`, `FAILED`, or `PENDING` until
/// the next attempt. `None` if nothing was recorded, because the claim has expired.
///
/// # Errors
/// Only if the result cannot be recorded. Errors of the account, the byte store and the file are results.
pub async fn provision(app: &App, claimed: Claimed) -> Result<Option<Recorded>> {
    let Claimed { image, file } = claimed;
    match renewing_lease(app, &image, adopt_or_create(app, &image, file)).await {
        Ok(Ok(created)) => {
            app.crash_point("account-image-created").await;
            outcome::record_ready(app, &image, &created).await
        }
        Ok(Err(AccountError::UploadSource(cause))) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            outcome::record_failure(app, &image, bytes_missing().public()).await
        }
        Ok(Err(AccountError::UploadSource(cause))) => {
            Error::fault("reading the bytes of a file", cause).log();
            outcome::record_delay(app, &image, internal_failure()).await
        }
        Ok(Err(problem)) => outcome::record_account_error(app, &image, &problem).await,
        Err(Error::Refusal(reason)) => outcome::record_failure(app, &image, reason).await,
        Err(fault) => {
            fault.log();
            outcome::record_delay(app, &image, internal_failure()).await
        }
    }
}

/// Runs `work` for a claimed image and renews the lease of its row for as long as the work takes.
async fn renewing_lease<T>(app: &App, image: &Model, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(app.config.lease / 3, &mut work).await {
            Ok(result) => return result,
            Err(_) => {
                let until = app.lease(app.clock.now());
                if let Err(problem) = job::reschedule::<Entity>(app, image, Some(until)).await {
                    problem.log();
                }
            }
        }
    }
}

/// The reason shown to clients while the byte store or the database fails. It does not mention a request id, because no
/// request failed.
fn internal_failure() -> Refusal {
    let message = "The server cannot reach its own byte store or database at the moment; it will try again.";
    Error::refuse(Code::Internal, message).public()
}

/// The image in the account, or the account's error; the outer error is one of this server.
type Created = Result<std::result::Result<wire::Image, AccountError>>;

/// Adopts the image that an earlier attempt created in the account, or creates it.
async fn adopt_or_create(app: &App, image: &Model, file: Option<file::Model>) -> Created {
    // Only before the first attempt is it certain that the account has no copy.
    if image.attempts > 1 {
        match stray::find(app, image.id).await {
            // A copy with the other access was created before the requested access changed. It is not adopted; the check
            // for second copies removes it.
            Ok(mut strays) => {
                strays.retain(|stray| stray.require_signed_urls == image.require_signed_urls);
                if let Some(stray) = strays.pop() {
                    return Ok(Ok(stray));
                }
            }
            Err(problem) => return Ok(Err(problem)),
        }
    }
    create(app, image, file).await
}

async fn create(app: &App, image: &Model, file: Option<file::Model>) -> Created {
    let file = match file {
        Some(file) => Some(file),
        None => file::by_id_unscoped(image.file_id).one(&app.db.read).await?,
    };
    let Some(file) = file else { return Err(bytes_missing()) };
    let of_user = image.cf_metadata.as_ref().map(JsonText::value);
    let new = NewImage {
        id: image.custom_id.as_deref(),
        metadata: Some(&metadata(image.id, of_user.as_ref().and_then(Value::as_object))),
        require_signed_urls: image.require_signed_urls,
        creator: image.creator.as_deref(),
    };
    let mut created = app.cloudflare.create(new, body(app, image, &file).await?).await;
    // With another token, and then at another host.
    for _ in 0..2 {
        if !created.as_ref().is_err_and(AccountError::may_succeed_at_once) {
            break;
        }
        created = app.cloudflare.create(new, body(app, image, &file).await?).await;
    }
    let (Err(AccountError::Conflict(_)), Some(id)) = (&created, new.id) else { return Ok(created) };
    // The image that has the custom id may be the result of an earlier attempt that the account's list does not show yet.
    match app.cloudflare.find(id).await {
        Ok(Some(found)) if stray::is_ours(&found, image.id) && !found.draft => Ok(Ok(found)),
        _ => Ok(created),
    }
}

/// The stored bytes of an image's file, to be sent.
async fn body(app: &App, image: &Model, file: &file::Model) -> Result<Body> {
    let bytes = stored_bytes::read(app, file).await?;
    Ok(Body::Upload(Upload {
        filename: image.filename.clone(),
        content_type: image.mime_type.clone(),
        length: u64::try_from(image.size).unwrap_or(0),
        stream: Box::pin(bytes.map_err(std::io::Error::other)),
    }))
}

/// The metadata of an image in the account: the user's metadata, and the id of the image row.
pub fn metadata(id: ImageId, user_metadata: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut metadata = user_metadata.cloned().unwrap_or_default();
    metadata.insert(METADATA_FIELD.to_owned(), Value::String(id.to_string()));
    metadata
}
