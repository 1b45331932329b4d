//! Pages and single rows are written without the executor. Random selections are compared with what the executor makes of them.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::photo;

/// Fields of a type, each with the type of its own selection set, if it has one.
type Fields = &'static [(&'static str, Option<&'static str>)];

const TYPES: [(&str, Fields); 16] = [
    (
        "Image",
        &[
            ("id", None),
            ("fileId", None),
            ("workspaceId", None),
            ("cfImageId", None),
            ("width", None),
            ("height", None),
            ("aspectRatio", None),
            ("size", None),
            ("exif", None),
            ("url", None),
            ("urlExpiresAt", None),
            ("format", None),
            ("mimeType", None),
            ("animated", None),
            ("hasAlpha", None),
            ("alt", None),
            ("thumbhash", None),
            ("blurhash", None),
            ("placeholder", None),
            ("dominantColor", None),
            ("palette", None),
            ("creator", None),
            ("cfMetadata", None),
            ("requireSignedUrls", None),
            ("createdAt", None),
            ("updatedAt", None),
            ("focalPoint", Some("Point")),
            ("photo", Some("Photo")),
            ("file", Some("File")),
            ("workspace", Some("Workspace")),
            ("rendition(variant: \"public\")", Some("Rendition")),
            ("srcSet(widths: [10, 20])", Some("SrcSet")),
        ],
    ),
    (
        "File",
        &[
            ("id", None),
            ("workspaceId", None),
            ("filename", None),
            ("mimeType", None),
            ("size", None),
            ("sha256", None),
            ("status", None),
            ("imageStatus", None),
            ("tags", None),
            ("metadata", None),
            ("createdAt", None),
            ("updatedAt", None),
            ("deletedAt", None),
            ("purgeAt", None),
            ("failure", Some("UserError")),
            ("imageFailure", Some("UserError")),
            ("image", Some("Image")),
            ("workspace", Some("Workspace")),
            ("createdBy", Some("User")),
            ("downloadUrl", None),
        ],
    ),
    (
        "Workspace",
        &[
            ("id", None),
            ("name", None),
            ("viewerRole", None),
            ("createdAt", None),
            ("updatedAt", None),
            ("usage", Some("Usage")),
            ("images(first: 2)", Some("Images")),
            ("files(filter: { search: \"jpg\" })", Some("Files")),
            ("members", Some("Members")),
        ],
    ),
    ("Usage", &[("fileCount", None), ("imageCount", None)]),
    (
        "Images",
        &[
            ("totalCount", None),
            ("totalSize", None),
            ("nodes", Some("Image")),
            ("edges", Some("ImageEdge")),
            ("pageInfo", Some("PageInfo")),
        ],
    ),
    ("ImageEdge", &[("cursor", None), ("node", Some("Image"))]),
    (
        "Files",
        &[
            ("totalCount", None),
            ("totalCountPrecision", None),
            ("nodes", Some("File")),
            ("pageInfo", Some("PageInfo")),
        ],
    ),
    ("Members", &[("totalCount", None), ("nodes", Some("Member")), ("pageInfo", Some("PageInfo"))]),
    ("Member", &[("id", None), ("role", None), ("joinedAt", None), ("user", Some("User"))]),
    (
        "PageInfo",
        &[
            ("hasNextPage", None),
            ("hasPreviousPage", None),
            ("startCursor", None),
            ("endCursor", None),
            ("total", None),
        ],
    ),
    ("User", &[("id", None), ("name", None), ("email", None)]),
    ("UserError", &[("code", None), ("message", None)]),
    ("Point", &[("x", None), ("y", None)]),
    ("Photo", &[("make", None), ("model", None), ("takenAt", None)]),
    ("Rendition", &[("variant", None), ("url", None), ("width", None), ("exact", None)]),
    ("SrcSet", &[("src", None), ("srcset", None), ("sizes", None)]),
];

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

/// A random document.
struct Document {
    random: Random,
    aliases: usize,
    fragments: Vec<String>,
}

