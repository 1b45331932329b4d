//! Keyset pages: the one way every list is read.
//!
//! A page begins after a row, never after a number of rows, so the deepest page costs what the first costs and nothing
//! is skipped or doubled when rows come and go. Keys are compared as rows, `(name, id) > ($1, $2)`: the expanded form
//! with `OR` is no index condition. A list over several workspaces merges one index range per workspace.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::sea_query::{
    Alias, Asterisk, Expr, ExprTrait, Func, IntoCondition, Order as Sort, Query, SelectStatement, UnionType,
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, FromQueryResult, IdenStatic, QueryFilter,
    QueryTrait, Select,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::id::WorkspaceId;

/// Most rows of one page, and the number when none is asked for.
pub const MAX_PAGE: u64 = 100;
/// Longest cursor that is looked at, in characters.
const MAX_CURSOR: usize = 2048;
/// Ranges merged in one statement; SQLite stops at 500 terms of a compound select.
const MAX_RANGES: usize = 100;

/// Relay's paging arguments, as either face received them.
#[derive(Debug, Clone, Default)]
pub struct PageArgs {
    pub first: Option<i64>,
    pub after: Option<String>,
    pub last: Option<i64>,
    pub before: Option<String>,
}

/// What a list is ordered by; the id breaks ties.
#[derive(Debug, Clone, Copy)]
pub struct Order<C> {
    /// Name of list and order in cursors, e.g. `images:FILENAME`: a cursor is good for these only.
    pub name: &'static str,
    /// `None` orders by id alone, which is by time of creation.
    pub column: Option<C>,
    /// Whether the column holds numbers, so that a forged cursor with a text is refused and not sent to the database.
    pub numeric: bool,
    pub descending: bool,
}

/// A row that can be found again by its place in a list.
pub trait Keyed<C> {
    /// Its id.
    fn id(&self) -> Uuid;
    /// Its value in an order's column.
    fn key(&self, column: C) -> Key;
}

/// Value of a row in the column that a list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    Number(i64),
    Text(String),
}

/// Which part of a list is asked for: arguments that make sense.
#[derive(Debug, Clone)]
pub struct Window {
    size: u64,
    from: Option<String>,
    backward: bool,
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
    pub fn window(self) -> Result<Window> {
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
            PageArgs { last: None, before: None, first, after } => (first, after, false, "first"),
            PageArgs { last, before, .. } => (last, before, true, "last"),
        };
        let size = match size {
            None => MAX_PAGE,
            Some(size) => u64::try_from(size)
                .ok()
                .filter(|size| (1..=MAX_PAGE).contains(size))
                .ok_or_else(|| Error::invalid(name, format!("A page has 1 to {MAX_PAGE} items.")))?,
        };
        Ok(Window { size, from, backward })
    }
}

/// A part of a list that is one range of one index: the rows of one workspace, or, for admins, of all.
#[derive(Debug, Clone)]
pub struct Range<E: EntityTrait> {
    select: Select<E>,
    workspace: Option<WorkspaceId>,
}

impl<E: EntityTrait> Range<E> {
    /// All rows of a select.
    pub fn over_all(select: Select<E>) -> Self {
        Range { select, workspace: None }
    }

    /// Those rows of a select that belong to a workspace.
    pub fn within(select: Select<E>, workspace: WorkspaceId) -> Self {
        Range { select, workspace: Some(workspace) }
    }

    /// Those of its rows that fulfil a condition.
    #[must_use]
    pub fn filter(self, condition: impl IntoCondition) -> Self {
        Range { select: self.select.filter(condition), ..self }
    }
}

/// Reads one page of a list given as index ranges.
///
/// With `both_ends`, whether there are rows on the side the page was entered from is looked up too, for one more
/// statement; otherwise that flag is false.
pub async fn page<E>(
    db: &DatabaseConnection,
    ranges: &[Range<E>],
    order: Order<E::Column>,
    window: Window,
    both_ends: bool,
) -> Result<Page<E::Model>>
where
    E: EntityTrait,
    E::Model: Keyed<E::Column> + FromQueryResult + Send + Sync,
{
    let place = window.from.as_deref().map(|cursor| decode(cursor, order, window.backward)).transpose()?;
    let descending = order.descending != window.backward;
    let mut rows: Vec<E::Model> =
        read(db, ranges, order, descending, place.as_ref(), false, window.size + 1).await?;
    let more = rows.len() as u64 > window.size;
    rows.truncate(usize::try_from(window.size).unwrap_or(usize::MAX));
    let behind = match &place {
        Some(place) if both_ends => {
            let rows: Vec<E::Model> = read(db, ranges, order, !descending, Some(place), true, 1).await?;
            !rows.is_empty()
        }
        _ => false,
    };
    if window.backward {
        rows.reverse();
    }
    let (has_next, has_previous) = if window.backward { (behind, more) } else { (more, behind) };
    let rows = rows.into_iter().map(|model| Row { cursor: encode(&model, order), model }).collect();
    Ok(Page { rows, has_next, has_previous })
}

