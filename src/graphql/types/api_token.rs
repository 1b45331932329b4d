//! `ApiToken`.

use async_graphql::async_trait::async_trait;
use async_graphql::{Context, ID};
use row_object::row_object;

use crate::api_token as tokens;
use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token;
use crate::error::Result;
use crate::graphql::ContextExt;
use crate::graphql::rows::ListSelection;
use crate::graphql::types::connection::{CountRows, TotalCount};
use crate::graphql::types::scalar::DateTime;
use crate::graphql::types::viewer::TokenScope;
use crate::id::WorkspaceId;
use crate::query::page::{Count, PageArgs};

/// A long-lived credential. Its secret is shown once, when it is created.
pub struct ApiToken(pub api_token::Model);

/// A long-lived credential. Its secret is shown once, when it is created.
#[row_object(api_token)]
impl ApiToken {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// Name that tells the token's purpose.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// First characters of the secret, to tell tokens apart.
    async fn hint(&self) -> &str {
        &self.0.hint
    }

    /// What it allows, within the rights of its user.
    async fn scopes(&self) -> Vec<TokenScope> {
        self.0.scopes.0.iter().copied().map(Into::into).collect()
    }

    /// The one workspace it is limited to. Null for a token for every workspace of its user.
    async fn workspace_id(&self) -> Option<ID> {
        self.0.workspace_id.map(|id| id.to_string().into())
    }

    /// When it expires. Null when it does not expire.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(DateTime)
    }

    /// When it was last used, accurate to about a minute. Null when it was never used.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(DateTime)
    }

    /// When it was revoked.
    async fn revoked_at(&self) -> Option<DateTime> {
        self.0.revoked_at.map(DateTime)
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

connection!(
    ApiTokenConnection,
    ApiTokenEdge,
    ApiToken,
    api_token,
    "A page of API tokens.",
    "An API token in a page."
);

#[async_trait]
impl CountRows for tokens::TokenList {
    async fn count_rows(&self, app: &App, viewer: &Viewer) -> Result<Count> {
        tokens::count(app, viewer, self).await
    }
}

/// A page of tokens: those limited to a workspace, or the caller's own.
pub async fn list_tokens(
    ctx: &Context<'_>,
    workspace_id: Option<WorkspaceId>,
    page: PageArgs,
) -> Result<ApiTokenConnection> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let list = tokens::TokenList { workspace_id, page };
    let selection = ListSelection::of::<ApiToken>(ctx).into();
    let page = tokens::list(app, viewer, list.clone(), &selection).await?;
    Ok(ApiTokenConnection::new(page, TotalCount::new(ctx, list)))
}
