//! The steps that bring an image into the account, and out of it again. A request takes each step once, the worker as often
//! as it needs: every step may be repeated, and tolerates that it was done before.

pub mod again;

pub mod claim;

pub mod outcome;

pub mod refusal;

pub mod remove;

pub mod settings;

pub mod stray;

pub mod update;

use futures_util::TryStreamExt;
use serde_json::{Map, Value};

use crate::app::App;
use crate::entity::file;
use crate::entity::image::{Entity, Model, State};
use crate::error::{Code, Error, Refusal, Result, bytes_missing};
use crate::id::ImageId;
use crate::job;
use crate::provision::settings::METADATA_FIELD;
use crate::rows::stored_bytes;
use cloudflare_images::client::{Body, NewImage, Upload};
use cloudflare_images::{Error as AccountError, wire};

/// Does what a claimed image is due for: provisions it, resumes a change of it, looks for strays, or removes it.
pub async fn run_due(app: &App, image: Model) -> Result<()> {
    match image.state {
        State::Pending => provision(app, image).await,
        State::Ready if image.switching_to.is_some() => update::resume(app, &image).await,
        State::Ready => stray::remove_second_copies(app, &image).await,
        State::Removing => match remove::remove(app, &image).await {
            Ok(_) => Ok(()),
            Err(problem) => {
                problem.log();
                job::back_off::<Entity>(app, &image).await
            }
        },
        State::Failed => job::reschedule::<Entity>(app, &image, None).await,
    }
}

/// Provisions a claimed image and waits for it as long as an answer may wait.
pub async fn provision_within_answer_time(app: &App, image: Model) {
    let task_app = app.clone();
    job::run_within_answer_time(app, async move { provision(&task_app, image).await }).await;
}

/// Copies a file's bytes into the account and settles the image row: `READY`, `FAILED`, or `PENDING` until later.
pub async fn provision(app: &App, image: Model) -> Result<()> {
    match while_claimed(app, &image, adopt_or_create(app, &image)).await {
        Ok(Ok(made)) => {
            app.crash_point("created").await;
            outcome::ready(app, &image, &made).await
        }
        Ok(Err(AccountError::UploadSource(cause))) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            outcome::failed(app, &image, bytes_missing().public()).await
        }
        Ok(Err(AccountError::UploadSource(cause))) => {
            Error::fault("reading the bytes of a file", cause).log();
            outcome::later(app, &image, internal_failure()).await
        }
        Ok(Err(problem)) => outcome::problem(app, &image, &problem).await,
        Err(Error::Refusal(why)) => outcome::failed(app, &image, why).await,
        Err(fault) => {
            fault.log();
            outcome::later(app, &image, internal_failure()).await
        }
    }
}

/// Runs `work` for a claimed image and renews the claim for as long as it takes.
async fn while_claimed<T>(app: &App, image: &Model, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(app.config.lease / 3, &mut work).await {
            Ok(done) => return done,
            Err(_) => {
                let until = app.lease(app.clock.now());
                if let Err(problem) = job::reschedule::<Entity>(app, image, Some(until)).await {
                    problem.log();
                }
            }
        }
    }
}

/// What a client reads while the byte store or the database fails. It has no request id, because no request failed.
fn internal_failure() -> Refusal {
    let message = "The server cannot reach its own byte store or database at the moment; it tries again.";
    Error::refuse(Code::Internal, message).public()
}

/// The account's own answer, or a fault of ours.
type Created = Result<std::result::Result<wire::Image, AccountError>>;

/// Takes over what an earlier attempt made, or makes the image.
async fn adopt_or_create(app: &App, image: &Model) -> Created {
    // Only a first attempt can be sure that there is nothing of it in the account.
    if image.attempts > 1 {
        match stray::find(app, image.id).await {
            // One with other access was made before the requested access changed; the check for strays removes it.
            Ok(mut strays) => {
                strays.retain(|stray| stray.require_signed_urls == image.require_signed_urls);
                if let Some(stray) = strays.pop() {
                    return Ok(Ok(stray));
                }
            }
            Err(problem) => return Ok(Err(problem)),
        }
    }
    create(app, image).await
}

async fn create(app: &App, image: &Model) -> Created {
    let file = file::by_id_unscoped(image.file_id).one(&app.db.read).await?;
    let Some(file) = file else { return Err(bytes_missing()) };
    let bytes = stored_bytes::read(app, &file).await?;
    let upload = Upload {
        filename: image.filename.clone(),
        content_type: image.mime_type.clone(),
        length: u64::try_from(image.size).unwrap_or(0),
        stream: Box::pin(bytes.map_err(std::io::Error::other)),
    };
    let new = NewImage {
        id: image.custom_id.as_deref(),
        metadata: Some(&metadata(image.id, image.cf_metadata.as_ref().and_then(Value::as_object))),
        require_signed_urls: image.require_signed_urls,
        creator: image.creator.as_deref(),
    };
    let made = app.cloudflare.create(new, Body::Upload(upload)).await;
    let (Err(AccountError::Conflict(_)), Some(id)) = (&made, new.id) else { return Ok(made) };
    // What has the id may be what an earlier attempt made, although no list shows it yet.
    match app.cloudflare.find(id).await {
        Ok(Some(found)) if stray::is_ours(&found, image.id) && !found.draft => Ok(Ok(found)),
        _ => Ok(made),
    }
}

/// The metadata an image of ours carries in the account: the user's, and our id.
pub fn metadata(id: ImageId, users: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut metadata = users.cloned().unwrap_or_default();
    metadata.insert(METADATA_FIELD.to_owned(), Value::String(id.to_string()));
    metadata
}
