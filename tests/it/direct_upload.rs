//! Direct uploads by form: the browser sends the bytes to the account, and the server is told or finds out.

use std::time::Duration;

use imagegraph::entity::StringList;
use reqwest::multipart::{Form, Part};
use sea_orm::ActiveValue::Set;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{photo, png};
use crate::upload_rules::{policy, sha256};

const CREATE: &str = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) {
    directUpload { id status transport uploadUrl method headers { name value } formFields { name value } fileFieldName maxSize expiresAt file { id status } }
    file { id filename status size mimeType sha256 imageStatus image { id } } userErrors { code field message } } }";
const COMPLETE: &str = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) {
    directUpload { id status uploadUrl failure { code } } file { id status size mimeType sha256 imageStatus }
    image { id fileId width height exif url requireSignedUrls } userErrors { code message } } }";
const CANCEL: &str = "mutation($id: ID!) { cancelDirectUpload(input: { id: $id }) { directUpload { status file { id } } deletedFileId userErrors { code } } }";

async fn create(server: &Server, more: Value) -> Value {
    let mut input =
        json!({ "workspaceId": server.workspace, "filename": "photo.jpg", "mimeType": "image/jpeg" });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    server.query(CREATE, json!({ "input": input })).await["createDirectUpload"].clone()
}

