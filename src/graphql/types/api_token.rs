//! `ApiToken`.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::Context;
use row_object::row_object;

use crate::api_token as tokens;
use crate::entity::api_token;
use crate::error::Result;
use crate::graphql::ContextExt;
use crate::graphql::rows::ListSelection;
use crate::graphql::types::connection::TotalCount;
use crate::graphql::types::scalar::{DateTime, Id};
use crate::graphql::types::viewer::TokenScope;
use crate::id::{ApiTokenId, WorkspaceId};
use crate::query::page::PageArgs;

/// A long-lived credential. Its secret is shown once, when it is created.
pub struct ApiToken(pub api_token::Model);

/// A long-lived credential. Its secret is shown once, when it is created.
#[row_object(api_token)]
impl ApiToken {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<ApiTokenId> {
        Id(self.0.id)
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
    async fn workspace_id(&self) -> Option<Id<WorkspaceId>> {
        self.0.workspace_id.map(Id)
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

connections_by_workspace!(ApiTokenConnection, api_token);

/// A page of the caller's own tokens.
pub async fn list_own_tokens(ctx: &Context<'_>, page: PageArgs) -> Result<ApiTokenConnection> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let selection = ListSelection::of::<ApiToken>(ctx).into();
    let page = tokens::list_own(app, viewer, page, &selection).await?;
    let (app, viewer) = (app.clone(), Arc::clone(viewer));
    let total = TotalCount::of_list(async move { tokens::count_own(&app, &viewer).await });
    Ok(ApiTokenConnection::new(page, total))
}

/// A page of the tokens that are limited to each of these workspaces.
pub async fn tokens_by_workspace(
    ctx: &Context<'_>,
    workspaces: &[WorkspaceId],
    page: PageArgs,
) -> Result<HashMap<WorkspaceId, ApiTokenConnection>> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let selection = ListSelection::of::<ApiToken>(ctx).into();
    let pages = tokens::list_by_workspace(app, viewer, workspaces, page, &selection).await?;
    let (app, viewer, ids) = (app.clone(), Arc::clone(viewer), workspaces.to_vec());
    let total = async move { tokens::count_by_workspace(&app, &viewer, &ids).await };
    let total = TotalCount::of_workspaces(total);
    Ok(ApiTokenConnection::by_workspace(workspaces, pages, tokens::BY_CREATION, total))
}
