//! Puts the fields of an answer into the order in which they were asked for.
//!
//! The executor runs the fields of an object side by side and writes each down as it ends. The specification wants them
//! in the order of the selection, and so does whoever reads an answer.

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{Directive, ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, Value, Variables};
use async_graphql_value::{ConstValue, Value as Written};

use crate::graphql::document::HIDDEN;

/// The order of the fields below one selection.
#[derive(Default)]
pub struct FieldOrder<'a> {
    below: IndexMap<&'a Name, FieldOrder<'a>>,
    /// A field was added that nobody asked for, and is taken out again.
    hidden: bool,
}

impl<'a> FieldOrder<'a> {
    /// The order an operation asks for with these variables, which are coerced.
    pub fn of(document: &'a ExecutableDocument, operation_name: Option<&str>, variables: &Variables) -> Self {
        let mut order = FieldOrder::default();
        let mut operations = document.operations.iter();
        let operation = match operation_name {
            Some(wanted) => operations.find(|(name, _)| name.is_some_and(|name| name == wanted)),
            None => operations.next(),
        };
        if let Some((_, operation)) = operation {
            order.add(document, &operation.node.selection_set.node, variables);
        }
        order
    }

    /// Adds a selection set. Fragments count whatever type they are for: which one an object of the answer has is not known.
    fn add(&mut self, document: &'a ExecutableDocument, set: &'a SelectionSet, variables: &Variables) {
        let selected = set.items.iter().filter(|selection| {
            !selection.node.directives().iter().any(|directive| leaves_out(&directive.node, variables))
        });
        for selection in selected {
            match &selection.node {
                Selection::Field(field) if field.node.response_key().node == HIDDEN => self.hidden = true,
                Selection::Field(field) => {
                    let below = self.below.entry(&field.node.response_key().node).or_default();
                    below.add(document, &field.node.selection_set.node, variables);
                }
                Selection::InlineFragment(fragment) => {
                    self.add(document, &fragment.node.selection_set.node, variables);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                        self.add(document, &fragment.node.selection_set.node, variables);
                    }
                }
            }
        }
    }

    /// Sorts the fields of `value`, at every level.
    pub fn sort(&self, value: &mut Value) {
        match value {
            Value::List(items) => items.iter_mut().for_each(|item| self.sort(item)),
            Value::Object(fields) => {
                if self.hidden {
                    fields.swap_remove(HIDDEN);
                }
                let mut settled = 0;
                for (key, below) in &self.below {
                    let Some(from) = fields.get_index_of(*key) else { continue };
                    // A swap is enough: what it displaces is settled later.
                    fields.swap_indices(from, settled);
                    if let Some((_, value)) = fields.get_index_mut(settled) {
                        below.sort(value);
                    }
                    settled += 1;
                }
            }
            _ => {}
        }
    }
}

/// Whether a directive leaves a selection out of the answer.
fn leaves_out(directive: &Directive, variables: &Variables) -> bool {
    let out = match directive.name.node.as_str() {
        "skip" => true,
        "include" => false,
        _ => return false,
    };
    match directive.get_argument("if").map(|condition| &condition.node) {
        Some(Written::Boolean(condition)) => *condition == out,
        Some(Written::Variable(name)) => variables.get(name) == Some(&ConstValue::Boolean(out)),
        _ => false,
    }
}
