//! Direct uploads by PUT: to this server, and to the byte store by a presigned URL.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::harness::{Bucket, Database, Server, eventually};
use crate::pictures::{photo, png};
use crate::upload_rules::{policy, sha256};

const CREATE: &str = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) {
    directUpload { id status transport uploadUrl method headers { name value } formFields { name value } fileFieldName maxSize bytesReceived }
    file { id status } userErrors { code field message } } }";
const FIND: &str = "query($id: ID!) { directUpload(id: $id) { status uploadUrl bytesReceived failure { code }
    file { id status filename size mimeType sha256 tags metadata imageStatus failure { code } image { width requireSignedUrls } } } }";
const COMPLETE: &str = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { directUpload { status } file { status sha256 } userErrors { code } } }";
const CANCEL: &str =
    "mutation($id: ID!) { cancelDirectUpload(input: { id: $id }) { deletedFileId userErrors { code } } }";

async fn create(server: &Server, more: Value) -> Value {
    let mut input = json!({ "workspaceId": server.workspace, "filename": "a.txt", "mimeType": "text/plain", "transport": "PUT" });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    let created = server.query(CREATE, json!({ "input": input })).await["createDirectUpload"].clone();
    assert_eq!(created["userErrors"], json!([]), "{created:#}");
    created["directUpload"].clone()
}

