//! Reading pages and counts of lists.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use sea_orm::{ConnectionTrait, EntityTrait, IdenStatic};

use super::index_ranges::{Bounds, IndexRanges, Scan};
use super::position::{Position, decode};
use super::related::Related;
use super::{Count, KeysetRow, ListOrder, Page, PageRequest, PageSelection, SortKey, WorkspaceRow};
use crate::app::Reader;
use crate::entity::columns::{self, PartialRow};
use crate::error::{Error, Result};
use crate::id::WorkspaceId;

/// Most index ranges in one statement. SQLite allows 500 terms in a compound select.
const MAX_RANGES: usize = 100;

/// Reads one page of a list.
///
/// Whether there are rows on the side from which the page is read takes one more statement, which is run only if it is selected.
pub async fn page<E>(
    db: &Reader,
    ranges: &IndexRanges<E>,
    order: ListOrder<E::Column>,
    request: PageRequest,
    selection: &PageSelection<E::Column>,
) -> Result<Page<E>>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
{
    let mut pages = pages(&Together { db, ranges }, order, request, selection).await?;
    Ok(pages.remove(&()).unwrap_or_else(|| Page::empty(order)))
}

/// The same with rows of another table, of which each belongs to one of the page's, in the same statement.
pub async fn page_with<E, R>(
    db: &Reader,
    ranges: &IndexRanges<E>,
    order: ListOrder<E::Column>,
    request: PageRequest,
    selection: &PageSelection<E::Column>,
    related: Related<R>,
) -> Result<(Page<E>, Vec<R::Model>)>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
    R: EntityTrait,
    R::Model: KeysetRow<R::Column> + PartialRow<Column = R::Column> + Send + Sync,
{
    let lists = TogetherWith { together: Together { db, ranges }, related };
    let mut pages = pages(&lists, order, request, selection).await?;
    Ok((pages.remove(&()).unwrap_or_else(|| Page::empty(order)), lists.related.into_found()))
}

/// Reads the same page of a list for each of its workspaces, in as many statements as one page takes.
pub async fn page_of_each<E>(
    db: &Reader,
    ranges: &IndexRanges<E>,
    order: ListOrder<E::Column>,
    request: PageRequest,
    selection: &PageSelection<E::Column>,
) -> Result<HashMap<WorkspaceId, Page<E>>>
where
    E: EntityTrait,
    E::Model: WorkspaceRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
{
    pages(&OfEach { db, ranges }, order, request, selection).await
}

/// Lists that are read by the same statements.
trait Lists<E: EntityTrait>: Sync {
    /// What tells one from another.
    type Key: Copy + Eq + Hash + Send + Sync;

    fn keys(&self) -> &[Self::Key];

    /// Whether the rows come from several ranges and have to be sorted.
    fn sorts(&self) -> bool;

    /// The rows of a page of each of them, and of one more, in the order of the scan.
    fn read_page(
        &self,
        columns: &[E::Column],
        scan: Scan<'_, E::Column>,
    ) -> impl Future<Output = Result<HashMap<Self::Key, Vec<E::Model>>>> + Send {
        self.read(columns, scan)
    }

    /// The rows of a scan of each of them, in the order of the scan.
    fn read(
        &self,
        columns: &[E::Column],
        scan: Scan<'_, E::Column>,
    ) -> impl Future<Output = Result<HashMap<Self::Key, Vec<E::Model>>>> + Send;
}

/// One list, of all ranges together.
struct Together<'a, E: EntityTrait> {
    db: &'a Reader,
    ranges: &'a IndexRanges<E>,
}

/// One list whose page is read with rows of another table.
struct TogetherWith<'a, E: EntityTrait, R: EntityTrait> {
    together: Together<'a, E>,
    related: Related<R>,
}

/// A list of each range.
struct OfEach<'a, E: EntityTrait> {
    db: &'a Reader,
    ranges: &'a IndexRanges<E>,
}

