//! Index ranges of a list, and the SQL that reads them.

use sea_orm::sea_query::{
    Alias, Asterisk, Condition, Expr, ExprTrait, Func, IntoCondition, Order, Query, SelectStatement,
    UnionType,
};
use sea_orm::{DbBackend, EntityTrait, IdenStatic, JoinType, QueryFilter, QueryTrait, Select};
use uuid::Uuid;

use super::position::Position;
use super::{KeysetRow, ListOrder, SortKey};
use crate::access::WorkspaceAccess;
use crate::entity::{VisibleRows, columns};
use crate::id::WorkspaceId;

/// Name of the table of workspaces for which a query is run, and of its only column.
const OUTER: &str = "outer_workspace";

/// A list as ranges of one index, which have the same conditions: one for each of some workspaces, or one over all rows.
#[derive(Debug, Clone)]
pub struct IndexRanges<E: EntityTrait> {
    select: Select<E>,
    /// `None` for a range over all rows.
    workspaces: Option<Vec<WorkspaceId>>,
    /// Whether there are conditions beyond those of the select.
    filtered: bool,
    selective: bool,
}

/// What the rows of a range belong to.
#[derive(Clone)]
enum Owner {
    /// Not restricted.
    Any,
    /// The workspace with this id: a value, or a column of an outer query.
    Workspace(Expr),
}

impl<E: EntityTrait> IndexRanges<E> {
    /// One range for each workspace that is visible to a member; one range over all rows for an admin.
    pub fn of_visible(rows: VisibleRows<E>) -> Self {
        match rows.access {
            WorkspaceAccess::All => IndexRanges::of_all(rows.all),
            WorkspaceAccess::Only(ids) => IndexRanges::of_workspaces(rows.all, ids),
        }
    }

    /// One range over all rows of a select.
    pub fn of_all(select: Select<E>) -> Self {
        IndexRanges { select, workspaces: None, filtered: false, selective: false }
    }

    /// The rows of a select that belong to these workspaces.
    pub fn of_workspaces(select: Select<E>, workspaces: Vec<WorkspaceId>) -> Self {
        IndexRanges { workspaces: Some(workspaces), ..IndexRanges::of_all(select) }
    }

    /// Adds a condition.
    #[must_use]
    pub fn filter(self, condition: impl IntoCondition) -> Self {
        IndexRanges { select: self.select.filter(condition), filtered: true, ..self }
    }

    /// Declares that the conditions match few rows, so that it is cheaper to find these and sort them than to read along the
    /// range. For SQLite only, which has no statistics to know this.
    #[must_use]
    pub fn selective(self) -> Self {
        IndexRanges { selective: true, ..self }
    }

    /// The workspaces that have a range each; none for a range over all rows.
    pub(super) fn workspaces(&self) -> &[WorkspaceId] {
        self.workspaces.as_deref().unwrap_or_default()
    }

    /// The ranges in parts of at most so many.
    pub(super) fn chunks(&self, size: usize) -> Vec<Self> {
        match &self.workspaces {
            None => vec![self.clone()],
            Some(all) => all
                .chunks(size)
                .map(|some| IndexRanges { workspaces: Some(some.to_vec()), ..self.clone() })
                .collect(),
        }
    }

    fn owners(&self) -> Vec<Owner> {
        match &self.workspaces {
            None => vec![Owner::Any],
            Some(ids) => ids.iter().map(|id| Owner::Workspace(Expr::val(id.0))).collect(),
        }
    }

    /// The number of rows of all ranges together and the sum of a column over them, as `rows` and `bytes`; `None` without ranges.
    /// Stops above `max` rows.
    pub(super) fn select_count(
        &self,
        backend: DbBackend,
        summed: Option<E::Column>,
        max: Option<u64>,
    ) -> Option<SelectStatement> {
        let mut selects = self.owners().into_iter().map(|owner| self.select_summed(backend, &owner, summed));
        let mut all = selects.next()?;
        for select in selects {
            all.union(UnionType::All, select);
        }
        Some(totals(all, max))
    }

