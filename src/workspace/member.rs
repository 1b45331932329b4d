//! Members of a workspace and their roles.

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
use crate::entity::{user, workspace};
use crate::error::{Code, Error, Result};
use crate::id::{MembershipId, UserId, WorkspaceId};
use crate::query::page::{self, Count, IndexRange, KeysetRow, ListOrder, Page, PageArgs, SortKey};

/// Who may see members: not a token that only makes uploads.
const READING: [Scope; 3] = [Scope::FilesRead, Scope::ImagesRead, Scope::WorkspaceAdmin];

/// Longest membership first.
const BY_JOINING: ListOrder<Column> = ListOrder::by_creation("members:JOINED_AT", false);

/// Which members are listed.
#[derive(Debug, Clone)]
pub struct MemberList {
    pub workspace_id: WorkspaceId,
    pub page: PageArgs,
    /// Look up both ends of the page.
    pub both_ends: bool,
}

/// A page of a workspace's members, longest membership first.
pub async fn list(app: &App, viewer: &Viewer, list: MemberList) -> Result<Page<Model>> {
    viewer.require_any(&READING)?;
    let ranges = ranges(viewer, &list);
    page::page(&app.db.read, &ranges, BY_JOINING, list.page.validate()?, list.both_ends).await
}

/// How many members a workspace has.
pub async fn count(app: &App, viewer: &Viewer, list: &MemberList) -> Result<Count> {
    viewer.require_any(&READING)?;
    page::count(&app.db.read, &ranges(viewer, list), None, None).await
}

/// Those of the given memberships that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[MembershipId]) -> Result<Vec<Model>> {
    viewer.require_any(&READING)?;
    let of_ids = membership::COLUMN.id.is_in(ids.iter().copied());
    Ok(membership::visible_to(&viewer.access()).filter(of_ids).all(&app.db.read).await?)
}

/// Makes a user a member, or changes their role.
///
/// # Errors
/// `NOT_FOUND` for workspace or user, `FORBIDDEN` for who is neither owner nor admin, `CONFLICT` for the last owner.
pub async fn set(
    app: &App,
    viewer: &Viewer,
    workspace_id: WorkspaceId,
    user_id: UserId,
    role: Role,
) -> Result<Model> {
    find_owned(app, viewer, workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    // Whoever was told the id of a user may invite them: it cannot be guessed.
    if !user::exists(&app.db.read, user_id).await? {
        return Err(Error::not_found("user").at("userId"));
    }
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    take_turns(&transaction, workspace_id).await?;
    let member = match find_member(&transaction, workspace_id, user_id).await? {
        Some(member) => {
            if member.role == Role::Owner && role != Role::Owner {
                require_another_owner(&transaction, &member).await?;
            }
            let mut row: membership::ActiveModel = member.into();
            row.role = Set(role);
            row.update(&transaction).await?
        }
        None => {
            let row = membership::ActiveModel {
                id: Set(MembershipId::new(now)),
                workspace_id: Set(workspace_id),
                user_id: Set(user_id),
                role: Set(role),
                created_at: Set(now),
            };
            row.insert(&transaction).await?
        }
    };
    transaction.commit().await?;
    Ok(member)
}

/// Removes a member; everybody may leave by themselves. What the member may do ends with the next request.
///
/// # Errors
/// `NOT_FOUND` for workspace or member, `FORBIDDEN` for who is neither owner nor admin, `CONFLICT` for the last owner.
pub async fn remove(
    app: &App,
    viewer: &Viewer,
    workspace_id: WorkspaceId,
    user_id: UserId,
) -> Result<MembershipId> {
    viewer.require(Scope::WorkspaceAdmin)?;
    let found = find(app, viewer, workspace_id).await?;
    found.ok_or_else(|| Error::not_found("workspace").at("workspaceId"))?;
    if user_id != viewer.user.id {
        viewer.require_owner(workspace_id).map_err(|e| e.at("workspaceId"))?;
    }
    let transaction = app.db.begin().await?;
    take_turns(&transaction, workspace_id).await?;
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

/// Changes of one workspace's members come one after the other: two owners who demote each other at once would leave none.
async fn take_turns(transaction: &impl ConnectionTrait, id: WorkspaceId) -> Result<()> {
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

async fn require_another_owner(transaction: &impl ConnectionTrait, owner: &Model) -> Result<()> {
    if membership::has_other_owner(transaction, owner).await? {
        return Ok(());
    }
    let message = "This is the last owner of the workspace; make another member an owner first.";
    Err(Error::refuse(Code::Conflict, message).at("userId"))
}

fn ranges(viewer: &Viewer, list: &MemberList) -> Vec<IndexRange<Entity>> {
    match viewer.sees(list.workspace_id) {
        true => vec![IndexRange::of_workspace(membership::visible_to(&viewer.access()), list.workspace_id)],
        false => Vec::new(),
    }
}

impl KeysetRow<Column> for Model {
    fn id(&self) -> Uuid {
        self.id.0
    }

    fn sort_key(&self, _: Column) -> SortKey {
        SortKey::Text(String::new())
    }
}
