//! The client against a server that follows a script of faults: each connection gets the next step.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use cloudflare_images::client::{
    Body, Client, Credentials, DeleteOutcome, Error, ListQuery, MetaFilter, MetaTest, NewDirectUpload,
    NewImage, Settings, SortOrder, Upload,
};
use cloudflare_images::wire;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use url::Url;

use crate::harness::install_tls;

/// What the server does with one connection.
#[derive(Clone)]
enum Step {
    /// Reads the request, and responds with this head and body.
    Reply(String, String),
    /// Reads the request, and responds with this head and half of the body.
    Half(String, String),
    /// Reads the request, and does not respond.
    Hang,
    /// Reads the request, and closes the connection.
    Close,
    /// Reads the head of the request, and closes the connection.
    CloseEarly,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8";
const PNG: &str = "HTTP/1.1 200 OK\r\ncontent-type: image/png";
const IMAGE: &str = r#"{"id":"a/b","filename":"x.png","uploaded":"2022-01-31T16:39:28.458Z",
    "requireSignedURLs":false,"variants":[],"newField":1}"#;

fn reply(head: &str, body: impl Into<String>) -> Step {
    Step::Reply(head.to_owned(), body.into())
}

/// A response with this status and these headers, without a body.
fn status(head: &str) -> Step {
    reply(&format!("HTTP/1.1 {head}"), "")
}

fn ok(result: &str) -> Step {
    let body =
        format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[],"result_info":null}}"#);
    reply(OK, body)
}

fn image() -> Step {
    ok(IMAGE)
}

fn token(name: &str) -> Step {
    ok(&format!(r#"{{"token":"{name}","expiresAt":"2099-01-01T00:00:00.123456789Z"}}"#))
}

fn fail(status: u16, code: u32) -> Step {
    let errors = format!(r#"[{{"code":{code},"message":"the message"}}]"#);
    let body = format!(r#"{{"result":null,"success":false,"errors":{errors},"messages":[]}}"#);
    reply(&format!("HTTP/1.1 {status} x"), body)
}

/// A server that follows a script, and the requests that it received.
struct Scripted {
    url: Url,
    requests: Arc<Mutex<Vec<String>>>,
}

async fn serve(steps: Vec<Step>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = requests.clone();
    tokio::spawn(async move {
        let mut steps = steps.into_iter();
        while let Ok((socket, _)) = listener.accept().await {
            let step = steps.next().unwrap_or_else(|| reply("HTTP/1.1 500 x", "out of script"));
            tokio::spawn(follow(step, socket, log.clone()));
        }
    });
    Scripted { url, requests }
}

async fn follow(step: Step, mut socket: TcpStream, log: Arc<Mutex<Vec<String>>>) {
    let request = read(&mut socket, matches!(step, Step::CloseEarly)).await;
    log.lock().unwrap().push(request);
    match step {
        Step::Reply(head, body) => answer(&mut socket, &head, body.len(), &body).await,
        Step::Half(head, body) => answer(&mut socket, &head, body.len(), &body[..body.len() / 2]).await,
        Step::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
        Step::Close | Step::CloseEarly => {}
    }
}

/// Reads a request to the end of its head or of its body.
async fn read(socket: &mut TcpStream, head_only: bool) -> String {
    let mut got = Vec::new();
    loop {
        let open = socket.read_buf(&mut got).await.is_ok_and(|count| count > 0);
        let text = String::from_utf8_lossy(&got).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            if open {
                continue;
            }
            return text;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
        if head_only || !open || got.len() >= head.len() + 4 + length {
            return text;
        }
    }
}

async fn answer(socket: &mut TcpStream, head: &str, length: usize, body: &str) {
    let text = format!("{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // The client may close the connection early.
    let _ = socket.write_all(text.as_bytes()).await;
}

impl Scripted {
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn settings(&self) -> Settings {
        install_tls();
        let at = |path: &str| self.url.join(path).unwrap();
        Settings {
            account_id: "acc".to_owned(),
            credentials: Credentials::Token("hunter2".to_owned().into()),
            api: at("/client/v4/"),
            batch: at("/batch"),
            delivery: at("/imagedelivery"),
            upload: at("/upload"),
            user_agent: Settings::USER_AGENT.to_owned(),
            attempt_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(20),
            rate: Some(Settings::CLOUDFLARE_RATE),
            batch_rate: None,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.settings()).unwrap()
    }

    /// A client with a short timeout.
    fn impatient(&self) -> Client {
        Client::new(Settings { attempt_timeout: Duration::from_millis(700), ..self.settings() }).unwrap()
    }
}

fn file(chunks: Vec<std::io::Result<Bytes>>, length: u64) -> Upload {
    let stream = stream::iter(chunks).boxed();
    Upload { filename: "sü\"ß\r\n.png".to_owned(), content_type: "image/png".to_owned(), length, stream }
}

fn png() -> Upload {
    file(vec![Ok(Bytes::from_static(b"PNG")), Ok(Bytes::from_static(b"DATA"))], 7)
}

async fn create(client: &Client) -> Result<wire::Image, Error> {
    client.create(NewImage::default(), Body::Upload(png())).await
}

/// A read is retried after a 5xx, a closed connection and a timeout. The id is one segment of the path.
#[tokio::test]
async fn find_encodes_the_id_and_is_retried() {
    let server = serve(vec![status("500 x"), Step::Close, Step::Hang, image()]).await;
    let found = server.impatient().find("a/b %ü?").await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.filename.as_deref()), ("a/b", Some("x.png")));
    assert_eq!(found.uploaded.unwrap().timestamp_millis(), 1_643_647_168_458);
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    let line = "GET /client/v4/accounts/acc/images/v1/a%2Fb%20%25%C3%BC%3F HTTP/1.1\r\n";
    for request in requests {
        assert!(request.starts_with(line), "{request}");
        assert!(request.contains("\r\nauthorization: Bearer hunter2\r\n"), "{request}");
        assert!(request.contains("\r\naccept: application/json\r\n"), "{request}");
    }
}

#[tokio::test]
async fn a_read_is_retried_after_half_a_response() {
    let Step::Reply(head, body) = image() else { unreachable!() };
    let server = serve(vec![Step::Half(head, body), image()]).await;
    assert_eq!(server.client().find("x").await.unwrap().unwrap().id, "a/b");
    assert_eq!(server.requests().len(), 2);
}

/// A read makes at most five attempts.
#[tokio::test]
async fn attempts_are_limited() {
    let server = serve(vec![status("503 x"); 9]).await;
    let error = server.client().find("x").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { maybe_applied: false, .. }), "{error:?}");
    assert_eq!(server.requests().len(), 5);
}

/// "Not found" is recognised in JSON and in text, with and without a code. An empty 404 is not from Cloudflare Images.
#[tokio::test]
async fn not_found_is_none_in_all_forms() {
    let not_found = |body: &str| reply("HTTP/1.1 404 x", body);
    let server = serve(vec![
        fail(404, 5404),
        not_found("ERROR 5404: Image not found\n"),
        not_found("variant not found"),
        not_found(""),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.find("x").await.unwrap(), None);
    assert_eq!(client.find("x").await.unwrap(), None);
    assert_eq!(client.find_variant("x").await.unwrap(), None);
    let error = client.find("x").await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse { maybe_applied: false, .. }), "{error:?}");
    assert_eq!(server.requests().len(), 4);
}

