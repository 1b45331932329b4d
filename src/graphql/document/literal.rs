//! Checks of literals that `apollo-compiler` does not make: custom scalars, variables within input objects, and repeated fields
//! of input objects.

use std::collections::HashSet;

use apollo_compiler::ast::{Argument, DirectiveList, InputValueDefinition, Type, Value, VariableDefinition};
use apollo_compiler::executable::{ExecutableDocument, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{Name, Node, Schema};
use async_graphql::ServerError;

use super::{MAX_PROBLEMS, convert, invalid, position};
use crate::graphql::types::scalar;

/// Nullable variables that are used where null is not allowed, each with the name of its operation. Validation allows them when
/// they have a default value, but a client may send null for them.
pub(super) type NonNullVariables = HashSet<(Option<Name>, Name)>;

/// Checks every literal of a document that is valid otherwise.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED`.
pub(super) fn check(
    schema: &Schema,
    document: &ExecutableDocument,
) -> Result<NonNullVariables, Vec<ServerError>> {
    let (mut problems, mut non_null_variables) = (Vec::new(), NonNullVariables::new());
    for operation in document.operations.iter() {
        let variables = &operation.variables;
        let mut check = LiteralCheck {
            schema,
            document,
            variables,
            seen: HashSet::new(),
            non_null_variables: HashSet::new(),
            problems: Vec::new(),
        };
        for variable in variables {
            if let Some(default) = &variable.default_value {
                check.value(&variable.ty, false, default);
            }
            check.directives(&variable.directives);
        }
        check.directives(&operation.directives);
        check.set(&operation.selection_set);
        problems.append(&mut check.problems);
        // Further errors are not reported, and the position of each takes time to compute.
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        non_null_variables
            .extend(check.non_null_variables.into_iter().map(|name| (operation.name.clone(), name)));
    }
    problems.truncate(MAX_PROBLEMS);
    if problems.is_empty() { Ok(non_null_variables) } else { Err(problems) }
}

struct LiteralCheck<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
    /// Variables of the operation.
    variables: &'a [Node<VariableDefinition>],
    /// Fragments that were checked for this operation.
    seen: HashSet<&'a Name>,
    non_null_variables: HashSet<Name>,
    problems: Vec<ServerError>,
}

impl<'a> LiteralCheck<'a> {
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

    /// A value of an argument or input field of type `ty`, which may have a default value.
    fn value(&mut self, ty: &Type, has_default: bool, value: &Node<Value>) {
        match (&**value, ty) {
            (Value::Null, _) => {}
            (Value::Variable(name), _) => self.variable(name, ty, has_default, value),
            (Value::List(items), Type::List(item) | Type::NonNullList(item)) => {
                items.iter().for_each(|value| self.value(item, false, value));
            }
            // A single value is coerced to a list with one item.
            (_, Type::List(item) | Type::NonNullList(item)) => self.value(item, false, value),
            (_, Type::Named(name) | Type::NonNullNamed(name)) => self.named(name, value),
        }
    }

    fn named(&mut self, name: &Name, value: &Node<Value>) {
        match self.schema.types.get(name) {
            Some(ExtendedType::InputObject(definition)) => {
                self.repeated_fields(value);
                for (name, value) in value.as_object().unwrap_or_default() {
                    if let Some(field) = definition.fields.get(name) {
                        self.value(&field.ty, field.default_value.is_some(), value);
                    }
                }
            }
            Some(ExtendedType::Scalar(_)) => {
                self.repeated_fields_at_any_depth(value);
                let problem = convert::constant(value).and_then(|value| scalar::check(name, &value));
                if let Some(message) = problem {
                    self.report(message, value);
                }
            }
            _ => {}
        }
    }

    /// <https://spec.graphql.org/October2021/#sec-All-Variable-Usages-are-Allowed>
    fn variable(&mut self, name: &Name, ty: &Type, has_default: bool, value: &Node<Value>) {
        let Some(variable) = self.variables.iter().find(|variable| variable.name == *name) else { return };
        let has_value = variable.default_value.as_ref().is_some_and(|default| !default.is_null());
        if ty.is_non_null() && !variable.ty.is_non_null() {
            self.non_null_variables.insert(name.clone());
        }
        let wanted = match ty.is_non_null() && !variable.ty.is_non_null() && (has_value || has_default) {
            true => ty.clone().nullable(),
            false => ty.clone(),
        };
        if !variable.ty.is_assignable_to(&wanted) {
            let message = format!(
                "variable `${name}` of type `{}` cannot be used where `{ty}` is expected",
                variable.ty
            );
            self.report(message, value);
        }
    }

    fn repeated_fields(&mut self, value: &Node<Value>) {
        let mut seen = HashSet::new();
        for (name, value) in value.as_object().unwrap_or_default() {
            if !seen.insert(name) {
                self.report(format!("the input field `{name}` is provided multiple times"), value);
            }
        }
    }

    fn repeated_fields_at_any_depth(&mut self, value: &Node<Value>) {
        self.repeated_fields(value);
        value
            .as_object()
            .unwrap_or_default()
            .iter()
            .for_each(|(_, value)| self.repeated_fields_at_any_depth(value));
        value.as_list().unwrap_or_default().iter().for_each(|value| self.repeated_fields_at_any_depth(value));
    }

    fn report(&mut self, message: String, at: &Node<Value>) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        self.problems.push(invalid(message, position(at.location(), &self.document.sources)));
    }
}
