//! Variables: coercion before the execution, and removal of arguments whose variable is absent.

use apollo_compiler::executable::{ExecutableDocument as Read, Operation};
use apollo_compiler::request::coerce_variable_values;
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::schema::Type;
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name as ReadName, Schema};
use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, ServerError, Variables};
use async_graphql_value::{ConstValue, Value};

use super::literal::NonNullVariables;
use super::{invalid, position};
use crate::graphql::types::scalar;

/// Longest message about a variable, in characters. A message quotes the value.
const MAX_MESSAGE: usize = 300;

/// Coerces the variables of an operation, and adds default values. Other variables are dropped.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED` for a variable that is missing or cannot be coerced.
pub(super) fn coerce(
    schema: &Valid<Schema>,
    document: &Read,
    operation: &Operation,
    non_null_variables: &NonNullVariables,
    mut sent: Variables,
) -> Result<Variables, ServerError> {
    let mut values = JsonMap::new();
    for variable in &operation.variables {
        if let Some(value) = sent.remove(variable.name.as_str()) {
            values.insert(variable.name.as_str(), to_json(value));
        }
    }
    let coerced = coerce_variable_values(schema, operation, &values).map_err(|problem| {
        let at = problem.location().or_else(|| operation.variables.first()?.location());
        let message: String = problem.message().to_string().chars().take(MAX_MESSAGE).collect();
        invalid(message, position(at, &document.sources))
    })?;
    let mut variables = Variables::default();
    for (name, value) in coerced.into_inner() {
        variables.insert(Name::new(name.as_str()), from_json(value));
    }
    for variable in &operation.variables {
        let Some(value) = variables.get(variable.name.as_str()) else { continue };
        let key = (operation.name.clone(), variable.name.clone());
        let problem = match *value == ConstValue::Null && non_null_variables.contains(&key) {
            true => Some(format!("variable ${}: null is not allowed where it is used", variable.name)),
            false => check_scalars(schema, &variable.ty, value, &format!("${}", variable.name)),
        };
        if let Some(message) = problem {
            return Err(invalid(message, position(variable.location(), &document.sources)));
        }
    }
    Ok(variables)
}

/// Why a coerced value is invalid: `apollo-compiler` does not know the custom scalars. `None` for a valid value.
fn check_scalars(schema: &Schema, ty: &Type, value: &ConstValue, path: &str) -> Option<String> {
    if *value == ConstValue::Null {
        return None;
    }
    let name = match ty {
        Type::Named(name) | Type::NonNullNamed(name) => name,
        Type::List(item) | Type::NonNullList(item) => {
            let ConstValue::List(items) = value else { return None };
            let mut items = items.iter().enumerate();
            return items.find_map(|(i, value)| check_scalars(schema, item, value, &format!("{path}.{i}")));
        }
    };
    match (schema.get_input_object(name), value) {
        (Some(definition), ConstValue::Object(fields)) => fields.iter().find_map(|(name, value)| {
            let field = definition.fields.get(name.as_str())?;
            check_scalars(schema, &field.ty, value, &format!("{path}.{name}"))
        }),
        _ => scalar::check(name, value).map(|message| format!("variable {path}: {message}")),
    }
}

fn to_json(value: ConstValue) -> JsonValue {
    match value {
        ConstValue::Null => JsonValue::Null,
        ConstValue::Number(number) => JsonValue::Number(number),
        ConstValue::String(text) => text.into(),
        ConstValue::Boolean(value) => value.into(),
        ConstValue::Enum(name) => name.as_str().into(),
        // Does not occur in JSON.
        ConstValue::Binary(bytes) => bytes.into_iter().map(JsonValue::from).collect(),
        ConstValue::List(items) => items.into_iter().map(to_json).collect(),
        ConstValue::Object(fields) => JsonValue::Object(
            fields.into_iter().map(|(name, value)| (name.to_string().into(), to_json(value))).collect(),
        ),
    }
}

fn from_json(value: JsonValue) -> ConstValue {
    match value {
        JsonValue::Null => ConstValue::Null,
        JsonValue::Bool(value) => ConstValue::Boolean(value),
        JsonValue::Number(number) => ConstValue::Number(number),
        JsonValue::String(text) => ConstValue::String(text.as_str().to_owned()),
        JsonValue::Array(items) => ConstValue::List(items.into_iter().map(from_json).collect()),
        JsonValue::Object(fields) => ConstValue::Object(
            fields.into_iter().map(|(name, value)| (Name::new(name.as_str()), from_json(value))).collect(),
        ),
    }
}

/// Removes each argument and input field whose variable is absent and has no default value. The executor would use null, which
/// clears a field.
pub(super) fn remove_absent(document: &mut ExecutableDocument, operation: &Operation, coerced: &Variables) {
    let absent: Vec<&ReadName> = operation
        .variables
        .iter()
        .map(|variable| &variable.name)
        .filter(|name| !coerced.contains_key(name.as_str()))
        .collect();
    if absent.is_empty() {
        return;
    }
    let absent = Absent(&absent);
    let wanted = match &mut document.operations {
        DocumentOperations::Single(operation) => Some(operation),
        DocumentOperations::Multiple(operations) => {
            operations.get_mut(operation.name.as_ref().map(|name| name.as_str()).unwrap_or_default())
        }
    };
    if let Some(operation) = wanted {
        absent.set(&mut operation.node.selection_set.node);
    }
    for fragment in document.fragments.values_mut() {
        absent.set(&mut fragment.node.selection_set.node);
    }
}

/// The names of absent variables.
struct Absent<'a>(&'a [&'a ReadName]);

impl Absent<'_> {
    fn set(&self, set: &mut SelectionSet) {
        for selection in &mut set.items {
            self.directives(selection.node.directives_mut());
            match &mut selection.node {
                Selection::Field(field) => {
                    self.arguments(&mut field.node.arguments);
                    self.set(&mut field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => self.set(&mut fragment.node.selection_set.node),
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn directives(&self, directives: &mut [Positioned<Directive>]) {
        directives.iter_mut().for_each(|directive| self.arguments(&mut directive.node.arguments));
    }

    fn arguments(&self, arguments: &mut Vec<(Positioned<Name>, Positioned<Value>)>) {
        arguments.retain(|(_, value)| !self.contains(&value.node));
        arguments.iter_mut().for_each(|(_, value)| self.value(&mut value.node));
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| !self.contains(value));
                fields.values_mut().for_each(|value| self.value(value));
            }
            Value::List(items) => items.iter_mut().for_each(|item| match self.contains(item) {
                true => *item = Value::Null,
                false => self.value(item),
            }),
            _ => {}
        }
    }

    fn contains(&self, value: &Value) -> bool {
        matches!(value, Value::Variable(name) if self.0.iter().any(|absent| *name == absent.as_str()))
    }
}
