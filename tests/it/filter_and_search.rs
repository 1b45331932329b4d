//! Filters, search, counts and usage of lists.

use imagegraph::entity::membership::Role;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{picture, png};

const FILES: &str = "query($filter: FileFilter, $w: ID) { files(filter: $filter, workspaceId: $w, orderBy: { field: FILENAME, direction: ASC }) {
    totalCount totalCountPrecision totalSize nodes { id filename size } pageInfo { total } } }";
const IMAGES: &str = "query($filter: ImageFilter, $w: ID) { images(filter: $filter, workspaceId: $w, orderBy: { field: FILENAME, direction: ASC }) {
    totalCount totalCountPrecision totalSize nodes { id size file { id filename } } pageInfo { total } } }";

async fn sql(server: &Server, statement: &str) {
    server.running.app.db.write.execute_unprepared(statement).await.unwrap();
}

/// Names of the files that a filter matches, after checking the counts beside them.
async fn files(server: &Server, filter: &Value) -> Vec<String> {
    let found = server.query(FILES, json!({ "filter": filter })).await["files"].take();
    let nodes = checked(filter, &found);
    nodes.iter().map(|node| node["filename"].as_str().unwrap().to_owned()).collect()
}

/// Names of the images that a filter matches, after checking the counts beside them.
async fn images(server: &Server, filter: &Value) -> Vec<String> {
    let found = server.query(IMAGES, json!({ "filter": filter })).await["images"].take();
    let nodes = checked(filter, &found);
    nodes.iter().map(|node| node["file"]["filename"].as_str().unwrap().to_owned()).collect()
}

fn checked<'a>(filter: &Value, found: &'a Value) -> &'a Vec<Value> {
    let nodes = found["nodes"].as_array().unwrap();
    let bytes: i64 = nodes.iter().map(|node| node["size"].as_i64().unwrap_or(0)).sum();
    let counts = (&found["totalCount"], &found["totalSize"], &found["pageInfo"]["total"]);
    assert_eq!(counts, (&json!(nodes.len()), &json!(bytes), &json!(nodes.len())), "{filter}");
    assert_eq!(found["totalCountPrecision"], "EXACT", "{filter}");
    nodes
}

