//! Lists of images: which, in what order, and how many.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, IdenStatic};
use uuid::Uuid;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::image::{self, Column, Entity, Model};
use crate::error::Result;
use crate::id::{ImageId, WorkspaceId};
use crate::image::filter::ImageFilter;
use crate::query::page::{self, Count, Key, KeyKind, Keyed, ListOrder, Page, PageArgs, Range};
use crate::query::search;
use crate::query::usage;

/// Which images are listed, and how.
#[derive(Debug, Clone)]
pub struct ImageList {
    pub workspace_id: Option<WorkspaceId>,
    pub ids: Option<Vec<ImageId>>,
    pub filter: ImageFilter,
    pub page: PageArgs,
    pub order: ListOrder<Column>,
    /// Look up both ends of the page.
    pub both_ends: bool,
}

/// Newest first: the order of every list unless told otherwise.
pub const BY_CREATION: ListOrder<Column> =
    ListOrder { name: "images:CREATED_AT", column: None, kind: KeyKind::Text, descending: true };
/// By time of the last change.
pub const BY_UPDATE: ListOrder<Column> = ListOrder {
    name: "images:UPDATED_AT",
    column: Some(Column::UpdatedAt),
    kind: KeyKind::Time,
    descending: true,
};
/// By name of the file, byte by byte.
pub const BY_FILENAME: ListOrder<Column> = ListOrder {
    name: "images:FILENAME",
    column: Some(Column::Filename),
    kind: KeyKind::Text,
    descending: true,
};
/// By size of the original in bytes.
pub const BY_SIZE: ListOrder<Column> =
    ListOrder { name: "images:SIZE", column: Some(Column::Size), kind: KeyKind::Number, descending: true };
/// By width in pixels; images without one count as 0 wide.
pub const BY_WIDTH: ListOrder<Column> =
    ListOrder { name: "images:WIDTH", column: Some(Column::Width), kind: KeyKind::Number, descending: true };
/// By height in pixels; images without one count as 0 high.
pub const BY_HEIGHT: ListOrder<Column> = ListOrder {
    name: "images:HEIGHT",
    column: Some(Column::Height),
    kind: KeyKind::Number,
    descending: true,
};
/// By the time the photo was taken; images that do not tell count as older than all others.
pub const BY_TAKEN: ListOrder<Column> = ListOrder {
    name: "images:TAKEN_AT",
    column: Some(Column::TakenAt),
    kind: KeyKind::Time,
    descending: true,
};

/// The key of an image that does not tell when it was taken, as the table has it: 0001-01-01T00:00:00Z.
const NEVER_TAKEN: i64 = -62_135_596_800;

/// A page of images.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn list(app: &App, viewer: &Viewer, list: ImageList) -> Result<Page<Model>> {
    viewer.require(Scope::ImagesRead)?;
    let window = list.page.clone().window()?;
    let ranges = ranges(app, viewer, &list).await?;
    page::page(&app.db.read, &ranges, list.order, window, list.both_ends).await
}

/// How many images a list has and how many bytes their originals are, all pages together. A list without conditions is
/// read from counters, and exact; otherwise counting stops at a cap.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn count(app: &App, viewer: &Viewer, list: &ImageList) -> Result<Count> {
    viewer.require(Scope::ImagesRead)?;
    if list.ids.is_none() && list.filter.is_open() {
        let totals = usage::totals(app, viewer, list.workspace_id).await?;
        return Ok(Count::exact(totals.image_count, Some(totals.image_bytes)));
    }
    let ranges = ranges(app, viewer, list).await?;
    page::count(&app.db.read, &ranges, Some(Column::Size), Some(app.config.max_count)).await
}

async fn ranges(app: &App, viewer: &Viewer, list: &ImageList) -> Result<Vec<Range<Entity>>> {
    let db = &app.db.read;
    let condition = list.filter.condition(db.get_database_backend()).map_err(|e| e.under("filter"))?;
    let ranges = Range::of_visible(image::listed(viewer.access().narrowed_to(list.workspace_id)));
    let mut ranges: Vec<_> = ranges.into_iter().map(|range| range.filter(condition.clone())).collect();
    if let Some(ids) = &list.ids {
        let of_ids = image::COLUMN.id.is_in(ids.iter().copied());
        ranges = ranges.into_iter().map(|range| range.filter(of_ids.clone()).looked_up()).collect();
    }
    if list.filter.file_ids.is_some() || list.filter.cf_image_ids.is_some() {
        ranges = ranges.into_iter().map(Range::looked_up).collect();
    }
    match &list.filter.search {
        None => Ok(ranges),
        Some(text) => {
            let words = search::words(text).map_err(|e| e.under("filter"))?;
            search::within(db, ranges, &words).await
        }
    }
}

impl Keyed<Column> for Model {
    fn id(&self) -> Uuid {
        self.id.0
    }

    fn key(&self, column: Column) -> Key {
        match column {
            Column::Size => Key::Number(self.size),
            Column::Width => Key::Number(self.width.map_or(0, i64::from)),
            Column::Height => Key::Number(self.height.map_or(0, i64::from)),
            Column::UpdatedAt => Key::Time(self.updated_at),
            Column::TakenAt => Key::Time(
                self.taken_at.or(DateTime::<Utc>::from_timestamp(NEVER_TAKEN, 0)).unwrap_or_default(),
            ),
            _ => Key::Text(self.filename.clone()),
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
