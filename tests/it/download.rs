//! `File.downloadUrl`: the original bytes, complete and in ranges, at a signed URL.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::png;
use crate::upload_rules::sha256;

const URL: &str = "query($id: ID!, $seconds: Int, $attachment: Boolean) { file(id: $id) { downloadUrl(expiresIn: $seconds, attachment: $attachment) } }";

async fn url(server: &Server, id: &Value) -> String {
    url_with(server, id, json!({})).await
}

async fn url_with(server: &Server, id: &Value, mut variables: Value) -> String {
    variables["id"] = id.clone();
    server.query(URL, variables).await["file"]["downloadUrl"].as_str().unwrap().to_owned()
}

async fn get(server: &Server, url: &str, headers: &[(&'static str, &str)]) -> Response {
    let mut request = server.http.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

both! {
    /// The bytes are served without a token, with headers that let a browser show them and run nothing.
    async fn downloads_the_original(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("naïve \"50%\".png", png(1)).await;
        let url = url(&server, &file["id"]).await;
        assert!(url.starts_with(&format!("{}/files/{}/na%C3%AFve%20", server.url, file["id"].as_str().unwrap())), "{url}");
        let answer = get(&server, &url, &[]).await;
        let headers = answer.headers().clone();
        assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap()), (200, png(1).into()));
        assert_eq!(text(&headers, "content-type"), "image/png");
        assert_eq!(text(&headers, "content-length"), png(1).len().to_string());
        assert_eq!(text(&headers, "etag"), format!("\"{}\"", sha256(&png(1))));
        assert_eq!(text(&headers, "accept-ranges"), "bytes");
        assert_eq!(text(&headers, "content-disposition"), "inline; filename=\"na_ve _50__.png\"; filename*=UTF-8''na%C3%AFve%20%2250%25%22.png");
        assert_eq!(text(&headers, "x-content-type-options"), "nosniff");
        assert_eq!(text(&headers, "content-security-policy"), "sandbox; default-src 'none'");
        assert_eq!(text(&headers, "cross-origin-resource-policy"), "cross-origin");
        let seconds: i64 = text(&headers, "cache-control").strip_prefix("private, max-age=").unwrap().parse().unwrap();
        assert!((1..=1800).contains(&seconds), "{seconds}");
        let head = server.http.head(&url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), text(head.headers(), "content-length")), (200, png(1).len().to_string()));
        assert_eq!(head.bytes().await.unwrap().len(), 0);
        // The URL is the same for everyone within a window, and different with another disposition.
        assert_eq!(self::url(&server, &file["id"]).await, url);
        let saved = get(&server, &url_with(&server, &file["id"], json!({ "attachment": true })).await, &[]).await;
        assert!(text(saved.headers(), "content-disposition").starts_with("attachment;"));
    }

    /// Range requests (RFC 9110).
    async fn ranges(database: Database) {
        let server = Server::start(database).await;
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let file = server.file("a.bin", bytes.clone()).await;
        let url = url(&server, &file["id"]).await;
        for (range, start, end) in [("bytes=0-0", 0, 1), ("bytes=70000-70999", 70_000, 71_000), ("bytes=99990-", 99_990, 100_000), ("bytes=-10", 99_990, 100_000), ("bytes=5-999999", 5, 100_000)] {
            let part = get(&server, &url, &[("range", range)]).await;
            assert_eq!(part.status(), 206, "{range}");
            assert_eq!(text(part.headers(), "content-range"), format!("bytes {start}-{}/100000", end - 1));
            assert_eq!(text(part.headers(), "content-length"), (end - start).to_string());
            assert_eq!(part.bytes().await.unwrap(), bytes[start..end], "{range}");
        }
        let beyond = get(&server, &url, &[("range", "bytes=100000-")]).await;
        assert_eq!((beyond.status().as_u16(), text(beyond.headers(), "content-range")), (416, "bytes */100000".to_owned()));
        let etag = format!("\"{}\"", sha256(&bytes));
        for (headers, status) in [
            (vec![("range", "bytes=0-9,20-29")], 200),
            (vec![("range", "lines=1-2")], 200),
            (vec![("range", "bytes=0-9"), ("if-range", etag.as_str())], 206),
            (vec![("range", "bytes=0-9"), ("if-range", "\"other\"")], 200),
            (vec![("range", "bytes=0-9"), ("if-range", "Wed, 25 Nov 2026 00:00:00 GMT")], 200),
            (vec![("if-none-match", etag.as_str())], 304),
            (vec![("if-none-match", "\"other\", W/\"x\"")], 200),
            (vec![("if-none-match", "*")], 304),
            (vec![("if-none-match", etag.as_str()), ("range", "bytes=0-9")], 304),
        ] {
            let answer = get(&server, &url, &headers).await;
            assert_eq!(answer.status(), status, "{headers:?}");
            assert_eq!(text(answer.headers(), "etag"), etag);
        }
    }

    /// Types that a browser may run are served as attachments, whatever the caller asks for.
    async fn active_content_is_an_attachment(database: Database) {
        let server = Server::start(database).await;
        for (name, bytes, content_type, inline) in [
            ("a.svg", &b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"><script>1</script></svg>"[..], "image/svg+xml", false),
            ("a.html", b"<!DOCTYPE html><html></html>", "text/html", false),
            ("a.xml", b"<?xml version=\"1.0\"?><a/>", "text/xml", false),
            ("a.pdf", b"%PDF-1.4", "application/pdf", false),
            ("a.zip", b"PK\x03\x04", "application/zip", false),
            ("a.js", b"alert(1)", "text/plain; charset=utf-8", true),
            ("a.mp3", b"ID3\x03\x00\x00\x00\x00\x00\x00", "audio/mpeg", true),
        ] {
            let file = server.file(name, bytes.to_vec()).await;
            let answer = get(&server, &url(&server, &file["id"]).await, &[]).await;
            assert_eq!(text(answer.headers(), "content-type"), content_type, "{name}");
            let disposition = text(answer.headers(), "content-disposition");
            assert!(disposition.starts_with(if inline { "inline;" } else { "attachment;" }), "{name}: {disposition}");
            assert_eq!(text(answer.headers(), "content-security-policy"), "sandbox; default-src 'none'");
            assert_eq!(text(answer.headers(), "x-content-type-options"), "nosniff");
        }
    }

    /// The URL is valid unmodified, until it expires, and while the file exists.
    async fn modified_expired_and_orphaned_urls_are_refused(database: Database) {
        let server = Server::start(database).await;
        let (file, other) = (server.file("a.txt", b"text".to_vec()).await, server.file("b.txt", b"other".to_vec()).await);
        let url = url(&server, &file["id"]).await;
        let (path, query) = url.split_once('?').unwrap();
        let expires: i64 = query.split('&').next().unwrap().replace("expires=", "").parse().unwrap();
        let (id, other) = (file["id"].as_str().unwrap(), other["id"].as_str().unwrap());
        let mut said = Vec::new();
        for forged in [
            path.to_owned(),
            format!("{url}&attachment=1"),
            format!("{url}x"),
            url.replace(&expires.to_string(), &(expires + 1).to_string()),
            url.replace(id, other),
            url.replace(id, "fil_00000000000000000000000000"),
            url.replace(id, "nonsense"),
        ] {
            let refused = get(&server, &forged, &[]).await;
            assert_eq!((refused.status().as_u16(), text(refused.headers(), "cache-control")), (403, "no-store".to_owned()), "{forged}");
            said.push(refused.json::<Value>().await.unwrap()["error"]["code"].clone());
        }
        assert!(said.iter().all(|code| *code == "FORBIDDEN"));
        assert_eq!(server.http.post(&url).send().await.unwrap().status(), 405);
        for (seconds, code) in [(59, "BAD_USER_INPUT"), (86_401, "BAD_USER_INPUT")] {
            assert_eq!(server.refusal(ADMIN, URL, json!({ "id": id, "seconds": seconds })).await, code);
        }
        let long = url_with(&server, &file["id"], json!({ "seconds": 86_400 })).await;
        server.clock.advance(Duration::from_secs(1801));
        let late = get(&server, &url, &[]).await;
        assert_eq!((late.status().as_u16(), late.json::<Value>().await.unwrap()["error"]["code"].clone()), (410, json!("URL_EXPIRED")));
        assert_eq!(get(&server, &long, &[]).await.status(), 200);
        server.query("mutation($id: ID!) { deleteFile(input: { id: $id }) { success } }", json!({ "id": id })).await;
        let gone = get(&server, &long, &[]).await;
        assert_eq!((gone.status().as_u16(), gone.json::<Value>().await.unwrap()["error"]["code"].clone()), (404, json!("NOT_FOUND")));
    }

    /// A file without bytes or in the trash has no URL, and a token without the scope to read files gets none.
    async fn files_without_a_url(database: Database) {
        use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait};
        let server = Server::start(database).await;
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a\", mimeType: \"text/plain\" }) { file { downloadUrl } userErrors { code } } }";
        let created = server.query(create, json!({ "w": server.workspace })).await;
        assert_eq!(created["createDirectUpload"], json!({ "file": { "downloadUrl": null }, "userErrors": [] }));
        let file = server.file("a.txt", b"text".to_vec()).await;
        let url = url(&server, &file["id"]).await;
        let db = &server.running.app.db.write;
        let id: imagegraph::id::FileId = file["id"].as_str().unwrap().parse().unwrap();
        let row = imagegraph::entity::file::Entity::find_by_id(id).one(db).await.unwrap().unwrap();
        let mut row: imagegraph::entity::file::ActiveModel = row.into();
        row.deleted_at = Set(Some(server.clock.now()));
        row.update(db).await.unwrap();
        let found = server.query(URL, json!({ "id": file["id"] })).await;
        assert_eq!(found["file"]["downloadUrl"], Value::Null);
        assert_eq!(get(&server, &url, &[]).await.status(), 404);
        let writer = server.token_with("w@example.org", Some((&server.workspace, imagegraph::entity::membership::Role::Editor)), vec![imagegraph::entity::api_token::Scope::UploadsCreate], None).await;
        let create = create.replace("downloadUrl", "id downloadUrl");
        let answer = server.ask(&writer, &create, json!({ "w": server.workspace })).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{answer:#}");
    }
}