/// Three images, a text file, and a file that waits for its bytes; another workspace has an image and a text file of
/// the same names.
async fn server_with_files(server: &Server) {
    server.file("Alpha 1.png", picture(40, 20, image::ImageFormat::Png)).await;
    server.file("beta_2.jpg", picture(20, 40, image::ImageFormat::Jpeg)).await;
    server.file("gamma%3.png", picture(30, 30, image::ImageFormat::Png)).await;
    server.file("notes.txt", b"twelve bytes".to_vec()).await;
    // The analysis of the images has to be over before this test writes to the rows.
    sql(server, "UPDATE image SET analysis_due_at = NULL, analysis_attempts = 99").await;
    for (name, tags, alt) in [
        ("Alpha 1.png", r#"["red","Summer 2026"]"#, "'A \"quoted\" dog'"),
        ("beta_2.jpg", r#"["red","blue"]"#, "''"),
        ("gamma%3.png", "[]", "NULL"),
    ] {
        sql(server, &format!("UPDATE file SET tags = '{tags}' WHERE filename = '{name}'")).await;
        sql(server, &format!("UPDATE image SET tags = '{tags}', alt = {alt} WHERE filename = '{name}'"))
            .await;
    }
    sql(server, "UPDATE file SET tags = '[\"blue\"]' WHERE filename = 'notes.txt'").await;
    sql(server, "UPDATE image SET taken_at = '2001-02-03T04:05:06+00:00', creator = 'ann' WHERE filename = 'Alpha 1.png'").await;
    sql(server, "UPDATE image SET taken_at = '2011-02-03T04:05:06.500+00:00', animated = true WHERE filename = 'beta_2.jpg'").await;
}

const ALPHA: &str = "Alpha 1.png";
const BETA: &str = "beta_2.jpg";
const GAMMA: &str = "gamma%3.png";
const NOTES: &str = "notes.txt";

both! {
    /// Every condition on files, alone and combined.
    async fn files_are_filtered(database: Database) {
        let server = Server::start(database).await;
        server_with_files(&server).await;
        let notes = server.query(FILES, json!({ "filter": { "filename": { "equals": NOTES } } })).await["files"]["nodes"][0].clone();
        let more = server.query("query($id: ID!) { file(id: $id) { sha256 createdAt createdBy { id } } }", json!({ "id": notes["id"] })).await["file"].clone();
        for (filter, expected) in [
            (json!({}), vec![ALPHA, BETA, GAMMA, NOTES]),
            (json!({ "search": null, "tags": null, "size": {} }), vec![ALPHA, BETA, GAMMA, NOTES]),
            (json!({ "filename": { "equals": "beta_2.jpg" } }), vec![BETA]),
            (json!({ "filename": { "equals": "BETA_2.jpg" } }), vec![]),
            (json!({ "filename": { "anyOf": [ALPHA, NOTES, "other"] } }), vec![ALPHA, NOTES]),
            (json!({ "filename": { "anyOf": [] } }), vec![]),
            (json!({ "filename": { "contains": "A" } }), vec![ALPHA, BETA, GAMMA]),
            (json!({ "filename": { "contains": "_" } }), vec![BETA]),
            (json!({ "filename": { "contains": "%" } }), vec![GAMMA]),
            (json!({ "filename": { "contains": "!" } }), vec![]),
            (json!({ "filename": { "startsWith": "a" } }), vec![]),
            (json!({ "filename": { "startsWith": "Al", "contains": "1" } }), vec![ALPHA]),
            (json!({ "mimeTypes": ["image/png"] }), vec![ALPHA, GAMMA]),
            (json!({ "mimeTypes": ["image/*"] }), vec![ALPHA, BETA, GAMMA]),
            (json!({ "mimeTypes": ["IMAGE/JPEG", "text/*"] }), vec![BETA, NOTES]),
            (json!({ "mimeTypes": [] }), vec![]),
            (json!({ "status": ["READY"] }), vec![ALPHA, BETA, GAMMA, NOTES]),
            (json!({ "status": ["AWAITING_UPLOAD", "FAILED"] }), vec![]),
            (json!({ "imageStatus": ["READY"] }), vec![ALPHA, BETA, GAMMA]),
            (json!({ "imageStatus": ["NOT_APPLICABLE", "QUEUED"] }), vec![NOTES]),
            (json!({ "hasImage": true }), vec![ALPHA, BETA, GAMMA]),
            (json!({ "hasImage": false }), vec![NOTES]),
            (json!({ "tags": { "hasAny": ["blue", "Summer 2026"] } }), vec![ALPHA, BETA, NOTES]),
            (json!({ "tags": { "hasAny": ["summer 2026", "re"] } }), vec![]),
            (json!({ "tags": { "hasAny": [] } }), vec![]),
            (json!({ "tags": { "hasAll": ["red", "blue", "red"] } }), vec![BETA]),
            (json!({ "tags": { "hasAll": [] } }), vec![ALPHA, BETA, GAMMA, NOTES]),
            (json!({ "tags": { "hasNone": ["red", "green"] } }), vec![GAMMA, NOTES]),
            (json!({ "tags": { "hasAny": ["red"], "hasNone": ["blue"] } }), vec![ALPHA]),
            (json!({ "size": { "min": 12, "max": 12 } }), vec![NOTES]),
            (json!({ "size": { "min": 13 } }), vec![ALPHA, BETA, GAMMA]),
            (json!({ "sha256": more["sha256"] }), vec![NOTES]),
            (json!({ "sha256": "0".repeat(64) }), vec![]),
            (json!({ "createdAt": { "from": more["createdAt"] }, "filename": { "equals": NOTES } }), vec![NOTES]),
            (json!({ "createdAt": { "to": more["createdAt"] }, "filename": { "equals": NOTES } }), vec![]),
            (json!({ "createdAt": { "from": "2001-01-01T00:00:00+02:00", "to": "9999-01-01T00:00:00Z" } }), vec![ALPHA, BETA, GAMMA, NOTES]),
            (json!({ "createdBy": more["createdBy"]["id"] }), vec![ALPHA, BETA, GAMMA, NOTES]),
            (json!({ "createdBy": "usr_00000000000000000000000000" }), vec![]),
            (json!({ "hasImage": true, "tags": { "hasAny": ["red"] }, "mimeTypes": ["image/png"] }), vec![ALPHA]),
        ] {
            assert_eq!(files(&server, &filter).await, expected, "{filter}");
        }
    }

    /// Every condition on images.
    async fn images_are_filtered(database: Database) {
        let server = Server::start(database).await;
        server_with_files(&server).await;
        let beta = server.query("{ images(filter: { filename: { startsWith: \"beta\" } }) { nodes { cfImageId fileId createdAt } } }", json!({})).await["images"]["nodes"][0].clone();
        for (filter, expected) in [
            (json!({}), vec![ALPHA, BETA, GAMMA]),
            (json!({ "filename": { "contains": "BETA" } }), vec![BETA]),
            (json!({ "format": ["PNG"] }), vec![ALPHA, GAMMA]),
            (json!({ "format": ["JPEG", "WEBP"] }), vec![BETA]),
            (json!({ "animated": true }), vec![BETA]),
            (json!({ "animated": false }), vec![ALPHA, GAMMA]),
            (json!({ "width": { "min": 30 } }), vec![ALPHA, GAMMA]),
            (json!({ "width": { "max": 30 }, "height": { "max": 30 } }), vec![GAMMA]),
            (json!({ "size": { "max": 0 } }), vec![]),
            (json!({ "orientation": ["LANDSCAPE"] }), vec![ALPHA]),
            (json!({ "orientation": ["PORTRAIT", "SQUARE"] }), vec![BETA, GAMMA]),
            (json!({ "orientation": [] }), vec![]),
            (json!({ "requireSignedUrls": true }), vec![]),
            (json!({ "requireSignedUrls": false }), vec![ALPHA, BETA, GAMMA]),
            (json!({ "hasAlt": true }), vec![ALPHA, BETA]),
            (json!({ "hasAlt": false }), vec![GAMMA]),
            (json!({ "tags": { "hasAll": ["red"] } }), vec![ALPHA, BETA]),
            (json!({ "fileIds": [beta["fileId"], beta["fileId"]] }), vec![BETA]),
            (json!({ "fileIds": [] }), vec![]),
            (json!({ "cfImageIds": [beta["cfImageId"], "other"] }), vec![BETA]),
            (json!({ "creator": "ann" }), vec![ALPHA]),
            (json!({ "creator": "" }), vec![BETA, GAMMA]),
            (json!({ "createdAt": { "from": beta["createdAt"], "to": beta["createdAt"] } }), vec![]),
            (json!({ "takenAt": { "from": "2001-02-03T04:05:06Z", "to": "2011-02-03T04:05:06.5Z" } }), vec![ALPHA]),
            (json!({ "takenAt": { "to": "2011-02-03T04:05:06.501Z" } }), vec![ALPHA, BETA]),
            (json!({ "search": "quoted" , "format": ["PNG"] }), vec![ALPHA]),
        ] {
            assert_eq!(images(&server, &filter).await, expected, "{filter}");
        }
        // An unknown width sorts as 0, and an unknown time as the oldest.
        sql(&server, "UPDATE image SET width = NULL WHERE filename = 'Alpha 1.png'").await;
        for (field, expected) in [("WIDTH", [ALPHA, BETA, GAMMA]), ("TAKEN_AT", [GAMMA, ALPHA, BETA])] {
            let query = "query($f: ImageOrderField!, $after: String) { images(first: 1, after: $after, orderBy: { field: $f, direction: ASC }) {
                nodes { file { filename } } pageInfo { endCursor } } }";
            let mut after = Value::Null;
            for name in expected {
                let page = server.query(query, json!({ "f": field, "after": after })).await["images"].take();
                assert_eq!(page["nodes"][0]["file"]["filename"], name, "{field}");
                after = page["pageInfo"]["endCursor"].clone();
            }
        }
    }

    /// Words are found anywhere in a text, with the index and without it, and the index follows every change.
    async fn search_finds_words(database: Database) {
        let server = Server::start(database).await;
        server_with_files(&server).await;
        for (search, expected) in [
            ("alpha", vec![ALPHA]),
            ("LPH", vec![ALPHA]),
            ("png", vec![ALPHA, GAMMA]),
            ("  PNG\t alp ", vec![ALPHA]),
            ("alpha 1.png", vec![ALPHA]),
            // Shorter than a trigram, so the index cannot be used.
            ("a", vec![ALPHA, BETA, GAMMA]),
            ("2", vec![ALPHA, BETA]),
            ("%", vec![GAMMA]),
            ("a_2", vec![BETA]),
            ("%3", vec![GAMMA]),
            ("re B", vec![BETA]),
            ("red 20", vec![ALPHA]),
            // In tags.
            ("summer", vec![ALPHA]),
            ("blu", vec![BETA, NOTES]),
            // A word does not match across the end of a tag or name, or the JSON syntax in which tags are stored.
            ("redSummer", vec![]),
            ("\"red", vec![]),
            ("\",\"", vec![]),
            ("notes AND twelve", vec![]),
            ("NOT", vec![NOTES]),
            ("(*)", vec![]),
        ] {
            assert_eq!(files(&server, &json!({ "search": search })).await, expected, "{search}");
        }
        assert_eq!(images(&server, &json!({ "search": "\"QUOTED\" dog" })).await, [ALPHA]);
        assert_eq!(images(&server, &json!({ "search": "dog red" })).await, [ALPHA]);
        assert_eq!(files(&server, &json!({ "search": "dog" })).await, Vec::<String>::new());

        let id = server.query(FILES, json!({ "filter": { "search": "alpha" } })).await["files"]["nodes"][0]["id"].clone();
        let rename = "mutation($id: ID!) { updateFile(input: { id: $id, filename: \"Omega.png\" }) { userErrors { code } } }";
        server.query(rename, json!({ "id": id })).await;
        assert_eq!(files(&server, &json!({ "search": "alpha" })).await, Vec::<String>::new());
        assert_eq!(files(&server, &json!({ "search": "omega" })).await, ["Omega.png"]);
        assert_eq!(images(&server, &json!({ "search": "omega" })).await, ["Omega.png"]);
        sql(&server, "UPDATE image SET alt = 'a cat' WHERE filename = 'Omega.png'").await;
        assert_eq!(images(&server, &json!({ "search": "dog" })).await, Vec::<String>::new());
        assert_eq!(images(&server, &json!({ "search": "cat omega" })).await, ["Omega.png"]);
        let delete = "mutation($id: ID!) { deleteFile(input: { id: $id }) { success } }";
        server.query(delete, json!({ "id": id })).await;
        assert_eq!(files(&server, &json!({ "search": "omega" })).await, Vec::<String>::new());
        if database == Database::Sqlite {
            // The full-text tables contain exactly the rows of the tables they index.
            sql(&server, "INSERT INTO file_search (file_search, rank) VALUES ('integrity-check', 1)").await;
            sql(&server, "INSERT INTO image_search (image_search, rank) VALUES ('integrity-check', 1)").await;
        }
    }

    /// A filter neither shows nor counts rows that the user may not see.
    async fn filters_respect_permissions(database: Database) {
        let server = Server::start(database).await;
        server_with_files(&server).await;
        let other = server.other_workspace("other").await;
        server.upload_as(ADMIN, json!({ "workspaceId": other }), "red alpha.png", "", png(3)).await;
        let member = server.token("member@example.org", Some((&other, Role::Viewer))).await;
        let nobody = server.token("nobody@example.org", None).await;
        for filter in [Value::Null, json!({ "search": "alpha" }), json!({ "search": "a" }), json!({ "mimeTypes": ["image/*"] })] {
            let found = server.query_as(&member, FILES, json!({ "filter": filter })).await["files"].take();
            assert_eq!(checked(&filter, &found).len(), 1);
            for variables in [json!({ "filter": filter }), json!({ "filter": filter, "w": other })] {
                let found = server.query_as(&nobody, FILES, variables).await["files"].take();
                assert_eq!(checked(&filter, &found).len(), 0);
            }
            let variables = json!({ "filter": filter, "w": server.workspace });
            let found = server.query_as(&member, FILES, variables).await["files"].take();
            assert_eq!(checked(&filter, &found).len(), 0);
        }
    }

    /// The trash is a list of its own with its own counts.
    async fn the_trash_is_listed_by_itself(database: Database) {
        let server = Server::start(database).await;
        server_with_files(&server).await;
        sql(&server, "UPDATE file SET deleted_at = updated_at WHERE filename IN ('notes.txt', 'beta_2.jpg')").await;
        assert_eq!(files(&server, &json!({ "trashed": true })).await, [BETA, NOTES]);
        assert_eq!(files(&server, &json!({ "trashed": false })).await, [ALPHA, GAMMA]);
        assert_eq!(files(&server, &json!({})).await, [ALPHA, GAMMA]);
        assert_eq!(files(&server, &json!({ "trashed": true, "search": "otes" })).await, [NOTES]);
        assert_eq!(files(&server, &json!({ "trashed": true, "hasImage": true })).await, [BETA]);
        for direction in ["ASC", "DESC"] {
            for field in crate::paging::FILE_ORDERS {
                let query = "query($o: FileOrder, $after: String) { files(first: 1, after: $after, orderBy: $o, filter: { trashed: true }) { nodes { id } pageInfo { hasNextPage endCursor } } }";
                let order = json!({ "field": field, "direction": direction });
                let first = server.query(query, json!({ "o": order })).await["files"].take();
                let second = server.query(query, json!({ "o": order, "after": first["pageInfo"]["endCursor"] })).await["files"].take();
                assert_ne!(first["nodes"][0]["id"], second["nodes"][0]["id"]);
                assert_eq!((&first["pageInfo"]["hasNextPage"], &second["pageInfo"]["hasNextPage"]), (&json!(true), &json!(false)));
            }
        }
    }

    /// Invalid filters are refused with the path of the field.
    async fn invalid_filters_are_refused(database: Database) {
        let server = Server::start(database).await;
        let many = |value: &'static str| vec![value; 101];
        let files = [
            (json!({ "search": "" }), "filter.search"),
            (json!({ "search": " \t" }), "filter.search"),
            (json!({ "search": "x".repeat(201) }), "filter.search"),
            (json!({ "search": "a\u{0}b" }), "filter.search"),
            (json!({ "search": "a ".repeat(21) }), "filter.search"),
            (json!({ "filename": { "equals": "" } }), "filter.filename.equals"),
            (json!({ "filename": { "anyOf": many("a") } }), "filter.filename.anyOf"),
            (json!({ "filename": { "anyOf": ["a\u{0}"] } }), "filter.filename.anyOf"),
            (json!({ "filename": { "contains": "x".repeat(1025) } }), "filter.filename.contains"),
            (json!({ "filename": { "startsWith": "\u{0}" } }), "filter.filename.startsWith"),
            (json!({ "mimeTypes": ["image"] }), "filter.mimeTypes"),
            (json!({ "mimeTypes": ["*/*"] }), "filter.mimeTypes"),
            (json!({ "mimeTypes": ["image/p%"] }), "filter.mimeTypes"),
            (json!({ "mimeTypes": many("image/png") }), "filter.mimeTypes"),
            (json!({ "status": many("READY") }), "filter.status"),
            (json!({ "imageStatus": many("READY") }), "filter.imageStatus"),
            (json!({ "tags": { "hasAny": many("a") } }), "filter.tags.hasAny"),
            (json!({ "tags": { "hasAll": [""] } }), "filter.tags.hasAll"),
            (json!({ "tags": { "hasNone": ["a\u{0}"] } }), "filter.tags.hasNone"),
            (json!({ "size": { "min": 2, "max": 1 } }), "filter.size.min"),
            (json!({ "sha256": "0".repeat(63) }), "filter.sha256"),
            (json!({ "sha256": "A".repeat(64) }), "filter.sha256"),
            (json!({ "createdAt": { "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" } }), "filter.createdAt.from"),
            (json!({ "createdAt": { "to": "0000-01-01T00:00:00Z" } }), "filter.createdAt.to"),
            (json!({ "createdBy": "fil_00000000000000000000000000" }), "filter.createdBy"),
        ];
        let images = [
            (json!({ "search": "" }), "filter.search"),
            (json!({ "filename": { "equals": "" } }), "filter.filename.equals"),
            (json!({ "format": many("PNG") }), "filter.format"),
            (json!({ "width": { "min": -1 } }), "filter.width.min"),
            (json!({ "height": { "min": 2, "max": 1 } }), "filter.height.min"),
            (json!({ "size": { "min": 2, "max": 1 } }), "filter.size.min"),
            (json!({ "orientation": many("SQUARE") }), "filter.orientation"),
            (json!({ "tags": { "hasAny": many("a") } }), "filter.tags.hasAny"),
            (json!({ "fileIds": many("fil_00000000000000000000000000") }), "filter.fileIds"),
            (json!({ "fileIds": ["img_00000000000000000000000000"] }), "filter.fileIds"),
            (json!({ "cfImageIds": many("a") }), "filter.cfImageIds"),
            (json!({ "cfImageIds": [""] }), "filter.cfImageIds"),
            (json!({ "creator": "x".repeat(1025) }), "filter.creator"),
            (json!({ "createdAt": { "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" } }), "filter.createdAt.from"),
            (json!({ "takenAt": { "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" } }), "filter.takenAt.from"),
        ];
        let all = files.into_iter().map(|row| (FILES, row)).chain(images.into_iter().map(|row| (IMAGES, row)));
        for (query, (filter, path)) in all {
            let answer = server.ask(ADMIN, query, json!({ "filter": filter })).await;
            let extensions = &answer["errors"][0]["extensions"];
            let path: Vec<&str> = path.split('.').collect();
            assert_eq!((&extensions["code"], &extensions["field"]), (&json!("BAD_USER_INPUT"), &json!(path)), "{filter} {answer}");
        }
    }

    /// A cursor whose key is of another type than the order's is refused before it reaches the database.
    async fn forged_cursors_are_refused(database: Database) {
        use base64::Engine as _;
        let server = Server::start(database).await;
        server_with_files(&server).await;
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let query = "query($f: ImageOrderField!, $after: String) { images(after: $after, orderBy: { field: $f, direction: ASC }) { nodes { id } } }";
        for (field, key) in [
            ("UPDATED_AT", json!(1)),
            ("UPDATED_AT", json!("yesterday")),
            ("UPDATED_AT", json!("2026-01-01")),
            ("UPDATED_AT", json!("0000-01-01T00:00:00Z")),
            ("UPDATED_AT", Value::Null),
            ("TAKEN_AT", json!("a.png")),
            ("WIDTH", json!("10")),
            ("WIDTH", json!(1.5)),
            ("HEIGHT", json!(true)),
            ("FILENAME", json!(1)),
            ("FILENAME", json!("a\u{0}")),
        ] {
            let cursor = json!([1, format!("images:{field}"), false, key, id]).to_string();
            let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(cursor);
            let refusal = server.refusal(ADMIN, query, json!({ "f": field, "after": cursor })).await;
            assert_eq!(refusal, "BAD_USER_INPUT", "{field} {key}");
        }
        for (field, key) in [("UPDATED_AT", json!("2020-01-01T00:00:00.5+02:00")), ("WIDTH", json!(-1)), ("FILENAME", json!("2020-01-01T00:00:00Z"))] {
            let cursor = json!([1, format!("images:{field}"), false, key, id]).to_string();
            let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(cursor);
            let found = server.query(query, json!({ "f": field, "after": cursor })).await;
            assert_eq!(found["images"]["nodes"].as_array().unwrap().len(), 3, "{field} {key}");
        }
    }

    /// Counting the matches of a filter stops at the cap and reports so; a list without conditions has an exact
    /// count.
    async fn counts_are_capped(database: Database) {
        let server = Server::start_with(database, |config| config.max_count = 3).await;
        server_with_files(&server).await;
        let other = server.other_workspace("other").await;
        server.upload_as(ADMIN, json!({ "workspaceId": other }), "e.txt", "", b"e".to_vec()).await;
        for workspace in [&server.workspace, &other] {
            server.token("both@example.org", Some((workspace, Role::Viewer))).await;
        }
        let both = server.token("both@example.org", None).await;
        for token in [ADMIN, both.as_str()] {
            let found = server.query_as(token, FILES, json!({})).await["files"].take();
            assert_eq!((&found["totalCount"], &found["totalCountPrecision"]), (&json!(5), &json!("EXACT")));
            let found = server.query_as(token, FILES, json!({ "filter": { "status": ["READY"] } })).await["files"].take();
            assert_eq!((&found["totalCount"], &found["totalCountPrecision"]), (&json!(3), &json!("AT_LEAST")));
            assert_eq!((&found["totalSize"], &found["pageInfo"]["total"]), (&Value::Null, &json!(3)));
            let found = server.query_as(token, FILES, json!({ "filter": { "hasImage": true } })).await["files"].take();
            assert_eq!((&found["totalCount"], &found["totalCountPrecision"]), (&json!(3), &json!("EXACT")));
            assert!(found["totalSize"].as_i64() > Some(0));
        }
    }

    /// Count, precision, bytes and `pageInfo.total` take one statement together, and none if they are not selected.
    async fn counts_are_one_statement(database: Database) {
        let server = Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600)).await;
        server_with_files(&server).await;
        for filter in ["", "(filter: { hasImage: true })"] {
            let bare = server.statements(&format!("{{ files{filter} {{ nodes {{ id }} }} }}"), json!({})).await;
            let counted = format!("{{ files{filter} {{ nodes {{ id }} totalCount totalCountPrecision totalSize pageInfo {{ total }} }} }}");
            assert_eq!(server.statements(&counted, json!({})).await, bare + 1, "{filter}");
        }
        let query = "{ workspaces { nodes { id } } }";
        let bare = server.statements(query, json!({})).await;
        for i in 0..5 {
            server.other_workspace(&format!("w{i}")).await;
        }
        let query = "{ workspaces { nodes { id usage { fileCount imageCount } } } }";
        assert_eq!(server.statements(query, json!({})).await, bare + 1);
    }

    /// Usage of a workspace before and after deletions.
    async fn usage_is_shown(database: Database) {
        let server = Server::start(database).await;
        let query = "query($w: ID!) { workspace(id: $w) { usage { fileCount fileBytes fileBytesQuota imageCount imageCountQuota trashedBytes measuredAt } } }";
        let other = server.other_workspace("other").await;
        let usage = server.query(query, json!({ "w": other })).await["workspace"]["usage"].take();
        assert_eq!((&usage["fileCount"], &usage["fileBytes"], &usage["imageCount"]), (&json!(0), &json!(0), &json!(0)));
        server_with_files(&server).await;
        sql(&server, "UPDATE file SET deleted_at = updated_at WHERE filename = 'notes.txt'").await;
        let usage = server.query(query, json!({ "w": server.workspace })).await["workspace"]["usage"].take();
        assert_eq!((&usage["fileCount"], &usage["imageCount"], &usage["trashedBytes"]), (&json!(4), &json!(3), &json!(12)));
        assert_eq!((&usage["fileBytesQuota"], &usage["imageCountQuota"]), (&Value::Null, &Value::Null));
        assert!(usage["fileBytes"].as_i64() > Some(12) && usage["measuredAt"].is_string());
        let token = server.token_with("writer@example.org", Some((&server.workspace, Role::Editor)), vec![imagegraph::entity::api_token::Scope::FilesWrite], None).await;
        assert_eq!(server.refusal(&token, query, json!({ "w": server.workspace })).await, "FORBIDDEN");
    }

    /// After concurrent uploads and deletions, the counters and the search texts are those of the rows.
    async fn counters_follow_concurrent_changes(database: Database) {
        let server = Server::start(database).await;
        let other = server.other_workspace("other").await;
        let tasks = (0..8_u32).map(|task| {
            let (server, other) = (&server, &other);
            async move {
                for i in 0..6 {
                    let workspace = if (task + i) % 2 == 0 { other } else { &server.workspace };
                    let input = json!({ "workspaceId": workspace });
                    let bytes = if i % 3 == 0 { b"text".to_vec() } else { png(task * 10 + i) };
                    let payload = server.upload_as(ADMIN, input, &format!("{task}-{i}"), "", bytes).await;
                    assert_eq!(payload["userErrors"], json!([]));
                    let file = &payload["file"];
                    match i {
                        1 | 3 => {
                            let delete = "mutation($id: ID!, $p: Boolean) { deleteFile(input: { id: $id, permanently: $p }) { success userErrors { code } } }";
                            assert_eq!(server.query(delete, json!({ "id": file["id"], "p": i == 1 })).await["deleteFile"]["success"], true);
                        }
                        2 => {
                            let delete = "mutation($id: ID!) { deleteImage(input: { id: $id }) { success userErrors { code } } }";
                            assert_eq!(server.query(delete, json!({ "id": file["image"]["id"] })).await["deleteImage"]["success"], true);
                        }
                        _ => {}
                    }
                }
            }
        });
        futures_util::future::join_all(tasks).await;
        let query = "{ workspaces(first: 2) { nodes { usage { fileCount fileBytes imageCount trashedBytes } files { nodes { size } } images { totalCount totalSize nodes { size } } } } }";
        let found = server.query(query, json!({})).await["workspaces"]["nodes"].take();
        for workspace in found.as_array().unwrap() {
            let sizes = |list: &str| -> Vec<i64> {
                workspace[list]["nodes"].as_array().unwrap().iter().map(|node| node["size"].as_i64().unwrap()).collect()
            };
            let (files, images) = (sizes("files"), sizes("images"));
            assert_eq!((files.len(), images.len()), (16, 8));
            let usage = &workspace["usage"];
            // Four of each are in the trash, which is included; a file of `text` has four bytes.
            assert_eq!(usage["fileCount"], json!(files.len() + 4));
            assert_eq!(usage["fileBytes"], json!(files.iter().sum::<i64>() + 16));
            assert_eq!(usage["trashedBytes"], 16);
            assert_eq!(usage["imageCount"], json!(images.len()));
            let counted = (&workspace["images"]["totalCount"], &workspace["images"]["totalSize"]);
            assert_eq!(counted, (&json!(images.len()), &json!(images.iter().sum::<i64>())));
        }
    }
}

/// If the database role may not create the extension that search needs, the start fails with instructions; once it
/// exists, the role only needs the right to create tables in a schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_extension_is_reported() {
    if !Database::Postgres.is_there() {
        return;
    }
    let url = Database::Postgres.fresh().await.unwrap();
    let admin = sea_orm::Database::connect(&url).await.unwrap();
    let role = format!("plain_{}", uuid::Uuid::new_v4().simple());
    for statement in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'plain'"),
        format!("GRANT ALL ON SCHEMA public TO {role}"),
    ] {
        admin.execute_unprepared(&statement).await.unwrap();
    }
    let mut plain = url::Url::parse(&url).unwrap();
    plain.set_username(&role).unwrap();
    plain.set_password(Some("plain")).unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let start = || {
        let config = crate::harness::config(&dir, Some(plain.to_string()));
        imagegraph::server::start(config, imagegraph::app::Clock::default())
    };
    let problem = start().await.err().unwrap().to_string();
    assert!(problem.contains("CREATE EXTENSION pg_trgm"), "{problem}");
    admin.execute_unprepared("CREATE EXTENSION pg_trgm").await.unwrap();
    start().await.unwrap().stop().await;
}