/// Sends bytes as a browser form does, without a token.
async fn send(server: &Server, upload: &Value, bytes: Vec<u8>) -> reqwest::StatusCode {
    let field = upload["fileFieldName"].as_str().unwrap().to_owned();
    let form = Form::new().part(field, Part::bytes(bytes).file_name("photo.jpg"));
    server.http.post(upload["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap().status()
}

async fn complete(server: &Server, id: &Value) -> Value {
    server.query(COMPLETE, json!({ "id": id })).await["completeDirectUpload"].clone()
}

both! {
    /// Create, send, complete: the file and its image exist. Completing again changes nothing.
    async fn a_browser_uploads_without_a_token(database: Database) {
        let server = Server::start(database).await;
        let created = create(&server, json!({ "image": { "requireSignedUrls": true }, "expiresIn": 600 })).await;
        assert_eq!(created["userErrors"], json!([]));
        let upload = &created["directUpload"];
        assert_eq!((&upload["status"], &upload["transport"], &upload["method"]), (&json!("OPEN"), &json!("FORM_POST"), &json!("POST")));
        assert_eq!((&upload["headers"], &upload["formFields"]), (&json!([]), &json!([])));
        assert_eq!(upload["file"], json!({ "id": created["file"]["id"], "status": "AWAITING_UPLOAD" }));
        assert_eq!((&created["file"]["size"], &created["file"]["mimeType"]), (&Value::Null, &Value::Null));
        let early = complete(&server, &upload["id"]).await;
        assert_eq!(early["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
        let bytes = photo(6);
        assert_eq!(send(&server, upload, bytes.clone()).await, 200);
        let done = complete(&server, &upload["id"]).await;
        assert_eq!(done["userErrors"], json!([]), "{done:#}");
        assert_eq!((&done["directUpload"]["status"], &done["directUpload"]["uploadUrl"]), (&json!("COMPLETED"), &Value::Null));
        assert_eq!((&done["file"]["status"], &done["file"]["size"], &done["file"]["mimeType"]), (&json!("READY"), &json!(bytes.len()), &json!("image/jpeg")));
        assert_eq!((&done["image"]["width"], &done["image"]["height"]), (&json!(40), &json!(60)));
        assert_eq!(done["image"]["exif"]["Make"], "Acme Inc.");
        assert_eq!(done["image"]["requireSignedUrls"], true);
        assert_eq!(server.http.get(done["image"]["url"].as_str().unwrap()).send().await.unwrap().status(), 200);
        let (answers, stored) = (
            futures_util::future::join_all((0..5).map(|_| complete(&server, &upload["id"]))).await,
            server.originals().len(),
        );
        assert!(answers.iter().all(|answer| *answer == done));
        assert_eq!((stored, server.account_images().await.len()), (1, 1));
        assert_eq!(send(&server, upload, bytes).await, 409);
    }

    /// Concurrent completions create one file and one image.
    async fn concurrent_completions(database: Database) {
        let server = Server::start(database).await;
        let created = create(&server, json!({})).await;
        send(&server, &created["directUpload"], photo(1)).await;
        let id = &created["directUpload"]["id"];
        let answers = futures_util::future::join_all((0..8).map(|_| complete(&server, id))).await;
        for answer in &answers {
            assert_eq!((&answer["userErrors"], &answer["file"]["status"]), (&json!([]), &json!("READY")), "{answer:#}");
            assert_eq!(answer["image"]["id"], answers[0]["image"]["id"]);
        }
        assert_eq!(server.originals().len(), 1);
        let listed = server.query("{ images { totalCount } files { totalCount } }", json!({})).await;
        assert_eq!(listed, json!({ "images": { "totalCount": 1 }, "files": { "totalCount": 1 } }));
    }

    /// Cancelling deletes the file and the draft; cancelling again succeeds.
    async fn cancelling_leaves_nothing(database: Database) {
        let server = Server::start(database).await;
        let created = create(&server, json!({})).await;
        let (id, url) = (&created["directUpload"]["id"], created["directUpload"].clone());
        let cancelled = server.query(CANCEL, json!({ "id": id })).await["cancelDirectUpload"].clone();
        assert_eq!(cancelled, json!({ "directUpload": { "status": "CANCELLED", "file": null }, "deletedFileId": created["file"]["id"], "userErrors": [] }));
        let again = server.query(CANCEL, json!({ "id": id })).await["cancelDirectUpload"].clone();
        assert_eq!((&again["deletedFileId"], &again["userErrors"]), (&Value::Null, &json!([])));
        assert_eq!(complete(&server, id).await["userErrors"][0]["code"], "CONFLICT");
        eventually("the draft is gone", || async { (send(&server, &url, photo(1)).await == 404).then_some(()) }).await;
        let files = server.query("{ files { totalCount } }", json!({})).await;
        assert_eq!(files["files"]["totalCount"], 0);
    }

    /// An upload that expires without bytes is deleted; one that has its bytes is completed.
    async fn expiry_ends_or_completes(database: Database) {
        let server = Server::start(database).await;
        let (silent, sent) = (create(&server, json!({})).await, create(&server, json!({})).await);
        assert_eq!(send(&server, &sent["directUpload"], photo(1)).await, 200);
        server.clock.advance(Duration::from_secs(1900));
        let status = "query($a: ID!, $b: ID!) { a: directUpload(id: $a) { status file { id } } b: directUpload(id: $b) { status file { id status image { id } } } }";
        let variables = json!({ "a": silent["directUpload"]["id"], "b": sent["directUpload"]["id"] });
        let found = eventually("both uploads have ended", || async {
            let found = server.query(status, variables.clone()).await;
            (found["a"]["status"] != "OPEN" && found["b"]["status"] != "OPEN").then_some(found)
        })
        .await;
        assert_eq!(found["a"], json!({ "status": "EXPIRED", "file": null }));
        assert_eq!(found["b"]["status"], "COMPLETED");
        assert_eq!(found["b"]["file"]["status"], "READY");
        assert!(found["b"]["file"]["image"]["id"].is_string());
        assert_eq!(complete(&server, &silent["directUpload"]["id"]).await["userErrors"][0]["code"], "UPLOAD_EXPIRED");
        assert_eq!(server.originals().len(), 1);
    }

    /// Invalid requests are refused with code and field before anything is created.
    async fn refusals(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(400)).await;
        for (more, code, field) in [
            (json!({ "mimeType": "text/plain", "transport": "FORM_POST" }), "UNSUPPORTED_MIME_TYPE", json!(["input", "mimeType"])),
            (json!({ "filename": "a/b" }), "INVALID_INPUT", json!(["input", "filename"])),
            (json!({ "size": 10 * 1024 * 1024 + 1 }), "FILE_TOO_LARGE", json!(["input", "size"])),
            (json!({ "size": 0 }), "EMPTY_FILE", json!(["input", "size"])),
            (json!({ "expiresIn": 119 }), "INVALID_INPUT", json!(["input", "expiresIn"])),
            (json!({ "expiresIn": 21_601 }), "INVALID_INPUT", json!(["input", "expiresIn"])),
            (json!({ "workspaceId": "wsp_00000000000000000000000000" }), "NOT_FOUND", json!(["input", "workspaceId"])),
            (json!({ "mimeType": "text" }), "INVALID_INPUT", json!(["input", "mimeType"])),
            (json!({ "image": { "provision": false }, "transport": "FORM_POST" }), "INVALID_INPUT", json!(["input", "image", "provision"])),
        ] {
            let refused = create(&server, more).await;
            assert_eq!((&refused["userErrors"][0]["code"], &refused["userErrors"][0]["field"]), (&json!(code), &field));
        }
        server.fault(json!({ "call": "direct_upload.create", "fault": { "kind": "status", "status": 500 } })).await;
        let refused = create(&server, json!({})).await;
        assert_eq!(refused["userErrors"][0]["code"], "UPSTREAM_ERROR");
        let files = server.query("{ files { totalCount } }", json!({})).await;
        assert_eq!(files["files"]["totalCount"], 0);
        assert_eq!(server.refusal(ADMIN, "{ directUpload(id: \"upl_1\") { id } }", json!({})).await, "BAD_USER_INPUT");
    }

    /// The checks of uploads apply to form uploads on completion: hash, type, size, duplicates.
    async fn workspace_policy_applies_to_form_uploads(database: Database) {
        let server = Server::start(database).await;
        server.file("known.jpg", photo(1)).await;
        let (known, other) = (sha256(&photo(1)), sha256(&photo(2)));
        let form = async |more: Value, bytes: Vec<u8>| {
            let created = create(&server, more).await;
            assert_eq!(created["userErrors"], json!([]), "{created:#}");
            assert_eq!(send(&server, &created["directUpload"], bytes).await, 200);
            complete(&server, &created["directUpload"]["id"]).await
        };
        let shared = form(json!({ "sha256": known, "onDuplicate": "CREATE", "tags": ["a"] }), photo(1)).await;
        assert_eq!((&shared["userErrors"], &shared["file"]["status"]), (&json!([]), &json!("READY")));
        let kept = form(json!({ "onDuplicate": "REUSE" }), photo(1)).await;
        assert_eq!((&kept["userErrors"], server.originals().len()), (&json!([]), 1));
        let rejected = form(json!({ "onDuplicate": "REJECT" }), photo(1)).await;
        assert_eq!(rejected["userErrors"][0]["code"], "DUPLICATE_CONTENT");
        let changed = form(json!({ "sha256": other }), photo(3)).await;
        assert_eq!(changed["userErrors"][0]["code"], "CHECKSUM_MISMATCH");
        policy(&server, |row| row.max_file_size = Set(Some(photo(4).len() as i64 - 1))).await;
        assert_eq!(form(json!({}), photo(4)).await["userErrors"][0]["code"], "FILE_TOO_LARGE");
        policy(&server, |row| {
            row.max_file_size = Set(None);
            row.allowed_mime_types = Set(StringList(vec!["image/jpeg".to_owned()]));
        })
        .await;
        assert_eq!(form(json!({}), png(1)).await["userErrors"][0]["code"], "UNSUPPORTED_MIME_TYPE");
        // Refused images are removed from the account.
        eventually("the refused images are removed from the account", || async { (server.account_images().await.len() == 3).then_some(()) }).await;
        assert_eq!(server.originals().len(), 1);
    }

    /// While the account is down, completing fails with an error and succeeds later.
    async fn completing_during_an_outage(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(400)).await;
        let created = create(&server, json!({})).await;
        let id = &created["directUpload"]["id"];
        send(&server, &created["directUpload"], photo(1)).await;
        for call in ["images.get", "images.blob"] {
            server.fault(json!({ "call": call, "fault": { "kind": "status", "status": 503 } })).await;
            assert_eq!(complete(&server, id).await["userErrors"][0]["code"], "UPSTREAM_ERROR", "{call}");
            server.remove_faults().await;
        }
        assert_eq!(complete(&server, id).await["file"]["status"], "READY");
    }
}
