//! What the account's refusals mean to a client.

use std::time::Duration;

use crate::app::App;
use crate::entity::image;
use crate::error::{Code, Error, Refusal, Result};
use crate::id::ImageId;
use crate::provision::stray;
use cloudflare_images::Error as AccountError;

/// What a client may read about a problem with the account: the reason where it is up to them, and one sentence for
/// everything that is not. What the account said is in the log.
pub fn refusal(problem: &AccountError) -> Refusal {
    let known = problem.is_request_error().then(|| reason(problem)).flatten();
    let (code, message, field) = match (known, problem) {
        (Some((code, message, field)), _) => (code, message.to_owned(), field),
        (None, AccountError::RateLimited { .. }) => (
            Code::UpstreamRateLimited,
            "Cloudflare Images takes no more requests for the moment.".to_owned(),
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

/// Why the account refuses a picture or its settings, and the field of an input that is about.
fn reason(problem: &AccountError) -> Option<(Code, &'static str, Option<&'static str>)> {
    let number = problem.code();
    if let Some((code, message)) = number.and_then(of_picture) {
        return Some((code, message, None));
    }
    Some(match (number, problem) {
        (Some(5409), _) => (Code::CustomIdTaken, CUSTOM_ID_TAKEN, Some(CUSTOM_ID)),
        (Some(5411), _) => {
            let message = "Cloudflare Images does not take this custom id; its extension, if it has one, is that of an \
                           image.";
            (Code::InvalidInput, message, Some(CUSTOM_ID))
        }
        (Some(5400), _) => {
            (Code::InvalidInput, "Cloudflare Images does not take this metadata.", Some("image.cfMetadata"))
        }
        (_, AccountError::Invalid(_)) => (
            Code::InvalidInput,
            "The image has settings that cannot be sent to Cloudflare Images.",
            Some("image"),
        ),
        _ => return None,
    })
}

/// What a number with which the account refuses an upload says about the picture itself; `None` if nothing.
pub fn of_picture(number: u32) -> Option<(Code, &'static str)> {
    Some(match number {
        5413 | 7011 => (Code::FileTooLarge, "The image has more bytes than Cloudflare Images takes: 10 MB."),
        5443 => {
            let message =
                "The frames of this animation have more pixels than Cloudflare Images takes: 100 million.";
            (Code::ImageTooLarge, message)
        }
        5455 => (Code::UnsupportedMimeType, "Cloudflare Images takes no images of this type."),
        9422 => {
            let message = "Cloudflare Images cannot decode this image: it is damaged, or made in a way that is not \
                           supported.";
            (Code::CorruptImage, message)
        }
        _ => return None,
    })
}

/// Field of an input with the id that an image is to have in the account.
const CUSTOM_ID: &str = "image.cfImageId";
const CUSTOM_ID_TAKEN: &str = "Another image has this custom id; choose another one.";

/// Demands that no other image of the account has an id, as far as the account tells within a moment: whether it is free
/// at last only making the image shows.
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

/// Whether the image with this id in the account is one of ours, on its way out.
pub(super) async fn is_being_removed(app: &App, id: &str) -> Result<bool> {
    Ok(image::being_removed_unscoped(id).one(&app.db.read).await?.is_some())
}
