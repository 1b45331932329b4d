//! `importFile`: fetching files from URLs, and the URLs that are refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use imagegraph::entity::workspace::ExifPolicy;
use sea_orm::ActiveValue::Set;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{Database, Server, eventually};
use crate::pictures::{photo, png};
use crate::upload_rules::policy;

const IMPORT: &str = "mutation($input: ImportFileInput!) { importFile(input: $input) { file { id status filename size } deduplicated userErrors { code field message } } }";
const FIND: &str = "query($id: ID!) { file(id: $id) { status filename mimeType size sha256 tags metadata failure { code message } imageStatus image { width requireSignedUrls } } }";

/// Starts an import; returns the payload.
async fn import(server: &Server, url: &str, more: Value) -> Value {
    let mut input = json!({ "workspaceId": server.workspace, "url": url });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    server.query(IMPORT, json!({ "input": input })).await["importFile"].clone()
}

/// Waits until a file has been fetched or has failed.
async fn finished(server: &Server, id: &Value) -> Value {
    eventually("the import is over", || async {
        let file = server.query(FIND, json!({ "id": id })).await["file"].clone();
        (file["status"] != "PROCESSING").then_some(file)
    })
    .await
}

/// Imports a file and waits for the end.
async fn imported(server: &Server, url: &str, more: Value) -> Value {
    let payload = import(server, url, more).await;
    assert_eq!(payload["userErrors"], json!([]), "{url} {payload:#}");
    assert_eq!(
        (&payload["file"]["status"], &payload["file"]["size"]),
        (&json!("PROCESSING"), &Value::Null),
        "{url}"
    );
    finished(server, &payload["file"]["id"]).await
}

/// A source of files on a loopback address.
struct Source {
    url: String,
    /// Number of requests for `/flaky` and `/busy`.
    asked: Arc<AtomicUsize>,
    /// Headers of the last request for `/photo.jpg`.
    headers: Arc<Mutex<HeaderMap>>,
    /// Notified when `/gated` is asked for.
    at_gate: Arc<Notify>,
    /// Opens it.
    gate: Arc<Notify>,
}

impl Source {
    async fn start() -> Source {
        let (asked, headers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(HeaderMap::new())));
        let (flaky, busy, seen) = (Arc::clone(&asked), Arc::clone(&asked), Arc::clone(&headers));
        let (at_gate, gate) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let (waiting, opened) = (Arc::clone(&at_gate), Arc::clone(&gate));
        let router = Router::new()
            .route(
                "/photo.jpg",
                get(move |headers: HeaderMap| async move {
                    *seen.lock().unwrap() = headers;
                    ([("content-type", "image/jpeg")], photo(1))
                }),
            )
            .route(
                "/named",
                get(|| async {
                    (
                        [(
                            "content-disposition",
                            "attachment; filename=\"../x.png\"; filename*=UTF-8''na%C3%AFve.png",
                        )],
                        png(1),
                    )
                }),
            )
            .route("/some%20name.txt", get(|| async { "text" }))
            .route("/lies.png", get(|| async { ([("content-type", "image/png")], "<html>Not found</html>") }))
            .route("/broken.png", get(|| async { b"\x89PNG\r\n\x1a\n broken".to_vec() }))
            .route("/empty", get(|| async { "" }))
            .route("/large", get(|| async { vec![b'x'; 5000] }))
            .route(
                "/large-unsaid",
                get(|| async {
                    Body::from_stream(futures_util::stream::iter(
                        (0..50).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 100]))),
                    ))
                }),
            )
            .route("/zipped", get(|| async { ([("content-encoding", "gzip")], "zipped") }))
            .route("/secret-404", get(|| async { (StatusCode::NOT_FOUND, "an inner secret") }))
            .route(
                "/flaky",
                get(move || async move {
                    match flaky.fetch_add(1, Ordering::SeqCst) {
                        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                        1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response(),
                        _ => "text at last".into_response(),
                    }
                }),
            )
            .route(
                "/busy",
                get(move || async move {
                    busy.fetch_add(1, Ordering::SeqCst);
                    (StatusCode::SERVICE_UNAVAILABLE, "an inner secret")
                }),
            )
            .route(
                "/gated",
                get(move || async move {
                    waiting.notify_one();
                    opened.notified().await;
                    photo(1)
                }),
            )
            .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(30)).await }))
            .route("/once", get(|| async { Redirect::temporary("/photo.jpg") }))
            .route("/around", get(|| async { Redirect::to("/around") }))
            .route("/nowhere", get(|| async { StatusCode::FOUND }))
            .route("/inward", get(|| async { Redirect::to("http://10.0.0.1/secret") }))
            .route("/mapped", get(|| async { Redirect::to("http://[::ffff:10.0.0.1]/secret") }))
            .route("/metadata", get(|| async { Redirect::to("http://169.254.169.254/latest/meta-data/") }))
            .route("/file", get(|| async { (StatusCode::FOUND, [("location", "file:///etc/passwd")]) }))
            .route("/loop-literal", get(|| async { Redirect::to("http://0.0.0.0:1/") }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Source { url, asked, headers, at_gate, gate }
    }
}