/// Reads the same page of each of several lists.
async fn pages<E, L>(
    lists: &L,
    order: ListOrder<E::Column>,
    request: PageRequest,
    selection: &PageSelection<E::Column>,
) -> Result<HashMap<L::Key, Page<E>>>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column> + Send + Sync,
    L: Lists<E>,
{
    let PageRequest { size, start, backward, until } = request;
    let until = until.as_deref().map(|cursor| decode(cursor, order, "before")).transpose()?;
    let start_argument = if backward { "before" } else { "after" };
    let start = start.as_deref().map(|cursor| decode(cursor, order, start_argument)).transpose()?;
    if !selection.rows {
        return Ok(HashMap::new());
    }
    let descending = order.descending != backward;
    let bounds = Bounds { from: start.as_ref(), inclusive: false, until: until.as_ref() };
    let columns_of = |columns: &[E::Column], key: bool| {
        let columns = columns::with(columns, E::Model::ID);
        let key = order.column.filter(|_| key || lists.sorts());
        key.map_or(columns.clone(), |key| columns::with(&columns, key))
    };
    let columns = columns_of(&selection.columns, selection.cursors);
    let mut rows = lists.read_page(&columns, Scan { order, descending, bounds, limit: size + 1 }).await?;
    // The lists that have a row at a position or beyond it.
    let exist_from = async |position: Option<&Position>, descending: bool, selected: bool| match position {
        Some(position) if selected => {
            let bounds = Bounds { from: Some(position), inclusive: true, until: None };
            let columns = columns_of(&[], false);
            let found = lists.read(&columns, Scan { order, descending, bounds, limit: 1 }).await?.into_iter();
            Ok::<_, Error>(found.filter(|(_, rows)| !rows.is_empty()).map(|(list, _)| list).collect())
        }
        _ => Ok(HashSet::new()),
    };
    let (ahead, behind) = match backward {
        true => (selection.has_previous, selection.has_next),
        false => (selection.has_next, selection.has_previous),
    };
    let behind = exist_from(start.as_ref(), !descending, behind).await?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let is_full = |list: &L::Key| rows.get(list).is_some_and(|rows| rows.len() > size);
    let ahead = exist_from(until.as_ref(), descending, ahead && !lists.keys().iter().all(is_full)).await?;
    let pages = lists.keys().iter().map(|list| {
        let mut rows = rows.remove(list).unwrap_or_default();
        let more = rows.len() > size || ahead.contains(list);
        rows.truncate(size);
        let less = behind.contains(list);
        if backward {
            rows.reverse();
        }
        let (has_next, has_previous) = if backward { (less, more) } else { (more, less) };
        (*list, Page { rows, order, has_next, has_previous })
    });
    Ok(pages.collect())
}

/// Counts the rows of a list, and sums a column over them, with one statement per hundred ranges. Stops above `max` rows.
pub async fn count<E: EntityTrait>(
    db: &Reader,
    ranges: &IndexRanges<E>,
    summed: Option<E::Column>,
    max: Option<u64>,
) -> Result<Count> {
    let backend = db.get_database_backend();
    let (mut rows, mut bytes) = (0, 0);
    for chunk in ranges.chunks(MAX_RANGES) {
        let Some(totals) = chunk.select_count(backend, summed, max) else { break };
        for row in db.query_all(&totals).await? {
            rows += row.try_get::<i64>("", "rows")?;
            bytes += row.try_get::<i64>("", "bytes")?;
        }
    }
    Ok(Count::limited(rows, summed.map(|_| bytes), max))
}

/// The same for each workspace of a list.
pub async fn count_of_each<E: EntityTrait>(
    db: &Reader,
    ranges: &IndexRanges<E>,
    summed: Option<E::Column>,
    max: Option<u64>,
) -> Result<HashMap<WorkspaceId, Count>> {
    let mut counts = HashMap::new();
    for chunk in ranges.chunks(MAX_RANGES) {
        let Some(totals) = chunk.select_count_of_each(db.get_database_backend(), summed, max) else { break };
        for row in db.query_all(&totals).await? {
            let bytes = row.try_get("", "bytes")?;
            let count = Count::limited(row.try_get("", "rows")?, summed.map(|_| bytes), max);
            counts.insert(row.try_get("", "workspace")?, count);
        }
    }
    Ok(counts)
}

impl<E> Lists<E> for Together<'_, E>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
{
    type Key = ();

    fn keys(&self) -> &[()] {
        &[()]
    }

    fn sorts(&self) -> bool {
        self.ranges.workspaces().len() > 1
    }

