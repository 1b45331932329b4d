//! Outages of the account: down, failing, slow or sending garbage. The upload succeeds, and the image is provisioned
//! later, once.

use std::time::Duration;

use imagegraph::entity::image;
use sea_orm::EntityTrait;
use serde_json::{Value, json};

use crate::harness::{Database, Server, eventually};
use crate::pictures::{photo, png};

const FILE: &str =
    "query($id: ID!) { file(id: $id) { imageStatus imageFailure { code message retryAfter } image { id } } }";

/// Waits until a file's image has this status, advancing the clock past every backoff.
async fn wait_for_status(server: &Server, file: &Value, status: &str) -> Value {
    eventually(status, || async {
        server.pass(Duration::from_secs(700)).await;
        let found = server.query(FILE, json!({ "id": file["id"] })).await["file"].clone();
        (found["imageStatus"] == status).then_some(found)
    })
    .await
}

both! {
    /// Whatever fails before or after the account has stored the image: it is queued with a reason, and then
    /// provisioned exactly once.
    async fn every_outage_queues_the_image_until_the_account_recovers(database: Database) {
        let faults = [
            (json!({ "kind": "status", "status": 500, "code": 5500, "message": "secret cause" }), "UPSTREAM_ERROR"),
            (json!({ "kind": "status", "status": 503 }), "UPSTREAM_ERROR"),
            (json!({ "kind": "status", "status": 429, "retry_after": 2 }), "UPSTREAM_RATE_LIMITED"),
            (json!({ "kind": "status", "status": 403, "code": 10000 }), "UPSTREAM_ERROR"),
            (json!({ "kind": "drop" }), "UPSTREAM_ERROR"),
            (json!({ "kind": "garbage" }), "UPSTREAM_ERROR"),
            (json!({ "kind": "delay", "ms": 2000 }), "UPSTREAM_ERROR"),
            (json!({ "kind": "lost_answer" }), "UPSTREAM_ERROR"),
            (json!({ "kind": "hang_after" }), "UPSTREAM_ERROR"),
        ];
        for (i, (fault, code)) in faults.into_iter().enumerate() {
            let server = Server::start_with(database, |config| {
                config.cloudflare_timeout = Duration::from_millis(700);
            })
            .await;
            server.fault(json!({ "call": "images.create", "fault": fault })).await;
            let file = server.file("photo.jpg", photo(1)).await;
            assert_eq!((&file["status"], &file["imageStatus"]), (&json!("READY"), &json!("QUEUED")), "{fault}");
            assert_eq!(file["imageFailure"]["code"], code, "{fault}: {file:#}");
            assert!(file["imageFailure"]["retryAfter"].as_i64().unwrap() >= 1, "{fault}");
            assert!(!file.to_string().contains("secret cause"), "{file}");
            let listed = server.query("{ images { totalCount nodes { id } } }", json!({})).await;
            assert_eq!(listed["images"], json!({ "totalCount": 0, "nodes": [] }), "{fault}");
            server.remove_faults().await;
            let file = wait_for_status(&server, &file, "READY").await;
            assert_eq!(file["imageFailure"], Value::Null, "{fault}");
            assert_eq!(server.account_images().await.len(), 1, "case {i}: {fault}");
        }
    }

    /// A step that outlasts its lease is not begun a second time beside it.
    async fn a_slow_step_runs_once(database: Database) {
        let server = Server::start_with(database, |config| {
            config.cloudflare_timeout = Duration::from_secs(20);
            // The look for a second copy claims the image, too, and comes later than this test ends.
            config.stray_check = Duration::from_secs(24 * 3600);
        })
        .await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 500 } })).await;
        let file = server.file("photo.jpg", photo(1)).await;
        assert_eq!(file["imageStatus"], "QUEUED");
        server.remove_faults().await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "delay", "ms": 2000 } })).await;
        // Each round of this is longer than a lease.
        wait_for_status(&server, &file, "READY").await;
        let images = image::Entity::find().all(&server.running.app.db.read).await.unwrap();
        assert_eq!(images.iter().map(|image| image.attempts).collect::<Vec<_>>(), [2]);
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// A creation that the account carries out after its timeout makes a second copy, which a later check removes.
    async fn a_late_second_copy_is_removed(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(500)).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "delay", "ms": 1500 }, "times": 1 })).await;
        let file = server.file("photo.jpg", photo(1)).await;
        assert_eq!(file["imageStatus"], "QUEUED");
        wait_for_status(&server, &file, "READY").await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        eventually("one copy", || async {
            server.pass(Duration::from_secs(60)).await;
            (server.account_images().await.len() == 1).then_some(())
        })
        .await;
        let found = server.query(FILE, json!({ "id": file["id"] })).await;
        assert_eq!(found["file"]["imageStatus"], "READY");
    }

    /// A response does not wait longer for the account than `provision_wait`; the image follows soon.
    async fn an_answer_does_not_wait_for_a_slow_account(database: Database) {
        let server = Server::start_with(database, |config| config.provision_wait = Duration::from_millis(200)).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "delay", "ms": 1200 } })).await;
        let file = server.file("photo.jpg", photo(1)).await;
        assert_eq!((&file["imageStatus"], &file["image"]), (&json!("IN_PROGRESS"), &Value::Null));
        let found = eventually("ready", || async {
            let found = server.query(FILE, json!({ "id": file["id"] })).await["file"].clone();
            (found["imageStatus"] == "READY").then_some(found)
        })
        .await;
        assert!(found["image"]["id"].as_str().unwrap().starts_with("img_"));
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// `provisionImage` retries a queued image at once instead of after its backoff.
    async fn provision_image_tries_again_at_once(database: Database) {
        let server = Server::start(database).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 500 }, "times": 1 })).await;
        let file = server.file("photo.jpg", photo(1)).await;
        assert_eq!(file["imageStatus"], "QUEUED");
        let again = "mutation($id: ID!) { provisionImage(input: { fileId: $id }) {
            image { id url } file { imageStatus imageFailure { code } } userErrors { code } } }";
        let again = server.query(again, json!({ "id": file["id"] })).await["provisionImage"].clone();
        assert_eq!(again["userErrors"], json!([]));
        assert_eq!(again["file"], json!({ "imageStatus": "READY", "imageFailure": null }));
        assert!(again["image"]["id"].is_string());
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// A deletion during an outage is carried out afterwards, and the image is invisible from the beginning.
    async fn deletions_are_completed_after_an_outage(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(500)).await;
        let (keep, gone) = (server.file("a.png", png(1)).await, server.file("b.png", png(2)).await);
        server.fault(json!({ "call": "images.delete", "fault": { "kind": "status", "status": 500 } })).await;
        let delete = "mutation($id: ID!) { deleteImage(input: { id: $id }) { success userErrors { code } } }";
        let deleted = server.query(delete, json!({ "id": keep["image"]["id"] })).await;
        assert_eq!(deleted["deleteImage"], json!({ "success": true, "userErrors": [] }));
        let delete = "mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success userErrors { code } } }";
        let deleted = server.query(delete, json!({ "id": gone["id"] })).await;
        assert_eq!(deleted["deleteFile"], json!({ "success": true, "userErrors": [] }));
        let listed = server.query("{ images { totalCount } files { nodes { id imageStatus } } }", json!({})).await;
        assert_eq!(listed["images"]["totalCount"], 0);
        assert_eq!(listed["files"]["nodes"], json!([{ "id": keep["id"], "imageStatus": "REMOVED" }]));
        assert_eq!(server.account_images().await.len(), 2);
        // The bytes are deleted without waiting for the account.
        assert_eq!(server.originals().len(), 1);
        server.remove_faults().await;
        eventually("gone from the account", || async {
            server.pass(Duration::from_secs(700)).await;
            server.account_images().await.is_empty().then_some(())
        })
        .await;
    }

    /// A file deleted while its image is being provisioned leaves nothing in the account.
    async fn deleting_while_provisioning_leaves_nothing(database: Database) {
        let server = Server::start_with(database, |config| config.provision_wait = Duration::from_millis(100)).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "delay", "ms": 1000 } })).await;
        let file = server.file("photo.jpg", photo(1)).await;
        assert_eq!(file["imageStatus"], "IN_PROGRESS");
        let delete = "mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success } }";
        server.query(delete, json!({ "id": file["id"] })).await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        eventually("nothing left", || async {
            server.pass(Duration::from_secs(60)).await;
            let left = server.account_images().await.len() + server.originals().len();
            (left == 0).then_some(())
        })
        .await;
    }

    /// Two servers with one database and one byte store share the work: each image is provisioned once.
    async fn two_servers_share_the_work(database: Database) {
        if database == Database::Sqlite {
            return;
        }
        let url = database.fresh().await.unwrap();
        let first = Server::start_with(database, |config| config.database_url = Some(url.clone())).await;
        first.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 500 }, "times": 12 })).await;
        for i in 0..12 {
            first.file("a.png", png(i)).await;
        }
        let app = &first.running.app;
        let mut config = app.config.clone();
        config.cloudflare_account_id = Some(app.cloudflare.settings.account_id.clone());
        let credentials = std::fs::read_to_string(first.dir.path().join("emulator/credentials.json")).unwrap();
        let credentials: Value = serde_json::from_str(&credentials).unwrap();
        config.cloudflare_api_token = credentials["api_token"].as_str().map(str::to_owned);
        config.cloudflare_base_url = app.cloudflare.settings.api.clone();
        let second = imagegraph::server::start(config, first.clock.clone()).await.unwrap();
        assert!(second.first_start.is_none());
        eventually("all provisioned", || async {
            first.pass(Duration::from_secs(700)).await;
            let listed = first.query("{ images { totalCount } }", json!({})).await;
            (listed["images"]["totalCount"] == 12).then_some(())
        })
        .await;
        assert_eq!(first.account_images().await.len(), 12);
        second.stop().await;
    }
}
