//! Rows as JSON: pages and single rows are written straight into one text, in the order of their selection.
//!
//! The executor makes a future, a name and a value for every field of every row, and a tree of them that is serialised in the end.
//! For a page of a hundred rows that costs more than the database does. Here the selection is read once for the page. Fields that
//! come from the row alone are written by functions of a table; only the others, such as relations, are resolved by the executor,
//! all rows at once, so that loaders see all their keys. The text is handed to async-graphql as a raw JSON value.

mod write;

use std::borrow::Cow;

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::resolve_list;
use async_graphql::{ContainerType, ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value};
use async_graphql_value::RAW_VALUE_TOKEN;
use futures_util::future::{BoxFuture, join_all};

pub use self::write::WriteJson;
use crate::graphql::document::HIDDEN_KEY;
use crate::graphql::document::field_order::FieldOrder;

/// Whether rows of a request are written as JSON; part of its data. Otherwise they are left to the executor.
pub struct WriteRows(pub bool);

/// An object that is a row. `#[row_object]` implements it.
pub trait RowObject: ContainerType + Sized + 'static {
    /// The fields that come from the row alone.
    const FIELDS: &'static [RowField<Self>];
}

/// A field that comes from its row alone.
pub struct RowField<T: 'static> {
    /// As the schema calls it.
    pub name: &'static str,
    /// Appends its value.
    pub write: fn(&T, &mut Vec<u8>),
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
        let Some(plan) = Plan::<T>::of(ctx) else {
            let list = resolve_list(ctx, field, self.0.iter().copied(), Some(self.0.len()));
            let list: BoxFuture<'_, ServerResult<Value>> = Box::pin(list);
            return list.await;
        };
        let mut futures = Vec::with_capacity(self.0.len() * plan.resolved.len());
        for (index, row) in self.0.iter().enumerate() {
            futures.extend(plan.resolved.iter().map(|field| resolve_field(*row, ctx, Some(index), field)));
        }
        let mut resolved = join_all(futures).await.into_iter();
        let mut json = Vec::with_capacity(self.0.len() * plan.slots.len() * 24);
        json.push(b'[');
        for (index, row) in self.0.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            plan.write(ctx, row, &mut resolved, &mut json);
        }
        json.push(b']');
        raw(json)
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

async fn resolve_one<T: RowObject>(
    row: &T,
    ctx: &ContextSelectionSet<'_>,
    field: &Positioned<Field>,
) -> ServerResult<Value> {
    let Some(plan) = Plan::<T>::of(ctx) else {
        let object: BoxFuture<'_, ServerResult<Value>> = Box::pin(row.resolve(ctx, field));
        return object.await;
    };
    let futures = plan.resolved.iter().map(|field| resolve_field(row, ctx, None, field));
    let mut resolved = join_all(futures).await.into_iter();
    let mut json = Vec::with_capacity(plan.slots.len() * 24);
    plan.write(ctx, row, &mut resolved, &mut json);
    raw(json)
}

/// A field that the executor resolves. Boxed, because the types of rows contain each other.
fn resolve_field<'a, T: RowObject>(
    row: &'a T,
    ctx: &'a ContextSelectionSet<'a>,
    index: Option<usize>,
    field: &'a Positioned<Field>,
) -> BoxFuture<'a, ServerResult<Option<Value>>> {
    Box::pin(async move {
        match index {
            Some(index) => {
                let ctx_row = ctx.with_index(index);
                let ctx_field = ctx_row.with_field(field);
                row.resolve_field(&ctx_field).await
            }
            None => {
                let ctx_field = ctx.with_field(field);
                row.resolve_field(&ctx_field).await
            }
        }
    })
}

/// A selection of the fields of a row.
struct Plan<'a, T: 'static> {
    slots: Vec<(&'a Name, Slot<T>)>,
    /// The fields that the executor resolves, in the order of their slots.
    resolved: Vec<&'a Positioned<Field>>,
    /// For each of them the order of what is selected below it, which the executor does not keep.
    orders: Vec<FieldOrder<'a>>,
}

/// Where the value of a selected field comes from.
enum Slot<T: 'static> {
    Row(fn(&T, &mut Vec<u8>)),
    TypeName,
    /// The executor.
    Resolved,
}

