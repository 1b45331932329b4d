//! Keyset pages: the one way every list is read.
//!
//! A page begins after a row, never after a number of rows, so the deepest page costs what the first costs and nothing
//! is skipped or doubled when rows come and go. Keys are compared as rows, `(name, id) > ($1, $2)`: the expanded form
//! with `OR` is no index condition. A list over several workspaces merges one index range per workspace.

mod cursor;

use chrono::{DateTime, Datelike, Utc};
use sea_orm::sea_query::{
    Alias, Asterisk, Expr, ExprTrait, IntoCondition, Order as Sort, Query, SelectStatement, UnionType,
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, FromQueryResult, IdenStatic, QueryFilter,
    QueryTrait, Select,
};
use uuid::Uuid;

pub use cursor::creation_pattern;

use crate::access::WorkspaceAccess;
use crate::entity::VisibleRows;
use crate::error::{Error, Result};
use crate::id::WorkspaceId;
use cursor::{Place, decode, encode};

/// Most rows of one page, and the number when none is asked for.
pub const MAX_PAGE: u64 = 100;
/// Ranges merged in one statement; SQLite stops at 500 terms of a compound select.
const MAX_RANGES: usize = 100;

/// Relay's paging arguments, as either face received them.
#[derive(Debug, Clone, Default)]
pub struct PageArgs {
    pub first: Option<i64>,
    pub after: Option<String>,
    pub last: Option<i64>,
    pub before: Option<String>,
    /// Where a page that is read forward ends at the latest: a cursor, whose row is not on it.
    pub until: Option<String>,
}

/// What a list is ordered by; the id breaks ties.
#[derive(Debug, Clone, Copy)]
pub struct ListOrder<C> {
    /// Name of list and order in cursors, e.g. `images:FILENAME`: a cursor is good for these only.
    pub name: &'static str,
    /// `None` orders by id alone, which is by time of creation.
    pub column: Option<C>,
    /// What the column holds, so that a forged cursor with something else is refused and not sent to the database.
    pub kind: KeyKind,
    pub descending: bool,
}

/// What a list is ordered by holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Number,
    Text,
    Time,
}

/// A row that can be found again by its place in a list.
pub trait Keyed<C: IdenStatic> {
    /// Its id.
    fn id(&self) -> Uuid;
    /// Its value in an order's column.
    fn key(&self, column: C) -> Key;
    /// Name of the table's column that is compared and sorted: for a column that may be null, the one beside it that is
    /// not.
    fn key_column(column: C) -> &'static str {
        column.as_str()
    }
}

/// Value of a row in the column that a list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Number(i64),
    Text(String),
    Time(DateTime<Utc>),
}

/// Which part of a list is asked for: arguments that make sense.
#[derive(Debug, Clone)]
pub struct Window {
    size: u64,
    from: Option<String>,
    backward: bool,
    until: Option<String>,
}

/// A page of rows in the order of the list.
#[derive(Debug, Clone)]
pub struct Page<M> {
    pub rows: Vec<Row<M>>,
    pub has_next: bool,
    pub has_previous: bool,
}

/// A row and the cursor that leads back to it.
#[derive(Debug, Clone)]
pub struct Row<M> {
    pub cursor: String,
    pub model: M,
}

impl PageArgs {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a size outside 1-100, for both directions at once, and for a cursor of the other direction.
    pub fn window(mut self) -> Result<Window> {
        let until = self.until.take();
        let (size, from, backward, name) = match self {
            PageArgs { first: Some(_), last: Some(_), .. } => {
                return Err(Error::invalid("last", "Give `first` or `last`, not both."));
            }
            PageArgs { after: Some(_), before: Some(_), .. } => {
                return Err(Error::invalid("before", "Give `after` or `before`, not both."));
            }
            PageArgs { last: Some(_), after: Some(_), .. } => {
                return Err(Error::invalid("after", "`after` goes with `first`, `before` with `last`."));
            }
            PageArgs { first: Some(_), before: Some(_), .. } => {
                return Err(Error::invalid("before", "`before` goes with `last`, `after` with `first`."));
            }
            PageArgs { last: None, before: None, first, after, .. } => (first, after, false, "first"),
            PageArgs { last, before, .. } => (last, before, true, "last"),
        };
        let size = match size {
            None => MAX_PAGE,
            Some(size) => u64::try_from(size)
                .ok()
                .filter(|size| (1..=MAX_PAGE).contains(size))
                .ok_or_else(|| Error::invalid(name, format!("A page has 1 to {MAX_PAGE} items.")))?,
        };
        Ok(Window { size, from, backward, until })
    }
}

