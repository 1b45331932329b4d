//! Objects whose selection set is empty after `@skip`, `@include` and type conditions.
//!
//! The executor returns null for such an object, and the specification requires an empty object. So each selection set that may
//! become empty gets one more field, under a key that no client can write. [`super::field_order`] removes it from the
//! response.

use std::collections::HashMap;

use apollo_compiler::Schema;
use apollo_compiler::ast::OperationType as Kind;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType,
    Selection, SelectionSet,
};
use async_graphql::{Name, Positioned};

/// Response key of the additional field.
pub const HIDDEN_KEY: &str = "";

/// Adds the field to a valid document where it is needed.
pub(super) fn add_hidden_fields(schema: &Schema, document: &mut ExecutableDocument) {
    let filler = Filler { schema, fragments: nonempty_fragments(schema, &document.fragments) };
    match &mut document.operations {
        DocumentOperations::Single(operation) => filler.operation(&mut operation.node),
        DocumentOperations::Multiple(operations) => {
            operations.values_mut().for_each(|operation| filler.operation(&mut operation.node));
        }
    }
    for fragment in document.fragments.values_mut() {
        let on = fragment.node.type_condition.node.on.node.clone();
        filler.subselections(&mut fragment.node.selection_set.node, &on);
    }
}

/// The type condition of each fragment, and whether the fragment selects a field of every object it applies to.
type NonemptyFragments = HashMap<Name, (Name, bool)>;

fn nonempty_fragments(
    schema: &Schema,
    fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
) -> NonemptyFragments {
    let mut known = Filler { schema, fragments: HashMap::new() };
    // A fragment is decided after those that it spreads. There are no cycles, so each round decides at least one.
    while known.fragments.len() < fragments.len() {
        let before = known.fragments.len();
        for (name, fragment) in fragments {
            let set = &fragment.node.selection_set.node;
            let spreads_decided = spreads(set).iter().all(|name| known.fragments.contains_key(*name));
            if spreads_decided && !known.fragments.contains_key(name) {
                let on = fragment.node.type_condition.node.on.node.clone();
                let is_nonempty = known.is_nonempty(set, &on);
                known.fragments.insert(name.clone(), (on, is_nonempty));
            }
        }
        if known.fragments.len() == before {
            break;
        }
    }
    known.fragments
}

/// The fragments spread in a selection set itself, without those in the selection sets of its fields.
fn spreads(set: &SelectionSet) -> Vec<&Name> {
    let mut names = Vec::new();
    for selection in &set.items {
        match &selection.node {
            Selection::Field(_) => {}
            Selection::FragmentSpread(spread) => names.push(&spread.node.fragment_name.node),
            Selection::InlineFragment(fragment) => names.extend(spreads(&fragment.node.selection_set.node)),
        }
    }
    names
}

struct Filler<'a> {
    schema: &'a Schema,
    fragments: NonemptyFragments,
}

impl Filler<'_> {
    fn operation(&self, operation: &mut OperationDefinition) {
        let kind = match operation.ty {
            OperationType::Query => Kind::Query,
            OperationType::Mutation => Kind::Mutation,
            OperationType::Subscription => Kind::Subscription,
        };
        let Some(root) = self.schema.root_operation(kind) else { return };
        match kind {
            // A subscription has exactly one field.
            Kind::Subscription => self.subselections(&mut operation.selection_set.node, root),
            _ => self.set(&mut operation.selection_set, root),
        }
    }

    /// Fills the selection set of an object of type `on`.
    fn set(&self, set: &mut Positioned<SelectionSet>, on: &str) {
        self.subselections(&mut set.node, on);
        if !self.is_nonempty(&set.node, on) {
            let name = |text| Positioned::new(Name::new(text), set.pos);
            let hidden = Field {
                alias: Some(name(HIDDEN_KEY)),
                name: name("__typename"),
                arguments: Vec::new(),
                directives: Vec::new(),
                selection_set: Positioned::default(),
            };
            let hidden = Selection::Field(Positioned::new(hidden, set.pos));
            set.node.items.push(Positioned::new(hidden, set.pos));
        }
    }

    /// Fills the selection sets of the fields of a selection set.
    fn subselections(&self, set: &mut SelectionSet, on: &str) {
        for selection in &mut set.items {
            match &mut selection.node {
                Selection::Field(field) if field.node.selection_set.node.items.is_empty() => {}
                Selection::Field(field) => {
                    let field = &mut field.node;
                    let of = self.schema.type_field(on, &field.name.node);
                    let of = of.map(|definition| definition.ty.inner_named_type().as_str());
                    self.set(&mut field.selection_set, of.unwrap_or_default());
                }
                Selection::InlineFragment(fragment) => {
                    let fragment = &mut fragment.node;
                    let narrowed =
                        fragment.type_condition.as_ref().map(|condition| condition.node.on.node.clone());
                    self.subselections(&mut fragment.selection_set.node, narrowed.as_deref().unwrap_or(on));
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    /// Whether a selection set selects a field of every object of type `on`, for all values of the variables.
    fn is_nonempty(&self, set: &SelectionSet, on: &str) -> bool {
        set.items.iter().filter(|selection| selection.node.directives().is_empty()).any(|selection| {
            match &selection.node {
                Selection::Field(_) => true,
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let to = condition.map_or(on, |condition| condition.node.on.node.as_str());
                    self.applies(to, on) && self.is_nonempty(&fragment.node.selection_set.node, to)
                }
                Selection::FragmentSpread(spread) => self
                    .fragments
                    .get(&spread.node.fragment_name.node)
                    .is_some_and(|(to, is_nonempty)| *is_nonempty && self.applies(to, on)),
            }
        })
    }

    fn applies(&self, to: &str, on: &str) -> bool {
        to == on || self.schema.is_subtype(to, on)
    }
}
