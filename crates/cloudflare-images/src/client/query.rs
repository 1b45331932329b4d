//! The query parameters of the two lists.

use serde_json::Number;

use super::Error;

/// The query of [`Client::list`](super::Client::list). Every part is optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListQuery {
    /// Images per page, 1 to 1000; Cloudflare's default is 1000.
    pub per_page: Option<u32>,
    /// The token of the previous page. Filters and order must be those of the previous page.
    pub continuation_token: Option<String>,
    /// The order by upload time; Cloudflare's default is the newest first.
    pub sort_order: Option<SortOrder>,
    /// Only images of this creator; the empty string stands for images without a creator.
    pub creator: Option<String>,
    /// Only images whose metadata meet all of these conditions; at most five.
    pub meta: Vec<MetaFilter>,
}

/// The query of [`Client::list_v1`](super::Client::list_v1). Every part is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// Number of the page, counted from 1.
    pub page: Option<u32>,
    /// Images per page, 10 to 10,000; Cloudflare's default is 1000.
    pub per_page: Option<u32>,
    /// Only images of this creator; the empty string stands for images without a creator.
    pub creator: Option<String>,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// A condition on one field of the images' metadata, such as `meta.status[eq]=draft`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetaFilter {
    /// The path of the field: up to five names joined by dots, at most 100 characters, without brackets and quotes.
    pub field: String,
    /// The condition on its value.
    pub test: MetaTest,
}

/// A condition on the value of a metadata field: an operator of Cloudflare's API and its operand.
///
/// The `In` variants take up to ten values, and their text must not contain `|`, which separates them on the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaTest {
    /// `eq`: equal, whatever the type of the field.
    Eq(String),
    /// `eq:string`: a string equal to this.
    EqString(String),
    /// `eq:number`: a number equal to this.
    EqNumber(Number),
    /// `eq:boolean`: this boolean.
    EqBoolean(bool),
    /// `in`: equal to one of these, whatever the type of the field.
    In(Vec<String>),
    /// `in:string`: one of these strings.
    InString(Vec<String>),
    /// `in:number`: one of these numbers.
    InNumber(Vec<Number>),
    /// `gt`: a number greater than this.
    Gt(Number),
    /// `gte`: a number greater than or equal to this.
    Gte(Number),
    /// `lt`: a number less than this.
    Lt(Number),
    /// `lte`: a number less than or equal to this.
    Lte(Number),
}

/// Names and values, not encoded yet.
type Pairs = Vec<(String, String)>;

impl ListQuery {
    pub(super) fn pairs(&self) -> Result<Pairs, Error> {
        let mut pairs = Pairs::new();
        push(&mut pairs, "per_page", self.per_page);
        push(&mut pairs, "continuation_token", self.continuation_token.as_deref());
        push(&mut pairs, "sort_order", self.sort_order.map(SortOrder::name));
        push(&mut pairs, "creator", self.creator.as_deref());
        for MetaFilter { field, test } in &self.meta {
            let (operator, operand) = test.operator_and_operand()?;
            pairs.push((format!("meta.{field}[{operator}]"), operand));
        }
        Ok(pairs)
    }
}

impl PageQuery {
    pub(super) fn pairs(&self) -> Pairs {
        let mut pairs = Pairs::new();
        push(&mut pairs, "page", self.page);
        push(&mut pairs, "per_page", self.per_page);
        push(&mut pairs, "creator", self.creator.as_deref());
        pairs
    }
}

fn push(pairs: &mut Pairs, name: &str, value: Option<impl ToString>) {
    pairs.extend(value.map(|value| (name.to_owned(), value.to_string())));
}

impl SortOrder {
    fn name(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }
}

impl MetaTest {
    fn operator_and_operand(&self) -> Result<(&'static str, String), Error> {
        Ok(match self {
            Self::Eq(value) => ("eq", value.clone()),
            Self::EqString(value) => ("eq:string", value.clone()),
            Self::EqNumber(value) => ("eq:number", value.to_string()),
            Self::EqBoolean(value) => ("eq:boolean", value.to_string()),
            Self::In(values) => ("in", joined(values)?),
            Self::InString(values) => ("in:string", joined(values)?),
            Self::InNumber(values) => ("in:number", joined(values)?),
            Self::Gt(value) => ("gt", value.to_string()),
            Self::Gte(value) => ("gte", value.to_string()),
            Self::Lt(value) => ("lt", value.to_string()),
            Self::Lte(value) => ("lte", value.to_string()),
        })
    }
}

/// Values separated by `|`, for which the API has no escape.
fn joined(values: &[impl ToString]) -> Result<String, Error> {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    if values.iter().any(|value| value.contains('|')) {
        return Err(Error::invalid("a value of a list filter cannot contain `|`"));
    }
    Ok(values.join("|"))
}
