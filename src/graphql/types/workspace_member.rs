//! `WorkspaceMember`.

use async_graphql::async_trait::async_trait;
use async_graphql::{Context, ID};
use row_object::row_object;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::membership;
use crate::error::Result;
use crate::graphql::ContextExt;
use crate::graphql::rows::ListSelection;
use crate::graphql::semanticNonNull;
use crate::graphql::types::connection::{CountRows, TotalCount};
use crate::graphql::types::scalar::DateTime;
use crate::graphql::types::viewer::User;
use crate::graphql::types::workspace::WorkspaceRole;
use crate::id::{UserId, WorkspaceId};
use crate::query::page::{Count, PageArgs};
use crate::workspace::member as members;

/// A member of a workspace.
pub struct WorkspaceMember(pub membership::Model);

/// A member of a workspace.
#[row_object(membership)]
impl WorkspaceMember {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The user.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[relation(User)]
    async fn user(&self) -> Option<UserId> {
        Some(self.0.user_id)
    }

    /// Role in this workspace.
    async fn role(&self) -> WorkspaceRole {
        self.0.role.into()
    }

    /// When the user became a member.
    async fn joined_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

connection!(
    WorkspaceMemberConnection,
    WorkspaceMemberEdge,
    WorkspaceMember,
    membership,
    "A page of members.",
    "A member in a page."
);

#[async_trait]
impl CountRows for members::MemberList {
    async fn count_rows(&self, app: &App, viewer: &Viewer) -> Result<Count> {
        members::count(app, viewer, self).await
    }
}

/// A page of a workspace's members.
pub async fn list_members(
    ctx: &Context<'_>,
    workspace_id: WorkspaceId,
    page: PageArgs,
) -> Result<WorkspaceMemberConnection> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let list = members::MemberList { workspace_id, page };
    let selection = ListSelection::of::<WorkspaceMember>(ctx).into();
    let page = members::list(app, viewer, list.clone(), &selection).await?;
    Ok(WorkspaceMemberConnection::new(page, TotalCount::new(ctx, list)))
}
