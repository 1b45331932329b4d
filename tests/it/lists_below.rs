//! Lists below the workspaces of a page: each has the rows that it has alone, and all of them take the statements of one.

use std::collections::HashSet;

use imagegraph::entity::membership::Role;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::paging::{FILE_ORDERS, IMAGE_ORDERS};
use crate::seed_rows::insert_files_and_images;

/// What is selected of a list, below a workspace and alone.
const PAGE: &str = "edges { cursor node { id createdAt workspaceId } } nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor total } totalCount totalCountPrecision totalSize";

const ARGUMENTS: &str =
    "filter: $filter, first: $first, after: $after, last: $last, before: $before, orderBy: $order";

/// A server with three workspaces, one of them empty, and a member of two, one of them the empty one.
async fn server_with_rows(database: Database) -> (Server, Vec<String>, String) {
    // The statements of the worker would be counted.
    let server = Server::start_with(database, |config| {
        config.worker_interval = std::time::Duration::from_secs(3600);
        config.max_count = 20;
        config.max_complexity = 1_000_000;
    })
    .await;
    let (other, empty) = (server.other_workspace("other").await, server.other_workspace("empty").await);
    insert_files_and_images(server.running.app.db.write.connection(), [&server.workspace, &other], 60).await;
    server.token("member@example.org", Some((&other, Role::Owner))).await;
    let member = server.token("member@example.org", Some((&empty, Role::Viewer))).await;
    let workspaces = vec![server.workspace.clone(), other, empty];
    server.quiet().await;
    (server, workspaces, member)
}

