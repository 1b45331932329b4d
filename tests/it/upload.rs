//! `uploadFile`: accepted files and images, and refusals.

use image::ImageFormat;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{gif, lying_png, photo, picture, png};

both! {
    /// A photo becomes a file and an image, with its EXIF in JSON types.
    async fn a_photo_becomes_a_file_and_an_image(database: Database) {
        let server = Server::start(database).await;
        let bytes = photo(1);
        let keep_all = "UPDATE workspace SET exif_policy = 'KEEP_ALL'";
        sea_orm::ConnectionTrait::execute_unprepared(&server.running.app.db.write, keep_all).await.unwrap();
        let file = server.file("holiday.jpg", bytes.clone()).await;
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file["filename"], "holiday.jpg");
        assert_eq!(file["mimeType"], "image/jpeg");
        assert_eq!(file["size"], bytes.len());
        assert_eq!(file["sha256"], hash);
        assert_eq!((&file["status"], &file["imageStatus"]), (&json!("READY"), &json!("READY")));
        let image = &file["image"];
        assert_eq!((&image["width"], &image["height"]), (&json!(60), &json!(40)));
        assert_eq!(image["format"], "JPEG");
        assert_eq!(image["exif"]["Make"], "Acme Inc.");
        assert_eq!(image["exif"]["Orientation"], 1);
        assert_eq!(image["exif"]["ISO"], 200);
        assert_eq!(image["exif"]["ExposureTime"], 0.004);
        assert_eq!(image["exif"]["DateTimeOriginal"], "2024:05:06 07:08:09");
        assert_eq!(image["exif"]["GPSLatitude"], json!([43.0, 28.0, 2.82]));
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// What an upload costs in the database, its authentication included. Who changes these numbers upwards needs a reason:
    /// every statement is a round trip to PostgreSQL, and SQLite has one writer.
    async fn an_upload_takes_few_statements(database: Database) {
        // The statements of the worker would be counted.
        let server = Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600)).await;
        // The first answer with a URL fetches what is cached for later ones.
        server.file("first.png", png(0)).await;
        server.quiet().await;
        let statements = async |input: Value, name: &str, bytes: Vec<u8>| {
            let mut payload = Value::Null;
            let recorded = server.running.app.db.recorded(async {
                payload = server.upload_as(ADMIN, input, name, "", bytes).await;
            });
            let recorded: Vec<_> = recorded.await.into_iter().map(|statement| statement.sql).collect();
            assert_eq!(payload["userErrors"], json!([]), "{payload:#}");
            assert!(payload["file"]["imageStatus"] != "READY" || payload["file"]["image"]["url"].is_string(), "{payload:#}");
            (recorded.len(), recorded.join("\n"))
        };
        let again = || json!({ "idempotencyKey": "key" });
        let reuse = || json!({ "onDuplicate": "REUSE" });
        for (what, expected, input, name, bytes) in [
            // Viewer; workspace and duplicate; file, events and image; file, image and event.
            ("an image", 8, json!({}), "a.png", png(1)),
            // The same, and what the key was used for, and the key.
            ("an image with a key", 10, again(), "b.png", png(2)),
            // Viewer; workspace; the key; its file; its image.
            ("a repetition", 5, again(), "b.png", png(2)),
            // As an image; the file that shares its bytes is locked before.
            ("a second file with the same bytes", 9, json!({}), "a.png", png(1)),
            // Viewer; workspace and duplicate; the duplicate, locked; its image.
            ("a duplicate", 4, reuse(), "a.png", png(1)),
            // Viewer; workspace and duplicate; file and events.
            ("a file that is no image", 4, json!({}), "a.txt", b"text".to_vec()),
        ] {
            let (count, recorded) = statements(input, name, bytes).await;
            assert_eq!(count, expected, "{what}:\n{recorded}");
        }
    }

    /// All eight orientations: width and height are those of the upright image.
    async fn width_and_height_follow_the_orientation(database: Database) {
        let server = Server::start(database).await;
        for orientation in 1..=8 {
            let image = server.file("photo.jpg", photo(orientation)).await["image"].clone();
            let expected = if orientation >= 5 { (json!(40), json!(60)) } else { (json!(60), json!(40)) };
            assert_eq!((image["width"].clone(), image["height"].clone()), expected, "orientation {orientation}");
            assert_eq!(image["exif"]["Orientation"], orientation);
        }
    }

    /// Every type that Cloudflare accepts becomes an image; every other is a file without an image.
    async fn types_are_detected(database: Database) {
        let server = Server::start(database).await;
        let svg = br#"<?xml version="1.0"?><!-- a --><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20"/>"#;
        let sizeless = br#"<svg xmlns="http://www.w3.org/2000/svg" width="100%"/>"#;
        for (name, bytes, mime, format, size, animated) in [
            ("a.jpg", picture(31, 17, ImageFormat::Jpeg), "image/jpeg", "JPEG", Some((31, 17)), false),
            ("a.bin", picture(31, 17, ImageFormat::Png), "image/png", "PNG", Some((31, 17)), false),
            ("a.webp", picture(31, 17, ImageFormat::WebP), "image/webp", "WEBP", Some((31, 17)), false),
            ("a.gif", gif(1), "image/gif", "GIF", Some((30, 20)), false),
            ("b.gif", gif(3), "image/gif", "GIF", Some((30, 20)), true),
            ("a.svg", svg.to_vec(), "image/svg+xml", "SVG", Some((30, 20)), false),
            ("b.svg", sizeless.to_vec(), "image/svg+xml", "SVG", None, false),
        ] {
            let file = server.file(name, bytes).await;
            assert_eq!(file["mimeType"], mime, "{name}");
            assert_eq!(file["imageStatus"], "READY", "{name}: {file:#}");
            let image = &file["image"];
            assert_eq!((&image["format"], &image["animated"]), (&json!(format), &json!(animated)), "{name}");
            let (width, height) = size.unzip();
            assert_eq!((&image["width"], &image["height"]), (&json!(width), &json!(height)), "{name}");
        }
        for (name, bytes, mime) in [
            ("a.txt", b"Hello, world".to_vec(), "text/plain"),
            ("a.pdf", b"%PDF-1.4 and so on".to_vec(), "application/pdf"),
            ("a.zip", b"PK\x03\x04 and so on".to_vec(), "application/zip"),
            ("a.xml", b"<?xml version=\"1.0\"?><a/>".to_vec(), "text/xml"),
            ("svg.html", b"<!DOCTYPE html><html><svg></svg></html>".to_vec(), "text/html"),
            ("a.png", vec![0, 1, 2, 0xff, 0xfe], "application/octet-stream"),
        ] {
            let file = server.file(name, bytes).await;
            assert_eq!(file["mimeType"], mime, "{name}");
            assert_eq!((&file["imageStatus"], &file["image"]), (&json!("NOT_APPLICABLE"), &Value::Null), "{name}");
        }
    }

    /// Each refusal has its code and field, and stores nothing.
    async fn refusals_have_code_and_field(database: Database) {
        let server = Server::start_with(database, |config| config.max_file_size = 11 * 1024 * 1024).await;
        let mut big = picture(2, 2, ImageFormat::Png);
        big.resize(10 * 1024 * 1024 + 1, 0);
        let other = "wsp_00000000000000000000000000";
        for (input, name, content_type, bytes, code, field) in [
            (json!({}), "a.txt", "", vec![], "EMPTY_FILE", "file"),
            (json!({}), "a.png", "image/png", b"just text".to_vec(), "MIME_TYPE_MISMATCH", "file"),
            (json!({}), "a.png", "", b"\x89PNG\r\n\x1a\n broken".to_vec(), "CORRUPT_IMAGE", "file"),
            (json!({}), "a.png", "", lying_png(12_001, 10), "IMAGE_TOO_LARGE", "file"),
            (json!({}), "a.png", "", lying_png(10_001, 10_000), "IMAGE_TOO_LARGE", "file"),
            (json!({}), "a.png", "", big.clone(), "FILE_TOO_LARGE", "file"),
            (json!({ "workspaceId": other }), "a.png", "", png(1), "NOT_FOUND", "workspaceId"),
            (json!({ "workspaceId": "wsp_1" }), "a.png", "", png(1), "INVALID_INPUT", "workspaceId"),
            (json!({ "filename": "a/b.png" }), "a.png", "", png(1), "INVALID_INPUT", "filename"),
            (json!({ "filename": "" }), "a.png", "", png(1), "INVALID_INPUT", "filename"),
            (json!({ "filename": "a\u{0}.png" }), "a.png", "", png(1), "INVALID_INPUT", "filename"),
            (json!({ "filename": "x".repeat(256) }), "a.png", "", png(1), "INVALID_INPUT", "filename"),
        ] {
            let payload = server.upload_as(ADMIN, input, name, content_type, bytes).await;
            assert_eq!(payload["file"], Value::Null, "{code}");
            assert_eq!(payload["userErrors"][0]["code"], code, "{payload:#}");
            assert_eq!(payload["userErrors"][0]["field"], json!(["input", field]), "{payload:#}");
        }
        assert_eq!(server.originals().len(), 0);
        assert_eq!(server.account_images().await.len(), 0);
        let files = server.query("{ files { totalCount } }", json!({})).await;
        assert_eq!(files["files"]["totalCount"], 0);
        // A file that is too large for an image is accepted if no image is requested.
        let input = json!({ "image": { "provision": false } });
        let payload = server.upload_as(ADMIN, input, "big.png", "", big).await;
        assert_eq!(payload["file"]["imageStatus"], "REMOVED", "{payload:#}");
    }

    /// A name from the part's header is cleaned; one that was requested explicitly is kept.
    async fn names_are_cleaned(database: Database) {
        let server = Server::start(database).await;
        for (sent, kept) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\photo.png", "photo.png"),
            ("..", "upload"),
            ("naïve Ω.png", "naïve Ω.png"),
        ] {
            assert_eq!(server.file(sent, png(1)).await["filename"], kept);
        }
        let input = json!({ "filename": "chosen.png" });
        let payload = server.upload_as(ADMIN, input, "sent.png", "", png(1)).await;
        assert_eq!(payload["file"]["filename"], "chosen.png");
    }

    /// If the account refuses the image, the file is stored, with the reason.
    async fn images_refused_by_the_account_are_files(database: Database) {
        let server = Server::start(database).await;
        let mut cut = picture(200, 200, ImageFormat::Jpeg);
        cut.truncate(cut.len() / 2);
        let file = server.file("cut.jpg", cut).await;
        assert_eq!((&file["status"], &file["imageStatus"]), (&json!("READY"), &json!("FAILED")));
        assert_eq!(file["imageFailure"]["code"], "CORRUPT_IMAGE", "{file:#}");
        assert_eq!(file["imageFailure"]["retryAfter"], Value::Null);
    }
}