/// Sends bytes as a page would, without a token. Returns status and JSON.
async fn put(server: &Server, upload: &Value, bytes: impl Into<reqwest::Body>) -> (u16, Value) {
    let answer = server.http.put(upload["uploadUrl"].as_str().unwrap()).body(bytes).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

async fn find(server: &Server, upload: &Value) -> Value {
    server.query(FIND, json!({ "id": upload["id"] })).await["directUpload"].clone()
}

both! {
    /// Any file by PUT: the declared properties are checked, the answer has the ids, and nothing needs to be
    /// completed.
    async fn any_file_is_put_without_a_token(database: Database) {
        let server = Server::start(database).await;
        let upload = create(&server, json!({ "tags": ["a"], "metadata": { "b": 1 }, "size": 4, "sha256": sha256(b"text") })).await;
        assert_eq!((&upload["method"], &upload["transport"], &upload["status"]), (&json!("PUT"), &json!("PUT"), &json!("OPEN")));
        assert_eq!(upload["headers"], json!([{ "name": "Content-Type", "value": "text/plain" }]));
        assert_eq!((&upload["formFields"], &upload["fileFieldName"]), (&json!([]), &Value::Null));
        assert_eq!((&upload["maxSize"], &upload["bytesReceived"]), (&json!(100 * 1024 * 1024), &json!(0)));
        let early = server.query(COMPLETE, json!({ "id": upload["id"] })).await;
        assert_eq!(early["completeDirectUpload"]["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
        let (status, answer) = put(&server, &upload, "text").await;
        let found = find(&server, &upload).await;
        assert_eq!(answer, json!({ "uploadId": upload["id"], "fileId": found["file"]["id"], "filename": "a.txt", "mimeType": "text/plain", "size": 4, "sha256": sha256(b"text") }));
        assert_eq!((status, &found["status"], &found["uploadUrl"], &found["bytesReceived"]), (200, &json!("COMPLETED"), &Value::Null, &json!(4)));
        assert_eq!((&found["file"]["status"], &found["file"]["tags"], &found["file"]["metadata"]), (&json!("READY"), &json!(["a"]), &json!({ "b": 1 })));
        for _ in 0..2 {
            let done = server.query(COMPLETE, json!({ "id": upload["id"] })).await;
            assert_eq!(done["completeDirectUpload"]["file"], json!({ "status": "READY", "sha256": sha256(b"text") }));
        }
        // The same bytes again are the same upload; other bytes come too late.
        assert_eq!(put(&server, &upload, "text").await, (200, answer));
        let (status, used) = put(&server, &upload, "tixt").await;
        assert_eq!((status, &used["error"]["code"]), (409, &json!("CONFLICT")));
        let image = create(&server, json!({ "filename": "a.jpg", "mimeType": "image/jpeg", "image": { "requireSignedUrls": true, "alt": "A photo" } })).await;
        assert_eq!(image["maxSize"], 10 * 1024 * 1024);
        assert_eq!(put(&server, &image, photo(1)).await.0, 200);
        let found = find(&server, &image).await;
        assert_eq!((&found["file"]["imageStatus"], &found["file"]["image"]), (&json!("READY"), &json!({ "width": 60, "requireSignedUrls": true })));
        assert_eq!((server.originals().len(), server.account_images().await.len()), (2, 1));
    }

    /// A PUT that was damaged or cut off can be repeated.
    async fn an_interrupted_put_can_be_repeated(database: Database) {
        let server = Server::start(database).await;
        let upload = create(&server, json!({ "size": 8, "sha256": sha256(b"the text") })).await;
        let broken = futures_util::stream::iter([Ok(Bytes::from_static(b"the ")), Err(std::io::Error::other("cut"))]);
        let sent = server.http.put(upload["uploadUrl"].as_str().unwrap()).body(reqwest::Body::wrap_stream(broken)).send().await;
        assert!(sent.is_err());
        for (bytes, status, code) in [("", 409, "UPLOAD_INCOMPLETE"), ("the", 409, "UPLOAD_INCOMPLETE"), ("the test", 400, "CHECKSUM_MISMATCH"), ("the text and more", 413, "FILE_TOO_LARGE")] {
            let (got, answer) = put(&server, &upload, bytes).await;
            assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{bytes}");
        }
        assert_eq!(find(&server, &upload).await["status"], "OPEN");
        assert_eq!(put(&server, &upload, "the text").await.0, 200);
        assert_eq!(server.originals().len(), 1);
    }

    /// Bytes that are refused end the upload, and the file has the reason.
    async fn refused_bytes_end_the_upload(database: Database) {
        let server = Server::start(database).await;
        server.file("known.txt", b"known".to_vec()).await;
        for (more, bytes, status, code) in [
            (json!({ "mimeType": "image/png" }), b"just text".to_vec(), 400, "MIME_TYPE_MISMATCH"),
            (json!({}), b"\x89PNG\r\n\x1a\n broken".to_vec(), 400, "CORRUPT_IMAGE"),
            (json!({ "onDuplicate": "REJECT" }), b"known".to_vec(), 409, "DUPLICATE_CONTENT"),
        ] {
            let upload = create(&server, more).await;
            let (got, answer) = put(&server, &upload, bytes.clone()).await;
            assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{answer:#}");
            let found = find(&server, &upload).await;
            assert_eq!((&found["status"], &found["failure"]["code"]), (&json!("FAILED"), &json!(code)));
            assert_eq!((&found["file"]["status"], &found["file"]["failure"]["code"]), (&json!("FAILED"), &json!(code)));
            let (again, same) = put(&server, &upload, bytes).await;
            assert_eq!((again, &same["error"]["code"]), (status, &json!(code)));
        }
        policy(&server, |row| row.allowed_mime_types = sea_orm::ActiveValue::Set(imagegraph::entity::StringList(vec!["text/plain".to_owned()]))).await;
        let upload = create(&server, json!({})).await;
        let (status, answer) = put(&server, &upload, png(1)).await;
        assert_eq!((status, &answer["error"]["code"]), (415, &json!("UNSUPPORTED_MIME_TYPE")));
        let shared = create(&server, json!({ "onDuplicate": "REUSE" })).await;
        assert_eq!(put(&server, &shared, "known").await.0, 200);
        assert_eq!(server.originals().len(), 1);
    }

    /// The URL is valid unmodified, and only while the upload is open.
    async fn the_url_is_the_permission(database: Database) {
        let server = Server::start(database).await;
        let (upload, other) = (create(&server, json!({})).await, create(&server, json!({})).await);
        let url = upload["uploadUrl"].as_str().unwrap().to_owned();
        let (path, query) = url.split_once('?').unwrap();
        let expires: i64 = query.split('&').next().unwrap().replace("expires=", "").parse().unwrap();
        for forged in [
            path.to_owned(),
            format!("{path}?expires={expires}"),
            url.replace(&expires.to_string(), &(expires + 3600).to_string()),
            format!("{url}x"),
            url.replace("signature=", "signature=A"),
            url.replace(upload["id"].as_str().unwrap(), other["id"].as_str().unwrap()),
        ] {
            let answer = server.http.put(&forged).body("text").send().await.unwrap();
            assert_eq!(answer.status(), 403, "{forged}");
            assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "FORBIDDEN");
        }
        assert_eq!(server.http.post(&url).body("text").send().await.unwrap().status(), 405);
        let preflight = server.http.request(reqwest::Method::OPTIONS, &url).header("origin", "https://app.example")
            .header("access-control-request-method", "PUT").header("access-control-request-headers", "content-type").send().await.unwrap();
        assert_eq!((preflight.status().as_u16(), &preflight.headers()["access-control-allow-origin"]), (200, &"*".parse().unwrap()));
        assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
        server.query(CANCEL, json!({ "id": other["id"] })).await;
        let (status, cancelled) = put(&server, &other, "text").await;
        assert_eq!((status, &cancelled["error"]["code"]), (409, &json!("CONFLICT")));
        server.clock.advance(Duration::from_secs(1801));
        let (status, late) = put(&server, &upload, "text").await;
        assert_eq!((status, &late["error"]["code"]), (410, &json!("UPLOAD_EXPIRED")));
        server.clock.advance(Duration::from_secs(60));
        eventually("expired", || async { (find(&server, &upload).await["status"] == "EXPIRED").then_some(()) }).await;
        assert_eq!(put(&server, &upload, "text").await.0, 410);
        assert_eq!(server.query("{ files { totalCount } }", json!({})).await["files"]["totalCount"], 0);
        assert_eq!(server.originals().len(), 0);
    }

    /// While bytes arrive, the upload reports how many.
    async fn progress_is_shown(database: Database) {
        let server = Server::start(database).await;
        let upload = create(&server, json!({ "size": 100_000 })).await;
        let seen = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = Arc::clone(&seen);
        let body = futures_util::stream::unfold(0usize, move |sent| {
            let flag = Arc::clone(&flag);
            async move {
                if sent == 100_000 {
                    return None;
                }
                let all = flag.load(std::sync::atomic::Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(if all { 0 } else { 100 })).await;
                let next = if all { 100_000 - sent } else { 100.min(100_000 - sent) };
                Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; next])), sent + next))
            }
        });
        let request = server.http.put(upload["uploadUrl"].as_str().unwrap()).body(reqwest::Body::wrap_stream(body));
        let sending = tokio::spawn(async move { request.send().await.unwrap().status() });
        let progress = eventually("some bytes", || async {
            let bytes = find(&server, &upload).await["bytesReceived"].as_i64().unwrap();
            (bytes > 0).then_some(bytes)
        })
        .await;
        assert!(progress < 100_000);
        seen.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(sending.await.unwrap(), 200);
        assert_eq!(find(&server, &upload).await["bytesReceived"], 100_000);
    }

    /// Concurrent PUTs store the file once.
    async fn concurrent_puts(database: Database) {
        let server = Server::start(database).await;
        let upload = create(&server, json!({})).await;
        let answers = futures_util::future::join_all((0..6).map(|i| put(&server, &upload, format!("bytes {i}")))).await;
        let filled: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
        assert_eq!(filled.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|(status, _)| [200, 409].contains(status)), "{answers:?}");
        let found = find(&server, &upload).await;
        assert_eq!(found["file"]["sha256"], filled[0].1["sha256"]);
        eventually("one copy", || async { (server.originals().len() == 1).then_some(()) }).await;
    }

    /// With an S3 store the bytes go there by a presigned URL; completing verifies them, and nobody can change them
    /// later.
    async fn presigned_for_the_store(database: Database) {
        let bucket = Bucket::start().await;
        let server = Server::start_with(database, |config| bucket.configure(config)).await;
        let upload = create(&server, json!({ "filename": "a.png", "mimeType": "image/png" })).await;
        let url = upload["uploadUrl"].as_str().unwrap();
        assert!(url.starts_with(&format!("{}/bucket/some/prefix/incoming/", bucket.url)) && url.contains("X-Amz-Signature="), "{url}");
        let early = server.query(COMPLETE, json!({ "id": upload["id"] })).await;
        assert_eq!(early["completeDirectUpload"]["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
        assert_eq!(put(&server, &upload, png(1)).await.0, 200);
        let done = server.query(COMPLETE, json!({ "id": upload["id"] })).await;
        assert_eq!(done["completeDirectUpload"]["file"], json!({ "status": "READY", "sha256": sha256(&png(1)) }), "{done:#}");
        assert_eq!(find(&server, &upload).await["file"]["imageStatus"], "READY");
        eventually("what came in is gone", || async { bucket.keys("incoming").is_empty().then_some(()) }).await;
        let short = create(&server, json!({ "size": 5 })).await;
        assert_eq!(put(&server, &short, "text").await.0, 200);
        let done = server.query(COMPLETE, json!({ "id": short["id"] })).await;
        assert_eq!(done["completeDirectUpload"]["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
        server.query(CANCEL, json!({ "id": short["id"] })).await;
        // The URL still works at the store, and changes nothing of the file.
        assert_eq!(put(&server, &upload, "something else").await.0, 200);
        let file = server.query("query($id: ID!) { directUpload(id: $id) { file { downloadUrl } } }", json!({ "id": upload["id"] })).await;
        let url = file["directUpload"]["file"]["downloadUrl"].as_str().unwrap().to_owned();
        assert_eq!(server.http.get(&url).send().await.unwrap().bytes().await.unwrap(), png(1));
        assert_eq!(server.http.get(&url).header("range", "bytes=1-3").send().await.unwrap().bytes().await.unwrap(), png(1)[1..4]);
        // One upload that is sent and never completed, one that is refused, and one that is cancelled: the first is
        // completed, and nothing remains of the others.
        let (sent, wrong, given_up) = (create(&server, json!({})).await, create(&server, json!({ "mimeType": "image/png" })).await, create(&server, json!({})).await);
        for upload in [&sent, &wrong, &given_up] {
            assert_eq!(put(&server, upload, "text").await.0, 200);
        }
        server.query(CANCEL, json!({ "id": given_up["id"] })).await;
        server.clock.advance(Duration::from_secs(1900));
        eventually("all over", || async {
            let (sent, wrong) = (find(&server, &sent).await, find(&server, &wrong).await);
            (sent["status"] == "COMPLETED" && wrong["status"] == "FAILED" && wrong["failure"]["code"] == "MIME_TYPE_MISMATCH").then_some(())
        })
        .await;
        eventually("what came in is gone", || async { bucket.keys("incoming").is_empty().then_some(()) }).await;
        assert_eq!(bucket.keys("originals").len(), 2);
    }
}
