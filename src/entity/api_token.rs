//! API tokens: only a hash of the secret is stored.

use std::sync::LazyLock;

use row_object::PartialRow;
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveEnum, Condition, DbBackend, FromJsonQueryResult, IdenStatic, Iterable, Statement};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::access::TokenAccess;
use crate::entity::{columns, membership, user};
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
#[sea_orm(table_name = "api_token", model_attrs(derive(PartialRow)))]
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

/// A token that may be used, with what is known of its user.
pub struct Bearer {
    pub token: Model,
    pub user: user::Model,
    /// All memberships of the user, in no order.
    pub memberships: Vec<(WorkspaceId, membership::Role)>,
}

/// The token with this secret, if it is neither revoked nor expired, with its user and their memberships, in one statement:
/// every request begins with it.
pub async fn find_bearer(
    db: &impl ConnectionTrait,
    secret_hash: Vec<u8>,
    now: DateTimeUtc,
) -> Result<Option<Bearer>, DbErr> {
    static SQLITE: LazyLock<String> = LazyLock::new(|| bearer_statement(DbBackend::Sqlite));
    static POSTGRES: LazyLock<String> = LazyLock::new(|| bearer_statement(DbBackend::Postgres));
    let backend = db.get_database_backend();
    let sql = if backend == DbBackend::Sqlite { &SQLITE } else { &POSTGRES };
    let values = [secret_hash.into(), now.into()];
    let Some(row) = db.query_one_raw(Statement::from_sql_and_values(backend, sql.as_str(), values)).await?
    else {
        return Ok(None);
    };
    let (token, user) = (columns::all::<Entity>(), columns::all::<user::Entity>());
    let memberships: Option<String> = row.try_get_by_index(token.len() + user.len())?;
    let memberships: Vec<(Uuid, String)> = match memberships {
        Some(json) => serde_json::from_str(&json).map_err(|error| DbErr::Json(error.to_string()))?,
        None => Vec::new(),
    };
    let in_role = |(workspace, role): (Uuid, String)| {
        Ok::<_, DbErr>((WorkspaceId(workspace), membership::Role::try_from_value(&role)?))
    };
    Ok(Some(Bearer {
        token: columns::decode(&row, &token, 0)?,
        user: columns::decode(&row, &user, token.len())?,
        memberships: memberships.into_iter().map(in_role).collect::<Result<_, _>>()?,
    }))
}

/// The memberships are one column, so that a user of many workspaces is still one row.
fn bearer_statement(backend: DbBackend) -> String {
    let token = Column::iter().map(|column| format!("token.{}", column.as_str()));
    let user = user::Column::iter().map(|column| format!("owner.{}", column.as_str()));
    let columns = token.chain(user).collect::<Vec<_>>().join(", ");
    let memberships = match backend {
        DbBackend::Sqlite => "json_group_array(json_array(lower(hex(workspace_id)), role))",
        _ => "CAST(json_agg(json_build_array(workspace_id, role)) AS text)",
    };
    format!(
        "SELECT {columns}, (SELECT {memberships} FROM membership WHERE user_id = owner.id) AS memberships \
         FROM api_token AS token JOIN \"user\" AS owner ON owner.id = token.user_id \
         WHERE token.secret_hash = $1 AND token.revoked_at IS NULL \
         AND (token.expires_at IS NULL OR token.expires_at > $2)"
    )
}

/// The hash of a secret that is stored. A fast hash is enough, because secrets are long and random.
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}