    /// The same for each range, with its workspace as `workspace`.
    pub(super) fn select_count_of_each(
        &self,
        backend: DbBackend,
        summed: Option<E::Column>,
        max: Option<u64>,
    ) -> Option<SelectStatement> {
        let count =
            |owner: &Expr| totals(self.select_summed(backend, &Owner::Workspace(owner.clone()), summed), max);
        if backend == DbBackend::Postgres {
            let mut each = for_each_workspace(self.workspaces(), count(&outer_workspace()), None);
            return Some(each.expr_as(outer_workspace(), Alias::new("workspace")).to_owned());
        }
        let mut selects = self.workspaces().iter().map(|WorkspaceId(id)| {
            count(&Expr::val(*id)).expr_as(Expr::val(*id), Alias::new("workspace")).to_owned()
        });
        let mut all = selects.next()?;
        for select in selects {
            all.union(UnionType::All, select);
        }
        Some(all)
    }

    /// The rows of one range, each with the value of one column, named `bytes`.
    fn select_summed(&self, backend: DbBackend, owner: &Owner, summed: Option<E::Column>) -> SelectStatement {
        let mut query = self.select.clone().into_query();
        if let Owner::Workspace(workspace) = owner {
            query.and_where(self.column(backend, "workspace_id").eq(workspace.clone()));
        }
        let value = summed.map_or(Expr::cust("0"), |summed| column::<E>(summed.as_str()));
        query.clear_selects().expr_as(value, Alias::new("bytes"));
        query
    }

    /// A column in the bounds or the order of the ranges. SQLite does not use its index if they are selective.
    fn column(&self, backend: DbBackend, name: &'static str) -> Expr {
        let column = column::<E>(name);
        if backend == DbBackend::Sqlite && self.selective { unindexed(column) } else { column }
    }
}

/// The number of selected rows and the sum of their `bytes`.
fn totals(mut rows: SelectStatement, max: Option<u64>) -> SelectStatement {
    if let Some(max) = max {
        rows.limit(max.saturating_add(1));
    }
    Query::select()
        .expr_as(Expr::cust("count(*)"), Alias::new("rows"))
        .expr_as(Expr::cust("CAST(coalesce(sum(bytes), 0) AS bigint)"), Alias::new("bytes"))
        .from_subquery(rows, Alias::new("counted"))
        .to_owned()
}

/// Runs a query for each workspace, in which [`outer_workspace`] is the id. For PostgreSQL, which plans it once, where it would plan
/// each part of a union. The limit, if there is one, is part of the text and no parameter.
fn for_each_workspace(
    workspaces: &[WorkspaceId],
    part: SelectStatement,
    limit: Option<u64>,
) -> SelectStatement {
    let ids: Vec<Uuid> = workspaces.iter().map(|id| id.0).collect();
    let mut query = Query::select();
    query
        .column((Alias::new("part"), Asterisk))
        .from_function(Func::cust("unnest").arg(Expr::val(ids).cast_as("uuid[]")), Alias::new(OUTER));
    match limit {
        None => query.join_lateral(JoinType::InnerJoin, part, Alias::new("part"), Condition::all()),
        Some(limit) => {
            // A limit of a SelectStatement is always a parameter.
            let part = Expr::SubQuery(None, Box::new(part.into()));
            let part = Expr::cust_with_expr(format!("$1 LIMIT {limit}"), part);
            query.from_function(Func::cust("LATERAL").arg(part), Alias::new("part"))
        }
    };
    query
}

fn outer_workspace() -> Expr {
    Expr::col((Alias::new(OUTER), Alias::new(OUTER)))
}

/// Which rows of a list are read, and in which order.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a, C> {
    pub(super) order: ListOrder<C>,
    /// The direction of reading; the opposite of the order's for a page that is read backward.
    pub(super) descending: bool,
    pub(super) bounds: Bounds<'a>,
    pub(super) limit: u64,
}

