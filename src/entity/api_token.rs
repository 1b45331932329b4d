//! API tokens: only a hash of the secret is stored.

use sea_orm::entity::prelude::*;
use sea_orm::{Condition, FromJsonQueryResult};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::access::TokenAccess;
use crate::entity::user;
use crate::id::{ApiTokenId, UserId, WorkspaceId};

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[clap(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scope {
    FilesRead,
    FilesWrite,
    ImagesRead,
    ImagesWrite,
    /// Create direct uploads and nothing else; for the backend of a web page.
    UploadsCreate,
    WorkspaceAdmin,
    ServerAdmin,
}

impl Scope {
    /// All scopes, which a token has by default.
    pub const ALL: [Scope; 7] = [
        Scope::FilesRead,
        Scope::FilesWrite,
        Scope::ImagesRead,
        Scope::ImagesWrite,
        Scope::UploadsCreate,
        Scope::WorkspaceAdmin,
        Scope::ServerAdmin,
    ];
}

/// The scopes of a token, stored as a JSON array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Scopes(pub Vec<Scope>);

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_token")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ApiTokenId,
    pub user_id: UserId,
    /// Limits the token to one workspace.
    pub workspace_id: Option<WorkspaceId>,
    pub name: String,
    /// First characters of the secret, by which a user tells tokens apart.
    pub hint: String,
    /// SHA-256 of the secret.
    pub secret_hash: Vec<u8>,
    pub scopes: Scopes,
    pub expires_at: Option<DateTimeUtc>,
    pub revoked_at: Option<DateTimeUtc>,
    /// Accurate to about a minute.
    pub last_used_at: Option<DateTimeUtc>,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The viewer's own tokens, those of the workspaces they manage, and, for admins, all.
pub fn visible_to(access: &TokenAccess) -> Select<Entity> {
    if access.all {
        return Entity::find();
    }
    let own_or_managed = Condition::any()
        .add(COLUMN.user_id.eq(access.user))
        .add(COLUMN.workspace_id.is_in(access.managed.iter().copied()));
    within_limit(access, Entity::find().filter(own_or_managed))
}

/// A viewer whose token is limited to a workspace sees only the tokens of that workspace.
fn within_limit(access: &TokenAccess, tokens: Select<Entity>) -> Select<Entity> {
    match access.limited_to {
        Some(only) => tokens.filter(COLUMN.workspace_id.eq(only)),
        None => tokens,
    }
}

/// The viewer's own tokens.
pub fn own(access: &TokenAccess) -> Select<Entity> {
    within_limit(access, Entity::find().filter(COLUMN.user_id.eq(access.user)))
}

/// The token with this secret and its user, if it is neither revoked nor expired.
pub async fn find_usable(
    db: &impl ConnectionTrait,
    secret_hash: Vec<u8>,
    now: DateTimeUtc,
) -> Result<Option<(Model, user::Model)>, DbErr> {
    let Some(token) = Entity::find()
        .filter(COLUMN.secret_hash.eq(secret_hash))
        .filter(COLUMN.revoked_at.is_null())
        .filter(Condition::any().add(COLUMN.expires_at.is_null()).add(COLUMN.expires_at.gt(now)))
        .one(db)
        .await?
    else {
        return Ok(None);
    };
    let user = user::Entity::find_by_id(token.user_id).one(db).await?;
    Ok(user.map(|user| (token, user)))
}

/// The hash of a secret that is stored. A fast hash is enough, because secrets are long and random.
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}
