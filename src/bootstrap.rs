//! The first start creates an admin, a workspace and a token; `imagegraph token create` creates tokens and users.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, IntoActiveModel, QueryFilter,
};

use crate::app::{Clock, Db};
use crate::entity::api_token::Scope;
use crate::entity::{membership, user, workspace};
use crate::error::{Code, Error, Result};
use crate::id::{UserId, WorkspaceId};
use crate::rows;
use crate::rows::api_token::{TokenRow, new_secret};

/// What the first start created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstStart {
    pub workspace: WorkspaceId,
    /// The secret of the admin's token, which is not stored.
    pub secret: String,
}

/// A token to create, and its user.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// E-mail address of the token's user, who is created as a `MEMBER` if unknown. `None` means the oldest admin.
    pub email: Option<String>,
    /// New display name of that user. Without one the e-mail address is not used instead, because other members see the name.
    pub user_name: Option<String>,
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Limits the token to one workspace.
    pub workspace: Option<WorkspaceId>,
    /// Makes the user a member of that workspace in this role, unless they are a member already.
    pub role: Option<membership::Role>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates an admin, a workspace and a token if there is no user; otherwise returns `None`.
pub async fn first_start(db: &Db, clock: &Clock, admin_token: Option<&str>) -> Result<Option<FirstStart>> {
    if user::any(&db.read).await? {
        return Ok(None);
    }
    let now = clock.now();
    let transaction = db.begin().await?;
    let Some(admin) = insert_admin(&transaction, now).await? else { return Ok(None) };
    let workspace = rows::workspace::insert(&transaction, "My workspace", now).await?;
    rows::workspace::insert_member(&transaction, admin.id, workspace.id, membership::Role::Owner, now)
        .await?;
    let secret = admin_token.map_or_else(new_secret, str::to_owned);
    let token = TokenRow {
        user_id: admin.id,
        workspace_id: None,
        name: "first admin".to_owned(),
        scopes: Scope::ALL.to_vec(),
        expires_at: None,
    };
    rows::api_token::insert(&transaction, token, &secret, now).await?;
    transaction.commit().await?;
    Ok(Some(FirstStart { workspace: workspace.id, secret }))
}

/// Inserts the first admin; `None` if another server that starts at the same time on the same database has inserted it.
async fn insert_admin(transaction: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<Option<user::Model>> {
    let admin = user::ActiveModel {
        id: Set(UserId::new(now)),
        name: Set("Admin".to_owned()),
        // E-mail addresses are unique, so only one of the servers succeeds.
        email: Set(Some("admin@localhost".to_owned())),
        role: Set(user::Role::Admin),
        created_at: Set(now),
    };
    match admin.insert(transaction).await {
        Ok(admin) => Ok(Some(admin)),
        Err(problem) if matches!(problem.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))) => {
            Ok(None)
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Creates a token, with its user and membership if they do not exist; returns its secret.
///
/// # Errors
/// `BAD_USER_INPUT` for a role without a workspace, `NOT_FOUND` for an unknown workspace or when there is no admin yet.
pub async fn create_token(db: &Db, clock: &Clock, new: &NewToken) -> Result<String> {
    let now = clock.now();
    let transaction = db.begin().await?;
    if let Some(id) = new.workspace
        && !workspace::exists(&transaction, id).await?
    {
        return Err(Error::not_found("workspace"));
    }
    let user = match &new.email {
        None => user::oldest_admin(&transaction).await?.ok_or_else(no_admin)?,
        Some(email) => find_or_insert_user(&transaction, email, new.user_name.as_deref(), now).await?,
    };
    match (new.role, new.workspace) {
        (Some(role), Some(workspace)) => ensure_member(&transaction, user.id, workspace, role, now).await?,
        (Some(_), None) => return Err(Error::invalid("role", "A role requires a workspace.")),
        (None, _) => {}
    }
    let secret = new_secret();
    let token = TokenRow {
        user_id: user.id,
        workspace_id: new.workspace,
        name: new.name.clone(),
        scopes: new.scopes.clone(),
        expires_at: new.expires_at,
    };
    rows::api_token::insert(&transaction, token, &secret, now).await?;
    transaction.commit().await?;
    Ok(secret)
}

/// Makes a user a member of a workspace, unless they are one already.
async fn ensure_member(
    transaction: &impl ConnectionTrait,
    user: UserId,
    workspace: WorkspaceId,
    role: membership::Role,
    now: DateTime<Utc>,
) -> Result<()> {
    let membership = membership::of_user(user)
        .filter(membership::COLUMN.workspace_id.eq(workspace))
        .one(transaction)
        .await?;
    if membership.is_some() {
        return Ok(());
    }
    rows::workspace::insert_member(transaction, user, workspace, role, now).await?;
    Ok(())
}

/// The user with this e-mail address, renamed if a name is given; inserted as a `MEMBER` if there is none.
async fn find_or_insert_user(
    transaction: &impl ConnectionTrait,
    email: &str,
    name: Option<&str>,
    now: DateTime<Utc>,
) -> Result<user::Model> {
    if let Some(user) = user::find_by_email(transaction, email).await? {
        let Some(name) = name else { return Ok(user) };
        let mut user = user.into_active_model();
        user.name = Set(name.to_owned());
        return Ok(user.update(transaction).await?);
    }
    let id = UserId::new(now);
    let row = user::ActiveModel {
        id: Set(id),
        name: Set(name.map_or_else(|| neutral_name(id), str::to_owned)),
        email: Set(Some(email.to_owned())),
        role: Set(user::Role::Member),
        created_at: Set(now),
    };
    Ok(row.insert(transaction).await?)
}

/// The refusal of a token for the admin of a server that was never started.
fn no_admin() -> Error {
    let message = "There is no admin yet; the first start of the server creates one.";
    Error::refuse(Code::NotFound, message)
}

/// A name that tells users apart without personal information.
fn neutral_name(id: UserId) -> String {
    let text = id.to_string();
    format!("User {}", &text[text.len().saturating_sub(6)..])
}
