//! What validation leaves open about values that stand in a document: scalars of our own, variables and repeated fields
//! inside of input objects.

use std::collections::HashSet;

use apollo_compiler::ast::{Argument, DirectiveList, InputValueDefinition, Type, Value, VariableDefinition};
use apollo_compiler::executable::{ExecutableDocument, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{Name, Node, Schema};
use async_graphql::ServerError;

use super::{MAX_PROBLEMS, convert, invalid, place};
use crate::graphql::types::scalar;

/// Variables of a nullable type that stand where null is not taken, each with the name of its operation. Validation lets
/// them pass when they have a default, and null may be sent all the same.
pub(super) type NeverNull = HashSet<(Option<Name>, Name)>;

/// Looks at every value of a document that is valid otherwise.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED`.
pub(super) fn check(schema: &Schema, document: &ExecutableDocument) -> Result<NeverNull, Vec<ServerError>> {
    let (mut problems, mut never_null) = (Vec::new(), NeverNull::new());
    for operation in document.operations.iter() {
        let variables = &operation.variables;
        let mut checking = Checking {
            schema,
            document,
            variables,
            seen: HashSet::new(),
            never_null: HashSet::new(),
            problems: Vec::new(),
        };
        for variable in variables {
            if let Some(default) = &variable.default_value {
                checking.value(&variable.ty, false, default);
            }
            checking.directives(&variable.directives);
        }
        checking.directives(&operation.directives);
        checking.set(&operation.selection_set);
        problems.append(&mut checking.problems);
        // No more are told, and finding the place of each costs time by the length of the document.
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        never_null.extend(checking.never_null.into_iter().map(|name| (operation.name.clone(), name)));
    }
    problems.truncate(MAX_PROBLEMS);
    if problems.is_empty() { Ok(never_null) } else { Err(problems) }
}

struct Checking<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
    /// Of the operation that is looked at.
    variables: &'a [Node<VariableDefinition>],
    /// Fragments that were looked at in this operation.
    seen: HashSet<&'a Name>,
    never_null: HashSet<Name>,
    problems: Vec<ServerError>,
}

impl<'a> Checking<'a> {
    fn set(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    self.arguments(&field.definition.arguments, &field.arguments);
                    self.directives(&field.directives);
                    self.set(&field.selection_set);
                }
                Selection::InlineFragment(fragment) => {
                    self.directives(&fragment.directives);
                    self.set(&fragment.selection_set);
                }
                Selection::FragmentSpread(spread) => {
                    self.directives(&spread.directives);
                    let fragment = self.document.fragments.get(&spread.fragment_name);
                    if let Some(fragment) = fragment.filter(|_| self.seen.insert(&spread.fragment_name)) {
                        self.directives(&fragment.directives);
                        self.set(&fragment.selection_set);
                    }
                }
            }
        }
    }

    fn directives(&mut self, directives: &DirectiveList) {
        for directive in &directives.0 {
            if let Some(definition) = self.schema.directive_definitions.get(&directive.name) {
                self.arguments(&definition.arguments, &directive.arguments);
            }
        }
    }

    fn arguments(&mut self, definitions: &[Node<InputValueDefinition>], arguments: &[Node<Argument>]) {
        for argument in arguments {
            if let Some(definition) = definitions.iter().find(|definition| definition.name == argument.name) {
                self.value(&definition.ty, definition.default_value.is_some(), &argument.value);
            }
        }
    }

    /// A value where `ty` is wanted; `defaulted` when the place has a default of its own.
    fn value(&mut self, ty: &Type, defaulted: bool, value: &Node<Value>) {
        match (&**value, ty) {
            (Value::Null, _) => {}
            (Value::Variable(name), _) => self.variable(name, ty, defaulted, value),
            (Value::List(items), Type::List(item) | Type::NonNullList(item)) => {
                items.iter().for_each(|value| self.value(item, false, value));
            }
            // One value stands for a list of one.
            (_, Type::List(item) | Type::NonNullList(item)) => self.value(item, false, value),
            (_, Type::Named(name) | Type::NonNullNamed(name)) => self.named(name, value),
        }
    }

    fn named(&mut self, name: &Name, value: &Node<Value>) {
        match self.schema.types.get(name) {
            Some(ExtendedType::InputObject(definition)) => {
                self.repeated(value);
                for (name, value) in value.as_object().unwrap_or_default() {
                    if let Some(field) = definition.fields.get(name) {
                        self.value(&field.ty, field.default_value.is_some(), value);
                    }
                }
            }
            Some(ExtendedType::Scalar(_)) => {
                self.repeated_anywhere(value);
                let refusal = convert::constant(value).and_then(|value| scalar::refusal(name, &value));
                if let Some(message) = refusal {
                    self.refuse(message, value);
                }
            }
            _ => {}
        }
    }

    /// <https://spec.graphql.org/October2021/#sec-All-Variable-Usages-are-Allowed>
    fn variable(&mut self, name: &Name, ty: &Type, defaulted: bool, value: &Node<Value>) {
        let Some(variable) = self.variables.iter().find(|variable| variable.name == *name) else { return };
        let has_value = variable.default_value.as_ref().is_some_and(|default| !default.is_null());
        if ty.is_non_null() && !variable.ty.is_non_null() {
            self.never_null.insert(name.clone());
        }
        let wanted = match ty.is_non_null() && !variable.ty.is_non_null() && (has_value || defaulted) {
            true => ty.clone().nullable(),
            false => ty.clone(),
        };
        if !variable.ty.is_assignable_to(&wanted) {
            let message = format!(
                "variable `${name}` of type `{}` cannot be used where `{ty}` is expected",
                variable.ty
            );
            self.refuse(message, value);
        }
    }

    fn repeated(&mut self, value: &Node<Value>) {
        let mut seen = HashSet::new();
        for (name, value) in value.as_object().unwrap_or_default() {
            if !seen.insert(name) {
                self.refuse(format!("the input field `{name}` is provided multiple times"), value);
            }
        }
    }

    fn repeated_anywhere(&mut self, value: &Node<Value>) {
        self.repeated(value);
        value.as_object().unwrap_or_default().iter().for_each(|(_, value)| self.repeated_anywhere(value));
        value.as_list().unwrap_or_default().iter().for_each(|value| self.repeated_anywhere(value));
    }

    fn refuse(&mut self, message: String, at: &Node<Value>) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        self.problems.push(invalid(message, place(at.location(), &self.document.sources)));
    }
}
