//! Refusals reach clients that have not sent the body yet, are sending it, or send all of it before they read.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{ADMIN, Database, Server};

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data; boundary=b";
const HUGE: u64 = 100 * 1024 * 1024;

/// An answer that takes longer has waited for the body, which would take minutes.
const AT_ONCE: Duration = Duration::from_secs(5);

struct Client(TcpStream);

impl Client {
    async fn connect(server: &Server) -> Client {
        Client(TcpStream::connect(server.running.address).await.unwrap())
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Head and body of the next answer.
    async fn answer(&mut self) -> (String, String) {
        tokio::time::timeout(AT_ONCE, self.read()).await.expect("no answer at once")
    }

    async fn read(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("the connection ended before the answer did"));
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    /// Waits until the server closes its side of the connection.
    async fn end(&mut self) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(AT_ONCE, self.0.read_to_end(&mut rest)).await;
        end.expect("the connection stays open").unwrap();
        assert_eq!(rest, b"", "{}", String::from_utf8_lossy(&rest));
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Head of a request.
fn head(method: &str, path: &str, token: &str, content_type: &str, framing: &str) -> String {
    let typed =
        if content_type.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
    format!("{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n{typed}{framing}\r\n")
}

async fn upload(server: &Server) -> String {
    let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.txt\", mimeType: \"text/plain\", transport: PUT }) { directUpload { uploadUrl } userErrors { code } } }";
    let created = server.query(create, json!({ "w": server.workspace })).await;
    let url = created["createDirectUpload"]["directUpload"]["uploadUrl"].as_str().unwrap().to_owned();
    url.strip_prefix(&server.url).unwrap().to_owned()
}

/// Method, path, token, content type and expected status of requests with a huge body that are refused by their
/// heads.
async fn refused(server: &Server) -> Vec<(&'static str, String, String, &'static str, u16)> {
    let put = upload(server).await;
    let account = server.running.app.config.data_dir.join("emulator/credentials.json");
    let account: Value = serde_json::from_slice(&std::fs::read(account).unwrap()).unwrap();
    let (id, key) =
        (account["account_id"].as_str().unwrap(), account["api_token"].as_str().unwrap().to_owned());
    let hash = account["account_hash"].as_str().unwrap();
    let api = format!("/cloudflare/client/v4/accounts/{id}/images/v1");
    let (good, bad) = (ADMIN.to_owned(), "wrong".to_owned());
    vec![
        ("POST", "/graphql".to_owned(), bad.clone(), JSON, 401),
        ("POST", "/graphql".to_owned(), bad.clone(), FORM, 401),
        ("POST", "/graphql".to_owned(), good.clone(), "text/plain", 415),
        ("POST", "/graphql".to_owned(), good.clone(), "multipart/form-data", 400),
        ("POST", "/graphql".to_owned(), good.clone(), JSON, 413),
        ("PUT", "/graphql".to_owned(), good.clone(), JSON, 405),
        ("PUT", put.replace("signature=", "signature=x"), String::new(), "text/plain", 403),
        ("PUT", put.split('?').next().unwrap().to_owned(), String::new(), "text/plain", 403),
        ("PUT", put.clone(), String::new(), "multipart/form-data; boundary=b", 415),
        ("POST", put, String::new(), "text/plain", 405),
        ("DELETE", "/api/images/img_00000000000000000000000000".to_owned(), bad.clone(), JSON, 401),
        ("DELETE", "/api/images/img_00000000000000000000000000".to_owned(), good.clone(), JSON, 404),
        ("PUT", "/api/images".to_owned(), good.clone(), JSON, 405),
        ("POST", "/api/nothing".to_owned(), good.clone(), JSON, 404),
        ("POST", "/nothing".to_owned(), good, JSON, 404),
        ("POST", api.clone(), bad, FORM, 401),
        ("POST", api.clone(), key.clone(), "image/png", 415),
        ("POST", api.clone(), key.clone(), FORM, 413),
        ("PATCH", format!("{api}/config"), key.clone(), JSON, 413),
        ("PUT", api, key, FORM, 405),
        ("POST", format!("/cloudflare/upload/{hash}/nothing"), String::new(), FORM, 404),
        ("POST", "/cloudflare/upload/other/nothing".to_owned(), String::new(), FORM, 403),
        ("POST", "/cloudflare/nothing".to_owned(), String::new(), FORM, 404),
    ]
}

both! {
    /// The client announces 100 MiB and sends little: the answer does not wait for the rest, and the server closes
    /// its side.
    async fn a_refusal_does_not_wait_for_the_body(database: Database) {
        let server = Server::start(database).await;
        for (method, path, token, content_type, wanted) in refused(&server).await {
            let framing = format!("content-length: {HUGE}\r\n");
            let mut client = Client::connect(&server).await;
            client.send(head(method, &path, &token, content_type, &framing).as_bytes()).await;
            client.send(&[b'x'; 1000]).await;
            let (head, _) = client.answer().await;
            assert_eq!(status(&head), wanted, "{method} {path} {content_type}\n{head}");
            assert!(head.contains("connection: close"), "{method} {path}\n{head}");
            client.end().await;
        }
    }

    /// A client that sends `Expect: 100-continue` gets the refusal instead of 100.
    async fn refusal_instead_of_100_continue(database: Database) {
        let server = Server::start(database).await;
        for (method, path, token, content_type, wanted) in refused(&server).await {
            for framing in [format!("content-length: {HUGE}\r\n"), "content-length: 20\r\n".to_owned(), "transfer-encoding: chunked\r\n".to_owned()] {
                if wanted == 413 && !framing.contains(&HUGE.to_string()) {
                    continue;
                }
                let mut client = Client::connect(&server).await;
                let framing = format!("{framing}expect: 100-continue\r\n");
                client.send(head(method, &path, &token, content_type, &framing).as_bytes()).await;
                let (head, _) = client.answer().await;
                assert_eq!(status(&head), wanted, "{method} {path} {framing}\n{head}");
                assert!(head.contains("connection: close"), "{method} {path}\n{head}");
                client.end().await;
            }
        }
    }

    /// A client that sends `Expect: 100-continue` gets 100 if the request is acceptable.
    async fn acceptable_requests_get_100_continue(database: Database) {
        let server = Server::start(database).await;
        let put = upload(&server).await;
        let query = r#"{"query":"{ server { emulated } }"}"#;
        for (method, path, content_type, body) in [("PUT", put.as_str(), "text/plain", "text"), ("POST", "/graphql", JSON, query)] {
            let mut client = Client::connect(&server).await;
            let framing = format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len());
            client.send(head(method, path, ADMIN, content_type, &framing).as_bytes()).await;
            let (head, _) = client.answer().await;
            assert_eq!(status(&head), 100, "{head}");
            client.send(body.as_bytes()).await;
            let (head, body) = client.answer().await;
            assert_eq!(status(&head), 200, "{head}{body}");
        }
    }

    /// A client that sends its whole body before it reads gets the answer, and not a connection reset.
    async fn clients_that_send_everything_first_get_the_answer(database: Database) {
        let server = Server::start_with(database, |config| config.max_file_size = 100_000).await;
        let sent = vec![b'x'; 10_000_000];
        for (method, path, token, content_type, wanted) in refused(&server).await {
            let framing = format!("content-length: {}\r\n", sent.len());
            // The account accepts a form of this size, and then finds that it is invalid.
            let wanted = if path.ends_with("/v1") && wanted == 413 { 400 } else { wanted };
            let mut client = Client::connect(&server).await;
            client.send(head(method, &path, &token, content_type, &framing).as_bytes()).await;
            let all = tokio::time::timeout(Duration::from_secs(30), client.send(&sent)).await;
            all.expect("the server does not read on");
            let (head, _) = client.answer().await;
            assert_eq!(status(&head), wanted, "{method} {path}\n{head}");
        }
    }

    /// A body that turns out to be too large is refused while it arrives.
    async fn oversized_bodies_are_refused_while_they_arrive(database: Database) {
        let server = Server::start_with(database, |config| { config.max_file_size = 100_000; config.max_upload_parts = 10_000; }).await;
        let input = json!({ "workspaceId": server.workspace, "file": null });
        let operations = json!({ "query": crate::harness::UPLOAD, "variables": { "input": input } });
        let form = format!("--b\r\ncontent-disposition: form-data; name=\"operations\"\r\n\r\n{operations}\r\n--b\r\ncontent-disposition: form-data; name=\"map\"\r\n\r\n{{\"0\":[\"variables.input.file\"]}}\r\n--b\r\ncontent-disposition: form-data; name=\"0\"; filename=\"a\"\r\n\r\n");
        let put = upload(&server).await;
        for (method, path, content_type, start) in [("POST", "/graphql", FORM, form.as_str()), ("PUT", &put, "text/plain", ""), ("POST", "/graphql", JSON, "{\"query\": \"")] {
            let mut client = Client::connect(&server).await;
            client.send(head(method, path, ADMIN, content_type, "transfer-encoding: chunked\r\n").as_bytes()).await;
            client.send(format!("{:x}\r\n{start} \r\n", start.len() + 1).as_bytes()).await;
            client.send(format!("{:x}\r\n{}\r\n", 300_000, "x".repeat(300_000)).as_bytes()).await;
            let (head, body) = client.answer().await;
            assert_eq!(status(&head), 413, "{method} {path}\n{head}{body}");
            assert!(head.contains("connection: close"), "{head}");
            client.end().await;
        }
        assert_eq!(server.originals().len(), 0);
    }

    /// After the refusal of a short body the connection stays usable, however slowly the rest of the body arrives.
    async fn the_connection_survives_a_short_refused_body(database: Database) {
        let server = Server::start(database).await;
        let mut client = Client::connect(&server).await;
        for _ in 0..3 {
            client.send(head("POST", "/graphql", "wrong", JSON, "content-length: 1000\r\n").as_bytes()).await;
            client.send(&[b'x'; 100]).await;
            let (head, _) = client.answer().await;
            assert_eq!(status(&head), 401, "{head}");
            assert!(!head.contains("connection: close"), "{head}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.send(&[b'x'; 900]).await;
        }
        client.send(head("GET", "/healthz", "", "", "").as_bytes()).await;
        let (head, body) = client.answer().await;
        assert_eq!((status(&head), body.as_str()), (200, "ok\n"), "{head}");
    }

    /// Unknown expectations and content codings are refused and not ignored.
    async fn unknown_expectations_and_codings(database: Database) {
        let server = Server::start(database).await;
        for (framing, wanted) in [
            ("expect: 200-ok\r\n", 417),
            ("expect: 100-continue, x\r\ncontent-length: 1000\r\n", 417),
            ("transfer-encoding: gzip, chunked\r\n", 501),
            ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", 501),
            ("content-length: 5\r\ncontent-length: 6\r\n", 400),
            ("content-length: -1\r\n", 400),
            ("transfer-encoding: gzip\r\n", 400),
        ] {
            for path in ["/graphql", "/healthz", "/cloudflare/client/v4/accounts/x/images/v1"] {
                let mut client = Client::connect(&server).await;
                client.send(head("POST", path, ADMIN, JSON, framing).as_bytes()).await;
                let (head, _) = client.answer().await;
                assert_eq!(status(&head), wanted, "{path} {framing}\n{head}");
            }
        }
    }
}
