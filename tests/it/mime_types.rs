//! MIME types: detected from content, declared where content is not enough, and known by several names.

use axum::Router;
use axum::routing::get;
use image::ImageFormat;
use sea_orm::ActiveValue::Set;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{crc32, picture, png};
use crate::upload_rules::policy;

const FOUND: &str = "query($types: [String!]) { files(filter: { mimeTypes: $types }, orderBy: { field: FILENAME, direction: ASC }) { nodes { filename } } }";

fn brand(major: &[u8; 4], others: &[&[u8; 4]]) -> Vec<u8> {
    let mut bytes = u32::try_from(16 + 4 * others.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(b"ftyp");
    bytes.extend(major);
    bytes.extend([0; 4]);
    others.iter().for_each(|other| bytes.extend(*other));
    bytes.extend([0; 64]);
    bytes
}

fn heic() -> Vec<u8> {
    include_bytes!("fixtures/heic/odd.137x73.heic").to_vec()
}

/// Images that Cloudflare does not accept: name, usual declared type, bytes.
fn others() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let header = |bytes: &[u8]| [bytes, &[0; 64]].concat();
    let with = |format| picture(3, 2, format);
    vec![
        ("a.ppm", "image/x-portable-pixmap", b"P6\n2 2\n255\nabcdefghijkl".to_vec()),
        ("b.ppm", "image/x-portable-pixmap", b"P3\n# text\n1 1\n255\n1 2 3\n".to_vec()),
        ("a.pgm", "image/x-portable-graymap", b"P5 2 2 255 abcd".to_vec()),
        (
            "a.tga",
            "image/x-tga",
            [&[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 24, 0][..], b"abc"].concat(),
        ),
        (
            "b.tga",
            "image/x-targa",
            [&[0, 1, 1, 0, 0, 1, 0, 24, 0, 0, 0, 0, 1, 0, 1, 0, 8, 0][..], b"abcd"].concat(),
        ),
        ("a.exr", "image/x-exr", header(b"v/1\x01\x02\0\0\0")),
        ("a.cur", "image/x-icon", header(&[0, 0, 2, 0, 1, 0, 16, 16, 0, 0, 1, 0, 1, 0])),
        ("a.raf", "image/x-fuji-raf", header(b"FUJIFILMCCD-RAW 0201FF383001")),
        ("a.dds", "image/vnd.ms-dds", header(b"DDS |\0\0\0")),
        ("a.qoi", "image/qoi", header(b"qoif\0\0\0\x01\0\0\0\x01\x03\0")),
        ("a.hdr", "image/vnd.radiance", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\nabcd".to_vec()),
        ("a.xpm", "image/x-xpixmap", b"/* XPM */\nstatic char *a[] = {\"1 1 1 1\"};".to_vec()),
        ("a.xbm", "image/x-xbitmap", b"#define a_width 8\n#define a_height 1\n".to_vec()),
        ("a.ff", "image/x-farbfeld", b"farbfeld\0\0\0\x01\0\0\0\x01abcdefgh".to_vec()),
        ("a.ktx2", "image/ktx2", header(b"\xabKTX 20\xbb\r\n\x1a\n")),
        ("a.j2c", "image/x-jp2-codestream", header(b"\xff\x4f\xff\x51\0\x2f")),
        ("a.tif", "image/tiff", header(b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0")),
        ("a.bmp", "image/x-ms-bmp", header(b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0")),
        ("a.new", "image/x-made-up", vec![0x80, 0, 1, 2, 3, 0xff]),
        ("a.ico", "image/x-icon", header(&[0, 0, 1, 0, 1, 0, 16, 16, 0, 0, 1, 0, 1, 0])),
        ("a.avif", "image/avif", brand(b"avif", &[b"mif1", b"miaf"])),
        ("a.jpg", "image/x-made-up", with(ImageFormat::Jpeg)),
    ]
}

/// Apple's CgBI variety of PNG, of 120 × 60 pixels.
fn cgbi() -> Vec<u8> {
    let chunk = |name: &[u8; 4], payload: &[u8]| {
        let named = [&name[..], payload].concat();
        [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], &named, &crc32(&named).to_be_bytes()]
            .concat()
    };
    let header = [&120_u32.to_be_bytes()[..], &60_u32.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"CgBI", &[0x50, 0, 0x20, 2]),
        chunk(b"IHDR", &header),
        chunk(b"IDAT", &[0; 20]),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

/// A JPEG whose first frame header has this marker and number of bits per sample.
fn jpeg(marker: u8, bits: u8) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    bytes
        .extend([0xff, marker, 0, 11, bits, 0, 40, 0, 60, 1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0]);
    bytes.extend([0x55; 600]);
    bytes.extend([0xff, 0xd9]);
    bytes
}

both! {
    /// The brand of the container decides the type of HEIF, named as by file(1), and AVIF is a plain file.
    async fn heif_brands(database: Database) {
        let server = Server::start(database).await;
        for (major, others, mime_type, picture) in [
            (b"heic", &[b"mif1"][..], "image/heic", true),
            (b"heix", &[b"mif1"], "image/heic", true),
            (b"hevc", &[b"msf1"], "image/heic-sequence", true),
            (b"hevx", &[b"msf1"], "image/heic-sequence", true),
            (b"mif1", &[b"heic"], "image/heif", true),
            (b"msf1", &[b"hevc"], "image/heif-sequence", true),
            (b"avif", &[b"mif1"], "image/avif", false),
            (b"avis", &[b"msf1"], "image/avif", false),
            (b"mif1", &[b"avif"], "image/avif", false),
            (b"crx ", &[b"isom"], "image/x-canon-cr3", false),
            (b"mp42", &[b"isom"], "video/mp4", false),
            (b"qt  ", &[b"qt  "], "video/quicktime", false),
        ] {
            let whole = heic();
            let skipped = usize::from(whole[3]);
            let bytes = [&brand(major, others)[..16 + 4 * others.len()], &whole[skipped..]].concat();
            let file = server.file("a", bytes).await;
            assert_eq!(file["mimeType"], mime_type, "{major:?}");
            assert_eq!(file["imageStatus"], if picture { "READY" } else { "NOT_APPLICABLE" }, "{mime_type} {file:#}");
        }
    }

    /// Policies and filters accept a type under any of its names; rows with former names are found.
    async fn a_type_has_many_names(database: Database) {
        let server = Server::start(database).await;
        let wav = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        let zip = b"PK\x03\x04\x14\0\0\0".to_vec();
        for (allowed, name, sent, bytes) in [
            ("image/heic", "1.heic", "image/heif", heic()),
            ("image/heif", "2.heic", "image/heic", heic()),
            ("IMAGE/HEIC-SEQUENCE", "3.heic", "", heic()),
            ("image/jpg", "4.jpg", "image/jpg", picture(3, 2, ImageFormat::Jpeg)),
            ("image/pjpeg", "5.jpg", "image/jpeg", picture(3, 3, ImageFormat::Jpeg)),
            ("image/x-png", "6.png", "image/png", png(1)),
            ("application/x-zip-compressed", "7.zip", "application/zip", zip),
            ("application/xml", "8.xml", "text/xml", b"<?xml version=\"1.0\"?><a/>".to_vec()),
            ("audio/wav", "9.wav", "audio/wav", wav),
        ] {
            let types = json!([format!("{allowed}; q=1")]);
            let change = "mutation($id: ID!, $types: [String!]) { updateWorkspace(input: { id: $id, policy: { allowedMimeTypes: $types } }) { userErrors { code message } } }";
            let changed = server.query(change, json!({ "id": server.workspace, "types": types })).await;
            assert_eq!(changed["updateWorkspace"]["userErrors"], json!([]), "{allowed}");
            let payload = server.upload_as(ADMIN, json!({}), name, sent, bytes).await;
            assert_eq!(payload["userErrors"], json!([]), "{allowed} {payload:#}");
            let refused = server.upload("x.gif", crate::pictures::gif(1)).await;
            assert_eq!(refused["userErrors"][0]["code"], "UNSUPPORTED_MIME_TYPE", "{allowed}");
        }
        let rename = "UPDATE file SET mime_type = 'image/heif' WHERE filename = '1.heic'";
        server.running.app.db.write.execute_unprepared(rename).await.unwrap();
        for (types, names) in [
            (vec!["image/heic"], vec!["1.heic", "2.heic", "3.heic"]),
            (vec!["Image/HEIF; a=b"], vec!["1.heic", "2.heic", "3.heic"]),
            (vec!["image/jpg"], vec!["4.jpg", "5.jpg"]),
            (vec!["image/pjpeg", "image/x-png"], vec!["4.jpg", "5.jpg", "6.png"]),
            (vec!["application/x-zip", "application/xml"], vec!["7.zip", "8.xml"]),
            (vec!["audio/vnd.wave"], vec!["9.wav"]),
            (vec!["image/webp"], vec![]),
        ] {
            let found = server.query(FOUND, json!({ "types": types })).await;
            let found: Vec<&str> = found["files"]["nodes"].as_array().unwrap().iter().map(|node| node["filename"].as_str().unwrap()).collect();
            assert_eq!(found, names, "{types:?}");
        }
    }

    /// The type of a text is the declared one: that of the part, or that of the extension if the part's is generic.
    async fn text_types_are_declared(database: Database) {
        let server = Server::start(database).await;
        let html = "<p align=\"center\">A logo</p>\n\n# Title";
        for (name, sent, text, mime_type) in [
            ("a.csv", "text/csv", "a,b\n1,2\n", "text/csv"),
            ("b.csv", "application/octet-stream", "a,b\n1,3\n", "text/csv"),
            ("c.csv", "", "a,b\n1,4\n", "text/csv"),
            ("d.CSV", "application/vnd.ms-excel", "a,b\n1,5\n", "text/csv"),
            ("e", "text/csv; charset=utf-8", "BM,b\n1,6\n", "text/csv"),
            ("a.json", "application/json", "{\"a\":1}", "application/json"),
            ("a.geojson", "application/geo+json", "{\"type\":\"Point\"}", "application/geo+json"),
            ("a.ndjson", "application/x-ndjson", "{}\n{}\n", "application/x-ndjson"),
            ("a.md", "text/markdown", html, "text/markdown"),
            ("b.md", "", "# Title", "text/markdown"),
            ("a.js", "application/javascript", "alert(1)", "application/javascript"),
            ("a.css", "text/css", "a { color: red }", "text/css"),
            ("a.rss", "application/rss+xml", "<?xml version=\"1.0\"?><rss/>", "application/rss+xml"),
            ("a.yaml", "application/x-yaml", "a: 1", "application/x-yaml"),
            ("a.txt", "text/plain", "text", "text/plain"),
            ("b.txt", "text/plain", html, "text/html"),
            // A name alone does not turn text into active content.
            ("b.js", "", "alert(2)", "text/plain"),
            ("a.html", "", "letters", "text/plain"),
            ("b.svg", "", "letters too", "text/plain"),
            // A file with a signature has the type of its signature.
            ("a.pdf", "text/csv", "%PDF-1.4", "application/pdf"),
        ] {
            let payload = server.upload_as(ADMIN, json!({}), name, sent, text.as_bytes().to_vec()).await;
            assert_eq!(payload["file"]["mimeType"], mime_type, "{name} {sent}: {payload:#}");
        }
        let wide: Vec<u8> = "\u{feff}a;b\n1;2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let payload = server.upload_as(ADMIN, json!({}), "w.csv", "text/csv", wide).await;
        assert_eq!(payload["file"]["mimeType"], "text/csv");
        let old = server.upload_as(ADMIN, json!({}), "l.csv", "text/csv", b"stra\xdfe;1\n".to_vec()).await;
        assert_eq!(old["file"]["mimeType"], "text/csv");
        let none = server.upload_as(ADMIN, json!({}), "n.csv", "text/csv", vec![0, 1, 2, 3]).await;
        assert_eq!(none["file"]["mimeType"], "application/octet-stream");
    }

    /// A policy of `text/csv` accepts files declared as such, in every way to upload, and no others.
    async fn policies_for_text_types(database: Database) {
        let server = Server::start(database).await;
        policy(&server, |row| row.allowed_mime_types = Set(imagegraph::entity::StringList(vec!["text/csv".to_owned()]))).await;
        let csv = || b"a,b\n1,2\n".to_vec();
        for (name, sent, bytes, code) in [
            ("a.csv", "text/csv", csv(), Value::Null),
            ("b.csv", "", csv(), Value::Null),
            ("c.txt", "text/plain", csv(), json!("UNSUPPORTED_MIME_TYPE")),
            ("d.csv", "text/csv", png(1), json!("UNSUPPORTED_MIME_TYPE")),
            ("e.csv", "text/csv", vec![0, 1, 2, 3], json!("UNSUPPORTED_MIME_TYPE")),
        ] {
            let payload = server.upload_as(ADMIN, json!({}), name, sent, bytes).await;
            assert_eq!(payload["userErrors"][0]["code"], code, "{name} {payload:#}");
        }
        let (status, file) = put(&server, "f.csv", "text/csv; charset=utf-8", csv()).await;
        assert_eq!((status, &file["mimeType"]), (200, &json!("text/csv")));
        let file = imported(&server, "g.csv", "text/csv", csv()).await;
        assert_eq!((&file["status"], &file["mimeType"]), (&json!("READY"), &json!("text/csv")), "{file:#}");
        let file = imported(&server, "h.csv", "application/octet-stream", csv()).await;
        assert_eq!((&file["status"], &file["mimeType"]), (&json!("READY"), &json!("text/csv")), "{file:#}");
    }

    /// Images of unsupported types are plain files with their own type, in every way to upload.
    async fn unsupported_images_are_plain_files(database: Database) {
        let server = Server::start(database).await;
        for (name, sent, bytes) in others() {
            let payload = server.upload_as(ADMIN, json!({}), name, sent, bytes.clone()).await;
            assert_eq!(payload["userErrors"], json!([]), "{name} {payload:#}");
            let file = &payload["file"];
            if name == "a.jpg" {
                assert_eq!((&file["mimeType"], &file["imageStatus"]), (&json!("image/jpeg"), &json!("READY")));
                continue;
            }
            assert_eq!((&file["imageStatus"], &file["image"]), (&json!("NOT_APPLICABLE"), &Value::Null), "{name}");
            let told = file["mimeType"].as_str().unwrap();
            assert!(told == sent || name == "a.cur" && told == "image/x-win-bitmap", "{name}: {told}");
            let (status, put) = put(&server, name, sent, bytes.clone()).await;
            assert_eq!((status, &put["mimeType"]), (200, &file["mimeType"]), "{name} {put:#}");
            let imported = imported(&server, name, sent, bytes).await;
            assert_eq!((&imported["status"], &imported["mimeType"]), (&json!("READY"), &file["mimeType"]), "{name}");
        }
        let found = server.query(FOUND, json!({ "types": ["image/x-targa"] })).await;
        assert_eq!(found["files"]["nodes"].as_array().unwrap().len(), 6, "{found:#}");
    }

    /// A declared type is refused only if the content is known to be of another one.
    async fn a_mismatch_needs_another_type(database: Database) {
        let server = Server::start(database).await;
        for (sent, bytes, code) in [
            ("image/png", b"just text".to_vec(), json!("MIME_TYPE_MISMATCH")),
            ("image/png", b"<html>Not found</html>".to_vec(), json!("MIME_TYPE_MISMATCH")),
            ("image/x-tga", b"%PDF-1.4\n1 0 obj".to_vec(), Value::Null),
            ("image/png", b"%PDF-1.4\n1 0 obj".to_vec(), json!("MIME_TYPE_MISMATCH")),
            ("image/svg+xml", b"<?xml version=\"1.0\"?><a/>".to_vec(), json!("MIME_TYPE_MISMATCH")),
            ("image/x-eps", b"%!PS-Adobe-3.0 EPSF-3.0\n".to_vec(), Value::Null),
            ("image/png", vec![0x80, 0, 1, 2, 3, 0xff], Value::Null),
            ("text/plain", png(1), Value::Null),
            ("image/gif", png(2), Value::Null),
        ] {
            let payload = server.upload_as(ADMIN, json!({}), "a", sent, bytes).await;
            assert_eq!(payload["userErrors"][0]["code"], code, "{sent} {payload:#}");
        }
    }

    /// Varieties of image formats that nothing shows are refused by name, and accepted as plain files.
    async fn unsupported_varieties_are_named(database: Database) {
        let server = Server::start(database).await;
        for (bytes, name) in [
            (cgbi(), "CgBI"),
            (jpeg(0xf7, 8), "JPEG-LS"),
            (jpeg(0xc3, 8), "lossless JPEG"),
            (jpeg(0xc5, 8), "hierarchical JPEG"),
            (jpeg(0xc1, 12), "more than 8 bits"),
        ] {
            let payload = server.upload("a", bytes.clone()).await;
            let problem = &payload["userErrors"][0];
            assert_eq!((&problem["code"], &payload["file"]), (&json!("UNSUPPORTED_MIME_TYPE"), &Value::Null), "{name}");
            let message = problem["message"].as_str().unwrap();
            assert!(message.contains(name) && message.contains("image.provision"), "{message}");
            let input = json!({ "image": { "provision": false } });
            let file = server.upload_as(ADMIN, input, "a", "", bytes).await["file"].clone();
            assert_eq!((&file["status"], &file["imageStatus"]), (&json!("READY"), &json!("NOT_APPLICABLE")), "{name}");
            let provision = "mutation($id: ID!) { provisionImage(input: { fileId: $id }) { userErrors { code message } } }";
            let refused = server.query(provision, json!({ "id": file["id"] })).await;
            assert_ne!(refused["provisionImage"]["userErrors"], json!([]), "{name}");
        }
    }
}

/// Files whose headers do not match their signature have no size.
#[tokio::test]
async fn invalid_headers_have_no_size() {
    let server = Server::start(Database::Sqlite).await;
    let webp = |chunk: &[u8; 4]| [b"RIFF\x40\0\0\0WEBP", &chunk[..], &[0x20, 0, 0, 0], &[7; 48]].concat();
    let mut chunk_first = png(1);
    chunk_first.splice(8..8, [0, 0, 0, 1, b't', b'E', b'X', b't', 0, 1, 2, 3, 4]);
    let mut in_text_mode = png(1);
    in_text_mode.remove(4);
    for (what, bytes) in [
        ("WebP of an unknown chunk", webp(b"ABCX")),
        ("WebP of a chunk that ends like VP8L", webp(b"ABCL")),
        ("lossy WebP without its start code", webp(b"VP8 ")),
        ("lossless WebP without its signature", webp(b"VP8L")),
        ("PNG with another chunk first", chunk_first),
        ("PNG that lost its line ends", in_text_mode),
    ] {
        let payload = server.upload("a", bytes).await;
        assert_eq!(payload["userErrors"][0]["code"], "CORRUPT_IMAGE", "{what}: {payload:#}");
    }
}

/// The account refuses them with the same description.
#[tokio::test]
async fn the_account_refuses_the_same_varieties() {
    use cloudflare_images::client::{Body, NewImage, Upload};
    let server = Server::start(Database::Sqlite).await;
    for (bytes, said) in [
        (cgbi(), "CgBI"),
        (jpeg(0xc3, 8), "lossless JPEG"),
        (others().swap_remove(0).2, "Uploaded image must have"),
        (brand(b"avif", &[b"mif1"]), "Uploaded image must have"),
    ] {
        let upload = Upload {
            filename: "a".to_owned(),
            content_type: "image/png".to_owned(),
            length: bytes.len() as u64,
            stream: Box::pin(futures_util::stream::iter([Ok(bytes.into())])),
        };
        let refused = server.running.app.cloudflare.create(NewImage::default(), Body::Upload(upload)).await;
        let refused = format!("{:?}", refused.unwrap_err());
        assert!(refused.contains(said), "{refused}");
    }
}

/// A declared type is used in the header of a download only if it is a valid type, and active content is never shown.
#[tokio::test]
async fn declared_types_are_validated_in_downloads() {
    let server = Server::start(Database::Sqlite).await;
    for (sent, bytes, content_type) in [
        ("text/html", &b"plain letters"[..], "text/html"),
        (
            "application/xhtml+xml",
            b"<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\"/>",
            "application/xhtml+xml",
        ),
        ("text/javascript", b"alert(1)", "text/javascript"),
        ("image/x-made-up", &[0x80, 0, 1, 2], "image/x-made-up"),
        ("text/csv; a=\"b\"", b"a,b", "text/csv"),
    ] {
        let payload = server.upload_as(ADMIN, json!({}), "a", sent, bytes.to_vec()).await;
        let url = server
            .query(
                "query($id: ID!) { file(id: $id) { downloadUrl } }",
                json!({ "id": payload["file"]["id"] }),
            )
            .await;
        let answer = server.http.get(url["file"]["downloadUrl"].as_str().unwrap()).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), content_type);
        assert!(header("content-disposition").starts_with("attachment;"), "{sent}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("content-security-policy"), "sandbox; default-src 'none'");
    }
}

/// Creates a direct upload with a type and PUTs its bytes.
async fn put(server: &Server, name: &str, mime_type: &str, bytes: Vec<u8>) -> (u16, Value) {
    let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { uploadUrl } userErrors { code message } } }";
    let input = json!({ "workspaceId": server.workspace, "filename": name, "mimeType": mime_type, "transport": "PUT" });
    let created = server.query(create, json!({ "input": input })).await["createDirectUpload"].clone();
    let url =
        created["directUpload"]["uploadUrl"].as_str().unwrap_or_else(|| panic!("{created:#}")).to_owned();
    let answer = server.http.put(url).body(bytes).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Serves bytes with a type, imports them and waits for the end.
async fn imported(server: &Server, name: &str, mime_type: &str, bytes: Vec<u8>) -> Value {
    let headers = [("content-type", mime_type.to_owned())];
    let router = Router::new().route(&format!("/{name}"), get(move || async move { (headers, bytes) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/{name}", listener.local_addr().unwrap());
    let source = tokio::spawn(async move { axum::serve(listener, router).await });
    let import = "mutation($input: ImportFileInput!) { importFile(input: $input) { file { id } userErrors { code } } }";
    let input = json!({ "workspaceId": server.workspace, "url": url });
    let id = server.query(import, json!({ "input": input })).await["importFile"]["file"]["id"].clone();
    let find = "query($id: ID!) { file(id: $id) { status mimeType imageStatus failure { code } } }";
    let file = eventually("the import is over", || async {
        let file = server.query(find, json!({ "id": id })).await["file"].clone();
        (file["status"] != "PROCESSING").then_some(file)
    })
    .await;
    source.abort();
    file
}
