//! Rows of API tokens, and their secrets.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait};

use crate::entity::api_token::{self, Model, Scope, Scopes};
use crate::error::Result;
use crate::id::{ApiTokenId, UserId, WorkspaceId};

/// A token to be inserted.
#[derive(Debug, Clone)]
pub struct TokenRow {
    pub user_id: UserId,
    /// Limits the token to one workspace.
    pub workspace_id: Option<WorkspaceId>,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Inserts a token with this secret.
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

/// The first characters of a secret: our prefix and three more. Enough to tell tokens apart, too few to guess one.
fn hint(secret: &str) -> String {
    let shown = if secret.starts_with(PREFIX) { PREFIX.len() + 3 } else { 3 };
    secret.chars().take(shown).collect()
}

/// Our secrets begin with this, so that secret scanners can find them.
const PREFIX: &str = "imgr_";

/// A fresh secret: 256 random bits, URL-safe.
pub fn new_secret() -> String {
    use base64::Engine as _;
    let bits: [u8; 32] = rand::random();
    format!("{PREFIX}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bits))
}
