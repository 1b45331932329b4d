//! Text search by trigram indexes.
//!
//! On PostgreSQL the searched text is a column with a trigram index, and the planner estimates the number of matches. On
//! SQLite it is in a full-text table with a trigram tokenizer, and the planner has no estimate, so the matches are counted
//! first.

use sea_orm::sea_query::Expr;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, Statement};

use crate::app::Reader;
use crate::error::{Error, Result};
use crate::normalization::to_nfc;
use crate::query::filter::contains;
use crate::query::page::IndexRanges;

/// Longest search, in characters.
const MAX_SEARCH: usize = 200;
/// Most words of a search.
const MAX_WORDS: usize = 20;
/// Most matches that are sorted on SQLite. If there are more, reading along the list finds the next match soon.
const MAX_SORTED_MATCHES: i64 = 5_000;

/// The words of a search, normalized as the searched texts are. A row matches if all of them occur in it.
///
/// # Errors
/// `BAD_USER_INPUT` at `search`.
pub fn words(search: &str) -> Result<Vec<String>> {
    let search = to_nfc(search);
    let words: Vec<String> = search.split_whitespace().map(str::to_owned).collect();
    let length = search.chars().count();
    if words.is_empty() || length > MAX_SEARCH || search.chars().any(|c| c.is_control() && !c.is_whitespace())
    {
        let message = format!("A search has 1 to {MAX_SEARCH} characters and no control character.");
        return Err(Error::invalid("search", message));
    }
    if words.len() > MAX_WORDS {
        return Err(Error::invalid("search", format!("A search has at most {MAX_WORDS} words.")));
    }
    Ok(words)
}

/// Restricts ranges to the rows in whose text all words occur.
pub async fn filter<E: EntityTrait>(
    db: &Reader,
    mut ranges: IndexRanges<E>,
    words: &[String],
) -> Result<IndexRanges<E>> {
    let table = E::default().table_name();
    if db.get_database_backend() == DbBackend::Sqlite {
        return filter_on_sqlite(db, table, ranges, words).await;
    }
    for word in words {
        ranges = ranges.filter(contains(DbBackend::Postgres, Expr::col((table, "search_text")), word));
    }
    Ok(ranges)
}

/// The same on SQLite, where words of three characters and more are found by the full-text table.
async fn filter_on_sqlite<E: EntityTrait>(
    db: &Reader,
    table: &str,
    mut ranges: IndexRanges<E>,
    words: &[String],
) -> Result<IndexRanges<E>> {
    // A word of fewer than three characters has no trigram.
    let (long, short): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| word.chars().count() >= 3);
    for word in short {
        let occurs = contains(DbBackend::Sqlite, Expr::col("body"), word);
        let sql = format!("EXISTS (SELECT 1 FROM {table}_text WHERE {table}_text.id = {table}.id AND ?)");
        ranges = ranges.filter(Expr::cust_with_expr(sql, occurs));
    }
    if long.is_empty() {
        return Ok(ranges);
    }
    let phrases: Vec<_> = long.iter().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
    let phrases = phrases.join(" ");
    if count_matches(db, table, &phrases).await? > MAX_SORTED_MATCHES {
        let sql = format!(
            "EXISTS (SELECT 1 FROM {table}_search WHERE {table}_search MATCH ?
             AND rowid = (SELECT n FROM {table}_text WHERE {table}_text.id = {table}.id))"
        );
        return Ok(ranges.filter(Expr::cust_with_values(sql, [phrases])));
    }
    let sql = format!(
        "{table}.id IN (SELECT id FROM {table}_text WHERE n IN
         (SELECT rowid FROM {table}_search WHERE {table}_search MATCH ?))"
    );
    Ok(ranges.filter(Expr::cust_with_values(sql, [phrases])).selective())
}

/// The number of rows in which the phrases occur, counted up to one more than [`MAX_SORTED_MATCHES`].
async fn count_matches(db: &Reader, table: &str, phrases: &str) -> Result<i64> {
    let sql = format!(
        "SELECT count(*) AS matches FROM
         (SELECT 1 FROM {table}_search WHERE {table}_search MATCH ? LIMIT {})",
        MAX_SORTED_MATCHES + 1
    );
    let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, [phrases.into()]);
    let row = db.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get("", "matches")).transpose()?.unwrap_or(0))
}
