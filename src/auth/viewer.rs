//! The viewer: the user of a bearer token, and what they may see and do with it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;

use crate::access::{TokenAccess, WorkspaceAccess};
use crate::entity::api_token::{self, Scope};
use crate::entity::{membership, user};
use crate::error::{Code, Error, Result};
use crate::id::WorkspaceId;

/// A user with the rights of the token that a request carries. Looked up once per request.
#[derive(Debug, Clone)]
pub struct Viewer {
    pub user: user::Model,
    pub token: api_token::Model,
    /// Shared by all clones, so that a workspace that the viewer creates is visible in the response.
    memberships: Arc<RwLock<Vec<(WorkspaceId, membership::Role)>>>,
}

impl Viewer {
    /// The viewer with a bearer token's secret.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for a token that is unknown, expired or revoked. The error does not say which.
    pub async fn from_secret(db: &impl ConnectionTrait, secret: &str, now: DateTime<Utc>) -> Result<Viewer> {
        let Some(bearer) = api_token::find_bearer(db, api_token::hash(secret), now).await? else {
            return Err(unauthenticated());
        };
        let (user, token) = (bearer.user, bearer.token);
        let memberships = within_limit(&token, bearer.memberships);
        Ok(Viewer { user, token, memberships: Arc::new(RwLock::new(memberships)) })
    }

    /// Looks up the memberships again, after a change in the same request that may have ended one.
    pub async fn refresh(&self, db: &impl ConnectionTrait) -> Result<()> {
        let found = find_memberships(db, &self.user, &self.token).await?;
        // Locking fails only after a panic while it is locked, and nothing there panics.
        if let Ok(mut memberships) = self.memberships.write() {
            *memberships = found;
        }
        Ok(())
    }

    /// Adds a membership that the request has created.
    pub fn add_membership(&self, workspace: WorkspaceId, role: membership::Role) {
        // Locking fails only after a panic while it is locked, and nothing there panics.
        if let Ok(mut memberships) = self.memberships.write() {
            memberships.push((workspace, role));
            memberships.sort_unstable_by_key(|(workspace, _)| *workspace);
        }
    }

    fn memberships(&self) -> RwLockReadGuard<'_, Vec<(WorkspaceId, membership::Role)>> {
        self.memberships.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the viewer is an admin by role and the token has the scope `SERVER_ADMIN`.
    pub fn is_admin(&self) -> bool {
        self.user.role == user::Role::Admin && self.token.scopes.0.contains(&Scope::ServerAdmin)
    }

    /// Whether the viewer is an admin with a token that is not limited to a workspace.
    pub fn manages_server(&self) -> bool {
        self.access() == WorkspaceAccess::All
    }

    /// The workspaces this viewer may see.
    pub fn access(&self) -> WorkspaceAccess {
        match (self.is_admin(), self.token.workspace_id) {
            (true, None) => WorkspaceAccess::All,
            (true, Some(only)) => WorkspaceAccess::Only(vec![only]),
            (false, _) => {
                WorkspaceAccess::Only(self.memberships().iter().map(|(workspace, _)| *workspace).collect())
            }
        }
    }

    /// The API tokens this viewer may see.
    pub fn token_access(&self) -> TokenAccess {
        TokenAccess {
            all: self.manages_server(),
            user: self.user.id,
            managed: self.managed_workspaces(),
            limited_to: self.token.workspace_id,
        }
    }

    /// Whether the viewer may see this workspace.
    pub fn sees(&self, workspace: WorkspaceId) -> bool {
        self.access().includes(workspace)
    }

    /// The viewer's role in a workspace; `None` for an admin who is not a member.
    pub fn role_in(&self, workspace: WorkspaceId) -> Option<membership::Role> {
        self.memberships().iter().find(|(id, _)| *id == workspace).map(|(_, role)| *role)
    }

    /// Requires that the token has a scope.
    ///
    /// # Errors
    /// `FORBIDDEN` with the name of the scope.
    pub fn require(&self, scope: Scope) -> Result<()> {
        if self.token.scopes.0.contains(&scope) {
            return Ok(());
        }
        let name = serde_json::to_value(scope).unwrap_or_default();
        let name = name.as_str().unwrap_or_default();
        Err(Error::refuse(Code::Forbidden, format!("The token lacks the scope {name}.")))
    }

    /// Requires that the token has at least one of several scopes.
    ///
    /// # Errors
    /// `FORBIDDEN` with the name of the last.
    pub fn require_any(&self, scopes: &[Scope]) -> Result<()> {
        let Some((last, others)) = scopes.split_last() else { return Ok(()) };
        if others.iter().any(|scope| self.require(*scope).is_ok()) { Ok(()) } else { self.require(*last) }
    }

    /// Requires the right to edit a workspace: the role `EDITOR` or `OWNER`, or an admin.
    ///
    /// # Errors
    /// `NOT_FOUND` for a workspace that the viewer may not see, `FORBIDDEN` for one that they may only read.
    pub fn require_editor(&self, workspace: WorkspaceId) -> Result<()> {
        if !self.sees(workspace) {
            return Err(Error::not_found("workspace"));
        }
        if self.is_admin() || self.role_in(workspace) >= Some(membership::Role::Editor) {
            return Ok(());
        }
        Err(Error::refuse(
            Code::Forbidden,
            "Your role in this workspace is VIEWER; EDITOR or OWNER is required.",
        ))
    }

    /// Requires the right to manage a workspace: the role `OWNER`, or an admin.
    ///
    /// # Errors
    /// `NOT_FOUND` for a workspace that the viewer may not see, `FORBIDDEN` for other roles.
    pub fn require_owner(&self, workspace: WorkspaceId) -> Result<()> {
        if !self.sees(workspace) {
            return Err(Error::not_found("workspace"));
        }
        if self.is_admin() || self.role_in(workspace) == Some(membership::Role::Owner) {
            return Ok(());
        }
        Err(Error::refuse(Code::Forbidden, "You are not an owner of this workspace."))
    }

    /// The workspaces that this viewer owns. For an admin whose token is limited to a workspace: that workspace.
    pub fn managed_workspaces(&self) -> Vec<WorkspaceId> {
        match self.token.workspace_id {
            Some(only) if self.is_admin() => vec![only],
            _ => {
                let owned = |(_, role): &&(WorkspaceId, membership::Role)| *role == membership::Role::Owner;
                self.memberships().iter().filter(owned).map(|(workspace, _)| *workspace).collect()
            }
        }
    }
}

async fn find_memberships(
    db: &impl ConnectionTrait,
    user: &user::Model,
    token: &api_token::Model,
) -> Result<Vec<(WorkspaceId, membership::Role)>> {
    let found = membership::of_user(user.id).all(db).await?;
    let found = found.into_iter().map(|membership| (membership.workspace_id, membership.role)).collect();
    Ok(within_limit(token, found))
}

/// Those memberships that a token may use, by workspace.
fn within_limit(
    token: &api_token::Model,
    mut memberships: Vec<(WorkspaceId, membership::Role)>,
) -> Vec<(WorkspaceId, membership::Role)> {
    memberships.retain(|(workspace, _)| token.workspace_id.is_none_or(|only| only == *workspace));
    memberships.sort_unstable_by_key(|(workspace, _)| *workspace);
    memberships
}

/// `UNAUTHENTICATED`, for a request without a valid token.
pub fn unauthenticated() -> Error {
    Error::refuse(
        Code::Unauthenticated,
        "A valid API token is required: send it as `Authorization: Bearer <token>`.",
    )
}
