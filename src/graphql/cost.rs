//! The cost of a query: limited, reported in `extensions.cost` of its response, and charged to the rate limit of the token
//! before the query is executed.

use apollo_compiler::ast;
use apollo_compiler::executable::{ExecutableDocument, Field, Operation, Selection, SelectionSet};
use async_graphql::{Response, ServerError, SimpleObject, Value, Variables, value};

use crate::app::Balance;
use crate::config::Config;
use crate::error::{Code, Error};
use crate::graphql::error::top_level;
use crate::graphql::types::scalar::DateTime;
use crate::query::page::MAX_PAGE;

/// The rate limit of a token. A query costs one point for each of its fields, times the page size inside connections,
/// and at least one.
#[derive(Debug, Clone, SimpleObject)]
pub struct RateLimit {
    /// Points this request costs.
    cost: i32,
    /// Points of the token in use when it has made no request in the last minute.
    limit: i32,
    /// Points left after this request. They are restored at a constant rate.
    remaining: i32,
    /// When all points are restored, without further requests.
    reset_at: DateTime,
}

impl From<Balance> for RateLimit {
    fn from(balance: Balance) -> Self {
        let points = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        RateLimit {
            cost: points(balance.cost),
            limit: points(balance.limit),
            remaining: points(balance.remaining),
            reset_at: DateTime(balance.reset_at),
        }
    }
}

/// The rate-limit balance of a token after a request was charged; part of the request's data. `None` when the server has no
/// rate limit.
pub struct QueryCost(pub Option<Balance>);

/// What an operation costs: one point for each field, times the page size inside connections; and how deep it is nested.
///
/// Computed from the validated document and the coerced variables before anything runs. async-graphql could compute it too, but
/// tells it only to an extension, and an extension makes its executor slower for every field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub complexity: usize,
    pub depth: usize,
}

impl Cost {
    /// The cost of a request that is refused before it could be computed: reading it took time.
    pub const REFUSED: Cost = Cost { complexity: 1, depth: 0 };

    /// The cost of an operation with its variables. Fields that `@skip` or `@include` leave out count.
    pub fn of(document: &ExecutableDocument, operation: &Operation, variables: &Variables) -> Cost {
        Walk { document, variables }.selection_set(&operation.selection_set)
    }

    /// As it is shown in `extensions.cost` of a response.
    pub fn extension(self) -> Value {
        value!({ "complexity": self.complexity, "depth": self.depth })
    }

    /// Checks the limits of the server.
    ///
    /// # Errors
    /// A sentence about the limit that is exceeded.
    pub fn check(self, config: &Config) -> Result<(), ServerError> {
        let message = match self {
            _ if self.complexity > config.highest_cost() => "Query is too complex.",
            _ if self.depth > config.max_depth => "Query is nested too deep.",
            _ => return Ok(()),
        };
        Err(ServerError::new(message, None))
    }
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
}

impl Walk<'_> {
    /// The limits on a document bound how many selections it has with its fragments expanded.
    fn selection_set(&self, set: &SelectionSet) -> Cost {
        let mut total = Cost { complexity: 0, depth: 0 };
        for selection in &set.selections {
            let cost = match selection {
                Selection::Field(field) => self.field(field),
                Selection::InlineFragment(fragment) => self.selection_set(&fragment.selection_set),
                Selection::FragmentSpread(spread) => match spread.fragment_def(self.document) {
                    Some(fragment) => self.selection_set(&fragment.selection_set),
                    None => continue,
                },
            };
            total.complexity = total.complexity.saturating_add(cost.complexity);
            total.depth = total.depth.max(cost.depth);
        }
        total
    }

    fn field(&self, field: &Field) -> Cost {
        let below = self.selection_set(&field.selection_set);
        let times = self.objects(field).unwrap_or(1);
        Cost {
            complexity: below.complexity.saturating_mul(times).saturating_add(1),
            depth: below.depth.saturating_add(1),
        }
    }

    /// How many objects a field may return; `None` for one that returns a single one, or a list that the objects of its row
    /// have anyway.
    fn objects(&self, field: &Field) -> Option<usize> {
        let has = |name: &str| field.definition.arguments.iter().any(|argument| argument.name == name);
        let page_size = || {
            let size = self.number(field, "first").or_else(|| self.number(field, "last"));
            size.and_then(|size| usize::try_from(size).ok())
        };
        let max_page = usize::try_from(MAX_PAGE).unwrap_or(usize::MAX);
        match field.name.as_str() {
            "nodes" if has("ids") => Some(self.length(self.argument(field, "ids")?).min(max_page)),
            "createDirectUploads" => {
                let uploads = self.member(self.argument(field, "input")?, "uploads")?;
                Some(self.length(uploads).min(max_page))
            }
            _ if has("first") && has("last") => Some(page_size().unwrap_or(max_page).min(max_page)),
            // The account's list has pages of up to 1,000 images.
            _ if has("first") => Some(page_size().unwrap_or(max_page).clamp(1, 1_000)),
            _ => None,
        }
    }

    fn argument<'b>(&'b self, field: &'b Field, name: &str) -> Option<Argument<'b>> {
        let argument = field.arguments.iter().find(|argument| argument.name == name)?;
        Some(self.resolve(&argument.value))
    }

    fn resolve<'b>(&'b self, value: &'b ast::Value) -> Argument<'b> {
        match value {
            ast::Value::Variable(name) => {
                Argument::Variable(self.variables.get(name.as_str()).unwrap_or(&Value::Null))
            }
            literal => Argument::Literal(literal),
        }
    }

    fn number(&self, field: &Field, name: &str) -> Option<i64> {
        match self.argument(field, name)? {
            Argument::Literal(ast::Value::Int(number)) => number.try_to_i32().ok().map(i64::from),
            Argument::Variable(Value::Number(number)) => number.as_i64(),
            _ => None,
        }
    }

    fn member<'b>(&'b self, object: Argument<'b>, name: &str) -> Option<Argument<'b>> {
        match object {
            Argument::Literal(ast::Value::Object(members)) => {
                let (_, value) = members.iter().find(|(member, _)| member == name)?;
                Some(self.resolve(value))
            }
            Argument::Variable(Value::Object(members)) => members.get(name).map(Argument::Variable),
            _ => None,
        }
    }

    /// A single value stands for a list of one.
    fn length(&self, list: Argument<'_>) -> usize {
        match list {
            Argument::Literal(ast::Value::List(items)) => items.len(),
            Argument::Variable(Value::List(items)) => items.len(),
            _ => 1,
        }
    }
}

/// The value of an argument, or of a member of one.
enum Argument<'a> {
    Literal(&'a ast::Value),
    Variable(&'a Value),
}

/// An error of the whole request.
pub fn to_server_error(problem: Error) -> ServerError {
    let problem = top_level(problem);
    let mut error = ServerError::new(problem.message, None);
    error.extensions = problem.extensions;
    error
}

/// After how many seconds to repeat a request that exceeded the rate limit.
pub fn retry_after(response: &Response) -> Option<u64> {
    let extensions = response.errors.first()?.extensions.as_ref()?;
    let limited = extensions.get("code") == Some(&Value::from(Code::RateLimited.as_str()));
    let Some(Value::Number(seconds)) = extensions.get("retryAfter") else { return None };
    seconds.as_u64().filter(|_| limited)
}
