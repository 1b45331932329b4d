//! Plans: a selection of the fields of a row, read once for a page.

use std::mem::discriminant;
use std::ops::Range;

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::{ContextSelectionSet, Name, PathSegment, Positioned, ServerResult, Value};
use futures_util::future::{BoxFuture, join, join_all};

use super::field::{FieldValue, Output, Preparation, Prepared, RowError, Selected, Writer};
use super::{RowObject, WriteJson};
use crate::graphql::document::HIDDEN_KEY;
use crate::graphql::document::field_order::FieldOrder;

/// A selection of the fields of a row.
pub struct Plan<'a, T: RowObject> {
    slots: Vec<(&'a Name, Slot<'a, T>)>,
    columns: Vec<T::Column>,
}

/// Where the value of a selected field comes from.
enum Slot<'a, T: RowObject> {
    Plain(fn(&T, &mut Vec<u8>)),
    TypeName,
    Prepared(&'static Prepared<T>, Selected<'a>),
    /// The executor, which does not keep the order of what is selected below.
    Resolved(&'a Positioned<Field>, FieldOrder<'a>),
}

/// A selection of the fields of an object that is part of a row.
pub struct ObjectPlan<'a, T: RowObject> {
    slots: Vec<(&'a Name, ObjectSlot<'a, T>)>,
}

enum ObjectSlot<'a, T: RowObject> {
    Plain(fn(&T, &mut Vec<u8>)),
    TypeName,
    Prepared(Writer<'a, T>),
}

/// Rows that have been written, and where each of them is.
pub struct Written {
    output: Output,
    rows: Vec<Range<usize>>,
}

impl<'a, T: RowObject> Plan<'a, T> {
    /// The plan of a selection set. `@skip` and `@include` have been applied to it.
    pub fn of(ctx: &'a ContextSelectionSet<'a>, set: &'a SelectionSet) -> Self {
        let mut plan = Plan { slots: Vec::new(), columns: Vec::new() };
        each_field::<T>(ctx, set, &mut |field| plan.add(ctx, field));
        plan
    }

    fn add(&mut self, ctx: &'a ContextSelectionSet<'a>, field: &'a Positioned<Field>) {
        let key = &field.node.response_key().node;
        // A key that is there already is that of the same value, which has no selection of its own: see `WriteRows`.
        if key == HIDDEN_KEY || self.slots.iter().any(|(known, _)| *known == key) {
            return;
        }
        let name = field.node.name.node.as_str();
        let known = T::FIELDS.iter().find(|known| known.name == name);
        add_columns(&mut self.columns, known.map_or(&[], |known| known.columns));
        let selected = Selected { ctx, field };
        let slot = match known.map(|known| &known.value) {
            Some(FieldValue::Plain(write)) => Slot::Plain(*write),
            Some(FieldValue::Prepared(prepared)) if (prepared.is_written)(selected) => {
                Slot::Prepared(prepared, selected)
            }
            None if name == "__typename" => Slot::TypeName,
            _ => {
                let (env, below) = (ctx.query_env, &field.node.selection_set.node);
                Slot::Resolved(field, FieldOrder::of_selection_set(&env.fragments, below, &env.variables))
            }
        };
        self.slots.push((key, slot));
    }

    /// The columns that the selected fields read.
    pub fn columns(&self) -> &[T::Column] {
        &self.columns
    }

    /// Whether a field is left to the executor.
    pub fn needs_executor(&self) -> bool {
        self.slots.iter().any(|(_, slot)| matches!(slot, Slot::Resolved(..)))
    }
}

