//! What became of a request for a file, also of one that is repeated.

use sea_orm::{ColumnTrait, QueryFilter};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::Failure;
use crate::entity::file::{self, ImageStatus, Model};
use crate::error::{Refusal, Result};
use crate::idempotency::{self, IdempotencyKey};

/// A file that was made, or was there.
#[derive(Debug, Clone)]
pub struct Uploaded {
    pub file: Model,
    /// The bytes were there already, and this is the file that had them.
    pub deduplicated: bool,
    /// What of the input its image was refused for. The file is there all the same.
    pub refusal: Option<Refusal>,
}

impl Uploaded {
    pub fn new(file: Model, deduplicated: bool) -> Uploaded {
        let failure = file.image_failure.as_ref().filter(|_| file.image_status == ImageStatus::Failed);
        let refusal = failure.map(Failure::refusal).filter(|refusal| refusal.field.is_some());
        Uploaded { file, deduplicated, refusal: refusal.filter(|_| !deduplicated) }
    }
}

/// What the first request with this key made.
///
/// # Errors
/// `CONFLICT` at `idempotencyKey` if it asked for something else, or if its file is gone.
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
