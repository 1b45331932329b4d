//! Puts the fields of an answer into the order in which they were asked for.
//!
//! The executor runs the fields of an object side by side and writes each down as it ends. The specification wants them
//! in the order of the selection, and so does whoever reads an answer.

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, Value};

/// Sorts the fields of `data`, at every level, as the operation's selection set has them.
pub fn sort(document: &ExecutableDocument, operation_name: Option<&str>, data: &mut Value) {
    let mut operations = document.operations.iter();
    let operation = match operation_name {
        Some(wanted) => operations.find(|(name, _)| name.is_some_and(|name| name == wanted)),
        None => operations.next(),
    };
    if let Some((_, operation)) = operation {
        sort_value(document, &[&operation.node.selection_set.node], data);
    }
}

fn sort_value(document: &ExecutableDocument, sets: &[&SelectionSet], value: &mut Value) {
    match value {
        Value::List(items) => items.iter_mut().for_each(|item| sort_value(document, sets, item)),
        Value::Object(fields) => {
            let mut asked = Vec::new();
            sets.iter().for_each(|set| collect(document, set, &mut asked));
            for (place, (key, subsets)) in asked.iter().enumerate() {
                // Fields before `place` are settled, so moving this one there displaces only unsettled ones.
                let Some(from) = fields.get_index_of(*key) else { continue };
                let settled =
                    asked[..place].iter().filter(|(earlier, _)| fields.contains_key(*earlier)).count();
                fields.move_index(from, settled);
                if let Some(value) = fields.get_mut(*key)
                    && !subsets.is_empty()
                {
                    sort_value(document, subsets, value);
                }
            }
        }
        _ => {}
    }
}

/// The keys a selection set answers with, in order, each with all its own selection sets. Fragments count whatever type
/// they are for: those of other types have no keys in the answer.
fn collect<'a>(
    document: &'a ExecutableDocument,
    set: &'a SelectionSet,
    asked: &mut Vec<(&'a Name, Vec<&'a SelectionSet>)>,
) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                let key = &field.node.response_key().node;
                let place = asked.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                    asked.push((key, Vec::new()));
                    asked.len() - 1
                });
                if !field.node.selection_set.node.items.is_empty() {
                    asked[place].1.push(&field.node.selection_set.node);
                }
            }
            Selection::InlineFragment(fragment) => {
                collect(document, &fragment.node.selection_set.node, asked)
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect(document, &fragment.node.selection_set.node, asked);
                }
            }
        }
    }
}
