//! Compressed answers: which are, as `Accept-Encoding` asks, and which never.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use futures_util::StreamExt;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RANGE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::png;

/// What browsers send.
const BROWSER: &str = "gzip, deflate, br, zstd";
const PAGE: &str = "{ images { nodes { id width height size url createdAt file { id filename sha256 } } } }";

/// The value of a header; all lines of it, joined.
pub(crate) fn text(answer: &Response, name: &str) -> String {
    let lines = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
    lines.collect::<Vec<_>>().join(", ")
}

/// Sends a request with this `Accept-Encoding`; returns status, `Content-Encoding` and the decoded body.
async fn ask(request: RequestBuilder, accepted: &str) -> (u16, String, Vec<u8>) {
    let answer = request.header(ACCEPT_ENCODING, accepted).send().await.unwrap();
    let (status, coding) = (answer.status().as_u16(), text(&answer, "content-encoding"));
    let bytes = answer.bytes().await.unwrap();
    let mut decoded = Vec::new();
    match coding.as_str() {
        "" => decoded.extend(bytes),
        "br" => drop(BrotliDecoder::new(&bytes[..]).read_to_end(&mut decoded).await.unwrap()),
        "gzip" => drop(GzipDecoder::new(&bytes[..]).read_to_end(&mut decoded).await.unwrap()),
        "zstd" => drop(ZstdDecoder::new(&bytes[..]).read_to_end(&mut decoded).await.unwrap()),
        other => panic!("{other}"),
    }
    (status, coding, decoded)
}

fn post(server: &Server, query: &str) -> RequestBuilder {
    server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&json!({ "query": query }))
}

fn get(server: &Server, query: &str) -> RequestBuilder {
    server.http.get(format!("{}/graphql", server.url)).bearer_auth(ADMIN).query(&[("query", query)])
}

fn path(server: &Server, path: &str) -> RequestBuilder {
    server.http.get(format!("{}{path}", server.url)).bearer_auth(ADMIN)
}

/// A server with images enough for answers of several kilobytes.
async fn filled(database: Database) -> Server {
    let server = Server::start(database).await;
    for n in 0..12 {
        server.file("a picture.png", png(n)).await;
    }
    server
}

