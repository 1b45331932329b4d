//! Workspaces: reading them. The submodules edit workspaces and their members.

pub mod edit;

pub mod member;

use sea_orm::ColumnTrait;
use sea_orm::QueryFilter;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::user;
use crate::entity::workspace::{self, Column, Entity, Model};
use crate::error::Result;
use crate::id::{UserId, WorkspaceId};
use crate::query::page::{
    self, Count, IndexRange, KeysetRow, ListOrder, Page, PageArgs, SortKey, SortKeyType,
};

/// Which workspaces are listed, and how.
#[derive(Debug, Clone)]
pub struct WorkspaceList {
    pub page: PageArgs,
    pub order: ListOrder<Column>,
    /// Find out for both ends of the page whether there are more rows.
    pub both_ends: bool,
}

/// By name, the default order.
pub const BY_NAME: ListOrder<Column> =
    ListOrder::by("workspaces:NAME", Column::Name, SortKeyType::Text, false);
/// By time of creation.
pub const BY_CREATION: ListOrder<Column> = ListOrder::by_creation("workspaces:CREATED_AT", false);

/// One workspace, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: WorkspaceId) -> Result<Option<Model>> {
    Ok(workspace::visible_to(&viewer.access()).filter(workspace::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// Those of the given workspaces that the viewer may see, in no particular order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[WorkspaceId]) -> Result<Vec<Model>> {
    let of_ids = workspace::COLUMN.id.is_in(ids.iter().copied());
    Ok(workspace::visible_to(&viewer.access()).filter(of_ids).all(&app.db.read).await?)
}

/// Those of the given users that the viewer may see, in no particular order.
pub async fn find_users(app: &App, viewer: &Viewer, ids: &[UserId]) -> Result<Vec<user::Model>> {
    Ok(user::visible_to(&viewer.access(), viewer.user.id)
        .filter(user::COLUMN.id.is_in(ids.iter().copied()))
        .all(&app.db.read)
        .await?)
}

/// A page of the viewer's workspaces.
pub async fn list(app: &App, viewer: &Viewer, list: WorkspaceList) -> Result<Page<Model>> {
    let request = list.page.validate()?;
    page::page(
        &app.db.read,
        &[IndexRange::all_rows(workspace::visible_to(&viewer.access()))],
        list.order,
        request,
        list.both_ends,
    )
    .await
}

/// How many workspaces the viewer may see.
pub async fn count(app: &App, viewer: &Viewer) -> Result<Count> {
    let all = [IndexRange::all_rows(workspace::visible_to(&viewer.access()))];
    page::count::<Entity>(&app.db.read, &all, None, None).await
}

impl KeysetRow<Column> for Model {
    fn id(&self) -> Uuid {
        self.id.0
    }

    fn sort_key(&self, _: Column) -> SortKey {
        SortKey::Text(self.name.clone())
    }
}
