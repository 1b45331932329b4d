//! Keyset pagination, used by every list.
//!
//! A page starts after a row, not after a number of rows. So the last page costs as much as the first, and rows are neither
//! skipped nor repeated when others are inserted or removed. Sort keys are compared as row values,
//! `(name, id) > ($1, $2)`: databases do not use an index for the equivalent condition with `OR`. A list over several
//! workspaces merges one index range per workspace.

mod index_range;

mod position;

use chrono::{DateTime, Datelike, Utc};
use sea_orm::sea_query::{Alias, Expr, Query, UnionType};
use sea_orm::{ConnectionTrait, EntityTrait, IdenStatic};
use uuid::Uuid;

pub use index_range::{IndexRange, unindexed};
pub use position::creation_pattern;

use crate::app::Reader;
use crate::entity::columns::{self, PartialRow};
use crate::error::{Error, Result};
use index_range::{Bounds, Scan};
use position::{Position, decode, encode};

/// Most rows of a page; also the size of a page for which none is given.
pub const MAX_PAGE: u64 = 100;
/// Most index ranges in one statement. SQLite allows 500 terms in a compound select.
const MAX_RANGES: usize = 100;

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
    /// The columns to read. Those that make up a cursor are read too.
    pub columns: Vec<C>,
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
    /// A count that is not capped.
    pub fn exact(rows: i64, bytes: Option<i64>) -> Self {
        Count { rows, bytes, capped: false }
    }
}

/// Reads one page of a list that consists of index ranges.
///
/// Whether there are rows on the side from which the page is read takes one more statement, which is run only if it is selected.
pub async fn page<E>(
    db: &Reader,
    ranges: &[IndexRange<E>],
    order: ListOrder<E::Column>,
    request: PageRequest,
    selection: &PageSelection<E::Column>,
) -> Result<Page<E>>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
{
    let PageRequest { size, start, backward, until } = request;
    let until = until.as_deref().map(|cursor| decode(cursor, order, "before")).transpose()?;
    let start_argument = if backward { "before" } else { "after" };
    let start = start.as_deref().map(|cursor| decode(cursor, order, start_argument)).transpose()?;
    if !selection.rows {
        return Ok(Page { rows: Vec::new(), order, has_next: false, has_previous: false });
    }
    let descending = order.descending != backward;
    let bounds = Bounds { from: start.as_ref(), inclusive: false, until: until.as_ref() };
    let columns = with_key::<E>(&selection.columns, order);
    let mut rows = read(db, ranges, &columns, Scan { order, descending, bounds, limit: size + 1 }).await?;
    let mut more = rows.len() as u64 > size;
    rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let exists_from = async |position: Option<&Position>, descending: bool, selected: bool| match position {
        Some(position) if selected => {
            let bounds = Bounds { from: Some(position), inclusive: true, until: None };
            let columns = with_key::<E>(&[], order);
            let found = read(db, ranges, &columns, Scan { order, descending, bounds, limit: 1 }).await?;
            Ok::<_, Error>(!found.is_empty())
        }
        _ => Ok(false),
    };
    let (ahead, behind) = match backward {
        true => (selection.has_previous, selection.has_next),
        false => (selection.has_next, selection.has_previous),
    };
    let behind = exists_from(start.as_ref(), !descending, behind).await?;
    more = more || exists_from(until.as_ref(), descending, ahead).await?;
    if backward {
        rows.reverse();
    }
    let (has_next, has_previous) = if backward { (behind, more) } else { (more, behind) };
    Ok(Page { rows, order, has_next, has_previous })
}

/// The columns, with those that make up a cursor.
fn with_key<E>(columns: &[E::Column], order: ListOrder<E::Column>) -> Vec<E::Column>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column>,
{
    let columns = columns::with(columns, E::Model::ID);
    order.column.map_or(columns.clone(), |key| columns::with(&columns, key))
}

/// Counts the rows of a list, and sums a column over them, with one statement per hundred ranges. Stops above `max` rows.
pub async fn count<E: EntityTrait>(
    db: &Reader,
    ranges: &[IndexRange<E>],
    summed: Option<E::Column>,
    max: Option<u64>,
) -> Result<Count> {
    let backend = db.get_database_backend();
    let (mut rows, mut bytes) = (0, 0);
    for chunk in ranges.chunks(MAX_RANGES) {
        let mut selects = chunk.iter().map(|range| range.select_summed(backend, summed));
        let Some(mut all) = selects.next() else { break };
        for select in selects {
            all.union(UnionType::All, select);
        }
        if let Some(max) = max {
            all.limit(max.saturating_add(1));
        }
        let mut totals = Query::select();
        totals
            .expr_as(Expr::cust("count(*)"), Alias::new("rows"))
            .expr_as(Expr::cust("CAST(coalesce(sum(bytes), 0) AS bigint)"), Alias::new("bytes"))
            .from_subquery(all, Alias::new("counted"));
        for row in db.query_all(&totals).await? {
            rows += row.try_get::<i64>("", "rows")?;
            bytes += row.try_get::<i64>("", "bytes")?;
        }
    }
    match max.map(|max| i64::try_from(max).unwrap_or(i64::MAX)) {
        Some(max) if rows > max => Ok(Count { rows: max, bytes: None, capped: true }),
        _ => Ok(Count::exact(rows, summed.map(|_| bytes))),
    }
}

/// The rows of a scan from all ranges together.
async fn read<E>(
    db: &Reader,
    ranges: &[IndexRange<E>],
    columns: &[E::Column],
    scan: Scan<'_, E::Column>,
) -> Result<Vec<E::Model>>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
{
    let (backend, mut rows) = (db.get_database_backend(), Vec::new());
    for chunk in ranges.chunks(MAX_RANGES) {
        let Some(statement) = scan.select(backend, chunk, columns) else { break };
        for row in db.query_all(&statement).await? {
            rows.push(columns::decode(&row, columns, 0)?);
        }
    }
    if ranges.len() > MAX_RANGES {
        rows.sort_by(|a: &E::Model, b: &E::Model| {
            let key = |row: &E::Model| (scan.order.column.map(|column| row.sort_key(column)), row.id());
            let ordering = compare(&key(a), &key(b));
            if scan.descending { ordering.reverse() } else { ordering }
        });
        rows.truncate(usize::try_from(scan.limit).unwrap_or(usize::MAX));
    }
    Ok(rows)
}

fn compare(a: &(Option<SortKey>, Uuid), b: &(Option<SortKey>, Uuid)) -> std::cmp::Ordering {
    let keys = match (&a.0, &b.0) {
        (Some(SortKey::Number(a)), Some(SortKey::Number(b))) => a.cmp(b),
        (Some(SortKey::Text(a)), Some(SortKey::Text(b))) => a.as_bytes().cmp(b.as_bytes()),
        (Some(SortKey::Time(a)), Some(SortKey::Time(b))) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    };
    keys.then(a.1.cmp(&b.1))
}

/// Whether both databases store a time and order it correctly. SQLite stores times as text, in which a year of five digits
/// would sort before one of four.
pub fn is_storable(time: DateTime<Utc>) -> bool {
    (1..=9999).contains(&time.year())
}
