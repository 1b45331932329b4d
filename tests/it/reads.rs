//! Queries: every root field, the relations between the types, and the number of statements.

use imagegraph::entity::api_token::Scope;
use imagegraph::entity::membership::Role;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::paging::IMAGE_ORDERS;
use crate::pictures::{photo, png};
use crate::seed_rows::insert_files_and_images;

both! {
    /// Every object can be fetched by its id, with its type.
    async fn node_and_nodes(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(1)).await;
        let user = server.query("{ viewer { user { id name email role } } }", json!({})).await["viewer"]["user"].clone();
        assert_eq!(user["role"], "ADMIN");
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.png\", mimeType: \"image/png\" }) { directUpload { id } } }";
        let upload = server.query(create, json!({ "w": server.workspace })).await["createDirectUpload"]["directUpload"]["id"].clone();
        let ids = [file["id"].clone(), json!(server.workspace), file["image"]["id"].clone(), user["id"].clone(), upload];
        let kinds = ["File", "Workspace", "Image", "User", "DirectUpload"];
        for (id, kind) in ids.iter().zip(kinds) {
            let found = server.query("query($id: ID!) { node(id: $id) { __typename id } }", json!({ "id": id })).await;
            assert_eq!(found["node"], json!({ "__typename": kind, "id": id }));
        }
        let missing = "img_00000000000000000000000000";
        let mut asked = ids.to_vec();
        asked.insert(1, json!(missing));
        asked.push(ids[0].clone());
        let found = server.query("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": asked })).await;
        let found: Vec<Value> = found["nodes"].as_array().unwrap().clone();
        let expected: Vec<Value> =
            asked.iter().map(|id| if *id == missing { Value::Null } else { json!({ "id": id }) }).collect();
        assert_eq!(found, expected);
        for id in [missing, "fil_00000000000000000000000000", "usr_00000000000000000000000000", "tok_00000000000000000000000000"] {
            let found = server.query("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await;
            assert_eq!(found["node"], Value::Null);
        }
        for id in ["", "img_1", "IMG_00000000000000000000000000", "xyz_00000000000000000000000000"] {
            assert_eq!(server.refusal(ADMIN, "query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await, "BAD_USER_INPUT");
        }
        let many = vec![missing; 101];
        assert_eq!(server.refusal(ADMIN, "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": many })).await, "BAD_USER_INPUT");
    }

    /// File, image and workspace refer to each other, and each root field finds its object.
    async fn relations(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(6)).await;
        let variables = json!({ "file": file["id"], "image": file["image"]["id"], "workspace": server.workspace });
        let found = server.query(
            "query($file: ID!, $image: ID!, $workspace: ID!) {
                file(id: $file) { id workspaceId workspace { id name viewerRole } image { id fileId } createdBy { name email } createdAt updatedAt failure { code } }
                image(id: $image) { id fileId file { id image { id } } workspaceId workspace { id } cfImageId aspectRatio urlExpiresAt createdAt updatedAt }
                imageByFile(fileId: $file) { id }
                workspace(id: $workspace) { id files { nodes { id } totalCount } images(first: 1) { nodes { id } totalCount } }
                workspaces { nodes { id } totalCount pageInfo { total } }
                server { emulated version maxPageSize maxFileSize maxImageSize imageMimeTypes uploadTransports }
                variants { name fit width height metadata neverRequireSignedUrls }
            }",
            variables.clone(),
        ).await;
        assert_eq!(found["file"]["workspace"], json!({ "id": server.workspace, "name": "My workspace", "viewerRole": "OWNER" }));
        assert_eq!(found["file"]["image"], json!({ "id": file["image"]["id"], "fileId": file["id"] }));
        assert_eq!(found["file"]["createdBy"], json!({ "name": "Admin", "email": "admin@localhost" }));
        assert_eq!(found["image"]["file"], json!({ "id": file["id"], "image": { "id": file["image"]["id"] } }));
        assert_eq!(found["image"]["aspectRatio"], json!(40.0 / 60.0));
        assert_eq!(found["image"]["urlExpiresAt"], Value::Null);
        assert_eq!(found["imageByFile"], json!({ "id": file["image"]["id"] }));
        assert_eq!(found["workspace"]["files"], json!({ "nodes": [{ "id": file["id"] }], "totalCount": 1 }));
        assert_eq!(found["workspace"]["images"], json!({ "nodes": [{ "id": file["image"]["id"] }], "totalCount": 1 }));
        assert_eq!(found["workspaces"], json!({ "nodes": [{ "id": server.workspace }], "totalCount": 1, "pageInfo": { "total": 1 } }));
        assert_eq!(found["server"]["emulated"], true);
        assert_eq!(found["variants"][0]["name"], "public");
        let created = found["file"]["createdAt"].as_str().unwrap();
        assert_eq!((created.len(), &created[23..]), (24, "Z"), "milliseconds and Z: {created}");
    }

    /// The fields of an answer are in the order of the selection.
    async fn fields_are_in_selection_order(database: Database) {
        let server = Server::start(database).await;
        server.file("photo.jpg", photo(1)).await;
        let query = "{ images { totalCount nodes { url id ...F width } pageInfo { total hasNextPage } } a: server { version } }
                     fragment F on Image { workspace { name id } file { filename id } height }";
        let body = json!({ "query": query });
        let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body);
        let text = request.send().await.unwrap().text().await.unwrap();
        let places: Vec<_> = ["\"images\"", "\"totalCount\"", "\"nodes\"", "\"url\"", "\"workspace\"", "\"name\"", "\"file\"", "\"filename\"", "\"height\"", "\"width\"", "\"pageInfo\"", "\"total\"", "\"hasNextPage\"", "\"a\""]
            .iter()
            .map(|key| text.find(key).unwrap_or_else(|| panic!("{key}: {text}")))
            .collect();
        assert!(places.is_sorted(), "{text}");
    }

    /// An image is read together with its file, and each as it is without the other.
    async fn an_image_with_its_file_is_two_statements(database: Database) {
        let server = Server::start_with(database, |config| {
            config.worker_interval = std::time::Duration::from_secs(3600);
        })
        .await;
        let file = server.file("a.jpg", photo(1)).await;
        let id = file["image"]["id"].clone();
        server.quiet().await;
        let fields = "id width file { filename size tags } ";
        for query in [
            format!("query($id: ID!) {{ image(id: $id) {{ {fields} }} }}"),
            format!("query($id: ID!) {{ node(id: $id) {{ ... on Image {{ {fields} }} ... on File {{ id }} }} }}"),
        ] {
            let answer = server.query(&query, json!({ "id": id })).await;
            let image = answer.as_object().unwrap().values().next().unwrap();
            assert_eq!(image["file"], json!({ "filename": "a.jpg", "size": file["size"], "tags": [] }), "{answer}");
            assert_eq!(image["id"], id);
            // Who is asking, and both rows.
            assert_eq!(server.statements(&query, json!({ "id": id })).await, 2, "{query}");
        }
        // Two selections of the file have the columns of each.
        let twice = "query($id: ID!) { image(id: $id) { a: file { filename } b: file { size } } other: image(id: $id) { file { id status } } }";
        let answer = server.query(twice, json!({ "id": id })).await;
        assert_eq!(answer["image"], json!({ "a": { "filename": "a.jpg" }, "b": { "size": file["size"] } }));
        assert_eq!(answer["other"]["file"], json!({ "id": file["id"], "status": "READY" }));
        // A token that may not read files gets the image, and an error for the file.
        let member = Some((server.workspace.as_str(), Role::Viewer));
        let token = server.token_with("images@example.org", member, vec![Scope::ImagesRead], None).await;
        let query = "query($id: ID!) { image(id: $id) { id file { filename } } }";
        let answer = server.ask(&token, query, json!({ "id": id })).await;
        assert_eq!(answer["data"]["image"], json!({ "id": id, "file": null }), "{answer}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN");
        assert_eq!(answer["errors"][0]["path"], json!(["image", "file"]));
        // A stranger finds neither.
        let stranger = server.token("stranger@example.org", None).await;
        let answer = server.ask(&stranger, query, json!({ "id": id })).await;
        assert_eq!(answer["data"], json!({ "image": null }), "{answer}");
    }

    /// A page takes a fixed number of statements, whatever its size; counting takes one more, and only if it is
    /// selected.
    async fn a_page_is_a_fixed_number_of_statements(database: Database) {
        // The statements of the worker would be counted.
        let server = Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600)).await;
        let page = "query($n: Int) { images(first: $n) { nodes { id url
            file { id filename image { id } createdBy { name } } workspace { id name } rendition(variant: \"public\") { url width height } } } }";
        let total = "query($n: Int) { images(first: $n) { totalCount pageInfo { total } nodes { id
            file { id filename } workspace { id name } } } }";
        for i in 0..3 {
            server.file("a.png", png(i)).await;
        }
        server.query(page, json!({ "n": 1 })).await;
        let few = server.statements(page, json!({ "n": 3 })).await;
        for i in 3..100 {
            server.file("a.png", png(i)).await;
        }
        let body = server.query(page, json!({ "n": 100 })).await;
        assert_eq!(body["images"]["nodes"].as_array().unwrap().len(), 100);
        let many = server.statements(page, json!({ "n": 100 })).await;
        // Who is asking; images with their files; workspaces; images of the files and users.
        assert_eq!((few, many), (5, 5));
        assert_eq!(server.statements(total, json!({ "n": 100 })).await, 4);
        let ends = "query($c: String) { images(first: 5, after: $c) { nodes { id } pageInfo { hasNextPage hasPreviousPage endCursor } } }";
        let cursor = server.query(ends, json!({})).await["images"]["pageInfo"]["endCursor"].clone();
        assert_eq!(server.statements(ends, json!({ "c": cursor })).await, 3);
    }

    /// Files that are read with a page are those of its images, which stay in their order.
    async fn a_page_with_files_is_the_page_alone(database: Database) {
        let server = Server::start(database).await;
        let other = server.other_workspace("other").await;
        insert_files_and_images(server.running.app.db.write.connection(), [&server.workspace, &other], 60).await;
        server.token("member@example.org", Some((&server.workspace, Role::Viewer))).await;
        let member = server.token("member@example.org", Some((&other, Role::Viewer))).await;
        let query = |more: &str| format!("query($first: Int, $last: Int, $order: ImageOrder) {{ images(first: $first, last: $last, orderBy: $order) {{
            edges {{ cursor node {{ id fileId {more} }} }} pageInfo {{ hasNextPage hasPreviousPage }} }} }}");
        for token in [ADMIN, &member] {
            for field in IMAGE_ORDERS {
                for (size, direction) in [("first", "ASC"), ("first", "DESC"), ("last", "ASC"), ("last", "DESC")] {
                    let variables = json!({ size: 7, "order": { "field": field, "direction": direction } });
                    let alone = server.query_as(token, &query(""), variables.clone()).await;
                    let mut page = server.query_as(token, &query("file { id filename }"), variables).await;
                    for edge in page["images"]["edges"].as_array_mut().unwrap() {
                        let file = edge["node"].as_object_mut().unwrap().remove("file").unwrap();
                        assert_eq!(file["id"], edge["node"]["fileId"], "{field} {size} {direction}");
                    }
                    assert_eq!(page, alone, "{field} {size} {direction}");
                    assert_eq!(page["images"]["edges"].as_array().unwrap().len(), 7);
                }
            }
        }
    }
}

/// Reads, and transactions that begin, take another connection when the database has closed theirs: nobody sees that it was
/// restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_are_replaced() {
    use sea_orm::ConnectionTrait;

    if !Database::Postgres.is_there() {
        return;
    }
    let server = Server::start(Database::Postgres).await;
    for round in 0..5 {
        // Several at once, so that the pool has several connections.
        let reads = (0..8).map(|_| server.query("{ viewer { user { id } } }", json!({})));
        futures_util::future::join_all(reads).await;
        let close = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        server.running.app.db.write.execute_unprepared(close).await.unwrap();
        if round % 2 == 0 {
            server.query("{ files { nodes { id } } }", json!({})).await;
        } else {
            server.file("a.png", png(round)).await;
        }
    }
}
