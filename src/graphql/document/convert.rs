//! Conversion of documents from the types of `apollo-compiler` to those of the executor.

use std::cell::Cell;
use std::collections::HashMap;

use apollo_compiler::Node;
use apollo_compiler::ast;
use apollo_compiler::parser::SourceSpan;
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, FragmentSpread,
    InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet, Type, TypeCondition,
    VariableDefinition,
};
use async_graphql::{Name, Pos, Positioned, ServerError};
use async_graphql_value::{ConstValue, Value};

use super::invalid;

type Arguments = Vec<(Positioned<Name>, Positioned<Value>)>;

/// Converts a document.
///
/// # Errors
/// For what the executor's types cannot represent: a document without operations, two definitions with the same name, and
/// numbers out of range.
pub(super) fn document(text: &str, document: &ast::Document) -> Result<ExecutableDocument, ServerError> {
    let mut positions = Positions::of(text);
    let (mut unnamed, mut named, mut fragments) = (None, HashMap::new(), HashMap::new());
    for definition in &document.definitions {
        let at = positions.at(definition.location());
        let is_duplicate = match definition {
            ast::Definition::OperationDefinition(node) => {
                let operation = Positioned::new(positions.operation(node)?, at);
                match &node.name {
                    Some(name) => named.insert(Name::new(name), operation).is_some(),
                    None => unnamed.replace(operation).is_some(),
                }
            }
            ast::Definition::FragmentDefinition(node) => {
                let fragment = Positioned::new(positions.fragment(node)?, at);
                fragments.insert(Name::new(&node.name), fragment).is_some()
            }
            // A validation error.
            _ => false,
        };
        if is_duplicate {
            let message = "Two operations or two fragments of a document have the same name.";
            return Err(invalid(message, Some(at)));
        }
    }
    Ok(ExecutableDocument { operations: operations(unnamed, named)?, fragments })
}

fn operations(
    unnamed: Option<Positioned<OperationDefinition>>,
    named: HashMap<Name, Positioned<OperationDefinition>>,
) -> Result<DocumentOperations, ServerError> {
    match (unnamed, named.is_empty()) {
        (Some(operation), true) => Ok(DocumentOperations::Single(operation)),
        (None, false) => Ok(DocumentOperations::Multiple(named)),
        (Some(operation), false) => {
            let message = "A document with several operations cannot have one without a name.";
            Err(invalid(message, Some(operation.pos)))
        }
        (None, true) => {
            let mut problem = invalid("A document has at least one operation.", None);
            problem.extensions.get_or_insert_default().set("code", "GRAPHQL_PARSE_FAILED");
            Err(problem)
        }
    }
}

/// A literal without variables; `None` if it has some.
pub(super) fn constant(value: &ast::Value) -> Option<ConstValue> {
    literal(value).ok()?.into_const()
}

/// Converts a value.
///
/// # Errors
/// The text of a number that is out of range.
fn literal(value: &ast::Value) -> Result<Value, String> {
    let number = |text: &str| text.parse().map(Value::Number).map_err(|_| text.to_owned());
    Ok(match value {
        ast::Value::Null => Value::Null,
        ast::Value::Enum(name) => Value::Enum(Name::new(name)),
        ast::Value::Variable(name) => Value::Variable(Name::new(name)),
        ast::Value::String(text) => Value::String(text.clone()),
        ast::Value::Float(text) => number(text.as_str())?,
        ast::Value::Int(text) => number(text.as_str())?,
        ast::Value::Boolean(value) => Value::Boolean(*value),
        ast::Value::List(items) => {
            Value::List(items.iter().map(|item| literal(item)).collect::<Result<_, _>>()?)
        }
        ast::Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Ok((Name::new(name), literal(value)?)));
            Value::Object(fields.collect::<Result<IndexMap<_, _>, String>>()?)
        }
    })
}

/// Lines and columns of a text; columns in characters.
pub(super) struct Positions<'a> {
    text: &'a str,
    /// The byte offset of each line.
    lines: Vec<usize>,
    /// The byte offset and the column of the last position. Columns are counted from there, because most positions are asked
    /// for in order and a line may be long.
    last: Cell<(usize, usize)>,
}

