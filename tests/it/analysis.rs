//! Analysis of images: placeholders, colours and camera data, and which metadata each policy keeps.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use imagegraph::entity::image::Format;
use imagegraph::image::analysis;
use imagegraph::worker;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{gif, lying_png, photo, picture};

const ANALYSIS: &str = "query($id: ID!) { image(id: $id) {
    thumbhash blurhash placeholder dominantColor palette hasAlpha updatedAt
    photo { make model lens takenAt iso aperture exposureTime focalLength orientation location { latitude longitude altitude } } exif } }";

/// A server whose worker analyses images only when a test runs it.
async fn idle(database: Database) -> Server {
    Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600)).await
}

async fn analyse_all(server: &Server) {
    while worker::analyse_next(&server.running.app).await.unwrap() {}
}

async fn find_image(server: &Server, id: &Value) -> Value {
    server.query(ANALYSIS, json!({ "id": id })).await["image"].clone()
}

async fn upload(server: &Server, name: &str, bytes: Vec<u8>) -> Value {
    server.file(name, bytes).await["image"]["id"].clone()
}

async fn sql(server: &Server, statement: &str) {
    server.running.app.db.write.execute_unprepared(statement).await.unwrap();
}

fn encoded(pixels: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    pixels.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// Three quarters blue, one quarter red.
fn striped() -> Vec<u8> {
    let pixels =
        RgbImage::from_fn(400, 200, |x, _| if x < 300 { Rgb([20, 40, 220]) } else { Rgb([230, 30, 20]) });
    encoded(pixels, ImageFormat::Png)
}

/// The image in a `data:` URL.
fn decoded_placeholder(placeholder: &Value) -> RgbaImage {
    let png = placeholder.as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap();
    image::load_from_memory(&STANDARD.decode(png).unwrap()).unwrap().into_rgba8()
}

fn near(a: [u8; 3], b: [u8; 3], by: u8) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= by)
}

fn rgb(colour: &Value) -> [u8; 3] {
    let number = u32::from_str_radix(colour.as_str().unwrap().strip_prefix('#').unwrap(), 16).unwrap();
    [(number >> 16) as u8, (number >> 8) as u8, number as u8]
}

