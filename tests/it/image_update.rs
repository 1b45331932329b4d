//! `updateImage`: settings in the database apply at once, those in the account are kept in step.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{photo, png};

const UPDATE: &str = "mutation($input: UpdateImageInput!) { updateImage(input: $input) {
    image { id cfImageId alt focalPoint { x y } requireSignedUrls url creator cfMetadata updatedAt } userErrors { code field retryAfter } } }";

async fn update(server: &Server, image: &Value, mut input: Value) -> Value {
    input["id"] = image["id"].clone();
    server.query(UPDATE, json!({ "input": input })).await["updateImage"].clone()
}

async fn status(server: &Server, url: &Value) -> u16 {
    server.http.get(url.as_str().unwrap()).send().await.unwrap().status().as_u16()
}

both! {
    /// Alternative text and focal point are set, kept if left out, and cleared by null.
    async fn alt_and_focal_point_change_at_once(database: Database) {
        let server = Server::start(database).await;
        let image = server.file("photo.jpg", photo(1)).await["image"].clone();
        let first = update(&server, &image, json!({ "alt": "", "focalPoint": { "x": 0, "y": 1 } })).await;
        assert_eq!((&first["image"]["alt"], &first["image"]["focalPoint"]), (&json!(""), &json!({ "x": 0.0, "y": 1.0 })));
        let second = update(&server, &image, json!({ "alt": "A lake", "ifUpdatedAt": first["image"]["updatedAt"] })).await;
        assert_eq!((&second["image"]["alt"], &second["image"]["focalPoint"]), (&json!("A lake"), &json!({ "x": 0.0, "y": 1.0 })));
        let stale = update(&server, &image, json!({ "alt": "x", "ifUpdatedAt": first["image"]["updatedAt"] })).await;
        assert_eq!(stale["userErrors"][0], json!({ "code": "CONFLICT", "field": ["input", "ifUpdatedAt"], "retryAfter": null }));
        let cleared = update(&server, &image, json!({ "alt": null, "focalPoint": null })).await;
        assert_eq!((&cleared["image"]["alt"], &cleared["image"]["focalPoint"]), (&Value::Null, &Value::Null));
        // No request was sent to the account.
        assert_eq!(cleared["image"]["cfImageId"], image["cfImageId"]);
        for (input, code, field) in [
            (json!({ "alt": "x".repeat(2001) }), "INVALID_INPUT", json!(["input", "alt"])),
            (json!({ "focalPoint": { "x": 1.5, "y": 0 } }), "INVALID_INPUT", json!(["input", "focalPoint", "x"])),
            (json!({ "focalPoint": { "x": 0, "y": -0.1 } }), "INVALID_INPUT", json!(["input", "focalPoint", "y"])),
            (json!({ "creator": "x".repeat(1025) }), "INVALID_INPUT", json!(["input", "creator"])),
            (json!({ "cfMetadata": { "a": "x".repeat(1000) } }), "METADATA_TOO_LARGE", json!(["input", "cfMetadata"])),
            (json!({ "cfMetadata": { "imagegraph": "x" } }), "INVALID_INPUT", json!(["input", "cfMetadata"])),
            (json!({ "cfMetadata": [] }), "INVALID_INPUT", json!(["input", "cfMetadata"])),
        ] {
            let refused = update(&server, &image, input.clone()).await;
            assert_eq!((&refused["userErrors"][0]["code"], &refused["userErrors"][0]["field"]), (&json!(code), &field), "{input}");
        }
    }

    /// The largest accepted metadata is accepted by the account as well.
    async fn metadata_and_creator_reach_the_account(database: Database) {
        let server = Server::start(database).await;
        let wanted = json!({ "creator": "me ü", "cfMetadata": { "album": 1 }, "cfImageId": "albums/lake" });
        let file = server.upload_as(ADMIN, json!({ "image": wanted }), "photo.jpg", "", photo(1)).await["file"].clone();
        let image = &file["image"];
        assert_eq!(image["cfImageId"], "albums/lake", "{file:#}");
        let most = json!({ "a": "x".repeat(978 - r#"{"a":""}"#.len()) });
        let changed = update(&server, image, json!({ "cfMetadata": most, "creator": "you" })).await;
        assert_eq!(changed["userErrors"], json!([]));
        assert_eq!((&changed["image"]["creator"], &changed["image"]["cfMetadata"]), (&json!("you"), &most));
        let account = server.account_images().await;
        assert_eq!(account[0].creator.as_deref(), Some("you"));
        assert_eq!(account[0].meta.as_ref().unwrap()["a"], most["a"]);
        assert_eq!(account[0].meta.as_ref().unwrap()["imagegraph"], image["id"]);
        let cleared = update(&server, image, json!({ "cfMetadata": null, "creator": null })).await;
        assert_eq!((&cleared["image"]["creator"], &cleared["image"]["cfMetadata"]), (&Value::Null, &Value::Null));
        let account = server.account_images().await;
        assert_eq!((account[0].creator.as_deref(), account[0].meta.as_ref().unwrap().len()), (None, 1));
        // An image with a custom id cannot be private, now or later.
        let refused = update(&server, image, json!({ "requireSignedUrls": true })).await;
        assert_eq!(refused["userErrors"][0]["code"], "CUSTOM_ID_NOT_ALLOWED");
        let wanted = json!({ "image": { "cfImageId": "a/b", "requireSignedUrls": true } });
        let refused = server.upload_as(ADMIN, wanted, "a.png", "", png(1)).await;
        assert_eq!(refused["userErrors"][0]["field"], json!(["input", "image", "cfImageId"]));
        assert_eq!(refused["userErrors"][0]["code"], "CUSTOM_ID_NOT_ALLOWED");
    }

    /// When the former image of a chosen id is removed, the id may belong to another image, which stays.
    async fn a_chosen_id_is_removed_only_with_its_image(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(700)).await;
        let wanted = json!({ "image": { "cfImageId": "logo" } });
        let first = server.upload_as(ADMIN, wanted.clone(), "a.png", "", png(1)).await["file"].clone();
        assert_eq!(first["image"]["cfImageId"], "logo");
        // The image is deleted in the account, and its id taken by another one, before the server removes it.
        let account = &server.running.app.cloudflare;
        account.delete("logo").await.unwrap();
        let meta = json!({ "imagegraph": "img_00000000000000000000000000" });
        let new = cloudflare_images::client::NewImage { id: Some("logo"), metadata: meta.as_object(), ..Default::default() };
        let upload = cloudflare_images::client::Upload {
            filename: "b.png".to_owned(),
            content_type: "image/png".to_owned(),
            length: png(2).len() as u64,
            stream: Box::pin(futures_util::stream::iter([Ok(png(2).into())])),
        };
        account.create(new, cloudflare_images::client::Body::Upload(upload)).await.unwrap();
        let deleted = server.query("mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success } }", json!({ "id": first["id"] })).await;
        assert_eq!(deleted["deleteFile"]["success"], true);
        eventually("the image is removed", || async { server.originals().is_empty().then_some(()) }).await;
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// Switching access gives the image another id in the account; the URLs answered from then on work, the former
    /// ones do not.
    async fn switching_access_follows_the_new_id(database: Database) {
        let server = Server::start(database).await;
        let image = server.file("photo.jpg", photo(1)).await["image"].clone();
        let private = update(&server, &image, json!({ "requireSignedUrls": true, "alt": "private" })).await["image"].clone();
        assert_eq!((&private["requireSignedUrls"], &private["alt"]), (&json!(true), &json!("private")));
        assert_ne!(private["cfImageId"], image["cfImageId"]);
        assert_eq!((status(&server, &private["url"]).await, status(&server, &image["url"]).await), (200, 404));
        let unsigned = json!(private["url"].as_str().unwrap().split('?').next().unwrap());
        assert_eq!(status(&server, &unsigned).await, 403);
        let public = update(&server, &image, json!({ "requireSignedUrls": false })).await["image"].clone();
        assert_eq!((status(&server, &public["url"]).await, status(&server, &private["url"]).await), (200, 404));
        // The account has one copy, also after the check for strays.
        eventually("the check is over", || async {
            server.pass(Duration::from_secs(600)).await;
            imagegraph::worker::round(&server.running.app).await.unwrap();
            (server.account_images().await.len() == 1).then_some(())
        })
        .await;
        assert_eq!(status(&server, &public["url"]).await, 200);
    }

    /// However the answer is lost, row and account agree in the end, and the image is delivered.
    async fn an_interrupted_switch_is_repaired(database: Database) {
        for fault in [
            json!({ "kind": "status", "status": 500 }),
            json!({ "kind": "drop" }),
            json!({ "kind": "garbage" }),
            json!({ "kind": "lost_answer" }),
            json!({ "kind": "hang_after" }),
        ] {
            let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(700)).await;
            let image = server.file("photo.jpg", photo(1)).await["image"].clone();
            server.fault(json!({ "call": "images.edit", "fault": fault })).await;
            let refused = update(&server, &image, json!({ "requireSignedUrls": true })).await;
            server.remove_faults().await;
            // The client may have repeated requests that are safe to repeat.
            let code = refused["userErrors"][0]["code"].clone();
            assert!(code == "UPSTREAM_ERROR" || code.is_null(), "{fault}: {refused:#}");
            let found = eventually("row and account agree", || async {
                server.pass(Duration::from_secs(30)).await;
                let query = "query($id: ID!) { image(id: $id) { cfImageId requireSignedUrls url } }";
                let found = server.query(query, json!({ "id": image["id"] })).await["image"].clone();
                let account = server.account_images().await;
                let agreed = account.len() == 1 && found["cfImageId"] == json!(account[0].id)
                    && found["requireSignedUrls"] == json!(account[0].require_signed_urls);
                agreed.then_some(found)
            })
            .await;
            assert_eq!(status(&server, &found["url"]).await, 200, "{fault}");
            let again = eventually("access is switched", || async {
                server.pass(Duration::from_secs(30)).await;
                let again = update(&server, &image, json!({ "requireSignedUrls": true })).await;
                (again["userErrors"] == json!([])).then_some(again)
            })
            .await;
            assert_eq!(again["image"]["requireSignedUrls"], true);
            assert_eq!(status(&server, &again["image"]["url"]).await, 200, "{fault}");
        }
    }

    /// A switch that the account carries out after the worker has checked still changes the image's id: the later
    /// check takes the new id over, and does not delete the only copy as a stray.
    async fn a_late_switch_is_followed(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(500)).await;
        let image = server.file("photo.jpg", photo(1)).await["image"].clone();
        server.fault(json!({ "call": "images.edit", "fault": { "kind": "drop" } })).await;
        let refused = update(&server, &image, json!({ "requireSignedUrls": true })).await;
        assert_eq!(refused["userErrors"][0]["code"], "UPSTREAM_ERROR", "{refused:#}");
        server.remove_faults().await;
        let id = image["id"].as_str().unwrap().parse().unwrap();
        let row = async || imagegraph::entity::image::by_id_unscoped(id).one(&server.running.app.db.read).await.unwrap().unwrap();
        eventually("the check is over", || async {
            server.pass(Duration::from_secs(30)).await;
            row().await.switching_to.is_none().then_some(())
        })
        .await;
        assert_eq!(json!(row().await.cf_image_id), image["cfImageId"], "the worker checked before the account carried out the switch");
        // The account carries out the request that timed out.
        let late = cloudflare_images::wire::ImageEdit { require_signed_urls: Some(true), ..Default::default() };
        server.running.app.cloudflare.edit(image["cfImageId"].as_str().unwrap(), &late).await.unwrap();
        let query = "query($id: ID!) { image(id: $id) { cfImageId requireSignedUrls url } }";
        let found = eventually("the new id is taken over", || async {
            server.pass(Duration::from_secs(60)).await;
            let found = server.query(query, json!({ "id": image["id"] })).await["image"].clone();
            (found["requireSignedUrls"] == true).then_some(found)
        })
        .await;
        assert_eq!(status(&server, &found["url"]).await, 200);
        assert_eq!(json!(server.account_images().await[0].id), found["cfImageId"]);
    }

    /// An image that was deleted in the account can still be updated, and does not block its file.
    async fn an_image_deleted_in_the_account_can_be_updated(database: Database) {
        let server = Server::start(database).await;
        let image = server.file("photo.jpg", photo(1)).await["image"].clone();
        server.running.app.cloudflare.delete(image["cfImageId"].as_str().unwrap()).await.unwrap();
        for _ in 0..2 {
            let refused = update(&server, &image, json!({ "creator": "me" })).await;
            assert_eq!(refused["userErrors"][0]["code"], "UPSTREAM_ERROR", "{refused:#}");
            server.clock.advance(Duration::from_secs(700));
            imagegraph::worker::round(&server.running.app).await.unwrap();
        }
        assert_eq!(update(&server, &image, json!({ "alt": "gone" })).await["image"]["alt"], "gone");
    }

    /// Ten concurrent switches: each succeeds or is refused as a conflict, and the row agrees with the account.
    async fn concurrent_switches(database: Database) {
        let server = Server::start(database).await;
        let image = server.file("photo.jpg", photo(1)).await["image"].clone();
        let switches = (0..10).map(|i| update(&server, &image, json!({ "requireSignedUrls": i % 2 == 0 })));
        for payload in futures_util::future::join_all(switches).await {
            let code = &payload["userErrors"][0]["code"];
            assert!(code.is_null() || code == "CONFLICT", "{payload:#}");
        }
        let query = "query($id: ID!) { image(id: $id) { cfImageId url } }";
        let found = server.query(query, json!({ "id": image["id"] })).await["image"].clone();
        assert_eq!(json!(server.account_images().await[0].id), found["cfImageId"]);
        assert_eq!(status(&server, &found["url"]).await, 200);
    }

    /// Provisioning again may change settings; those that are left out keep their values.
    async fn a_retry_may_change_settings(database: Database) {
        let server = Server::start(database).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 415, "code": 5455 } })).await;
        let file = server.upload_as(ADMIN, json!({ "image": { "alt": "first", "creator": "me" } }), "a.png", "", png(1)).await["file"].clone();
        assert_eq!(file["imageStatus"], "FAILED", "{file:#}");
        server.remove_faults().await;
        let provision = "mutation($id: ID!, $image: NewImageInput) { provisionImage(input: { fileId: $id, image: $image }) { image { alt creator requireSignedUrls } userErrors { code field } } }";
        let refused = server.query(provision, json!({ "id": file["id"], "image": { "alt": "x".repeat(3000) } })).await["provisionImage"].clone();
        assert_eq!(refused["userErrors"][0], json!({ "code": "INVALID_INPUT", "field": ["input", "image", "alt"] }));
        let refused = server.query(provision, json!({ "id": file["id"], "image": { "provision": false } })).await["provisionImage"].clone();
        assert_eq!(refused["userErrors"][0]["field"], json!(["input", "image", "provision"]));
        let made = server.query(provision, json!({ "id": file["id"], "image": { "alt": "second", "requireSignedUrls": true } })).await["provisionImage"].clone();
        assert_eq!(made["image"], json!({ "alt": "second", "creator": "me", "requireSignedUrls": true }), "{made:#}");
    }
}