/// The positions between which rows are read.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) from: Option<&'a Position>,
    /// The row at `from` is read too.
    pub(super) inclusive: bool,
    pub(super) until: Option<&'a Position>,
}

/// A comparison with a position.
#[derive(Clone, Copy)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl<C: IdenStatic> Scan<'_, C> {
    fn direction(&self) -> Order {
        if self.descending { Order::Desc } else { Order::Asc }
    }

    /// Reads all ranges together in one statement; `None` without ranges.
    pub(super) fn select<E>(
        &self,
        backend: DbBackend,
        ranges: &IndexRanges<E>,
        columns: &[C],
    ) -> Option<SelectStatement>
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        let owners = ranges.owners();
        let several = owners.len() > 1;
        let select = |owner| self.select_range(backend, ranges, owner, columns).limit(self.limit).to_owned();
        let mut selects = owners.iter().map(select);
        let first = selects.next()?;
        Some(if several { self.merge::<E>(first, selects) } else { first })
    }

    /// Reads as many rows of each range, in one statement and in any order; `None` without ranges.
    pub(super) fn select_each<E>(
        &self,
        backend: DbBackend,
        ranges: &IndexRanges<E>,
        columns: &[C],
    ) -> Option<SelectStatement>
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        if backend == DbBackend::Postgres {
            let mut part = self.select_range(backend, ranges, &Owner::Workspace(outer_workspace()), columns);
            // PostgreSQL keeps the plan of a statement that is run again, unless it looks more expensive than one that is made for
            // the parameters at hand. It would: it takes a limit that it does not know for a tenth of the table. With conditions
            // the values matter, and a kept plan might be the wrong one.
            let literal = Some(self.limit).filter(|_| !ranges.filtered);
            if literal.is_none() {
                part.limit(self.limit);
            }
            return Some(for_each_workspace(ranges.workspaces(), part, literal));
        }
        if ranges.workspaces().is_empty() {
            return None;
        }
        // SQLite has no LATERAL. The subquery runs for each workspace, and finds ids by the index.
        let workspace = Expr::col((Alias::new(OUTER), Alias::new("column1")));
        let mut part = self.select_range(backend, ranges, &Owner::Workspace(workspace), &[E::Model::ID]);
        part.limit(self.limit);
        let ids = ranges.workspaces().iter().map(|id| id.0);
        let query = Query::select()
            .exprs(columns.iter().map(|selected| column::<E>(selected.as_str())))
            .from_values(ids, Alias::new(OUTER))
            .join(JoinType::CrossJoin, E::default(), Condition::all())
            .and_where(column::<E>(E::Model::ID.as_str()).in_subquery(part))
            .to_owned();
        Some(query)
    }

    /// Reads one range of one index, without sorting and without the limit.
    ///
    /// On PostgreSQL the workspace is part of the row values and of the order,
    /// `(workspace_id, name, id) > ($1, $2, $3)`: given `workspace_id = $1`, its planner may read the primary key instead
    /// and skip the rows of all other workspaces. On SQLite it is an equality: given a comparison, its planner may use
    /// another index and sort.
    fn select_range<E>(
        &self,
        backend: DbBackend,
        ranges: &IndexRanges<E>,
        owner: &Owner,
        columns: &[C],
    ) -> SelectStatement
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        let column = |name| ranges.column(backend, name);
        let mut query = columns::only(ranges.select.clone(), columns).into_query();
        let mut compared = None;
        match owner {
            Owner::Any => {}
            Owner::Workspace(workspace) if backend == DbBackend::Sqlite => {
                query.and_where(column("workspace_id").eq(workspace.clone()));
            }
            Owner::Workspace(workspace) => {
                self.bound_workspace(&mut query, workspace, &column("workspace_id"));
                compared = Some(workspace);
            }
        }
        if let Some(position) = self.bounds.from {
            let comparison = match (self.descending, self.bounds.inclusive) {
                (true, false) => Comparison::Less,
                (true, true) => Comparison::LessOrEqual,
                (false, false) => Comparison::Greater,
                (false, true) => Comparison::GreaterOrEqual,
            };
            query.and_where(self.compare(backend, ranges, compared, comparison, position));
        }
        if let Some(position) = self.bounds.until {
            let comparison = if self.descending { Comparison::Greater } else { Comparison::Less };
            query.and_where(self.compare(backend, ranges, compared, comparison, position));
        }
        if compared.is_some() {
            query.order_by_expr(column("workspace_id"), self.direction());
        }
        if let Some(key) = self.order.column.map(E::Model::key_column) {
            query.order_by_expr(column(key), self.direction());
        }
        query.order_by_expr(column("id"), self.direction());
        query
    }

    /// Bounds the workspace by inequalities. Its start is bounded by the comparison with a position, if there is one.
    fn bound_workspace(&self, query: &mut SelectStatement, workspace: &Expr, column: &Expr) {
        let at_least = column.clone().gte(workspace.clone());
        let at_most = column.clone().lte(workspace.clone());
        let (start, end) = if self.descending { (at_most, at_least) } else { (at_least, at_most) };
        query.and_where(end);
        if self.bounds.from.is_none() {
            query.and_where(start);
        }
    }

    /// Compares the row value of the order, after the workspace if that is compared, with a position.
    fn compare<E>(
        &self,
        backend: DbBackend,
        ranges: &IndexRanges<E>,
        workspace: Option<&Expr>,
        comparison: Comparison,
        position: &Position,
    ) -> Expr
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        if let Some(workspace) = workspace {
            columns.push(ranges.column(backend, "workspace_id"));
            values.push(workspace.clone());
        }
        if let (Some(key), Some(value)) = (self.order.column, &position.key) {
            columns.push(ranges.column(backend, E::Model::key_column(key)));
            values.push(match value {
                SortKey::Number(number) => Expr::val(*number),
                SortKey::Text(text) => Expr::val(text.as_str()),
                SortKey::Time(time) => Expr::val(*time),
            });
        }
        columns.push(ranges.column(backend, "id"));
        values.push(Expr::val(position.id));
        let (columns, values) = (row_value(columns), row_value(values));
        match comparison {
            Comparison::Less => columns.lt(values),
            Comparison::LessOrEqual => columns.lte(values),
            Comparison::Greater => columns.gt(values),
            Comparison::GreaterOrEqual => columns.gte(values),
        }
    }

    /// Merges the first rows of several ranges. Each range yields at most `limit` rows, and only these are sorted.
    fn merge<E>(
        &self,
        first: SelectStatement,
        others: impl Iterator<Item = SelectStatement>,
    ) -> SelectStatement
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        // SQLite allows ORDER BY inside a compound select only within a subquery.
        let wrap = |mut part: SelectStatement| {
            if let Some(key) = self.order.column
                && E::Model::key_column(key) != key.as_str()
            {
                part.column((Alias::new(E::default().table_name()), Alias::new(E::Model::key_column(key))));
            }
            Query::select().column(Asterisk).from_subquery(part, Alias::new("part")).to_owned()
        };
        let mut all = wrap(first);
        for part in others {
            all.union(UnionType::All, wrap(part));
        }
        let mut query = Query::select();
        query.column(Asterisk).from_subquery(all, Alias::new("parts"));
        if let Some(key) = self.order.column.map(E::Model::key_column) {
            query.order_by(Alias::new(key), self.direction());
        }
        query.order_by(Alias::new("id"), self.direction()).limit(self.limit).to_owned()
    }
}

/// An expression for which SQLite uses no index: a column behind a unary plus.
pub fn unindexed(expression: Expr) -> Expr {
    Expr::cust_with_expr("+?", expression)
}

fn column<E: EntityTrait>(name: &str) -> Expr {
    Expr::col((Alias::new(E::default().table_name()), Alias::new(name.to_owned())))
}

/// A row value of several expressions; a single expression as it is.
fn row_value(mut expressions: Vec<Expr>) -> Expr {
    match (expressions.len(), expressions.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            expressions.extend(last);
            Expr::tuple(expressions)
        }
    }
}
