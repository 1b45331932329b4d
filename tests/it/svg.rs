//! SVG drawings in every encoding of XML, with every prolog before the root tag, and their sizes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Database, Server};

/// A drawing whose text shows whether its characters were decoded.
fn drawing(encoding: &str, letters: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"{encoding}\"?><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"30\" \
         height=\"20\"><text>{letters}</text><script>alert(1)</script></svg>"
    )
}

fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let units = mark.encode_utf16().chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

/// Text in an encoding with one byte per character.
fn narrow(text: &str, letters: &[u8]) -> Vec<u8> {
    let (before, after) = text.split_once("LETTERS").unwrap();
    [before.as_bytes(), letters, after.as_bytes()].concat()
}

/// Asserts that a drawing becomes an image of this size, and is delivered in UTF-8, sanitised, with these characters.
async fn assert_shown(server: &Server, what: &str, bytes: Vec<u8>, size: (u32, u32), letters: &str) {
    let file = server.file(&format!("{what}.svg"), bytes).await;
    assert_eq!(
        (&file["mimeType"], &file["imageStatus"]),
        (&json!("image/svg+xml"), &json!("READY")),
        "{what}: {file:#}"
    );
    let image = &file["image"];
    assert_eq!((&image["width"], &image["height"]), (&json!(size.0), &json!(size.1)), "{what}");
    let delivered = server.http.get(image["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(
        (delivered.status().as_u16(), &delivered.headers()["content-type"]),
        (200, &"image/svg+xml".parse().unwrap())
    );
    let text = String::from_utf8(delivered.bytes().await.unwrap().to_vec()).unwrap();
    assert!(text.contains(letters) && !text.contains("alert"), "{what}: {text}");
    assert!(text.contains("xmlns=\"http://www.w3.org/2000/svg\""), "{what}: {text}");
    assert!(!text.contains("UTF-16") && !text.contains("8859") && !text.contains("1252"), "{what}: {text}");
}

both! {
    /// UTF-8 and UTF-16 with and without a byte order mark, and the encodings of older programs.
    async fn every_encoding_is_read(database: Database) {
        let server = Server::start(database).await;
        let (wide, letters) = (drawing("UTF-16", "Grüße, мир 😀"), "Grüße, мир 😀");
        let undeclared = wide.replace(" encoding=\"UTF-16\"", "");
        let marked = format!("\u{feff}{}", drawing("UTF-8", letters));
        for (what, bytes, letters) in [
            ("UTF-16LE", utf16(&wide, false, true), letters),
            ("UTF-16BE", utf16(&wide, true, true), letters),
            ("UTF-16LE without a mark", utf16(&wide, false, false), letters),
            ("UTF-16BE without a mark", utf16(&wide, true, false), letters),
            ("UTF-16 without a declaration", utf16(&undeclared, false, true), letters),
            ("UTF-8 with a mark", marked.into_bytes(), letters),
            ("UTF-8 in capitals", drawing("UTF8", letters).into_bytes(), letters),
            ("UTF-8 that says UTF-16", wide.into_bytes(), letters),
            ("ISO-8859-1", narrow(&drawing("ISO-8859-1", "LETTERS"), b"Gr\xfc\xdfe"), "Grüße"),
            ("ISO-8859-5", narrow(&drawing("iso-8859-5", "LETTERS"), b"\xdc\xd8\xe0"), "мир"),
            ("windows-1252", narrow(&drawing("windows-1252", "LETTERS"), b"\x80 5"), "€ 5"),
            ("Shift_JIS", narrow(&drawing("Shift_JIS", "LETTERS"), b"\x93\xfa"), "日"),
            ("declared in single quotes", narrow(&drawing("LATIN1", "LETTERS").replacen('"', "'", 4), b"\xfc"), "ü"),
        ] {
            assert_shown(&server, what, bytes, (30, 20), letters).await;
        }
    }

    /// Comments, processing instructions and a document type, up to the limit on their length.
    async fn every_prolog_is_read(database: Database) {
        let server = Server::start(database).await;
        let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"30\" height=\"20\"><text>here</text></svg>";
        let comment = format!("<!-- {} -->", "<svg> > ]]> long ".repeat(6_000));
        let named = "<svg:svg xmlns:svg=\"http://www.w3.org/2000/svg\" width=\"30\" height=\"20\"><svg:text>here</svg:text></svg:svg>";
        let subset = "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"http://www.w3.org/x.dtd\" [\n<!-- > ]> -->\n\
            <!ENTITY ns \"http://www.w3.org/2000/svg\">\n<!ENTITY wide \"30\">\n<!ATTLIST svg a CDATA #IMPLIED>\n]>";
        let by_entity = "<svg xmlns=\"&ns;\" width=\"&wide;\" height=\"20\"><text>here</text></svg>";
        for (what, text) in [
            ("a long comment", format!("{comment}{svg}")),
            ("comments of many lines", format!("<?xml version=\"1.0\"?>\n{}{svg}", "<!-- one -->\n".repeat(5_000))),
            ("instructions", format!("<?xml version=\"1.0\"?><?xml-stylesheet href=\"a.css\"?>{svg}")),
            ("a document type", format!("<!DOCTYPE svg>{svg}")),
            ("entities", format!("<?xml version=\"1.0\"?>{subset}{by_entity}")),
            ("entities and a comment", format!("{subset}{comment}{by_entity}")),
            ("white space first", format!("\n\n  <?xml version=\"1.0\"?>{svg}")),
            ("a named namespace", named.to_owned()),
        ] {
            assert_shown(&server, what, text.into_bytes(), (30, 20), "here").await;
        }
        let wide = utf16(&format!("{subset}{comment}{by_entity}"), false, true);
        assert_shown(&server, "all of it in UTF-16", wide, (30, 20), "here").await;
    }

    /// Sizes in every unit; a missing one follows from the ratio of `viewBox`.
    async fn sizes_are_those_of_browsers(database: Database) {
        let server = Server::start(database).await;
        for (attributes, size) in [
            ("width='200' viewBox='0 0 100 50'", Some((200, 100))),
            ("height='200' viewBox='0 0 100 50'", Some((400, 200))),
            ("width='10cm' height='50mm'", Some((378, 189))),
            ("width='2in' height='72pt'", Some((192, 96))),
            ("width='100%' height='100%' viewBox='0,0,100,50'", Some((100, 50))),
            ("style='width:40px;height:3em' width='1' height='1'", Some((40, 48))),
            ("width='200'", None),
            ("width='0' height='20'", None),
        ] {
            let svg = format!("<svg xmlns='http://www.w3.org/2000/svg' {attributes}><rect width='1' height='1'/></svg>");
            let file = server.file("a.svg", svg.into_bytes()).await;
            assert_eq!(file["imageStatus"], "READY", "{attributes}: {file:#}");
            let (width, height) = size.unzip();
            let image = &file["image"];
            assert_eq!((&image["width"], &image["height"]), (&json!(width), &json!(height)), "{attributes}");
        }
    }
}

/// Other files are not taken for drawings, and a malformed drawing is refused as such.
#[tokio::test]
async fn files_that_are_not_drawings() {
    let server = Server::start(Database::Sqlite).await;
    for (what, bytes, mime_type) in [
        (
            "a drawing inside",
            b"<page><svg xmlns='http://www.w3.org/2000/svg'/></page>".to_vec(),
            "text/plain",
        ),
        (
            "of another namespace",
            b"<?xml version='1.0'?><svg xmlns='http://example.org/'/>".to_vec(),
            "text/xml",
        ),
        ("in a comment", b"<!-- <svg/> --><page/>".to_vec(), "text/html"),
        ("a page", b"<!DOCTYPE html><html lang=en><svg></svg></html>".to_vec(), "text/html"),
        ("a page in UTF-16", utf16("<!DOCTYPE html><html><svg></svg></html>", false, true), "text/html"),
    ] {
        let file = server.file(what, bytes).await;
        assert_eq!(
            (&file["mimeType"], &file["imageStatus"]),
            (&json!(mime_type), &json!("NOT_APPLICABLE")),
            "{what}"
        );
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    gzip.extend([0x4b, 0x04, 0]);
    let payload = server.upload_as(crate::harness::ADMIN, json!({}), "a.svgz", "image/svg+xml", gzip).await;
    assert_eq!(payload["file"]["mimeType"], "application/gzip", "{payload:#}");
    for (what, text) in [
        ("an attribute without quotes", "<svg xmlns='http://www.w3.org/2000/svg' width=1/>"),
        ("an unknown prefix", "<a:svg width='1' height='1'/>"),
        ("an unknown entity", "<svg xmlns='http://www.w3.org/2000/svg' width='&w;'/>"),
        ("cut off", "<svg xmlns='http://www.w3.org/2000/svg' width='1"),
    ] {
        let payload = server.upload(what, text.as_bytes().to_vec()).await;
        assert_eq!(payload["userErrors"][0]["code"], "CORRUPT_IMAGE", "{what}: {payload:#}");
    }
}

/// Entities before the root tag that would expand to a thousand million characters are not expanded.
#[tokio::test]
async fn entities_are_not_expanded() {
    let server = Server::start(Database::Sqlite).await;
    let mut bomb = "<!DOCTYPE svg [<!ENTITY a0 \"1111111111\">".to_owned();
    for level in 1..12 {
        let inner = format!("&a{};", level - 1).repeat(10);
        bomb.push_str(&format!("<!ENTITY a{level} \"{inner}\">"));
    }
    bomb.push_str("]><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"&a11;\" height=\"1\"/>");
    let parameters = "<!DOCTYPE svg [<!ENTITY % a '&#37;b;'><!ENTITY % b '&#37;a;'>%a;]><svg xmlns='http://www.w3.org/2000/svg'/>";
    let deep = format!("<!DOCTYPE svg [{}", "<!ELEMENT svg (".repeat(100_000));
    let begun = Instant::now();
    for bytes in [bomb.clone().into_bytes(), utf16(&bomb, false, true), parameters.into(), deep.into()] {
        let payload = server.upload("bomb.svg", bytes).await;
        assert_eq!(payload["file"]["image"]["width"], Value::Null, "{payload:#}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
