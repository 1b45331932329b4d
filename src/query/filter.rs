//! Conditions of lists: validated, and translated to SQL.
//!
//! With a condition, the database must still read along the index that the list is ordered by. PostgreSQL decides by
//! statistics. SQLite has none and would use any index that begins with a column of the condition, so such a column is
//! written as an expression without an index, except where the condition matches few rows.

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Value};
use sea_orm::{DbBackend, IdenStatic};

use crate::error::{Error, Result};
use crate::normalization::to_nfc;
use crate::query::page::{is_storable, unindexed};

/// Most values in one list of a filter.
pub const MAX_VALUES: usize = 100;
/// Longest text in a filter, in characters.
const MAX_TEXT: usize = 1024;

/// Condition on a text. Each field that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextFilter {
    pub equals: Option<String>,
    pub any_of: Option<Vec<String>>,
    /// Without regard to the case of ASCII letters.
    pub contains: Option<String>,
    pub starts_with: Option<String>,
}

/// Condition on tags. Each field that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagFilter {
    pub has_any: Option<Vec<String>>,
    pub has_all: Option<Vec<String>>,
    pub has_none: Option<Vec<String>>,
}

/// A range of numbers, both ends included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NumberRange {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// A range of time: `from` is included, `to` is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

/// A column of a table.
pub fn column(table: &'static str, name: impl IdenStatic) -> Expr {
    Expr::col((table, name.as_str()))
}

impl TextFilter {
    /// The condition on a column.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at the field of the filter.
    pub fn condition(&self, backend: DbBackend, column: &Expr) -> Result<Condition> {
        let mut all = Condition::all();
        if let Some(text) = &self.equals {
            all = all.add(column.clone().eq(normalized_text(text, "equals")?));
        }
        if let Some(texts) = &self.any_of {
            all = all.add(column.clone().is_in(normalized_texts(texts, "anyOf")?));
        }
        if let Some(text) = &self.contains {
            all = all.add(contains(backend, column.clone(), &normalized_text(text, "contains")?));
        }
        if let Some(text) = &self.starts_with {
            let text = normalized_text(text, "startsWith")?;
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            // Neither LIKE, which ignores case on SQLite, nor a range of texts, for which SQLite would use another index
            // than the list's.
            let prefix = Expr::cust_with_exprs(
                if backend == DbBackend::Sqlite {
                    "substr(?, 1, ?)"
                } else {
                    "left($1, CAST($2 AS integer))"
                },
                [column.clone(), Expr::val(length)],
            );
            all = all.add(prefix.eq(text));
        }
        Ok(all)
    }
}

impl TagFilter {
    /// The condition on a column.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at the field of the filter.
    pub fn condition(&self, backend: DbBackend, column: &Expr) -> Result<Condition> {
        let mut all = Condition::all();
        if let Some(tags) = &self.has_any {
            all = all.add(has_any(backend, column, &normalized_texts(tags, "hasAny")?));
        }
        if let Some(tags) = &self.has_all {
            for tag in normalized_texts(tags, "hasAll")? {
                all = all.add(has_any(backend, column, &[tag]));
            }
        }
        if let Some(tags) = &self.has_none {
            all = all.add(has_any(backend, column, &normalized_texts(tags, "hasNone")?).not());
        }
        Ok(all)
    }
}

impl NumberRange {
    /// The condition on a column.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at `min` or `max`.
    pub fn condition(&self, backend: DbBackend, column: &Expr) -> Result<Condition> {
        for (bound, field) in [(self.min, "min"), (self.max, "max")] {
            if bound.is_some_and(|bound| bound < 0) {
                return Err(Error::invalid(field, "The number must be 0 or more."));
            }
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            return Err(Error::invalid("min", "`min` must not be greater than `max`."));
        }
        let column = if backend == DbBackend::Sqlite { unindexed(column.clone()) } else { column.clone() };
        Ok(Condition::all()
            .add_option(self.min.map(|min| column.clone().gte(min)))
            .add_option(self.max.map(|max| column.lte(max))))
    }
}

