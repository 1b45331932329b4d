//! Uploads: tags and metadata, the policy of the workspace, duplicates, idempotency keys, batches.

use std::time::Duration;

use futures_util::future::join_all;
use imagegraph::entity::StringList;
use imagegraph::entity::workspace;
use imagegraph::id::WorkspaceId;
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{photo, png};

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes the policy of the server's first workspace.
pub(crate) async fn policy(server: &Server, change: impl FnOnce(&mut workspace::ActiveModel)) {
    let id: WorkspaceId = server.workspace.parse().unwrap();
    let db = &server.running.app.db.write;
    let row = workspace::Entity::find_by_id(id).one(db).await.unwrap().unwrap();
    let mut row: workspace::ActiveModel = row.into();
    change(&mut row);
    row.update(db).await.unwrap();
}

async fn counts(server: &Server) -> (i64, usize) {
    let found = server.query("{ files { totalCount } }", json!({})).await;
    (found["files"]["totalCount"].as_i64().unwrap(), server.originals().len())
}

async fn upload(server: &Server, input: Value, bytes: &[u8]) -> Value {
    server.upload_as(ADMIN, input, "a.txt", "", bytes.to_vec()).await
}

fn code(payload: &Value) -> (&Value, &Value) {
    (&payload["userErrors"][0]["code"], &payload["userErrors"][0]["field"])
}

