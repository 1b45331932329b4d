//! Canonically equivalent texts are equal wherever texts are compared, and are shown as they were sent.

use migration::{Migrator, MigratorTrait};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::png;

/// Canonically equivalent texts, the composed form first.
const PAIRS: [(&str, &str); 7] = [
    ("r\u{e9}sum\u{e9}", "re\u{301}sume\u{301}"),
    ("\u{c5}ngstr\u{f6}m", "\u{212b}ngstro\u{308}m"),
    ("\u{d55c}\u{ae00}ab", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}ab"),
    ("Vi\u{1ec7}t", "Vie\u{302}\u{323}t"),
    ("Ti\u{1ebf}ng", "Tie\u{302}\u{301}ng"),
    ("\u{915}\u{93c}xyz", "\u{958}xyz"),
    ("\u{3a9}mega", "\u{2126}mega"),
];

/// Texts that look alike and are not equivalent.
const LOOKALIKES: [(&str, &str); 3] = [("\u{fb01}sh", "fish"), ("\u{ff21}bc", "Abc"), ("x\u{b2}yz", "x2yz")];

const FILES: &str = "query($f: FileFilter) { files(filter: $f) { nodes { id filename } } }";
const IMAGES: &str = "query($f: ImageFilter) { images(filter: $f) { nodes { id } } }";

async fn count(server: &Server, query: &str, filter: &Value) -> usize {
    let list = if query == FILES { "files" } else { "images" };
    let found = server.query(query, json!({ "f": filter })).await;
    found[list]["nodes"].as_array().unwrap().len()
}

async fn upload(server: &Server, seed: u32, name: &str, tags: Value, alt: Value) -> Value {
    let input = json!({ "tags": tags, "image": { "alt": alt } });
    let payload = server.upload_as(ADMIN, input, name, "", png(seed)).await;
    assert_eq!(payload["userErrors"], json!([]), "{payload:#}");
    payload["file"].clone()
}

