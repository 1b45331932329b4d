//! Lists of files: filters, orders, pages and counts.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, ConnectionTrait};
use uuid::Uuid;

use crate::access::WorkspaceAccess;
use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, Model};
use crate::error::Result;
use crate::file::filter::FileFilter;
use crate::id::{FileId, WorkspaceId};
use crate::query::page::{
    self, Count, IndexRanges, KeysetRow, ListOrder, Page, PageArgs, PageSelection, SortKey, SortKeyType,
    WorkspaceRow,
};
use crate::query::search;
use crate::query::usage::{self, Totals};

/// Which files are listed, and how.
#[derive(Debug, Clone)]
pub struct FileList {
    pub workspace_id: Option<WorkspaceId>,
    pub ids: Option<Vec<FileId>>,
    pub filter: FileFilter,
    pub page: PageArgs,
    pub order: ListOrder<Column>,
}

/// Newest first: the order of every list unless told otherwise.
pub const BY_CREATION: ListOrder<Column> = ListOrder::by_creation("files:CREATED_AT", true);
/// By time of the last change.
pub const BY_UPDATE: ListOrder<Column> =
    ListOrder::by("files:UPDATED_AT", Column::UpdatedAt, SortKeyType::Time, true);
/// By name, byte by byte.
pub const BY_FILENAME: ListOrder<Column> =
    ListOrder::by("files:FILENAME", Column::Filename, SortKeyType::Text, true);
/// By size in bytes.
pub const BY_SIZE: ListOrder<Column> = ListOrder::by("files:SIZE", Column::Size, SortKeyType::Number, true);

/// A page of files.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn list(
    app: &App,
    viewer: &Viewer,
    list: FileList,
    selection: &PageSelection<Column>,
) -> Result<Page<Entity>> {
    viewer.require(Scope::FilesRead)?;
    let request = list.page.clone().validate()?;
    let ranges = ranges(app, viewer.access().narrowed_to(list.workspace_id), &list).await?;
    page::page(&app.db.read, &ranges, list.order, request, selection).await
}

/// The same page of the files of each of the given workspaces that the viewer may see, in as many statements as one page.
///
/// # Errors
/// Those of [`list`].
pub async fn list_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
    list: FileList,
    selection: &PageSelection<Column>,
) -> Result<HashMap<WorkspaceId, Page<Entity>>> {
    viewer.require(Scope::FilesRead)?;
    let request = list.page.clone().validate()?;
    let ranges = ranges(app, viewer.access().narrowed_to_each(workspaces), &list).await?;
    page::page_of_each(&app.db.read, &ranges, list.order, request, selection).await
}

/// Number and total bytes of the files on all pages of a list. Without conditions the numbers come from counters and are
/// exact; otherwise counting stops at `max_count`.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn count(app: &App, viewer: &Viewer, list: &FileList) -> Result<Count> {
    viewer.require(Scope::FilesRead)?;
    if list.is_whole() {
        return Ok(list.count_whole(usage::totals(app, viewer, list.workspace_id).await?));
    }
    let ranges = ranges(app, viewer.access().narrowed_to(list.workspace_id), list).await?;
    page::count(&app.db.read, &ranges, Some(Column::Size), Some(app.config.max_count)).await
}

/// The same for each of the given workspaces that the viewer may see.
///
/// # Errors
/// Those of [`count`].
pub async fn count_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
    list: &FileList,
) -> Result<HashMap<WorkspaceId, Count>> {
    viewer.require(Scope::FilesRead)?;
    if list.is_whole() {
        let totals = usage::totals_by_workspace(app, viewer, workspaces).await?;
        return Ok(totals.into_iter().map(|(id, totals)| (id, list.count_whole(totals))).collect());
    }
    let ranges = ranges(app, viewer.access().narrowed_to_each(workspaces), list).await?;
    page::count_of_each(&app.db.read, &ranges, Some(Column::Size), Some(app.config.max_count)).await
}

impl FileList {
    /// Whether the list has no condition, so that the counters of its workspaces have its size.
    fn is_whole(&self) -> bool {
        self.ids.is_none() && self.filter.is_open()
    }

    fn count_whole(&self, totals: Totals) -> Count {
        match self.filter.trashed {
            true => Count::exact(totals.trashed_count, Some(totals.trashed_bytes)),
            false => Count::exact(
                totals.file_count - totals.trashed_count,
                Some(totals.file_bytes - totals.trashed_bytes),
            ),
        }
    }
}

async fn ranges(app: &App, access: WorkspaceAccess, list: &FileList) -> Result<IndexRanges<Entity>> {
    let filter = &list.filter;
    let rows = match filter.trashed {
        true => file::trashed(access),
        false => file::listed(access),
    };
    let db = &app.db.read;
    let mut ranges = IndexRanges::of_visible(rows);
    if !filter.is_open() {
        let condition = filter.condition(db.get_database_backend());
        ranges = ranges.filter(condition.map_err(|e| e.under("filter"))?);
    }
    if let Some(ids) = &list.ids {
        ranges = ranges.filter(file::COLUMN.id.is_in(ids.iter().copied())).selective();
    }
    match &filter.search {
        None => Ok(ranges),
        Some(text) => {
            let words = search::words(text).map_err(|e| e.under("filter"))?;
            search::filter(db, ranges, &words).await
        }
    }
}

impl KeysetRow<Column> for Model {
    const ID: Column = Column::Id;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn sort_key(&self, column: Column) -> SortKey {
        match column {
            Column::Size => SortKey::Number(self.size),
            Column::UpdatedAt => SortKey::Time(self.updated_at),
            _ => SortKey::Text(self.filename.clone()),
        }
    }
}

impl WorkspaceRow<Column> for Model {
    const WORKSPACE_ID: Column = Column::WorkspaceId;

    fn workspace_id(&self) -> Option<WorkspaceId> {
        Some(self.workspace_id)
    }
}
