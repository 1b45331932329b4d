//! `Viewer` and `User`.

use std::sync::Arc;

use async_graphql::{Context, Enum, Object};
use row_object::row_object;

use crate::auth;
use crate::entity::{api_token, user};
use crate::graphql::rows::Row;
use crate::graphql::types::api_token::{ApiTokenConnection, list_own_tokens};
use crate::graphql::types::connection::{connection, page_args};
use crate::graphql::types::scalar::{DateTime, Id};
use crate::graphql::types::workspace::{WorkspaceConnection, WorkspaceOrder, list_workspaces};
use crate::graphql::{ContextExt, semanticNonNull};
use crate::id::UserId;

/// The authenticated caller and their rights.
pub struct Viewer(pub Arc<auth::Viewer>);

/// The authenticated caller and their rights.
#[Object]
impl Viewer {
    /// The user behind the token.
    async fn user(&self) -> User {
        User(self.0.user.clone())
    }

    /// Workspaces the caller is a member of; admins see all.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn workspaces(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
    ) -> Option<async_graphql::Result<Row<WorkspaceConnection>>> {
        let page = page_args(first, after, last, before);
        connection(list_workspaces(ctx, page, WorkspaceOrder::default()).await)
    }

    /// The caller's own API tokens, newest first.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn api_tokens(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
    ) -> Option<async_graphql::Result<Row<ApiTokenConnection>>> {
        let page = page_args(first, after, last, before);
        connection(list_own_tokens(ctx, page).await)
    }

    /// Scopes of the token in use.
    async fn scopes(&self) -> Vec<TokenScope> {
        self.0.token.scopes.0.iter().copied().map(Into::into).collect()
    }

    /// When the token in use expires.
    async fn token_expires_at(&self) -> Option<DateTime> {
        self.0.token.expires_at.map(DateTime)
    }
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "api_token::Scope")]
pub enum TokenScope {
    /// Read files, usage and events.
    FilesRead,
    /// Upload, import, change, delete and restore files.
    FilesWrite,
    /// Read images.
    ImagesRead,
    /// Provision, change and delete images.
    ImagesWrite,
    /// Create direct uploads only; for a back end that serves browsers.
    UploadsCreate,
    /// What an owner of a workspace may do.
    WorkspaceAdmin,
    /// What an admin of the server may do.
    ServerAdmin,
}

/// A person or service account.
pub struct User(pub user::Model);

/// A person or service account.
#[row_object(user)]
impl User {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<UserId> {
        Id(self.0.id)
    }

    /// Display name.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Visible to the user and to admins.
    #[page]
    #[columns(id, email)]
    async fn email(_rows: &[&User], ctx: &Context<'_>) -> impl Fn(&User) -> Option<String> {
        let viewer = Arc::clone(ctx.viewer());
        move |user: &User| user.0.email.clone().filter(|_| viewer.is_admin() || viewer.user.id == user.0.id)
    }

    /// Server-wide role. `ADMIN` sees every workspace.
    async fn role(&self) -> UserRole {
        self.0.role.into()
    }

    /// When the user was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Server-wide role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "user::Role")]
pub enum UserRole {
    /// Sees and manages every workspace, variants, keys.
    Admin,
    /// Sees the workspaces they are a member of.
    Member,
}
