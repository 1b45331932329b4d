//! Objects of which nothing is selected.
//!
//! The executor answers null for an object when no field of it is left after `@skip`, `@include` and the conditions of
//! fragments. The specification wants an empty object, and null would say that there is none. So each selection set that
//! may come out empty is given one more field, under a key that no client can write, and the answer loses it again when
//! it is put in order.

use std::collections::HashMap;

use apollo_compiler::Schema;
use apollo_compiler::ast::OperationType as Kind;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType,
    Selection, SelectionSet,
};
use async_graphql::{Name, Positioned};

/// Key of the additional field.
pub const HIDDEN: &str = "";

/// Adds the field where it is needed. The document is valid.
pub(super) fn fill(schema: &Schema, document: &mut ExecutableDocument) {
    let filling = Filling { schema, lasting: lasting(schema, &document.fragments) };
    match &mut document.operations {
        DocumentOperations::Single(operation) => filling.operation(&mut operation.node),
        DocumentOperations::Multiple(operations) => {
            operations.values_mut().for_each(|operation| filling.operation(&mut operation.node));
        }
    }
    for fragment in document.fragments.values_mut() {
        let on = fragment.node.type_condition.node.on.node.clone();
        filling.below(&mut fragment.node.selection_set.node, &on);
    }
}

/// Fragments that select something of whatever object they apply to, with the types they are on.
type Lasting = HashMap<Name, (Name, bool)>;

fn lasting(schema: &Schema, fragments: &HashMap<Name, Positioned<FragmentDefinition>>) -> Lasting {
    let mut known = Filling { schema, lasting: HashMap::new() };
    // A fragment that spreads another is settled after it: there are no cycles, so each round settles one at least.
    while known.lasting.len() < fragments.len() {
        let before = known.lasting.len();
        for (name, fragment) in fragments {
            let set = &fragment.node.selection_set.node;
            let spreads_settled = spreads(set).iter().all(|name| known.lasting.contains_key(*name));
            if spreads_settled && !known.lasting.contains_key(name) {
                let on = fragment.node.type_condition.node.on.node.clone();
                let lasts = known.lasts(set, &on);
                known.lasting.insert(name.clone(), (on, lasts));
            }
        }
        if known.lasting.len() == before {
            break;
        }
    }
    known.lasting
}

/// The fragments spread in a set, short of those in the sets of its fields.
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

struct Filling<'a> {
    schema: &'a Schema,
    lasting: Lasting,
}

impl Filling<'_> {
    fn operation(&self, operation: &mut OperationDefinition) {
        let kind = match operation.ty {
            OperationType::Query => Kind::Query,
            OperationType::Mutation => Kind::Mutation,
            OperationType::Subscription => Kind::Subscription,
        };
        let Some(root) = self.schema.root_operation(kind) else { return };
        match kind {
            // One field, always.
            Kind::Subscription => self.below(&mut operation.selection_set.node, root),
            _ => self.set(&mut operation.selection_set, root),
        }
    }

    /// The selection set of an object or root of type `on`.
    fn set(&self, set: &mut Positioned<SelectionSet>, on: &str) {
        self.below(&mut set.node, on);
        if !self.lasts(&set.node, on) {
            let name = |text| Positioned::new(Name::new(text), set.pos);
            let hidden = Field {
                alias: Some(name(HIDDEN)),
                name: name("__typename"),
                arguments: Vec::new(),
                directives: Vec::new(),
                selection_set: Positioned::default(),
            };
            let hidden = Selection::Field(Positioned::new(hidden, set.pos));
            set.node.items.push(Positioned::new(hidden, set.pos));
        }
    }

    /// The sets of the fields of a set.
    fn below(&self, set: &mut SelectionSet, on: &str) {
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
                    self.below(&mut fragment.selection_set.node, narrowed.as_deref().unwrap_or(on));
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    /// Whether the set has a field of every object of type `on`, whatever the variables.
    fn lasts(&self, set: &SelectionSet, on: &str) -> bool {
        set.items.iter().filter(|selection| selection.node.directives().is_empty()).any(|selection| {
            match &selection.node {
                Selection::Field(_) => true,
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let to = condition.map_or(on, |condition| condition.node.on.node.as_str());
                    self.applies(to, on) && self.lasts(&fragment.node.selection_set.node, to)
                }
                Selection::FragmentSpread(spread) => self
                    .lasting
                    .get(&spread.node.fragment_name.node)
                    .is_some_and(|(to, lasts)| *lasts && self.applies(to, on)),
            }
        })
    }

    fn applies(&self, to: &str, on: &str) -> bool {
        to == on || self.schema.is_subtype(to, on)
    }
}
