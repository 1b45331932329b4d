//! Index ranges of a list, and the SQL that reads them.

use sea_orm::sea_query::{
    Alias, Asterisk, Expr, ExprTrait, IntoCondition, Order, Query, SelectStatement, UnionType,
};
use sea_orm::{DbBackend, EntityTrait, IdenStatic, QueryFilter, QueryTrait, Select};

use super::position::Position;
use super::{KeysetRow, ListOrder, SortKey};
use crate::access::WorkspaceAccess;
use crate::entity::{VisibleRows, columns};
use crate::id::WorkspaceId;

/// A part of a list that is one range of one index: the rows of one workspace, or all rows.
#[derive(Debug, Clone)]
pub struct IndexRange<E: EntityTrait> {
    select: Select<E>,
    workspace: Option<WorkspaceId>,
    selective: bool,
}

impl<E: EntityTrait> IndexRange<E> {
    /// One range for each workspace that is visible to a member; one range over all rows for an admin.
    pub fn of_visible(rows: VisibleRows<E>) -> Vec<Self> {
        match rows.access {
            WorkspaceAccess::All => vec![IndexRange::all_rows(rows.all)],
            WorkspaceAccess::Only(ids) => {
                ids.into_iter().map(|id| IndexRange::of_workspace(rows.all.clone(), id)).collect()
            }
        }
    }

    /// All rows of a select.
    pub fn all_rows(select: Select<E>) -> Self {
        IndexRange { select, workspace: None, selective: false }
    }

    /// The rows of a select that belong to a workspace.
    pub fn of_workspace(select: Select<E>, workspace: WorkspaceId) -> Self {
        IndexRange { select, workspace: Some(workspace), selective: false }
    }

    /// Adds a condition.
    #[must_use]
    pub fn filter(self, condition: impl IntoCondition) -> Self {
        IndexRange { select: self.select.filter(condition), ..self }
    }

    /// Declares that the conditions match few rows, so that it is cheaper to find these and sort them than to read along the
    /// range. For SQLite only, which has no statistics to know this.
    #[must_use]
    pub fn selective(self) -> Self {
        IndexRange { selective: true, ..self }
    }

    /// Its rows, each with the value of one column, named `bytes`.
    pub(super) fn select_summed(&self, backend: DbBackend, summed: Option<E::Column>) -> SelectStatement {
        let mut query = self.select.clone().into_query();
        if let Some(WorkspaceId(workspace)) = self.workspace {
            query.and_where(self.column(backend, "workspace_id").eq(workspace));
        }
        let value = summed.map_or(Expr::cust("0"), |summed| column::<E>(summed.as_str()));
        query.clear_selects().expr_as(value, Alias::new("bytes"));
        query
    }

    /// A column in the bounds or the order of the range. SQLite does not use its index if the range is selective.
    fn column(&self, backend: DbBackend, name: &'static str) -> Expr {
        let column = column::<E>(name);
        if backend == DbBackend::Sqlite && self.selective { unindexed(column) } else { column }
    }
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

    /// Reads several ranges in one statement; `None` without ranges.
    pub(super) fn select<E>(
        &self,
        backend: DbBackend,
        ranges: &[IndexRange<E>],
        columns: &[C],
    ) -> Option<SelectStatement>
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        let mut selects = ranges.iter().map(|range| self.select_range(backend, range, columns));
        let first = selects.next()?;
        Some(if ranges.len() == 1 { first } else { self.merge::<E>(first, selects) })
    }

    /// Reads one range of one index, without sorting.
    ///
    /// On PostgreSQL the workspace is part of the row values and of the order,
    /// `(workspace_id, name, id) > ($1, $2, $3)`: given `workspace_id = $1`, its planner may read the primary key instead
    /// and skip the rows of all other workspaces. On SQLite it is an equality: given a comparison, its planner may use
    /// another index and sort.
    fn select_range<E>(&self, backend: DbBackend, range: &IndexRange<E>, columns: &[C]) -> SelectStatement
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        let column = |name| range.column(backend, name);
        let mut query = columns::only(range.select.clone(), columns).into_query();
        let compared = range.workspace.filter(|_| backend != DbBackend::Sqlite);
        match (range.workspace, compared) {
            (Some(WorkspaceId(workspace)), None) => {
                query.and_where(column("workspace_id").eq(workspace));
            }
            (_, Some(workspace)) => self.bound_workspace(&mut query, workspace, &column("workspace_id")),
            (None, None) => {}
        }
        if let Some(position) = self.bounds.from {
            let comparison = match (self.descending, self.bounds.inclusive) {
                (true, false) => Comparison::Less,
                (true, true) => Comparison::LessOrEqual,
                (false, false) => Comparison::Greater,
                (false, true) => Comparison::GreaterOrEqual,
            };
            query.and_where(self.compare(backend, range, compared, comparison, position));
        }
        if let Some(position) = self.bounds.until {
            let comparison = if self.descending { Comparison::Greater } else { Comparison::Less };
            query.and_where(self.compare(backend, range, compared, comparison, position));
        }
        if compared.is_some() {
            query.order_by_expr(column("workspace_id"), self.direction());
        }
        if let Some(key) = self.order.column.map(E::Model::key_column) {
            query.order_by_expr(column(key), self.direction());
        }
        query.order_by_expr(column("id"), self.direction()).limit(self.limit);
        query
    }

    /// Bounds the workspace by inequalities. Its start is bounded by the comparison with a position, if there is one.
    fn bound_workspace(&self, query: &mut SelectStatement, workspace: WorkspaceId, column: &Expr) {
        let (at_least, at_most) = (column.clone().gte(workspace.0), column.clone().lte(workspace.0));
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
        range: &IndexRange<E>,
        workspace: Option<WorkspaceId>,
        comparison: Comparison,
        position: &Position,
    ) -> Expr
    where
        E: EntityTrait<Column = C>,
        E::Model: KeysetRow<C>,
    {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        if let Some(WorkspaceId(workspace)) = workspace {
            columns.push(range.column(backend, "workspace_id"));
            values.push(Expr::val(workspace));
        }
        if let (Some(key), Some(value)) = (self.order.column, &position.key) {
            columns.push(range.column(backend, E::Model::key_column(key)));
            values.push(match value {
                SortKey::Number(number) => Expr::val(*number),
                SortKey::Text(text) => Expr::val(text.as_str()),
                SortKey::Time(time) => Expr::val(*time),
            });
        }
        columns.push(range.column(backend, "id"));
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
