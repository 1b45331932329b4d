//! Fields with the same response key are merged, as the specification says: into one field with the selections of all.
//!
//! The executor would resolve each of them and merge the values, which it cannot do with rows that are written as JSON. Clients whose
//! components have a fragment each select most objects several times, so the document is rewritten once, when it is read. What is
//! left are fields under `@skip` or `@include`, of which only a request tells whether both are part of the response.

use std::collections::HashMap;

use apollo_compiler::Schema;
use apollo_compiler::schema::ExtendedType;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, FragmentDefinition, InlineFragment, OperationDefinition,
    OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned};

/// What became of a document.
#[derive(Default)]
pub(super) struct Merged {
    /// Whether there are fields with one key that could not be merged.
    pub(super) left: bool,
    /// The number of selections. Each has those of its fragments.
    pub(super) selections: usize,
}

/// Merges the fields of a valid document.
pub(super) fn merge_fields(schema: &Schema, document: &mut ExecutableDocument) -> Merged {
    let merger = Merger { schema, fragments: &document.fragments };
    let mut result = Merged::default();
    let mut operation = |operation: &mut OperationDefinition| {
        let Some(root) = schema.root_operation(kind(operation.ty)) else { return };
        let set = &mut operation.selection_set.node;
        set.items = merger.merged(root, std::mem::take(&mut set.items));
        result.left |= merger.has_twice(root, set);
        result.selections += count(set);
    };
    match &mut document.operations {
        DocumentOperations::Single(single) => operation(&mut single.node),
        DocumentOperations::Multiple(several) => {
            several.values_mut().for_each(|each| operation(&mut each.node));
        }
    }
    // Each of them is part of the operations now.
    document.fragments.clear();
    result
}

fn count(set: &SelectionSet) -> usize {
    let of = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(field) => 1 + count(&field.node.selection_set.node),
        Selection::InlineFragment(fragment) => 1 + count(&fragment.node.selection_set.node),
        Selection::FragmentSpread(_) => 1,
    };
    set.items.iter().map(of).sum()
}

fn kind(operation: OperationType) -> apollo_compiler::ast::OperationType {
    match operation {
        OperationType::Query => apollo_compiler::ast::OperationType::Query,
        OperationType::Mutation => apollo_compiler::ast::OperationType::Mutation,
        OperationType::Subscription => apollo_compiler::ast::OperationType::Subscription,
    }
}

struct Merger<'a> {
    schema: &'a Schema,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
}

