//! API tokens: creating, listing and revoking them.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use uuid::Uuid;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::{self, Column, Entity, Model, Scope};
use crate::entity::{columns, workspace};
use crate::error::{Code, Error, Result};
use crate::id::{ApiTokenId, WorkspaceId};
use crate::query::page::{
    self, Count, IndexRanges, KeysetRow, ListOrder, Page, PageArgs, PageSelection, SortKey, WorkspaceRow,
};
use crate::rows;
use crate::rows::api_token::TokenRow;

/// Longest name, in characters.
const MAX_NAME: usize = 100;
/// Precision of `last_used_at`: several uses within this time cause one write.
const USE_PRECISION: TimeDelta = TimeDelta::minutes(1);

/// Newest first.
pub const BY_CREATION: ListOrder<Column> = ListOrder::by_creation("apiTokens:CREATED_AT", true);

/// A token to create.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    pub name: String,
    /// Limits the token to one workspace; `None` allows every workspace of the viewer.
    pub workspace_id: Option<WorkspaceId>,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates a token of the viewer. Returns it with its secret, of which only a hash is stored. The new token has at most the
/// scopes, the workspaces and the lifetime of the token in use.
///
/// # Errors
/// `FORBIDDEN` without `WORKSPACE_ADMIN`, and for scopes, a workspace or an expiry beyond those of the token in use;
/// `NOT_FOUND` for a workspace that the viewer may not see; `BAD_USER_INPUT`.
pub async fn create(app: &App, viewer: &Viewer, new: NewApiToken) -> Result<(Model, String)> {
    viewer.require(Scope::WorkspaceAdmin)?;
    let now = app.clock.now();
    check(viewer, &new, now)?;
    if let Some(id) = new.workspace_id
        && workspace::visible_to(&viewer.access())
            .filter(workspace::COLUMN.id.eq(id))
            .one(&app.db.read)
            .await?
            .is_none()
    {
        return Err(Error::not_found("workspace").at("workspaceId"));
    }
    let secret = rows::api_token::new_secret();
    let mut scopes = new.scopes;
    scopes.dedup();
    let row = TokenRow {
        user_id: viewer.user.id,
        workspace_id: new.workspace_id,
        name: new.name.trim().to_owned(),
        scopes,
        expires_at: new.expires_at,
    };
    Ok((rows::api_token::insert(&app.db.write, row, &secret, now).await?, secret))
}

/// Revokes a token, with effect from its next request. Repeating the call changes nothing.
///
/// # Errors
/// `NOT_FOUND` for a token that the viewer may not see, `FORBIDDEN` without `WORKSPACE_ADMIN`.
pub async fn revoke(app: &App, viewer: &Viewer, id: ApiTokenId) -> Result<Model> {
    viewer.require(Scope::WorkspaceAdmin)?;
    let find = || {
        api_token::visible_to(&viewer.token_access()).filter(api_token::COLUMN.id.eq(id)).one(&app.db.read)
    };
    if find().await?.is_none() {
        return Err(Error::not_found("API token").at("id"));
    }
    Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::val(app.clock.now()))
        .filter(api_token::COLUMN.id.eq(id))
        .filter(api_token::COLUMN.revoked_at.is_null())
        .exec(&app.db.write)
        .await?;
    find().await?.ok_or_else(|| Error::not_found("API token").at("id"))
}

/// The given columns of those of the given tokens that the viewer may see, in no particular order.
pub async fn find_many(
    app: &App,
    viewer: &Viewer,
    ids: &[ApiTokenId],
    columns: &[Column],
) -> Result<Vec<Model>> {
    viewer.require(Scope::WorkspaceAdmin)?;
    let of_ids = api_token::COLUMN.id.is_in(ids.iter().copied());
    let visible = api_token::visible_to(&viewer.token_access()).filter(of_ids);
    Ok(columns::fetch(&app.db.read, visible, columns).await?)
}

