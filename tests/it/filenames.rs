//! Names of uploaded files, as clients write them into the headers of form parts and of downloads.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_DISPOSITION;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{ADMIN, Database, Server, UPLOAD, eventually};
use crate::pictures::png;

/// Header of a part, and the name of the resulting file.
fn named() -> Vec<(Vec<u8>, String)> {
    let long = "é".repeat(300);
    let flags = "🇩🇪".repeat(200);
    let accents = format!("a{}", "\u{301}".repeat(400));
    let named: Vec<(Vec<u8>, &str)> = vec![
        (b"filename=\"a.png\"".to_vec(), "a.png"),
        (b"filename=a.png".to_vec(), "a.png"),
        (b"filename=\"=?utf-8?B?w6kuanBn?=\"; filename*=utf-8''caf%C3%A9.jpg".to_vec(), "café.jpg"),
        (b"filename*=utf-8''caf%C3%A9.jpg; filename=x.jpg".to_vec(), "café.jpg"),
        (b"filename*=utf-8''caf%C3%A9.jpg".to_vec(), "café.jpg"),
        (b"filename*=ISO-8859-1'fr'caf%E9.jpg".to_vec(), "café.jpg"),
        (b"filename=x.jpg; filename*=utf-8''%ff".to_vec(), "x.jpg"),
        (b"filename=\"=?utf-8?B?Y2Fmw6kuanBn?=\"".to_vec(), "café.jpg"),
        (b"filename=\"=?iso-8859-1?Q?caf=E9?=.jpg\"".to_vec(), "café.jpg"),
        (b"note=\"x; filename=evil.exe \"; filename=\"a.png\"".to_vec(), "a.png"),
        (b"note=\"x; filename*=utf-8''evil.exe \"; filename=\"a.png\"".to_vec(), "a.png"),
        (b"note=\"x\\\"; filename=evil.exe \"; filename=\"a.png\"".to_vec(), "a.png"),
        (b"FileName=\"a.png\"".to_vec(), "a.png"),
        (b"filename = \"a b;c.png\" ; x=y".to_vec(), "a b;c.png"),
        (b"filename=\"%22a%22%0D%0A100%25.png\"".to_vec(), "\"a\"100%25.png"),
        (b"filename=\"a\\\"b.png\"".to_vec(), "a\"b.png"),
        (b"filename=\"C:\\Users\\me\\a.png\"".to_vec(), "a.png"),
        (b"filename=\"../../etc/passwd\"".to_vec(), "passwd"),
        ("filename=\"日本 é.png\"".as_bytes().to_vec(), "日本 é.png"),
        (b"filename=\"caf\xe9.png\"".to_vec(), "café.png"),
        ("filename=\"a\u{202e}gpj.exe\"".as_bytes().to_vec(), "agpj.exe"),
        ("filename=\"\u{2066}a\u{2069}\u{200b}.png\u{feff}\"".as_bytes().to_vec(), "a.png"),
        ("filename=\"👩\u{200d}🚀.png\"".as_bytes().to_vec(), "👩\u{200d}🚀.png"),
        (b"filename=\" .. \"".to_vec(), "upload"),
        (b"filename=\"\"".to_vec(), "upload"),
        (b"x=y".to_vec(), "upload"),
    ];
    let mut named: Vec<_> = named.into_iter().map(|(header, name)| (header, name.to_owned())).collect();
    for (sent, kept) in [
        (format!("{long}.jpg"), format!("{}.jpg", "é".repeat(251))),
        (format!("{flags}.jpeg"), format!("{}.jpeg", "🇩🇪".repeat(125))),
        (format!("{accents}.png"), format!("á{}.png", "\u{301}".repeat(250))),
        (format!("a.{long}"), format!("a.{}", "é".repeat(253))),
        (long, "é".repeat(255)),
    ] {
        named.push((format!("filename=\"{sent}\"").into_bytes(), kept));
    }
    named
}

/// Uploads one file with this header, byte for byte; returns status and body.
async fn send(server: &Server, header: &[u8], more: &str) -> (u16, Value) {
    let input = json!({ "workspaceId": server.workspace, "file": null, "image": { "provision": false } });
    let operations = json!({ "query": UPLOAD, "variables": { "input": input } });
    let mut body = format!("--b\r\ncontent-disposition: form-data; name=\"operations\"\r\n\r\n{operations}\r\n--b\r\ncontent-disposition: form-data; name=\"map\"\r\n\r\n{{\"0\":[\"variables.input.file\"]}}\r\n--b\r\ncontent-disposition: form-data; ").into_bytes();
    body.extend_from_slice(header);
    body.extend_from_slice(format!("\r\n{more}\r\n").as_bytes());
    body.extend_from_slice(&png(1));
    body.extend_from_slice(b"\r\n--b--\r\n");
    let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN);
    let answer =
        request.header("content-type", "multipart/form-data; boundary=b").body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

