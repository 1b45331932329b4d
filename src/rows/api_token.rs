//! Insertion of API tokens, and their secrets.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait};

use crate::entity::api_token::{self, Model, Scope, Scopes};
use crate::error::Result;
use crate::id::{ApiTokenId, UserId, WorkspaceId};

/// A new token.
#[derive(Debug, Clone)]
pub struct TokenRow {
    pub user_id: UserId,
    /// Limits the token to one workspace.
    pub workspace_id: Option<WorkspaceId>,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Inserts a token; of its secret a hash is stored, and the first characters.
pub async fn insert(
    db: &impl ConnectionTrait,
    token: TokenRow,
    secret: &str,
    now: DateTime<Utc>,
) -> Result<Model> {
    let row = api_token::ActiveModel {
        id: Set(ApiTokenId::new(now)),
        user_id: Set(token.user_id),
        workspace_id: Set(token.workspace_id),
        name: Set(token.name),
        hint: Set(hint(secret)),
        secret_hash: Set(api_token::hash(secret)),
        scopes: Set(Scopes(token.scopes)),
        expires_at: Set(token.expires_at),
        revoked_at: Set(None),
        last_used_at: Set(None),
        created_at: Set(now),
    };
    Ok(row.insert(db).await?)
}

/// The first characters of a secret: the prefix and three more. They tell tokens apart and do not help to guess one.
fn hint(secret: &str) -> String {
    let shown = if secret.starts_with(PREFIX) { PREFIX.len() + 3 } else { 3 };
    secret.chars().take(shown).collect()
}

/// Prefix of secrets, by which secret scanners recognize them.
const PREFIX: &str = "imgr_";

/// A new secret: the prefix and 256 random bits in URL-safe base64.
pub fn new_secret() -> String {
    use base64::Engine as _;
    let bits: [u8; 32] = rand::random();
    format!("{PREFIX}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bits))
}