both! {
    /// Filters and search find both forms by either, in names, tags and alternative texts.
    async fn either_form_finds_both(database: Database) {
        let server = Server::start(database).await;
        for (n, (composed, other)) in PAIRS.into_iter().enumerate() {
            let seed = n as u32 * 10;
            upload(&server, seed, &format!("{composed}.png"), json!([composed]), json!(composed)).await;
            upload(&server, seed + 1, &format!("{other}.png"), json!([other]), json!(other)).await;
        }
        for (composed, other) in PAIRS {
            for wanted in [composed, other] {
                let name = format!("{wanted}.png");
                for filter in [
                    json!({ "search": wanted }),
                    json!({ "filename": { "equals": name } }),
                    json!({ "filename": { "anyOf": [name, "x"] } }),
                    json!({ "filename": { "contains": wanted } }),
                    json!({ "filename": { "startsWith": wanted } }),
                    json!({ "tags": { "hasAny": [wanted] } }),
                    json!({ "tags": { "hasAll": [composed, other] } }),
                ] {
                    assert_eq!(count(&server, FILES, &filter).await, 2, "{filter}");
                    assert_eq!(count(&server, IMAGES, &filter).await, 2, "{filter}");
                }
                let none = json!({ "tags": { "hasNone": [wanted] } });
                assert_eq!(count(&server, FILES, &none).await, PAIRS.len() * 2 - 2, "{none}");
            }
        }
    }

    /// Ligatures, fullwidth letters and superscript digits are different from the letters they resemble.
    async fn lookalikes_stay_different(database: Database) {
        let server = Server::start(database).await;
        for (n, (one, other)) in LOOKALIKES.into_iter().enumerate() {
            let seed = n as u32 * 10;
            upload(&server, seed, one, json!([one]), Value::Null).await;
            upload(&server, seed + 1, other, json!([other]), Value::Null).await;
        }
        for (one, other) in LOOKALIKES {
            for wanted in [one, other] {
                for filter in [json!({ "filename": { "equals": wanted } }), json!({ "tags": { "hasAny": [wanted] } }), json!({ "search": wanted })] {
                    assert_eq!(count(&server, FILES, &filter).await, 1, "{filter}");
                }
            }
        }
    }

    /// Texts are returned as they were sent, over every API; equivalent tags are one; an update changes all copies.
    async fn texts_are_shown_as_sent(database: Database) {
        let server = Server::start(database).await;
        let (composed, other) = PAIRS[0];
        let name = format!("{other}.png");
        let file = upload(&server, 1, &name, json!([other, composed, "plain", other]), json!(other)).await;
        let query = "query($id: ID!) { file(id: $id) { filename tags downloadUrl image { alt } workspace { name } } }";
        let shown = async || server.query(query, json!({ "id": file["id"] })).await["file"].clone();
        let first = shown().await;
        assert_eq!((&first["filename"], &first["tags"], &first["image"]["alt"]), (&json!(name), &json!([other, "plain"]), &json!(other)));
        let response = server.http.get(first["downloadUrl"].as_str().unwrap()).send().await.unwrap();
        let disposition = response.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert!(disposition.contains("filename*=UTF-8''re%CC%81sume%CC%81.png"), "{disposition}");

        let update = "mutation($i: UpdateFileInput!) { updateFile(input: $i) { file { filename tags } userErrors { code } } }";
        let input = json!({ "id": file["id"], "filename": "Tie\u{302}\u{301}ng.png", "tags": ["b", "\u{212b}"] });
        let changed = server.query(update, json!({ "i": input })).await["updateFile"]["file"].clone();
        assert_eq!(changed, json!({ "filename": "Tie\u{302}\u{301}ng.png", "tags": ["b", "\u{212b}"] }));
        assert_eq!(count(&server, IMAGES, &json!({ "filename": { "equals": "Ti\u{1ebf}ng.png" }, "tags": { "hasAll": ["\u{c5}"] } })).await, 1);
        // After an update to the composed form nothing of the former text remains.
        let input = json!({ "id": file["id"], "filename": "caf\u{e9}.png", "tags": ["caf\u{e9}"] });
        let changed = server.query(update, json!({ "i": input })).await["updateFile"]["file"].clone();
        assert_eq!(changed, json!({ "filename": "caf\u{e9}.png", "tags": ["caf\u{e9}"] }));

        let update = "mutation($i: UpdateImageInput!) { updateImage(input: $i) { image { alt } userErrors { code } } }";
        let image = &file["image"]["id"];
        let changed = server.query(update, json!({ "i": { "id": image, "alt": "Vie\u{302}\u{323}t" } })).await;
        assert_eq!(changed["updateImage"]["image"]["alt"], "Vie\u{302}\u{323}t");
        assert_eq!(count(&server, IMAGES, &json!({ "search": "Vi\u{1ec7}t" })).await, 1);

        let direct = "mutation($i: CreateDirectUploadInput!) { createDirectUpload(input: $i) { file { filename tags } userErrors { code message } } }";
        let input = json!({ "workspaceId": server.workspace, "filename": name, "mimeType": "image/png", "tags": [other] });
        let made = server.query(direct, json!({ "i": input })).await["createDirectUpload"].clone();
        assert_eq!(made["file"], json!({ "filename": name, "tags": [other] }), "{made:#}");
        assert_eq!(count(&server, FILES, &json!({ "filename": { "equals": format!("{composed}.png") } })).await, 1);
    }

    /// Workspaces are ordered by the composed form of their name and shown with the name as sent.
    async fn workspace_names(database: Database) {
        let server = Server::start(database).await;
        let create = "mutation($n: String!) { createWorkspace(input: { name: $n }) { workspace { id name } userErrors { code } } }";
        for name in ["z\u{e9}a", "ze\u{301}b", "z\u{e9}c", "zf", "\u{212b}x", "\u{c5}y", "A\u{30a}z"] {
            let made = server.query(create, json!({ "n": name })).await["createWorkspace"]["workspace"].clone();
            assert_eq!(made["name"], name);
        }
        let list = "query($a: String) { workspaces(first: 1, after: $a, orderBy: { field: NAME, direction: ASC }) { nodes { name } pageInfo { endCursor hasNextPage } } }";
        let (mut seen, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = server.query(list, json!({ "a": after })).await["workspaces"].clone();
            seen.push(page["nodes"][0]["name"].as_str().unwrap().to_owned());
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(seen, ["My workspace", "zf", "z\u{e9}a", "ze\u{301}b", "z\u{e9}c", "\u{212b}x", "\u{c5}y", "A\u{30a}z"]);
        let rename = "mutation($i: UpdateWorkspaceInput!) { updateWorkspace(input: $i) { workspace { name } userErrors { code } } }";
        for name in ["Vie\u{302}\u{323}t", "Vi\u{1ec7}t"] {
            let changed = server.query(rename, json!({ "i": { "id": server.workspace, "name": name } })).await;
            assert_eq!(changed["updateWorkspace"]["workspace"]["name"], name);
        }
    }

    /// Lists ordered by name use the composed form, in both directions and page by page, and so do limits on length.
    async fn order_and_limits_go_by_the_composed_form(database: Database) {
        let server = Server::start(database).await;
        for (n, name) in ["e\u{301}b", "\u{e9}a", "ez", "f", "\u{e9}c", "e\u{301}d"].into_iter().enumerate() {
            upload(&server, n as u32, name, json!([]), Value::Null).await;
        }
        let sorted = ["ez", "f", "\u{e9}a", "e\u{301}b", "\u{e9}c", "e\u{301}d"];
        for (direction, expected) in [("ASC", sorted.to_vec()), ("DESC", sorted.iter().rev().copied().collect())] {
            let query = format!("query($a: String) {{ files(first: 2, after: $a, orderBy: {{ field: FILENAME, direction: {direction} }}) {{ nodes {{ filename }} pageInfo {{ endCursor }} }} images(first: 6, orderBy: {{ field: FILENAME, direction: {direction} }}) {{ nodes {{ file {{ filename }} }} }} }}");
            let (mut seen, mut after) = (Vec::new(), Value::Null);
            for _ in 0..3 {
                let page = server.query(&query, json!({ "a": after })).await;
                seen.extend(page["files"]["nodes"].as_array().unwrap().iter().map(|node| node["filename"].as_str().unwrap().to_owned()));
                after = page["files"]["pageInfo"]["endCursor"].clone();
                let images: Vec<_> = page["images"]["nodes"].as_array().unwrap().iter().map(|node| node["file"]["filename"].as_str().unwrap().to_owned()).collect();
                assert_eq!(images, expected);
            }
            assert_eq!(seen, expected);
        }
        // 255 characters in either form, and a few texts that grow when composed.
        let update = "mutation($i: UpdateFileInput!) { updateFile(input: $i) { file { filename } userErrors { field } } }";
        let file = upload(&server, 99, "limits.png", json!([]), Value::Null).await;
        for (name, taken) in [("e\u{301}".repeat(255), true), ("e\u{301}".repeat(256), false), ("\u{958}".repeat(127), true), ("\u{958}".repeat(128), false)] {
            let changed = server.query(update, json!({ "i": { "id": file["id"], "filename": name } })).await["updateFile"].clone();
            assert_eq!(changed["userErrors"] == json!([]), taken, "{changed:#}");
        }
        for (tag, taken) in [("e\u{301}".repeat(100), true), ("\u{958}".repeat(51), false)] {
            let changed = server.query(update, json!({ "i": { "id": file["id"], "tags": [tag] } })).await["updateFile"].clone();
            assert_eq!(changed["userErrors"] == json!([]), taken, "{changed:#}");
        }
        let long = "\u{958}".repeat(200);
        let file = upload(&server, 100, &long, json!([]), Value::Null).await;
        assert!(file["filename"].as_str().unwrap().chars().count() <= 255);
    }

    /// Existing rows are composed by the migration, in more than one batch, and keep the text as sent; the reverse
    /// migration restores it.
    async fn existing_rows_are_composed(database: Database) {
        let (composed, other) = PAIRS[0];
        let dir = tempfile::TempDir::new().unwrap();
        let url = match database.fresh().await {
            Some(url) => url,
            None => format!("sqlite://{}?mode=rwc", dir.path().join("before.db").display()),
        };
        let mut options = sea_orm::ConnectOptions::new(&url);
        options.max_connections(1);
        let db = sea_orm::Database::connect(options).await.unwrap();
        let files = Migrator::get_migration_files();
        let before = files.iter().position(|file| file.name().ends_with("_spelling")).unwrap() as u32;
        Migrator::up(&db, Some(before)).await.unwrap();
        let postgres = database == Database::Postgres;
        let id = |n: u32| match postgres {
            true => format!("'00000000-0000-7000-8000-{n:012x}'"),
            false => format!("x'00000000000070008000{n:012x}'"),
        };
        let (now, tags) = ("'2026-01-01T00:00:00+00:00'", format!("'[\"{other}\", \"{composed}\", \"b\"]'"));
        let mut statements = vec![format!(
            "INSERT INTO workspace (id, name, created_at, updated_at) VALUES ({}, '{other}', {now}, {now})",
            id(1)
        )];
        for n in 1..=1200 {
            let name = if n == 1 { format!("{other}.png") } else { format!("{n}-{other}") };
            let tags = if n == 1 { tags.as_str() } else { "'[\"a\"]'" };
            statements.push(format!(
                "INSERT INTO file (id, workspace_id, filename, status, image_status, tags, created_at, updated_at)
                 VALUES ({}, {}, '{name}', 'FAILED', '{}', {tags}, {now}, {now})",
                id(n), id(1), if n == 1 { "READY" } else { "NOT_APPLICABLE" }
            ));
        }
        statements.push(format!(
            "INSERT INTO image (id, workspace_id, file_id, filename, size, mime_type, format, animated, require_signed_urls,
                                state, cf_image_id, account_hash, alt, tags, created_at, updated_at)
             VALUES ({0}, {0}, {0}, '{other}.png', 1, 'image/svg+xml', 'SVG', false, false,
                     'READY', 'x', 'y', '{other}', {tags}, {now}, {now})",
            id(1)
        ));
        for statement in &statements {
            db.execute_unprepared(statement).await.unwrap();
        }
        let name = async || {
            let query = sea_orm::Statement::from_string(db.get_database_backend(), "SELECT name FROM workspace");
            db.query_one_raw(query).await.unwrap().unwrap().try_get::<String>("", "name").unwrap()
        };
        Migrator::up(&db, Some(1)).await.unwrap();
        assert_eq!(name().await, composed);
        Migrator::down(&db, Some(1)).await.unwrap();
        assert_eq!(name().await, other);
        db.close().await.unwrap();

        // The server starts on the migrated database.
        let server = Server::start_with(database, |config| {
            config.database_url = Some(url);
            config.worker_interval = std::time::Duration::from_secs(3600);
        }).await;
        let query = "query($f: FileFilter) { files(filter: $f) { nodes { filename tags image { alt } workspace { name } } } }";
        for wanted in [composed, other] {
            for filter in [
                json!({ "search": wanted, "hasImage": true }),
                json!({ "tags": { "hasAny": [wanted] } }),
                json!({ "filename": { "equals": format!("{wanted}.png") } }),
            ] {
                let found = server.query(query, json!({ "f": filter })).await["files"]["nodes"].clone();
                let shown = json!([{ "filename": format!("{other}.png"), "tags": [other, composed, "b"], "image": { "alt": other }, "workspace": { "name": other } }]);
                assert_eq!(found, shown, "{filter}");
            }
            assert_eq!(count(&server, IMAGES, &json!({ "search": wanted, "tags": { "hasAll": [wanted] } })).await, 1);
            let all = "query($f: FileFilter) { files(first: 1, filter: $f) { totalCount } }";
            let found = server.query(all, json!({ "f": { "filename": { "contains": format!("-{wanted}") } } })).await;
            assert_eq!(found["files"]["totalCount"], 1199);
        }
    }
}
