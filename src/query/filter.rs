//! Conditions that lists share: checked, and as SQL.
//!
//! None of them may take the list's index away. On PostgreSQL the planner has statistics; on SQLite, which has none, a
//! column that another index begins with is hidden, unless what it finds is few.

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Value};
use sea_orm::{DbBackend, IdenStatic};

use crate::error::{Error, Result};
use crate::query::page::{storable, unindexed};
use crate::spelling::composed;

/// Most values of one list.
pub const MAX_VALUES: usize = 100;
/// Longest text that is compared, in characters.
const MAX_TEXT: usize = 1024;

/// Condition on a text. All given fields must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextFilter {
    pub equals: Option<String>,
    pub any_of: Option<Vec<String>>,
    /// Whatever the case of ASCII letters.
    pub contains: Option<String>,
    pub starts_with: Option<String>,
}

/// Condition on tags. All given fields must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagFilter {
    pub has_any: Option<Vec<String>>,
    pub has_all: Option<Vec<String>>,
    pub has_none: Option<Vec<String>>,
}

/// Inclusive range of numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// From inclusive, to exclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

/// A column of a table.
pub fn column(table: &'static str, name: impl IdenStatic) -> Expr {
    Expr::col((table, name.as_str()))
}

impl TextFilter {
    /// # Errors
    /// `BAD_USER_INPUT` at the field of the filter.
    pub fn condition(&self, backend: DbBackend, column: &Expr) -> Result<Condition> {
        let mut all = Condition::all();
        if let Some(text) = &self.equals {
            all = all.add(column.clone().eq(comparable(text, "equals")?));
        }
        if let Some(texts) = &self.any_of {
            all = all.add(column.clone().is_in(each_comparable(texts, "anyOf")?));
        }
        if let Some(text) = &self.contains {
            all = all.add(contains(backend, column.clone(), &comparable(text, "contains")?));
        }
        if let Some(text) = &self.starts_with {
            let text = comparable(text, "startsWith")?;
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            // No LIKE, which on SQLite ignores case, and no range, for whose index SQLite would leave the list's.
            let start = Expr::cust_with_exprs(
                if backend == DbBackend::Sqlite {
                    "substr(?, 1, ?)"
                } else {
                    "left($1, CAST($2 AS integer))"
                },
                [column.clone(), Expr::val(length)],
            );
            all = all.add(start.eq(text));
        }
        Ok(all)
    }
}

impl TagFilter {
    /// # Errors
    /// `BAD_USER_INPUT` at the field of the filter.
    pub fn condition(&self, backend: DbBackend, column: &Expr) -> Result<Condition> {
        let mut all = Condition::all();
        if let Some(tags) = &self.has_any {
            all = all.add(has_any(backend, column, &each_comparable(tags, "hasAny")?));
        }
        if let Some(tags) = &self.has_all {
            for tag in each_comparable(tags, "hasAll")? {
                all = all.add(has_any(backend, column, &[tag]));
            }
        }
        if let Some(tags) = &self.has_none {
            all = all.add(has_any(backend, column, &each_comparable(tags, "hasNone")?).not());
        }
        Ok(all)
    }
}

impl Bounds {
    /// # Errors
    /// `BAD_USER_INPUT` at `min` or `max`.
    pub fn condition(&self, backend: DbBackend, column: &Expr) -> Result<Condition> {
        for (bound, field) in [(self.min, "min"), (self.max, "max")] {
            if bound.is_some_and(|bound| bound < 0) {
                return Err(Error::invalid(field, "A number from 0 on is expected."));
            }
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            return Err(Error::invalid("min", "`min` is not above `max`."));
        }
        let column = if backend == DbBackend::Sqlite { unindexed(column.clone()) } else { column.clone() };
        Ok(Condition::all()
            .add_option(self.min.map(|min| column.clone().gte(min)))
            .add_option(self.max.map(|max| column.lte(max))))
    }
}