impl<'a> Positions<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(i, byte)| match byte {
            b'\n' => true,
            b'\r' => bytes.get(i + 1) != Some(&b'\n'),
            _ => false,
        });
        let lines = std::iter::once(0).chain(ends.map(|(i, _)| i + 1)).collect();
        Positions { text, lines, last: Cell::new((0, 1)) }
    }

    pub(super) fn at(&self, location: Option<SourceSpan>) -> Pos {
        let Some(location) = location else { return Pos::default() };
        let at = location.offset();
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines[line - 1];
        let (from, column) = match self.last.get() {
            (last, column) if (start..=at).contains(&last) => (last, column),
            _ => (start, 1),
        };
        let column = column + self.text.get(from..at).map_or(0, |between| between.chars().count());
        self.last.set((at, column));
        Pos { line, column }
    }

    fn name(&self, name: &apollo_compiler::Name) -> Positioned<Name> {
        Positioned::new(Name::new(name), self.at(name.location()))
    }

    fn operation(&mut self, node: &ast::OperationDefinition) -> Result<OperationDefinition, ServerError> {
        Ok(OperationDefinition {
            ty: match node.operation_type {
                ast::OperationType::Query => OperationType::Query,
                ast::OperationType::Mutation => OperationType::Mutation,
                ast::OperationType::Subscription => OperationType::Subscription,
            },
            variable_definitions: node
                .variables
                .iter()
                .map(|variable| Ok(Positioned::new(self.variable(variable)?, self.at(variable.location()))))
                .collect::<Result<_, ServerError>>()?,
            directives: self.directives(&node.directives)?,
            selection_set: self.selection_set(&node.selection_set)?,
        })
    }

    fn fragment(&mut self, node: &ast::FragmentDefinition) -> Result<FragmentDefinition, ServerError> {
        Ok(FragmentDefinition {
            type_condition: self.condition(&node.type_condition),
            directives: self.directives(&node.directives)?,
            selection_set: self.selection_set(&node.selection_set)?,
        })
    }

    fn condition(&self, on: &apollo_compiler::Name) -> Positioned<TypeCondition> {
        let on = self.name(on);
        let at = on.pos;
        Positioned::new(TypeCondition { on }, at)
    }

    fn variable(&self, node: &ast::VariableDefinition) -> Result<VariableDefinition, ServerError> {
        let default = node.default_value.as_ref().map(|default| -> Result<_, ServerError> {
            let Positioned { pos, node } = self.value(default)?;
            let constant = node.into_const();
            let constant =
                constant.ok_or_else(|| invalid("A default value cannot contain a variable.", Some(pos)));
            Ok(Positioned::new(constant?, pos))
        });
        Ok(VariableDefinition {
            name: self.name(&node.name),
            var_type: Positioned::new(type_of(&node.ty), self.at(node.ty.location())),
            directives: self.directives(&node.directives)?,
            default_value: default.transpose()?,
        })
    }

    fn directives(&self, nodes: &ast::DirectiveList) -> Result<Vec<Positioned<Directive>>, ServerError> {
        let convert = |node: &Node<ast::Directive>| {
            let arguments = self.arguments(&node.arguments)?;
            Ok(Positioned::new(
                Directive { name: self.name(&node.name), arguments },
                self.at(node.location()),
            ))
        };
        nodes.0.iter().map(convert).collect()
    }

    fn arguments(&self, nodes: &[Node<ast::Argument>]) -> Result<Arguments, ServerError> {
        nodes.iter().map(|node| Ok((self.name(&node.name), self.value(&node.value)?))).collect()
    }

    fn value(&self, node: &Node<ast::Value>) -> Result<Positioned<Value>, ServerError> {
        let at = self.at(node.location());
        match literal(node) {
            Ok(value) => Ok(Positioned::new(value, at)),
            Err(number) => Err(invalid(format!("the number {number:.40} is out of range"), Some(at))),
        }
    }

    fn selection_set(&self, nodes: &[ast::Selection]) -> Result<Positioned<SelectionSet>, ServerError> {
        let at = self.at(nodes.first().and_then(ast::Selection::location));
        let items = nodes.iter().map(|node| {
            let at = self.at(node.location());
            Ok(Positioned::new(self.selection(node, at)?, at))
        });
        Ok(Positioned::new(SelectionSet { items: items.collect::<Result<_, ServerError>>()? }, at))
    }

    fn selection(&self, node: &ast::Selection, at: Pos) -> Result<Selection, ServerError> {
        Ok(match node {
            ast::Selection::Field(node) => {
                let field = Field {
                    alias: node.alias.as_ref().map(|alias| self.name(alias)),
                    name: self.name(&node.name),
                    arguments: self.arguments(&node.arguments)?,
                    directives: self.directives(&node.directives)?,
                    selection_set: self.selection_set(&node.selection_set)?,
                };
                Selection::Field(Positioned::new(field, at))
            }
            ast::Selection::FragmentSpread(node) => {
                let fragment_name = self.name(&node.fragment_name);
                let spread = FragmentSpread { fragment_name, directives: self.directives(&node.directives)? };
                Selection::FragmentSpread(Positioned::new(spread, at))
            }
            ast::Selection::InlineFragment(node) => {
                let fragment = InlineFragment {
                    type_condition: node.type_condition.as_ref().map(|on| self.condition(on)),
                    directives: self.directives(&node.directives)?,
                    selection_set: self.selection_set(&node.selection_set)?,
                };
                Selection::InlineFragment(Positioned::new(fragment, at))
            }
        })
    }
}

fn type_of(ty: &ast::Type) -> Type {
    let base = match ty {
        ast::Type::Named(name) | ast::Type::NonNullNamed(name) => BaseType::Named(Name::new(name)),
        ast::Type::List(item) | ast::Type::NonNullList(item) => BaseType::List(Box::new(type_of(item))),
    };
    Type { base, nullable: !ty.is_non_null() }
}
