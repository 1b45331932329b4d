//! Idempotency keys: a repeated request gets the result of the first one.
//!
//! The row of a key is written in the transaction that writes the result of the request, so neither exists without the
//! other.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, Iterable, QueryFilter,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::idempotency_key::{self, Column, Entity, Model};
use crate::error::{Code, Error, Result};
use crate::id::{DirectUploadId, FileId, UserId};

/// How long a key is kept.
const RETENTION: TimeDelta = TimeDelta::hours(24);
/// Longest key, in characters.
const MAX_KEY: usize = 255;

/// A key and the request that has it.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    user: UserId,
    text: String,
    request_hash: Vec<u8>,
}

impl IdempotencyKey {
    /// The key of a request, if it has one. `request` holds all of its input: a request with the same key and other input is
    /// not a repetition.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at `idempotencyKey`.
    pub fn new(
        viewer: &Viewer,
        text: Option<&str>,
        request: &impl Serialize,
    ) -> Result<Option<IdempotencyKey>> {
        let Some(text) = text else { return Ok(None) };
        if !(1..=MAX_KEY).contains(&text.chars().count()) || text.chars().any(char::is_control) {
            let message =
                format!("An idempotency key has 1 to {MAX_KEY} characters and no control character.");
            return Err(Error::invalid("idempotencyKey", message));
        }
        let request =
            serde_json::to_vec(request).map_err(|problem| Error::fault("hashing a request", problem))?;
        let request_hash = Sha256::digest(request).to_vec();
        Ok(Some(IdempotencyKey { user: viewer.user.id, text: text.to_owned(), request_hash }))
    }

    /// The row that the first request with this key has written, if there is one.
    ///
    /// # Errors
    /// `CONFLICT` at `idempotencyKey` if that request had other input.
    pub async fn find_first_request(&self, app: &App) -> Result<Option<Model>> {
        let found = idempotency_key::of_user(self.user, &self.text).one(&app.db.read).await?;
        let Some(found) = found.filter(|found| found.created_at > app.clock.now() - RETENTION) else {
            return Ok(None);
        };
        if found.request_hash != self.request_hash {
            let message = "This key was used for a request with other input; use another key.";
            return Err(Error::refuse(Code::Conflict, message).at("idempotencyKey"));
        }
        Ok(Some(found))
    }

    /// Whether a request with this key has been completed, as the given transaction sees it.
    pub async fn used(&self, transaction: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<bool> {
        let found = idempotency_key::of_user(self.user, &self.text).one(transaction).await?;
        Ok(found.is_some_and(|found| found.created_at > now - RETENTION))
    }

    /// Inserts the row of the key with the result of its request; false if another request with the same key has done so
    /// before. The transaction must then be rolled back.
    pub async fn insert(
        &self,
        transaction: &impl ConnectionTrait,
        file_id: FileId,
        direct_upload_id: Option<DirectUploadId>,
        deduplicated: bool,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let row = Model {
            user_id: self.user,
            key: self.text.clone(),
            request_hash: self.request_hash.clone(),
            file_id,
            direct_upload_id,
            deduplicated,
            created_at: now,
        };
        // The row of a key whose retention time is over, and which was not purged yet, is replaced.
        let replace_expired = OnConflict::columns([Column::UserId, Column::Key])
            .update_columns(Column::iter())
            .action_and_where(idempotency_key::COLUMN.created_at.lte(now - RETENTION))
            .to_owned();
        let inserted = Entity::insert(row.into_active_model().reset_all())
            .on_conflict(replace_expired)
            .exec_without_returning(transaction)
            .await?;
        Ok(inserted > 0)
    }

    /// Deletes the row of a request that has failed, so that it can be repeated.
    pub async fn delete(&self, transaction: &impl ConnectionTrait, upload: DirectUploadId) -> Result<()> {
        Entity::delete_many()
            .filter(idempotency_key::COLUMN.user_id.eq(self.user))
            .filter(idempotency_key::COLUMN.key.eq(self.text.as_str()))
            .filter(idempotency_key::COLUMN.direct_upload_id.eq(upload))
            .exec(transaction)
            .await?;
        Ok(())
    }
}

/// The refusal of a repetition after the first result was deleted.
pub fn result_deleted() -> Error {
    let message = "The result of the first request with this key has been deleted; use another key.";
    Error::refuse(Code::Conflict, message).at("idempotencyKey")
}

/// Deletes the keys whose retention time is over.
pub async fn purge(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<()> {
    Entity::delete_many().filter(idempotency_key::COLUMN.created_at.lte(now - RETENTION)).exec(db).await?;
    Ok(())
}