both! {
    /// The worker analyses uploaded images.
    async fn uploaded_images_are_analysed(database: Database) {
        let server = Server::start(database).await;
        let id = upload(&server, "red.jpg", encoded(RgbImage::from_pixel(300, 150, Rgb([220, 30, 40])), ImageFormat::Jpeg)).await;
        let found = eventually("a placeholder", async || Some(find_image(&server, &id).await).filter(|found| found["thumbhash"].is_string())).await;
        let red = [220, 30, 40];
        assert!(near(rgb(&found["dominantColor"]), red, 4), "{found:#}");
        assert_eq!(found["palette"], json!([found["dominantColor"]]));
        assert_eq!(found["hasAlpha"], false);
        let placeholder = decoded_placeholder(&found["placeholder"]);
        assert!(placeholder.width() > placeholder.height(), "{:?}", placeholder.dimensions());
        assert!(placeholder.pixels().all(|pixel| near([pixel[0], pixel[1], pixel[2]], red, 16)), "{found:#}");
        let thumbhash = STANDARD.decode(found["thumbhash"].as_str().unwrap()).unwrap();
        let (r, g, b, a) = thumbhash::thumb_hash_to_average_rgba(&thumbhash).unwrap();
        assert!(near([r, g, b].map(|share| (share * 255.0) as u8), red, 10) && a == 1.0);
        let blurred = blurhash::decode(found["blurhash"].as_str().unwrap(), 4, 2, 1.0).unwrap();
        // The algorithm finds gradients where there are none.
        assert!(near([blurred[0], blurred[1], blurred[2]], red, 40), "{blurred:?}");
    }

    /// Colours are ordered by area, transparency is detected, an animation is analysed by its first frame, photos are
    /// upright, and `updatedAt` does not change.
    async fn results_of_the_analysis(database: Database) {
        let server = idle(database).await;
        let striped = upload(&server, "striped.png", striped()).await;
        let clear = RgbaImage::from_fn(64, 64, |x, y| if x < 32 && y < 32 { Rgba([10, 200, 30, 255]) } else { Rgba([255, 0, 0, 0]) });
        let clear = upload(&server, "clear.png", encoded(clear, ImageFormat::Png)).await;
        let nothing = upload(&server, "nothing.png", encoded(RgbaImage::new(5, 5), ImageFormat::Png)).await;
        let opaque = upload(&server, "opaque.png", encoded(RgbaImage::from_pixel(9, 9, Rgba([1, 2, 3, 255])), ImageFormat::Png)).await;
        let deep = image::ImageBuffer::from_pixel(20, 30, image::Rgba([65535u16, 65535, 0, 30000]));
        let deep = upload(&server, "deep.png", encoded(DynamicImage::ImageRgba16(deep), ImageFormat::Png)).await;
        let moving = upload(&server, "moving.gif", gif(3)).await;
        let turned = upload(&server, "turned.jpg", photo(6)).await;
        let webp = upload(&server, "a.webp", picture(90, 30, ImageFormat::WebP)).await;
        let thin = upload(&server, "thin.png", picture(3000, 1, ImageFormat::Png)).await;
        let svg = upload(&server, "a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='3' height='2'/>".to_vec()).await;
        let before = find_image(&server, &striped).await;
        assert_eq!((&before["thumbhash"], &before["placeholder"], &before["palette"], &before["hasAlpha"]), (&Value::Null, &Value::Null, &json!([]), &Value::Null));
        server.clock.advance(std::time::Duration::from_secs(60));
        analyse_all(&server).await;

        let found = find_image(&server, &striped).await;
        let palette = found["palette"].as_array().unwrap();
        assert!(palette.len() == 2 && near(rgb(&palette[0]), [20, 40, 220], 6) && near(rgb(&palette[1]), [230, 30, 20], 6), "{found:#}");
        assert_eq!(found["updatedAt"], before["updatedAt"]);
        let placeholder = decoded_placeholder(&found["placeholder"]);
        let (left, right) = (placeholder.get_pixel(1, 3), placeholder.get_pixel(placeholder.width() - 1, 3));
        assert!(left[2] > left[0] && right[0] > right[2], "{left:?} {right:?}");
        assert!(found["placeholder"].as_str().unwrap().len() < 700);

        let found = find_image(&server, &clear).await;
        assert_eq!(found["hasAlpha"], true);
        assert_eq!(found["palette"].as_array().unwrap().len(), 1, "transparent pixels have no colour: {found:#}");
        assert!(near(rgb(&found["dominantColor"]), [10, 200, 30], 6), "{found:#}");
        let placeholder = decoded_placeholder(&found["placeholder"]);
        let (corner, far) = (placeholder.get_pixel(1, 1), placeholder.get_pixel(placeholder.width() - 2, placeholder.height() - 2));
        assert!(corner[3] > 150 && far[3] < 100, "{corner:?} {far:?}");

        let found = find_image(&server, &nothing).await;
        assert_eq!((&found["hasAlpha"], &found["palette"], &found["dominantColor"]), (&json!(true), &json!([]), &Value::Null));
        let found = find_image(&server, &opaque).await;
        assert_eq!((&found["hasAlpha"], &found["dominantColor"]), (&json!(false), &json!("#010203")));
        let found = find_image(&server, &deep).await;
        assert_eq!(found["hasAlpha"], true);
        assert!(near(rgb(&found["dominantColor"]), [255, 255, 0], 3), "{found:#}");
        let found = find_image(&server, &moving).await;
        assert!(near(rgb(&found["dominantColor"]), [0, 100, 200], 8), "the first of three frames: {found:#}");
        // Red is on the left as stored, and on top once upright.
        let placeholder = decoded_placeholder(&find_image(&server, &turned).await["placeholder"]);
        let (top, bottom) = (placeholder.get_pixel(4, 0), placeholder.get_pixel(4, placeholder.height() - 1));
        assert!(placeholder.height() > placeholder.width() && top[0] > top[2] && bottom[2] > bottom[0], "{top:?} {bottom:?}");
        assert_eq!(find_image(&server, &webp).await["palette"].as_array().unwrap().len(), 2);
        assert!(find_image(&server, &thin).await["placeholder"].is_string());
        let found = find_image(&server, &svg).await;
        assert_eq!((&found["thumbhash"], &found["blurhash"], &found["placeholder"], &found["dominantColor"], &found["hasAlpha"]), (&Value::Null, &Value::Null, &Value::Null, &Value::Null, &Value::Null));
    }

    /// Rows from before the analysis existed are analysed; images that cannot be decoded fail at once, those that
    /// cannot be read after several attempts, and neither delays the next image.
    async fn existing_rows_and_failures(database: Database) {
        let server = idle(database).await;
        let id = upload(&server, "photo.jpg", photo(1)).await;
        let damaged = upload(&server, "damaged.png", picture(64, 64, ImageFormat::Png)).await;
        let text = "UPDATE image SET taken_at = NULL, analysis_due_at = created_at";
        sql(&server, text).await;
        let blob = blob_of(&server, &damaged).await;
        // Of the same length, because a shorter file counts as missing and is retried.
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[60..].fill(0);
        std::fs::write(&blob, bytes).unwrap();
        analyse_all(&server).await;
        let found = find_image(&server, &id).await;
        assert!(found["placeholder"].is_string(), "{found:#}");
        assert_eq!(taken_at(&server, &id).await, "2024-05-06T07:08:09+00:00");
        let found = find_image(&server, &damaged).await;
        assert_eq!((&found["thumbhash"], &found["hasAlpha"]), (&Value::Null, &Value::Null));
        assert_eq!(due(&server).await, 0);

        // Metadata that the policy strips is removed from rows that were written before the policy existed.
        sql(&server, "UPDATE image SET exif = '{\"GPSLatitude\": [1, 2, 3], \"Make\": \"Acme\"}', analysis_due_at = created_at").await;
        analyse_all(&server).await;
        assert_eq!(find_image(&server, &id).await["exif"], json!({ "Make": "Acme" }));

        let lost = upload(&server, "lost.png", picture(65, 64, ImageFormat::Png)).await;
        std::fs::remove_file(blob_of(&server, &lost).await).unwrap();
        for attempt in 1..=6 {
            assert_eq!(due(&server).await, 1, "attempt {attempt}");
            assert!(worker::analyse_next(&server.running.app).await.unwrap(), "attempt {attempt}");
            assert!(!worker::analyse_next(&server.running.app).await.unwrap(), "the next attempt waits for its backoff");
            server.clock.advance(std::time::Duration::from_secs(700));
        }
        assert_eq!(due(&server).await, 0);
        assert_eq!(find_image(&server, &lost).await["thumbhash"], Value::Null);
    }

    /// Each policy keeps its part of a photo's metadata, for every way to upload; the default strips the position.
    async fn metadata_is_kept_by_policy(database: Database) {
        let server = idle(database).await;
        let id = upload(&server, "photo.jpg", located()).await;
        let found = find_image(&server, &id).await;
        let tags = |found: &Value| found["exif"].as_object().map(|tags| tags.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let all = ["BodySerialNumber", "CameraOwnerName", "Copyright", "DateTimeOriginal", "FNumber", "GPSAltitude", "GPSAltitudeRef", "GPSDateStamp", "GPSLatitude", "GPSLatitudeRef", "GPSLongitude", "GPSLongitudeRef", "ISO", "LensModel", "LensSerialNumber", "Make", "OffsetTimeOriginal", "Orientation"];
        let located = |tag: &&str| tag.starts_with("GPS") || tag.contains("Serial");
        let unlocated: Vec<_> = all.into_iter().filter(|tag| !located(tag)).collect();
        assert_eq!(tags(&found), unlocated);
        assert_eq!(found["photo"], json!({ "make": "Acme", "model": null, "lens": "50mm", "takenAt": "2024-05-06T04:38:09.000Z", "iso": 400,
            "aperture": 2.8, "exposureTime": null, "focalLength": null, "orientation": 6, "location": null }));
        assert_eq!(taken_at(&server, &id).await, "2024-05-06T04:38:09+00:00");
        for (policy, kept, place) in [
            ("KEEP_ALL", &all[..], json!({ "latitude": -43.5, "longitude": 11.25, "altitude": 123.5 })),
            ("STRIP_LOCATION", &unlocated[..], Value::Null),
            ("COPYRIGHT_ONLY", &["Copyright", "Orientation"][..], Value::Null),
            ("STRIP_ALL", &[][..], Value::Null),
        ] {
            sql(&server, &format!("UPDATE workspace SET exif_policy = '{policy}'")).await;
            let uploaded = server.file("photo.jpg", self::located()).await;
            let sent = direct(&server, self::located()).await;
            let delete = "mutation($id: ID!) { deleteImage(input: { id: $id }) { success } }";
            for image in [uploaded["image"]["id"].clone(), sent] {
                let found = find_image(&server, &image).await;
                assert_eq!(tags(&found), kept, "{policy}");
                assert_eq!(found["photo"]["location"], place, "{policy}");
                assert_eq!(found["photo"].is_null(), kept.is_empty(), "{policy}");
                assert_eq!(taken_at(&server, &image).await.is_empty(), kept.len() < 5, "{policy}");
            }
            server.query(delete, json!({ "id": uploaded["image"]["id"] })).await;
            let provision = "mutation($id: ID!) { provisionImage(input: { fileId: $id }) { image { id width height } userErrors { code } } }";
            let again = server.query(provision, json!({ "id": uploaded["id"] })).await["provisionImage"].clone();
            // The size is that after the orientation, whether the orientation is kept or not.
            assert_eq!((&again["image"]["width"], &again["image"]["height"]), (&json!(40), &json!(60)));
            assert_eq!(tags(&find_image(&server, &again["image"]["id"]).await), kept, "{policy}");
        }
    }

    /// Settings of an image are returned.
    async fn settings_are_returned(database: Database) {
        let server = idle(database).await;
        let settings = json!({ "alt": "Two halves", "focalPoint": { "x": 0.25, "y": 1 }, "creator": "ann", "cfMetadata": { "a": [1] } });
        let id = server.upload_as(ADMIN, json!({ "image": settings }), "a.png", "", picture(9, 9, ImageFormat::Png)).await["file"]["image"]["id"].clone();
        let query = "query($id: ID!) { image(id: $id) { alt focalPoint { x y } creator cfMetadata } }";
        let returned = server.query(query, json!({ "id": id })).await["image"].clone();
        assert_eq!(returned, json!({ "alt": "Two halves", "focalPoint": { "x": 0.25, "y": 1.0 }, "creator": "ann", "cfMetadata": { "a": [1] } }));
        let bare = upload(&server, "b.png", picture(9, 8, ImageFormat::Png)).await;
        let returned = server.query(query, json!({ "id": bare })).await["image"].clone();
        assert_eq!(returned, json!({ "alt": null, "focalPoint": null, "creator": null, "cfMetadata": null }));
    }

    /// A gallery of a hundred private images with everything that an `<img>` needs takes the statements of one page,
    /// and repeating the query returns the same strings.
    async fn a_private_gallery_is_two_statements(database: Database) {
        let server = idle(database).await;
        for i in 0..100u32 {
            let pixels = RgbImage::from_pixel(24, 16, Rgb([i as u8, 100, 200]));
            let input = json!({ "image": { "requireSignedUrls": true, "alt": format!("Number {i}") } });
            server.upload_as(ADMIN, input, "a.png", "", encoded(pixels, ImageFormat::Png)).await;
        }
        analyse_all(&server).await;
        let gallery = "query($n: Int) { images(first: $n) { nodes { id url urlExpiresAt alt aspectRatio placeholder thumbhash dominantColor palette
            rendition(variant: \"public\") { url width height expiresAt } renditions { url }
            srcSet(widths: [480, 960], sizes: \"33vw\") { src srcset sizes width height } photo { takenAt } focalPoint { x } } } }";
        let first = server.query(gallery, json!({ "n": 100 })).await;
        let nodes = first["images"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 100);
        for (i, node) in nodes.iter().enumerate() {
            assert_eq!(node["alt"], format!("Number {}", 99 - i));
            assert_eq!(node["aspectRatio"], 1.5);
            assert!(node["placeholder"].as_str().unwrap().starts_with("data:image/png;base64,"), "{node:#}");
            for url in [&node["url"], &node["rendition"]["url"], &node["srcSet"]["src"], &node["renditions"][0]["url"]] {
                assert!(url.as_str().unwrap().contains("sig="), "{node:#}");
            }
            assert_eq!(node["srcSet"]["srcset"], format!("{} 24w", node["srcSet"]["src"].as_str().unwrap()));
        }
        // Who is asking; images.
        assert_eq!(server.statements(gallery, json!({ "n": 100 })).await, 2);
        assert_eq!(server.statements(gallery, json!({ "n": 1 })).await, 2);
        assert_eq!(server.query(gallery, json!({ "n": 100 })).await, first);
        let status = server.http.get(nodes[0]["srcSet"]["src"].as_str().unwrap()).send().await.unwrap().status();
        assert_eq!(status, 200);
    }
}

/// Images that claim a false size, or are truncated, are errors and take no memory.
#[test]
fn malicious_images_are_refused_without_decoding() {
    use analysis::analyse_bytes as look;
    let most_memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB").to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = most_memory();
    for _ in 0..3 {
        assert!(look(&lying_png(100_000, 100_000), Format::Png).is_err());
        assert!(look(&lying_png(11_000, 9_000), Format::Png).is_err());
        let mut gif = gif(1);
        gif[6..10].copy_from_slice(&[0xff; 4]);
        assert!(look(&gif, Format::Gif).is_err());
    }
    assert!(most_memory() < before + 900_000, "kilobytes: {before}, then {}", most_memory());
    let cut = picture(300, 300, ImageFormat::Png);
    assert!(look(&cut[..cut.len() / 2], Format::Png).is_err());
    assert!(look(b"\xff\xd8\xff\xe0 no picture at all", Format::Jpeg).is_err());
    assert!(look(&picture(3, 3, ImageFormat::Png), Format::Heic).is_err());
    assert!(look(&picture(3, 3, ImageFormat::Png), Format::Png).is_ok());
}

/// Number of images that still have to be analysed.
async fn due(server: &Server) -> usize {
    let db = &server.running.app.db.read;
    db.query_all_raw(sea_orm::Statement::from_string(
        db.get_database_backend(),
        "SELECT id FROM image WHERE analysis_due_at IS NOT NULL",
    ))
    .await
    .unwrap()
    .len()
}

/// RFC 3339; empty for null.
async fn taken_at(server: &Server, id: &Value) -> String {
    let id = id.as_str().unwrap().parse().unwrap();
    let row = imagegraph::entity::image::by_id_unscoped(id)
        .one(&server.running.app.db.read)
        .await
        .unwrap()
        .unwrap();
    row.taken_at.map(|at| at.to_rfc3339()).unwrap_or_default()
}

/// Path of the bytes of an image.
async fn blob_of(server: &Server, image: &Value) -> std::path::PathBuf {
    let db = &server.running.app.db.read;
    let id = image.as_str().unwrap().parse().unwrap();
    let row = imagegraph::entity::image::by_id_unscoped(id).one(db).await.unwrap().unwrap();
    let file = imagegraph::entity::file::by_id_unscoped(row.file_id).one(db).await.unwrap().unwrap();
    server.dir.path().join("blobs/originals").join(file.blob_id.unwrap().to_string())
}

/// Sends bytes by a direct upload; returns the id of the image.
async fn direct(server: &Server, bytes: Vec<u8>) -> Value {
    let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.jpg\", mimeType: \"image/jpeg\" }) { directUpload { id uploadUrl } } }";
    let made =
        server.query(create, json!({ "w": server.workspace })).await["createDirectUpload"]["directUpload"]
            .clone();
    let form = reqwest::multipart::Form::new()
        .part("file", reqwest::multipart::Part::bytes(bytes).file_name("a.jpg"));
    let sent = server.http.post(made["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
    assert!(sent.status().is_success());
    let complete = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { image { id } userErrors { code } } }";
    server.query(complete, json!({ "id": made["id"] })).await["completeDirectUpload"]["image"]["id"].clone()
}

/// A JPEG of 60 × 40 pixels with an orientation, a position, serial numbers, an owner and a copyright notice.
fn located() -> Vec<u8> {
    let plain = picture(60, 40, ImageFormat::Jpeg);
    let tiff = tiff();
    let mut bytes = plain[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend(u16::try_from(tiff.len() + 8).unwrap().to_be_bytes());
    bytes.extend(b"Exif\0\0");
    bytes.extend(tiff);
    bytes.extend(&plain[2..]);
    bytes
}

fn tiff() -> Vec<u8> {
    const ASCII: u16 = 2;
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    const RATIONAL: u16 = 5;
    let text = |text: &str| (ASCII, [text.as_bytes(), b"\0"].concat());
    let short = |number: u16| (SHORT, number.to_le_bytes().to_vec());
    let fractions = |numbers: &[(u32, u32)]| {
        (
            RATIONAL,
            numbers
                .iter()
                .flat_map(|(over, under)| [over.to_le_bytes(), under.to_le_bytes()].concat())
                .collect(),
        )
    };
    let gps = directory(
        1000,
        &[
            (1, text("S")),
            (2, fractions(&[(43, 1), (30, 1), (0, 1)])),
            (3, text("E")),
            (4, fractions(&[(11, 1), (15, 1), (0, 1)])),
            (5, (1, vec![0])),
            (6, fractions(&[(1235, 10)])),
            (29, text("2024:05:06")),
        ],
    );
    let exif = directory(
        500,
        &[
            (0x829d, fractions(&[(28, 10)])),
            (0x8827, short(400)),
            (0x9003, text("2024:05:06 07:08:09")),
            (0x9011, text("+02:30")),
            (0xa430, text("Ann Onymous")),
            (0xa431, text("body-1")),
            (0xa434, text("50mm")),
            (0xa435, text("lens-1")),
        ],
    );
    let first = directory(
        8,
        &[
            (0x010f, text("Acme")),
            (0x0112, short(6)),
            (0x8298, text("Ann")),
            (0x8769, (LONG, 500u32.to_le_bytes().to_vec())),
            (0x8825, (LONG, 1000u32.to_le_bytes().to_vec())),
        ],
    );
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    for (at, part) in [(8, first), (500, exif), (1000, gps)] {
        bytes.resize(at, 0);
        bytes.extend(part);
    }
    bytes
}

/// A TIFF directory at an offset, followed by its long values.
fn directory(at: usize, entries: &[(u16, (u16, Vec<u8>))]) -> Vec<u8> {
    let mut head = u16::try_from(entries.len()).unwrap().to_le_bytes().to_vec();
    let mut tail: Vec<u8> = Vec::new();
    let behind = at + 2 + entries.len() * 12 + 4;
    for (tag, (kind, value)) in entries {
        let unit = match kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1,
        };
        head.extend(tag.to_le_bytes());
        head.extend(kind.to_le_bytes());
        head.extend(u32::try_from(value.len() / unit).unwrap().to_le_bytes());
        if value.len() <= 4 {
            head.extend(value);
            head.resize(head.len() + 4 - value.len(), 0);
        } else {
            head.extend(u32::try_from(behind + tail.len()).unwrap().to_le_bytes());
            tail.extend(value);
        }
    }
    head.extend([0; 4]);
    head.extend(tail);
    head
}
