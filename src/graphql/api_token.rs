//! `ApiToken`, and the mutations on it.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::api_token::{self as tokens, NewToken};
use crate::entity::api_token;
use crate::error::Result;
use crate::graphql::connection::{ApiTokenConnection, Counted, Total, wants_both_ends};
use crate::graphql::error::{UserError, outcome};
use crate::graphql::scalar::DateTime;
use crate::graphql::workspace::TokenScope;
use crate::graphql::{Asked, parse};
use crate::id::{ApiTokenId, WorkspaceId};
use crate::query::page::PageArgs;

/// A long-lived credential. Its secret is shown once, when it is made.
pub struct ApiToken(pub api_token::Model);

/// A long-lived credential. Its secret is shown once, when it is made.
#[Object]
impl ApiToken {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// What it is for.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// First characters of the secret, to tell tokens apart.
    async fn hint(&self) -> &str {
        &self.0.hint
    }

    /// What it may do, as far as its user may.
    async fn scopes(&self) -> Vec<TokenScope> {
        self.0.scopes.0.iter().copied().map(Into::into).collect()
    }

    /// The one workspace it is limited to. Null for a token for every workspace of its user.
    async fn workspace_id(&self) -> Option<ID> {
        self.0.workspace_id.map(|id| id.to_string().into())
    }

    /// When it stops working. Null when it does not by itself.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(DateTime)
    }

    /// When it was last used, to the minute or so. Null when it never was.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(DateTime)
    }

    /// When it was revoked.
    async fn revoked_at(&self) -> Option<DateTime> {
        self.0.revoked_at.map(DateTime)
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// A page of tokens: those limited to a workspace, or the caller's own.
pub async fn list_tokens(
    ctx: &Context<'_>,
    workspace_id: Option<WorkspaceId>,
    page: PageArgs,
) -> Result<ApiTokenConnection> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let list = tokens::TokenList { workspace_id, page, both_ends: wants_both_ends(ctx) };
    let page = tokens::list(app, viewer, list.clone()).await?;
    Ok(ApiTokenConnection::new(page, Total::of(app, viewer, Counted::ApiTokens(list))))
}

/// Writes on tokens.
#[derive(Default)]
pub struct TokenMutation;

/// Writes on tokens.
#[Object]
impl TokenMutation {
    /// Create an API token. The secret is in the payload and nowhere else.
    async fn create_api_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What it may do, where, and for how long.")] input: CreateApiTokenInput,
    ) -> Option<async_graphql::Result<CreateApiTokenPayload>> {
        let created = async {
            let workspace_id = input.workspace_id.as_ref().map(|id| parse(id, "workspaceId")).transpose()?;
            let new = NewToken {
                name: input.name,
                workspace_id,
                scopes: input.scopes.into_iter().map(Into::into).collect(),
                expires_at: input.expires_at.map(|at| at.0),
            };
            tokens::create(ctx.app(), ctx.viewer(), new).await
        };
        Some(outcome(created.await).map(|(created, user_errors)| {
            let (token, secret) = created.unzip();
            CreateApiTokenPayload { api_token: token.map(ApiToken), secret, user_errors }
        }))
    }

    /// Revoke an API token. It stops working with the next request; open subscriptions end.
    async fn revoke_api_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] input: RevokeApiTokenInput,
    ) -> Option<async_graphql::Result<RevokeApiTokenPayload>> {
        let revoked = async {
            let id: ApiTokenId = parse(&input.id, "id")?;
            tokens::revoke(ctx.app(), ctx.viewer(), id).await
        };
        Some(outcome(revoked.await).map(|(token, user_errors)| RevokeApiTokenPayload {
            api_token: token.map(ApiToken),
            user_errors,
        }))
    }
}

/// Input of `createApiToken`.
#[derive(InputObject)]
pub struct CreateApiTokenInput {
    /// What it is for, 1-100 characters.
    name: String,
    /// Limits it to one workspace. Default: every workspace of the caller.
    workspace_id: Option<ID>,
    /// What it may do: one or more of the scopes of the token in use.
    scopes: Vec<TokenScope>,
    /// When it stops working; no later than the token in use.
    expires_at: Option<DateTime>,
}

/// Result of `createApiToken`.
#[derive(SimpleObject)]
pub struct CreateApiTokenPayload {
    /// The new token.
    api_token: Option<ApiToken>,
    /// Shown once.
    secret: Option<String>,
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `revokeApiToken`.
#[derive(InputObject)]
pub struct RevokeApiTokenInput {
    /// `tok_` id.
    id: ID,
}

/// Result of `revokeApiToken`.
#[derive(SimpleObject)]
pub struct RevokeApiTokenPayload {
    /// The revoked token.
    api_token: Option<ApiToken>,
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}
