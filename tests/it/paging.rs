//! Lists: exact pages in both directions, in every order, while rows are inserted and deleted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::png;

/// Every list with pages: how to query it, its orders, and a filter that every row passes.
const LISTS: [(&str, &str, &[&str], &str); 8] = [
    ("images", "ImageOrder", &IMAGE_ORDERS, ""),
    ("files", "FileOrder", &FILE_ORDERS, ""),
    ("workspaces", "WorkspaceOrder", &["NAME", "CREATED_AT"], ""),
    ("workspace.images", "ImageOrder", &IMAGE_ORDERS, ""),
    ("workspace.files", "FileOrder", &FILE_ORDERS, ""),
    (
        "images",
        "ImageOrder",
        &["SIZE", "TAKEN_AT"],
        "filter: { format: [PNG], size: { min: 1 }, hasAlt: false }",
    ),
    ("files", "FileOrder", &["FILENAME"], "filter: { mimeTypes: [\"image/*\"], tags: { hasNone: [\"x\"] } }"),
    ("workspace.images", "ImageOrder", &["CREATED_AT", "WIDTH"], "filter: { search: \".PNG\" }"),
];

/// All orders of images.
pub(crate) const IMAGE_ORDERS: [&str; 7] =
    ["CREATED_AT", "UPDATED_AT", "FILENAME", "SIZE", "WIDTH", "HEIGHT", "TAKEN_AT"];
/// All orders of files.
pub(crate) const FILE_ORDERS: [&str; 4] = ["CREATED_AT", "UPDATED_AT", "FILENAME", "SIZE"];

/// A query for one page of a list.
fn query(list: &str, order: &str, filter: &str) -> String {
    let sized = if list == "workspaces" { "" } else { "totalCountPrecision totalSize" };
    let page = format!(
        "(first: $first, after: $after, last: $last, before: $before, orderBy: $order, {filter}) {{
        totalCount {sized} edges {{ cursor node {{ id }} }} nodes {{ id }}
        pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor total }} }}"
    );
    let head = format!(
        "query($first: Int, $after: String, $last: Int, $before: String, $order: {order}, $w: ID = \"\")"
    );
    match list.strip_prefix("workspace.") {
        Some(inner) => format!("{head} {{ workspace(id: $w) {{ list: {inner}{page} }} }}"),
        None => format!("{head} {{ list: {list}{page} }}").replace(", $w: ID = \"\"", ""),
    }
}

struct PagedList<'a> {
    server: &'a Server,
    name: &'a str,
    query: String,
    order: Value,
}

impl PagedList<'_> {
    async fn page(&self, arguments: Value) -> Value {
        let mut data = self.server.query(&self.query, self.variables(arguments)).await;
        if self.name.starts_with("workspace.") {
            data["workspace"]["list"].take()
        } else {
            data["list"].take()
        }
    }

    async fn refusal(&self, arguments: Value) -> String {
        self.server.refusal(ADMIN, &self.query, self.variables(arguments)).await
    }

    fn variables(&self, mut arguments: Value) -> Value {
        arguments["order"] = self.order.clone();
        if self.name.starts_with("workspace.") {
            arguments["w"] = json!(self.server.workspace);
        }
        arguments
    }
}

