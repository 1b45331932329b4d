//! Lists of files: filters, orders, pages and counts.

use sea_orm::{ColumnTrait, ConnectionTrait};
use uuid::Uuid;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, Model};
use crate::error::Result;
use crate::file::filter::FileFilter;
use crate::id::{FileId, WorkspaceId};
use crate::query::page::{
    self, Count, IndexRange, KeysetRow, ListOrder, Page, PageArgs, PageSelection, SortKey, SortKeyType,
};
use crate::query::search;
use crate::query::usage;

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
    let ranges = ranges(app, viewer, &list).await?;
    page::page(&app.db.read, &ranges, list.order, request, selection).await
}

/// Number and total bytes of the files on all pages of a list. Without conditions the numbers come from counters and are
/// exact; otherwise counting stops at `max_count`.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn count(app: &App, viewer: &Viewer, list: &FileList) -> Result<Count> {
    viewer.require(Scope::FilesRead)?;
    if list.ids.is_none() && list.filter.is_open() {
        let totals = usage::totals(app, viewer, list.workspace_id).await?;
        return Ok(match list.filter.trashed {
            true => Count::exact(totals.trashed_count, Some(totals.trashed_bytes)),
            false => Count::exact(
                totals.file_count - totals.trashed_count,
                Some(totals.file_bytes - totals.trashed_bytes),
            ),
        });
    }
    let ranges = ranges(app, viewer, list).await?;
    page::count(&app.db.read, &ranges, Some(Column::Size), Some(app.config.max_count)).await
}

async fn ranges(app: &App, viewer: &Viewer, list: &FileList) -> Result<Vec<IndexRange<Entity>>> {
    let filter = &list.filter;
    let access = viewer.access().narrowed_to(list.workspace_id);
    let rows = match filter.trashed {
        true => file::trashed(access),
        false => file::listed(access),
    };
    let mut ranges = IndexRange::of_visible(rows);
    let db = &app.db.read;
    let condition = filter.condition(db.get_database_backend()).map_err(|e| e.under("filter"))?;
    ranges = ranges.into_iter().map(|range| range.filter(condition.clone())).collect();
    if let Some(ids) = &list.ids {
        let of_ids = file::COLUMN.id.is_in(ids.iter().copied());
        ranges = ranges.into_iter().map(|range| range.filter(of_ids.clone()).selective()).collect();
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
