//! Search for words in a text of each row, by an index of its trigrams.
//!
//! PostgreSQL keeps the text in a column with a trigram index, and knows how often a word occurs. SQLite keeps it in a
//! full text table of trigrams and does not know; it is asked first.

use sea_orm::sea_query::Expr;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, Statement};

use crate::error::{Error, Result};
use crate::query::filter::contains;
use crate::query::page::Range;
use crate::spelling::composed;

/// Longest search, in characters.
const MAX_SEARCH: usize = 200;
/// Most words of a search.
const MAX_WORDS: usize = 20;
/// Rows up to which SQLite looks up what its full text table found and sorts it. If there are more, the next ones of
/// the list are soon found by walking along it.
const MAX_LOOKED_UP: i64 = 5_000;

/// The words of a search, all of which must occur, spelled as texts are stored.
///
/// # Errors
/// `BAD_USER_INPUT` at `search`.
pub fn words(search: &str) -> Result<Vec<String>> {
    let search = composed(search);
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

/// Those rows of a table's ranges in whose text all words occur.
pub async fn within<E: EntityTrait>(
    db: &DatabaseConnection,
    mut ranges: Vec<Range<E>>,
    words: &[String],
) -> Result<Vec<Range<E>>> {
    let table = E::default().table_name();
    if db.get_database_backend() != DbBackend::Sqlite {
        for word in words {
            let occurs = contains(DbBackend::Postgres, Expr::col((table, "search_text")), word);
            ranges = ranges.into_iter().map(|range| range.filter(occurs.clone())).collect();
        }
        return Ok(ranges);
    }
    // Shorter ones have no trigram.
    let (long, short): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| word.chars().count() >= 3);
    for word in short {
        let occurs = contains(DbBackend::Sqlite, Expr::col("body"), word);
        let sql = format!("EXISTS (SELECT 1 FROM {table}_text WHERE {table}_text.id = {table}.id AND ?)");
        let occurs = Expr::cust_with_expr(sql, occurs);
        ranges = ranges.into_iter().map(|range| range.filter(occurs.clone())).collect();
    }
    if long.is_empty() {
        return Ok(ranges);
    }
    let phrases: Vec<_> = long.iter().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
    let phrases = phrases.join(" ");
    let found = found(db, table, &phrases).await?;
    if found > MAX_LOOKED_UP {
        let sql = format!(
            "EXISTS (SELECT 1 FROM {table}_search WHERE {table}_search MATCH ?
             AND rowid = (SELECT n FROM {table}_text WHERE {table}_text.id = {table}.id))"
        );
        let occurs = Expr::cust_with_values(sql, [phrases]);
        return Ok(ranges.into_iter().map(|range| range.filter(occurs.clone())).collect());
    }
    let sql = format!(
        "{table}.id IN (SELECT id FROM {table}_text WHERE n IN
         (SELECT rowid FROM {table}_search WHERE {table}_search MATCH ?))"
    );
    let occurs = Expr::cust_with_values(sql, [phrases]);
    Ok(ranges.into_iter().map(|range| range.filter(occurs.clone()).looked_up()).collect())
}

/// In how many rows the phrases occur; one more than are looked up stands for more.
async fn found(db: &DatabaseConnection, table: &str, phrases: &str) -> Result<i64> {
    let sql = format!(
        "SELECT count(*) AS found FROM
         (SELECT 1 FROM {table}_search WHERE {table}_search MATCH ? LIMIT {})",
        MAX_LOOKED_UP + 1
    );
    let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, [phrases.into()]);
    let row = db.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get("", "found")).transpose()?.unwrap_or(0))
}
