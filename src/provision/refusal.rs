//! The refusals that clients read when the Cloudflare account returns an error.

use std::time::Duration;

use crate::app::App;
use crate::entity::image;
use crate::error::{Code, Error, Refusal, Result};
use crate::id::ImageId;
use crate::provision::stray;
use cloudflare_images::Error as AccountError;

/// The refusal that a client reads for an error of the account: the reason if the client can correct it, and a fixed sentence
/// for everything else. The account's own message is in the log only.
pub fn from_account_error(problem: &AccountError) -> Refusal {
    let reason = problem.about_request().then(|| reason(problem)).flatten();
    let (code, message, field) = match (reason, problem) {
        (Some((code, message, field)), _) => (code, message.to_owned(), field),
        (None, AccountError::RateLimited { .. }) => (
            Code::UpstreamRateLimited,
            "Cloudflare Images accepts no more requests at the moment.".to_owned(),
            None,
        ),
        (None, _) => (
            Code::UpstreamError,
            "Cloudflare Images cannot be reached or does not answer properly.".to_owned(),
            None,
        ),
    };
    let refusal = Refusal { code, message, field: None, retry_after: problem.retry_after() };
    match field {
        Some(field) => Error::Refusal(refusal).at(field).public(),
        None => refusal,
    }
}

/// Why the account refuses a picture or its settings, and the input field that is the cause.
fn reason(problem: &AccountError) -> Option<(Code, &'static str, Option<&'static str>)> {
    let error_code = problem.code();
    if let Some((code, message)) = error_code.and_then(from_upload_error_code) {
        return Some((code, message, None));
    }
    Some(match (error_code, problem) {
        (Some(5409), _) => (Code::CustomIdTaken, CUSTOM_ID_TAKEN, Some(CUSTOM_ID)),
        (Some(5411), _) => {
            let message = "Cloudflare Images does not accept this custom id. If it has a file extension, it must be that of \
                           an image format.";
            (Code::InvalidInput, message, Some(CUSTOM_ID))
        }
        (Some(5400), _) => {
            (Code::InvalidInput, "Cloudflare Images does not accept this metadata.", Some("image.cfMetadata"))
        }
        (_, AccountError::Invalid(_)) => (
            Code::InvalidInput,
            "The image has settings that cannot be sent to Cloudflare Images.",
            Some("image"),
        ),
        _ => return None,
    })
}

/// The reason in the picture itself for which the account refuses an upload with this error code; `None` if the code has
/// another meaning.
pub fn from_upload_error_code(error_code: u32) -> Option<(Code, &'static str)> {
    Some(match error_code {
        5413 | 7011 => {
            (Code::FileTooLarge, "The image is larger than 10 MB, the maximum of Cloudflare Images.")
        }
        5443 => {
            let message = "The frames of this animation have more than 100 million pixels, the maximum of Cloudflare Images.";
            (Code::ImageTooLarge, message)
        }
        5455 => (Code::UnsupportedMimeType, "Cloudflare Images does not accept images of this type."),
        9422 => {
            let message = "Cloudflare Images cannot decode this image: it is damaged, or uses an unsupported feature of its \
                           format.";
            (Code::CorruptImage, message)
        }
        _ => return None,
    })
}

/// Input field for the custom id of an image in the account.
const CUSTOM_ID: &str = "image.cfImageId";
const CUSTOM_ID_TAKEN: &str = "Another image has this custom id; choose another one.";

/// Requires that no other image of the account has a custom id. It is a check in advance: if the account does not answer
/// within 3 seconds the id counts as free, and creating the image shows whether it is.
///
/// `own` is the image that may have the id already.
///
/// # Errors
/// `CUSTOM_ID_TAKEN` at `image.cfImageId`.
pub async fn require_free_id(app: &App, id: Option<&str>, own: Option<ImageId>) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    let found = tokio::time::timeout(Duration::from_secs(3), app.cloudflare.find(id)).await;
    let Ok(Ok(Some(found))) = found else { return Ok(()) };
    if found.draft || own.is_some_and(|own| stray::is_ours(&found, own)) || is_being_removed(app, id).await? {
        return Ok(());
    }
    Err(Error::refuse(Code::CustomIdTaken, CUSTOM_ID_TAKEN).at(CUSTOM_ID))
}

/// Whether the image with this id in the account is one of ours that is being removed.
pub(super) async fn is_being_removed(app: &App, id: &str) -> Result<bool> {
    Ok(image::being_removed_unscoped(id).one(&app.db.read).await?.is_some())
}
