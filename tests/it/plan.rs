//! Every list is a range of an index, on both databases: no sort, and no row read that is not answered.

use imagegraph::entity::membership::Role;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

use crate::filled::fill;
use crate::harness::{ADMIN, Database, Server};

/// Rows of each table: enough that a plan that reads them all would be dearer.
const ROWS: i64 = 20_000;

/// The statements that answering a query runs on a table, with their plans.
async fn plans(server: &Server, token: &str, query: &str, variables: Value) -> Vec<String> {
    let statements = server.running.app.db.recorded(server.query_as(token, query, variables)).await;
    let db = &server.running.app.db.read;
    let mut plans = Vec::new();
    for statement in statements {
        let list = (statement.sql.contains("FROM \"image\"") || statement.sql.contains("FROM \"file\""))
            && statement.sql.contains("ORDER BY");
        if !list {
            continue;
        }
        let explain =
            if db.get_database_backend() == DbBackend::Sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
        let explained = Statement { sql: format!("{explain} {}", statement.sql), ..statement.clone() };
        let rows = db.query_all_raw(explained).await.unwrap();
        let column = if db.get_database_backend() == DbBackend::Sqlite { "detail" } else { "QUERY PLAN" };
        let lines: Vec<String> = rows.iter().map(|row| row.try_get::<String>("", column).unwrap()).collect();
        plans.push(format!("{}\n{}", statement.sql, lines.join("\n")));
    }
    plans
}

both! {
    /// First and deep pages of every order, for an admin, a member of one workspace and of two.
    async fn every_page_is_an_index_range(database: Database) {
        // The worker's own look-ups would be recorded as well.
        let server = Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600)).await;
        let other = server.other_workspace("other").await;
        fill(&server.running.app.db.write, [&server.workspace, &other], ROWS).await;
        let other = server.query("{ workspaces { nodes { id } } }", json!({})).await;
        let ids: Vec<String> = other["workspaces"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
        let one = server.token("one@example.org", Some((&ids[0], Role::Viewer))).await;
        server.token("two@example.org", Some((&ids[0], Role::Viewer))).await;
        let two = server.token("two@example.org", Some((&ids[1], Role::Viewer))).await;
        for (who, token) in [("admin", ADMIN), ("one", one.as_str()), ("two", two.as_str())] {
            for list in ["images", "files"] {
                let kind = if list == "images" { "ImageOrder" } else { "FileOrder" };
                let query = format!("query($first: Int, $after: String, $order: {kind}) {{ {list}(first: $first, after: $after, orderBy: $order) {{ nodes {{ id }} pageInfo {{ hasPreviousPage }} }} }}");
                let end = format!("query($order: {kind}) {{ {list}(last: 2, orderBy: $order) {{ pageInfo {{ startCursor }} }} }}");
                for field in ["CREATED_AT", "FILENAME", "SIZE"] {
                    for direction in ["ASC", "DESC"] {
                        let order = json!({ "field": field, "direction": direction });
                        let last = server.query_as(token, &end, json!({ "order": order })).await;
                        let deepest = last[list]["pageInfo"]["startCursor"].clone();
                        for after in [Value::Null, deepest] {
                            // A planner that sees a small limit may think that a sort is cheap.
                            for first in [1, 100] {
                                let deep = !after.is_null();
                                let variables = json!({ "first": first, "after": after, "order": order });
                                let plans = plans(&server, token, &query, variables).await;
                                assert_eq!(plans.len(), 1 + usize::from(deep));
                                for plan in plans {
                                    assert_is_range(database, who, list, field, deep, &plan);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn assert_is_range(database: Database, who: &str, list: &str, field: &str, deep: bool, plan: &str) {
    let table = list.trim_end_matches('s');
    let key = match field {
        "FILENAME" => "filename",
        "SIZE" => "size",
        _ => "id",
    };
    let index =
        if who == "admin" { format!("{table}_by_{key}") } else { format!("{table}_by_workspace_{key}") };
    assert!(plan.contains(&index), "{who} {list} {field} deep {deep}: not by {index}\n{plan}");
    let lines: Vec<&str> = plan.lines().skip(1).collect();
    match database {
        Database::Sqlite => {
            assert!(!plan.contains("ANY("), "{plan}");
            // A merge sorts the page that each of its ranges gave; a range itself is never sorted.
            let sorts = lines.iter().filter(|line| line.contains("TEMP B-TREE")).count();
            assert!(sorts <= if who == "two" { 2 } else { 0 }, "{who} {list} {field}\n{plan}");
            assert!(
                !lines
                    .iter()
                    .any(|line| line.starts_with(&format!("SCAN {table}")) && !line.contains("INDEX")),
                "{plan}"
            );
            if deep {
                let place = if key == "id" {
                    vec!["id>?".to_owned(), "id<?".to_owned()]
                } else {
                    vec![format!("({key},id)")]
                };
                let searches = lines
                    .iter()
                    .filter(|line| line.contains("SEARCH") && place.iter().any(|place| line.contains(place)))
                    .count();
                assert!(searches >= 1, "{who} {list} {field}: the place is no index condition\n{plan}");
            }
        }
        Database::Postgres => {
            // A few rows before the end of a list may be sorted, never more than a page of each range.
            for line in lines.iter().filter(|line| line.contains("Sort  (")) {
                let rows =
                    line.split(" rows=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
                assert!(
                    rows.is_some_and(|rows| rows <= 202),
                    "{who} {list} {field}
{plan}"
                );
            }
            assert!(
                !lines.iter().any(|line| line.contains("Filter:") || line.contains("Seq Scan")),
                "{plan}"
            );
            if deep {
                let conditions = lines
                    .iter()
                    .filter(|line| {
                        line.contains("Index Cond:")
                            && line.contains(if key == "id" { "id " } else { "ROW(" })
                    })
                    .count();
                assert!(conditions >= 1, "{who} {list} {field}: the place is no index condition\n{plan}");
            }
        }
    }
}