impl<'a, T: RowObject> Plan<'a, T> {
    /// `None` if the rows of the request are left to the executor.
    fn of(ctx: &ContextSelectionSet<'a>) -> Option<Plan<'a, T>> {
        ctx.data_opt::<WriteRows>().filter(|write| write.0)?;
        let mut plan = Plan { slots: Vec::new(), resolved: Vec::new(), orders: Vec::new() };
        plan.add(ctx, &ctx.item.node);
        Some(plan)
    }

    /// Adds a selection set. `@skip` and `@include` have been applied to it.
    fn add(&mut self, ctx: &ContextSelectionSet<'a>, set: &'a SelectionSet) {
        let env = ctx.query_env;
        for selection in &set.items {
            let (condition, below) = match &selection.node {
                Selection::Field(field) => {
                    self.add_field(ctx, field);
                    continue;
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    (condition.map(|on| on.node.on.node.as_str()), &fragment.node.selection_set.node)
                }
                Selection::FragmentSpread(spread) => {
                    let Some(fragment) = env.fragments.get(&spread.node.fragment_name.node) else { continue };
                    let condition = fragment.node.type_condition.node.on.node.as_str();
                    (Some(condition), &fragment.node.selection_set.node)
                }
            };
            if applies::<T>(ctx, condition) {
                self.add(ctx, below);
            }
        }
    }

    fn add_field(&mut self, ctx: &ContextSelectionSet<'a>, field: &'a Positioned<Field>) {
        let key = &field.node.response_key().node;
        // A key that is there already is that of the same value, which has no selection of its own.
        if key == HIDDEN_KEY || self.slots.iter().any(|(known, _)| *known == key) {
            return;
        }
        let name = field.node.name.node.as_str();
        let slot = match T::FIELDS.iter().find(|known| known.name == name) {
            Some(known) => Slot::Row(known.write),
            None if name == "__typename" => Slot::TypeName,
            None => {
                let (env, below) = (ctx.query_env, &field.node.selection_set.node);
                self.orders.push(FieldOrder::of_selection_set(&env.fragments, below, &env.variables));
                self.resolved.push(field);
                Slot::Resolved
            }
        };
        self.slots.push((key, slot));
    }

    /// Appends a row, with the next values of those that the executor has resolved.
    fn write(
        &self,
        ctx: &ContextSelectionSet<'_>,
        row: &T,
        resolved: &mut impl Iterator<Item = ServerResult<Option<Value>>>,
        json: &mut Vec<u8>,
    ) {
        let mut orders = self.orders.iter();
        json.push(b'{');
        for (index, (key, slot)) in self.slots.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            // A name has no character that JSON escapes.
            json.push(b'"');
            json.extend_from_slice(key.as_bytes());
            json.extend_from_slice(b"\":");
            match slot {
                Slot::Row(write) => write(row, json),
                Slot::TypeName => T::type_name().write_json(json),
                Slot::Resolved => {
                    let value = match resolved.next() {
                        Some(Ok(value)) => value,
                        Some(Err(error)) => {
                            ctx.add_error(error);
                            None
                        }
                        None => None,
                    };
                    let value = value.zip(orders.next()).map(|(mut value, order)| {
                        order.sort(&mut value);
                        value
                    });
                    value.write_json(json);
                }
            }
        }
        json.push(b'}');
    }
}

/// Whether a fragment on this type selects fields of the row.
fn applies<T: RowObject>(ctx: &ContextSelectionSet<'_>, condition: Option<&str>) -> bool {
    let Some(condition) = condition else { return true };
    let (name, implements) = (T::type_name(), &ctx.schema_env.registry.implements);
    name == condition || implements.get(&*name).is_some_and(|interfaces| interfaces.contains(condition))
}

/// JSON that is part of a response as it is.
fn raw(json: Vec<u8>) -> ServerResult<Value> {
    let text = String::from_utf8(json).unwrap_or_else(|_| "null".to_owned());
    Ok(Value::Object([(Name::new(RAW_VALUE_TOKEN), Value::String(text))].into_iter().collect()))
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
