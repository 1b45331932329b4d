//! Keyset pagination, used by every list.
//!
//! A page starts after a row, not after a number of rows. So the last page costs as much as the first, and rows are neither
//! skipped nor repeated when others are inserted or removed. Sort keys are compared as row values,
//! `(name, id) > ($1, $2)`: databases do not use an index for the equivalent condition with `OR`. A list over several
//! workspaces merges one index range per workspace.

mod index_ranges;

mod position;

mod read;

mod related;

use chrono::{DateTime, Datelike, Utc};
use sea_orm::{EntityTrait, IdenStatic};
use uuid::Uuid;

pub use index_ranges::{IndexRanges, unindexed};
pub use position::creation_pattern;
pub use read::{count, count_of_each, page, page_of_each, page_with};
pub use related::Related;

use crate::error::{Error, Result};
use crate::id::WorkspaceId;
use position::encode;

/// Most rows of a page; also the size of a page for which none is given.
pub const MAX_PAGE: u64 = 100;

/// Relay's pagination arguments, as GraphQL or REST received them.
#[derive(Debug, Clone, Default)]
pub struct PageArgs {
    pub first: Option<i64>,
    pub after: Option<String>,
    pub last: Option<i64>,
    pub before: Option<String>,
    /// With `first`: a cursor before whose row the page ends, even if it has fewer rows then.
    pub until: Option<String>,
}

/// What a list is ordered by. The id breaks ties.
#[derive(Debug, Clone, Copy)]
pub struct ListOrder<C> {
    /// Name of list and order, for example `images:FILENAME`. It is part of each cursor, and a cursor is accepted only in
    /// the list and order that it comes from.
    pub name: &'static str,
    /// `None` orders by id, which is by time of creation.
    pub column: Option<C>,
    /// Type of the column. A forged cursor with a value of another type is rejected before it reaches the database.
    pub key_type: SortKeyType,
    pub descending: bool,
}

impl<C> ListOrder<C> {
    /// By id, which is by time of creation.
    pub const fn by_creation(name: &'static str, descending: bool) -> Self {
        ListOrder { name, column: None, key_type: SortKeyType::Text, descending }
    }

    /// By a column.
    pub const fn by(name: &'static str, column: C, key_type: SortKeyType, descending: bool) -> Self {
        ListOrder { name, column: Some(column), key_type, descending }
    }
}

/// Type of the column that a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKeyType {
    Number,
    Text,
    Time,
}

/// A row whose position in a list can be stored in a cursor.
pub trait KeysetRow<C: IdenStatic> {
    /// The column of its id.
    const ID: C;
    fn id(&self) -> Uuid;
    /// Its value in the column of an order.
    fn sort_key(&self, column: C) -> SortKey;
    /// Name of the column that is compared and sorted. For a nullable column this is the generated column beside it that is
    /// never null.
    fn key_column(column: C) -> &'static str {
        column.as_str()
    }
}

/// A row of a list that every workspace has.
pub trait WorkspaceRow<C: IdenStatic>: KeysetRow<C> {
    /// The column of the id of its workspace.
    const WORKSPACE_ID: C;
    /// `None` for a row that belongs to no workspace, which is in no such list.
    fn workspace_id(&self) -> Option<WorkspaceId>;
}

/// Value of a row in the column that a list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    Number(i64),
    Text(String),
    Time(DateTime<Utc>),
}

/// Pagination arguments that have been validated.
#[derive(Debug, Clone)]
pub struct PageRequest {
    size: u64,
    /// `after`, or `before` if the page is read backward.
    start: Option<String>,
    backward: bool,
    until: Option<String>,
}

/// What a page is read for.
#[derive(Debug, Clone)]
pub struct PageSelection<C> {
    /// False if only the size of the list is needed: then the arguments are validated and nothing is read.
    pub rows: bool,
    /// The columns to read.
    pub columns: Vec<C>,
    /// Whether the rows are asked for their cursors. Then the columns that make them up are read too.
    pub cursors: bool,
    /// Find out whether there are rows after the page. Known without a further statement if the page is read forward.
    pub has_next: bool,
    /// Find out whether there are rows before the page. Known without a further statement if the page is read backward.
    pub has_previous: bool,
}

/// A page of rows in the order of the list.
#[derive(Debug, Clone)]
pub struct Page<E: EntityTrait> {
    pub rows: Vec<E::Model>,
    pub order: ListOrder<E::Column>,
    /// False if that was not to be found out.
    pub has_next: bool,
    /// False if that was not to be found out.
    pub has_previous: bool,
}

impl<E: EntityTrait> Page<E> {
    /// The page of a list without rows.
    pub fn empty(order: ListOrder<E::Column>) -> Self {
        Page { rows: Vec::new(), order, has_next: false, has_previous: false }
    }
}

/// The cursor of a row in a list of this order.
pub fn cursor<C: IdenStatic>(row: &impl KeysetRow<C>, order: ListOrder<C>) -> String {
    encode(row, order)
}

impl PageArgs {
    /// Validates the arguments, except for the cursors, which depend on the list.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a size outside 1-100, for both directions at once, and for a cursor of the other direction.
    pub fn validate(mut self) -> Result<PageRequest> {
        let until = self.until.take();
        let (size, start, backward, size_argument) = match self {
            PageArgs { first: Some(_), last: Some(_), .. } => {
                return Err(Error::invalid("last", "Give `first` or `last`, not both."));
            }
            PageArgs { after: Some(_), before: Some(_), .. } => {
                return Err(Error::invalid("before", "Give `after` or `before`, not both."));
            }
            PageArgs { last: Some(_), after: Some(_), .. } => {
                return Err(Error::invalid("after", "Use `after` with `first`, and `before` with `last`."));
            }
            PageArgs { first: Some(_), before: Some(_), .. } => {
                return Err(Error::invalid("before", "Use `before` with `last`, and `after` with `first`."));
            }
            PageArgs { last: None, before: None, first, after, .. } => (first, after, false, "first"),
            PageArgs { last, before, .. } => (last, before, true, "last"),
        };
        let size = match size {
            None => MAX_PAGE,
            Some(size) => u64::try_from(size)
                .ok()
                .filter(|size| (1..=MAX_PAGE).contains(size))
                .ok_or_else(|| Error::invalid(size_argument, format!("A page has 1 to {MAX_PAGE} items.")))?,
        };
        Ok(PageRequest { size, start, backward, until })
    }
}

/// The number of rows in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub rows: i64,
    /// Sum of a column over all rows; `None` if the count is capped or no column was summed.
    pub bytes: Option<i64>,
    /// Counting stopped at the limit: the list has more than `rows` rows.
    pub capped: bool,
}

impl Count {
    /// What was counted up to one row more than `max`.
    fn limited(rows: i64, bytes: Option<i64>, max: Option<u64>) -> Self {
        match max.map(|max| i64::try_from(max).unwrap_or(i64::MAX)) {
            Some(max) if rows > max => Count { rows: max, bytes: None, capped: true },
            _ => Count::exact(rows, bytes),
        }
    }

    /// A count that is not capped.
    pub fn exact(rows: i64, bytes: Option<i64>) -> Self {
        Count { rows, bytes, capped: false }
    }
}

/// Whether both databases store a time and order it correctly. SQLite stores times as text, in which a year of five digits
/// would sort before one of four.
pub fn is_storable(time: DateTime<Utc>) -> bool {
    (1..=9999).contains(&time.year())
}