impl<'a, T: RowObject> ObjectPlan<'a, T> {
    /// The plan of the selection of a field.
    pub fn of(selected: Selected<'a>) -> Self {
        let mut slots: Vec<(&'a Name, ObjectSlot<'a, T>)> = Vec::new();
        each_field::<T>(selected.ctx, selected.set(), &mut |field| {
            let key = &field.node.response_key().node;
            if key == HIDDEN_KEY || slots.iter().any(|(known, _)| *known == key) {
                return;
            }
            let known = T::FIELDS.iter().find(|known| known.name == field.node.name.node.as_str());
            let slot = match known.map(|known| &known.value) {
                Some(FieldValue::Plain(write)) => ObjectSlot::Plain(*write),
                Some(FieldValue::Prepared(prepared)) => {
                    match (prepared.prepare)(Selected { ctx: selected.ctx, field }, &[]) {
                        Preparation::Now(writer) => ObjectSlot::Prepared(writer),
                        // The fields of an object that is part of a row come from the object alone.
                        Preparation::Later(_) => return,
                    }
                }
                _ => ObjectSlot::TypeName,
            };
            slots.push((key, slot));
        });
        ObjectPlan { slots }
    }

    /// Appends an object.
    pub fn write(&self, object: &T, json: &mut Vec<u8>) {
        json.push(b'{');
        for (index, (key, slot)) in self.slots.iter().enumerate() {
            write_key(index, key, json);
            match slot {
                ObjectSlot::Plain(write) => write(object, json),
                ObjectSlot::TypeName => T::type_name().write_json(json),
                ObjectSlot::Prepared(writer) => {
                    let mut output = Output { json: std::mem::take(json), errors: Vec::new() };
                    writer.write(0, object, &mut output);
                    *json = output.json;
                }
            }
        }
        json.push(b'}');
    }
}

/// Adds the columns that are not there yet.
pub fn add_columns<C: Copy>(columns: &mut Vec<C>, more: &[C]) {
    for column in more {
        if !columns.iter().any(|known| discriminant(known) == discriminant(column)) {
            columns.push(*column);
        }
    }
}

/// Calls a function with each selected field of this type, those of fragments included.
fn each_field<'a, T: RowObject>(
    ctx: &'a ContextSelectionSet<'a>,
    set: &'a SelectionSet,
    add: &mut impl FnMut(&'a Positioned<Field>),
) {
    for selection in &set.items {
        let (condition, below) = match &selection.node {
            Selection::Field(field) => {
                add(field);
                continue;
            }
            Selection::InlineFragment(fragment) => {
                let condition = fragment.node.type_condition.as_ref();
                (condition.map(|on| on.node.on.node.as_str()), &fragment.node.selection_set.node)
            }
            Selection::FragmentSpread(spread) => {
                let fragment = ctx.query_env.fragments.get(&spread.node.fragment_name.node);
                let Some(fragment) = fragment else { continue };
                let condition = fragment.node.type_condition.node.on.node.as_str();
                (Some(condition), &fragment.node.selection_set.node)
            }
        };
        if applies::<T>(ctx, condition) {
            each_field::<T>(ctx, below, add);
        }
    }
}

/// Whether a fragment on this type selects fields of the row.
fn applies<T: RowObject>(ctx: &ContextSelectionSet<'_>, condition: Option<&str>) -> bool {
    let Some(condition) = condition else { return true };
    let (name, implements) = (T::type_name(), &ctx.schema_env.registry.implements);
    name == condition || implements.get(&*name).is_some_and(|interfaces| interfaces.contains(condition))
}

/// Writes rows without the executor, which no field may need.
pub async fn write_rows<'r, T: RowObject>(
    plan: &'r Plan<'r, T>,
    ctx: &'r ContextSelectionSet<'r>,
    rows: &'r [&'r T],
) -> Written {
    write(plan, ctx, rows, Vec::new()).await
}

/// Writes rows, with the values that the executor resolves: for each row in turn, in the order of their slots.
pub async fn write<'r, T: RowObject>(
    plan: &'r Plan<'r, T>,
    ctx: &'r ContextSelectionSet<'r>,
    rows: &'r [&'r T],
    resolved: Vec<BoxFuture<'r, ServerResult<Option<Value>>>>,
) -> Written {
    let (writers, resolved) = join(prepare(plan, rows), join_all(resolved)).await;
    let mut resolved = resolved.into_iter();
    let mut written = Written { output: Output::default(), rows: Vec::with_capacity(rows.len()) };
    written.output.json.reserve(rows.len() * plan.slots.len() * 32);
    for (index, row) in rows.iter().enumerate() {
        let start = written.output.json.len();
        plan.write(ctx, (index, row), &writers, &mut resolved, &mut written.output);
        written.rows.push(start..written.output.json.len());
    }
    written
}