fn ids(page: &Value) -> Vec<String> {
    page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

/// Seven images of which some share name and size, and seven workspaces of which some share a name.
async fn server_with_rows(server: &Server) {
    for (i, name) in ["b.png", "a.png", "b.png", "c.png", "a.png", "b.png", "d.png"].into_iter().enumerate() {
        let bytes =
            if i % 2 == 0 { png(1) } else { crate::pictures::picture(50, 50, image::ImageFormat::Png) };
        server.file(name, bytes).await;
    }
    for name in ["b", "a", "b", "c", "a", "b"] {
        server.other_workspace(name).await;
    }
}

both! {
    /// Every list in every order: both directions give the same rows, with exact flags and stable totals.
    async fn every_list_pages_in_both_directions(database: Database) {
        let server = Server::start(database).await;
        server_with_rows(&server).await;
        for (name, kind, orders, filter) in LISTS {
            for field in orders {
                for direction in ["ASC", "DESC"] {
                    let order = json!({ "field": field, "direction": direction });
                    let list = PagedList { server: &server, name, query: query(name, kind, filter), order };
                    walk(&list).await;
                }
            }
        }
    }

    /// Every list refuses invalid arguments by name.
    async fn invalid_arguments_are_refused(database: Database) {
        let server = Server::start(database).await;
        server_with_rows(&server).await;
        for (name, kind, orders, filter) in LISTS {
            let order = json!({ "field": orders[0], "direction": "ASC" });
            let list = PagedList { server: &server, name, query: query(name, kind, filter), order };
            let cursor = list.page(json!({ "first": 1 })).await["pageInfo"]["endCursor"].clone();
            for arguments in [
                json!({ "first": 0 }),
                json!({ "first": 101 }),
                json!({ "last": 0 }),
                json!({ "last": 101 }),
                json!({ "first": -1 }),
                json!({ "first": 1, "last": 1 }),
                json!({ "after": cursor, "before": cursor }),
                json!({ "first": 1, "before": cursor }),
                json!({ "last": 1, "after": cursor }),
                json!({ "after": "" }),
                json!({ "after": "nonsense" }),
                json!({ "after": "x".repeat(5000) }),
            ] {
                assert_eq!(list.refusal(arguments.clone()).await, "BAD_USER_INPUT", "{name} {arguments}");
            }
            // A cursor belongs to its list and order.
            for (other, kind, orders, filter) in LISTS {
                for field in orders {
                    for direction in ["ASC", "DESC"] {
                        let order = json!({ "field": field, "direction": direction });
                        let same = direction == "ASC" && list.order["field"] == *field
                            && name.trim_start_matches("workspace.") == other.trim_start_matches("workspace.");
                        if !same {
                            let other = PagedList { server: &server, name: other, query: query(other, kind, filter), order };
                            assert_eq!(other.refusal(json!({ "after": cursor })).await, "BAD_USER_INPUT");
                        }
                    }
                }
            }
        }
    }

    /// `ids` narrows a list, and does not show rows that the user may not see.
    async fn ids_narrow_a_list(database: Database) {
        let server = Server::start(database).await;
        server_with_rows(&server).await;
        let all = ids(&server.query("{ images { nodes { id } } }", json!({})).await["images"]);
        let query = "query($ids: [ID!], $w: ID) { images(ids: $ids, workspaceId: $w) { totalCount nodes { id } } }";
        let some = vec![all[4].clone(), all[1].clone(), all[1].clone(), "img_00000000000000000000000000".to_owned()];
        let found = server.query(query, json!({ "ids": some })).await["images"].clone();
        assert_eq!((ids(&found), &found["totalCount"]), (vec![all[1].clone(), all[4].clone()], &json!(2)));
        let none = server.query(query, json!({ "ids": [] })).await["images"].clone();
        assert_eq!(none, json!({ "totalCount": 0, "nodes": [] }));
        let stranger = server.token("stranger@example.org", None).await;
        let found = server.query_as(&stranger, query, json!({ "ids": all })).await["images"].clone();
        assert_eq!(found, json!({ "totalCount": 0, "nodes": [] }));
        let elsewhere = server.other_workspace("elsewhere").await;
        let found = server.query(query, json!({ "ids": all, "w": elsewhere })).await["images"].clone();
        assert_eq!(found, json!({ "totalCount": 0, "nodes": [] }));
        assert_eq!(server.refusal(ADMIN, query, json!({ "ids": ["fil_00000000000000000000000000"] })).await, "BAD_USER_INPUT");
    }

    /// In every order, a member's list over several workspaces is merged from one index range per workspace.
    async fn a_members_list_merges_workspaces(database: Database) {
        use imagegraph::entity::membership::Role;
        let server = Server::start(database).await;
        let mut workspaces = vec![server.workspace.clone()];
        for i in 0..3 {
            workspaces.push(server.other_workspace(&format!("w{i}")).await);
        }
        for i in 0..24 {
            let input = json!({ "workspaceId": workspaces[i % 4] });
            let name = format!("{}", (i * 7) % 5);
            let payload = server.upload_as(ADMIN, input, &name, "", png(u32::try_from(i).unwrap())).await;
            assert_eq!(payload["userErrors"], json!([]));
        }
        for workspace in &workspaces[..3] {
            server.token("member@example.org", Some((workspace, Role::Viewer))).await;
        }
        let token = server.token("member@example.org", None).await;
        let query = "query($after: String, $order: ImageOrder) { images(first: 4, after: $after, orderBy: $order) {
            totalCount nodes { id filename: file { filename } workspaceId size width updatedAt } pageInfo { hasNextPage hasPreviousPage endCursor } } }";
        for field in IMAGE_ORDERS {
            for direction in ["ASC", "DESC"] {
                let order = json!({ "field": field, "direction": direction });
                let (mut after, mut seen) = (Value::Null, Vec::new());
                loop {
                    let variables = json!({ "after": after, "order": order });
                    let page = server.query_as(&token, query, variables).await["images"].clone();
                    assert_eq!(page["totalCount"], 18);
                    assert_eq!(page["pageInfo"]["hasPreviousPage"], json!(!seen.is_empty()));
                    seen.extend(page["nodes"].as_array().unwrap().clone());
                    assert!(page["nodes"].as_array().unwrap().iter().all(|node| node["workspaceId"] != workspaces[3].as_str()));
                    after = page["pageInfo"]["endCursor"].clone();
                    if page["pageInfo"]["hasNextPage"] == false {
                        break;
                    }
                }
                assert_eq!(seen.len(), 18);
                let keys: Vec<_> = seen
                    .iter()
                    .map(|node| match field {
                        "FILENAME" => (node["filename"]["filename"].to_string(), 0, node["id"].to_string()),
                        "UPDATED_AT" => (node["updatedAt"].to_string(), 0, node["id"].to_string()),
                        "SIZE" => (String::new(), node["size"].as_i64().unwrap(), node["id"].to_string()),
                        "WIDTH" => (String::new(), node["width"].as_i64().unwrap(), node["id"].to_string()),
                        _ => (String::new(), 0, node["id"].to_string()),
                    })
                    .collect();
                assert!(if direction == "ASC" { keys.is_sorted() } else { keys.iter().rev().is_sorted() }, "{field} {direction}");
            }
        }
    }

    /// Random data and random pages in both directions, with rows inserted and deleted in between: no row that exists
    /// all the time is skipped or shown twice.
    async fn unchanged_rows_are_seen_exactly_once(database: Database) {
        let seed: u64 = rand::random();
        eprintln!("seed {seed}");
        let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
        use rand::{RngExt, SeedableRng};
        let server = Server::start(database).await;
        let mut live = Vec::new();
        for _ in 0..25 {
            live.push(insert(&server, random.random_range(0..5)).await);
        }
        for field in FILE_ORDERS {
            for direction in ["ASC", "DESC"] {
                for backward in [false, true] {
                    let order = json!({ "field": field, "direction": direction });
                    let list = PagedList { server: &server, name: "files", query: query("files", "FileOrder", ""), order };
                    let before: BTreeSet<String> = live.iter().cloned().collect();
                    let (mut seen, mut cursor, mut gone) = (Vec::new(), Value::Null, BTreeSet::new());
                    loop {
                        let size = random.random_range(1..8);
                        let page = if backward {
                            list.page(json!({ "last": size, "before": cursor })).await
                        } else {
                            list.page(json!({ "first": size, "after": cursor })).await
                        };
                        seen.extend(ids(&page));
                        let (more, next) = if backward { ("hasPreviousPage", "startCursor") } else { ("hasNextPage", "endCursor") };
                        if page["pageInfo"][more] == false {
                            break;
                        }
                        cursor = page["pageInfo"][next].clone();
                        if random.random_bool(0.5) {
                            live.push(insert(&server, random.random_range(0..5)).await);
                        }
                        if random.random_bool(0.5) {
                            let id = live.swap_remove(random.random_range(0..live.len()));
                            let delete = "mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success } }";
                            server.query(delete, json!({ "id": id })).await;
                            gone.insert(id);
                        }
                    }
                    let unique: BTreeSet<String> = seen.iter().cloned().collect();
                    assert_eq!(unique.len(), seen.len(), "twice: {field} {direction} {backward} seed {seed}");
                    let missed: Vec<_> = before.difference(&gone).filter(|id| !unique.contains(*id)).collect();
                    assert!(missed.is_empty(), "missed {missed:?}: {field} {direction} {backward} seed {seed}");
                }
            }
        }
    }
}