impl Document {
    /// Selections of fields of a type.
    fn selections(&mut self, of: &str, depth: usize) -> String {
        let fields = TYPES.iter().find(|(name, _)| *name == of).unwrap().1;
        let mut text = String::new();
        for _ in 0..=self.random.below(6) {
            text.push(' ');
            match self.random.below(12) {
                0 => text.push_str("__typename"),
                1 if depth > 0 => {
                    let below = self.selections(of, depth - 1);
                    let directive = self.directive();
                    text.push_str(&format!("...{directive} {{{below} }}"));
                }
                // The name of the type in the schema is that of the table only for those that are nodes.
                2 if depth > 0 && matches!(of, "Image" | "File" | "Workspace" | "User") => {
                    let below = self.selections(of, depth - 1);
                    text.push_str(&format!("... on {of} {{{below} }} ... on Node {{ id }}"));
                }
                3 if depth > 0 && matches!(of, "Image" | "File" | "Workspace") => {
                    let below = self.selections(of, depth - 1);
                    let name = format!("F{}", self.fragments.len());
                    self.fragments.push(format!("fragment {name} on {of} {{{below} }}"));
                    let directive = self.directive();
                    text.push_str(&format!("...{name}{directive}"));
                }
                _ => {
                    let (field, nested) = fields[self.random.below(fields.len())];
                    if nested.is_some() && depth == 0 {
                        text.push_str("__typename");
                        continue;
                    }
                    if self.random.below(3) == 0 {
                        self.aliases += 1;
                        text.push_str(&format!("a{}: ", self.aliases));
                    }
                    text.push_str(field);
                    text.push_str(self.directive());
                    if let Some(nested) = nested {
                        let below = self.selections(nested, depth - 1);
                        text.push_str(&format!(" {{{below} }}"));
                    }
                }
            }
        }
        text
    }

    fn directive(&mut self) -> &'static str {
        ["", "", "", "", " @include(if: $yes)", " @skip(if: $yes)", " @include(if: $no)", " @skip(if: $no)"]
            [self.random.below(8)]
    }
}

/// Selections that only a request can merge, because of the directive, which is left to the executor.
const MERGED: &str = "merged: workspace @include(if: $yes) { id } merged: workspace { name }";

/// Sends a random selection of the nodes of a list, and the same one with [`MERGED`], and compares.
async fn compare(server: &Server, list: &str, of: &str, document: &mut Document) {
    let selections = document.selections(of, 3);
    let fragments = document.fragments.join(" ");
    let query = |more: &str| {
        format!(
            "query($yes: Boolean!, $no: Boolean!) {{ one: __typename @include(if: $yes) two: __typename @skip(if: $no)
             {list} {{ nodes {{ id {selections} {more} }} edges {{ cursor node {{ id {selections} {more} }} }} }} }} {fragments}"
        )
    };
    let variables = json!({ "yes": true, "no": false });
    let written = server.query(&query(""), variables.clone()).await;
    let mut executed = server.query(&query(MERGED), variables).await;
    let remove = |node: &mut Value| node.as_object_mut().unwrap().remove("merged").unwrap();
    for node in executed[list]["nodes"].as_array_mut().unwrap() {
        remove(node);
    }
    for edge in executed[list]["edges"].as_array_mut().unwrap() {
        remove(&mut edge["node"]);
    }
    assert!(written == executed, "{}\n{written}\n{executed}", query(""));
}

