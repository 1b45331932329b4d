//! Keys by which a repeated request is told from a new one.
//!
//! The row of a key is written in the transaction that writes what the request makes: there is one exactly when there is
//! the other.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter,
    TryInsertResult,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::idempotency_key::{self, Entity, Model};
use crate::error::{Code, Error, Result};
use crate::id::{DirectUploadId, FileId, UserId};

/// How long a key is remembered.
const KEPT: TimeDelta = TimeDelta::hours(24);
/// Longest key, in characters.
const MAX_KEY: usize = 255;

/// A key, and what was asked for under it.
#[derive(Debug, Clone)]
pub struct Key {
    user: UserId,
    text: String,
    request_hash: Vec<u8>,
}

impl Key {
    /// The key a request came with, if it came with one. `request` is everything that makes it another request.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at `idempotencyKey`.
    pub fn new(viewer: &Viewer, text: Option<&str>, request: &impl Serialize) -> Result<Option<Key>> {
        let Some(text) = text else { return Ok(None) };
        if !(1..=MAX_KEY).contains(&text.chars().count()) || text.chars().any(char::is_control) {
            let message =
                format!("An idempotency key has 1 to {MAX_KEY} characters and no control character.");
            return Err(Error::invalid("idempotencyKey", message));
        }
        let request =
            serde_json::to_vec(request).map_err(|problem| Error::fault("hashing a request", problem))?;
        let request_hash = Sha256::digest(request).to_vec();
        Ok(Some(Key { user: viewer.user.id, text: text.to_owned(), request_hash }))
    }

    /// What the first request with this key made, if there was one.
    ///
    /// # Errors
    /// `CONFLICT` at `idempotencyKey` if that one asked for something else.
    pub async fn first(&self, app: &App) -> Result<Option<Model>> {
        let found = idempotency_key::of_user(self.user, &self.text).one(&app.db.read).await?;
        let Some(found) = found.filter(|found| found.created_at > app.clock.now() - KEPT) else {
            return Ok(None);
        };
        if found.request_hash != self.request_hash {
            let message = "This key was used for another request; a new request needs a key of its own.";
            return Err(Error::refuse(Code::Conflict, message).at("idempotencyKey"));
        }
        Ok(Some(found))
    }

    /// Whether a request with this key has made something, as a transaction sees it that decides on the same content.
    pub async fn used(&self, transaction: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<bool> {
        let found = idempotency_key::of_user(self.user, &self.text).one(transaction).await?;
        Ok(found.is_some_and(|found| found.created_at > now - KEPT))
    }

    /// Writes down what the request made; false if another one with the same key was faster, and then nothing may be
    /// committed.
    pub async fn insert(
        &self,
        transaction: &impl ConnectionTrait,
        file_id: FileId,
        direct_upload_id: Option<DirectUploadId>,
        deduplicated: bool,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        Entity::delete_many()
            .filter(idempotency_key::COLUMN.user_id.eq(self.user))
            .filter(idempotency_key::COLUMN.key.eq(self.text.as_str()))
            .filter(idempotency_key::COLUMN.created_at.lte(now - KEPT))
            .exec(transaction)
            .await?;
        let row = Model {
            user_id: self.user,
            key: self.text.clone(),
            request_hash: self.request_hash.clone(),
            file_id,
            direct_upload_id,
            deduplicated,
            created_at: now,
        };
        let inserted = Entity::insert(row.into_active_model().reset_all())
            .on_conflict_do_nothing()
            .exec_without_returning(transaction)
            .await?;
        Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0))
    }

    /// Forgets a request that came to nothing, so that it can be repeated.
    pub async fn forget(&self, transaction: &impl ConnectionTrait, upload: DirectUploadId) -> Result<()> {
        Entity::delete_many()
            .filter(idempotency_key::COLUMN.user_id.eq(self.user))
            .filter(idempotency_key::COLUMN.key.eq(self.text.as_str()))
            .filter(idempotency_key::COLUMN.direct_upload_id.eq(upload))
            .exec(transaction)
            .await?;
        Ok(())
    }
}

/// The refusal of a repetition whose first result is gone.
pub fn gone() -> Error {
    let message = "What the first request with this key made was deleted since; use another key.";
    Error::refuse(Code::Conflict, message).at("idempotencyKey")
}

/// Forgets keys older than a day.
pub async fn purge(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<()> {
    Entity::delete_many().filter(idempotency_key::COLUMN.created_at.lte(now - KEPT)).exec(db).await?;
    Ok(())
}
