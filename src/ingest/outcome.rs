//! The result of an upload or import, also for a repeated request with an idempotency key.

use sea_orm::{ColumnTrait, QueryFilter};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::file::{self, ImageStatus, Model};
use crate::entity::{Failure, image};
use crate::error::{Refusal, Result};
use crate::idempotency::{self, IdempotencyKey};

/// The file of an upload or import: a new one, or one that the workspace had.
#[derive(Debug, Clone)]
pub struct Uploaded {
    pub file: Model,
    /// The workspace had the bytes already, and `file` is the file that has them.
    pub deduplicated: bool,
    /// Its provisioned image, if the row is known from the upload.
    pub image: Option<image::Model>,
    /// The refusal of the image, if it names an input field as the cause. The file exists nevertheless.
    pub refusal: Option<Refusal>,
}

impl Uploaded {
    pub fn new(file: Model, deduplicated: bool) -> Uploaded {
        let failure = file.image_failure.as_ref().filter(|_| file.image_status == ImageStatus::Failed);
        let refusal = failure.map(Failure::refusal).filter(|refusal| refusal.field.is_some());
        Uploaded { file, deduplicated, image: None, refusal: refusal.filter(|_| !deduplicated) }
    }
}

/// The file that the first request with this key created or found.
///
/// # Errors
/// `CONFLICT` at `idempotencyKey` if that request was a different one, or if its file was deleted.
pub async fn first_result(
    app: &App,
    viewer: &Viewer,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Uploaded>> {
    let Some(key) = key else { return Ok(None) };
    let Some(first) = key.find_first_request(app).await? else { return Ok(None) };
    let found = file::visible_to(&viewer.access())
        .filter(file::COLUMN.id.eq(first.file_id))
        .one(&app.db.read)
        .await?;
    let file = found.ok_or_else(idempotency::result_deleted)?;
    Ok(Some(Uploaded::new(file, first.deduplicated)))
}
