//! Workspaces: reading them. The submodules edit workspaces and their members.

pub mod edit;

pub mod member;

use sea_orm::QueryFilter;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::workspace::{self, Column, Entity, Model};
use crate::entity::{columns, user};
use crate::error::Result;
use crate::id::{UserId, WorkspaceId};
use crate::query::page::{
    self, Count, IndexRanges, KeysetRow, ListOrder, Page, PageArgs, PageSelection, SortKey, SortKeyType,
};

/// Which workspaces are listed, and how.
#[derive(Debug, Clone)]
pub struct WorkspaceList {
    pub page: PageArgs,
    pub order: ListOrder<Column>,
}

/// By name, the default order.
pub const BY_NAME: ListOrder<Column> =
    ListOrder::by("workspaces:NAME", Column::Name, SortKeyType::Text, false);
/// By time of creation.
pub const BY_CREATION: ListOrder<Column> = ListOrder::by_creation("workspaces:CREATED_AT", false);

/// The given columns of a workspace, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: WorkspaceId, columns: &[Column]) -> Result<Option<Model>> {
    Ok(find_many(app, viewer, &[id], columns).await?.pop())
}

/// The given columns of those of the given workspaces that the viewer may see, in no particular order.
pub async fn find_many(
    app: &App,
    viewer: &Viewer,
    ids: &[WorkspaceId],
    columns: &[Column],
) -> Result<Vec<Model>> {
    let of_ids = columns::is_one_of(&app.db.read, Column::Id, ids.iter().map(|id| id.0));
    Ok(columns::fetch(&app.db.read, workspace::visible_to(&viewer.access()).filter(of_ids), columns).await?)
}

/// The given columns of those of the given users that the viewer may see, in no particular order.
pub async fn find_users(
    app: &App,
    viewer: &Viewer,
    ids: &[UserId],
    columns: &[user::Column],
) -> Result<Vec<user::Model>> {
    let of_ids = columns::is_one_of(&app.db.read, user::Column::Id, ids.iter().map(|id| id.0));
    let visible = user::visible_to(&viewer.access(), viewer.user.id).filter(of_ids);
    Ok(columns::fetch(&app.db.read, visible, columns).await?)
}

/// A page of the viewer's workspaces.
pub async fn list(
    app: &App,
    viewer: &Viewer,
    list: WorkspaceList,
    selection: &PageSelection<Column>,
) -> Result<Page<Entity>> {
    let request = list.page.validate()?;
    page::page(
        &app.db.read,
        &IndexRanges::of_all(workspace::visible_to(&viewer.access())),
        list.order,
        request,
        selection,
    )
    .await
}

/// How many workspaces the viewer may see.
pub async fn count(app: &App, viewer: &Viewer) -> Result<Count> {
    let all = IndexRanges::of_all(workspace::visible_to(&viewer.access()));
    page::count::<Entity>(&app.db.read, &all, None, None).await
}

impl KeysetRow<Column> for Model {
    const ID: Column = Column::Id;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn sort_key(&self, _: Column) -> SortKey {
        SortKey::Text(self.name.clone())
    }
}
