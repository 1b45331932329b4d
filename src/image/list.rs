//! Lists of images: their rows, orders and counts.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, IdenStatic};
use uuid::Uuid;

use crate::access::WorkspaceAccess;
use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::image::{self, Column, Entity, Model};
use crate::entity::{columns, file};
use crate::error::Result;
use crate::id::{ImageId, WorkspaceId};
use crate::image::filter::ImageFilter;
use crate::query::page::{
    self, Count, IndexRanges, KeysetRow, ListOrder, Page, PageArgs, PageSelection, Related, SortKey,
    SortKeyType, WorkspaceRow,
};
use crate::query::search;
use crate::query::usage::{self, Totals};

/// Arguments of a list of images.
#[derive(Debug, Clone)]
pub struct ImageList {
    pub workspace_id: Option<WorkspaceId>,
    pub ids: Option<Vec<ImageId>>,
    pub filter: ImageFilter,
    pub page: PageArgs,
    pub order: ListOrder<Column>,
}

/// Newest first: the default order.
pub const BY_CREATION: ListOrder<Column> = ListOrder::by_creation("images:CREATED_AT", true);
/// By time of the last update.
pub const BY_UPDATE: ListOrder<Column> =
    ListOrder::by("images:UPDATED_AT", Column::UpdatedAt, SortKeyType::Time, true);
/// By filename, compared byte by byte.
pub const BY_FILENAME: ListOrder<Column> =
    ListOrder::by("images:FILENAME", Column::Filename, SortKeyType::Text, true);
/// By size of the original in bytes.
pub const BY_SIZE: ListOrder<Column> = ListOrder::by("images:SIZE", Column::Size, SortKeyType::Number, true);
/// By width in pixels. Images of unknown size count as 0 wide.
pub const BY_WIDTH: ListOrder<Column> =
    ListOrder::by("images:WIDTH", Column::Width, SortKeyType::Number, true);
/// By height in pixels. Images of unknown size count as 0 high.
pub const BY_HEIGHT: ListOrder<Column> =
    ListOrder::by("images:HEIGHT", Column::Height, SortKeyType::Number, true);
/// By the time when the photo was taken. Images without that time count as older than all others.
pub const BY_TAKEN: ListOrder<Column> =
    ListOrder::by("images:TAKEN_AT", Column::TakenAt, SortKeyType::Time, true);

/// Sort key of images without `taken_at`, as the generated column has it: 0001-01-01T00:00:00Z.
const UNKNOWN_TAKEN_AT: i64 = -62_135_596_800;

/// A page of images.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn list(
    app: &App,
    viewer: &Viewer,
    list: ImageList,
    selection: &PageSelection<Column>,
) -> Result<Page<Entity>> {
    viewer.require(Scope::ImagesRead)?;
    let request = list.page.clone().validate()?;
    let ranges = ranges(app, viewer.access().narrowed_to(list.workspace_id), &list).await?;
    page::page(&app.db.read, &ranges, list.order, request, selection).await
}

/// A page of images, and their files as far as the viewer may see them, in one statement.
///
/// # Errors
/// Those of [`list`], and `FORBIDDEN` without the scope `FILES_READ`.
pub async fn list_with_files(
    app: &App,
    viewer: &Viewer,
    list: ImageList,
    selection: &PageSelection<Column>,
    file_columns: &[file::Column],
) -> Result<(Page<Entity>, Vec<file::Model>)> {
    viewer.require(Scope::ImagesRead)?;
    viewer.require(Scope::FilesRead)?;
    let request = list.page.clone().validate()?;
    let ranges = ranges(app, viewer.access().narrowed_to(list.workspace_id), &list).await?;
    let related = Related::<file::Entity>::new(Column::FileId, file_columns, file::joined(&viewer.access()));
    let columns = columns::with(&selection.columns, Column::FileId);
    let selection = PageSelection { columns, ..selection.clone() };
    page::page_with(&app.db.read, &ranges, list.order, request, &selection, related).await
}

/// The same page of the images of each of the given workspaces that the viewer may see, in as many statements as one page.
///
/// # Errors
/// Those of [`list`].
pub async fn list_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
    list: ImageList,
    selection: &PageSelection<Column>,
) -> Result<HashMap<WorkspaceId, Page<Entity>>> {
    viewer.require(Scope::ImagesRead)?;
    let request = list.page.clone().validate()?;
    let ranges = ranges(app, viewer.access().narrowed_to_each(workspaces), &list).await?;
    page::page_of_each(&app.db.read, &ranges, list.order, request, selection).await
}

/// The number of images in a list, and the total size of their originals in bytes. Without conditions the result is read from
/// counters and exact. With conditions, counting stops at `IMAGEGRAPH_MAX_COUNT`.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn count(app: &App, viewer: &Viewer, list: &ImageList) -> Result<Count> {
    viewer.require(Scope::ImagesRead)?;
    if list.is_whole() {
        return Ok(count_whole(usage::totals(app, viewer, list.workspace_id).await?));
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
    list: &ImageList,
) -> Result<HashMap<WorkspaceId, Count>> {
    viewer.require(Scope::ImagesRead)?;
    if list.is_whole() {
        let totals = usage::totals_by_workspace(app, viewer, workspaces).await?;
        return Ok(totals.into_iter().map(|(id, totals)| (id, count_whole(totals))).collect());
    }
    let ranges = ranges(app, viewer.access().narrowed_to_each(workspaces), list).await?;
    page::count_of_each(&app.db.read, &ranges, Some(Column::Size), Some(app.config.max_count)).await
}

fn count_whole(totals: Totals) -> Count {
    Count::exact(totals.image_count, Some(totals.image_bytes))
}

impl ImageList {
    /// Whether the list has no condition, so that the counters of its workspaces have its size.
    fn is_whole(&self) -> bool {
        self.ids.is_none() && self.filter.is_empty()
    }
}

async fn ranges(app: &App, access: WorkspaceAccess, list: &ImageList) -> Result<IndexRanges<Entity>> {
    let db = &app.db.read;
    let mut ranges = IndexRanges::of_visible(image::listed(access));
    if !list.filter.is_empty() {
        let condition = list.filter.condition(db.get_database_backend());
        ranges = ranges.filter(condition.map_err(|e| e.under("filter"))?);
    }
    if let Some(ids) = &list.ids {
        ranges = ranges.filter(image::COLUMN.id.is_in(ids.iter().copied())).selective();
    }
    if list.filter.file_ids.is_some() || list.filter.cf_image_ids.is_some() {
        ranges = ranges.selective();
    }
    match &list.filter.search {
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
            Column::Width => SortKey::Number(self.width.map_or(0, i64::from)),
            Column::Height => SortKey::Number(self.height.map_or(0, i64::from)),
            Column::UpdatedAt => SortKey::Time(self.updated_at),
            Column::TakenAt => SortKey::Time(
                self.taken_at.or(DateTime::<Utc>::from_timestamp(UNKNOWN_TAKEN_AT, 0)).unwrap_or_default(),
            ),
            _ => SortKey::Text(self.filename.clone()),
        }
    }

    fn key_column(column: Column) -> &'static str {
        match column {
            Column::Width => "width_key",
            Column::Height => "height_key",
            Column::TakenAt => "taken_at_key",
            column => column.as_str(),
        }
    }
}

impl WorkspaceRow<Column> for Model {
    const WORKSPACE_ID: Column = Column::WorkspaceId;

    fn workspace_id(&self) -> Option<WorkspaceId> {
        Some(self.workspace_id)
    }
}
