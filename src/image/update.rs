//! Updating images.

use crate::app::App;
use crate::auth::{Viewer, editable};
use crate::entity::api_token::Scope;
use crate::entity::image::Model;
use crate::error::Result;
use crate::id::ImageId;
use crate::job;
pub use crate::provision::update::ImageChange;
use crate::provision::update::{change_in_account, write};
use crate::rows::revision::require_unchanged;

/// Updates an image. Changing `requireSignedURLs` purges the account's caches, and later delivery URLs have a new Cloudflare
/// id.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`; `CONFLICT` when the
/// image has changed in the meantime or another change is in progress; `UPSTREAM_ERROR` and `UPSTREAM_RATE_LIMITED` while
/// the account does not respond. In that case nothing has changed, or the worker completes the change.
pub async fn update(app: &App, viewer: &Viewer, id: ImageId, change: ImageChange) -> Result<Model> {
    viewer.require(Scope::ImagesWrite)?;
    let image = editable::find_image(app, viewer, id).await.map_err(|e| e.at("id"))?;
    require_unchanged(change.if_updated_at, image.updated_at)?;
    change.check(&image)?;
    if !change.concerns_account() {
        return write(app, &image, &change, None).await;
    }
    let task_app = app.clone();
    // Runs to its end even if the client disconnects.
    job::run_to_end(async move { change_in_account(&task_app, &image, &change).await }).await
}