both! {
    /// The file gets the name that the client meant.
    async fn names_in_forms(database: Database) {
        let server = Server::start(database).await;
        for (header, name) in named() {
            let header = [b"name=\"0\"; ", &header[..]].concat();
            let (status, answer) = send(&server, &header, "").await;
            let shown = String::from_utf8_lossy(&header).into_owned();
            assert_eq!(status, 200, "{shown}: {answer:#}");
            assert_eq!(answer["data"]["uploadFile"]["file"]["filename"], name, "{shown}: {answer:#}");
        }
    }

    /// A form field is named by its `name` parameter, whatever else the header contains.
    async fn fields_are_named_by_their_parameter(database: Database) {
        let server = Server::start(database).await;
        for (header, status) in [
            (&b"note=\"x; name=1 \"; name=\"0\"; filename=\"a.png\""[..], 200),
            (b"filename=\"name=1; .png\"; NAME=0", 200),
            (b"xname=1; name=\"0\"; filename=\"a.png\"", 200),
            (b"note=\"x; name=0 \"; name=\"1\"; filename=\"a.png\"", 400),
            (b"note=\" name=0\"; filename=\"a.png\"", 400),
        ] {
            let (answered, answer) = send(&server, header, "").await;
            assert_eq!(answered, status, "{}: {answer:#}", String::from_utf8_lossy(header));
        }
    }

    /// A part whose headers transform its bytes (`Content-Transfer-Encoding`) is refused, not stored as it came.
    async fn transfer_encodings_are_refused(database: Database) {
        let server = Server::start(database).await;
        for (more, status) in [
            ("content-transfer-encoding: binary\r\n", 200),
            ("Content-Transfer-Encoding: 8BIT\r\n", 200),
            ("content-encoding: identity\r\n", 200),
            ("content-transfer-encoding: base64\r\n", 400),
            ("content-transfer-encoding: quoted-printable\r\n", 400),
            ("content-encoding: gzip\r\n", 400),
            ("content-range: bytes 0-9/100\r\n", 400),
        ] {
            let (answered, answer) = send(&server, b"name=\"0\"; filename=\"a.png\"", more).await;
            assert_eq!(answered, status, "{more}: {answer:#}");
        }
    }

    /// The `Content-Disposition` of an import's source is read in the same way.
    async fn names_of_imported_files(database: Database) {
        let server = Server::start(database).await;
        let import = "mutation($w: ID!, $url: URL!) { importFile(input: { workspaceId: $w, url: $url }) { file { id } userErrors { code message } } }";
        for (header, name) in [
            (&b"attachment; filename=\"=?utf-8?B?eA==?=\"; filename*=utf-8''caf%C3%A9.png"[..], "café.png"),
            (b"attachment; note=\"x; filename=evil.exe \"; filename=\"a.png\"", "a.png"),
            (b"attachment; filename=\"f\\oo.png\"", "foo.png"),
            (b"attachment; filename=\"caf\xe9.png\"", "café.png"),
            (b"attachment; note=\"; filename=evil.exe\"", "source.png"),
        ] {
            let value = HeaderValue::from_bytes(header).unwrap();
            let source = Router::new().route("/source.png", get(move || async move { ([(CONTENT_DISPOSITION, value)], png(1)) }));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/source.png", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, source).await });
            let imported = server.query(import, json!({ "w": server.workspace, "url": url })).await["importFile"].clone();
            let id = imported["file"]["id"].clone();
            let found = eventually("the file is imported", || async {
                let file = server.query("query($id: ID!) { file(id: $id) { status filename } }", json!({ "id": id })).await["file"].clone();
                (file["status"] != "PROCESSING").then_some(file)
            }).await;
            assert_eq!(found, json!({ "status": "READY", "filename": name }), "{imported:#}");
        }
    }

    /// A name given explicitly is refused if it contains characters that change the direction of text.
    async fn explicit_names(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.txt", b"text".to_vec()).await;
        let rename = "mutation($id: ID!, $name: String!) { updateFile(input: { id: $id, filename: $name }) { file { filename } userErrors { code field } } }";
        for name in ["a\u{202e}gpj.exe", "a\u{2028}b", "\u{2066}a"] {
            let refused = server.query(rename, json!({ "id": file["id"], "name": name })).await["updateFile"].clone();
            assert_eq!(refused["userErrors"], json!([{ "code": "INVALID_INPUT", "field": ["input", "filename"] }]), "{name:?}");
        }
        for name in ["שלום\u{200f}.txt", "👩\u{200d}🚀.txt", "Screenshot 10.00\u{202f}AM.png"] {
            let renamed = server.query(rename, json!({ "id": file["id"], "name": name })).await["updateFile"].clone();
            assert_eq!(renamed, json!({ "file": { "filename": name }, "userErrors": [] }));
        }
    }
}
