//! Plans: a selection of the fields of a row, read once for a page.

use std::mem::discriminant;
use std::ops::Range;

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::{ContextSelectionSet, Name, PathSegment, Positioned};
use futures_util::future::join_all;

use super::field::{FieldValue, Output, Preparation, Prepare, RowError, Selected, Writer};
use super::{RowObject, WriteJson};
use crate::graphql::document::HIDDEN_KEY;

/// A selection of the fields of a row.
pub struct Plan<'a, T: RowObject> {
    slots: Vec<(&'a Name, Slot<'a, T>)>,
    columns: Vec<T::Column>,
}

/// Where the value of a selected field comes from.
enum Slot<'a, T: RowObject> {
    Plain(fn(&T, &mut Vec<u8>)),
    TypeName,
    Prepared(Prepare<T>, Selected<'a>),
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

/// Rows that have been written, and where each of them is: the range of its text, and that of its errors.
pub struct Written {
    output: Output,
    rows: Vec<(Range<usize>, Range<usize>)>,
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
        let known = T::FIELDS.iter().find(|known| known.name == field.node.name.node.as_str());
        add_columns(&mut self.columns, known.map_or(&[], |known| known.columns));
        let selected = Selected { ctx, field };
        let slot = match known.map(|known| &known.value) {
            Some(FieldValue::Plain(write)) => Slot::Plain(*write),
            Some(FieldValue::Prepared(prepare)) => Slot::Prepared(*prepare, selected),
            // The only field of a valid selection that is not in the table.
            None => Slot::TypeName,
        };
        self.slots.push((key, slot));
    }

    /// The columns that the selected fields read.
    pub fn columns(&self) -> &[T::Column] {
        &self.columns
    }

    /// The selections of a field that is prepared.
    pub fn prepared(&self, name: &str) -> impl Iterator<Item = Selected<'a>> {
        self.slots.iter().filter_map(move |(_, slot)| match slot {
            Slot::Prepared(_, selected) if selected.field.node.name.node == name => Some(*selected),
            _ => None,
        })
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
                Some(FieldValue::Prepared(prepare)) => {
                    match prepare(Selected { ctx: selected.ctx, field }, &[]) {
                        Preparation::Now(writer) => ObjectSlot::Prepared(writer),
                        // The fields of an object that is part of a row come from the object alone.
                        Preparation::Later(_) => return,
                    }
                }
                None => ObjectSlot::TypeName,
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

/// Writes rows.
pub async fn write_rows<'r, T: RowObject>(plan: &'r Plan<'r, T>, rows: &'r [&'r T]) -> Written {
    let writers = prepare(plan, rows).await;
    let mut written = Written { output: Output::default(), rows: Vec::with_capacity(rows.len()) };
    written.output.json.reserve(rows.len() * plan.slots.len() * 32);
    for (index, row) in rows.iter().enumerate() {
        let (start, errors) = (written.output.json.len(), written.output.errors.len());
        plan.write((index, row), &writers, &mut written.output);
        written.rows.push((start..written.output.json.len(), errors..written.output.errors.len()));
    }
    written
}

/// Prepares the fields that need it, all at the same time.
async fn prepare<'r, T: RowObject>(plan: &'r Plan<'r, T>, rows: &'r [&'r T]) -> Vec<Writer<'r, T>> {
    let preparations = plan.slots.iter().filter_map(|(_, slot)| match slot {
        Slot::Prepared(prepare, selected) => Some(prepare(*selected, rows)),
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
    fn write(&self, (index, row): (usize, &T), writers: &[Writer<'_, T>], output: &mut Output) {
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
            }
        }
        output.json.push(b'}');
    }
}

impl Written {
    /// Appends one of the rows as the value of a field of another row.
    pub fn copy(&self, index: usize, row: usize, selected: Selected<'_>, output: &mut Output) {
        self.copy_item(index, row, selected, None, output);
    }

    /// Appends some of the rows as the value of a field of another row.
    pub fn copy_list(&self, rows: Range<usize>, row: usize, selected: Selected<'_>, output: &mut Output) {
        let bytes = |index: usize| self.rows[index].0.len() + 1;
        output.json.reserve(rows.clone().map(bytes).sum::<usize>() + 2);
        output.json.push(b'[');
        for (item, index) in rows.enumerate() {
            if item > 0 {
                output.json.push(b',');
            }
            self.copy_item(index, row, selected, Some(item), output);
        }
        output.json.push(b']');
    }

    fn copy_item(
        &self,
        index: usize,
        row: usize,
        selected: Selected<'_>,
        item: Option<usize>,
        output: &mut Output,
    ) {
        let (json, errors) = self.rows[index].clone();
        output.json.extend_from_slice(&self.output.json[json]);
        for RowError { path, error, .. } in &self.output.errors[errors] {
            let field = PathSegment::Field(selected.key().to_string());
            let start = std::iter::once(field).chain(item.map(PathSegment::Index));
            let path = start.chain(path.iter().cloned()).collect();
            output.errors.push(RowError { row, path, error: error.clone() });
        }
    }

    /// The rows as a list, and the errors.
    pub fn into_list(self) -> (Vec<u8>, Vec<RowError>) {
        let mut list = Vec::with_capacity(self.output.json.len() + self.rows.len() + 2);
        list.push(b'[');
        for (index, (row, _)) in self.rows.into_iter().enumerate() {
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