/// How many rows a list has and the sum of a column over them, in one statement per hundred ranges.
pub async fn count<E: EntityTrait>(db: &DatabaseConnection, ranges: &[Range<E>]) -> Result<i64> {
    let mut total = 0;
    for chunk in ranges.chunks(MAX_RANGES) {
        let mut counts = chunk.iter().map(|range| {
            let mut query = range.select.clone().into_query();
            if let Some(workspace) = range.workspace {
                query.and_where(column::<E>("workspace_id").eq(workspace.0));
            }
            query.clear_selects().expr_as(Func::count(Expr::cust("1")), Alias::new("rows"));
            query
        });
        let Some(mut all) = counts.next() else { break };
        for query in counts {
            all.union(UnionType::All, query);
        }
        for row in db.query_all(&all).await? {
            total += row.try_get::<i64>("", "rows")?;
        }
    }
    Ok(total)
}

/// Up to `limit` rows beyond a place, in the given direction, from all ranges together. `inclusive` takes the row at
/// the place as well.
async fn read<E>(
    db: &DatabaseConnection,
    ranges: &[Range<E>],
    order: Order<E::Column>,
    descending: bool,
    place: Option<&Place>,
    inclusive: bool,
    limit: u64,
) -> Result<Vec<E::Model>>
where
    E: EntityTrait,
    E::Model: Keyed<E::Column> + FromQueryResult + Send + Sync,
{
    let (backend, mut rows) = (db.get_database_backend(), Vec::new());
    for chunk in ranges.chunks(MAX_RANGES) {
        let mut parts =
            chunk.iter().map(|range| part(backend, range, order, descending, place, inclusive, limit));
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
    order: Order<E::Column>,
    descending: bool,
    place: Option<&Place>,
    inclusive: bool,
    limit: u64,
) -> SelectStatement {
    let direction = if descending { Sort::Desc } else { Sort::Asc };
    let mut query = range.select.clone().into_query();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let compared = range.workspace.filter(|_| backend != DbBackend::Sqlite);
    if let (Some(WorkspaceId(workspace)), None) = (range.workspace, compared) {
        query.and_where(column::<E>("workspace_id").eq(workspace));
    }
    if let Some(WorkspaceId(workspace)) = compared {
        let bound = || column::<E>("workspace_id");
        // The other end of the range; with a place, the row comparison is this end.
        query.and_where(if descending { bound().gte(workspace) } else { bound().lte(workspace) });
        if place.is_none() {
            query.and_where(if descending { bound().lte(workspace) } else { bound().gte(workspace) });
        }
        left.push(bound());
        right.push(Expr::val(workspace));
    }
    if let Some(place) = place {
        if let (Some(key), Some(value)) = (order.column, &place.key) {
            left.push(column::<E>(key.as_str()));
            right.push(match value {
                Key::Number(number) => Expr::val(*number),
                Key::Text(text) => Expr::val(text.as_str()),
            });
        }
        left.push(column::<E>("id"));
        right.push(Expr::val(place.id));
        let (left, right) = (row(left), row(right));
        query.and_where(match (descending, inclusive) {
            (true, false) => left.lt(right),
            (true, true) => left.lte(right),
            (false, false) => left.gt(right),
            (false, true) => left.gte(right),
        });
    }
    if compared.is_some() {
        query.order_by_expr(column::<E>("workspace_id"), direction.clone());
    }
    if let Some(key) = order.column {
        query.order_by_expr(column::<E>(key.as_str()), direction.clone());
    }
    query.order_by_expr(column::<E>("id"), direction).limit(limit);
    query
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
    order: Order<E::Column>,
    descending: bool,
    limit: u64,
) -> SelectStatement {
    // SQLite takes an ORDER BY inside a compound select only within a subquery.
    let wrap = |part: SelectStatement| {
        Query::select().column(Asterisk).from_subquery(part, Alias::new("part")).to_owned()
    };
    let mut all = wrap(first);
    for part in rest {
        all.union(UnionType::All, wrap(part));
    }
    let direction = if descending { Sort::Desc } else { Sort::Asc };
    let mut query = Query::select();
    query.column(Asterisk).from_subquery(all, Alias::new("parts"));
    if let Some(key) = order.column {
        query.order_by(Alias::new(key.as_str()), direction.clone());
    }
    query.order_by(Alias::new("id"), direction).limit(limit).to_owned()
}

/// A place in a list: what a cursor says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    key: Option<Key>,
    id: Uuid,
}

/// Version, list and order, direction, key, id.
type Cursor = (u8, String, bool, Option<Key>, Uuid);

const CURSOR_VERSION: u8 = 1;

fn encode<C: Copy>(model: &impl Keyed<C>, order: Order<C>) -> String {
    let key = order.column.map(|column| model.key(column));
    let cursor: Cursor = (CURSOR_VERSION, order.name.to_owned(), order.descending, key, model.id());
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
}

fn decode<C>(text: &str, order: Order<C>, backward: bool) -> Result<Place> {
    let argument = if backward { "before" } else { "after" };
    let cursor: Cursor = Some(text)
        .filter(|text| text.len() <= MAX_CURSOR)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .filter(|cursor: &Cursor| cursor.0 == CURSOR_VERSION)
        .ok_or_else(|| Error::invalid(argument, "This is not a cursor; give one back as a page gave it."))?;
    let (_, name, descending, key, id) = cursor;
    if name != order.name || descending != order.descending || key.is_some() != order.column.is_some() {
        return Err(Error::invalid(argument, "This cursor was made for another list or another order."));
    }
    let usable = match &key {
        Some(Key::Number(_)) => order.numeric,
        Some(Key::Text(text)) => !order.numeric && !text.contains('\0'),
        None => true,
    };
    if !usable {
        return Err(Error::invalid(argument, "This is not a cursor; give one back as a page gave it."));
    }
    Ok(Place { key, id })
}