/// A part of a list that is one range of one index: the rows of one workspace, or, for admins, of all.
#[derive(Debug, Clone)]
pub struct Range<E: EntityTrait> {
    select: Select<E>,
    workspace: Option<WorkspaceId>,
    looked_up: bool,
}

impl<E: EntityTrait> Range<E> {
    /// One range for each workspace whose rows are visible, so that every range is a range of one index; a single one over
    /// all rows for admins.
    pub fn of_visible(rows: VisibleRows<E>) -> Vec<Self> {
        match rows.access {
            WorkspaceAccess::All => vec![Range::over_all(rows.all)],
            WorkspaceAccess::Only(ids) => {
                ids.into_iter().map(|id| Range::within(rows.all.clone(), id)).collect()
            }
        }
    }

    /// All rows of a select.
    pub fn over_all(select: Select<E>) -> Self {
        Range { select, workspace: None, looked_up: false }
    }

    /// Those rows of a select that belong to a workspace.
    pub fn within(select: Select<E>, workspace: WorkspaceId) -> Self {
        Range { select, workspace: Some(workspace), looked_up: false }
    }

    /// Those of its rows that fulfil a condition.
    #[must_use]
    pub fn filter(self, condition: impl IntoCondition) -> Self {
        Range { select: self.select.filter(condition), ..self }
    }

    /// Says that its conditions name a few rows, which are to be looked up and sorted. Only SQLite needs to be told: it
    /// has no statistics, and might walk the whole range to find them.
    #[must_use]
    pub fn looked_up(self) -> Self {
        Range { looked_up: true, ..self }
    }
}

/// How many rows a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub rows: i64,
    /// Sum over all of them; `None` when counting stopped, or nothing was summed.
    pub bytes: Option<i64>,
    /// Counting stopped at the cap; there are at least `rows`.
    pub capped: bool,
}

impl Count {
    /// A number that is known.
    pub fn exact(rows: i64, bytes: Option<i64>) -> Self {
        Count { rows, bytes, capped: false }
    }
}

/// Reads one page of a list given as index ranges.
///
/// With `both_ends`, whether there are rows on the side the page was entered from is looked up too, for one more
/// statement; otherwise that flag is false.
pub async fn page<E>(
    db: &DatabaseConnection,
    ranges: &[Range<E>],
    order: ListOrder<E::Column>,
    window: Window,
    both_ends: bool,
) -> Result<Page<E::Model>>
where
    E: EntityTrait,
    E::Model: Keyed<E::Column> + FromQueryResult + Send + Sync,
{
    let until = window.until.as_deref().map(|cursor| decode(cursor, order, true)).transpose()?;
    let place = window.from.as_deref().map(|cursor| decode(cursor, order, window.backward)).transpose()?;
    let descending = order.descending != window.backward;
    let bounds = Bounds { from: place.as_ref(), inclusive: false, until: until.as_ref() };
    let mut rows: Vec<E::Model> = read(db, ranges, order, descending, bounds, window.size + 1).await?;
    let mut more = rows.len() as u64 > window.size;
    rows.truncate(usize::try_from(window.size).unwrap_or(usize::MAX));
    let beyond = async |place: Option<&Place>, descending: bool| match place {
        Some(place) if both_ends => {
            let bounds = Bounds { from: Some(place), inclusive: true, until: None };
            read::<E>(db, ranges, order, descending, bounds, 1).await.map(|rows| !rows.is_empty())
        }
        _ => Ok(false),
    };
    let behind = beyond(place.as_ref(), !descending).await?;
    more = more || beyond(until.as_ref(), descending).await?;
    if window.backward {
        rows.reverse();
    }
    let (has_next, has_previous) = if window.backward { (behind, more) } else { (more, behind) };
    let rows = rows.into_iter().map(|model| Row { cursor: encode(&model, order), model }).collect();
    Ok(Page { rows, has_next, has_previous })
}

