//! What the two lists can be asked for.

use serde_json::Number;

use super::{Error, Said};

/// Query of [`Client::list`](super::Client::list); everything is optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListQuery {
    /// Images per page, 1-1000; Cloudflare's default is 1000.
    pub per_page: Option<u32>,
    /// From the page before; goes with the same filters and order.
    pub continuation_token: Option<String>,
    /// By time of upload; Cloudflare's default is the newest first.
    pub sort_order: Option<SortOrder>,
    /// Exactly this creator; empty means images without one.
    pub creator: Option<String>,
    /// All of these must hold; at most five.
    pub meta: Vec<MetaFilter>,
}

/// Query of [`Client::list_v1`](super::Client::list_v1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// From 1.
    pub page: Option<u32>,
    /// Images per page, 10-10000; Cloudflare's default is 1000.
    pub per_page: Option<u32>,
    /// Exactly this creator; empty means images without one.
    pub creator: Option<String>,
}

/// Direction of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// A condition on one field of the images' metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct MetaFilter {
    /// Path of the field, levels joined by dots, five at most; at most 100 characters, no brackets or quotes.
    pub field: String,
    /// What it must be.
    pub test: MetaTest,
}

/// What a metadata field must be.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaTest {
    /// Equal, whatever its type.
    Eq(String),
    /// Equal, a string.
    EqString(String),
    /// Equal, a number.
    EqNumber(Number),
    /// Equal, a boolean.
    EqBoolean(bool),
    /// One of up to ten, whatever its type.
    In(Vec<String>),
    /// One of up to ten strings.
    InString(Vec<String>),
    /// One of up to ten numbers.
    InNumber(Vec<Number>),
    /// A greater number.
    Gt(Number),
    /// A number at least as great.
    Gte(Number),
    /// A smaller number.
    Lt(Number),
    /// A number at most as great.
    Lte(Number),
}

type Pairs = Vec<(String, String)>;

impl ListQuery {
    /// As the URL has it.
    pub(super) fn pairs(&self) -> Result<Pairs, Error> {
        let mut pairs = Pairs::new();
        push(&mut pairs, "per_page", self.per_page);
        push(&mut pairs, "continuation_token", self.continuation_token.as_deref());
        push(&mut pairs, "sort_order", self.sort_order.map(SortOrder::name));
        push(&mut pairs, "creator", self.creator.as_deref());
        for MetaFilter { field, test } in &self.meta {
            let (operator, value) = test.operator()?;
            pairs.push((format!("meta.{field}[{operator}]"), value));
        }
        Ok(pairs)
    }
}

impl PageQuery {
    /// As the URL has it.
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
    fn operator(&self) -> Result<(&'static str, String), Error> {
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

/// Values of a list, split by `|` at the other end, which knows no escape for it.
fn joined(values: &[impl ToString]) -> Result<String, Error> {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    if values.iter().any(|value| value.contains('|')) {
        return Err(Error::Invalid(Said::ours("a value in a list filter cannot contain `|`")));
    }
    Ok(values.join("|"))
}
