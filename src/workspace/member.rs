//! Members of a workspace and their roles.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    sea_query::Expr,
};
use uuid::Uuid;

use super::edit::find_owned;
use super::find;
use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::membership::{self, Column, Entity, Model, Role};
use crate::entity::{columns, user, workspace};
use crate::error::{Code, Error, Result};
use crate::id::{MembershipId, UserId, WorkspaceId};
use crate::query::page::{
    self, Count, IndexRanges, KeysetRow, ListOrder, Page, PageArgs, PageSelection, SortKey, WorkspaceRow,
};
use crate::rows;

/// Any of these lets a token read members; `UPLOADS_CREATE` alone does not.
const READ_SCOPES: [Scope; 3] = [Scope::FilesRead, Scope::ImagesRead, Scope::WorkspaceAdmin];

/// Longest membership first.
pub const BY_JOINING: ListOrder<Column> = ListOrder::by_creation("members:JOINED_AT", false);

/// A page of the members of each of the given workspaces that the viewer may see, longest membership first.
pub async fn list_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
    page: PageArgs,
    selection: &PageSelection<Column>,
) -> Result<HashMap<WorkspaceId, Page<Entity>>> {
    viewer.require_any(&READ_SCOPES)?;
    let ranges = ranges(viewer, workspaces);
    page::page_of_each(&app.db.read, &ranges, BY_JOINING, page.validate()?, selection).await
}

/// How many members each of the given workspaces has that the viewer may see.
pub async fn count_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
) -> Result<HashMap<WorkspaceId, Count>> {
    viewer.require_any(&READ_SCOPES)?;
    page::count_of_each(&app.db.read, &ranges(viewer, workspaces), None, None).await
}

/// The given columns of those of the given memberships that the viewer may see, in no particular order.
pub async fn find_many(
    app: &App,
    viewer: &Viewer,
    ids: &[MembershipId],
    columns: &[Column],
) -> Result<Vec<Model>> {
    viewer.require_any(&READ_SCOPES)?;
    let of_ids = membership::COLUMN.id.is_in(ids.iter().copied());
    let visible = membership::visible_to(&viewer.access()).filter(of_ids);
    Ok(columns::fetch(&app.db.read, visible, columns).await?)
}

/// Adds a user to a workspace, or changes the role of a member.
///
/// # Errors
/// `NOT_FOUND` for workspace or user, `FORBIDDEN` for a viewer who is neither owner nor admin, `CONFLICT` for the last owner.
pub async fn set(
    app: &App,
    viewer: &Viewer,
    workspace_id: WorkspaceId,
    user_id: UserId,
    role: Role,
) -> Result<Model> {
    find_owned(app, viewer, workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    // A user id cannot be guessed, so knowing it is enough to add the user.
    if !user::exists(&app.db.read, user_id).await? {
        return Err(Error::not_found("user").at("userId"));
    }
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    lock_workspace(&transaction, workspace_id).await?;
    let member = match find_member(&transaction, workspace_id, user_id).await? {
        Some(member) => {
            if member.role == Role::Owner && role != Role::Owner {
                require_another_owner(&transaction, &member).await?;
            }
            let mut row: membership::ActiveModel = member.into();
            row.role = Set(role);
            row.update(&transaction).await?
        }
        None => rows::workspace::insert_member(&transaction, user_id, workspace_id, role, now).await?,
    };
    transaction.commit().await?;
    Ok(member)
}

/// Removes a member. Every member may remove themselves. The removal takes effect with the member's next request.
///
/// # Errors
/// `NOT_FOUND` for workspace or member, `FORBIDDEN` for a viewer who is neither owner nor admin, `CONFLICT` for the last owner.
pub async fn remove(
    app: &App,
    viewer: &Viewer,
    workspace_id: WorkspaceId,
    user_id: UserId,
) -> Result<MembershipId> {
    viewer.require(Scope::WorkspaceAdmin)?;
    let found = find(app, viewer, workspace_id, &[workspace::Column::Id]).await?;
    found.ok_or_else(|| Error::not_found("workspace").at("workspaceId"))?;
    if user_id != viewer.user.id {
        viewer.require_owner(workspace_id).map_err(|e| e.at("workspaceId"))?;
    }
    let transaction = app.db.begin().await?;
    lock_workspace(&transaction, workspace_id).await?;
    let Some(member) = find_member(&transaction, workspace_id, user_id).await? else {
        return Err(Error::not_found("member").at("userId"));
    };
    if member.role == Role::Owner {
        require_another_owner(&transaction, &member).await?;
    }
    Entity::delete_by_id(member.id).exec(&transaction).await?;
    transaction.commit().await?;
    Ok(member.id)
}

/// Locks the row of a workspace until the end of the transaction. Without this, two owners who remove each other at the same
/// time could leave none.
async fn lock_workspace(transaction: &impl ConnectionTrait, id: WorkspaceId) -> Result<()> {
    workspace::Entity::update_many()
        .col_expr(workspace::Column::Name, Expr::col(workspace::Column::Name))
        .filter(workspace::COLUMN.id.eq(id))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn find_member(
    transaction: &impl ConnectionTrait,
    workspace: WorkspaceId,
    user: UserId,
) -> Result<Option<Model>> {
    let of_workspace = membership::COLUMN.workspace_id.eq(workspace);
    Ok(membership::of_user(user).filter(of_workspace).one(transaction).await?)
}

/// Requires that a workspace has an owner besides this one.
///
/// # Errors
/// `CONFLICT` at `userId`.
async fn require_another_owner(transaction: &impl ConnectionTrait, owner: &Model) -> Result<()> {
    if membership::has_other_owner(transaction, owner).await? {
        return Ok(());
    }
    let message = "This is the last owner of the workspace; make another member an owner first.";
    Err(Error::refuse(Code::Conflict, message).at("userId"))
}

fn ranges(viewer: &Viewer, workspaces: &[WorkspaceId]) -> IndexRanges<Entity> {
    let access = viewer.access();
    let seen = workspaces.iter().copied().filter(|id| access.includes(*id)).collect();
    IndexRanges::of_workspaces(membership::visible_to(&access), seen)
}

impl KeysetRow<Column> for Model {
    const ID: Column = Column::Id;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn sort_key(&self, _: Column) -> SortKey {
        SortKey::Text(String::new())
    }
}

impl WorkspaceRow<Column> for Model {
    const WORKSPACE_ID: Column = Column::WorkspaceId;

    fn workspace_id(&self) -> Option<WorkspaceId> {
        Some(self.workspace_id)
    }
}
