//! Strays: copies of an image in the account whose ids there are unknown, because the answers to the requests that created
//! them were lost. They are found by the id of the image row, which is part of their metadata.

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

/// Whether an image of the account has the id of this image row in its metadata.
pub fn is_ours(found: &wire::Image, image: ImageId) -> bool {
    let owner = found.meta.as_ref().and_then(|meta| meta.get(METADATA_FIELD));
    owner.and_then(Value::as_str) == Some(&image.to_string())
}

/// The images of the account that have the id of this image row in their metadata.
pub async fn find(app: &App, id: ImageId) -> std::result::Result<Vec<wire::Image>, AccountError> {
    let query = ListQuery {
        per_page: Some(100),
        meta: vec![MetaFilter { field: METADATA_FIELD.to_owned(), test: MetaTest::EqString(id.to_string()) }],
        ..ListQuery::default()
    };
    Ok(app.cloudflare.list(&query).await?.images)
}

/// Deletes copies of a provisioned image that the account created for a request whose answer was not awaited.
pub async fn remove_second_copies(app: &App, image: &Model) -> Result<()> {
    let Ok(strays) = find(app, image.id).await else {
        return job::retry_later::<Entity>(app, image).await;
    };
    if !strays.is_empty() && !strays.iter().any(|stray| Some(&stray.id) == image.cf_image_id.as_ref()) {
        // The account carried out a change of access whose answer was not awaited, and gave the image another id: none of
        // the images found is a second copy.
        return update::resume(app, image).await;
    }
    for stray in strays.iter().filter(|stray| Some(&stray.id) != image.cf_image_id.as_ref()) {
        tracing::info!(image = %image.id, "removing a second copy from the account");
        if app.cloudflare.delete(&stray.id).await.is_err() {
            return job::retry_later::<Entity>(app, image).await;
        }
    }
    job::reschedule::<Entity>(app, image, None).await
}
