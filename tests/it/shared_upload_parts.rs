//! One part of a multipart request for several variables: each upload gets all of its bytes.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::picture;
use crate::upload_rules::sha256;

const UPLOAD: &str = "mutation($input: UploadFileInput!) { uploadFile(input: $input) {
    file { id status size sha256 downloadUrl } deduplicated userErrors { code message } } }";

/// Pseudo-random bytes, so that no two chunks are equal.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sends operations that all refer to the same part; returns the body.
async fn send(server: &Server, operations: &Value, places: Vec<String>, bytes: &[u8]) -> Value {
    let form = Form::new()
        .text("operations", operations.to_string())
        .text("map", json!({ "0": places }).to_string())
        .part("0", Part::bytes(bytes.to_vec()).file_name("a.bin"));
    let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).multipart(form);
    request.send().await.unwrap().json().await.unwrap()
}

/// Asserts that the stored file is what was sent.
async fn assert_complete(server: &Server, payload: &Value, bytes: &[u8]) {
    assert_eq!(payload["userErrors"], json!([]), "{payload:#}");
    let file = &payload["file"];
    assert_eq!((&file["status"], &file["size"]), (&json!("READY"), &json!(bytes.len())));
    assert_eq!(file["sha256"], json!(sha256(bytes)));
    let stored = server.http.get(file["downloadUrl"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(stored.status(), 200);
    let stored = stored.bytes().await.unwrap();
    assert_eq!((stored.len(), sha256(&stored)), (bytes.len(), sha256(bytes)));
}

both! {
    /// Operations of a batch store one part concurrently, each in its own workspace, so that none shares what another
    /// one stored.
    async fn batch_operations_store_one_part_concurrently(database: Database) {
        let server = Server::start_with(database, |config| config.max_upload_parts = 20).await;
        for (count, length) in [(2, 6 * 1024 * 1024 + 1), (10, 2 * 1024 * 1024 + 7), (3, 11 * 1024 * 1024 + 3)] {
            let bytes = noise(length, count);
            let mut operations = Vec::new();
            for number in 0..count {
                let workspace = server.other_workspace(&format!("{count} {number}")).await;
                let input = json!({ "workspaceId": workspace, "file": null });
                operations.push(json!({ "query": UPLOAD, "variables": { "input": input } }));
            }
            let places = (0..count).map(|number| format!("{number}.variables.input.file")).collect();
            let answers = send(&server, &json!(operations), places, &bytes).await;
            assert_eq!(answers.as_array().unwrap().len() as u64, count, "{answers:#}");
            for answer in answers.as_array().unwrap() {
                assert_complete(&server, &answer["data"]["uploadFile"], &bytes).await;
            }
        }
    }

    /// In one workspace the operations share the stored bytes, and so do later uploads.
    async fn batch_operations_share_stored_bytes(database: Database) {
        let server = Server::start(database).await;
        let bytes = noise(5 * 1024 * 1024 + 5, 99);
        let input = json!({ "workspaceId": server.workspace, "file": null });
        let operation = json!({ "query": UPLOAD, "variables": { "input": input } });
        let places = vec!["0.variables.input.file".to_owned(), "1.variables.input.file".to_owned()];
        let answers = send(&server, &json!([operation, operation]), places, &bytes).await;
        for answer in answers.as_array().unwrap() {
            assert_complete(&server, &answer["data"]["uploadFile"], &bytes).await;
        }
        let again = server.file("again.bin", bytes.clone()).await;
        let url = server.query("query($id: ID!) { file(id: $id) { downloadUrl } }", json!({ "id": again["id"] })).await;
        let stored = server.http.get(url["file"]["downloadUrl"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(sha256(&stored.bytes().await.unwrap()), sha256(&bytes));
        assert_eq!(server.originals().len(), 1);
    }

    /// Two fields of one operation, and an image that is analysed, stored and sent to the account concurrently.
    async fn fields_of_an_operation_share_one_part(database: Database) {
        let server = Server::start(database).await;
        let bytes = picture(700, 500, image::ImageFormat::Png);
        let query = "mutation($a: UploadFileInput!, $b: UploadFileInput!) { a: uploadFile(input: $a) {
            file { id status size sha256 downloadUrl imageStatus image { width height } } userErrors { code } }
            b: uploadFile(input: $b) { file { id status size sha256 downloadUrl imageStatus image { width height } } userErrors { code } } }";
        let other = server.other_workspace("other").await;
        let variables = json!({ "a": { "workspaceId": server.workspace, "file": null }, "b": { "workspaceId": other, "file": null } });
        let operation = json!({ "query": query, "variables": variables });
        let places = ["0.variables.a.file", "0.variables.b.file", "1.variables.a.file", "1.variables.b.file"];
        let answers = send(&server, &json!([operation, operation]), places.map(str::to_owned).to_vec(), &bytes).await;
        for answer in answers.as_array().unwrap() {
            for field in ["a", "b"] {
                let payload = &answer["data"][field];
                assert_complete(&server, payload, &bytes).await;
                assert_eq!((&payload["file"]["imageStatus"], &payload["file"]["image"]), (&json!("READY"), &json!({ "width": 700, "height": 500 })));
            }
        }
    }
}
