//! Making and changing workspaces and their members.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::graphql::error::{UserError, outcome};
use crate::graphql::types::workspace::{Workspace, WorkspaceRole};
use crate::graphql::types::workspace_member::WorkspaceMember;
use crate::graphql::types::workspace_policy::WorkspacePolicyInput;
use crate::graphql::{ContextExt, parse_id};
use crate::id::{UserId, WorkspaceId};
use crate::workspace::{edit, member};

/// Writes on workspaces and their members.
#[derive(Default)]
pub struct WorkspaceMutation;

/// Writes on workspaces and their members.
#[Object]
impl WorkspaceMutation {
    /// Create a workspace. The caller becomes its owner.
    async fn create_workspace(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Name and policy.")] input: CreateWorkspaceInput,
    ) -> Option<async_graphql::Result<CreateWorkspacePayload>> {
        let policy = input.policy.unwrap_or_default().into();
        let created = outcome(edit::create(ctx.app(), ctx.viewer(), &input.name, &policy).await);
        Some(created.map(|(workspace, user_errors)| CreateWorkspacePayload {
            workspace: workspace.map(Workspace),
            user_errors,
        }))
    }

    /// Change name or policy of a workspace. Owners and admins only.
    async fn update_workspace(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: UpdateWorkspaceInput,
    ) -> Option<async_graphql::Result<UpdateWorkspacePayload>> {
        let updated = async {
            let id: WorkspaceId = parse_id(&input.id, "id")?;
            let policy = input.policy.unwrap_or_default().into();
            edit::update(ctx.app(), ctx.viewer(), id, input.name.as_deref(), &policy).await
        };
        Some(outcome(updated.await).map(|(workspace, user_errors)| UpdateWorkspacePayload {
            workspace: workspace.map(Workspace),
            user_errors,
        }))
    }

    /// Add a member to a workspace or change their role. Owners and admins only.
    async fn set_workspace_member(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Workspace, user and role.")] input: SetWorkspaceMemberInput,
    ) -> Option<async_graphql::Result<SetWorkspaceMemberPayload>> {
        let set = async {
            let workspace: WorkspaceId = parse_id(&input.workspace_id, "workspaceId")?;
            let user: UserId = parse_id(&input.user_id, "userId")?;
            member::set(ctx.app(), ctx.viewer(), workspace, user, input.role.into()).await
        };
        Some(outcome(set.await).map(|(member, user_errors)| SetWorkspaceMemberPayload {
            member: member.map(WorkspaceMember),
            user_errors,
        }))
    }

    /// Remove a member from a workspace. Owners and admins only; every member may leave.
    async fn remove_workspace_member(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Workspace and user.")] input: RemoveWorkspaceMemberInput,
    ) -> Option<async_graphql::Result<RemoveWorkspaceMemberPayload>> {
        let removed = async {
            let workspace: WorkspaceId = parse_id(&input.workspace_id, "workspaceId")?;
            let user: UserId = parse_id(&input.user_id, "userId")?;
            member::remove(ctx.app(), ctx.viewer(), workspace, user).await
        };
        Some(outcome(removed.await).map(|(id, user_errors)| RemoveWorkspaceMemberPayload {
            deleted_member_id: id.map(|id| id.to_string().into()),
            user_errors,
        }))
    }
}

/// Input of `createWorkspace`.
#[derive(InputObject)]
pub struct CreateWorkspaceInput {
    /// Display name, 1-100 characters.
    name: String,
    /// Rules for new uploads.
    policy: Option<WorkspacePolicyInput>,
}

/// Result of `createWorkspace`.
#[derive(SimpleObject)]
pub struct CreateWorkspacePayload {
    /// The new workspace.
    workspace: Option<Workspace>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `updateWorkspace`. Absent fields stay unchanged.
#[derive(InputObject)]
pub struct UpdateWorkspaceInput {
    /// `wsp_` id.
    id: ID,
    /// Display name, 1-100 characters.
    name: Option<String>,
    /// Rules for new uploads.
    policy: Option<WorkspacePolicyInput>,
}

/// Result of `updateWorkspace`.
#[derive(SimpleObject)]
pub struct UpdateWorkspacePayload {
    /// The changed workspace.
    workspace: Option<Workspace>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `setWorkspaceMember`.
#[derive(InputObject)]
pub struct SetWorkspaceMemberInput {
    /// `wsp_` id.
    workspace_id: ID,
    /// `usr_` id.
    user_id: ID,
    /// The new role.
    role: WorkspaceRole,
}

/// Result of `setWorkspaceMember`.
#[derive(SimpleObject)]
pub struct SetWorkspaceMemberPayload {
    /// The member.
    member: Option<WorkspaceMember>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `removeWorkspaceMember`.
#[derive(InputObject)]
pub struct RemoveWorkspaceMemberInput {
    /// `wsp_` id.
    workspace_id: ID,
    /// `usr_` id.
    user_id: ID,
}

/// Result of `removeWorkspaceMember`.
#[derive(SimpleObject)]
pub struct RemoveWorkspaceMemberPayload {
    /// The deleted membership.
    deleted_member_id: Option<ID>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}
