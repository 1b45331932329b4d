//! Every list is a range of an index, on both databases: no sort, and no row read that is not answered.

use imagegraph::entity::membership::Role;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};

/// Rows of each table: enough that a plan that reads them all would be dearer.
const ROWS: i64 = 20_000;

async fn fill(server: &Server) {
    let db = &server.running.app.db.write;
    let other = server.other_workspace("other").await;
    let uuid = |id: &str| id.parse::<imagegraph::id::WorkspaceId>().unwrap().0;
    let (a, b) = (uuid(&server.workspace), uuid(&other));
    let sqlite = db.get_database_backend() == DbBackend::Sqlite;
    let series = if sqlite {
        format!(
            "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {ROWS}) SELECT i FROM s) s"
        )
    } else {
        format!("generate_series(1, {ROWS}) AS s(i)")
    };
    let workspace = if sqlite {
        format!("CASE WHEN i % 2 = 0 THEN x'{}' ELSE x'{}' END", a.simple(), b.simple())
    } else {
        format!("CASE WHEN i % 2 = 0 THEN '{a}'::uuid ELSE '{b}'::uuid END")
    };
    let id = |kind: i32| {
        if sqlite {
            format!("unhex(printf('0190000{kind}%08x70008000%08x', i, i))")
        } else {
            format!(
                "(lpad('0190000{kind}', 8, '0') || lpad(to_hex(i), 8, '0') || '70008000' || lpad(to_hex(i), 8, '0'))::uuid"
            )
        }
    };
    let now = if sqlite { "'2026-01-01T00:00:00+00:00'" } else { "now()" };
    let hash = if sqlite { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
    let name = if sqlite {
        "printf('%05d.jpg', (i * 7919) % 1000)"
    } else {
        "lpad(((i * 7919) % 1000)::text, 5, '0') || '.jpg'"
    };
    let number = if sqlite { "(i * 104729) % 5000" } else { "(i::bigint * 104729) % 5000" };
    let text = if sqlite { "i" } else { "i::text" };
    for statement in [
        format!("INSERT INTO file (id, workspace_id, filename, status, mime_type, size, sha256, blob_id, image_status, created_at, updated_at)
                 SELECT {}, {workspace}, {name}, 'READY', 'image/jpeg', {number}, {hash}, {}, 'READY', {now}, {now} FROM {series}", id(1), id(1)),
        format!("INSERT INTO image (id, workspace_id, file_id, filename, size, mime_type, format, width, height, animated, require_signed_urls, state, cf_image_id, account_hash, created_at, updated_at)
                 SELECT {}, {workspace}, {}, {name}, {number}, 'image/jpeg', 'JPEG', 10, 10, false, false, 'READY', {text}, 'hash', {now}, {now} FROM {series}", id(2), id(1)),
        "ANALYZE".to_owned(),
    ] {
        db.execute_unprepared(&statement).await.unwrap();
    }
}

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
        fill(&server).await;
        let other = server.query("{ workspaces { nodes { id } } }", json!({})).await;
        let ids: Vec<String> = other["workspaces"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
        let one = server.token("one@example.org", Some((&ids[0], Role::Viewer))).await;
        server.token("two@example.org", Some((&ids[0], Role::Viewer))).await;
        let two = server.token("two@example.org", Some((&ids[1], Role::Viewer))).await;
        for (who, token) in [("admin", ADMIN), ("one", one.as_str()), ("two", two.as_str())] {
            for list in ["images", "files"] {
                let kind = if list == "images" { "ImageOrder" } else { "FileOrder" };
                let query = format!("query($after: String, $order: {kind}) {{ {list}(first: 100, after: $after, orderBy: $order) {{ nodes {{ id }} pageInfo {{ endCursor hasPreviousPage }} }} }}");
                for field in ["CREATED_AT", "FILENAME", "SIZE"] {
                    for direction in ["ASC", "DESC"] {
                        let order = json!({ "field": field, "direction": direction });
                        let page = server.query_as(token, &query, json!({ "order": order })).await;
                        for after in [Value::Null, page[list]["pageInfo"]["endCursor"].clone()] {
                            let deep = !after.is_null();
                            let plans = plans(&server, token, &query, json!({ "after": after, "order": order })).await;
                            assert!(!plans.is_empty());
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
                let searches = lines
                    .iter()
                    .filter(|line| line.contains("SEARCH") && (line.contains('<') || line.contains('>')))
                    .count();
                assert!(searches >= 1, "{who} {list} {field}: the place is no index condition\n{plan}");
            }
        }
        Database::Postgres => {
            let sorts = lines
                .iter()
                .filter(|line| {
                    line.trim_start().trim_start_matches("-> ").trim_start().starts_with("Sort  (")
                })
                .count();
            assert!(sorts <= usize::from(who == "two"), "{who} {list} {field}\n{plan}");
            assert!(
                !lines.iter().any(|line| line.contains("Filter:")
                    || line.contains("Seq Scan")
                    || line.contains("Bitmap")),
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
