//! The program with an S3 server as its byte store: all uploads and downloads, and a store that fails.

use std::time::Duration;

use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Bucket, Database, Failure, Remote, eventually};
use crate::pictures::{photo, png};
use crate::shared_upload_parts::noise;
use crate::upload_rules::sha256;

const IMPORT: &str =
    "mutation($input: ImportFileInput!) { importFile(input: $input) { file { id } userErrors { code } } }";
const FILE: &str =
    "query($id: ID!) { file(id: $id) { status sha256 size downloadUrl failure { code } imageStatus } }";
const CREATE: &str = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) {
    directUpload { id uploadUrl fileFieldName } file { id } userErrors { code } } }";
const COMPLETE: &str = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { file { id status sha256 } userErrors { code } } }";
const DELETE: &str =
    "mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { userErrors { code } } }";

async fn started(database: Database, bucket: &Bucket, dir: &TempDir) -> Remote {
    let mut variables = bucket.variables();
    variables.push(("IMAGEGRAPH_SWEEP_AGE", "1".to_owned()));
    if let Some(url) = database.fresh().await {
        variables.push(("DATABASE_URL", url));
    }
    Remote::start(dir, &variables).await
}

/// A source of files on a loopback address.
async fn source(bytes: Vec<u8>) -> String {
    let router = axum::Router::new().route("/a.bin", get(move || async move { bytes }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.bin", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn downloaded(server: &Remote, id: &Value) -> Vec<u8> {
    let file = server.query(FILE, json!({ "id": id })).await["file"].clone();
    let answer = server.http.get(file["downloadUrl"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

async fn ready(server: &Remote, id: &Value) {
    eventually("the file is ready", || async {
        let file = server.query(FILE, json!({ "id": id })).await["file"].clone();
        assert_ne!(file["status"], "FAILED", "{file:#}");
        (file["status"] == "READY").then_some(())
    })
    .await;
}

both! {
    /// Uploads, imports, direct uploads by form and by presigned PUT, downloads, ranges, sweep and deletion.
    async fn uploads_and_downloads(database: Database) {
        let (bucket, dir) = (Bucket::start().await, TempDir::new().unwrap());
        let server = started(database, &bucket, &dir).await;
        // A small file, and one so large that it is stored by a multipart upload.
        let (small, large, fetched) = (b"text".to_vec(), noise(23 * 1024 * 1024 + 1, 1), noise(300_000, 2));
        for bytes in [&small, &large] {
            let file = server.file("a.bin", bytes.clone()).await;
            assert_eq!(file["sha256"], json!(sha256(bytes)));
            assert_eq!(sha256(&downloaded(&server, &file["id"]).await), sha256(bytes));
        }
        let image = server.file("a.jpg", photo(1)).await;
        assert_eq!(image["imageStatus"], "READY", "{image:#}");
        let input = json!({ "workspaceId": server.workspace, "url": source(fetched.clone()).await });
        let imported = server.query(IMPORT, json!({ "input": input })).await["importFile"]["file"]["id"].clone();
        ready(&server, &imported).await;
        assert_eq!(downloaded(&server, &imported).await, fetched);
        // A presigned PUT goes to the store itself, which verifies the signature.
        let input = json!({ "workspaceId": server.workspace, "filename": "p.png", "mimeType": "image/png", "transport": "PUT" });
        let created = server.query(CREATE, json!({ "input": input })).await["createDirectUpload"].clone();
        let url = created["directUpload"]["uploadUrl"].as_str().unwrap();
        assert!(url.starts_with(&bucket.url), "{url}");
        let forged = server.http.put(url.replace("Signature=", "Signature=0")).body(png(3)).send().await.unwrap();
        assert!(forged.status().is_client_error(), "{forged:?}");
        assert_eq!(server.http.put(url).body(png(3)).send().await.unwrap().status(), 200);
        let done = server.query(COMPLETE, json!({ "id": created["directUpload"]["id"] })).await["completeDirectUpload"].clone();
        assert_eq!((&done["userErrors"], &done["file"]["sha256"]), (&json!([]), &json!(sha256(&png(3)))));
        assert_eq!(downloaded(&server, &done["file"]["id"]).await, png(3));
        eventually("what came in is gone", || async { bucket.keys("incoming").is_empty().then_some(()) }).await;
        // A form goes to the account, from where the server copies it into the store.
        let input = json!({ "workspaceId": server.workspace, "filename": "f.png", "mimeType": "image/png", "transport": "FORM_POST" });
        let created = server.query(CREATE, json!({ "input": input })).await["createDirectUpload"].clone();
        let part = reqwest::multipart::Part::bytes(png(4)).file_name("f.png");
        let form = reqwest::multipart::Form::new().part("file", part);
        let sent = server.http.post(created["directUpload"]["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
        assert_eq!(sent.status(), 200);
        let done = server.query(COMPLETE, json!({ "id": created["directUpload"]["id"] })).await["completeDirectUpload"].clone();
        assert_eq!(done["file"]["status"], "READY", "{done:#}");
        assert_eq!(downloaded(&server, &done["file"]["id"]).await, png(4));
        let url = server.query(FILE, json!({ "id": imported })).await["file"]["downloadUrl"].as_str().unwrap().to_owned();
        for (range, part) in [("bytes=0-0", 0..1), ("bytes=100000-299999", 100_000..300_000), ("bytes=-5", 299_995..300_000)] {
            let answer = server.http.get(&url).header("range", range).send().await.unwrap();
            assert_eq!(answer.status(), 206);
            assert_eq!(answer.bytes().await.unwrap(), fetched[part]);
        }
        let before = bucket.keys("originals").len();
        assert_eq!(before, 6);
        let deleted = server.query(DELETE, json!({ "id": imported })).await;
        assert_eq!(deleted["deleteFile"]["userErrors"], json!([]));
        eventually("its bytes are gone", || async { (bucket.keys("originals").len() == before - 1).then_some(()) }).await;
        // Objects that belong to no file are deleted, and those of files stay.
        std::fs::write(bucket.path("originals").join("018c2f0e-0000-7000-8000-000000000000"), "orphan").unwrap();
        eventually("the orphan is gone", || async { (bucket.keys("originals").len() == before - 1).then_some(()) }).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(bucket.keys("originals").len(), before - 1);
        assert_eq!(server.http.get(format!("{}/readyz", server.url)).send().await.unwrap().status(), 200);
    }

    /// A failing store is reported as an outage, and waiting work continues afterwards.
    async fn a_store_that_fails(database: Database) {
        let (bucket, dir) = (Bucket::start().await, TempDir::new().unwrap());
        let server = started(database, &bucket, &dir).await;
        let bytes = noise(100_000, 3);
        let kept = server.file("kept.bin", bytes.clone()).await;
        let url = server.query(FILE, json!({ "id": kept["id"] })).await["file"]["downloadUrl"].as_str().unwrap().to_owned();
        for failure in [Failure::Status(500), Failure::Status(503), Failure::Status(403)] {
            bucket.fail(failure);
            let refused = server.upload("a.bin", noise(1000, 4)).await;
            assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true), "{failure:?}");
            let id = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
            let body: Value = refused.json().await.unwrap();
            let extensions = &body["errors"][0]["extensions"];
            assert_eq!((&extensions["code"], &extensions["requestId"]), (&json!("SERVICE_UNAVAILABLE"), &json!(id)), "{body:#}");
            let refused = server.http.get(&url).send().await.unwrap();
            assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true), "{failure:?}");
            let body: Value = refused.json().await.unwrap();
            assert_eq!(body["error"]["code"], "SERVICE_UNAVAILABLE");
            assert!(!body["error"]["requestId"].as_str().unwrap().is_empty());
            assert_eq!(server.http.get(format!("{}/readyz", server.url)).send().await.unwrap().status(), 503);
        }
        // The import waits, and the file is not reported as lost in the meantime.
        bucket.fail(Failure::Method("PUT", 500));
        let input = json!({ "workspaceId": server.workspace, "url": source(bytes[..5000].to_vec()).await });
        let imported = server.query(IMPORT, json!({ "input": input })).await["importFile"]["file"]["id"].clone();
        let tries = bucket.methods().iter().filter(|method| *method == "PUT").count();
        eventually("the import was tried", || async {
            (bucket.methods().iter().filter(|method| *method == "PUT").count() > tries).then_some(())
        })
        .await;
        let file = server.query(FILE, json!({ "id": imported })).await["file"].clone();
        assert_eq!(file["status"], "PROCESSING");
        let large = server.upload("large.bin", noise(12 * 1024 * 1024, 5)).await;
        assert_eq!(large.status(), 503);
        bucket.fail(Failure::Delay(Duration::from_millis(300)));
        ready(&server, &imported).await;
        assert_eq!(downloaded(&server, &kept["id"]).await, bytes);
        server.file("b.bin", noise(1000, 6)).await;
        assert_eq!(server.query(FILE, json!({ "id": kept["id"] })).await["file"]["status"], "READY");
    }

    /// Completing a presigned PUT while the store fails is reported as an outage, and succeeds when repeated.
    async fn a_completion_while_the_store_fails(database: Database) {
        let (bucket, dir) = (Bucket::start().await, TempDir::new().unwrap());
        let server = started(database, &bucket, &dir).await;
        let input = json!({ "workspaceId": server.workspace, "filename": "a.txt", "mimeType": "text/plain", "transport": "PUT" });
        let created = server.query(CREATE, json!({ "input": input })).await["createDirectUpload"]["directUpload"].clone();
        assert_eq!(server.http.put(created["uploadUrl"].as_str().unwrap()).body("text").send().await.unwrap().status(), 200);
        for failure in [Failure::Method("HEAD", 500), Failure::Method("PUT", 500), Failure::Method("GET", 500)] {
            bucket.fail(failure);
            let body = json!({ "query": COMPLETE, "variables": { "id": created["id"] } });
            let refused = server.http.post(format!("{}/graphql", server.url)).bearer_auth(crate::harness::ADMIN).json(&body).send().await.unwrap();
            assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true), "{failure:?}");
            let body: Value = refused.json().await.unwrap();
            assert_eq!(body["errors"][0]["extensions"]["code"], "SERVICE_UNAVAILABLE", "{failure:?} {body:#}");
        }
        bucket.fail(Failure::None);
        let done = server.query(COMPLETE, json!({ "id": created["id"] })).await["completeDirectUpload"].clone();
        assert_eq!((&done["userErrors"], &done["file"]["sha256"]), (&json!([]), &json!(sha256(b"text"))));
    }
}

/// With a store that does not accept connections the server starts, and requests do not wait long.
#[tokio::test]
async fn an_unreachable_store() {
    let (bucket, dir) = (Bucket::start().await, TempDir::new().unwrap());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let mut variables = bucket.variables();
    for (name, value) in &mut variables {
        if *name == "AWS_ENDPOINT_URL" {
            value.clone_from(&address);
        }
    }
    let server = Remote::start(&dir, &variables).await;
    let refused = tokio::time::timeout(Duration::from_secs(30), server.upload("a.txt", b"text".to_vec()));
    let refused = refused.await.expect("an answer");
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
    let body = refused.text().await.unwrap();
    assert!(!body.contains(&address) && !body.contains("127.0.0.1"), "{body}");
}
