//! Every list is read by an index range on both databases: no sort, and no row that is not part of the answer.

use imagegraph::entity::membership::Role;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::paging::{FILE_ORDERS, IMAGE_ORDERS};
use crate::seed_rows::insert_files_and_images;

/// Rows of each table, so many that a plan that reads all of them would be more expensive.
const ROWS: i64 = 20_000;

/// The statements on a table that answering a query runs, with their plans.
async fn plans(server: &Server, token: &str, query: &str, variables: Value) -> Vec<String> {
    let statements = server.running.app.db.recorded(server.query_as(token, query, variables)).await;
    let list = |statement: &&Statement| {
        (statement.sql.contains("FROM \"image\"") || statement.sql.contains("FROM \"file\""))
            && statement.sql.contains("ORDER BY")
    };
    let mut plans = Vec::new();
    for statement in statements.iter().filter(list) {
        plans.push(format!("{}\n{}", statement.sql, plan(server, statement).await));
    }
    plans
}

/// The plan of a statement, which is not run.
async fn plan(server: &Server, statement: &Statement) -> String {
    let db = &server.running.app.db.read;
    let sqlite = db.get_database_backend() == DbBackend::Sqlite;
    let (explain, column) = if sqlite { ("EXPLAIN QUERY PLAN", "detail") } else { ("EXPLAIN", "QUERY PLAN") };
    let explained = Statement { sql: format!("{explain} {}", statement.sql), ..statement.clone() };
    let rows = db.query_all_raw(explained).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.try_get::<String>("", column).unwrap()).collect();
    lines.join("\n")
}

/// A filter that most rows pass, so that walking along the list is the best plan.
fn loose(list: &str) -> Value {
    match list {
        "images" => {
            json!({ "size": { "min": 1 }, "format": ["JPEG"], "width": { "max": 400 }, "filename": { "contains": ".JPG" } })
        }
        _ => {
            json!({ "size": { "min": 1 }, "mimeTypes": ["image/*"], "tags": { "hasAll": ["holiday"] }, "status": ["READY"] })
        }
    }
}

struct Lists<'a> {
    server: &'a Server,
    database: Database,
    who: &'a str,
    token: &'a str,
}

impl Lists<'_> {
    /// The first and the deepest page of an order, in both directions.
    async fn check(&self, list: &str, field: &str, filter: Value) {
        let Lists { server, database, who, token } = *self;
        let kind = if list == "images" { "Image" } else { "File" };
        let query = format!(
            "query($first: Int, $after: String, $order: {kind}Order, $filter: {kind}Filter) {{ {list}(first: $first, after: $after, orderBy: $order, filter: $filter) {{ nodes {{ id }} pageInfo {{ hasPreviousPage }} }} }}"
        );
        let end = format!(
            "query($order: {kind}Order, $filter: {kind}Filter) {{ {list}(last: 2, orderBy: $order, filter: $filter) {{ pageInfo {{ startCursor }} }} }}"
        );
        for direction in ["ASC", "DESC"] {
            let order = json!({ "field": field, "direction": direction });
            let last = server.query_as(token, &end, json!({ "order": order, "filter": filter })).await;
            let deepest = last[list]["pageInfo"]["startCursor"].clone();
            assert!(deepest.is_string(), "{list} {filter}");
            for after in [Value::Null, deepest] {
                // With a small limit a planner may estimate a sort to be cheap.
                for first in [1, 100] {
                    let deep = !after.is_null();
                    let variables =
                        json!({ "first": first, "after": after, "order": order, "filter": filter });
                    let plans = plans(server, token, &query, variables).await;
                    assert_eq!(plans.len(), 1 + usize::from(deep));
                    for plan in plans {
                        assert_is_range(database, who, list, field, deep, &filter, &plan);
                    }
                }
            }
        }
    }

    /// The plans of a first page.
    async fn plans_of_first_page(&self, list: &str, field: &str, search: &str) -> Vec<String> {
        let kind = if list == "images" { "Image" } else { "File" };
        let query = format!(
            "query($order: {kind}Order, $search: String) {{ {list}(first: 100, orderBy: $order, filter: {{ search: $search }}) {{ nodes {{ id }} }} }}"
        );
        let variables = json!({ "order": { "field": field, "direction": "DESC" }, "search": search });
        plans(self.server, self.token, &query, variables).await
    }
}