both! {
    /// JSON and text are compressed, and are the same once they are decoded.
    async fn answers_are_compressed_as_asked(database: Database) {
        let server = filled(database).await;
        let introspection = "{ __schema { types { name description fields { name description } } } }";
        let requests: [&dyn Fn() -> RequestBuilder; 7] = [
            &|| post(&server, PAGE),
            &|| get(&server, PAGE),
            &|| post(&server, PAGE).header(ACCEPT, "application/graphql-response+json"),
            &|| post(&server, introspection),
            &|| path(&server, "/api/images"),
            &|| path(&server, "/api/openapi.json"),
            &|| post(&server, &format!("{{ {} }}", "nothing ".repeat(30))),
        ];
        for request in requests {
            let (status, coding, plain) = ask(request(), "identity").await;
            assert_eq!(coding, "");
            assert!(plain.len() > 1024, "{}", String::from_utf8_lossy(&plain));
            for (accepted, coding) in [
                ("gzip", "gzip"),
                ("br", "br"),
                ("zstd", "zstd"),
                (BROWSER, "zstd"),
                ("gzip;q=0.8, br;q=0.9, zstd;q=0", "br"),
                ("gzip, identity;q=0", "gzip"),
                ("*", "zstd"),
                ("br;q=0, zstd;q=0, *;q=0.1", "gzip"),
                ("identity, gzip;q=0.5", ""),
                ("gzip;q=0", ""),
                ("deflate", ""),
                ("identity;q=0", ""),
                ("", ""),
            ] {
                let answer = ask(request(), accepted).await;
                assert_eq!((answer.0, answer.1.as_str()), (status, coding), "{accepted}");
                assert!(answer.2 == plain, "{accepted}: {}", String::from_utf8_lossy(&answer.2));
            }
            let answer = request().header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
            assert!(text(&answer, "vary").contains("accept-encoding"), "{}", text(&answer, "vary"));
            assert!(answer.bytes().await.unwrap().len() < plain.len() * 2 / 3);
        }
    }

    /// An answer that fits into a packet is left alone, unless the client refuses it so. A mutation is answered, and not
    /// with 406, whatever the client accepts.
    async fn small_answers_are_left_alone(database: Database) {
        let server = Server::start(database).await;
        for request in [post(&server, "{ server { version } }"), path(&server, "/api/images"), path(&server, "/healthz")] {
            let answer = request.try_clone().unwrap().header(ACCEPT_ENCODING, BROWSER).send().await.unwrap();
            assert_eq!((text(&answer, "content-encoding"), answer.status().as_u16()), (String::new(), 200));
            assert!(text(&answer, "vary").contains("accept-encoding"));
            assert!(answer.content_length().unwrap() > 0);
            let (status, coding, _) = ask(request, "gzip, identity;q=0").await;
            assert_eq!((status, coding.as_str()), (200, "gzip"));
        }
        let create = "mutation { createWorkspace(input: { name: \"made\" }) { workspace { name } userErrors { code } } }";
        let (status, coding, body) = ask(post(&server, create), "*;q=0").await;
        assert_eq!((status, coding.as_str()), (200, ""));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["data"]["createWorkspace"]["workspace"]["name"], "made", "{body}");
    }

    /// Files are sent as they are, text too: whole and in part, from this server and from the account.
    async fn files_are_never_compressed(database: Database) {
        let server = Server::start(database).await;
        let long = "{\"text\": \"repeated, repeated, repeated\"}\n".repeat(500).into_bytes();
        let mut urls = Vec::new();
        for name in ["a.txt", "a.json", "a.html", "a.bin"] {
            let file = server.file(name, long.clone()).await;
            let found = server.query("query($id: ID!) { file(id: $id) { downloadUrl } }", json!({ "id": file["id"] })).await;
            urls.push((found["file"]["downloadUrl"].as_str().unwrap().to_owned(), Some(&long)));
        }
        let image = server.file("a.png", png(1)).await;
        urls.push((image["image"]["url"].as_str().unwrap().to_owned(), None));
        for (url, bytes) in urls {
            let plain = server.http.get(&url).send().await.unwrap();
            let tag = text(&plain, "etag");
            for accepted in [BROWSER, "gzip, identity;q=0", "*"] {
                let answer = server.http.get(&url).header(ACCEPT_ENCODING, accepted).send().await.unwrap();
                assert_eq!((answer.status().as_u16(), text(&answer, "content-encoding").as_str()), (200, ""), "{url}");
                assert_eq!(text(&answer, "etag"), tag, "{url}");
                let length = answer.content_length().unwrap();
                let body = answer.bytes().await.unwrap();
                assert_eq!(body.len() as u64, length, "{url}");
                let Some(bytes) = bytes else { continue };
                assert_eq!(body, bytes[..], "{url}");
                let part = server.http.get(&url).header(ACCEPT_ENCODING, accepted).header(RANGE, "bytes=10-3999");
                let part = part.send().await.unwrap();
                assert_eq!((part.status().as_u16(), text(&part, "content-encoding").as_str()), (206, ""), "{url}");
                assert_eq!(part.bytes().await.unwrap(), bytes[10..4000], "{url}");
            }
        }
    }

    /// Events arrive when they happen, whatever the client accepts.
    async fn events_are_not_held_back(database: Database) {
        let server = Server::start(database).await;
        let query = format!("subscription {{ assetEvents(workspaceId: \"{}\") {{ kind }} }}", server.workspace);
        let request = post(&server, &query).header(ACCEPT, "text/event-stream").header(ACCEPT_ENCODING, BROWSER);
        let answer = request.send().await.unwrap();
        assert_eq!(text(&answer, CONTENT_TYPE.as_str()), "text/event-stream; charset=utf-8");
        assert_eq!(text(&answer, "content-encoding"), "");
        let (mut stream, mut received) = (answer.bytes_stream(), String::new());
        // The sign of life at the beginning: the subscription listens from then on.
        received += std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap();
        server.file("a.txt", b"text".to_vec()).await;
        while !received.contains("FILE_CREATED") {
            received += std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap();
        }
    }

    /// HEAD has the headers of GET, in every coding.
    async fn head_agrees_with_get(database: Database) {
        let server = filled(database).await;
        let query = format!("/graphql?{}", reqwest::Url::parse_with_params("http://a", [("query", PAGE)]).unwrap().query().unwrap());
        for url in [query.as_str(), "/api/images", "/api/openapi.json", "/", "/healthz", "/api/nothing"] {
            for accepted in ["identity", "gzip", BROWSER] {
                let url = format!("{}{url}", server.url);
                let ask = |method| server.http.request(method, &url).bearer_auth(ADMIN).header(ACCEPT_ENCODING, accepted).send();
                let (get, head) = (ask(Method::GET).await.unwrap(), ask(Method::HEAD).await.unwrap());
                assert_eq!(get.status(), head.status(), "{url}");
                for name in ["content-encoding", "content-length", "content-type", "vary", "etag", "cache-control"] {
                    assert_eq!(text(&get, name), text(&head, name), "{url} {accepted} {name}");
                }
                assert_eq!(head.bytes().await.unwrap().len(), 0, "{url}");
            }
        }
    }
}

