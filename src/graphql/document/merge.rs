//! Whether selections have to be merged: fields with the same response key whose selection sets are both part of the response.
//!
//! The executor resolves each of them and merges the values. It cannot merge what is written as JSON, so such a document, which
//! is rare, is left to the executor entirely.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{ExecutableDocument, Field, FragmentDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// Whether an operation of the document has two fields to merge. Type conditions and directives are not taken into account, so
/// the answer may be yes without need.
pub(super) fn merges_fields(document: &ExecutableDocument) -> bool {
    let mut operations = document.operations.iter();
    operations.any(|(_, operation)| merges(&document.fragments, &operation.node.selection_set.node))
}

fn merges(fragments: &Fragments, set: &SelectionSet) -> bool {
    let (mut keys, mut fields) = (HashSet::new(), Vec::new());
    collect(fragments, set, &mut fields);
    fields.iter().any(|field| !keys.insert(field.response_key().node.as_str()))
        || fields.iter().any(|field| merges(fragments, &field.selection_set.node))
}

/// Collects the fields of a selection set that have one of their own, those of fragments included. The limits on a document
/// bound their number.
fn collect<'a>(fragments: &'a Fragments, set: &'a SelectionSet, fields: &mut Vec<&'a Field>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) if field.node.selection_set.node.items.is_empty() => {}
            Selection::Field(field) => fields.push(&field.node),
            Selection::InlineFragment(fragment) => {
                collect(fragments, &fragment.node.selection_set.node, fields);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                    collect(fragments, &fragment.node.selection_set.node, fields);
                }
            }
        }
    }
}
