//! The order of the fields of a response.
//!
//! The executor resolves the fields of an object concurrently and writes each one when it is resolved. The specification
//! requires the order of the selection set.

use std::collections::HashMap;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, FragmentDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value, Variables};
use async_graphql_value::{ConstValue, Value as Written};

use crate::graphql::document::HIDDEN_KEY;

/// The order of the fields of one selection set.
#[derive(Default)]
pub struct FieldOrder<'a> {
    fields: IndexMap<&'a Name, FieldOrder<'a>>,
    /// The selection set has the field that [`super::empty`] adds, which is removed.
    hidden: bool,
}

impl<'a> FieldOrder<'a> {
    /// The order for an operation with these coerced variables.
    pub fn of(document: &'a ExecutableDocument, operation_name: Option<&str>, variables: &Variables) -> Self {
        let mut order = FieldOrder::default();
        let mut operations = document.operations.iter();
        let operation = match operation_name {
            Some(wanted) => operations.find(|(name, _)| name.is_some_and(|name| name == wanted)),
            None => operations.next(),
        };
        if let Some((_, operation)) = operation {
            order.add(&document.fragments, &operation.node.selection_set.node, variables);
        }
        order
    }

    /// The order for a single selection set.
    pub fn of_selection_set(
        fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
        set: &'a SelectionSet,
        variables: &Variables,
    ) -> Self {
        let mut order = FieldOrder::default();
        order.add(fragments, set, variables);
        order
    }

    /// Adds a selection set. Fragments are added whatever their type condition, because the type of an object in the response is
    /// not known here.
    fn add(
        &mut self,
        fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
        set: &'a SelectionSet,
        variables: &Variables,
    ) {
        let selected = set.items.iter().filter(|selection| {
            !selection.node.directives().iter().any(|directive| is_excluded(&directive.node, variables))
        });
        for selection in selected {
            match &selection.node {
                Selection::Field(field) if field.node.response_key().node == HIDDEN_KEY => self.hidden = true,
                Selection::Field(field) => {
                    let below = self.fields.entry(&field.node.response_key().node).or_default();
                    below.add(fragments, &field.node.selection_set.node, variables);
                }
                Selection::InlineFragment(fragment) => {
                    self.add(fragments, &fragment.node.selection_set.node, variables);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                        self.add(fragments, &fragment.node.selection_set.node, variables);
                    }
                }
            }
        }
    }

    /// Sorts the fields of a value, at every level.
    pub fn sort(&self, value: &mut Value) {
        match value {
            Value::List(items) => items.iter_mut().for_each(|item| self.sort(item)),
            Value::Object(fields) => {
                if self.hidden {
                    fields.swap_remove(HIDDEN_KEY);
                }
                let mut sorted = 0;
                for (key, below) in &self.fields {
                    let Some(from) = fields.get_index_of(*key) else { continue };
                    // A swap suffices: the displaced field is sorted later.
                    fields.swap_indices(from, sorted);
                    if let Some((_, value)) = fields.get_index_mut(sorted) {
                        below.sort(value);
                    }
                    sorted += 1;
                }
            }
            _ => {}
        }
    }
}

/// Whether `@skip` or `@include` excludes a selection from the response.
fn is_excluded(directive: &Directive, variables: &Variables) -> bool {
    let excluding = match directive.name.node.as_str() {
        "skip" => true,
        "include" => false,
        _ => return false,
    };
    match directive.get_argument("if").map(|condition| &condition.node) {
        Some(Written::Boolean(condition)) => *condition == excluding,
        Some(Written::Variable(name)) => variables.get(name) == Some(&ConstValue::Boolean(excluding)),
        _ => false,
    }
}