/// Counts the rows of a list, and sums a column over them, in one statement per hundred ranges. Stops above `cap` rows.
pub async fn count<E: EntityTrait>(
    db: &DatabaseConnection,
    ranges: &[Range<E>],
    summed: Option<E::Column>,
    cap: Option<u64>,
) -> Result<Count> {
    let backend = db.get_database_backend();
    let (mut rows, mut bytes) = (0, 0);
    for chunk in ranges.chunks(MAX_RANGES) {
        let mut parts = chunk.iter().map(|range| {
            let mut query = range.select.clone().into_query();
            if let Some(workspace) = range.workspace {
                query.and_where(bound(backend, range, "workspace_id").eq(workspace.0));
            }
            let value = summed.map_or(Expr::cust("0"), |summed| column::<E>(summed.as_str()));
            query.clear_selects().expr_as(value, Alias::new("bytes"));
            query
        });
        let Some(mut all) = parts.next() else { break };
        for query in parts {
            all.union(UnionType::All, query);
        }
        if let Some(cap) = cap {
            all.limit(cap.saturating_add(1));
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
    match cap.map(|cap| i64::try_from(cap).unwrap_or(i64::MAX)) {
        Some(cap) if rows > cap => Ok(Count { rows: cap, bytes: None, capped: true }),
        _ => Ok(Count::exact(rows, summed.map(|_| bytes))),
    }
}

/// Up to `limit` rows beyond a place, in the given direction, from all ranges together. `inclusive` takes the row at
/// the place as well.
async fn read<E>(
    db: &DatabaseConnection,
    ranges: &[Range<E>],
    order: ListOrder<E::Column>,
    descending: bool,
    bounds: Bounds<'_>,
    limit: u64,
) -> Result<Vec<E::Model>>
where
    E: EntityTrait,
    E::Model: Keyed<E::Column> + FromQueryResult + Send + Sync,
{
    let (backend, mut rows) = (db.get_database_backend(), Vec::new());
    for chunk in ranges.chunks(MAX_RANGES) {
        let mut parts = chunk.iter().map(|range| part(backend, range, order, descending, bounds, limit));
        let Some(first) = parts.next() else { break };
        let statement =
            if chunk.len() == 1 { first } else { merged::<E>(first, parts, order, descending, limit) };
        rows.extend(E::Model::find_by_statement(db.get_database_backend().build(&statement)).all(db).await?);
    }
    if ranges.len() > MAX_RANGES {
        rows.sort_by(|a: &E::Model, b: &E::Model| {
            let key = |row: &E::Model| (order.column.map(|column| row.key(column)), row.id());
            let ordering = compare(&key(a), &key(b));
            if descending { ordering.reverse() } else { ordering }
        });
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(rows)
}

fn compare(a: &(Option<Key>, Uuid), b: &(Option<Key>, Uuid)) -> std::cmp::Ordering {
    let keys = match (&a.0, &b.0) {
        (Some(Key::Number(a)), Some(Key::Number(b))) => a.cmp(b),
        (Some(Key::Text(a)), Some(Key::Text(b))) => a.as_bytes().cmp(b.as_bytes()),
        (Some(Key::Time(a)), Some(Key::Time(b))) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    };
    keys.then(a.1.cmp(&b.1))
}

/// One range, from a place on: a range of one index, without a sort.
///
/// On PostgreSQL the workspace is part of what is ordered and compared, `(workspace_id, name, id) > ($1, $2, $3)`: with
/// `workspace_id = $1` it may walk the primary key instead, and skip everybody else's rows. SQLite is the other way
/// round: it takes an equality for the range it is, and for a comparison it may take another index and sort.
fn part<E: EntityTrait>(
    backend: DbBackend,
    range: &Range<E>,
    order: ListOrder<E::Column>,
    descending: bool,
    bounds: Bounds<'_>,
    limit: u64,
) -> SelectStatement
where
    E::Model: Keyed<E::Column>,
{
    let of = |name| bound(backend, range, name);
    let direction = if descending { Sort::Desc } else { Sort::Asc };
    let mut query = range.select.clone().into_query();
    let compared = range.workspace.filter(|_| backend != DbBackend::Sqlite);
    if let (Some(WorkspaceId(workspace)), None) = (range.workspace, compared) {
        query.and_where(of("workspace_id").eq(workspace));
    }
    if let Some(WorkspaceId(workspace)) = compared {
        let bound = || of("workspace_id");
        // The other end of the range; with a place, the row comparison is this end.
        query.and_where(if descending { bound().gte(workspace) } else { bound().lte(workspace) });
        if bounds.from.is_none() {
            query.and_where(if descending { bound().lte(workspace) } else { bound().gte(workspace) });
        }
    }
    let on_one_side = |place: &Place, less: bool, inclusive: bool| {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        if let Some(WorkspaceId(workspace)) = compared {
            left.push(of("workspace_id"));
            right.push(Expr::val(workspace));
        }
        if let (Some(key), Some(value)) = (order.column, &place.key) {
            left.push(of(E::Model::key_column(key)));
            right.push(match value {
                Key::Number(number) => Expr::val(*number),
                Key::Text(text) => Expr::val(text.as_str()),
                Key::Time(time) => Expr::val(*time),
            });
        }
        left.push(of("id"));
        right.push(Expr::val(place.id));
        let (left, right) = (row(left), row(right));
        match (less, inclusive) {
            (true, false) => left.lt(right),
            (true, true) => left.lte(right),
            (false, false) => left.gt(right),
            (false, true) => left.gte(right),
        }
    };
    if let Some(place) = bounds.from {
        query.and_where(on_one_side(place, descending, bounds.inclusive));
    }
    if let Some(place) = bounds.until {
        query.and_where(on_one_side(place, !descending, false));
    }
    if compared.is_some() {
        query.order_by_expr(of("workspace_id"), direction.clone());
    }
    if let Some(key) = order.column.map(E::Model::key_column) {
        query.order_by_expr(of(key), direction.clone());
    }
    query.order_by_expr(of("id"), direction).limit(limit);
    query
}

/// A column as a range's end or order names it. With a sign before it SQLite uses no index for it.
fn bound<E: EntityTrait>(backend: DbBackend, range: &Range<E>, name: &'static str) -> Expr {
    if backend == DbBackend::Sqlite && range.looked_up {
        unindexed(column::<E>(name))
    } else {
        column::<E>(name)
    }
}

/// An expression that SQLite uses no index for.
pub fn unindexed(expression: Expr) -> Expr {
    Expr::cust_with_expr("+?", expression)
}

fn column<E: EntityTrait>(name: &str) -> Expr {
    Expr::col((Alias::new(E::default().table_name()), Alias::new(name.to_owned())))
}

/// A row value, or the one expression itself.
fn row(mut expressions: Vec<Expr>) -> Expr {
    match (expressions.len(), expressions.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            expressions.extend(last);
            Expr::tuple(expressions)
        }
    }
}

/// The first rows of several ranges: each gives at most a page, and only those are sorted.
fn merged<E: EntityTrait>(
    first: SelectStatement,
    rest: impl Iterator<Item = SelectStatement>,
    order: ListOrder<E::Column>,
    descending: bool,
    limit: u64,
) -> SelectStatement
where
    E::Model: Keyed<E::Column>,
{
    // SQLite takes an ORDER BY inside a compound select only within a subquery.
    let wrap = |mut part: SelectStatement| {
        if let Some(key) = order.column
            && E::Model::key_column(key) != key.as_str()
        {
            part.column((Alias::new(E::default().table_name()), Alias::new(E::Model::key_column(key))));
        }
        Query::select().column(Asterisk).from_subquery(part, Alias::new("part")).to_owned()
    };
    let mut all = wrap(first);
    for part in rest {
        all.union(UnionType::All, wrap(part));
    }
    let direction = if descending { Sort::Desc } else { Sort::Asc };
    let mut query = Query::select();
    query.column(Asterisk).from_subquery(all, Alias::new("parts"));
    if let Some(key) = order.column.map(E::Model::key_column) {
        query.order_by(Alias::new(key), direction.clone());
    }
    query.order_by(Alias::new("id"), direction).limit(limit).to_owned()
}

/// Between which places rows are read.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    from: Option<&'a Place>,
    /// With the row at `from`.
    inclusive: bool,
    until: Option<&'a Place>,
}

/// Whether both databases keep and compare a time as it is: SQLite has texts, which a fifth digit of the year would put
/// out of order.
pub fn storable(time: DateTime<Utc>) -> bool {
    (1..=9999).contains(&time.year())
}
