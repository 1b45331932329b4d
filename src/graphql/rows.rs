//! Rows as JSON: pages and single rows are written straight into one text, in the order of their selection.
//!
//! The executor makes a future, a name and a value for every field of every row, and a tree of them that is serialised in the end.
//! For a page of a hundred rows that costs more than the database does. Here the selection is read once for the page, into a
//! [`plan`]: which columns to read, and how each field is written. What several rows share, such as the account's signing keys or
//! related rows, is fetched once before the first row is written, and so are the lists below all rows. The text is handed to
//! async-graphql as a raw JSON value.

pub mod field;

pub mod plan;

pub mod relation;

mod selection;

mod write;

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::resolve_list;
use async_graphql::{
    ContainerType, ContextSelectionSet, Name, OutputType, PathSegment, Positioned, ServerError, ServerResult,
    Value,
};
use async_graphql_value::RAW_VALUE_TOKEN;
use futures_util::future::BoxFuture;

use self::field::RowError;
pub use self::field::{FieldValue, Nested, Preparation, RowField, Writer};
pub use self::plan::ObjectPlan;
use self::plan::Plan;
pub use self::relation::LoadRows;
pub use self::selection::{ListSelection, related_columns, related_columns_of_items, selected_columns};
pub use self::write::{WriteJson, serialize};

/// Whether rows of a request are written as JSON; part of its data. Otherwise they are left to the executor.
pub struct WriteRows(pub bool);

/// An object that is a row, or a part of one. `#[row_object]` and `#[derive(RowObject)]` implement it.
pub trait RowObject: ContainerType + Sized + Send + Sync + 'static {
    /// The columns of its table.
    type Column: Copy + Send + Sync + 'static;
    const FIELDS: &'static [RowField<Self>];
}

/// A list of rows.
pub struct Rows<'a, T>(pub Vec<&'a T>);

/// A single row.
pub struct Row<T>(pub T);

/// A single row that belongs to another object.
pub struct RowRef<'a, T>(pub &'a T);

impl<T: RowObject> OutputType for Rows<'_, T> {
    fn type_name() -> Cow<'static, str> {
        Cow::Owned(format!("[{}]", T::qualified_type_name()))
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry);
        Self::qualified_type_name()
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        if !writes_rows(ctx) {
            let list = resolve_list(ctx, field, self.0.iter().copied(), Some(self.0.len()));
            let list: BoxFuture<'_, ServerResult<Value>> = Box::pin(list);
            return list.await;
        }
        let plan = Plan::<T>::of(ctx, &ctx.item.node);
        let (json, errors) = plan::write_rows(&plan, &self.0).await.into_list();
        add_errors(ctx, errors, true);
        raw_bytes(json)
    }
}

impl<T: RowObject> OutputType for Row<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        resolve_one(&self.0, ctx, field).await
    }
}

impl<T: RowObject> OutputType for RowRef<'_, T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        resolve_one(self.0, ctx, field).await
    }
}

/// The value of a field that is a single row.
pub async fn resolve_one<T: RowObject>(
    row: &T,
    ctx: &ContextSelectionSet<'_>,
    field: &Positioned<Field>,
) -> ServerResult<Value> {
    if !writes_rows(ctx) {
        let object: BoxFuture<'_, ServerResult<Value>> = Box::pin(row.resolve(ctx, field));
        return object.await;
    }
    let plan = Plan::<T>::of(ctx, &ctx.item.node);
    let (json, errors) = plan::write_rows(&plan, &[row]).await.into_single();
    add_errors(ctx, errors, false);
    raw_bytes(json)
}

fn writes_rows(ctx: &ContextSelectionSet<'_>) -> bool {
    ctx.data_opt::<WriteRows>().is_some_and(|write| write.0)
}

/// Reports errors of rows: of those of a list, whose index is part of the path, or of a single one.
fn add_errors(ctx: &ContextSelectionSet<'_>, errors: Vec<RowError>, list: bool) {
    for RowError { row, path, error } in errors {
        let error: ServerError = ctx.set_error_path(error);
        let index = list.then_some(PathSegment::Index(row));
        let path = error.path.into_iter().chain(index).chain(path).collect();
        ctx.add_error(ServerError { path, ..error });
    }
}

/// JSON that is part of a response as it is. It must not come from a client unless the database or serde_json has read it.
pub fn raw(json: String) -> Value {
    Value::Object([(Name::new(RAW_VALUE_TOKEN), Value::String(json))].into_iter().collect())
}

/// What the writers of values have written.
fn raw_bytes(json: Vec<u8>) -> ServerResult<Value> {
    Ok(raw(String::from_utf8(json).unwrap_or_else(|_| "null".to_owned())))
}

/// The text of a raw value.
pub fn raw_text(value: &Value) -> Option<&str> {
    match value {
        Value::Object(fields) if fields.len() == 1 => match fields.get(RAW_VALUE_TOKEN) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