/// A page of the viewer's own tokens, newest first.
///
/// # Errors
/// `FORBIDDEN` without `WORKSPACE_ADMIN`, `BAD_USER_INPUT` for paging arguments.
pub async fn list_own(
    app: &App,
    viewer: &Viewer,
    page: PageArgs,
    selection: &PageSelection<Column>,
) -> Result<Page<Entity>> {
    viewer.require(Scope::WorkspaceAdmin)?;
    page::page(&app.db.read, &own(viewer), BY_CREATION, page.validate()?, selection).await
}

/// How many tokens the viewer has.
pub async fn count_own(app: &App, viewer: &Viewer) -> Result<Count> {
    viewer.require(Scope::WorkspaceAdmin)?;
    page::count(&app.db.read, &own(viewer), None, None).await
}

/// A page of the tokens, of all users, that are limited to each of the given workspaces, newest first. Of those workspaces only
/// that the viewer manages.
///
/// # Errors
/// Those of [`list_own`].
pub async fn list_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
    page: PageArgs,
    selection: &PageSelection<Column>,
) -> Result<HashMap<WorkspaceId, Page<Entity>>> {
    viewer.require(Scope::WorkspaceAdmin)?;
    let ranges = managed(viewer, workspaces);
    page::page_of_each(&app.db.read, &ranges, BY_CREATION, page.validate()?, selection).await
}

/// How many tokens each of these lists has.
pub async fn count_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
) -> Result<HashMap<WorkspaceId, Count>> {
    viewer.require(Scope::WorkspaceAdmin)?;
    page::count_of_each(&app.db.read, &managed(viewer, workspaces), None, None).await
}

/// Whether the viewer may see the tokens limited to a workspace: as its owner, or as an admin.
pub fn may_list(viewer: &Viewer, workspace: WorkspaceId) -> bool {
    viewer.require(Scope::WorkspaceAdmin).is_ok() && viewer.require_owner(workspace).is_ok()
}

/// Stores the times at which tokens were last used. Requests record them in memory only, so that none waits for this write.
pub async fn write_uses(app: &App) -> Result<()> {
    for (id, at) in app.token_uses.take(app.clock.now(), USE_PRECISION) {
        Entity::update_many()
            .col_expr(Column::LastUsedAt, Expr::val(at))
            .filter(api_token::COLUMN.id.eq(id))
            .exec(&app.db.write)
            .await?;
    }
    Ok(())
}

/// Checks the input against the limits of a token and those of the token in use.
fn check(viewer: &Viewer, new: &NewApiToken, now: DateTime<Utc>) -> Result<()> {
    let name = new.name.trim();
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        let message = format!("A token's name has 1 to {MAX_NAME} characters and no control character.");
        return Err(Error::invalid("name", message));
    }
    if new.scopes.is_empty() {
        return Err(Error::invalid("scopes", "A token has at least one scope."));
    }
    let forbidden = |message: &str, field: &str| Err(Error::refuse(Code::Forbidden, message).at(field));
    if !new.scopes.iter().all(|scope| viewer.token.scopes.0.contains(scope)) {
        return forbidden("A token can only be given scopes that the token in use has.", "scopes");
    }
    if viewer.token.workspace_id.is_some() && viewer.token.workspace_id != new.workspace_id {
        return forbidden(
            "The token in use is limited to one workspace; limit the new token to the same one.",
            "workspaceId",
        );
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::invalid("expiresAt", "The expiry of a token has to be in the future."));
    }
    if let Some(end) = viewer.token.expires_at
        && new.expires_at.is_none_or(|at| at > end)
    {
        return forbidden("A token cannot outlive the token in use; give an earlier time.", "expiresAt");
    }
    Ok(())
}

fn own(viewer: &Viewer) -> IndexRanges<Entity> {
    IndexRanges::of_all(api_token::own(&viewer.token_access()))
}

fn managed(viewer: &Viewer, workspaces: &[WorkspaceId]) -> IndexRanges<Entity> {
    let managed = workspaces.iter().copied().filter(|id| may_list(viewer, *id)).collect();
    IndexRanges::of_workspaces(api_token::visible_to(&viewer.token_access()), managed)
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
        self.workspace_id
    }
}