/// Names that would address another path are rejected before a request is sent.
#[tokio::test]
async fn names_that_are_not_a_path_segment_are_rejected_unsent() {
    let server = serve(vec![]).await;
    let client = server.client();
    for name in ["", ".", ".."] {
        assert!(matches!(client.find(name).await, Err(Error::Invalid(_))), "{name}");
        assert!(matches!(client.delete(name).await, Err(Error::Invalid(_))), "{name}");
        assert!(matches!(client.blob(name).await, Err(Error::Invalid(_))), "{name}");
        assert!(matches!(client.put_key(name).await, Err(Error::Invalid(_))), "{name}");
        assert!(matches!(client.delete_variant(name).await, Err(Error::Invalid(_))), "{name}");
    }
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn create_sends_a_form() {
    let server = serve(vec![image(), image()]).await;
    let meta = serde_json::from_str(r#"{"a":{"b":[1]}}"#).unwrap();
    let new = NewImage { id: Some("a/b"), metadata: Some(&meta), creator: Some("ü"), ..NewImage::default() };
    let client = server.client();
    assert_eq!(client.create(new, Body::Upload(png())).await.unwrap().id, "a/b");
    let private = NewImage { require_signed_urls: true, ..NewImage::default() };
    client.create(private, Body::Url("https://x/y.png".to_owned())).await.unwrap();
    let requests = server.requests();
    for request in &requests {
        assert!(request.starts_with("POST /client/v4/accounts/acc/images/v1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-type: multipart/form-data; boundary="), "{request}");
        assert!(request.contains("\r\ncontent-length: "), "{request}");
        assert!(!request.contains("transfer-encoding"), "{request}");
    }
    for part in [
        "name=\"requireSignedURLs\"\r\n\r\nfalse\r\n",
        "name=\"id\"\r\n\r\na/b\r\n",
        "name=\"creator\"\r\n\r\nü\r\n",
        "name=\"metadata\"\r\n\r\n{\"a\":{\"b\":[1]}}\r\n",
        "name=\"file\"; filename=\"sü\\\"ß__.png\"\r\nContent-Type: image/png\r\n\r\nPNGDATA\r\n",
    ] {
        assert!(requests[0].contains(part), "{part}\n{}", requests[0]);
    }
    assert!(requests[1].contains("name=\"requireSignedURLs\"\r\n\r\ntrue\r\n"), "{}", requests[1]);
    assert!(requests[1].contains("name=\"url\"\r\n\r\nhttps://x/y.png\r\n"), "{}", requests[1]);
    for absent in ["name=\"id\"", "name=\"creator\"", "name=\"metadata\"", "name=\"file\""] {
        assert!(!requests[1].contains(absent), "{}", requests[1]);
    }
}

/// Once the bytes are sent `create` is not retried, and the error says whether it may have been carried out.
#[tokio::test]
async fn create_is_not_retried_after_the_bytes_are_sent() {
    for (step, kind, maybe_applied) in [
        (reply("HTTP/1.1 500 x", "boom"), "unavailable", true),
        (Step::Hang, "unavailable", true),
        (Step::Close, "unavailable", true),
        (reply(OK, "<html>"), "invalid response", true),
        (reply(OK, r#"{"success":true,"result":null}"#), "invalid response", true),
        (reply(OK, r#"{"success":false,"errors":[]}"#), "invalid response", true),
        (status("307 x\r\nlocation: /elsewhere"), "invalid response", true),
        (fail(200, 5400), "invalid", false),
        (fail(409, 5409), "conflict", false),
        (fail(413, 5413), "too large", false),
        (fail(415, 5455), "unsupported image", false),
        (fail(401, 10000), "unauthorized", false),
        (status("429 x\r\nretry-after: 0"), "rate limited", false),
        (status("408 x"), "unavailable", false),
    ] {
        let server = serve(vec![step, image()]).await;
        let error = create(&server.impatient()).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{kind}: ")), "{kind}: {error}");
        assert_eq!(error.maybe_applied(), maybe_applied, "{error:?}");
        assert_eq!(server.requests().len(), 1, "{error:?}");
        assert!(!format!("{error:?}{error}").contains("hunter2"), "{error:?}");
    }
}

/// A request that was rejected by a rate limit was not carried out, so it is retried unless it has a stream.
#[tokio::test]
async fn an_upload_by_url_is_retried_after_a_rate_limit() {
    let server = serve(vec![status("429 x\r\nretry-after: 1"), image()]).await;
    let begun = Instant::now();
    let body = Body::Url("https://x/y".to_owned());
    assert_eq!(server.client().create(NewImage::default(), body).await.unwrap().id, "a/b");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(server.requests().len(), 2);
}

/// A server that closes the connection before it has all bytes cannot have stored them.
#[tokio::test]
async fn an_upload_cut_off_early_was_not_applied() {
    let server = serve(vec![Step::CloseEarly]).await;
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let upload = file((0..64).map(|_| Ok(chunk.clone())).collect(), 64 << 20);
    let error = server.client().create(NewImage::default(), Body::Upload(upload)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { maybe_applied: false, .. }), "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_failing_source_and_a_wrong_length_are_upload_source_errors() {
    let server = serve(vec![]).await;
    let client = server.client();
    let some = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    for (upload, why) in [
        (file(vec![some("short")], 9), "the source does not have the declared length of 9 bytes"),
        (
            file(vec![some("too "), some("long")], 5),
            "the source does not have the declared length of 5 bytes",
        ),
        (file(vec![some("1"), Err(std::io::Error::other("disk"))], 9), "disk"),
    ] {
        let error = client.create(NewImage::default(), Body::Upload(upload)).await.unwrap_err();
        assert!(!error.maybe_applied() && !error.is_transient(), "{error:?}");
        let Error::UploadSource(source) = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), why);
    }
    let sent = server.requests().len();
    let upload = Upload { content_type: "im age".to_owned(), ..png() };
    let error = client.create(NewImage::default(), Body::Upload(upload)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert_eq!(server.requests().len(), sent);
}

/// The stream is not read before there is a connection, so an attempt after a refused connection sends all of it.
#[tokio::test]
async fn a_refused_connection_is_retried_with_the_whole_stream() {
    // The port is bound without listening: connections are refused, and no other program gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let api = format!("http://{}/client/v4", socket.local_addr().unwrap()).parse().unwrap();
    let nowhere = serve(vec![]).await;
    let client = Client::new(Settings { api, ..nowhere.settings() }).unwrap();
    let error = create(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { maybe_applied: false, .. }), "{error:?}");
    assert_eq!(error.message(), "Cloudflare cannot be reached");
    let late = tokio::spawn(async move { create(&client).await });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!late.is_finished());
    let listener = socket.listen(8).unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let request = read(&mut socket, false).await;
    assert!(request.contains("\r\n\r\nPNGDATA\r\n"), "{request}");
    let Step::Reply(head, body) = image() else { unreachable!() };
    answer(&mut socket, &head, body.len(), &body).await;
    assert_eq!(late.await.unwrap().unwrap().id, "a/b");
}

/// A missing image was deleted by this call if an earlier attempt may have been carried out.
#[tokio::test]
async fn deletions_distinguish_deleted_from_not_found() {
    for (steps, expected) in [
        (vec![ok("{}")], DeleteOutcome::Deleted),
        (vec![reply(OK, r#"{"success":true}"#)], DeleteOutcome::Deleted),
        (vec![fail(404, 5404)], DeleteOutcome::NotFound),
        (vec![Step::Close, fail(404, 5404)], DeleteOutcome::Deleted),
        (vec![status("500 x"), fail(404, 5404)], DeleteOutcome::Deleted),
        (vec![status("429 x\r\nretry-after: 0"), fail(404, 5404)], DeleteOutcome::NotFound),
    ] {
        let (server, attempts) = (serve(steps.clone()).await, steps.len());
        assert_eq!(server.client().delete("a/b").await.unwrap(), expected);
        let requests = server.requests();
        assert_eq!(requests.len(), attempts);
        let line = "DELETE /client/v4/accounts/acc/images/v1/a%2Fb HTTP/1.1\r\n";
        assert!(requests[0].starts_with(line), "{}", requests[0]);
    }
    let server = serve(vec![fail(404, 5401), fail(404, 7003)]).await;
    assert_eq!(server.client().delete_variant("x").await.unwrap(), DeleteOutcome::NotFound);
    // A missing route means a wrong base URL, and the image may exist.
    let error = server.client().delete("x").await.unwrap_err();
    assert!(matches!(error, Error::Account(_)), "{error:?}");
}

/// Edits are retried, except those that may change the id.
#[tokio::test]
async fn only_idempotent_edits_are_retried() {
    let server = serve(vec![status("500 x"), image()]).await;
    let edit = wire::ImageEdit { creator: Some("x".to_owned()), ..wire::ImageEdit::default() };
    assert_eq!(server.client().edit("x", &edit).await.unwrap().id, "a/b");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(
            request.starts_with("PATCH ") && request.ends_with("\r\n\r\n{\"creator\":\"x\"}"),
            "{request}"
        );
    }
    let server = serve(vec![status("500 x"), image()]).await;
    let edit = wire::ImageEdit { require_signed_urls: Some(true), ..wire::ImageEdit::default() };
    assert!(server.client().edit("x", &edit).await.unwrap_err().maybe_applied());
    assert_eq!(server.requests().len(), 1);
    assert!(
        server.requests()[0].ends_with("\r\n\r\n{\"requireSignedURLs\":true}"),
        "{}",
        server.requests()[0]
    );
}

/// A retry could rotate or delete a second key.
#[tokio::test]
async fn changes_of_keys_are_not_retried() {
    let server = serve(vec![status("500 x"), status("500 x")]).await;
    let client = server.client();
    assert!(client.put_key("x").await.unwrap_err().maybe_applied());
    assert!(client.delete_key("x").await.unwrap_err().maybe_applied());
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].starts_with("PUT /client/v4/accounts/acc/images/v1/keys/x "), "{}", requests[0]);
    assert!(requests[0].contains("\r\ncontent-length: 0\r\n"), "{}", requests[0]);
    assert!(requests[1].starts_with("DELETE /client/v4/accounts/acc/images/v1/keys/x "), "{}", requests[1]);
}

/// A `Retry-After` beyond the deadline fails the call at once, and the next calls of all clones.
#[tokio::test]
async fn a_long_retry_after_fails_this_and_later_calls_at_once() {
    let server = serve(vec![status("429 x\r\nretry-after: 299"), image()]).await;
    let client = server.client();
    let begun = Instant::now();
    let error = client.find("x").await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(299)));
    let error = client.clone().stats().await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");
    let wait = error.retry_after().unwrap();
    assert!(wait > Duration::from_secs(270) && wait <= Duration::from_secs(299), "{wait:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.requests().len(), 1);
}

/// A `Retry-After` out of range is ignored. A very long one is reported, and blocks later calls for five minutes.
#[tokio::test]
async fn a_huge_retry_after_does_no_harm() {
    let server = serve(vec![status("503 x\r\nretry-after: 18446744073709551615"), image()]).await;
    assert_eq!(server.client().find("x").await.unwrap().unwrap().id, "a/b");
    let server = serve(vec![status("429 x\r\nretry-after: 18446744073709549000")]).await;
    let client = server.client();
    let error = client.find("x").await.unwrap_err();
    assert!(error.retry_after().unwrap() > Duration::from_secs(18_446_744_073_709_000_000), "{error:?}");
    let blocked = client.find("x").await.unwrap_err().retry_after().unwrap();
    assert!(blocked > Duration::from_secs(270) && blocked <= Duration::from_secs(300), "{blocked:?}");
    assert_eq!(server.requests().len(), 1);
}

/// The call timeout also ends an attempt that has time left.
#[tokio::test]
async fn the_call_timeout_covers_all_attempts() {
    let server = serve(vec![Step::Hang; 9]).await;
    let (attempt_timeout, call_timeout) = (Duration::from_secs(2), Duration::from_secs(3));
    let client = Client::new(Settings { attempt_timeout, call_timeout, ..server.settings() }).unwrap();
    let begun = Instant::now();
    let error = client.find("x").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    // Two whole attempts would take four seconds.
    assert!(begun.elapsed() >= attempt_timeout && begun.elapsed() < Duration::from_millis(3900));
    assert_eq!(server.requests().len(), 2);
}

/// The client itself rejects calls beyond the rate, and says how long to wait.
#[tokio::test]
async fn calls_beyond_the_rate_are_rejected() {
    let server = serve(vec![image(), image()]).await;
    let call_timeout = Duration::from_secs(2);
    let client =
        Client::new(Settings { rate: NonZeroU32::new(1), call_timeout, ..server.settings() }).unwrap();
    assert_eq!(client.find("x").await.unwrap().unwrap().id, "a/b");
    let error = client.find("x").await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");
    assert!(error.retry_after().unwrap() > Duration::from_secs(270), "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

/// Credentials are not sent to the target of a redirect.
#[tokio::test]
async fn redirects_are_not_followed() {
    let other = serve(vec![image()]).await;
    let server = serve(vec![status(&format!("302 x\r\nlocation: {}", other.url))]).await;
    let error = server.client().find("x").await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse { maybe_applied: false, .. }), "{error:?}");
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
}

#[tokio::test]
async fn long_responses_are_rejected() {
    let endless = "x".repeat(9 << 20);
    let server = serve(vec![reply(OK, endless.clone()), reply("HTTP/1.1 400 x", endless)]).await;
    let client = server.client();
    let error = client.find("x").await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse { maybe_applied: false, .. }), "{error:?}");
    let error = client.find("x").await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert_eq!(error.message(), "x".repeat(500));
}