fn orders(list: &str) -> &'static [&'static str] {
    if list == "images" { &IMAGE_ORDERS } else { &FILE_ORDERS }
}

/// A server with many rows, and tokens of an admin, of a member of one workspace and of a member of two.
async fn server_with_many_rows(database: Database) -> (Server, [(&'static str, String); 3]) {
    // The statements of the worker would be recorded as well.
    let server =
        Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600))
            .await;
    let other = server.other_workspace("other").await;
    insert_files_and_images(server.running.app.db.write.connection(), [&server.workspace, &other], ROWS)
        .await;
    let one = server.token("one@example.org", Some((&server.workspace, Role::Viewer))).await;
    server.token("two@example.org", Some((&server.workspace, Role::Viewer))).await;
    let two = server.token("two@example.org", Some((&other, Role::Viewer))).await;
    server.quiet().await;
    (server, [("admin", ADMIN.to_owned()), ("one", one), ("two", two)])
}

/// A connection to the database of a server, which prepares statements once.
async fn one_connection(server: &Server) -> sea_orm::DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(server.running.app.config.database_url());
    options.max_connections(1).min_connections(1);
    sea_orm::Database::connect(options).await.unwrap()
}

/// How often PostgreSQL has used a plan that it keeps, of the first executions of a statement.
async fn generic_plans(connection: &sea_orm::DatabaseConnection, statement: &Statement) -> i64 {
    for _ in 0..7 {
        connection.query_all_raw(statement.clone()).await.unwrap();
    }
    let kept = "SELECT generic_plans FROM pg_prepared_statements WHERE statement = $1";
    let kept = Statement::from_sql_and_values(DbBackend::Postgres, kept, [statement.sql.clone().into()]);
    connection.query_one_raw(kept).await.unwrap().unwrap().try_get("", "generic_plans").unwrap()
}