fn variables(field: &str, filter: &Value, more: Value) -> Value {
    let mut all = json!({ "order": { "field": field, "direction": "ASC" }, "filter": filter });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// Compares a list below all workspaces with the same list of each workspace alone. Returns what is below each workspace.
async fn compare(server: &Server, token: &str, list: &str, variables: Value) -> Vec<Value> {
    let kind = if list == "images" { "Image" } else { "File" };
    let parameters = format!(
        "$filter: {kind}Filter, $first: Int, $after: String, $last: Int, $before: String, $order: {kind}Order"
    );
    let below =
        format!("query({parameters}) {{ workspaces {{ nodes {{ id {list}({ARGUMENTS}) {{ {PAGE} }} }} }} }}");
    let alone =
        format!("query({parameters}, $w: ID) {{ {list}(workspaceId: $w, {ARGUMENTS}) {{ {PAGE} }} }}");
    let found = server.query_as(token, &below, variables.clone()).await;
    let mut pages = Vec::new();
    for workspace in found["workspaces"]["nodes"].as_array().unwrap() {
        let mut variables = variables.clone();
        variables["w"] = workspace["id"].clone();
        let expected = server.query_as(token, &alone, variables.clone()).await;
        assert_eq!(workspace[list], expected[list], "{list} {variables}");
        pages.push(workspace[list].clone());
    }
    pages
}

both! {
    async fn a_list_below_workspaces_is_that_of_each_alone(database: Database) {
        let (server, workspaces, member) = server_with_rows(database).await;
        for (token, seen) in [(ADMIN, workspaces.len()), (member.as_str(), 2)] {
            for (list, orders) in [("images", &IMAGE_ORDERS[..]), ("files", &FILE_ORDERS[..])] {
                for field in orders {
                    let ask = async |more: Value, filter: &Value| {
                        compare(&server, token, list, variables(field, filter, more)).await
                    };
                    let pages = ask(json!({ "first": 3 }), &Value::Null).await;
                    assert_eq!(pages.len(), seen);
                    let full = pages.iter().find(|page| page["nodes"].as_array().unwrap().len() == 3).unwrap();
                    let cursor = full["pageInfo"]["endCursor"].clone();
                    let next = ask(json!({ "first": 3, "after": cursor }), &Value::Null).await;
                    assert!(next.iter().any(|page| page["pageInfo"]["hasPreviousPage"] == true));
                    ask(json!({ "last": 2, "before": cursor }), &Value::Null).await;
                    ask(json!({ "last": 4 }), &Value::Null).await;
                    // Some have a match and some have none, and the count of some stops at the cap.
                    ask(json!({ "first": 2 }), &json!({ "search": "jpg" })).await;
                    ask(json!({ "first": 2 }), &json!({ "size": { "max": 20 } })).await;
                }
            }
        }
    }

    /// Fixed, whatever the number of workspaces, with the relations and the lists below.
    async fn lists_below_workspaces_take_the_statements_of_one(database: Database) {
        let (server, _, _) = server_with_rows(database).await;
        let page = "nodes { id } pageInfo { hasNextPage hasPreviousPage } totalCount";
        for query in [
            // As clients send it whose components have a fragment each.
            "query($n: Int) { workspaces(first: $n) { nodes { ...A ...B } } }
             fragment A on Workspace { images(first: 2) { nodes { id file { filename } } } }
             fragment B on Workspace { images(first: 2) { totalCount nodes { file { size createdBy { name } } } } }".to_owned(),
            format!("query($n: Int) {{ workspaces(first: $n) {{ nodes {{ id images(first: 5) {{ {page} }} }} }} }}"),
            format!("query($n: Int) {{ workspaces(first: $n) {{ edges {{ node {{ files(first: 5) {{ {page} }} }} }} }} }}"),
            format!("query($n: Int) {{ viewer {{ workspaces(first: $n) {{ nodes {{ members {{ {page} }} apiTokens {{ {page} }} usage {{ fileCount }} }} }} }} }}"),
            "query($n: Int) { workspaces(first: $n) { nodes { images(first: 2, filter: { search: \"jpg\" }) { totalCount nodes { file { filename downloadUrl createdBy { name } } workspace { usage { fileCount } members { nodes { user { name } } } } } } } } }".to_owned(),
            "query($n: Int) { workspaces(first: $n) { nodes { files(first: 2, filter: { size: { max: 20 } }) { totalCount nodes { image { id url file { id } } workspace { images(first: 1) { nodes { id } } } } } } } }".to_owned(),
        ] {
            // The secret of download URLs is read once.
            server.query(&query, json!({ "n": 3 })).await;
            let few = server.statements(&query, json!({ "n": 1 })).await;
            for index in 0..9 {
                server.other_workspace(&format!("more {index} {few}")).await;
            }
            server.quiet().await;
            let many = server.statements(&query, json!({ "n": 100 })).await;
            assert_eq!(few, many, "{query}");
        }
    }

    /// Members and tokens are those of their workspace, and tokens are shown to those who manage it.
    async fn members_and_tokens_are_those_of_their_workspace(database: Database) {
        let (server, workspaces, member) = server_with_rows(database).await;
        let limited = "mutation($w: ID!, $name: String!) { createApiToken(input: { name: $name, workspaceId: $w, scopes: [FILES_READ] }) { apiToken { id } userErrors { code } } }";
        for (index, workspace) in workspaces.iter().enumerate() {
            for name in 0..=index {
                let made = server.query(limited, json!({ "w": workspace, "name": format!("{index} {name}") })).await;
                assert_eq!(made["createApiToken"]["userErrors"], json!([]));
            }
        }
        let page = "totalCount pageInfo { hasNextPage } nodes";
        let below = format!("{{ workspaces {{ nodes {{ id members(first: 1) {{ {page} {{ id user {{ email }} role }} }} apiTokens(first: 2) {{ {page} {{ id name workspaceId }} }} }} }} }}");
        let alone = format!("query($w: ID!) {{ workspace(id: $w) {{ id members(first: 1) {{ {page} {{ id user {{ email }} role }} }} apiTokens(first: 2) {{ {page} {{ id name workspaceId }} }} }} }}");
        for (token, seen) in [(ADMIN, workspaces.len()), (member.as_str(), 2)] {
            let found = server.query_as(token, &below, json!({})).await;
            let nodes = found["workspaces"]["nodes"].as_array().unwrap();
            assert_eq!(nodes.len(), seen);
            for node in nodes {
                let expected = server.query_as(token, &alone, json!({ "w": node["id"] })).await;
                assert_eq!(*node, expected["workspace"]);
                let index = workspaces.iter().position(|id| node["id"] == *id).unwrap();
                if token == ADMIN || index == 1 {
                    // The tokens of the members are older.
                    let named = node["apiTokens"]["nodes"].as_array().unwrap();
                    assert_eq!(named[0]["name"], format!("{index} {index}"));
                    assert!(node["apiTokens"]["nodes"].as_array().unwrap().iter().all(|of| of["workspaceId"] == node["id"]));
                } else {
                    assert_eq!(node["apiTokens"], Value::Null);
                }
            }
            let members: HashSet<&str> =
                nodes.iter().filter_map(|node| node["members"]["nodes"][0]["id"].as_str()).collect();
            let with_members = nodes.iter().filter(|node| node["members"]["totalCount"] != 0).count();
            assert_eq!(members.len(), with_members);
        }
    }

    /// A refusal is reported at each of the lists, with its path.
    async fn a_refused_list_below_workspaces_is_null(database: Database) {
        let (server, _, member) = server_with_rows(database).await;
        for list in ["images(first: 0)", "files(after: \"x\")", "members(last: 101)", "images(filter: { search: \"\" })"] {
            let name = list.split('(').next().unwrap();
            let answer = server.ask(ADMIN, &format!("{{ workspaces {{ nodes {{ id {list} {{ totalCount nodes {{ id }} }} }} }} }}"), json!({})).await;
            let nodes = answer["data"]["workspaces"]["nodes"].as_array().unwrap();
            assert!(nodes.iter().all(|node| node[name].is_null() && node["id"].is_string()), "{answer}");
            let mut paths: Vec<Value> = answer["errors"].as_array().unwrap().iter().map(|error| error["path"].clone()).collect();
            paths.sort_by_key(ToString::to_string);
            let expected: Vec<Value> = (0..nodes.len()).map(|index| json!(["workspaces", "nodes", index, name])).collect();
            assert_eq!(paths, expected, "{answer}");
        }
        let answer = server.ask(&member, "{ workspaces { nodes { images(after: \"x\") { nodes { id } } } } }", json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{answer}");
    }
}
