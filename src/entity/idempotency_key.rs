//! Idempotency keys, by which a repeated request is recognized. They are kept for a day.

use sea_orm::entity::prelude::*;

use crate::id::{DirectUploadId, FileId, UserId};

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of the request: a key cannot be used for a different one.
    pub request_hash: Vec<u8>,
    /// The file that the first request created or found.
    pub file_id: FileId,
    pub direct_upload_id: Option<DirectUploadId>,
    pub deduplicated: bool,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The key of a user, with the result of the request it was used for.
pub fn of_user(user: UserId, key: &str) -> Select<Entity> {
    Entity::find_by_id((user, key.to_owned()))
}