async fn insert(server: &Server, kind: usize) -> String {
    let file = server.file(["a", "b", "c", "d", "e"][kind], vec![b'x'; kind + 1]).await;
    file["id"].as_str().unwrap().to_owned()
}

async fn walk(list: &PagedList<'_>) {
    let what = format!("{} {}", list.name, list.order);
    let whole = list.page(json!({})).await;
    let all = ids(&whole);
    assert_eq!(all.len(), 7, "{what}");
    assert_eq!((&whole["totalCount"], &whole["pageInfo"]["total"]), (&json!(7), &json!(7)), "{what}");
    if list.name != "workspaces" {
        assert_eq!(whole["totalCountPrecision"], "EXACT", "{what}");
        assert!(whole["totalSize"].as_i64() > Some(0), "{what}");
    }
    let cursors: Vec<Value> =
        whole["edges"].as_array().unwrap().iter().map(|edge| edge["cursor"].clone()).collect();
    for size in [1, 3, 100] {
        for at in 0..=7 {
            let after = if at == 0 { Value::Null } else { cursors[at - 1].clone() };
            let page = list.page(json!({ "first": size, "after": after })).await;
            let end = (at + size).min(7);
            assert_eq!(ids(&page), all[at..end], "{what} first {size} at {at}");
            assert_eq!(page["pageInfo"]["hasNextPage"], json!(end < 7), "{what} first {size} at {at}");
            assert_eq!(page["pageInfo"]["hasPreviousPage"], json!(at > 0), "{what} first {size} at {at}");
            let before = if at == 7 { Value::Null } else { cursors[at].clone() };
            let page = list.page(json!({ "last": size, "before": before })).await;
            let start = at.saturating_sub(size);
            assert_eq!(ids(&page), all[start..at], "{what} last {size} at {at}");
            assert_eq!(page["pageInfo"]["hasPreviousPage"], json!(start > 0), "{what} last {size} at {at}");
            assert_eq!(page["pageInfo"]["hasNextPage"], json!(at < 7), "{what} last {size} at {at}");
        }
    }
}
