//! Strays: copies of an image that the account has under an id we do not know, because the answer to the request that
//! made them was lost. Our own id in the account's metadata leads to them.

use serde_json::Value;

use crate::app::App;
use crate::entity::image::{Entity, Model};
use crate::error::Result;
use crate::id::ImageId;
use crate::job;
use crate::provision::settings::METADATA_FIELD;
use crate::provision::update;
use cloudflare_images::client::{ListQuery, MetaFilter, MetaTest};
use cloudflare_images::{Error as AccountError, wire};

/// Whether an image of the account carries the id of one of ours.
pub fn is_ours(found: &wire::Image, image: ImageId) -> bool {
    let owner = found.meta.as_ref().and_then(|meta| meta.get(METADATA_FIELD));
    owner.and_then(Value::as_str) == Some(&image.to_string())
}

/// The account's images that carry our id.
pub async fn find(app: &App, id: ImageId) -> std::result::Result<Vec<wire::Image>, AccountError> {
    let query = ListQuery {
        per_page: Some(100),
        meta: vec![MetaFilter { field: METADATA_FIELD.to_owned(), test: MetaTest::EqString(id.to_string()) }],
        ..ListQuery::default()
    };
    Ok(app.cloudflare.list(&query).await?.images)
}

/// Removes copies of a provisioned image that a given-up request made after all.
pub async fn remove_second_copies(app: &App, image: &Model) -> Result<()> {
    let Ok(strays) = find(app, image.id).await else {
        return job::back_off::<Entity>(app, image).await;
    };
    if !strays.is_empty() && !strays.iter().any(|stray| Some(&stray.id) == image.cf_image_id.as_ref()) {
        // None of them is the one we know: a change of access that was given up was carried out after all, and gave the
        // image another id. Nothing here is one too many.
        return update::resume(app, image).await;
    }
    for stray in strays.iter().filter(|stray| Some(&stray.id) != image.cf_image_id.as_ref()) {
        tracing::info!(image = %image.id, "removing a second copy from the account");
        if app.cloudflare.delete(&stray.id).await.is_err() {
            return job::back_off::<Entity>(app, image).await;
        }
    }
    job::reschedule::<Entity>(app, image, None).await
}
