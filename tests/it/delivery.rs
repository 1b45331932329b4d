//! Delivery: what the URLs in answers deliver, and who may fetch them.

use cloudflare_images::wire::{Fit, Variant, VariantOptions};
use image::{GenericImageView, ImageFormat, ImageReader};
use serde_json::{Value, json};
use std::io::Cursor;
use std::time::Duration;

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{gif, photo, picture};

async fn get(server: &Server, url: &Value) -> reqwest::Response {
    server.http.get(url.as_str().unwrap()).send().await.unwrap()
}

async fn pixels(server: &Server, url: &Value) -> (u32, u32) {
    let response = get(server, url).await;
    assert_eq!(response.status(), 200, "{url}");
    let bytes = response.bytes().await.unwrap();
    ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().into_dimensions().unwrap()
}

both! {
    /// Every rendition has the width and height that were announced, for each fit and each shape of source.
    async fn renditions_have_the_announced_size(database: Database) {
        let server = Server::start(database).await;
        let boxes = [(Some(40), Some(30)), (Some(30), Some(40)), (Some(500), Some(400)), (Some(33), None), (None, Some(17)), (Some(150), Some(20))];
        for fit in [Fit::ScaleDown, Fit::Contain, Fit::Cover, Fit::Crop, Fit::Pad] {
            for (i, (width, height)) in boxes.into_iter().enumerate() {
                let options = VariantOptions { fit: fit.into(), width, height, ..VariantOptions::default() };
                let id = format!("{fit:?}{i}");
                let variant = Variant { id, options, never_require_signed_urls: false };
                server.running.app.cloudflare.create_variant(&variant).await.unwrap();
            }
        }
        server.running.app.variants.invalidate();
        for (name, bytes) in [
            ("wide.jpg", picture(200, 100, ImageFormat::Jpeg)),
            ("tall.png", picture(45, 101, ImageFormat::Png)),
            ("turned.jpg", photo(6)),
            ("still.webp", picture(64, 64, ImageFormat::WebP)),
            ("moving.gif", gif(3)),
        ] {
            let image = server.file(name, bytes).await["image"].clone();
            let query = "query($id: ID!) { image(id: $id) { renditions { variant url width height expiresAt } } }";
            let found = server.query(query, json!({ "id": image["id"] })).await;
            let renditions = found["image"]["renditions"].as_array().unwrap().clone();
            assert_eq!(renditions.len(), 31);
            for rendition in renditions {
                let told = (rendition["width"].as_u64().unwrap(), rendition["height"].as_u64().unwrap());
                let (width, height) = pixels(&server, &rendition["url"]).await;
                assert_eq!((u64::from(width), u64::from(height)), told, "{name} {}", rendition["variant"]);
                assert_eq!(rendition["expiresAt"], Value::Null);
            }
        }
    }

    /// Photos are delivered upright, with the EXIF orientation applied.
    async fn orientation_is_applied(database: Database) {
        let server = Server::start(database).await;
        for (orientation, red_at) in [(1, (5, 20)), (3, (55, 20)), (6, (20, 5)), (8, (20, 55))] {
            let image = server.file("photo.jpg", photo(orientation)).await["image"].clone();
            let bytes = get(&server, &image["url"]).await.bytes().await.unwrap();
            let pixel = image::load_from_memory(&bytes).unwrap().get_pixel(red_at.0, red_at.1);
            assert!(pixel[0] > 200 && pixel[2] < 80, "orientation {orientation}: {pixel:?}");
        }
    }

    /// A private image is delivered at its signed URL only; the URL is the same for all within its window, and
    /// expires.
    async fn private_images_need_their_signature(database: Database) {
        let server = Server::start(database).await;
        let input = json!({ "image": { "requireSignedUrls": true } });
        let image = server.upload_as(ADMIN, input, "photo.jpg", "", photo(1)).await["file"]["image"].clone();
        assert_eq!(image["requireSignedUrls"], true);
        let url = image["url"].as_str().unwrap();
        assert_eq!(get(&server, &image["url"]).await.status(), 200);
        let unsigned = url.split('?').next().unwrap();
        assert_eq!(get(&server, &json!(unsigned)).await.status(), 403);
        let exp = |url: &str| url.split("exp=").nth(1).unwrap().split('&').next().unwrap().parse::<i64>().unwrap();
        let (before, sig) = url.split_once("sig=").unwrap();
        for forged in [
            url.replace("exp=", "exp=9"),
            format!("{before}sig={}", "0".repeat(sig.len())),
            url.replace("/public", "/other"),
        ] {
            assert_eq!(get(&server, &json!(forged)).await.status(), 403, "{forged}");
        }
        let query = "query($id: ID!, $s: Int) { image(id: $id) { url urlExpiresAt rendition(variant: \"public\", expiresIn: $s) { url expiresAt width height } } }";
        let ask = async |seconds: Value| server.query(query, json!({ "id": image["id"], "s": seconds })).await["image"].clone();
        let first = ask(Value::Null).await;
        let now = server.clock.now().timestamp();
        assert!((now + 3600..=now + 7200).contains(&exp(url)), "{url}");
        let expires = chrono::DateTime::parse_from_rfc3339(first["urlExpiresAt"].as_str().unwrap()).unwrap();
        assert_eq!(expires.timestamp() % 3600, 0);
        assert_eq!(expires.timestamp(), exp(first["url"].as_str().unwrap()));
        assert_eq!(first["rendition"]["url"], first["url"]);
        assert_eq!((&first["rendition"]["width"], &first["rendition"]["height"]), (&json!(60), &json!(40)));
        assert_eq!(ask(Value::Null).await, first);
        server.clock.advance(Duration::from_secs(3601));
        let later = ask(Value::Null).await;
        assert_ne!(later["url"], first["url"]);
        let short = ask(json!(60)).await["rendition"]["url"].clone();
        let now = server.clock.now().timestamp();
        assert!((now + 60..=now + 120).contains(&exp(short.as_str().unwrap())));
        for seconds in [59, 604_801, -1] {
            assert_eq!(server.refusal(ADMIN, query, json!({ "id": image["id"], "s": seconds })).await, "BAD_USER_INPUT");
        }
    }

    /// A variant that never requires signatures has an unsigned URL even for a private image.
    async fn variants_may_be_public_for_private_images(database: Database) {
        let server = Server::start(database).await;
        let options = VariantOptions { width: Some(10), height: Some(10), ..VariantOptions::default() };
        let variant = Variant { id: "tiny".to_owned(), options, never_require_signed_urls: true };
        server.running.app.cloudflare.create_variant(&variant).await.unwrap();
        let input = json!({ "image": { "requireSignedUrls": true } });
        let image = server.upload_as(ADMIN, input, "photo.jpg", "", photo(1)).await["file"]["image"].clone();
        let query = "query($id: ID!) { image(id: $id) { rendition(variant: \"tiny\") { url width height expiresAt } } }";
        let tiny = server.query(query, json!({ "id": image["id"] })).await["image"]["rendition"].clone();
        assert_eq!((&tiny["width"], &tiny["height"], &tiny["expiresAt"]), (&json!(10), &json!(7), &Value::Null));
        assert_eq!(pixels(&server, &tiny["url"]).await, (10, 7));
        let query = "query($id: ID!) { image(id: $id) { rendition(variant: \"nope\") { url } } }";
        assert_eq!(server.refusal(ADMIN, query, json!({ "id": image["id"] })).await, "BAD_USER_INPUT");
    }

    /// While the account is down, public images keep their URLs; the URL of a private image is null with an error,
    /// and the rest of the answer stays.
    async fn outage_affects_private_urls_only(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(300)).await;
        server.fault(json!({ "call": "keys.list", "fault": { "kind": "status", "status": 500 } })).await;
        server.file("public.jpg", photo(1)).await;
        let operations = "mutation($input: UploadFileInput!) { uploadFile(input: $input) { file { id } } }";
        let form = reqwest::multipart::Form::new()
            .text("operations", json!({ "query": operations, "variables": { "input": {
                "workspaceId": server.workspace, "file": null, "image": { "requireSignedUrls": true } } } }).to_string())
            .text("map", r#"{"0":["variables.input.file"]}"#)
            .part("0", reqwest::multipart::Part::bytes(photo(1)).file_name("private.jpg"));
        server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).multipart(form).send().await.unwrap();
        let answer = server.ask(ADMIN, "{ images { nodes { id url requireSignedUrls } } }", json!({})).await;
        let nodes = answer["data"]["images"]["nodes"].as_array().unwrap();
        assert_eq!((&nodes[0]["requireSignedUrls"], &nodes[0]["url"]), (&json!(true), &Value::Null));
        assert!(nodes[1]["url"].is_string());
        assert_eq!(answer["errors"][0]["path"], json!(["images", "nodes", 0, "url"]));
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UPSTREAM_ERROR");
        server.remove_faults().await;
        // A failed request for the keys is cached for some seconds.
        server.running.app.keys.invalidate();
        let found = server.query("{ images { nodes { url } } }", json!({})).await;
        assert!(found["images"]["nodes"][0]["url"].as_str().unwrap().contains("sig="));
    }
}