both! {
    /// First and deep pages of every order, for an admin, a member of one workspace and a member of two.
    async fn every_page_is_an_index_range(database: Database) {
        let (server, tokens) = server_with_many_rows(database).await;
        for (who, token) in &tokens {
            let lists = Lists { server: &server, database, who, token };
            for list in ["images", "files"] {
                for field in orders(list) {
                    lists.check(list, field, Value::Null).await;
                }
            }
        }
    }

    /// A filter is checked row by row, and the position stays an index condition.
    async fn a_filtered_page_is_an_index_range(database: Database) {
        let (server, tokens) = server_with_many_rows(database).await;
        for (who, token) in &tokens {
            let lists = Lists { server: &server, database, who, token };
            for list in ["images", "files"] {
                for field in orders(list) {
                    lists.check(list, field, loose(list)).await;
                }
            }
        }
    }

    /// Files are joined to the rows of a page, which is read as without them.
    async fn a_page_with_files_is_an_index_range(database: Database) {
        let (server, tokens) = server_with_many_rows(database).await;
        for (who, token) in &tokens {
            for field in IMAGE_ORDERS {
                for first in [1, 100] {
                    let query = format!("{{ images(first: {first}, orderBy: {{ field: {field}, direction: DESC }}) {{ nodes {{ file {{ size }} }} }} }}");
                    let plans = plans(&server, token, &query, json!({})).await;
                    let [plan] = &plans[..] else { panic!("{plans:?}") };
                    let (page, of_files) = match database {
                        // The page runs as a coroutine, and is what the outer loop scans.
                        Database::Sqlite => plan.split_once("SCAN page\n").unwrap(),
                        Database::Postgres => plan.split_once("Index Scan using file_pkey").unwrap(),
                    };
                    assert_is_range(database, who, "images", field, false, &Value::Null, page);
                    let by_id = match database {
                        Database::Sqlite => "SEARCH file USING INDEX sqlite_autoindex_file_1 (id=?)",
                        Database::Postgres => "Index Cond: (id = ",
                    };
                    assert!(of_files.contains(by_id), "{plan}");
                }
            }
        }
    }

    /// PostgreSQL does not plan the lists below workspaces for each request, and the plan that it keeps is an index range.
    async fn the_plan_of_lists_below_workspaces_is_kept(database: Database) {
        let (server, tokens) = server_with_many_rows(database).await;
        if database == Database::Sqlite {
            return;
        }
        for index in 0..18 {
            server.other_workspace(&format!("more {index}")).await;
        }
        let connection = one_connection(&server).await;
        let (_, admin) = &tokens[0];
        for list in ["images", "files"] {
            for field in orders(list) {
                let query = format!("{{ workspaces {{ nodes {{ {list}(first: 5, orderBy: {{ field: {field}, direction: DESC }}) {{ nodes {{ id }} }} }} }} }}");
                let statements = server.running.app.db.recorded(server.query_as(admin, &query, json!({}))).await;
                let below = statements.into_iter().find(|statement| statement.sql.contains("LATERAL")).unwrap();
                assert!(generic_plans(&connection, &below).await > 0, "{list} {field}: {}", below.sql);
                connection.execute_unprepared("SET plan_cache_mode = force_generic_plan").await.unwrap();
                connection.execute_unprepared(&format!("PREPARE below AS {}", below.sql)).await.unwrap();
                let explain = Statement::from_string(DbBackend::Postgres, "EXPLAIN EXECUTE below('{}')");
                let rows = connection.query_all_raw(explain).await.unwrap();
                let lines: Vec<String> = rows.iter().map(|row| row.try_get("", "QUERY PLAN").unwrap()).collect();
                let plan = format!("{}\n{}", below.sql, lines.join("\n"));
                assert_is_range(database, "generic", list, field, false, &Value::Null, &plan);
                connection.execute_unprepared("DEALLOCATE below; RESET plan_cache_mode").await.unwrap();
            }
        }
    }

    /// Nor does PostgreSQL plan the look-up of a single row for each request.
    async fn the_plan_of_a_row_is_kept(database: Database) {
        let (server, tokens) = server_with_many_rows(database).await;
        if database == Database::Sqlite {
            return;
        }
        let connection = one_connection(&server).await;
        for (who, token) in &tokens {
            for (list, table) in [("files", "file"), ("images", "image")] {
                let listed = server.query_as(token, &format!("{{ {list}(first: 1) {{ nodes {{ id }} }} }}"), json!({})).await;
                let id = json!({ "id": listed[list]["nodes"][0]["id"] });
                let node = "query($id: ID!) { node(id: $id) { id ... on File { filename } ... on Image { width } } }";
                let statements = server.running.app.db.recorded(server.query_as(token, node, id)).await;
                let from = format!("FROM \"{table}\"");
                let row = statements.into_iter().find(|statement| statement.sql.contains(&from)).unwrap();
                assert!(generic_plans(&connection, &row).await > 0, "{who}: {}", row.sql);
            }
        }
    }

    /// The trash has indexes of its own.
    async fn the_trash_is_an_index_range(database: Database) {
        let (server, tokens) = server_with_many_rows(database).await;
        let db = &server.running.app.db.write;
        db.execute_unprepared("UPDATE file SET deleted_at = updated_at WHERE size % 10 < 4").await.unwrap();
        if database == Database::Postgres {
            db.execute_unprepared("ANALYZE").await.unwrap();
        }
        for (who, token) in &tokens {
            let lists = Lists { server: &server, database, who, token };
            for field in FILE_ORDERS {
                lists.check("files", field, json!({ "trashed": true })).await;
            }
        }
    }

    /// An upload looks for its bytes by the index of hashes, also where it inserts and where it locks.
    async fn a_duplicate_is_found_by_its_hash(database: Database) {
        let (server, _) = server_with_many_rows(database).await;
        let db = &server.running.app.db;
        let mut lookups = 0;
        for who in [ADMIN, &server.token("owner@example.org", Some((&server.workspace, Role::Owner))).await] {
            // New, and then a duplicate.
            for _ in 0..2 {
                let statements = db.recorded(server.upload_as(who, json!({}), "a.txt", "", who.into())).await;
                for statement in statements.iter().filter(|statement| statement.sql.contains("\"sha256\" = ")) {
                    lookups += 1;
                    let plan = plan(&server, statement).await;
                    let what = format!("{}\n{plan}", statement.sql);
                    assert!(plan.contains("file_by_hash"), "{what}");
                    let scans = ["Seq Scan on file", "SCAN file", "TEMP B-TREE", "Sort"];
                    assert!(!scans.iter().any(|scan| plan.contains(scan)), "{what}");
                }
            }
        }
        assert_eq!(lookups, 8);
    }

    /// A rare word is found by the search index, whatever the order; a common one along the list.
    async fn a_search_uses_an_index(database: Database) {
        let (server, tokens) = server_with_many_rows(database).await;
        for (who, token) in &tokens {
            let lists = Lists { server: &server, database, who, token };
            for list in ["images", "files"] {
                let table = list.trim_end_matches('s');
                for field in orders(list) {
                    for plan in lists.plans_of_first_page(list, field, "00421").await {
                        match database {
                            Database::Sqlite => {
                                assert!(plan.contains(&format!("SCAN {table}_search VIRTUAL TABLE")), "{plan}");
                                assert!(plan.contains(&format!("SEARCH {table} USING INDEX")), "{plan}");
                                assert!(plan.contains("(id=?)"), "{plan}");
                            }
                            Database::Postgres => {
                                assert!(plan.contains(&format!("Bitmap Index Scan on {table}_by_text")), "{plan}");
                                assert!(!plan.contains("Seq Scan"), "{plan}");
                            }
                        }
                    }
                    for plan in lists.plans_of_first_page(list, field, "jpg").await {
                        assert_is_range(database, who, list, field, false, &json!({ "search": "jpg" }), &plan);
                    }
                }
            }
        }
    }
}