/// The page without its bundle is compressed when it is sent; with it, files have been compressed when it was built.
#[tokio::test]
async fn the_page_is_compressed() {
    let server = Server::start(Database::Sqlite).await;
    let (status, _, page) = ask(path(&server, "/"), "identity").await;
    assert_eq!(status, 200);
    let page = String::from_utf8(page).unwrap();
    if !std::path::Path::new("web/dist/index.html").exists() {
        eprintln!("the files of the bundle were not tested: it is not built");
        for coding in ["br", "gzip", "zstd"] {
            let (_, sent, body) = ask(path(&server, "/"), coding).await;
            assert_eq!((sent.as_str(), body), (coding, page.clone().into_bytes()));
        }
        return;
    }
    let mut files = vec!["/licenses.md".to_owned()];
    for address in page.split('"').filter_map(|text| text.strip_prefix("./assets/")) {
        files.push(format!("/assets/{address}"));
    }
    assert!(files.len() > 3, "{files:?}");
    let (mut plain, mut compressed) = (0, 0);
    for file in &files {
        let (status, _, whole) = ask(path(&server, file), "identity").await;
        assert_eq!(status, 200, "{file}");
        for (accepted, coding) in
            [("gzip", "gzip"), (BROWSER, "br"), ("gzip;q=1, br;q=0.5", "gzip"), ("zstd", ""), ("br;q=0", "")]
        {
            let (status, sent, body) = ask(path(&server, file), accepted).await;
            // What is small is the same in every coding.
            assert!(sent == coding || sent.is_empty() && whole.len() < 1024, "{file} {accepted}: {sent}");
            assert!(status == 200 && body == whole, "{file} {accepted}");
        }
        let answer = path(&server, file).header(ACCEPT_ENCODING, BROWSER).send().await.unwrap();
        let tag = text(&answer, "etag");
        let cache = if file.contains("assets") { "public, max-age=31536000, immutable" } else { "no-cache" };
        assert_eq!(
            (text(&answer, "vary").as_str(), text(&answer, "cache-control").as_str()),
            ("accept-encoding", cache)
        );
        plain += whole.len();
        compressed += answer.bytes().await.unwrap().len();
        let again = path(&server, file).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!((again.status().as_u16(), text(&again, "etag")), (304, tag), "{file}");
        assert_eq!(path(&server, &format!("{file}.br")).send().await.unwrap().status(), 404);
    }
    assert!(compressed < plain / 2, "{compressed} of {plain}");
}
