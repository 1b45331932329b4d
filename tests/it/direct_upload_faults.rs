//! Form uploads when Cloudflare's answers are ambiguous: nothing is concluded from the bytes it returns until they
//! have been checked, and refusals of the upload host reach the file.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{Database, Server, eventually};
use crate::pictures::{photo, png};

const CREATE: &str = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) {
    directUpload { id uploadUrl } file { id } userErrors { code } } }";
const COMPLETE: &str = "mutation($input: CompleteDirectUploadInput!) { completeDirectUpload(input: $input) {
    directUpload { status } file { status mimeType size } userErrors { code field message } } }";
const FIND: &str = "query($id: ID!) { directUpload(id: $id) { status failure { code message } file { status failure { code } } } }";

async fn create(server: &Server, more: Value) -> Value {
    let mut input = json!({ "workspaceId": server.workspace, "filename": "a.jpg", "mimeType": "image/jpeg" });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    let created = server.query(CREATE, json!({ "input": input })).await["createDirectUpload"].clone();
    assert_eq!(created["userErrors"], json!([]));
    created["directUpload"].clone()
}

/// Sends bytes by form; returns the status and Cloudflare's error code.
async fn send(server: &Server, upload: &Value, bytes: Vec<u8>) -> (i64, Value) {
    let form = Form::new().part("file", Part::bytes(bytes).file_name("a.jpg"));
    let sent = server.http.post(upload["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
    let status = i64::from(sent.status().as_u16());
    (status, sent.json::<Value>().await.unwrap()["errors"][0]["code"].clone())
}

async fn complete(server: &Server, upload: &Value, reported: Value) -> Value {
    let mut input = json!({ "id": upload["id"] });
    for (key, value) in reported.as_object().unwrap() {
        input[key] = value.clone();
    }
    server.query(COMPLETE, json!({ "input": input })).await["completeDirectUpload"].clone()
}

async fn find(server: &Server, upload: &Value) -> Value {
    server.query(FIND, json!({ "id": upload["id"] })).await["directUpload"].clone()
}

both! {
    /// Whatever the account returns instead of the image, once or for a while, the upload stays open and succeeds
    /// later.
    async fn ambiguous_answers_are_outages(database: Database) {
        let html = "<!doctype html><title>Sign in</title>";
        for (call, fault) in [
            ("images.blob", json!({ "kind": "garbage" })),
            ("images.blob", json!({ "kind": "answer", "content_type": "text/html", "body": html })),
            ("images.blob", json!({ "kind": "answer", "content_type": "image/jpeg", "body": html })),
            ("images.blob", json!({ "kind": "answer", "content_type": "image/jpeg", "body": "" })),
            ("images.blob", json!({ "kind": "answer", "content_type": "image/png", "body": "\u{89}PNG" })),
            ("images.blob", json!({ "kind": "answer", "content_type": "image/svg+xml", "body": html })),
            ("images.blob", json!({ "kind": "answer", "content_type": "application/octet-stream", "body": "x" })),
            ("images.blob", json!({ "kind": "status", "status": 404, "code": 5404 })),
            ("images.blob", json!({ "kind": "drop" })),
            ("images.get", json!({ "kind": "garbage" })),
            ("images.get", json!({ "kind": "status", "status": 404, "code": 5404 })),
            ("images.get", json!({ "kind": "answer", "status": 404, "content_type": "text/plain", "body": "404 page not found" })),
            ("images.get", json!({ "kind": "status", "status": 404, "code": 7003 })),
        ] {
            let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(500)).await;
            let upload = create(&server, json!({})).await;
            assert_eq!(send(&server, &upload, photo(1)).await.0, 200);
            server.fault(json!({ "call": call, "fault": fault })).await;
            let refused = complete(&server, &upload, json!({})).await;
            assert_eq!(refused["userErrors"][0]["code"], "UPSTREAM_ERROR", "{fault}: {refused:#}");
            // The worker does not give up the upload either once it has expired.
            server.clock.advance(Duration::from_secs(1900));
            for _ in 0..3 {
                imagegraph::worker::round(&server.running.app).await.unwrap();
                server.clock.advance(Duration::from_secs(60));
            }
            let found = find(&server, &upload).await;
            assert_eq!((&found["status"], &found["file"]["status"]), (&json!("OPEN"), &json!("AWAITING_UPLOAD")), "{fault}");
            server.remove_faults().await;
            let found = eventually("the upload is completed", || async {
                server.pass(Duration::from_secs(60)).await;
                let found = find(&server, &upload).await;
                (found["status"] != "OPEN").then_some(found)
            })
            .await;
            assert_eq!((&found["status"], &found["file"]["status"]), (&json!("COMPLETED"), &json!("READY")), "{fault}");
            assert_eq!(server.account_images().await.len(), 1, "{fault}");
            server.end().await;
        }
    }

    /// A refusal, which deletes the only copy in the account, requires that a second download returns the same bytes.
    async fn deletion_requires_two_identical_downloads(database: Database) {
        let server = Server::start(database).await;
        server.file("known.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()).await;
        let upload = create(&server, json!({ "onDuplicate": "REJECT" })).await;
        assert_eq!(send(&server, &upload, photo(1)).await.0, 200);
        // The account returns another image once, and that image would be refused.
        let other = json!({ "kind": "answer", "content_type": "image/svg+xml", "body": "<svg xmlns='http://www.w3.org/2000/svg'/>" });
        server.fault(json!({ "call": "images.blob", "fault": other, "times": 1 })).await;
        let doubtful = complete(&server, &upload, json!({})).await;
        assert_eq!(doubtful["userErrors"][0]["code"], "UPSTREAM_ERROR", "{doubtful:#}");
        let done = complete(&server, &upload, json!({})).await;
        assert_eq!((&done["userErrors"], &done["file"]["mimeType"]), (&json!([]), &json!("image/jpeg")));
    }

    /// After `provision_time` the upload fails with a reason, and the image stays in the account.
    async fn ambiguity_ends_after_provision_time(database: Database) {
        let server = Server::start_with(database, |config| {
            config.cloudflare_timeout = Duration::from_millis(500);
            config.provision_time = Duration::from_secs(7200);
        })
        .await;
        let upload = create(&server, json!({})).await;
        assert_eq!(send(&server, &upload, photo(1)).await.0, 200);
        server.fault(json!({ "call": "images.blob", "fault": { "kind": "garbage" } })).await;
        let found = eventually("the upload has failed", || async {
            server.pass(Duration::from_secs(600)).await;
            let found = find(&server, &upload).await;
            (found["status"] != "OPEN").then_some(found)
        })
        .await;
        assert_eq!((&found["status"], &found["failure"]["code"]), (&json!("FAILED"), &json!("UPSTREAM_ERROR")));
        assert_eq!(found["file"], json!({ "status": "FAILED", "failure": { "code": "UPSTREAM_ERROR" } }));
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// The error that the upload host reported to the client is accepted by `completeDirectUpload` and reaches the
    /// file.
    async fn a_refusal_at_the_upload_host_reaches_the_file(database: Database) {
        let server = Server::start(database).await;
        let mut cut = photo(1);
        cut.truncate(cut.len() - 200);
        for (bytes, code) in [
            (vec![0xff; 11 << 20], "FILE_TOO_LARGE"),
            (b"plain text".to_vec(), "UNSUPPORTED_MIME_TYPE"),
            (cut, "CORRUPT_IMAGE"),
        ] {
            let upload = create(&server, json!({})).await;
            let (status, number) = send(&server, &upload, bytes).await;
            assert!((400..500).contains(&status), "{status}");
            // Without a reported error the upload stays open, because the client may send again.
            let silent = complete(&server, &upload, json!({})).await;
            assert_eq!(silent["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
            let reported = json!({ "uploadStatus": status, "uploadErrorCode": number });
            for _ in 0..2 {
                let refused = complete(&server, &upload, reported.clone()).await;
                assert_eq!((&refused["userErrors"][0]["code"], &refused["userErrors"][0]["field"]), (&json!(code), &json!(["input", "id"])), "{refused:#}");
            }
            let found = find(&server, &upload).await;
            assert_eq!((&found["status"], &found["failure"]["code"]), (&json!("FAILED"), &json!(code)));
            assert_eq!(found["file"], json!({ "status": "FAILED", "failure": { "code": code } }));
        }
        // A browser may be able to read the status and not the body.
        for (status, code) in [(413, "FILE_TOO_LARGE"), (415, "UNSUPPORTED_MIME_TYPE"), (502, "UPLOAD_INCOMPLETE"), (400, "UPLOAD_INCOMPLETE")] {
            let upload = create(&server, json!({})).await;
            let answer = complete(&server, &upload, json!({ "uploadStatus": status })).await;
            assert_eq!(answer["userErrors"][0]["code"], code, "{status}");
        }
        // An error code that does not concern the image, such as that of an outage of the upload host.
        let upload = create(&server, json!({})).await;
        let answer = complete(&server, &upload, json!({ "uploadStatus": 415, "uploadErrorCode": 5550 })).await;
        assert_eq!(answer["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
    }

    /// A reported error is only accepted if the account has no image, and only if it is a valid one.
    async fn false_reports_change_nothing(database: Database) {
        let server = Server::start(database).await;
        let upload = create(&server, json!({ "mimeType": "image/png", "filename": "a.png" })).await;
        assert_eq!(send(&server, &upload, png(1)).await.0, 200);
        for (reported, field) in [
            (json!({ "uploadStatus": 99 }), "uploadStatus"),
            (json!({ "uploadStatus": 600 }), "uploadStatus"),
            (json!({ "uploadErrorCode": -1 }), "uploadErrorCode"),
        ] {
            let refused = complete(&server, &upload, reported).await;
            assert_eq!((&refused["userErrors"][0]["code"], &refused["userErrors"][0]["field"]), (&json!("INVALID_INPUT"), &json!(["input", field])));
        }
        let done = complete(&server, &upload, json!({ "uploadStatus": 413 })).await;
        assert_eq!((&done["userErrors"], &done["file"]["status"]), (&json!([]), &json!("READY")));
    }
}
