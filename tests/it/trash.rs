//! The trash: moving files into it, restoring them, and emptying it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{photo, png};

const TRASH: &str = "mutation($id: ID!, $p: Boolean) { deleteFile(input: { id: $id, permanently: $p }) {
    success deletedFileId deletedImageId file { id deletedAt purgeAt imageStatus image { id } } userErrors { code field } } }";
const RESTORE: &str = "mutation($id: ID!) { restoreFile(input: { id: $id }) {
    file { id deletedAt purgeAt imageStatus image { id alt focalPoint { x y } requireSignedUrls url } } userErrors { code field } } }";
const COUNTS: &str = "{ files { totalCount } images { totalCount } }";

async fn set_policy(server: &Server, policy: Value) {
    let update = "mutation($id: ID!, $p: WorkspacePolicyInput) { updateWorkspace(input: { id: $id, policy: $p }) { userErrors { code } } }";
    let done = server.query(update, json!({ "id": server.workspace, "p": policy })).await;
    assert_eq!(done["updateWorkspace"]["userErrors"], json!([]));
}

fn seconds(from: &Value, to: &Value) -> i64 {
    let at = |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
    (at(to) - at(from)).num_seconds()
}

both! {
    /// A file in the trash is in no other list and not in the account; restored, it is what it was, with its image.
    async fn a_restored_file_is_unchanged(database: Database) {
        let server = Server::start(database).await;
        let image = json!({ "alt": "A lake", "focalPoint": { "x": 0.25, "y": 0.5 }, "requireSignedUrls": true });
        let file = server.upload_as(ADMIN, json!({ "image": image }), "photo.jpg", "", photo(6)).await["file"].clone();
        let url = file["image"]["url"].as_str().unwrap().to_owned();
        assert_eq!(server.http.get(&url).send().await.unwrap().status(), 200);
        let trashed = server.query(TRASH, json!({ "id": file["id"] })).await["deleteFile"].clone();
        assert_eq!((&trashed["success"], &trashed["userErrors"]), (&json!(true), &json!([])));
        assert_eq!((&trashed["deletedFileId"], &trashed["deletedImageId"]), (&file["id"], &file["image"]["id"]));
        assert_eq!((&trashed["file"]["imageStatus"], &trashed["file"]["image"]), (&json!("REMOVED"), &Value::Null));
        assert_eq!(seconds(&trashed["file"]["deletedAt"], &trashed["file"]["purgeAt"]), 30 * 86_400);
        let counts = server.query(COUNTS, json!({})).await;
        assert_eq!(counts, json!({ "files": { "totalCount": 0 }, "images": { "totalCount": 0 } }));
        assert_eq!((server.account_images().await.len(), server.originals().len()), (0, 1));
        assert_eq!(server.http.get(&url).send().await.unwrap().status(), 404);
        // Deleting again changes nothing.
        let again = server.query(TRASH, json!({ "id": file["id"] })).await["deleteFile"].clone();
        assert_eq!((&again["success"], &again["file"]["deletedAt"]), (&json!(true), &trashed["file"]["deletedAt"]));
        let restored = server.query(RESTORE, json!({ "id": file["id"] })).await["restoreFile"].clone();
        assert_eq!(restored["userErrors"], json!([]));
        let back = &restored["file"];
        assert_eq!((&back["deletedAt"], &back["purgeAt"], &back["imageStatus"]), (&Value::Null, &Value::Null, &json!("READY")));
        assert_eq!((&back["image"]["alt"], &back["image"]["requireSignedUrls"]), (&json!("A lake"), &json!(true)));
        assert_eq!(back["image"]["focalPoint"], json!({ "x": 0.25, "y": 0.5 }));
        assert_ne!(back["image"]["id"], file["image"]["id"]);
        assert_eq!(server.http.get(back["image"]["url"].as_str().unwrap()).send().await.unwrap().status(), 200);
        let again = server.query(RESTORE, json!({ "id": file["id"] })).await["restoreFile"].clone();
        assert_eq!(again["userErrors"][0], json!({ "code": "CONFLICT", "field": ["input", "id"] }));
    }

    /// A file is deleted permanently after the retention time, and not before.
    async fn the_trash_is_emptied_when_due(database: Database) {
        let server = Server::start(database).await;
        set_policy(&server, json!({ "trashRetentionDays": 2 })).await;
        let file = server.file("a.png", png(1)).await;
        server.query(TRASH, json!({ "id": file["id"] })).await;
        server.clock.advance(Duration::from_secs(47 * 3600));
        imagegraph::worker::round(&server.running.app).await.unwrap();
        let found = server.query("query($id: ID!) { file(id: $id) { deletedAt } }", json!({ "id": file["id"] })).await;
        assert!(found["file"]["deletedAt"].is_string());
        assert_eq!(server.originals().len(), 1);
        server.clock.advance(Duration::from_secs(2 * 3600));
        eventually("purged", || async {
            let found = server.query("query($id: ID!) { file(id: $id) { id } }", json!({ "id": file["id"] })).await;
            (found["file"].is_null() && server.originals().is_empty()).then_some(())
        })
        .await;
        let gone = server.query(RESTORE, json!({ "id": file["id"] })).await["restoreFile"].clone();
        assert_eq!(gone["userErrors"][0]["code"], "NOT_FOUND");
    }

    /// Permanent deletion: on request, from the trash, and in a workspace without a trash.
    async fn permanent_deletion(database: Database) {
        let server = Server::start(database).await;
        let (a, b, c) = (server.file("a.png", png(1)).await, server.file("b.png", png(2)).await, server.file("c.txt", b"c".to_vec()).await);
        let gone = server.query(TRASH, json!({ "id": a["id"], "p": true })).await["deleteFile"].clone();
        assert_eq!((&gone["success"], &gone["file"]), (&json!(true), &Value::Null));
        server.query(TRASH, json!({ "id": b["id"] })).await;
        let gone = server.query(TRASH, json!({ "id": b["id"], "p": true })).await["deleteFile"].clone();
        assert_eq!((&gone["success"], &gone["file"], &gone["deletedImageId"]), (&json!(true), &Value::Null, &Value::Null));
        set_policy(&server, json!({ "trashRetentionDays": 0 })).await;
        let gone = server.query(TRASH, json!({ "id": c["id"] })).await["deleteFile"].clone();
        assert_eq!((&gone["success"], &gone["file"]), (&json!(true), &Value::Null));
        assert_eq!((server.account_images().await.len(), server.originals().len()), (0, 0));
    }

    /// Files in the trash cannot be changed or provisioned.
    async fn trashed_files_cannot_be_changed(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(1)).await;
        server.query(TRASH, json!({ "id": file["id"] })).await;
        for mutation in [
            "mutation($id: ID!) { it: updateFile(input: { id: $id, filename: \"b\" }) { userErrors { code message } } }",
            "mutation($id: ID!) { it: provisionImage(input: { fileId: $id }) { userErrors { code message } } }",
        ] {
            let refused = server.query(mutation, json!({ "id": file["id"] })).await;
            assert_eq!(refused["it"]["userErrors"][0]["code"], "CONFLICT", "{mutation}");
            assert!(refused["it"]["userErrors"][0]["message"].as_str().unwrap().contains("restore"), "{refused}");
        }
    }

    /// A file is restored even if its image cannot be provisioned, and keeps the image's settings.
    async fn restoring_does_not_need_the_account(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(500)).await;
        let file = server.upload_as(ADMIN, json!({ "image": { "alt": "kept" } }), "a.png", "", png(1)).await["file"].clone();
        server.query(TRASH, json!({ "id": file["id"] })).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 503 } })).await;
        let restored = server.query(RESTORE, json!({ "id": file["id"] })).await["restoreFile"].clone();
        assert_eq!((&restored["userErrors"], &restored["file"]["imageStatus"]), (&json!([]), &json!("QUEUED")));
        server.remove_faults().await;
        eventually("ready", || async {
            server.pass(Duration::from_secs(700)).await;
            let found = server.query("{ images { nodes { alt } } }", json!({})).await;
            (found["images"]["nodes"] == json!([{ "alt": "kept" }])).then_some(())
        })
        .await;
    }

    /// If the account has not released a chosen id yet, the image waits and does not fail.
    async fn chosen_ids_are_restored(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(700)).await;
        let file = server.upload_as(ADMIN, json!({ "image": { "cfImageId": "logo" } }), "a.png", "", png(1)).await["file"].clone();
        server.fault(json!({ "call": "images.delete", "fault": { "kind": "status", "status": 503 } })).await;
        server.query(TRASH, json!({ "id": file["id"] })).await;
        let restored = server.query(RESTORE, json!({ "id": file["id"] })).await["restoreFile"].clone();
        assert_eq!((&restored["userErrors"], &restored["file"]["imageStatus"]), (&json!([]), &json!("QUEUED")), "{restored:#}");
        server.remove_faults().await;
        eventually("back under its id", || async {
            server.pass(Duration::from_secs(60)).await;
            let found = server.query("{ images { nodes { cfImageId url } } }", json!({})).await;
            let found = found["images"]["nodes"].get(0)?;
            let there = server.http.get(found["url"].as_str()?).send().await.unwrap().status() == 200;
            (found["cfImageId"] == "logo" && there).then_some(())
        })
        .await;
    }

    /// An id that was taken a moment ago and is free by now is not refused for good: the image that had it was removed in between.
    async fn an_id_that_became_free_is_tried_again(database: Database) {
        let server = Server::start(database).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 409, "code": 5409 } })).await;
        let file = server.upload_as(ADMIN, json!({ "image": { "cfImageId": "logo" } }), "a.png", "", png(1)).await["file"].clone();
        assert_eq!(file["imageStatus"], "QUEUED", "{file:#}");
        server.remove_faults().await;
        eventually("provisioned under its id", || async {
            server.pass(Duration::from_secs(60)).await;
            let found = server.query("{ images { nodes { cfImageId } } }", json!({})).await;
            (found["images"]["nodes"][0]["cfImageId"] == "logo").then_some(())
        })
        .await;
        let taken = server.upload_as(ADMIN, json!({ "image": { "cfImageId": "logo" } }), "b.png", "", png(2)).await;
        assert_eq!(taken["userErrors"][0]["code"], "CUSTOM_ID_TAKEN", "{taken:#}");
    }

    /// The reason why an image could not be restored is on its file, which is restored all the same.
    async fn a_restored_file_has_the_reason_why_its_image_failed(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(1)).await;
        server.query(TRASH, json!({ "id": file["id"] })).await;
        // As if the stored bytes had been damaged.
        let blob = server.dir.path().join("blobs/originals").join(&server.originals()[0]);
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[8..].fill(0);
        std::fs::write(&blob, bytes).unwrap();
        let restored = server.query(RESTORE, json!({ "id": file["id"] })).await["restoreFile"].clone();
        assert_eq!((&restored["userErrors"], &restored["file"]["deletedAt"]), (&json!([]), &Value::Null));
        let query = "query($id: ID!) { file(id: $id) { imageStatus imageFailure { code } } }";
        let shown = server.query(query, json!({ "id": file["id"] })).await["file"].clone();
        assert_eq!(shown, json!({ "imageStatus": "REMOVED", "imageFailure": { "code": "CORRUPT_IMAGE" } }));
    }

    /// Tags and metadata are validated, and changed only by a request that knows the current state.
    async fn tags_and_metadata_are_changed(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(1)).await;
        let update = "mutation($input: UpdateFileInput!) { updateFile(input: $input) { file { filename tags metadata updatedAt } userErrors { code field } } }";
        let change = async |mut input: Value| {
            input["id"] = file["id"].clone();
            server.query(update, json!({ "input": input })).await["updateFile"].clone()
        };
        let first = change(json!({ "tags": [" lake ", "summer", "lake"], "metadata": { "a": [1, "ü"] } })).await;
        assert_eq!((&first["file"]["tags"], &first["file"]["metadata"]), (&json!(["lake", "summer"]), &json!({ "a": [1, "ü"] })));
        let stale = change(json!({ "filename": "b.png", "ifUpdatedAt": "2020-01-01T00:00:00.000Z" })).await;
        assert_eq!(stale["userErrors"][0], json!({ "code": "CONFLICT", "field": ["input", "ifUpdatedAt"] }));
        let second = change(json!({ "filename": "b.png", "ifUpdatedAt": first["file"]["updatedAt"] })).await;
        assert_eq!((&second["file"]["filename"], &second["file"]["tags"]), (&json!("b.png"), &json!(["lake", "summer"])));
        assert_ne!(second["file"]["updatedAt"], first["file"]["updatedAt"]);
        // Of two requests with the same state one succeeds.
        let known = second["file"]["updatedAt"].clone();
        let racing = (0..5).map(|i| change(json!({ "tags": [i.to_string()], "ifUpdatedAt": known })));
        let racing = futures_util::future::join_all(racing).await;
        assert_eq!(racing.iter().filter(|payload| payload["userErrors"] == json!([])).count(), 1, "{racing:#?}");
        let cleared = change(json!({ "metadata": null, "tags": [] })).await;
        assert_eq!((&cleared["file"]["tags"], &cleared["file"]["metadata"]), (&json!([]), &Value::Null));
        for (input, code, field) in [
            (json!({ "tags": [""] }), "INVALID_INPUT", "tags"),
            (json!({ "tags": ["x".repeat(101)] }), "INVALID_INPUT", "tags"),
            (json!({ "tags": (0..51).map(|i| i.to_string()).collect::<Vec<_>>() }), "INVALID_INPUT", "tags"),
            (json!({ "metadata": [1] }), "INVALID_INPUT", "metadata"),
            (json!({ "metadata": { "a": "x\u{0}" } }), "INVALID_INPUT", "metadata"),
            (json!({ "metadata": { "a": "x".repeat(16 * 1024) } }), "METADATA_TOO_LARGE", "metadata"),
        ] {
            let refused = change(input.clone()).await;
            assert_eq!(refused["userErrors"][0], json!({ "code": code, "field": ["input", field] }), "{input}");
        }
    }
}
