//! Form uploads: what the account hands out is looked at before anything is concluded from it, and what the upload host
//! refused reaches the file.

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

/// Sends bytes by form; answers status and number.
async fn send(server: &Server, upload: &Value, bytes: Vec<u8>) -> (i64, Value) {
    let form = Form::new().part("file", Part::bytes(bytes).file_name("a.jpg"));
    let sent = server.http.post(upload["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
    let status = i64::from(sent.status().as_u16());
    (status, sent.json::<Value>().await.unwrap()["errors"][0]["code"].clone())
}

async fn complete(server: &Server, upload: &Value, told: Value) -> Value {
    let mut input = json!({ "id": upload["id"] });
    for (key, value) in told.as_object().unwrap() {
        input[key] = value.clone();
    }
    server.query(COMPLETE, json!({ "input": input })).await["completeDirectUpload"].clone()
}

async fn find(server: &Server, upload: &Value) -> Value {
    server.query(FIND, json!({ "id": upload["id"] })).await["directUpload"].clone()
}

both! {
    /// Whatever the account hands out instead of the picture, once or for a while: nothing is lost by it.
    async fn a_doubtful_answer_is_an_outage(database: Database) {
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
            // The worker, once the upload has run out, concludes nothing from it either.
            server.clock.advance(Duration::from_secs(1900));
            for _ in 0..3 {
                imagegraph::worker::round(&server.running.app).await.unwrap();
                server.clock.advance(Duration::from_secs(60));
            }
            let found = find(&server, &upload).await;
            assert_eq!((&found["status"], &found["file"]["status"]), (&json!("OPEN"), &json!("AWAITING_UPLOAD")), "{fault}");
            server.heal().await;
            let found = eventually("completed", || async {
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

    /// A refusal that would delete the account's only copy stands only if a second look shows the same bytes.
    async fn nothing_is_deleted_on_one_look(database: Database) {
        let server = Server::start(database).await;
        server.file("known.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()).await;
        let upload = create(&server, json!({ "onDuplicate": "REJECT" })).await;
        assert_eq!(send(&server, &upload, photo(1)).await.0, 200);
        // Once it hands out somebody else's picture, which happens to be one that would be refused.
        let other = json!({ "kind": "answer", "content_type": "image/svg+xml", "body": "<svg xmlns='http://www.w3.org/2000/svg'/>" });
        server.fault(json!({ "call": "images.blob", "fault": other, "times": 1 })).await;
        let doubtful = complete(&server, &upload, json!({})).await;
        assert_eq!(doubtful["userErrors"][0]["code"], "UPSTREAM_ERROR", "{doubtful:#}");
        let done = complete(&server, &upload, json!({})).await;
        assert_eq!((&done["userErrors"], &done["file"]["mimeType"]), (&json!([]), &json!("image/jpeg")));
    }

    /// Doubt does not last for ever: then the file says why, and the account keeps what it has.
    async fn doubt_has_an_end(database: Database) {
        let server = Server::start_with(database, |config| {
            config.cloudflare_timeout = Duration::from_millis(500);
            config.provision_time = Duration::from_secs(7200);
        })
        .await;
        let upload = create(&server, json!({})).await;
        assert_eq!(send(&server, &upload, photo(1)).await.0, 200);
        server.fault(json!({ "call": "images.blob", "fault": { "kind": "garbage" } })).await;
        let found = eventually("given up", || async {
            server.pass(Duration::from_secs(600)).await;
            let found = find(&server, &upload).await;
            (found["status"] != "OPEN").then_some(found)
        })
        .await;
        assert_eq!((&found["status"], &found["failure"]["code"]), (&json!("FAILED"), &json!("UPSTREAM_ERROR")));
        assert_eq!(found["file"], json!({ "status": "FAILED", "failure": { "code": "UPSTREAM_ERROR" } }));
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// What the upload host refused, and the client was told, reaches the file and the caller.
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
            // Without a word of it the upload is open: perhaps it is sent again.
            let silent = complete(&server, &upload, json!({})).await;
            assert_eq!(silent["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
            let told = json!({ "uploadStatus": status, "uploadErrorCode": number });
            for _ in 0..2 {
                let refused = complete(&server, &upload, told.clone()).await;
                assert_eq!((&refused["userErrors"][0]["code"], &refused["userErrors"][0]["field"]), (&json!(code), &json!(["input", "id"])), "{refused:#}");
            }
            let found = find(&server, &upload).await;
            assert_eq!((&found["status"], &found["failure"]["code"]), (&json!("FAILED"), &json!(code)));
            assert_eq!(found["file"], json!({ "status": "FAILED", "failure": { "code": code } }));
        }
        // A browser may see the status and not the body.
        for (status, code) in [(413, "FILE_TOO_LARGE"), (415, "UNSUPPORTED_MIME_TYPE"), (502, "UPLOAD_INCOMPLETE"), (400, "UPLOAD_INCOMPLETE")] {
            let upload = create(&server, json!({})).await;
            let answer = complete(&server, &upload, json!({ "uploadStatus": status })).await;
            assert_eq!(answer["userErrors"][0]["code"], code, "{status}");
        }
        // A number that is not about the picture, such as that of an outage of the upload host.
        let upload = create(&server, json!({})).await;
        let answer = complete(&server, &upload, json!({ "uploadStatus": 415, "uploadErrorCode": 5550 })).await;
        assert_eq!(answer["userErrors"][0]["code"], "UPLOAD_INCOMPLETE");
    }

    /// What a client says is believed only where the account has nothing; nonsense is refused.
    async fn a_false_word_of_a_refusal_changes_nothing(database: Database) {
        let server = Server::start(database).await;
        let upload = create(&server, json!({ "mimeType": "image/png", "filename": "a.png" })).await;
        assert_eq!(send(&server, &upload, png(1)).await.0, 200);
        for (told, field) in [
            (json!({ "uploadStatus": 99 }), "uploadStatus"),
            (json!({ "uploadStatus": 600 }), "uploadStatus"),
            (json!({ "uploadErrorCode": -1 }), "uploadErrorCode"),
        ] {
            let refused = complete(&server, &upload, told).await;
            assert_eq!((&refused["userErrors"][0]["code"], &refused["userErrors"][0]["field"]), (&json!("INVALID_INPUT"), &json!(["input", field])));
        }
        let done = complete(&server, &upload, json!({ "uploadStatus": 413 })).await;
        assert_eq!((&done["userErrors"], &done["file"]["status"]), (&json!([]), &json!("READY")));
    }
}
