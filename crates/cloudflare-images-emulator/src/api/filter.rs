//! Metadata filters of the v2 list: `meta.<path>[<operator>]=<value>`.

use sea_orm::sea_query::{Expr, SimpleExpr};

use crate::answer::Refusal;

/// One condition on one field. All of a request's must hold; an absent field matches none.
#[derive(Debug)]
pub(super) struct Filter {
    /// SQLite's path to the field.
    path: String,
    test: Test,
}

/// What a field's value must be.
#[derive(Debug)]
enum Test {
    /// One of these strings, or a number or boolean written like one of them.
    Text(Vec<String>),
    String(Vec<String>),
    Number(Vec<f64>),
    Boolean(bool),
    /// Compares a number by an SQL operator.
    Range(&'static str, f64),
}

/// Reads the filters among query parameters; 5400 for a bad field, operator, value or count.
pub(super) fn parse(pairs: &[(String, String)]) -> Result<Vec<Filter>, Refusal> {
    let filters: Vec<Filter> = pairs
        .iter()
        .filter_map(|(key, value)| key.strip_prefix("meta.").map(|key| (key, value)))
        .map(|(key, value)| filter(key, value))
        .collect::<Result<_, _>>()?;
    if filters.len() > MAX_FILTERS {
        return Err(Refusal::bad_request("no more than 5 metadata filters are allowed"));
    }
    Ok(filters)
}

impl Filter {
    /// The filter in SQL. Values are bound, never spelt out.
    pub(super) fn condition(&self) -> SimpleExpr {
        let path = || self.path.as_str().into();
        match &self.test {
            Test::Text(values) => any(values.iter().map(|value| {
                let like = "(json_type(meta, ?) = 'text' AND meta ->> ? = ?) OR \
                            (json_type(meta, ?) IN ('integer', 'real', 'true', 'false') AND meta -> ? = ?)";
                let value = || value.as_str().into();
                Expr::cust_with_values(like, [path(), path(), value(), path(), path(), value()])
            })),
            Test::String(values) => any(values.iter().map(|value| {
                let equal = "json_type(meta, ?) = 'text' AND meta ->> ? = ?";
                Expr::cust_with_values(equal, [path(), path(), value.as_str().into()])
            })),
            Test::Number(values) => any(values.iter().map(|value| self.number("=", *value))),
            Test::Boolean(value) => {
                let kind = if *value { "true" } else { "false" };
                Expr::cust_with_values("json_type(meta, ?) = ?", [path(), sea_orm::Value::from(kind)])
            }
            Test::Range(operator, value) => self.number(operator, *value),
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

fn filter(key: &str, value: &str) -> Result<Filter, Refusal> {
    let at = |refusal: Refusal| refusal.at(&[&format!("meta.{key}")]);
    let malformed = || at(Refusal::bad_request(format!("malformed metadata filter meta.{key}")));
    let (path, operator) =
        key.strip_suffix(']').and_then(|key| key.rsplit_once('[')).ok_or_else(malformed)?;
    let fields: Vec<&str> = path.split('.').collect();
    if fields.len() > MAX_LEVELS {
        return Err(at(Refusal::bad_request("metadata filters reach no deeper than 5 levels")));
    }
    // Names of metadata are the caller's own: hyphens, spaces and letters of any script may be in them. The rest has a
    // meaning in the filter or in SQLite's paths.
    let name =
        |field: &&str| !field.is_empty() && !field.contains(|c: char| "[]\"\\".contains(c) || c.is_control());
    if path.chars().count() > MAX_PATH_CHARS || !fields.iter().all(name) {
        return Err(malformed());
    }
    let path = fields.iter().fold("$".to_owned(), |path, field| path + ".\"" + field + "\"");
    Ok(Filter { path, test: test(operator, value).map_err(at)? })
}

fn test(operator: &str, value: &str) -> Result<Test, Refusal> {
    Ok(match operator {
        "eq" => Test::Text(vec![value.to_owned()]),
        "eq:string" => Test::String(vec![value.to_owned()]),
        "eq:number" => Test::Number(vec![number(value)?]),
        "eq:boolean" => match value {
            "true" => Test::Boolean(true),
            "false" => Test::Boolean(false),
            _ => return Err(Refusal::bad_request(format!("`{value}` is not a boolean"))),
        },
        "in" => Test::Text(values(value)?.map(str::to_owned).collect()),
        "in:string" => Test::String(values(value)?.map(str::to_owned).collect()),
        "in:number" => Test::Number(values(value)?.map(number).collect::<Result<_, _>>()?),
        "gt" | "gt:number" => Test::Range(">", number(value)?),
        "gte" | "gte:number" => Test::Range(">=", number(value)?),
        "lt" | "lt:number" => Test::Range("<", number(value)?),
        "lte" | "lte:number" => Test::Range("<=", number(value)?),
        _ => return Err(Refusal::bad_request(format!("unknown metadata operator `{operator}`"))),
    })
}

fn values(list: &str) -> Result<impl Iterator<Item = &str>, Refusal> {
    if list.split('|').count() > MAX_VALUES {
        return Err(Refusal::bad_request("no more than 10 values are allowed in a metadata filter"));
    }
    Ok(list.split('|'))
}

fn number(text: &str) -> Result<f64, Refusal> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| Refusal::bad_request(format!("`{text}` is not a number")))
}

fn any(tests: impl Iterator<Item = SimpleExpr>) -> SimpleExpr {
    use sea_orm::ExprTrait;
    // Nothing matches an empty list, which `split` never makes.
    tests.reduce(|left, right| left.or(right)).unwrap_or_else(|| Expr::val(false))
}
