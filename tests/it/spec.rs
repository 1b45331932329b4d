//! Execution as the GraphQL specification defines it: empty objects, positions in lists, order of fields, serial
//! mutations.

use imagegraph::entity::api_token::Scope;
use imagegraph::entity::membership::Role;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::photo;

/// The text of an answer: parsing it as `serde_json::Value` would sort its keys.
async fn text(server: &Server, query: &str, variables: Value) -> String {
    let body = json!({ "query": query, "variables": variables });
    let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body);
    request.send().await.unwrap().text().await.unwrap()
}

both! {
    /// An object without selected fields is an empty object; null stands for a missing one.
    async fn an_empty_selection_is_an_empty_object(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(1)).await;
        let (id, image) = (file["id"].as_str().unwrap(), file["image"]["id"].as_str().unwrap());
        let yes_no = "$yes: Boolean = true, $no: Boolean = false, $id: ID!, $image: ID!, $none: ID!";
        for (query, data) in [
            ("{ viewer { user { id @skip(if: $yes) } } }", json!({ "viewer": { "user": {} } })),
            ("{ viewer { user { id @include(if: $no) name @skip(if: true) } scopes @skip(if: $yes) } }", json!({ "viewer": { "user": {} } })),
            ("{ viewer @skip(if: true) { scopes } }", json!({})),
            ("{ ... @include(if: $no) { viewer { scopes } } ...F @skip(if: $yes) } fragment F on Query { server { version } }", json!({})),
            ("{ x: viewer { y: user { z: id @skip(if: $yes) } } }", json!({ "x": { "y": {} } })),
            ("{ nodes(ids: [$image, $id, $none]) { ... on File { id } } }", json!({ "nodes": [{}, { "id": id }, null] })),
            ("{ nodes(ids: [$image, $id, $none]) { ... on Node { ... on Image { fileId } } } }", json!({ "nodes": [{ "fileId": id }, {}, null] })),
            ("{ nodes(ids: [$image, $none]) { ...F } } fragment F on Node { ...G } fragment G on Workspace { name }", json!({ "nodes": [{}, null] })),
            ("{ nodes(ids: [$id]) { ...F } } fragment F on Node { id @skip(if: $yes) ... on File { image { id @include(if: $no) } } }", json!({ "nodes": [{ "image": {} }] })),
            ("{ nodes(ids: [$id]) { ... on File { image { file { ...F } } } } } fragment F on File { filename @include(if: $no) }", json!({ "nodes": [{ "image": { "file": {} } }] })),
            ("{ node(id: $image) { ... on File { id } } missing: node(id: $none) { ... on File { id } } }", json!({ "node": {}, "missing": null })),
            ("{ files { nodes { id @skip(if: $yes) } edges { node { image { id @skip(if: $yes) } } } } }", json!({ "files": { "nodes": [{}], "edges": [{ "node": { "image": {} } }] } })),
            ("{ files { edges { cursor @skip(if: $yes) } pageInfo { total @skip(if: $yes) } } }", json!({ "files": { "edges": [{}], "pageInfo": {} } })),
            ("{ file(id: $id) { id @skip(if: $yes) } file(id: $id) { filename @skip(if: $yes) } }", json!({ "file": {} })),
            ("{ file(id: $id) { id @skip(if: $yes) } file(id: $id) { filename } }", json!({ "file": { "filename": "photo.jpg" } })),
            ("{ file(id: $none) { id @skip(if: $yes) } }", json!({ "file": null })),
            ("{ __schema { queryType { name @skip(if: $yes) } } __type(name: \"File\") { kind @skip(if: $yes) } }", json!({ "__schema": { "queryType": {} }, "__type": {} })),
        ] {
            // Every variable is used once more, because unused variables are refused.
            let used = "node(id: $id) @skip(if: true) { id } node1: node(id: $image) @skip(if: true) { id } node2: node(id: $none) @skip(if: $yes) { id } node3: node(id: $id) @include(if: $no) { id } ";
            let query = format!("query({yes_no}) {}", query.replacen('{', &format!("{{ {} ", used.replace("node(id: $id) @skip", "node0: node(id: $id) @skip")), 1));
            let variables = json!({ "id": id, "image": image, "none": "fil_00000000000000000000000000" });
            let answer = server.ask(ADMIN, &query, variables).await;
            assert!(answer.get("errors").is_none(), "{query}: {answer}");
            assert_eq!(answer["data"], data, "{query}");
        }
        let mutation = "mutation($yes: Boolean = true) { createWorkspace(input: { name: \"a\" }) { workspace { id @skip(if: $yes) } userErrors { code @skip(if: $yes) } }
            deleteFile(input: { id: \"fil_00000000000000000000000000\" }) { userErrors { code @skip(if: $yes) } } }";
        let expected = json!({ "createWorkspace": { "workspace": {}, "userErrors": [] }, "deleteFile": { "userErrors": [{}] } });
        assert_eq!(server.query(mutation, json!({})).await, expected);
        assert_eq!(server.query("mutation { deleteFile(input: { id: 1 }) @skip(if: true) { success } }", json!({})).await, json!({}));
        // An object that contains the empty key as data keeps it.
        let metadata = json!({ "": { "": 1 }, "a": 2 });
        let update = "mutation($id: ID!, $m: JSON, $no: Boolean = false) { updateFile(input: { id: $id, metadata: $m }) { file { metadata @skip(if: $no) } } }";
        assert_eq!(server.query(update, json!({ "id": id, "m": metadata })).await["updateFile"]["file"]["metadata"], metadata);
    }

    /// Each position of a list of ids has its result; an invalid id does not affect the others.
    async fn positions_of_nodes(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.jpg", photo(1)).await;
        let (id, image) = (&file["id"], &file["image"]["id"]);
        let query = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
        let found = async |ids: Value| server.query(query, json!({ "ids": ids })).await["nodes"].clone();
        assert_eq!(found(json!(["img_nope", id])).await, json!([null, { "id": id }]));
        let asked = json!([id, "", "nope", image, "xyz_00000000000000000000000000", 7, id, "fil_", "FIL_00000000000000000000000000", id]);
        assert_eq!(found(asked).await, json!([{ "id": id }, null, null, { "id": image }, null, null, { "id": id }, null, null, { "id": id }]));
        assert_eq!(found(json!(["nope"])).await, json!([null]));
        assert_eq!(found(json!([])).await, json!([]));
        // A type that the token may not read is an error at its position, and the rest stays.
        let token = server.token_with("reader@example.com", Some((&server.workspace, Role::Viewer)), vec![Scope::FilesRead], None).await;
        let answer = server.ask(&token, query, json!({ "ids": [image, id, "nope"] })).await;
        assert_eq!(answer["data"]["nodes"], json!([null, { "id": id }, null]), "{answer}");
        assert_eq!(answer["errors"][0]["path"], json!(["nodes", 0]), "{answer}");
        assert_eq!((answer["errors"].as_array().unwrap().len(), &answer["errors"][0]["extensions"]["code"]), (1, &json!("FORBIDDEN")));
    }

    /// Fields are in the order of the selection, those of fragments where they are spread.
    async fn fields_keep_their_order(database: Database) {
        let server = Server::start(database).await;
        let query = "query($no: Boolean = false) { server { version @include(if: $no) emulated } ...F b: __typename a: viewer { user { name @skip(if: $no) id @include(if: $no) } scopes @include(if: $no) } }
            fragment F on Query { z: __typename workspaces { totalCount pageInfo { hasNextPage endCursor @include(if: $no) } nodes { name @include(if: $no) } } }";
        let skipped = "query($yes: Boolean!) { server { version @skip(if: $yes) ...V @include(if: false) emulated __typename version } }
            fragment V on ServerInfo { version }";
        let answer = text(&server, skipped, json!({ "yes": true })).await;
        assert!(answer.starts_with(r#"{"data":{"server":{"emulated":true,"__typename":"ServerInfo","version":"#), "{answer}");
        let text = text(&server, query, json!({})).await;
        assert!(text.starts_with(r#"{"data":{"server":{"emulated":true},"z":"Query","workspaces":{"totalCount":1,"pageInfo":{"hasNextPage":false},"nodes":[{}]},"b":"Query","a":{"user":{"name":"#), "{text}");
    }

    /// Each root field of a mutation reads the state after those before it, and nothing that they cached.
    async fn mutations_see_earlier_changes(database: Database) {
        let server = Server::start(database).await;
        let create = |word: &str| format!(
            "{word}: createDirectUpload(input: {{ workspaceId: \"{}\", filename: \"{word}.txt\", mimeType: \"text/plain\" }}) {{
                file {{ workspace {{ name usage {{ fileCount }} }} }} directUpload {{ file {{ filename }} }} userErrors {{ message }} }}",
            server.workspace
        );
        let rename = |word: &str| format!(
            "{word}: updateWorkspace(input: {{ id: \"{}\", name: \"{word}\" }}) {{ workspace {{ name usage {{ fileCount }} files {{ nodes {{ workspace {{ name }} }} }} }} }}",
            server.workspace
        );
        let done = server.query(&format!("mutation {{ {} {} {} {} }}", create("a"), rename("first"), create("b"), rename("second")), json!({})).await;
        let of = |word: &str| &done[word]["file"]["workspace"];
        assert_eq!((of("a"), of("b")), (&json!({ "name": "My workspace", "usage": { "fileCount": 1 } }), &json!({ "name": "first", "usage": { "fileCount": 2 } })), "{done:#}");
        for (word, count) in [("first", 1), ("second", 2)] {
            let workspace = &done[word]["workspace"];
            assert_eq!((&workspace["name"], &workspace["usage"]["fileCount"]), (&json!(word), &json!(count)), "{done:#}");
            assert!(workspace["files"]["nodes"].as_array().unwrap().iter().all(|file| file["workspace"]["name"] == word), "{done:#}");
        }
        let file = server.file("a.jpg", photo(1)).await;
        let (file, image) = (&file["id"], &file["image"]["id"]);
        let query = "mutation($file: ID!, $image: ID!) {
            a: updateFile(input: { id: $file, filename: \"b.jpg\" }) { file { image { alt file { filename } } } }
            b: updateImage(input: { id: $image, alt: \"new\" }) { image { alt file { filename image { alt } } } }
            c: updateFile(input: { id: $file, filename: \"c.jpg\" }) { file { image { alt file { filename } } } }
            d: deleteImage(input: { id: $image }) { file { image { id } imageStatus } }
        }";
        let done = server.query(query, json!({ "file": file, "image": image })).await;
        assert_eq!(done["a"]["file"]["image"], json!({ "alt": null, "file": { "filename": "b.jpg" } }));
        assert_eq!(done["b"]["image"], json!({ "alt": "new", "file": { "filename": "b.jpg", "image": { "alt": "new" } } }));
        assert_eq!(done["c"]["file"]["image"], json!({ "alt": "new", "file": { "filename": "c.jpg" } }));
        assert_eq!(done["d"]["file"]["image"], Value::Null);
    }

    /// Rights that one root field revokes are missing for the next.
    async fn revoked_rights_apply_to_the_next_mutation(database: Database) {
        let server = Server::start(database).await;
        let member = server.token("member@example.com", Some((&server.workspace, Role::Owner))).await;
        let me = server.query_as(&member, "{ viewer { user { id } } }", json!({})).await["viewer"]["user"]["id"].clone();
        let query = "mutation($w: ID!, $me: ID!) {
            a: setWorkspaceMember(input: { workspaceId: $w, userId: $me, role: VIEWER }) { userErrors { code } }
            b: updateWorkspace(input: { id: $w, name: \"taken\" }) { userErrors { code } }
            c: removeWorkspaceMember(input: { workspaceId: $w, userId: $me }) { userErrors { code } }
            d: updateWorkspace(input: { id: $w, name: \"taken\" }) { userErrors { code } }
            e: createWorkspace(input: { name: \"mine\" }) { workspace { name viewerRole } }
        }";
        let done = server.query_as(&member, query, json!({ "w": server.workspace, "me": me })).await;
        let code = |word: &str| done[word]["userErrors"][0]["code"].as_str().unwrap_or("none");
        assert_eq!((code("a"), code("b"), code("c"), code("d")), ("none", "FORBIDDEN", "none", "NOT_FOUND"), "{done:#}");
        assert_eq!(done["e"]["workspace"], json!({ "name": "mine", "viewerRole": "OWNER" }));
    }
}
