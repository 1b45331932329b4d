//! Metadata filters of the v2 list: `meta.<path>[<operator>]=<value>`.

use sea_orm::sea_query::{Expr, SimpleExpr};

use crate::error::ApiError;

/// A condition on one field. An image must match all filters of a request; a missing field matches no condition.
#[derive(Debug)]
pub(super) struct Filter {
    /// SQLite's JSON path of the field.
    path: String,
    condition: Condition,
}

/// Which values of a field match.
#[derive(Debug)]
enum Condition {
    /// One of these strings, or a number or boolean whose JSON text is one of them.
    Text(Vec<String>),
    String(Vec<String>),
    Number(Vec<f64>),
    Boolean(bool),
    /// Numbers that compare to this one by an SQL operator.
    Range(&'static str, f64),
}

/// The filters among the query parameters; 5400 for an invalid field, operator or value, or too many filters.
pub(super) fn parse(pairs: &[(String, String)]) -> Result<Vec<Filter>, ApiError> {
    let filters: Vec<Filter> = pairs
        .iter()
        .filter_map(|(key, value)| key.strip_prefix("meta.").map(|key| (key, value)))
        .map(|(key, value)| parse_filter(key, value))
        .collect::<Result<_, _>>()?;
    if filters.len() > MAX_FILTERS {
        return Err(ApiError::bad_request("no more than 5 metadata filters are allowed"));
    }
    Ok(filters)
}

impl Filter {
    /// The filter in SQL. Paths and values are bound parameters.
    pub(super) fn condition(&self) -> SimpleExpr {
        let path = || self.path.as_str().into();
        match &self.condition {
            Condition::Text(values) => any(values.iter().map(|value| {
                let like = "(json_type(meta, ?) = 'text' AND meta ->> ? = ?) OR \
                            (json_type(meta, ?) IN ('integer', 'real', 'true', 'false') AND meta -> ? = ?)";
                let value = || value.as_str().into();
                Expr::cust_with_values(like, [path(), path(), value(), path(), path(), value()])
            })),
            Condition::String(values) => any(values.iter().map(|value| {
                let equal = "json_type(meta, ?) = 'text' AND meta ->> ? = ?";
                Expr::cust_with_values(equal, [path(), path(), value.as_str().into()])
            })),
            Condition::Number(values) => any(values.iter().map(|value| self.number("=", *value))),
            Condition::Boolean(value) => {
                let json_type = if *value { "true" } else { "false" };
                Expr::cust_with_values("json_type(meta, ?) = ?", [path(), sea_orm::Value::from(json_type)])
            }
            Condition::Range(operator, value) => self.number(operator, *value),
        }
    }

    fn number(&self, operator: &str, value: f64) -> SimpleExpr {
        let compare = format!("json_type(meta, ?) IN ('integer', 'real') AND meta ->> ? {operator} ?");
        let path = || sea_orm::Value::from(self.path.as_str());
        Expr::cust_with_values(compare, [path(), path(), value.into()])
    }
}

const MAX_FILTERS: usize = 5;
const MAX_LEVELS: usize = 5;
const MAX_VALUES: usize = 10;
const MAX_PATH_CHARS: usize = 100;

fn parse_filter(key: &str, value: &str) -> Result<Filter, ApiError> {
    let at = |error: ApiError| error.with_pointer(&[&format!("meta.{key}")]);
    let malformed = || at(ApiError::bad_request(format!("malformed metadata filter meta.{key}")));
    let (path, operator) =
        key.strip_suffix(']').and_then(|key| key.rsplit_once('[')).ok_or_else(malformed)?;
    let fields: Vec<&str> = path.split('.').collect();
    if fields.len() > MAX_LEVELS {
        return Err(at(ApiError::bad_request("metadata filters cannot be nested deeper than 5 levels")));
    }
    // Names may contain hyphens, spaces and letters of any script. The characters that are excluded have a meaning in the
    // filter or in SQLite's JSON paths.
    let is_name =
        |field: &&str| !field.is_empty() && !field.contains(|c: char| "[]\"\\".contains(c) || c.is_control());
    if path.chars().count() > MAX_PATH_CHARS || !fields.iter().all(is_name) {
        return Err(malformed());
    }
    let path = fields.iter().fold("$".to_owned(), |path, field| path + ".\"" + field + "\"");
    Ok(Filter { path, condition: parse_condition(operator, value).map_err(at)? })
}

fn parse_condition(operator: &str, value: &str) -> Result<Condition, ApiError> {
    Ok(match operator {
        "eq" => Condition::Text(vec![value.to_owned()]),
        "eq:string" => Condition::String(vec![value.to_owned()]),
        "eq:number" => Condition::Number(vec![number(value)?]),
        "eq:boolean" => match value {
            "true" => Condition::Boolean(true),
            "false" => Condition::Boolean(false),
            _ => return Err(ApiError::bad_request(format!("`{value}` is not a boolean"))),
        },
        "in" => Condition::Text(values(value)?.map(str::to_owned).collect()),
        "in:string" => Condition::String(values(value)?.map(str::to_owned).collect()),
        "in:number" => Condition::Number(values(value)?.map(number).collect::<Result<_, _>>()?),
        "gt" | "gt:number" => Condition::Range(">", number(value)?),
        "gte" | "gte:number" => Condition::Range(">=", number(value)?),
        "lt" | "lt:number" => Condition::Range("<", number(value)?),
        "lte" | "lte:number" => Condition::Range("<=", number(value)?),
        _ => return Err(ApiError::bad_request(format!("unknown metadata operator `{operator}`"))),
    })
}

fn values(list: &str) -> Result<impl Iterator<Item = &str>, ApiError> {
    if list.split('|').count() > MAX_VALUES {
        return Err(ApiError::bad_request("no more than 10 values are allowed in a metadata filter"));
    }
    Ok(list.split('|'))
}

fn number(text: &str) -> Result<f64, ApiError> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| ApiError::bad_request(format!("`{text}` is not a number")))
}

fn any(conditions: impl Iterator<Item = SimpleExpr>) -> SimpleExpr {
    use sea_orm::ExprTrait;
    // Without conditions nothing matches; `split` always gives at least one.
    conditions.reduce(|left, right| left.or(right)).unwrap_or_else(|| Expr::val(false))
}