fn assert_is_range(
    database: Database,
    who: &str,
    list: &str,
    field: &str,
    deep: bool,
    filter: &Value,
    plan: &str,
) {
    let table = list.trim_end_matches('s');
    let (name, key) = match field {
        "CREATED_AT" => ("id", "id"),
        "UPDATED_AT" => ("updated_at", "updated_at"),
        "FILENAME" => ("filename", "filename"),
        "SIZE" => ("size", "size"),
        "WIDTH" => ("width", "width_key"),
        "HEIGHT" => ("height", "height_key"),
        "TAKEN_AT" => ("taken_at", "taken_at_key"),
        _ => panic!("{field}"),
    };
    let trash = if filter["trashed"] == true { "_trash" } else { "" };
    let scope = if who == "admin" { "" } else { "workspace_" };
    let index = format!("{table}{trash}_by_{scope}{name}");
    assert!(plan.contains(&index), "{who} {list} {field} deep {deep}: not by {index}\n{plan}");
    let lines: Vec<&str> = plan.lines().skip(1).collect();
    match database {
        Database::Sqlite => {
            assert!(!plan.contains("ANY("), "{plan}");
            // A merge sorts the page that each of its ranges returned; a range itself is never sorted.
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
            // A few rows before the end of a list may be sorted, at most a page of each range.
            for line in lines.iter().filter(|line| line.contains("Sort  (")) {
                let rows =
                    line.split(" rows=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
                assert!(
                    rows.is_some_and(|rows| rows <= 202),
                    "{who} {list} {field}
{plan}"
                );
            }
            let narrowed = !filter.is_null() && filter["trashed"] != true;
            assert!(narrowed || !lines.iter().any(|line| line.contains("Filter:")), "{plan}");
            assert!(!lines.iter().any(|line| line.contains("Seq Scan")), "{plan}");
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