/// A blob is retried up to the head of the response; a connection that closes early is an error of its stream; an error
/// in JSON is recognised.
#[tokio::test]
async fn blobs_stream() {
    let bytes = "x".repeat(3 << 20);
    let server = serve(vec![
        status("500 x"),
        reply(PNG, bytes.clone()),
        Step::Half(PNG.to_owned(), bytes.clone()),
        reply(OK, r#"{"result":null,"success":false,"errors":[{"code":5404,"message":"x"}]}"#),
        ok("{}"),
    ])
    .await;
    let client = server.client();
    let blob = client.blob("a/b").await.unwrap();
    assert_eq!((blob.content_type.as_deref(), blob.length), (Some("image/png"), Some(3 << 20)));
    let got: Vec<Bytes> = blob.stream.try_collect().await.unwrap();
    assert!(got.concat() == bytes.as_bytes());
    let line = "GET /client/v4/accounts/acc/images/v1/a%2Fb/blob HTTP/1.1\r\n";
    assert!(server.requests()[0].starts_with(line), "{}", server.requests()[0]);
    let half = client.blob("x").await.unwrap();
    assert_eq!(half.length, Some(3 << 20));
    let error = half.stream.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { maybe_applied: false, .. }), "{error:?}");
    let error = client.blob("x").await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    let error = client.blob("x").await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse { .. }), "{error:?}");
}