    async fn read(
        &self,
        columns: &[E::Column],
        scan: Scan<'_, E::Column>,
    ) -> Result<HashMap<(), Vec<E::Model>>> {
        let (chunks, mut rows) = (self.ranges.chunks(MAX_RANGES), Vec::new());
        for chunk in &chunks {
            let Some(statement) = scan.select(self.db.get_database_backend(), chunk, columns) else { break };
            let found = self.db.query_all(&statement).await?;
            rows.reserve_exact(found.len());
            for row in found {
                rows.push(columns::decode(&row, columns, 0)?);
            }
        }
        if chunks.len() > 1 {
            sort(&mut rows, scan);
            rows.truncate(usize::try_from(scan.limit).unwrap_or(usize::MAX));
        }
        Ok(HashMap::from([((), rows)]))
    }
}

impl<E, R> Lists<E> for TogetherWith<'_, E, R>
where
    E: EntityTrait,
    E::Model: KeysetRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
    R: EntityTrait,
    R::Model: KeysetRow<R::Column> + PartialRow<Column = R::Column> + Send + Sync,
{
    type Key = ();

    fn keys(&self) -> &[()] {
        &[()]
    }

    // A join does not promise the order of what is joined, though both databases keep it.
    fn sorts(&self) -> bool {
        true
    }

    async fn read_page(
        &self,
        columns: &[E::Column],
        scan: Scan<'_, E::Column>,
    ) -> Result<HashMap<(), Vec<E::Model>>> {
        let (Together { db, ranges }, mut rows) = (&self.together, Vec::new());
        for chunk in ranges.chunks(MAX_RANGES) {
            let Some(statement) = scan.select(db.get_database_backend(), &chunk, columns) else { break };
            let statement = self.related.join(statement, columns);
            let found = db.query_all(&statement).await?;
            rows.reserve_exact(found.len());
            self.related.reserve(found.len());
            for row in found {
                rows.push(columns::decode(&row, columns, 0)?);
                self.related.add(&row, columns.len())?;
            }
        }
        sort(&mut rows, scan);
        rows.truncate(usize::try_from(scan.limit).unwrap_or(usize::MAX));
        Ok(HashMap::from([((), rows)]))
    }

    async fn read(
        &self,
        columns: &[E::Column],
        scan: Scan<'_, E::Column>,
    ) -> Result<HashMap<(), Vec<E::Model>>> {
        self.together.read(columns, scan).await
    }
}

impl<E> Lists<E> for OfEach<'_, E>
where
    E: EntityTrait,
    E::Model: WorkspaceRow<E::Column> + PartialRow<Column = E::Column> + Send + Sync,
{
    type Key = WorkspaceId;

    fn keys(&self) -> &[WorkspaceId] {
        self.ranges.workspaces()
    }

    fn sorts(&self) -> bool {
        true
    }

    async fn read(
        &self,
        columns: &[E::Column],
        scan: Scan<'_, E::Column>,
    ) -> Result<HashMap<WorkspaceId, Vec<E::Model>>> {
        let columns = columns::with(columns, E::Model::WORKSPACE_ID);
        let mut rows: HashMap<WorkspaceId, Vec<E::Model>> = HashMap::new();
        for chunk in self.ranges.chunks(MAX_RANGES) {
            let statement = scan.select_each(self.db.get_database_backend(), &chunk, &columns);
            let Some(statement) = statement else { break };
            for row in self.db.query_all(&statement).await? {
                let row: E::Model = columns::decode(&row, &columns, 0)?;
                if let Some(workspace) = row.workspace_id() {
                    rows.entry(workspace).or_default().push(row);
                }
            }
        }
        // Neither database promises an order for the parts of a statement, though both keep it.
        rows.values_mut().for_each(|rows| sort(rows, scan));
        Ok(rows)
    }
}

/// Sorts rows in the order of a scan.
fn sort<C: IdenStatic>(rows: &mut [impl KeysetRow<C>], scan: Scan<'_, C>) {
    rows.sort_by(|a, b| {
        let ordering = match scan.order.column {
            Some(column) => compare(&a.sort_key(column), &b.sort_key(column)),
            None => Ordering::Equal,
        };
        let ordering = ordering.then_with(|| a.id().cmp(&b.id()));
        if scan.descending { ordering.reverse() } else { ordering }
    });
}

fn compare(a: &SortKey, b: &SortKey) -> Ordering {
    match (a, b) {
        (SortKey::Number(a), SortKey::Number(b)) => a.cmp(b),
        (SortKey::Text(a), SortKey::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (SortKey::Time(a), SortKey::Time(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}