/// Fields that are selected twice, at every level, have the selections of both, whether they are merged when the document is read
/// or by the executor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selections_of_one_key_are_merged() {
    let server = Server::start(Database::Sqlite).await;
    let file = server.file("a.jpg", photo(1)).await;
    let (id, workspace) = (file["id"].clone(), server.workspace.clone());
    let image = json!({ "width": file["image"]["width"], "height": file["image"]["height"] });
    let whole = json!({ "id": id, "filename": "a.jpg", "image": image });
    for query in [
        "query($id: ID!) { file(id: $id) { id image { width } } file(id: $id) { filename image { height } } }",
        "query($id: ID!) { ...A ...B } fragment A on Query { file(id: $id) { id image { width } } }
         fragment B on Query { file(id: $id) { filename ... on Node { ... on File { image { height } } } } }",
    ] {
        assert_eq!(server.query(query, json!({ "id": id })).await["file"], whole, "{query}");
    }
    for query in [
        "{ files { nodes { id image { width } } nodes { filename image { height } } } }",
        "{ files { nodes { id image { width } } } files { nodes { filename } } files { nodes { image { height } } } }",
    ] {
        assert_eq!(server.query(query, json!({})).await["files"]["nodes"], json!([whole]), "{query}");
    }
    let query = "query($w: ID!) { workspace(id: $w) { files { edges { node { id image { width } } } } files { edges { node { filename } } } ... { id } } workspace(id: $w) { files { edges { node { image { height } } } } } }";
    let nodes = server.query(query, json!({ "w": workspace })).await;
    assert_eq!(nodes["workspace"]["files"]["edges"][0]["node"], whole);
    let nodes = server.query("query($id: ID!) { node(id: $id) { id ... on File { image { width } } } node(id: $id) { ... on File { filename image { height } } } }", json!({ "id": id })).await;
    assert_eq!(nodes["node"], whole);
    let conditional = "query($id: ID!, $yes: Boolean!) { file(id: $id) { id ...A @include(if: $yes) ... { filename image { height } } } } fragment A on File { image { width } }";
    let both = server.query(conditional, json!({ "id": id, "yes": true })).await;
    assert_eq!(both["file"], whole);
    let one = server.query(conditional, json!({ "id": id, "yes": false })).await;
    assert_eq!(one["file"]["image"], json!({ "height": whole["image"]["height"] }));
    // The order is that of the first selection of each key.
    let text = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&json!({
        "query": "query($id: ID!) { node(id: $id) { ... on Image { id } ...B id ... on File { image { height } filename } } server { version } } fragment B on File { image { width } __typename }",
        "variables": { "id": id },
    }));
    let text = text.send().await.unwrap().text().await.unwrap();
    let start = format!(
        "{{\"data\":{{\"node\":{{\"image\":{{\"width\":{},\"height\":{}}},\"__typename\":\"File\",\"id\":",
        whole["image"]["width"], whole["image"]["height"]
    );
    assert!(text.starts_with(&start), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_selections_are_those_of_the_executor() {
    let server = Server::start_with(Database::Sqlite, |config| {
        config.max_complexity = 2_000_000_000;
        config.max_aliases = 1_000;
        config.max_directives = 1_000;
        config.max_depth = 100;
    })
    .await;
    server.file("a.jpg", photo(1)).await;
    server.file("ä \"quoted\" \\ name.txt", b"text".to_vec()).await;
    server.upload_as(ADMIN, json!({ "metadata": { "a": [1, null, { "b": "ü\n" }] }, "tags": ["x", "\"y\""], "image": { "alt": "a\tb" } }), "b.jpg", "", photo(2)).await;
    analysed(&server).await;
    let seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for _ in 0..400 {
        let mut document = Document { random: Random(random.0 | 1), aliases: 0, fragments: Vec::new() };
        random.below(2);
        compare(&server, "images", "Image", &mut document).await;
        document.fragments.clear();
        compare(&server, "files", "File", &mut document).await;
    }
}

/// What a list answers for each of its fields: selected alone, and beside all others.
async fn compare_fields_alone(server: &Server, list: &str, of: &str) {
    let fields = TYPES.iter().find(|(name, _)| *name == of).unwrap().1;
    let selected = |index: usize| {
        let (field, nested) = fields[index];
        let below = nested.map_or(String::new(), |nested| {
            let (_, below) = TYPES.iter().find(|(name, _)| *name == nested).unwrap();
            let plain = below.iter().filter(|(_, nested)| nested.is_none()).map(|(name, _)| *name);
            format!("{{ {} }}", plain.collect::<Vec<_>>().join(" "))
        });
        format!("a{index}: {field} {below}")
    };
    let query = |selection: &str| format!("{{ {list}(first: 3) {{ nodes {{ {selection} }} }} }}");
    let all: Vec<String> = (0..fields.len()).map(selected).collect();
    let whole = server.query(&query(&all.join(" ")), json!({})).await;
    for (index, selection) in all.iter().enumerate() {
        let alone = server.query(&query(selection), json!({})).await;
        for (node, row) in alone[list]["nodes"].as_array().unwrap().iter().enumerate() {
            let key = format!("a{index}");
            assert_eq!(row[&key], whole[list]["nodes"][node][&key], "{of}: {selection}");
        }
    }
}

/// A field that reads a column which it does not name would have another value when it is selected alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_alone_has_the_value_that_it_has_beside_others() {
    // With transformations by URL.
    let server = crate::golden::flexible().await;
    let create = "mutation { createVariant(input: { name: \"plain\", width: 30, height: 30, metadata: STRIP }) { userErrors { code } } }";
    assert_eq!(server.query(create, json!({})).await["createVariant"]["userErrors"], json!([]));
    // With this variant the URL of an image is a transformation, in which the focal point takes part.
    let update = "mutation { updateVariant(input: { name: \"public\", fit: CROP, width: 20, height: 10, metadata: KEEP }) { userErrors { code } } }";
    assert_eq!(server.query(update, json!({})).await["updateVariant"]["userErrors"], json!([]));
    let image = json!({ "alt": "a", "focalPoint": { "x": 0.25, "y": 0.75 }, "creator": "me", "cfMetadata": { "a": 1 } });
    let extra = json!({ "metadata": { "a": "b" }, "tags": ["x"], "image": image });
    server.upload_as(ADMIN, extra, "a.jpg", "", photo(1)).await;
    server.upload_as(ADMIN, json!({ "image": { "requireSignedUrls": true } }), "b.jpg", "", photo(2)).await;
    server.file("c.txt", b"text".to_vec()).await;
    analysed(&server).await;
    compare_fields_alone(&server, "images", "Image").await;
    compare_fields_alone(&server, "files", "File").await;
    compare_fields_alone(&server, "workspaces", "Workspace").await;
    let shown = server.query("{ images { nodes { url requireSignedUrls } } }", json!({})).await;
    let public =
        shown["images"]["nodes"].as_array().unwrap().iter().find(|image| image["requireSignedUrls"] == false);
    let url = public.unwrap()["url"].as_str().unwrap();
    assert!(url.contains("gravity=0.25x0.75"), "{url}");
    let page = server.http.get(format!("{}/api/images", server.url)).bearer_auth(ADMIN).send().await.unwrap();
    let page: Value = page.json().await.unwrap();
    assert!(page["data"].as_array().unwrap().iter().any(|image| image["url"] == url), "{page}");
}