/// Prepares the fields that need it, all at the same time.
async fn prepare<'r, T: RowObject>(plan: &'r Plan<'r, T>, rows: &'r [&'r T]) -> Vec<Writer<'r, T>> {
    let preparations = plan.slots.iter().filter_map(|(_, slot)| match slot {
        Slot::Prepared(prepared, selected) => Some((prepared.prepare)(*selected, rows)),
        _ => None,
    });
    join_all(preparations.map(async |preparation| match preparation {
        Preparation::Now(writer) => writer,
        Preparation::Later(preparation) => preparation.await,
    }))
    .await
}

impl<T: RowObject> Plan<'_, T> {
    /// Appends a row.
    fn write(
        &self,
        ctx: &ContextSelectionSet<'_>,
        (index, row): (usize, &T),
        writers: &[Writer<'_, T>],
        resolved: &mut impl Iterator<Item = ServerResult<Option<Value>>>,
        output: &mut Output,
    ) {
        let mut writers = writers.iter();
        output.json.push(b'{');
        for (at, (key, slot)) in self.slots.iter().enumerate() {
            write_key(at, key, &mut output.json);
            match slot {
                Slot::Plain(write) => write(row, &mut output.json),
                Slot::TypeName => T::type_name().write_json(&mut output.json),
                Slot::Prepared(..) => {
                    if let Some(writer) = writers.next() {
                        writer.write(index, row, output);
                    }
                }
                Slot::Resolved(_, order) => {
                    let value = match resolved.next() {
                        Some(Ok(value)) => value,
                        Some(Err(error)) => {
                            // With the path of the executor.
                            ctx.add_error(error);
                            None
                        }
                        None => None,
                    };
                    let value = value.map(|mut value| {
                        order.sort(&mut value);
                        value
                    });
                    value.write_json(&mut output.json);
                }
            }
        }
        output.json.push(b'}');
    }

    /// The fields that the executor resolves.
    pub fn resolved(&self) -> impl Iterator<Item = &Positioned<Field>> {
        self.slots.iter().filter_map(|(_, slot)| match slot {
            Slot::Resolved(field, _) => Some(*field),
            _ => None,
        })
    }
}

impl Written {
    /// Appends one of the rows as the value of a field of another row.
    pub fn copy(&self, index: usize, row: usize, selected: Selected<'_>, output: &mut Output) {
        output.json.extend_from_slice(&self.output.json[self.rows[index].clone()]);
        for error in self.output.errors.iter().filter(|error| error.row == index) {
            let field = PathSegment::Field(selected.key().to_string());
            let path = std::iter::once(field).chain(error.path.iter().cloned()).collect();
            output.errors.push(RowError { row, path, error: error.error.clone() });
        }
    }

    /// The rows as a list, and the errors.
    pub fn into_list(self) -> (Vec<u8>, Vec<RowError>) {
        let mut list = Vec::with_capacity(self.output.json.len() + self.rows.len() + 2);
        list.push(b'[');
        for (index, row) in self.rows.into_iter().enumerate() {
            if index > 0 {
                list.push(b',');
            }
            list.extend_from_slice(&self.output.json[row]);
        }
        list.push(b']');
        (list, self.output.errors)
    }

    /// The only row, and the errors.
    pub fn into_single(self) -> (Vec<u8>, Vec<RowError>) {
        (self.output.json, self.output.errors)
    }
}

fn write_key(index: usize, key: &Name, json: &mut Vec<u8>) {
    if index > 0 {
        json.push(b',');
    }
    // A name has no character that JSON escapes.
    json.push(b'"');
    json.extend_from_slice(key.as_bytes());
    json.extend_from_slice(b"\":");
}