impl TimeRange {
    /// The condition on a column.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at `from` or `to`.
    pub fn condition(&self, column: &Expr) -> Result<Condition> {
        for (time, field) in [(self.from, "from"), (self.to, "to")] {
            if time.is_some_and(|time| !is_storable(time)) {
                return Err(Error::invalid(field, "The year must be between 1 and 9999."));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Error::invalid("from", "`from` must not be later than `to`."));
        }
        // PostgreSQL stores microseconds.
        let truncated = |time: DateTime<Utc>| time.trunc_subsecs(6);
        Ok(Condition::all()
            .add_option(self.from.map(|from| column.clone().gte(truncated(from))))
            .add_option(self.to.map(|to| column.clone().lt(truncated(to)))))
    }
}

/// Checks that a list of a filter has at most [`MAX_VALUES`] values, and returns it.
///
/// # Errors
/// `BAD_USER_INPUT` at the field.
pub fn check_max_values<'a, T>(values: &'a [T], field: &str) -> Result<&'a [T]> {
    if values.len() > MAX_VALUES {
        return Err(Error::invalid(field, format!("The list has more than {MAX_VALUES} values.")));
    }
    Ok(values)
}

/// Checks each text of a list as [`check_text`] does, and returns them.
///
/// # Errors
/// `BAD_USER_INPUT` at the field.
pub fn check_texts<'a>(texts: &'a [String], field: &str) -> Result<Vec<&'a str>> {
    check_max_values(texts, field)?.iter().map(|text| check_text(text, field)).collect()
}

/// Checks that a text can be compared: neither empty, nor too long, nor with a NUL character. Returns it.
///
/// # Errors
/// `BAD_USER_INPUT` at the field.
pub fn check_text<'a>(text: &'a str, field: &str) -> Result<&'a str> {
    if text.is_empty() || text.contains('\0') || text.chars().count() > MAX_TEXT {
        let message = format!("The text must have 1 to {MAX_TEXT} characters.");
        return Err(Error::invalid(field, message));
    }
    Ok(text)
}

/// A checked text in the form in which names and tags are stored.
fn normalized_text(text: &str, field: &str) -> Result<String> {
    Ok(check_text(&to_nfc(text), field)?.to_owned())
}

fn normalized_texts(texts: &[String], field: &str) -> Result<Vec<String>> {
    check_max_values(texts, field)?.iter().map(|text| normalized_text(text, field)).collect()
}

/// Whether a text occurs in a column, ignoring the case of the letters for which the database knows it: ASCII letters on
/// SQLite, those of the column's collation on PostgreSQL.
pub fn contains(backend: DbBackend, column: Expr, text: &str) -> Expr {
    let pattern = Expr::val(format!("%{}%", escape_like(text)));
    // LIKE ignores case on SQLite. Written as SQL because sea-query puts the escape character of ILIKE in parentheses.
    let like = if backend == DbBackend::Sqlite { "? LIKE ? ESCAPE '!'" } else { "$1 ILIKE $2 ESCAPE '!'" };
    Expr::cust_with_exprs(like, [column, pattern])
}

/// Escapes the characters that have a meaning in a LIKE pattern.
fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            escaped.push('!');
        }
        escaped.push(c);
    }
    escaped
}

/// Whether the JSON array in a column contains one of the texts.
fn has_any(backend: DbBackend, column: &Expr, texts: &[String]) -> Expr {
    if texts.is_empty() {
        return Expr::cust("1 = 0");
    }
    if backend == DbBackend::Sqlite {
        let placeholders = vec!["?"; texts.len()].join(", ");
        let values = texts.iter().map(|text| Expr::val(text.as_str()));
        return Expr::cust_with_exprs(
            format!("EXISTS (SELECT 1 FROM json_each(?) WHERE value IN ({placeholders}))"),
            std::iter::once(column.clone()).chain(values),
        );
    }
    let contains = texts.iter().map(|text| {
        let array = Value::from(serde_json::json!([text]).to_string());
        Expr::cust_with_exprs("$1 @> CAST($2 AS jsonb)", [column.clone(), Expr::val(array)])
    });
    contains.reduce(|any, one| any.or(one)).unwrap_or_else(|| Expr::cust("1 = 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_patterns_are_escaped() {
        assert_eq!(escape_like("100%_!a"), "100!%!_!!a");
    }
}
