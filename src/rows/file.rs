//! Insertion of files, and a check that several operations make.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ConnectionTrait, FromQueryResult, IntoActiveModel, Iterable, QueryTrait,
};

use crate::entity::file::{self, Column, Entity, Model};
use crate::error::{Code, Error, Result};

/// Inserts a file row.
pub async fn insert(transaction: &impl ConnectionTrait, file: Model) -> Result<Model> {
    let row: file::ActiveModel = file.into();
    Ok(row.reset_all().insert(transaction).await?)
}

/// Inserts the row of a file with these bytes, unless its workspace has another file with them; `None` then. The caller has
/// locked the content. The condition is part of the insertion, because most files are new and need no other lookup.
pub async fn insert_unless_duplicate(
    transaction: &impl ConnectionTrait,
    file: Model,
    sha256: &[u8; 32],
) -> Result<Option<Model>> {
    let same = file::of_content_unscoped(file.workspace_id, sha256).into_query();
    let mut row = file.into_active_model().reset_all();
    let mut values = Query::select();
    let columns: Vec<Column> = Column::iter().collect();
    for column in &columns {
        if let ActiveValue::Set(value) = row.take(*column) {
            values.expr(Expr::val(value));
        }
    }
    values.and_where(Expr::exists(same).not());
    let mut insert = Query::insert();
    insert.into_table(Entity).columns(columns.iter().copied()).returning(Query::returning().columns(columns));
    insert.select_from(values).map_err(|problem| Error::fault("inserting a file", problem))?;
    let inserted = transaction.query_one(&insert).await?;
    Ok(inserted.map(|row| Model::from_query_result(&row, "")).transpose()?)
}

/// Requires that a file is not in the trash.
///
/// # Errors
/// `CONFLICT`.
pub fn require_not_trashed(file: &Model) -> Result<()> {
    if file.deleted_at.is_none() {
        return Ok(());
    }
    Err(Error::refuse(Code::Conflict, "This file is in the trash; restore it first."))
}