impl Period {
    /// # Errors
    /// `BAD_USER_INPUT` at `from` or `to`.
    pub fn condition(&self, column: &Expr) -> Result<Condition> {
        for (time, field) in [(self.from, "from"), (self.to, "to")] {
            if time.is_some_and(|time| !storable(time)) {
                return Err(Error::invalid(field, "A year from 1 to 9999 is expected."));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Error::invalid("from", "`from` is not after `to`."));
        }
        // PostgreSQL keeps microseconds.
        let kept = |time: DateTime<Utc>| time.trunc_subsecs(6);
        Ok(Condition::all()
            .add_option(self.from.map(|from| column.clone().gte(kept(from))))
            .add_option(self.to.map(|to| column.clone().lt(kept(to)))))
    }
}

/// The values of a list that holds at most a hundred.
///
/// # Errors
/// `BAD_USER_INPUT` at the field.
pub fn check_max_values<'a, T>(values: &'a [T], field: &str) -> Result<&'a [T]> {
    if values.len() > MAX_VALUES {
        return Err(Error::invalid(field, format!("At most {MAX_VALUES} values are given at once.")));
    }
    Ok(values)
}

/// Texts of a list that can be compared.
///
/// # Errors
/// `BAD_USER_INPUT` at the field.
pub fn each_checked<'a>(texts: &'a [String], field: &str) -> Result<Vec<&'a str>> {
    check_max_values(texts, field)?.iter().map(|text| checked(text, field)).collect()
}

/// A text that can be compared.
///
/// # Errors
/// `BAD_USER_INPUT` at the field.
pub fn checked<'a>(text: &'a str, field: &str) -> Result<&'a str> {
    if text.is_empty() || text.contains('\0') || text.chars().count() > MAX_TEXT {
        let message = format!("A text of 1 to {MAX_TEXT} characters is expected.");
        return Err(Error::invalid(field, message));
    }
    Ok(text)
}

/// A text as names and tags are stored: equivalent spellings are one.
fn comparable(text: &str, field: &str) -> Result<String> {
    Ok(checked(&composed(text), field)?.to_owned())
}

fn each_comparable(texts: &[String], field: &str) -> Result<Vec<String>> {
    check_max_values(texts, field)?.iter().map(|text| comparable(text, field)).collect()
}

/// Whether a text occurs in a column, whatever the case of the letters that the column's collation knows.
pub fn contains(backend: DbBackend, column: Expr, text: &str) -> Expr {
    let pattern = Expr::val(format!("%{}%", escaped(text)));
    // On SQLite LIKE ignores case by itself. Written out: sea-query puts the escape of an ILIKE into parentheses.
    let like = if backend == DbBackend::Sqlite { "? LIKE ? ESCAPE '!'" } else { "$1 ILIKE $2 ESCAPE '!'" };
    Expr::cust_with_exprs(like, [column, pattern])
}

/// A text in which nothing has a meaning to LIKE.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            escaped.push('!');
        }
        escaped.push(c);
    }
    escaped
}

/// Whether a column's JSON array holds one of the texts.
fn has_any(backend: DbBackend, column: &Expr, texts: &[String]) -> Expr {
    if texts.is_empty() {
        return Expr::cust("1 = 0");
    }
    if backend == DbBackend::Sqlite {
        let places = vec!["?"; texts.len()].join(", ");
        let values = texts.iter().map(|text| Expr::val(text.as_str()));
        return Expr::cust_with_exprs(
            format!("EXISTS (SELECT 1 FROM json_each(?) WHERE value IN ({places}))"),
            std::iter::once(column.clone()).chain(values),
        );
    }
    let holds = texts.iter().map(|text| {
        let array = Value::from(serde_json::json!([text]).to_string());
        Expr::cust_with_exprs("$1 @> CAST($2 AS jsonb)", [column.clone(), Expr::val(array)])
    });
    holds.reduce(|any, one| any.or(one)).unwrap_or_else(|| Expr::cust("1 = 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_a_meaning_to_like() {
        assert_eq!(escaped("100%_!a"), "100!%!_!!a");
    }
}
