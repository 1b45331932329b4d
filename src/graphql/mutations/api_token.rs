//! Writes on API tokens.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::api_token::{self as tokens, NewApiToken};
use crate::graphql::error::{UserError, outcome};
use crate::graphql::types::api_token::ApiToken;
use crate::graphql::types::scalar::DateTime;
use crate::graphql::types::viewer::TokenScope;
use crate::graphql::{ContextExt, parse_id};
use crate::id::ApiTokenId;

/// Writes on tokens.
#[derive(Default)]
pub struct TokenMutation;

/// Writes on tokens.
#[Object]
impl TokenMutation {
    /// Create an API token. The secret is in this payload only.
    async fn create_api_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What it may do, where, and for how long.")] input: CreateApiTokenInput,
    ) -> Option<async_graphql::Result<CreateApiTokenPayload>> {
        let created = async {
            let workspace_id =
                input.workspace_id.as_ref().map(|id| parse_id(id, "workspaceId")).transpose()?;
            let new = NewApiToken {
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

    /// Revoke an API token. Requests with it are rejected from now on, and its subscriptions end.
    async fn revoke_api_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to act on.")] input: RevokeApiTokenInput,
    ) -> Option<async_graphql::Result<RevokeApiTokenPayload>> {
        let revoked = async {
            let id: ApiTokenId = parse_id(&input.id, "id")?;
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
    /// Name that tells the token's purpose, 1-100 characters.
    name: String,
    /// Limits it to one workspace. Default: every workspace of the caller.
    workspace_id: Option<ID>,
    /// What it allows: one or more of the scopes of the token in use.
    scopes: Vec<TokenScope>,
    /// When it expires; no later than the token in use.
    expires_at: Option<DateTime>,
}

/// Result of `createApiToken`.
#[derive(SimpleObject)]
pub struct CreateApiTokenPayload {
    /// The new token.
    api_token: Option<ApiToken>,
    /// Shown once.
    secret: Option<String>,
    /// Empty if and only if the change was made.
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
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}