both! {
    /// A photo is fetched, described as requested and provisioned; no credentials of the server are sent to the
    /// source.
    async fn a_photo_is_fetched(database: Database) {
        let (server, source) = (Server::start(database).await, Source::start().await);
        let more = json!({ "tags": ["a"], "metadata": { "b": 1 }, "image": { "alt": "A photo", "requireSignedUrls": true } });
        let file = imported(&server, &format!("{}/photo.jpg?key=secret#part", source.url), more).await;
        assert_eq!((&file["status"], &file["filename"], &file["mimeType"]), (&json!("READY"), &json!("photo.jpg"), &json!("image/jpeg")), "{file:#}");
        assert_eq!((&file["tags"], &file["metadata"]), (&json!(["a"]), &json!({ "b": 1 })));
        let headers = source.headers.lock().unwrap().clone();
        assert!(headers.get("authorization").is_none() && headers.get("cookie").is_none() && headers.get("referer").is_none());
        // The file is ready when its bytes are stored, and its image a little later.
        let images = eventually("the image is provisioned", || async {
            let images = server.query("{ images { nodes { width requireSignedUrls file { filename } } } }", json!({})).await;
            (images["images"]["nodes"] != json!([])).then_some(images)
        })
        .await;
        assert_eq!(images["images"]["nodes"], json!([{ "width": 60, "requireSignedUrls": true, "file": { "filename": "photo.jpg" } }]));
        // The name is the requested one, else the source's, else that in the path.
        assert_eq!(imported(&server, &format!("{}/named", source.url), json!({})).await["filename"], "naïve.png");
        assert_eq!(imported(&server, &format!("{}/named", source.url), json!({ "filename": "chosen.png" })).await["filename"], "chosen.png");
        assert_eq!(imported(&server, &format!("{}/some%20name.txt", source.url), json!({})).await["filename"], "some name.txt");
        let redirected = imported(&server, &format!("{}/once", source.url), json!({})).await;
        assert_eq!((&redirected["status"], &redirected["mimeType"]), (&json!("READY"), &json!("image/jpeg")));
        // Three imports of the photo and two of the image are stored once each.
        assert_eq!(server.originals().len(), 3);
    }

    /// URLs of forbidden addresses are refused at once, in every notation of the address.
    async fn forbidden_sources_are_refused_at_once(database: Database) {
        let server = Server::start_with(database, |config| config.import_allow_loopback = false).await;
        for url in [
            "ftp://files.example/a", "file:///etc/passwd", "data:text/plain,a", "gopher://files.example/", "javascript:1",
            "http://user@files.example/a", "http://user:password@files.example/a", "http://:password@files.example/a",
            "http://127.0.0.1/", "https://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/",
            "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://017700000001/", "http://0/", "http://0.0.0.0/", "http://127.0.0.1:8080/",
            "http://%31%32%37.0.0.1/", "http://①②⑦.0.0.1/", "http://127。0。0。1/", "http://127.0.0.1./",
            "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/", "http://100.64.0.1/", "http://169.254.169.254/latest/", "http://168.63.129.16/machine", "http://[64:ff9b::a83f:8110]/",
            "http://0xa9fea9fe/", "http://2852039166/", "http://192.0.2.1/", "http://198.51.100.1/", "http://203.0.113.1/", "http://198.18.0.1/",
            "http://224.0.0.1/", "http://255.255.255.255/", "http://240.0.0.1/",
            "http://[::]/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/", "http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[2002:7f00:1::]/",
            "http://[2001:0:7f00:1::]/", "http://[fd00:ec2::254]/", "http://[fc00::1]/", "http://[fe80::1]/", "http://[ff02::1]/", "http://[2001:db8::1]/",
        ] {
            let payload = import(&server, url, json!({})).await;
            assert_eq!(payload["userErrors"][0]["code"], "SOURCE_FORBIDDEN", "{url} {payload:#}");
            assert_eq!(payload["userErrors"][0]["field"], json!(["input", "url"]), "{url}");
        }
        for (more, code, field) in [
            (json!({ "filename": "a/b" }), "INVALID_INPUT", "filename"),
            (json!({ "tags": [""] }), "INVALID_INPUT", "tags"),
            (json!({ "url": format!("http://files.example/{}", "x".repeat(4096)) }), "INVALID_INPUT", "url"),
            (json!({ "workspaceId": "wsp_00000000000000000000000000" }), "NOT_FOUND", "workspaceId"),
        ] {
            let payload = import(&server, "http://files.example/a", more).await;
            assert_eq!((&payload["userErrors"][0]["code"], &payload["userErrors"][0]["field"]), (&json!(code), &json!(["input", field])));
        }
        let files = server.query("{ files { totalCount } }", json!({})).await;
        assert_eq!(files["files"]["totalCount"], 0);
    }

    /// A host name or a redirect that leads to an internal address ends the import.
    async fn internal_addresses_are_refused_while_fetching(database: Database) {
        let source = Source::start().await;
        let server = Server::start_with(database, |config| config.import_allow_loopback = false).await;
        let port = source.url.rsplit(':').next().unwrap();
        for host in ["localhost", "LOCALHOST"] {
            let file = imported(&server, &format!("http://{host}:{port}/photo.jpg"), json!({})).await;
            assert_eq!((&file["status"], &file["failure"]["code"]), (&json!("FAILED"), &json!("SOURCE_FORBIDDEN")), "{host} {file:#}");
        }
        assert!(source.headers.lock().unwrap().is_empty(), "the internal address received no request");
        let server = Server::start(database).await;
        for path in ["inward", "mapped", "metadata", "file", "loop-literal"] {
            let file = imported(&server, &format!("{}/{path}", source.url), json!({})).await;
            assert_eq!((&file["status"], &file["failure"]["code"]), (&json!("FAILED"), &json!("SOURCE_FORBIDDEN")), "{path} {file:#}");
            assert_eq!((&file["mimeType"], &file["imageStatus"]), (&Value::Null, &json!("NOT_APPLICABLE")));
        }
        assert_eq!(server.originals().len(), 0);
    }

    /// Unusable responses fail with a reason that contains nothing of the response.
    async fn unusable_responses_fail_with_a_reason(database: Database) {
        let (server, source) = (Server::start(database).await, Source::start().await);
        policy(&server, |row| row.max_file_size = Set(Some(4000))).await;
        server.file("known.txt", b"text".to_vec()).await;
        for (path, more, code) in [
            ("secret-404", json!({}), "SOURCE_UNREACHABLE"),
            ("around", json!({}), "SOURCE_UNREACHABLE"),
            ("nowhere", json!({}), "SOURCE_UNREACHABLE"),
            ("zipped", json!({}), "SOURCE_UNREACHABLE"),
            ("large", json!({}), "FILE_TOO_LARGE"),
            ("large-unsaid", json!({}), "FILE_TOO_LARGE"),
            ("empty", json!({}), "EMPTY_FILE"),
            ("lies.png", json!({}), "MIME_TYPE_MISMATCH"),
            ("broken.png", json!({}), "CORRUPT_IMAGE"),
            ("some%20name.txt", json!({ "onDuplicate": "REJECT" }), "DUPLICATE_CONTENT"),
        ] {
            let file = imported(&server, &format!("{}/{path}", source.url), more).await;
            assert_eq!((&file["status"], &file["failure"]["code"]), (&json!("FAILED"), &json!(code)), "{path} {file:#}");
            assert!(!file["failure"]["message"].as_str().unwrap().contains("secret"));
        }
        let shared = imported(&server, &format!("{}/some%20name.txt", source.url), json!({ "onDuplicate": "REUSE" })).await;
        assert_eq!(shared["status"], "READY");
        policy(&server, |row| row.allowed_mime_types = Set(imagegraph::entity::StringList(vec!["image/*".to_owned()]))).await;
        let file = imported(&server, &format!("{}/some%20name.txt", source.url), json!({})).await;
        assert_eq!(file["failure"]["code"], "UNSUPPORTED_MIME_TYPE");
        assert_eq!(server.originals().len(), 1);
    }

    /// A policy that is changed while a file is fetched applies to it.
    async fn the_policy_is_that_of_the_end(database: Database) {
        let (server, source) = (Server::start(database).await, Source::start().await);
        import(&server, &format!("{}/gated", source.url), json!({})).await;
        source.at_gate.notified().await;
        policy(&server, |row| {
            row.private_by_default = Set(true);
            row.exif_policy = Set(ExifPolicy::StripAll);
        })
        .await;
        source.gate.notify_one();
        let images = eventually("the image is provisioned", || async {
            let images = server.query("{ images { nodes { requireSignedUrls photo { make } } } }", json!({})).await["images"]["nodes"].clone();
            (images != json!([])).then_some(images)
        })
        .await;
        assert_eq!(images[0]["requireSignedUrls"], true);
        assert!(images[0]["photo"].is_null() || images[0]["photo"]["make"].is_null(), "{images:#}");
    }

    /// A source that fails temporarily is asked again, a limited number of times.
    async fn temporary_failures_are_retried(database: Database) {
        let (server, source) = (Server::start_with(database, |config| config.import_timeout = Duration::from_secs(1)).await, Source::start().await);
        let patiently = async |path: &str| {
            let payload = import(&server, &format!("{}/{path}", source.url), json!({})).await;
            eventually("the import is over", || async {
                let file = server.query(FIND, json!({ "id": payload["file"]["id"] })).await["file"].clone();
                server.clock.advance(Duration::from_secs(1));
                (file["status"] != "PROCESSING").then_some(file)
            })
            .await
        };
        let file = patiently("flaky").await;
        assert_eq!((&file["status"], &file["size"], source.asked.load(Ordering::SeqCst)), (&json!("READY"), &json!(12), 3), "{file:#}");
        let file = patiently("busy").await;
        assert_eq!((&file["status"], &file["failure"]["code"], source.asked.load(Ordering::SeqCst)), (&json!("FAILED"), &json!("SOURCE_UNREACHABLE"), 7), "{file:#}");
        assert_eq!(file["failure"]["message"], "The source answers with the status 503.");
        let slow = patiently("slow").await;
        assert_eq!(slow["failure"]["code"], "SOURCE_UNREACHABLE", "{slow:#}");
    }

    /// A repeated import is one import; a deleted one stays deleted.
    async fn a_repeated_import_is_one_import(database: Database) {
        let (server, source) = (Server::start(database).await, Source::start().await);
        let url = format!("{}/photo.jpg", source.url);
        let answers = futures_util::future::join_all((0..6).map(|_| import(&server, &url, json!({ "idempotencyKey": "k" })))).await;
        for answer in &answers {
            assert_eq!((&answer["userErrors"], &answer["file"]["id"]), (&json!([]), &answers[0]["file"]["id"]));
        }
        let other = import(&server, &format!("{}/named", source.url), json!({ "idempotencyKey": "k" })).await;
        assert_eq!((&other["userErrors"][0]["code"], &other["userErrors"][0]["field"]), (&json!("CONFLICT"), &json!(["input", "idempotencyKey"])));
        assert_eq!(finished(&server, &answers[0]["file"]["id"]).await["status"], "READY");
        let slow = import(&server, &format!("{}/slow", source.url), json!({})).await;
        server.query("mutation($id: ID!) { deleteFile(input: { id: $id }) { success } }", json!({ "id": slow["file"]["id"] })).await;
        let files = server.query("{ files { totalCount } }", json!({})).await;
        assert_eq!(files["files"]["totalCount"], 1);
    }
}
