//! Rows of another table that are read with those of a page.

use std::sync::{Mutex, PoisonError};

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{Condition, DbErr, EntityTrait, IdenStatic, JoinType, QueryResult};
use uuid::Uuid;

use super::KeysetRow;
use crate::entity::columns::{self, PartialRow};

/// Name of the page in the statement.
const PAGE: &str = "page";

/// Rows of another table, at most one for each row of a page.
pub struct Related<R: EntityTrait> {
    /// The column of the page with their ids.
    of: &'static str,
    /// The first is the id: it tells whether there is a row.
    columns: Vec<R::Column>,
    visible: Condition,
    found: Mutex<Vec<R::Model>>,
}

impl<R> Related<R>
where
    R: EntityTrait,
    R::Model: KeysetRow<R::Column> + PartialRow<Column = R::Column>,
{
    /// The given columns of the rows whose ids are in a column of the page, which has to be read, and that are visible.
    pub fn new(of: impl IdenStatic, columns: &[R::Column], visible: Condition) -> Self {
        let columns = columns::after(R::Model::ID, columns);
        Related { of: of.as_str(), columns, visible, found: Mutex::default() }
    }

    /// Joins them to the statement that reads some columns of a page. The page is a subquery, so that it is read as without them,
    /// and only its rows are joined.
    pub(super) fn join(&self, page: SelectStatement, columns: &[impl IdenStatic]) -> SelectStatement {
        let of_page = |column: &'static str| Expr::col((Alias::new(PAGE), Alias::new(column)));
        let is_of = Expr::col((R::default(), R::Model::ID)).eq(of_page(self.of));
        Query::select()
            .exprs(columns.iter().map(|column| of_page(column.as_str())))
            .exprs(self.columns.iter().map(|column| Expr::col((R::default(), *column))))
            .from_subquery(page, Alias::new(PAGE))
            .join(JoinType::LeftJoin, R::default(), self.visible.clone().add(is_of))
            .to_owned()
    }

    /// Makes room for so many.
    pub(super) fn reserve(&self, rows: usize) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).reserve_exact(rows);
    }

    /// Adds the one of a row of the result, whose columns begin at a place.
    pub(super) fn add(&self, result: &QueryResult, start: usize) -> Result<(), DbErr> {
        if result.try_get_by_index::<Option<Uuid>>(start)?.is_some() {
            let row = columns::decode(result, &self.columns, start)?;
            self.found.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        }
        Ok(())
    }

    /// Those of the page, and perhaps that of the row after it.
    pub(super) fn into_found(self) -> Vec<R::Model> {
        self.found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