impl Merger<'_> {
    /// The selections of an object or interface with each key once, at every level.
    fn merged(&self, parent: &str, selections: Vec<Positioned<Selection>>) -> Vec<Positioned<Selection>> {
        let mut merged = Vec::with_capacity(selections.len());
        self.add(parent, selections, &mut merged);
        for selection in &mut merged {
            match &mut selection.node {
                Selection::Field(field) => {
                    if let Some(of) = self.type_of(parent, &field.node) {
                        let set = &mut field.node.selection_set.node;
                        set.items = self.merged(of, std::mem::take(&mut set.items));
                    }
                }
                Selection::InlineFragment(fragment) => {
                    let on = condition(&fragment.node).map_or_else(|| parent.to_owned(), str::to_owned);
                    let set = &mut fragment.node.selection_set.node;
                    set.items = self.merged(&on, std::mem::take(&mut set.items));
                }
                Selection::FragmentSpread(_) => {}
            }
        }
        merged
    }

    /// Adds selections to those of the same object. Fragments become part of it, or inline fragments.
    fn add(
        &self,
        parent: &str,
        selections: Vec<Positioned<Selection>>,
        merged: &mut Vec<Positioned<Selection>>,
    ) {
        for selection in selections {
            let fragment = match selection.node {
                Selection::Field(field) => {
                    add_field(field, merged);
                    continue;
                }
                Selection::InlineFragment(fragment) => fragment,
                Selection::FragmentSpread(spread) => {
                    let Some(definition) = self.fragments.get(&spread.node.fragment_name.node) else {
                        continue;
                    };
                    let fragment = InlineFragment {
                        type_condition: Some(definition.node.type_condition.clone()),
                        directives: spread.node.directives,
                        selection_set: definition.node.selection_set.clone(),
                    };
                    Positioned::new(fragment, spread.pos)
                }
            };
            if !fragment.node.directives.is_empty() {
                merged.push(Positioned::new(Selection::InlineFragment(fragment), selection.pos));
            } else if condition(&fragment.node).is_none_or(|on| self.is_always(parent, on)) {
                self.add(parent, fragment.node.selection_set.node.items, merged);
            } else {
                self.add_fragment(fragment, merged);
            }
        }
    }

    /// Adds a fragment on a type that not every object has. Its fields are merged with those of the same key in other fragments on
    /// the type; the rest keeps its place, because the order of the response is that of the selections.
    fn add_fragment(
        &self,
        mut fragment: Positioned<InlineFragment>,
        merged: &mut Vec<Positioned<Selection>>,
    ) {
        let Some(on) = condition(&fragment.node).map(str::to_owned) else { return };
        let mut own = Vec::new();
        let set = &mut fragment.node.selection_set.node;
        self.add(&on, std::mem::take(&mut set.items), &mut own);
        for selection in own {
            let Selection::Field(field) = selection.node else {
                set.items.push(selection);
                continue;
            };
            let mut others = merged.iter_mut().filter_map(|selection| match &mut selection.node {
                Selection::InlineFragment(other)
                    if other.node.directives.is_empty() && condition(&other.node) == Some(&*on) =>
                {
                    Some(&mut other.node.selection_set.node.items)
                }
                _ => None,
            });
            match others.find_map(|items| same_field(&field, items)) {
                Some(other) => {
                    let more = field.node.selection_set.node.items;
                    other.node.selection_set.node.items.extend(more);
                }
                None => set.items.push(Positioned::new(Selection::Field(field), selection.pos)),
            }
        }
        if !set.items.is_empty() {
            let pos = fragment.pos;
            merged.push(Positioned::new(Selection::InlineFragment(fragment), pos));
        }
    }

    /// Whether every object of the parent type is of a type.
    fn is_always(&self, parent: &str, on: &str) -> bool {
        parent == on || self.schema.is_subtype(on, parent)
    }

    /// The name of the type of a field that has a selection set.
    fn type_of(&self, parent: &str, field: &Field) -> Option<&str> {
        let has_selections = !field.selection_set.node.items.is_empty();
        let definition = self.schema.type_field(parent, &field.name.node).ok().filter(|_| has_selections);
        definition.map(|definition| definition.ty.inner_named_type().as_str())
    }

    /// Whether an object has a field with a selection set twice, at any level. Directives are not taken into account, so the
    /// answer may be yes without need.
    fn has_twice(&self, parent: &str, set: &SelectionSet) -> bool {
        let objects: Vec<&str> = match self.schema.types.get(parent) {
            Some(ExtendedType::Interface(_)) => {
                let names = self.schema.types.keys();
                names.map(|name| name.as_str()).filter(|name| self.schema.is_subtype(parent, name)).collect()
            }
            _ => vec![parent],
        };
        objects.into_iter().any(|object| {
            let mut fields: Vec<&Field> = Vec::new();
            self.collect(object, set, &mut fields);
            let twice = fields.iter().enumerate().any(|(index, field)| {
                fields[..index].iter().any(|other| other.response_key().node == field.response_key().node)
            });
            twice
                || fields.iter().any(|field| {
                    let of = self.type_of(object, field);
                    of.is_some_and(|of| self.has_twice(of, &field.selection_set.node))
                })
        })
    }

    /// Collects the fields of an object that have a selection set.
    fn collect<'s>(&self, object: &str, set: &'s SelectionSet, fields: &mut Vec<&'s Field>) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) if field.node.selection_set.node.items.is_empty() => {}
                Selection::Field(field) => fields.push(&field.node),
                Selection::InlineFragment(fragment) => {
                    if condition(&fragment.node).is_none_or(|on| self.is_always(object, on)) {
                        self.collect(object, &fragment.node.selection_set.node, fields);
                    }
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }
}

fn condition(fragment: &InlineFragment) -> Option<&str> {
    fragment.type_condition.as_ref().map(|condition| condition.node.on.node.as_str())
}

/// Adds a field, or its selections to those of the field with its key. Both are part of every response or of none.
fn add_field(field: Positioned<Field>, merged: &mut Vec<Positioned<Selection>>) {
    match same_field(&field, merged) {
        Some(other) => other.node.selection_set.node.items.extend(field.node.selection_set.node.items),
        None => {
            let pos = field.pos;
            merged.push(Positioned::new(Selection::Field(field), pos));
        }
    }
}

/// The field with the key of another one, if neither has a directive.
fn same_field<'a>(
    field: &Positioned<Field>,
    selections: &'a mut [Positioned<Selection>],
) -> Option<&'a mut Positioned<Field>> {
    selections.iter_mut().find_map(|selection| match &mut selection.node {
        Selection::Field(other) => (field.node.directives.is_empty()
            && other.node.directives.is_empty()
            && other.node.response_key().node == field.node.response_key().node)
            .then_some(other),
        _ => None,
    })
}