#[tokio::test]
async fn a_list_sends_its_query() {
    let page = |token: &str| ok(&format!(r#"{{"images":[{IMAGE}],"continuation_token":{token}}}"#));
    let server = serve(vec![page("null"), page("\"next\""), ok(r#"{"images":[]}"#)]).await;
    let filter = |field: &str, test| MetaFilter { field: field.to_owned(), test };
    let query = ListQuery {
        per_page: Some(10),
        continuation_token: Some("a+b/=".to_owned()),
        sort_order: Some(SortOrder::Asc),
        creator: Some(String::new()),
        meta: vec![
            filter("a.b", MetaTest::EqString("x y&z".to_owned())),
            filter("n", MetaTest::InNumber(vec![1.into(), 2.into()])),
            filter("n", MetaTest::Gte(3.into())),
            filter("t", MetaTest::EqBoolean(true)),
        ],
    };
    let client = server.client();
    let last = client.list(&query).await.unwrap();
    assert_eq!((last.images.len(), last.continuation_token), (1, None));
    let first = client.list(&ListQuery::default()).await.unwrap();
    assert_eq!((first.images[0].id.as_str(), first.continuation_token.as_deref()), ("a/b", Some("next")));
    let empty = client.list(&ListQuery::default()).await.unwrap();
    assert_eq!((empty.images.len(), empty.continuation_token), (0, None));
    let requests = server.requests();
    assert_eq!(
        requests[0].lines().next().unwrap(),
        "GET /client/v4/accounts/acc/images/v2?per_page=10&continuation_token=a%2Bb%2F%3D&sort_order=asc\
         &creator=&meta.a.b%5Beq%3Astring%5D=x+y%26z&meta.n%5Bin%3Anumber%5D=1%7C2&meta.n%5Bgte%5D=3\
         &meta.t%5Beq%3Aboolean%5D=true HTTP/1.1"
    );
    assert_eq!(requests[1].lines().next().unwrap(), "GET /client/v4/accounts/acc/images/v2 HTTP/1.1");
    // The API has no escape for the separator.
    let meta = vec![filter("a", MetaTest::In(vec!["a|b".to_owned()]))];
    let error = client.list(&ListQuery { meta, ..ListQuery::default() }).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn batch_tokens_are_kept_and_renewed() {
    let server = serve(vec![
        token("t1"),
        image(),
        image(),
        // Rejected, renewed, retried.
        fail(401, 10000),
        token("t2"),
        image(),
        // A call with a stream is not retried.
        fail(401, 10000),
        token("t3"),
        image(),
        // Rejected again.
        fail(401, 10000),
        token("t4"),
        fail(401, 10000),
    ])
    .await;
    let client = server.client().batch();
    client.find("x").await.unwrap().unwrap();
    client.clone().find("x").await.unwrap().unwrap();
    client.find("x").await.unwrap().unwrap();
    let error = create(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { maybe_applied: false, .. }), "{error:?}");
    create(&client).await.unwrap();
    let error = client.find("x").await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
    let requests: Vec<String> = server
        .requests()
        .iter()
        .map(|request| {
            let line = request.lines().next().unwrap();
            let bearer =
                request.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
            format!("{} {bearer}", line.trim_end_matches(" HTTP/1.1"))
        })
        .collect();
    let renewal = "GET /client/v4/accounts/acc/images/v1/batch_token hunter2";
    assert_eq!(
        requests,
        [
            renewal,
            "GET /batch/images/v1/x t1",
            "GET /batch/images/v1/x t1",
            "GET /batch/images/v1/x t1",
            renewal,
            "GET /batch/images/v1/x t2",
            "POST /batch/images/v1 t2",
            renewal,
            "POST /batch/images/v1 t3",
            "GET /batch/images/v1/x t3",
            renewal,
            "GET /batch/images/v1/x t4",
        ]
    );
}

#[tokio::test]
async fn concurrent_batch_calls_fetch_one_token() {
    let mut steps = vec![token("t")];
    steps.extend(std::iter::repeat_n(image(), 20));
    let server = serve(steps).await;
    let client = server.client().batch();
    let found = future::try_join_all((0..20).map(|_| client.find("x"))).await.unwrap();
    assert!(found.iter().all(|found| found.as_ref().unwrap().id == "a/b"));
    let requests = server.requests();
    assert_eq!(requests.len(), 21);
    assert_eq!(requests.iter().filter(|request| request.contains("batch_token")).count(), 1);
}

/// A token that is about to expire is not used.
#[tokio::test]
async fn a_batch_token_is_renewed_before_it_expires() {
    let old = ok(r#"{"token":"old","expiresAt":"2020-01-01T00:00:00Z"}"#);
    let server = serve(vec![old, image(), token("new"), image(), image()]).await;
    let client = server.client().batch();
    for _ in 0..3 {
        assert_eq!(client.find("x").await.unwrap().unwrap().id, "a/b");
    }
    let fetches = server.requests().iter().map(|request| request.contains("batch_token")).collect::<Vec<_>>();
    assert_eq!(fetches, [true, false, true, false, false]);
}

/// The bytes of a direct upload are sent to the upload host only, and without credentials.
#[tokio::test]
async fn direct_uploads_go_to_the_upload_host_only() {
    let draft = || ok(r#"{"id":"x","uploadURL":"https://u/h/x"}"#);
    let server = serve(vec![draft(), draft(), image()]).await;
    let client = server.client();
    let expiry = DateTime::from_timestamp(1_700_000_000, 5);
    let new = NewDirectUpload { expiry, ..NewDirectUpload::default() };
    let draft = client.direct_upload(&new).await.unwrap();
    assert_eq!((draft.id.as_str(), draft.upload_url.as_str()), ("x", "https://u/h/x"));
    assert_eq!(client.direct_upload_v1(&new).await.unwrap().id, "x");
    let url = format!("{}upload/h/a%2Fb", server.url);
    assert_eq!(client.upload(&url, png()).await.unwrap().id, "a/b");
    let port = server.url.port().unwrap();
    for elsewhere in [
        "http://evil/upload/h/x".to_owned(),
        format!("https://127.0.0.1:{port}/upload/h/x"),
        format!("http://127.0.0.1:{port}/uploads/h/x"),
        format!("http://127.0.0.1:{port}/upload/../client/v4/x"),
        "not a URL".to_owned(),
    ] {
        let error = client.upload(&elsewhere, png()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{elsewhere}: {error:?}");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests[0].starts_with("POST /client/v4/accounts/acc/images/v2/direct_upload "),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("\r\ncontent-type: multipart/form-data; boundary="), "{}", requests[0]);
    assert!(requests[0].contains("name=\"expiry\"\r\n\r\n2023-11-14T22:13:20Z\r\n"), "{}", requests[0]);
    assert!(
        requests[1].starts_with("POST /client/v4/accounts/acc/images/v1/direct_upload "),
        "{}",
        requests[1]
    );
    assert!(requests[1].ends_with("\r\n\r\n{\"expiry\":\"2023-11-14T22:13:20Z\"}"), "{}", requests[1]);
    assert!(requests[2].starts_with("POST /upload/h/a%2Fb HTTP/1.1\r\n"), "{}", requests[2]);
    assert!(!requests[2].contains("authorization") && !requests[2].contains("hunter2"), "{}", requests[2]);
}

/// An e-mail address with a key is sent in headers. `Debug` shows neither a key nor a token.
#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let server = serve(vec![image()]).await;
    let key = "hunter2".to_owned().into();
    let credentials = Credentials::EmailKey { email: "a@b".to_owned(), key };
    let settings = Settings { credentials, ..server.settings() };
    assert!(!format!("{settings:?}{:?}", server.settings()).contains("hunter2"));
    let client = Client::new(settings).unwrap();
    assert!(!format!("{client:?}{:?}", server.client()).contains("hunter2"));
    client.find("x").await.unwrap().unwrap();
    let requests = server.requests();
    assert!(requests[0].contains("\r\nx-auth-email: a@b\r\nx-auth-key: hunter2\r\n"), "{}", requests[0]);
    assert!(!requests[0].contains("authorization"), "{}", requests[0]);
}

#[tokio::test]
async fn the_user_agent_is_a_setting() {
    let server = serve(vec![image(), image()]).await;
    server.client().find("x").await.unwrap().unwrap();
    let settings = Settings { user_agent: "mine/1".to_owned(), ..server.settings() };
    Client::new(settings).unwrap().find("x").await.unwrap().unwrap();
    let requests = server.requests();
    let default = format!("\r\nuser-agent: cloudflare-images/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(requests[0].contains(&default), "{}", requests[0]);
    assert!(requests[1].contains("\r\nuser-agent: mine/1\r\n"), "{}", requests[1]);
}

/// Invalid settings are rejected at once, by an error without secrets.
#[tokio::test]
async fn invalid_settings_are_rejected() {
    let server = serve(vec![]).await;
    let good = || server.settings();
    let url = |text: &str| text.parse::<Url>().unwrap();
    for (settings, what) in [
        (Settings { credentials: Credentials::Token("hunter2\n".to_owned().into()), ..good() }, "credential"),
        (Settings { user_agent: "a\nb".to_owned(), ..good() }, "user agent"),
        (Settings { api: url("mailto:x"), ..good() }, "api base URL"),
        (Settings { upload: url("ftp://x/"), ..good() }, "upload base URL"),
        (Settings { batch: url("http://me:hunter2@x/"), ..good() }, "batch base URL"),
        (Settings { account_id: String::new(), ..good() }, "account id"),
        (Settings { account_id: "..".to_owned(), ..good() }, "account id"),
    ] {
        let error = Client::new(settings).unwrap_err();
        assert!(!format!("{error:?}{error}").contains("hunter2"), "{error:?}");
        let Error::Settings { message, .. } = error else { panic!("{error:?}") };
        assert!(message.contains(what), "{message}");
    }
}

/// Lists may be null, and unknown fields are ignored.
#[tokio::test]
async fn null_lists_and_unknown_fields_are_read() {
    let body = r#"{"result":{"count":{"current":1,"allowed":2,"x":3}},"success":true,"errors":null,
        "messages":null,"y":4}"#;
    let server = serve(vec![reply(OK, body)]).await;
    let count = wire::StatsCount { current: 1, allowed: 2 };
    assert_eq!(server.client().stats().await.unwrap(), wire::Stats { count });
}

/// Errors do not contain tokens and keys of malformed responses.
#[tokio::test]
async fn errors_contain_no_secrets_of_malformed_responses() {
    let server =
        serve(vec![ok(r#"{"token":"hunter3","expiresAt":"hunter3"}"#), ok(r#"{"keys":["hunter3"]}"#)]).await;
    let client = server.client();
    let token = client.batch_token().await.err().unwrap();
    let keys = client.keys().await.unwrap_err();
    for error in [token, keys] {
        assert!(matches!(error, Error::InvalidResponse { .. }), "{error:?}");
        assert!(!format!("{error:?}{error}").contains("hunter3"), "{error:?}");
    }
}

/// A server without TLS is unavailable, and receives no credentials.
#[tokio::test]
async fn a_server_without_tls_receives_no_credentials() {
    let server = serve(vec![]).await;
    let mut api = server.settings().api;
    api.set_scheme("https").unwrap();
    let (attempt_timeout, call_timeout) = (Duration::from_millis(600), Duration::from_millis(700));
    let client = Client::new(Settings { api, attempt_timeout, call_timeout, ..server.settings() }).unwrap();
    let error = create(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { maybe_applied: false, .. }), "{error:?}");
    // The server notices the end of the connection shortly after the client.
    let request = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(request) = server.requests().pop() {
                break request;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let request = request.await.unwrap();
    assert!(!request.is_empty() && !request.contains("hunter2"), "{request}");
}

/// If all base URLs are plain HTTP, the system needs no root certificates.
#[test]
fn plain_http_needs_no_certificates() {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "faults::create_sends_a_form"]);
    let done =
        again.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent").output().unwrap();
    let output = String::from_utf8_lossy(&done.stdout);
    assert!(output.contains("test result: ok. 1 passed"), "{output}");
}

/// Calls can be spawned as tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_can_be_spawned() {
    fn assert_send<T: Send + Sync + 'static>(value: T) -> T {
        value
    }
    let server = serve(vec![image(), token("t"), reply(PNG, "x"), image()]).await;
    let client = assert_send(server.client());
    let spawned = client.clone();
    let found = tokio::spawn(async move { spawned.find("x").await }).await.unwrap();
    assert_eq!(found.map_err(assert_send).unwrap().unwrap().id, "a/b");
    let spawned = client.clone();
    let fetched = tokio::spawn(async move { spawned.batch_token().await }).await.unwrap();
    assert_eq!(fetched.unwrap().token, "t");
    let spawned = client.clone();
    let blob = tokio::spawn(async move { spawned.blob("x").await }).await.unwrap();
    assert_eq!(blob.unwrap().length, Some(1));
    assert_eq!(tokio::spawn(async move { create(&client).await }).await.unwrap().unwrap().id, "a/b");
}
