//! Idempotency: a repeated request gets the answer of the first one, concurrently and later, whatever the duplicate
//! policy.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::multipart::{Form, Part};
use sea_orm::ActiveValue::Set;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{photo, png};
use crate::upload_rules::{policy, sha256};

const POLICIES: [&str; 3] = ["REJECT", "REUSE", "CREATE"];
const CREATE: &str = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) {
    directUpload { id uploadUrl } file { id } deduplicated userErrors { code field message } } }";
const COMPLETE: &str = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) {
    directUpload { id status } file { id status } image { id } userErrors { code field message } } }";
const IMPORT: &str = "mutation($input: ImportFileInput!) { importFile(input: $input) { file { id } userErrors { code field } } }";

async fn create(server: &Server, more: Value) -> Value {
    let mut input = json!({ "workspaceId": server.workspace, "filename": "a.jpg", "mimeType": "image/jpeg" });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    server.query(CREATE, json!({ "input": input })).await["createDirectUpload"].clone()
}

async fn complete(server: &Server, id: &Value) -> Value {
    server.query(COMPLETE, json!({ "id": id })).await["completeDirectUpload"].clone()
}

/// Sends bytes by form, as a page would.
async fn send(server: &Server, upload: &Value, bytes: Vec<u8>) {
    let form = Form::new().part("file", Part::bytes(bytes).file_name("a.jpg"));
    let sent = server.http.post(upload["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
    assert_eq!(sent.status(), 200);
}

async fn put(server: &Server, upload: &Value, bytes: Vec<u8>) -> (u16, Value) {
    let sent = server.http.put(upload["uploadUrl"].as_str().unwrap()).body(bytes).send().await.unwrap();
    (sent.status().as_u16(), sent.json().await.unwrap())
}

/// Asserts that all answers are equal and successful, and returns one.
fn assert_all_equal(answers: &[Value]) -> &Value {
    for answer in answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(answers[0]["userErrors"], json!([]), "{:#}", answers[0]);
    &answers[0]
}

async fn files(server: &Server) -> i64 {
    server.query("{ files { totalCount } }", json!({})).await["files"]["totalCount"].as_i64().unwrap()
}

both! {
    /// Concurrent uploads with one key create one file, which all of them return.
    async fn concurrent_uploads_with_one_key(database: Database) {
        let server = Server::start(database).await;
        for (i, on_duplicate) in POLICIES.into_iter().enumerate() {
            let input = json!({ "idempotencyKey": on_duplicate, "onDuplicate": on_duplicate });
            let bytes = format!("under {on_duplicate}").into_bytes();
            let upload = || server.upload_as(ADMIN, input.clone(), "a.txt", "", bytes.clone());
            let mut answers = join_all((0..16).map(|_| upload())).await;
            answers.push(upload().await);
            let first = assert_all_equal(&answers);
            assert_eq!(first["deduplicated"], false);
            assert_eq!((files(&server).await, server.originals().len()), (i as i64 + 1, i + 1));
        }
    }

    /// A repetition returns the first result even if the policy of the workspace would refuse it by now.
    async fn a_repetition_ignores_a_changed_policy(database: Database) {
        let server = Server::start(database).await;
        let input = json!({ "idempotencyKey": "k", "image": { "cfImageId": "chosen" } });
        let upload = || server.upload_as(ADMIN, input.clone(), "a.png", "", png(1));
        let direct = json!({ "idempotencyKey": "d", "mimeType": "image/png", "size": 100 });
        let (first, made) = (upload().await, create(&server, direct.clone()).await);
        policy(&server, |row| {
            row.private_by_default = Set(true);
            row.allowed_mime_types = Set(imagegraph::entity::StringList(vec!["text/plain".to_owned()]));
            row.max_file_size = Set(Some(10));
        })
        .await;
        assert_eq!(upload().await, first);
        assert_eq!(create(&server, direct).await, made);
        assert_eq!((&first["userErrors"], &made["userErrors"]), (&json!([]), &json!([])));
    }

    /// Concurrent completions, and a later one, return the same file.
    async fn concurrent_completions(database: Database) {
        let server = Server::start(database).await;
        for (i, on_duplicate) in POLICIES.into_iter().enumerate() {
            let upload = create(&server, json!({ "onDuplicate": on_duplicate })).await["directUpload"].clone();
            send(&server, &upload, photo(i as u16 + 1)).await;
            let mut answers = join_all((0..12).map(|_| complete(&server, &upload["id"]))).await;
            answers.push(complete(&server, &upload["id"]).await);
            let first = assert_all_equal(&answers);
            assert_eq!((&first["directUpload"]["status"], &first["file"]["status"]), (&json!("COMPLETED"), &json!("READY")));
        }
        eventually("one stored copy each", || async { (server.originals().len() == 3).then_some(()) }).await;
        assert_eq!((files(&server).await, server.account_images().await.len()), (3, 3));
    }

    /// A refused completion is refused again for the same reason.
    async fn a_refused_completion_is_refused_again(database: Database) {
        let server = Server::start(database).await;
        server.file("known.jpg", photo(1)).await;
        let upload = create(&server, json!({ "onDuplicate": "REJECT" })).await["directUpload"].clone();
        send(&server, &upload, photo(1)).await;
        let answers = join_all((0..6).map(|_| complete(&server, &upload["id"]))).await;
        for answer in &answers {
            assert_eq!(answer["userErrors"], answers[0]["userErrors"]);
            assert_eq!((&answer["userErrors"][0]["code"], &answer["userErrors"][0]["field"]), (&json!("DUPLICATE_CONTENT"), &json!(["input", "id"])));
        }
        assert_eq!(files(&server).await, 2);
    }

    /// The same bytes sent again by PUT, concurrently and later, are the same file; other bytes come too late.
    async fn puts_of_the_same_bytes(database: Database) {
        let server = Server::start(database).await;
        for (i, on_duplicate) in POLICIES.into_iter().enumerate() {
            let upload = create(&server, json!({ "onDuplicate": on_duplicate, "transport": "PUT" })).await["directUpload"].clone();
            let bytes = photo(i as u16 + 1);
            let mut answers = join_all((0..8).map(|_| put(&server, &upload, bytes.clone()))).await;
            answers.push(put(&server, &upload, bytes).await);
            for answer in &answers {
                assert_eq!((answer.0, answer), (200, &answers[0]));
            }
            let (status, other) = put(&server, &upload, png(1)).await;
            assert_eq!((status, &other["error"]["code"]), (409, &json!("CONFLICT")));
        }
        eventually("one stored copy each", || async { (server.originals().len() == 3).then_some(()) }).await;
        assert_eq!(files(&server).await, 3);
    }

    /// Concurrent creations with one key are one upload with one draft, also with a chosen id.
    async fn concurrent_creations(database: Database) {
        let server = Server::start(database).await;
        server.fault(json!({ "call": "direct_upload.create", "fault": { "kind": "delay", "ms": 300 } })).await;
        for more in [
            json!({ "idempotencyKey": "form", "image": { "cfImageId": "mine/1" } }),
            json!({ "idempotencyKey": "put", "transport": "PUT", "image": { "cfImageId": "mine/2" } }),
        ] {
            let mut answers = join_all((0..8).map(|_| create(&server, more.clone()))).await;
            answers.push(create(&server, more).await);
            assert!(assert_all_equal(&answers)["directUpload"]["uploadUrl"].is_string());
        }
        assert_eq!(files(&server).await, 2);
    }

    /// A creation that is repeated after its bytes arrived returns the upload, and its own file is no duplicate.
    async fn a_creation_repeated_after_the_bytes_came(database: Database) {
        let server = Server::start(database).await;
        for (on_duplicate, bytes) in [("REJECT", photo(1)), ("REUSE", photo(2))] {
            let more = json!({ "idempotencyKey": on_duplicate, "onDuplicate": on_duplicate, "sha256": sha256(&bytes) });
            let first = create(&server, more.clone()).await;
            send(&server, &first["directUpload"], bytes).await;
            assert_eq!(complete(&server, &first["directUpload"]["id"]).await["userErrors"], json!([]));
            let again = create(&server, more).await;
            assert_eq!((&again["userErrors"], &again["file"]), (&json!([]), &first["file"]));
            assert_eq!((&again["directUpload"]["id"], &again["deduplicated"]), (&first["directUpload"]["id"], &json!(false)));
        }
    }

    /// While the account refuses, every concurrent repetition gets the error, and the key can be used again
    /// afterwards.
    async fn concurrent_creations_that_fail(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = std::time::Duration::from_millis(400)).await;
        let fault = json!({ "kind": "status", "status": 403, "code": 5453, "message": "inner secret" });
        server.fault(json!({ "call": "direct_upload.create", "fault": fault })).await;
        let more = json!({ "idempotencyKey": "k" });
        for answer in join_all((0..6).map(|_| create(&server, more.clone()))).await {
            let code = answer["userErrors"][0]["code"].as_str().unwrap();
            assert!(["UPSTREAM_ERROR", "CONFLICT"].contains(&code), "{answer:#}");
            assert!(!answer.to_string().contains("inner secret"), "{answer:#}");
        }
        server.remove_faults().await;
        assert_eq!(create(&server, more).await["userErrors"], json!([]));
        assert_eq!(files(&server).await, 1);
    }

    /// Imports with one key are one file.
    async fn concurrent_imports_with_one_key(database: Database) {
        let server = Server::start(database).await;
        let source = axum::Router::new().route("/a.txt", axum::routing::get(|| async { "text" }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a.txt", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, source).await });
        let input = json!({ "workspaceId": server.workspace, "url": url, "idempotencyKey": "k", "onDuplicate": "REJECT" });
        let import = async || server.query(IMPORT, json!({ "input": input })).await["importFile"].clone();
        let mut answers = join_all((0..10).map(|_| import())).await;
        eventually("fetched", || async {
            let found = server.query("{ files { nodes { status } } }", json!({})).await;
            (found["files"]["nodes"] == json!([{ "status": "READY" }])).then_some(())
        })
        .await;
        answers.push(import().await);
        let ids: HashSet<_> = answers.iter().map(|answer| answer["file"]["id"].to_string()).collect();
        assert_eq!(ids.len(), 1);
        assert_all_equal(&answers);
    }
}