/// Waits for the analysis, which changes rows between two answers.
async fn analysed(server: &Server) {
    for _ in 0..200 {
        let images = server.query("{ images { nodes { hasAlpha } } }", json!({})).await;
        if images["images"]["nodes"].as_array().unwrap().iter().all(|image| !image["hasAlpha"].is_null()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the images are not analysed");
}

/// The columns of a table in the statements that answer a query, without duplicates.
async fn columns_read(server: &Server, table: &str, query: &str, variables: Value) -> Vec<String> {
    columns_of(table, server.running.app.db.recorded(server.query(query, variables)).await)
}

fn columns_of(table: &str, statements: Vec<sea_orm::Statement>) -> Vec<String> {
    let quoted = format!("\"{table}\".\"");
    let mut columns: Vec<String> = statements
        .iter()
        .filter_map(|statement| Some(statement.sql.strip_prefix("SELECT ")?.split_once(" FROM ")?.0))
        .flat_map(|selected| selected.split(", "))
        .filter_map(|column| Some(column.strip_prefix(quoted.as_str())?.trim_end_matches('"').to_owned()))
        .collect();
    columns.sort();
    columns.dedup();
    columns
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_fetch_the_columns_that_are_selected() {
    // The statements of the worker would be recorded as well.
    let server = Server::start_with(Database::Sqlite, |config| {
        config.worker_interval = std::time::Duration::from_secs(3600)
    })
    .await;
    let file = server.file("a.jpg", photo(1)).await;
    server.quiet().await;
    let list = "{ images(first: 1, orderBy: { field: WIDTH, direction: ASC }) { nodes { height } } }";
    assert_eq!(columns_read(&server, "image", list, json!({})).await, ["height", "id"]);
    for cursors in ["edges { cursor }", "pageInfo { endCursor }", "pageInfo { startCursor }"] {
        let list =
            format!("{{ images(first: 1, orderBy: {{ field: WIDTH, direction: ASC }}) {{ {cursors} }} }}");
        assert_eq!(columns_read(&server, "image", &list, json!({})).await, ["id", "width"], "{cursors}");
    }
    let relation = "{ images(first: 1) { edges { node { file { size } } } } }";
    assert_eq!(columns_read(&server, "page", relation, json!({})).await, ["file_id", "id"]);
    assert_eq!(columns_read(&server, "file", relation, json!({})).await, ["id", "size"]);
    let urls = "{ images(first: 1) { nodes { url } } }";
    let of_url = ["account_hash", "cf_image_id", "id", "require_signed_urls", "workspace_id"];
    assert_eq!(columns_read(&server, "image", urls, json!({})).await, of_url);
    // Who is asking, and the page with its files.
    assert_eq!(server.statements(relation, json!({})).await, 2);
    // Two selections of a relation are two statements.
    let twice = "{ images(first: 1) { nodes { a: file { size } b: file { filename } } } }";
    assert_eq!(columns_read(&server, "image", twice, json!({})).await, ["file_id", "id"]);
    assert_eq!(server.statements(twice, json!({})).await, 4);
    let node = "query($id: ID!) { node(id: $id) { ... on File { tags } ... on Image { exif } } }";
    assert_eq!(
        columns_read(&server, "file", node, json!({ "id": file["id"] })).await,
        ["id", "tags", "tags_sent"]
    );
    let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.txt\", mimeType: \"text/plain\" }) { directUpload { id } } }";
    let created = server.query(create, json!({ "w": server.workspace })).await;
    let id = &created["createDirectUpload"]["directUpload"]["id"];
    server.quiet().await;
    for (fields, columns) in [
        ("__typename", &["id"][..]),
        ("status maxSize", &["id", "max_size", "status"]),
        ("headers { name value } formFields { name }", &["id", "mime_type", "transport"]),
        ("uploadUrl", &["expires_at", "id", "status", "transport", "upload_url", "workspace_id"]),
        ("file { size }", &["file_id", "id"]),
    ] {
        for query in [
            format!("query($id: ID!) {{ directUpload(id: $id) {{ {fields} }} }}"),
            format!("query($id: ID!) {{ node(id: $id) {{ ... on DirectUpload {{ {fields} }} }} }}"),
        ] {
            let read = columns_read(&server, "direct_upload", &query, json!({ "id": id })).await;
            assert_eq!(read, columns, "{query}");
        }
    }
    let check = async { imagegraph::rows::stored_bytes::check_some(&server.running.app).await.unwrap() };
    let read = columns_of("file", server.running.app.db.recorded(check).await);
    assert_eq!(read, ["blob_id", "failure", "id", "size", "status", "workspace_id"]);
    let count = "{ images { totalCount } }";
    assert_eq!(columns_read(&server, "image", count, json!({})).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_users_is_data() {
    let server = Server::start(Database::Sqlite).await;
    // An object with this key is how the executor is told to write text as it is.
    let query = "mutation($id: ID!, $m: JSON) { updateFile(input: { id: $id, metadata: $m }) { file { metadata } userErrors { message field } } }";
    let file = server.file("a.txt", b"text".to_vec()).await;
    for metadata in [
        json!({ "$serde_json::private::RawValue": "\"injected\"" }),
        json!({ "a": [{ "$serde_json::private::RawValue": "1, \"b\": 2" }] }),
    ] {
        let refused = server.ask(ADMIN, query, json!({ "id": file["id"], "m": metadata })).await;
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains("reserved"), "{refused}");
    }
    let metadata = json!({ "a": "\"}, \"b\": \\u0000", "$serde_json": { "RawValue": "x" }, "n": 1.5e300 });
    let updated = server.query(query, json!({ "id": file["id"], "m": metadata })).await;
    assert_eq!(updated["updateFile"]["file"]["metadata"], metadata, "{updated}");
    let read =
        server.query("query($id: ID!) { file(id: $id) { metadata } }", json!({ "id": file["id"] })).await;
    assert_eq!(read["file"]["metadata"], metadata);
}
