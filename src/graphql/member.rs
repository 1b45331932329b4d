//! `WorkspaceMember`.

use async_graphql::{Context, ID, Object};

use crate::entity::membership;
use crate::error::Result;
use crate::graphql::Asked;
use crate::graphql::connection::{Counted, Total, WorkspaceMemberConnection, shared, wants_both_ends};
use crate::graphql::scalar::DateTime;
use crate::graphql::semanticNonNull;
use crate::graphql::workspace::{User, WorkspaceRole};
use crate::id::WorkspaceId;
use crate::query::page::PageArgs;
use crate::workspace::member as members;

/// A member of a workspace.
pub struct WorkspaceMember(pub membership::Model);

/// A member of a workspace.
#[Object]
impl WorkspaceMember {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// Who it is.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn user(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<User>> {
        ctx.loaders().load_one(self.0.user_id).await.map_err(shared).transpose().map(|row| row.map(User))
    }

    /// What they may do here.
    async fn role(&self) -> WorkspaceRole {
        self.0.role.into()
    }

    /// Since when.
    async fn joined_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// A page of a workspace's members.
pub async fn list_members(
    ctx: &Context<'_>,
    workspace_id: WorkspaceId,
    page: PageArgs,
) -> Result<WorkspaceMemberConnection> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let list = members::MemberList { workspace_id, page, both_ends: wants_both_ends(ctx) };
    let page = members::list(app, viewer, list.clone()).await?;
    Ok(WorkspaceMemberConnection::new(page, Total::of(app, viewer, Counted::Members(list))))
}
