//! Renaming, deleting, provisioning again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{photo, png};

const DELETE_IMAGE: &str = "mutation($id: ID!) { deleteImage(input: { id: $id }) { success deletedImageId file { id imageStatus image { id } } userErrors { code field } } }";
const DELETE_FILE: &str = "mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success deletedFileId deletedImageId userErrors { code field } } }";
const PROVISION: &str = "mutation($id: ID!, $signed: Boolean) { provisionImage(input: { fileId: $id, image: { requireSignedUrls: $signed } }) {
    image { id width height exif requireSignedUrls } file { id imageStatus } userErrors { code field } } }";
const RENAME: &str = "mutation($id: ID!, $name: String) { updateFile(input: { id: $id, filename: $name }) { file { id filename updatedAt } userErrors { code field } } }";

both! {
    /// Deleting an image keeps its file, which can be provisioned again as a new image.
    async fn an_image_is_deleted_and_provisioned_again(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(6)).await;
        let image = file["image"]["id"].clone();
        let url = file["image"]["url"].as_str().unwrap().to_owned();
        assert_eq!(server.http.get(&url).send().await.unwrap().status(), 200);
        let deleted = server.query(DELETE_IMAGE, json!({ "id": image })).await["deleteImage"].clone();
        assert_eq!(deleted, json!({ "success": true, "deletedImageId": image, "userErrors": [],
            "file": { "id": file["id"], "imageStatus": "REMOVED", "image": null } }));
        assert_eq!(server.account_images().await.len(), 0);
        assert_eq!(server.http.get(&url).send().await.unwrap().status(), 404);
        assert_eq!(server.originals().len(), 1);
        let again = server.query(DELETE_IMAGE, json!({ "id": image })).await["deleteImage"].clone();
        assert_eq!((&again["success"], &again["userErrors"][0]["code"]), (&json!(false), &json!("NOT_FOUND")));
        let made = server.query(PROVISION, json!({ "id": file["id"], "signed": true })).await["provisionImage"].clone();
        assert_eq!(made["userErrors"], json!([]));
        assert_eq!(made["file"]["imageStatus"], "READY");
        assert_ne!(made["image"]["id"], image);
        assert_eq!((&made["image"]["width"], &made["image"]["height"]), (&json!(40), &json!(60)));
        assert_eq!(made["image"]["exif"]["Make"], "Acme Inc.");
        assert_eq!(made["image"]["requireSignedUrls"], true);
        let again = server.query(PROVISION, json!({ "id": file["id"] })).await["provisionImage"].clone();
        assert_eq!(again["userErrors"][0], json!({ "code": "ALREADY_PROVISIONED", "field": ["input", "fileId"] }));
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// Files that cannot be provisioned are refused with a reason.
    async fn provisioning_is_refused_with_a_reason(database: Database) {
        let server = Server::start(database).await;
        let text = server.file("a.txt", b"text".to_vec()).await;
        let refused = server.query(PROVISION, json!({ "id": text["id"] })).await["provisionImage"].clone();
        assert_eq!(refused["userErrors"][0]["code"], "NOT_AN_IMAGE");
        let refused = server.query(PROVISION, json!({ "id": "fil_00000000000000000000000000" })).await["provisionImage"].clone();
        assert_eq!(refused["userErrors"][0]["code"], "NOT_FOUND");
        let unprovisioned = server.upload_as(ADMIN, json!({ "image": { "provision": false } }), "a.jpg", "", photo(1)).await;
        assert_eq!((&unprovisioned["file"]["imageStatus"], &unprovisioned["file"]["image"]), (&json!("REMOVED"), &Value::Null));
        let made = server.query(PROVISION, json!({ "id": unprovisioned["file"]["id"] })).await["provisionImage"].clone();
        assert_eq!(made["file"]["imageStatus"], "READY", "{made:#}");
    }

    /// Ten concurrent calls provision a file once.
    async fn concurrent_provisioning_creates_one_image(database: Database) {
        let server = Server::start(database).await;
        let file = server.upload_as(ADMIN, json!({ "image": { "provision": false } }), "a.jpg", "", photo(1)).await["file"].clone();
        let calls = (0..10).map(|_| server.query(PROVISION, json!({ "id": file["id"] })));
        let answers = futures_util::future::join_all(calls).await;
        for answer in &answers {
            let code = &answer["provisionImage"]["userErrors"][0]["code"];
            assert!(code.is_null() || code == "CONFLICT" || code == "ALREADY_PROVISIONED", "{answer:#}");
        }
        eventually("one image", || async { (server.account_images().await.len() == 1).then_some(()) }).await;
        let listed = server.query("{ images { totalCount } }", json!({})).await;
        assert_eq!(listed["images"]["totalCount"], 1);
    }

    /// Deleting a file deletes its image and its bytes.
    async fn deleting_a_file_deletes_image_and_bytes(database: Database) {
        let server = Server::start(database).await;
        let (photo, text) = (server.file("photo.jpg", photo(1)).await, server.file("a.txt", b"text".to_vec()).await);
        let deleted = server.query(DELETE_FILE, json!({ "id": photo["id"] })).await["deleteFile"].clone();
        assert_eq!(deleted, json!({ "success": true, "deletedFileId": photo["id"], "deletedImageId": photo["image"]["id"], "userErrors": [] }));
        let deleted = server.query(DELETE_FILE, json!({ "id": text["id"] })).await["deleteFile"].clone();
        assert_eq!(deleted, json!({ "success": true, "deletedFileId": text["id"], "deletedImageId": null, "userErrors": [] }));
        assert_eq!((server.account_images().await.len(), server.originals().len()), (0, 0));
        let left = server.query("{ files { totalCount } images { totalCount } }", json!({})).await;
        assert_eq!(left, json!({ "files": { "totalCount": 0 }, "images": { "totalCount": 0 } }));
        let again = server.query(DELETE_FILE, json!({ "id": photo["id"] })).await["deleteFile"].clone();
        assert_eq!(again["userErrors"][0], json!({ "code": "NOT_FOUND", "field": ["input", "id"] }));
    }

    /// A new name applies to the file and to the order of its image.
    async fn a_file_is_renamed(database: Database) {
        let server = Server::start(database).await;
        let (b, c) = (server.file("b.png", png(1)).await, server.file("c.png", png(2)).await);
        server.clock.advance(Duration::from_secs(5));
        let renamed = server.query(RENAME, json!({ "id": c["id"], "name": "a.png" })).await["updateFile"].clone();
        assert_eq!((&renamed["file"]["filename"], &renamed["userErrors"]), (&json!("a.png"), &json!([])));
        let listed = server.query("{ images(orderBy: { field: FILENAME, direction: ASC }) { nodes { id } } }", json!({})).await;
        assert_eq!(listed["images"]["nodes"], json!([{ "id": c["image"]["id"] }, { "id": b["image"]["id"] }]));
        let unchanged = server.query(RENAME, json!({ "id": b["id"] })).await["updateFile"].clone();
        assert_eq!(unchanged["file"]["filename"], "b.png");
        for name in ["", ".", " .. ", "a/b", "a\\b", "a\nb"] {
            let refused = server.query(RENAME, json!({ "id": b["id"], "name": name })).await["updateFile"].clone();
            assert_eq!(refused["userErrors"][0], json!({ "code": "INVALID_INPUT", "field": ["input", "filename"] }), "{name:?}");
        }
    }

    /// Bytes that belong to no file are deleted once they are old enough; others stay.
    async fn orphaned_bytes_are_deleted(database: Database) {
        let server = Server::start(database).await;
        server.file("a.png", png(1)).await;
        let folder = server.dir.path().join("blobs/originals");
        std::fs::write(folder.join(uuid::Uuid::new_v4().to_string()), b"orphan").unwrap();
        std::fs::write(folder.join(format!("{}#1", uuid::Uuid::new_v4())), b"half-written").unwrap();
        let app = &server.running.app;
        imagegraph::worker::sweep(app).await.unwrap();
        assert_eq!(server.originals().len(), 3, "younger than the sweep age");
        server.clock.advance(app.config.sweep_age + Duration::from_secs(60));
        imagegraph::worker::sweep(app).await.unwrap();
        assert_eq!(server.originals().len(), 1);
        let read = server.query("{ images { nodes { url } } }", json!({})).await;
        let url = read["images"]["nodes"][0]["url"].as_str().unwrap().to_owned();
        assert_eq!(server.http.get(url).send().await.unwrap().status(), 200);
    }
}
