//! `WorkspaceMember`.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::Context;
use row_object::row_object;

use crate::entity::membership;
use crate::error::Result;
use crate::graphql::ContextExt;
use crate::graphql::rows::ListSelection;
use crate::graphql::semanticNonNull;
use crate::graphql::types::connection::TotalCount;
use crate::graphql::types::scalar::{DateTime, Id};
use crate::graphql::types::viewer::User;
use crate::graphql::types::workspace::WorkspaceRole;
use crate::id::{MembershipId, UserId, WorkspaceId};
use crate::query::page::PageArgs;
use crate::workspace::member as members;

/// A member of a workspace.
pub struct WorkspaceMember(pub membership::Model);

/// A member of a workspace.
#[row_object(membership)]
impl WorkspaceMember {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<MembershipId> {
        Id(self.0.id)
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

connections_by_workspace!(WorkspaceMemberConnection, membership);

/// A page of the members of each of these workspaces.
pub async fn members_by_workspace(
    ctx: &Context<'_>,
    workspaces: &[WorkspaceId],
    page: PageArgs,
) -> Result<HashMap<WorkspaceId, WorkspaceMemberConnection>> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let selection = ListSelection::of::<WorkspaceMember>(ctx).into();
    let pages = members::list_by_workspace(app, viewer, workspaces, page, &selection).await?;
    let (app, viewer, ids) = (app.clone(), Arc::clone(viewer), workspaces.to_vec());
    let total = async move { members::count_by_workspace(&app, &viewer, &ids).await };
    let total = TotalCount::of_workspaces(total);
    Ok(WorkspaceMemberConnection::by_workspace(workspaces, pages, members::BY_JOINING, total))
}
