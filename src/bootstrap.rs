//! What a first start makes: an admin, a workspace, a token. And tokens and users by command.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, IntoActiveModel, QueryFilter,
};

use crate::app::{Clock, Db};
use crate::entity::api_token::Scope;
use crate::entity::{membership, user, workspace};
use crate::error::{Error, Result};
use crate::id::{UserId, WorkspaceId};
use crate::rows;
use crate::rows::api_token::{TokenRow, new_secret};

/// What a first start made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    pub workspace: WorkspaceId,
    /// The admin's token; nowhere else to be had.
    pub secret: String,
}

/// A token to be made for somebody.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose: a user with this e-mail, made as a `MEMBER` if there is none. `None` means the oldest admin.
    pub email: Option<String>,
    /// What that user is called from now on. An e-mail address is no name: every colleague sees it.
    pub user_name: Option<String>,
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Limits the token to one workspace.
    pub workspace: Option<WorkspaceId>,
    /// Makes the user a member of that workspace in this role, if they are none.
    pub role: Option<membership::Role>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes an admin, a workspace and a token if there is no user yet.
pub async fn first_start(db: &Db, clock: &Clock, admin_token: Option<&str>) -> Result<Option<First>> {
    if user::any(&db.read).await? {
        return Ok(None);
    }
    let now = clock.now();
    let transaction = db.begin().await?;
    let admin = user::ActiveModel {
        id: Set(UserId::new(now)),
        name: Set("Admin".to_owned()),
        // Unique: of two servers that start at once on one database, one makes the admin.
        email: Set(Some("admin@localhost".to_owned())),
        role: Set(user::Role::Admin),
        created_at: Set(now),
    };
    let admin = match admin.insert(&transaction).await {
        Ok(admin) => admin,
        Err(problem) if matches!(problem.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))) => {
            return Ok(None);
        }
        Err(problem) => return Err(problem.into()),
    };
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
    Ok(Some(First { workspace: workspace.id, secret }))
}

/// Makes a token, with its user and membership where they are missing; answers its secret.
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
        None => user::oldest_admin(&transaction)
            .await?
            .ok_or_else(|| Error::not_found("admin; start the server once to make one"))?,
        Some(email) => find_or_insert_user(&transaction, email, new.user_name.as_deref(), now).await?,
    };
    match (new.role, new.workspace) {
        (Some(role), Some(workspace)) => {
            let member = membership::of_user(user.id)
                .filter(membership::COLUMN.workspace_id.eq(workspace))
                .one(&transaction)
                .await?;
            if member.is_none() {
                rows::workspace::insert_member(&transaction, user.id, workspace, role, now).await?;
            }
        }
        (Some(_), None) => return Err(Error::invalid("role", "A role needs the workspace it is for.")),
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

/// A name that tells users apart and says nothing about them.
fn neutral_name(id: UserId) -> String {
    let text = id.to_string();
    format!("User {}", &text[text.len().saturating_sub(6)..])
}