both! {
    /// Tags are trimmed and deduplicated; metadata comes back as it was sent.
    async fn tags_and_metadata_are_kept(database: Database) {
        let server = Server::start(database).await;
        let input = json!({ "tags": [" sea ", "sun", "sea", "日本"], "metadata": { "order": 7, "nested": [{ "a": null }] }, "sha256": sha256(b"text") });
        let payload = upload(&server, input, b"text").await;
        assert_eq!((&payload["userErrors"], &payload["deduplicated"]), (&json!([]), &json!(false)));
        let query = "query($id: ID!) { file(id: $id) { tags metadata } }";
        let found = server.query(query, json!({ "id": payload["file"]["id"] })).await;
        assert_eq!(found["file"], json!({ "tags": ["sea", "sun", "日本"], "metadata": { "order": 7, "nested": [{ "a": null }] } }));
        let plain = server.file("b.txt", b"plain".to_vec()).await;
        let found = server.query(query, json!({ "id": plain["id"] })).await;
        assert_eq!(found["file"], json!({ "tags": [], "metadata": null }));
    }

    /// Invalid tags, metadata, hashes and keys are refused with code and field, and nothing is stored.
    async fn invalid_input_is_refused(database: Database) {
        let server = Server::start(database).await;
        let many: Vec<String> = (0..51).map(|i| i.to_string()).collect();
        let mut deep = json!(1);
        for _ in 0..70 {
            deep = json!([deep]);
        }
        for (input, expected, field) in [
            (json!({ "tags": [""] }), "INVALID_INPUT", "tags"),
            (json!({ "tags": ["  "] }), "INVALID_INPUT", "tags"),
            (json!({ "tags": ["x".repeat(101)] }), "INVALID_INPUT", "tags"),
            (json!({ "tags": ["a\nb"] }), "INVALID_INPUT", "tags"),
            (json!({ "tags": many }), "INVALID_INPUT", "tags"),
            (json!({ "metadata": [1] }), "INVALID_INPUT", "metadata"),
            (json!({ "metadata": "text" }), "INVALID_INPUT", "metadata"),
            (json!({ "metadata": { "a": "\u{0}" } }), "INVALID_INPUT", "metadata"),
            (json!({ "metadata": { "a": deep } }), "INVALID_INPUT", "metadata"),
            (json!({ "metadata": { "a": "x".repeat(16 * 1024) } }), "METADATA_TOO_LARGE", "metadata"),
            (json!({ "sha256": "abc" }), "INVALID_INPUT", "sha256"),
            (json!({ "sha256": sha256(b"text").to_uppercase() }), "INVALID_INPUT", "sha256"),
            (json!({ "sha256": sha256(b"other") }), "CHECKSUM_MISMATCH", "file"),
            (json!({ "idempotencyKey": "" }), "INVALID_INPUT", "idempotencyKey"),
            (json!({ "idempotencyKey": "k".repeat(256) }), "INVALID_INPUT", "idempotencyKey"),
            (json!({ "idempotencyKey": "a\tb" }), "INVALID_INPUT", "idempotencyKey"),
        ] {
            let payload = upload(&server, input.clone(), b"text").await;
            assert_eq!(code(&payload), (&json!(expected), &json!(["input", field])), "{input} {payload:#}");
            assert_eq!(payload["file"], Value::Null);
        }
        assert_eq!(counts(&server).await, (0, 0));
        let fits = json!({ "tags": many[..50], "metadata": { "a": "x".repeat(16 * 1024 - 8) } });
        assert_eq!(upload(&server, fits, b"text").await["userErrors"], json!([]));
    }

    /// Allowed types and the maximum size of the workspace apply to uploads, and to direct uploads before any bytes
    /// are sent. The type is that of the content, not the declared one.
    async fn workspace_policy_applies_to_uploads(database: Database) {
        let server = Server::start(database).await;
        policy(&server, |row| {
            row.allowed_mime_types = Set(StringList(vec!["image/*".to_owned(), "application/pdf".to_owned()]));
            row.max_file_size = Set(Some(2000));
            row.private_by_default = Set(true);
        })
        .await;
        let refused = upload(&server, json!({}), b"text").await;
        assert_eq!(code(&refused), (&json!("UNSUPPORTED_MIME_TYPE"), &json!(["input", "file"])));
        let message = refused["userErrors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("image/*, application/pdf"), "{message}");
        let refused = upload(&server, json!({}), &[b"%PDF-1.4".to_vec(), vec![b' '; 2000]].concat()).await;
        assert_eq!(code(&refused), (&json!("FILE_TOO_LARGE"), &json!(["input", "file"])));
        assert_eq!(upload(&server, json!({}), b"%PDF-1.4 fits").await["userErrors"], json!([]));
        let image = server.file("a.png", png(1)).await["image"].clone();
        assert_eq!(image["requireSignedUrls"], true);
        let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { maxSize } userErrors { code field message } } }";
        for (more, expected, field) in [
            (json!({ "mimeType": "text/plain" }), "UNSUPPORTED_MIME_TYPE", "mimeType"),
            (json!({ "mimeType": "application/pdf", "size": 2001 }), "FILE_TOO_LARGE", "size"),
            (json!({ "mimeType": "image/png", "size": 2001 }), "FILE_TOO_LARGE", "size"),
        ] {
            let mut input = json!({ "workspaceId": server.workspace, "filename": "a" });
            for (key, value) in more.as_object().unwrap() {
                input[key] = value.clone();
            }
            let created = server.query(create, json!({ "input": input })).await["createDirectUpload"].clone();
            assert_eq!(code(&created), (&json!(expected), &json!(["input", field])), "{more}");
        }
        let input = json!({ "workspaceId": server.workspace, "filename": "a", "mimeType": "application/pdf" });
        let created = server.query(create, json!({ "input": input })).await["createDirectUpload"].clone();
        assert_eq!(created["directUpload"]["maxSize"], 2000, "{created:#}");
    }

    /// With CREATE files share the stored bytes, which are deleted with the last file.
    async fn files_with_the_same_bytes_share_them(database: Database) {
        let server = Server::start(database).await;
        let first = server.file("a.jpg", photo(1)).await;
        let second = server.file("b.jpg", photo(1)).await;
        assert_ne!(first["id"], second["id"]);
        assert_ne!(first["image"]["id"], second["image"]["id"]);
        assert_eq!(counts(&server).await, (2, 1));
        let delete = "mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success } }";
        server.query(delete, json!({ "id": first["id"] })).await;
        assert_eq!(counts(&server).await, (1, 1));
        let url = server.query("query($id: ID!) { file(id: $id) { downloadUrl } }", json!({ "id": second["id"] })).await;
        let bytes = server.http.get(url["file"]["downloadUrl"].as_str().unwrap()).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes, photo(1));
        server.query(delete, json!({ "id": second["id"] })).await;
        eventually("the bytes are deleted", || async { server.originals().is_empty().then_some(()) }).await;
    }

    /// REUSE returns the existing file and REJECT refuses, naming it. Files of other workspaces do not count.
    async fn duplicate_policies(database: Database) {
        let server = Server::start(database).await;
        let first = server.file("a.jpg", photo(1)).await;
        let reused = upload(&server, json!({ "onDuplicate": "REUSE" }), &photo(1)).await;
        assert_eq!((&reused["file"]["id"], &reused["deduplicated"]), (&first["id"], &json!(true)), "{reused:#}");
        let rejected = upload(&server, json!({ "onDuplicate": "REJECT" }), &photo(1)).await;
        assert_eq!(code(&rejected), (&json!("DUPLICATE_CONTENT"), &json!(["input", "file"])));
        assert!(rejected["userErrors"][0]["message"].as_str().unwrap().contains(first["id"].as_str().unwrap()));
        assert_eq!(counts(&server).await, (1, 1));
        policy(&server, |row| row.on_duplicate = Set(workspace::DuplicatePolicy::Reuse)).await;
        assert_eq!(upload(&server, json!({}), &photo(1)).await["deduplicated"], true);
        assert_eq!(upload(&server, json!({ "onDuplicate": "CREATE" }), &photo(1)).await["deduplicated"], false);
        let other = server.other_workspace("other").await;
        let elsewhere = upload(&server, json!({ "workspaceId": other, "onDuplicate": "REJECT" }), &photo(1)).await;
        assert_eq!(elsewhere["userErrors"], json!([]));
        assert_eq!(counts(&server).await, (3, 2));
        // A direct upload that declares a hash is answered before any bytes are sent.
        let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { id } file { id } deduplicated userErrors { code field } } }";
        let input = json!({ "workspaceId": server.workspace, "filename": "a.jpg", "mimeType": "image/jpeg", "sha256": sha256(&photo(1)) });
        let known = server.query(create, json!({ "input": input })).await["createDirectUpload"].clone();
        assert_eq!(known, json!({ "directUpload": null, "file": { "id": first["id"] }, "deduplicated": true, "userErrors": [] }));
        let mut rejecting = input.clone();
        rejecting["onDuplicate"] = json!("REJECT");
        let refused = server.query(create, json!({ "input": rejecting })).await["createDirectUpload"].clone();
        assert_eq!(code(&refused), (&json!("DUPLICATE_CONTENT"), &json!(["input", "sha256"])));
        let mut unknown = input;
        unknown["sha256"] = json!(sha256(b"nobody has these"));
        let created = server.query(create, json!({ "input": unknown })).await["createDirectUpload"].clone();
        assert_eq!((&created["deduplicated"], created["directUpload"]["id"].is_string()), (&json!(false), true));
    }

    /// Concurrent uploads of the same bytes: one file under REUSE, one accepted under REJECT, one stored copy under
    /// CREATE.
    async fn concurrent_duplicates(database: Database) {
        let server = Server::start(database).await;
        for (policy, files, deduplicated, refused) in [("REUSE", 1, 7, 0), ("REJECT", 1, 0, 7), ("CREATE", 8, 0, 0)] {
            let before = counts(&server).await;
            let bytes = format!("the same bytes under {policy}").into_bytes();
            let answers = join_all((0..8).map(|_| upload(&server, json!({ "onDuplicate": policy }), &bytes))).await;
            let count = |is: fn(&Value) -> bool| answers.iter().filter(|answer| is(answer)).count();
            assert_eq!(count(|answer| answer["deduplicated"] == true), deduplicated, "{policy}");
            assert_eq!(count(|answer| answer["userErrors"][0]["code"] == "DUPLICATE_CONTENT"), refused, "{policy}");
            let after = counts(&server).await;
            assert_eq!((after.0 - before.0, after.1 - before.1), (files, 1), "{policy}");
        }
    }

    /// Uploads of the same bytes while other files with them are deleted: every remaining file has its bytes, and no
    /// bytes remain without a file.
    async fn concurrent_uploads_and_deletions_of_shared_bytes(database: Database) {
        let server = Server::start(database).await;
        let delete = "mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success } }";
        let mut kept = Vec::new();
        for round in 0..4 {
            let bytes = format!("round {round}").into_bytes();
            let owner = upload(&server, json!({}), &bytes).await["file"]["id"].clone();
            let removal = async { server.query(delete, json!({ "id": owner })).await };
            let sharers = join_all((0..3).map(|_| upload(&server, json!({}), &bytes)));
            let (_, sharers) = tokio::join!(removal, sharers);
            kept.extend(sharers.into_iter().map(|payload| (payload["file"]["id"].clone(), bytes.clone())));
        }
        for (id, bytes) in &kept {
            let found = server.query("query($id: ID!) { file(id: $id) { downloadUrl } }", json!({ "id": id })).await;
            let url = found["file"]["downloadUrl"].as_str().unwrap().to_owned();
            assert_eq!(server.http.get(url).send().await.unwrap().bytes().await.unwrap(), *bytes);
            server.query(delete, json!({ "id": id })).await;
        }
        eventually("all bytes are deleted", || async { server.originals().is_empty().then_some(()) }).await;
    }

    /// A repeated upload gets the first result; a different request with the same key is a conflict; after 24 hours
    /// the key is free.
    async fn idempotency_key_returns_the_first_result(database: Database) {
        let server = Server::start(database).await;
        let input = json!({ "idempotencyKey": "order-7", "tags": ["a"] });
        let first = upload(&server, input.clone(), b"text").await;
        let again = upload(&server, input.clone(), b"text").await;
        assert_eq!(first, again);
        assert_eq!(counts(&server).await, (1, 1));
        for (other, bytes) in [(json!({ "idempotencyKey": "order-7", "tags": ["b"] }), &b"text"[..]), (input.clone(), b"other")] {
            let refused = upload(&server, other, bytes).await;
            assert_eq!(code(&refused), (&json!("CONFLICT"), &json!(["input", "idempotencyKey"])));
        }
        let other = server.token("owner@example.org", Some((&server.workspace, imagegraph::entity::membership::Role::Owner))).await;
        let theirs = server.upload_as(&other, input.clone(), "a.txt", "", b"text".to_vec()).await;
        assert_ne!(theirs["file"]["id"], first["file"]["id"]);
        server.query("mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success } }", json!({ "id": first["file"]["id"] })).await;
        let gone = upload(&server, input.clone(), b"text").await;
        assert_eq!(code(&gone), (&json!("CONFLICT"), &json!(["input", "idempotencyKey"])));
        server.clock.advance(Duration::from_secs(24 * 3600 + 1));
        let second = upload(&server, input, b"text").await;
        assert_eq!(second["userErrors"], json!([]));
        assert_ne!(second["file"]["id"], first["file"]["id"]);
    }

    /// Concurrent repetitions create one file. A repetition under REUSE reports `deduplicated` again.
    async fn concurrent_repetitions_create_one_file(database: Database) {
        let server = Server::start(database).await;
        let input = json!({ "idempotencyKey": "k" });
        let answers = join_all((0..8).map(|_| upload(&server, input.clone(), b"text"))).await;
        for answer in &answers {
            assert_eq!((&answer["userErrors"], &answer["file"]["id"]), (&json!([]), &answers[0]["file"]["id"]), "{answer:#}");
        }
        assert_eq!(counts(&server).await, (1, 1));
        let input = json!({ "idempotencyKey": "r", "onDuplicate": "REUSE" });
        for _ in 0..2 {
            assert_eq!(upload(&server, input.clone(), b"text").await["deduplicated"], true);
        }
        let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { id uploadUrl } file { id } userErrors { code } } }";
        for mime_type in ["image/png", "text/plain"] {
            let input = json!({ "input": { "workspaceId": server.workspace, "filename": "a", "mimeType": mime_type, "idempotencyKey": mime_type } });
            let answers = join_all((0..6).map(|_| server.query(create, input.clone()))).await;
            for answer in &answers {
                assert_eq!((&answer["createDirectUpload"]["userErrors"], answer), (&json!([]), &answers[0]));
                assert!(answer["createDirectUpload"]["directUpload"]["uploadUrl"].is_string());
            }
        }
        assert_eq!(counts(&server).await, (3, 1));
    }

    /// After Cloudflare refused a direct upload, the same key can be used again.
    async fn refused_direct_upload_releases_its_key(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(400)).await;
        let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { id } userErrors { code } } }";
        let input = json!({ "input": { "workspaceId": server.workspace, "filename": "a.png", "mimeType": "image/png", "idempotencyKey": "k" } });
        server.fault(json!({ "call": "direct_upload.create", "fault": { "kind": "status", "status": 500 } })).await;
        let refused = server.query(create, input.clone()).await;
        assert_eq!(refused["createDirectUpload"]["userErrors"][0]["code"], "UPSTREAM_ERROR");
        server.remove_faults().await;
        let created = server.query(create, input).await;
        assert_eq!(created["createDirectUpload"]["userErrors"], json!([]));
        assert_eq!(counts(&server).await, (1, 0));
    }

    /// Expired keys are deleted.
    async fn expired_keys_are_deleted(database: Database) {
        use sea_orm::PaginatorTrait;
        let server = Server::start_with(database, |config| config.sweep_age = Duration::from_millis(200)).await;
        upload(&server, json!({ "idempotencyKey": "k" }), b"text").await;
        let keys = || imagegraph::entity::idempotency_key::Entity::find().count(&server.running.app.db.read);
        assert_eq!(keys().await.unwrap(), 1);
        server.clock.advance(Duration::from_secs(24 * 3600 + 1));
        eventually("the key is deleted", || async { (keys().await.unwrap() == 0).then_some(()) }).await;
    }

    /// Each entry of a batch succeeds or fails on its own, in order, with the path of each error.
    async fn batch_entries_fail_independently(database: Database) {
        let server = Server::start(database).await;
        let create = "mutation($input: CreateDirectUploadsInput!) { createDirectUploads(input: $input) { results { directUpload { id transport } file { filename } deduplicated userErrors { code field } } userErrors { code field } } }";
        let entry = |filename: &str, mime_type: &str| json!({ "workspaceId": server.workspace, "filename": filename, "mimeType": mime_type });
        let mut entries: Vec<Value> = (0..10).map(|i| entry(&format!("{i}.png"), if i % 2 == 0 { "image/png" } else { "text/plain" })).collect();
        entries[3] = entry("a/b", "image/png");
        entries[7]["workspaceId"] = json!("wsp_00000000000000000000000000");
        let made = server.query(create, json!({ "input": { "uploads": entries } })).await["createDirectUploads"].clone();
        assert_eq!(made["userErrors"], json!([]));
        for (i, result) in made["results"].as_array().unwrap().iter().enumerate() {
            match i {
                3 => assert_eq!(result["userErrors"], json!([{ "code": "INVALID_INPUT", "field": ["input", "uploads", "3", "filename"] }])),
                7 => assert_eq!(result["userErrors"], json!([{ "code": "NOT_FOUND", "field": ["input", "uploads", "7", "workspaceId"] }])),
                _ => {
                    assert_eq!((&result["userErrors"], &result["file"]["filename"]), (&json!([]), &json!(format!("{i}.png"))));
                    let transport = if i % 2 == 0 { "FORM_POST" } else { "PUT" };
                    assert_eq!(result["directUpload"]["transport"], transport);
                }
            }
        }
        assert_eq!(counts(&server).await.0, 8);
        for count in [0, 101] {
            let entries = vec![entry("a.png", "text/plain"); count];
            let refused = server.query(create, json!({ "input": { "uploads": entries } })).await["createDirectUploads"].clone();
            assert_eq!(refused, json!({ "results": [], "userErrors": [{ "code": "INVALID_INPUT", "field": ["input", "uploads"] }] }));
        }
    }
}
