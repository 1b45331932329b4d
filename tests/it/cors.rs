//! Cross-origin requests: which requests pages of other origins may send, and which answers and headers they may
//! read.

use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::png;

const ORIGIN: &str = "https://app.example";

/// Every URL that a page requests, with its methods.
async fn urls(server: &Server) -> Vec<(String, Vec<Method>)> {
    let file = server.file("a.png", png(1)).await;
    let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { uploadUrl } userErrors { code } } }";
    let mut uploads = Vec::new();
    for transport in ["PUT", "FORM_POST"] {
        let input = json!({ "workspaceId": server.workspace, "filename": "a.png", "mimeType": "image/png", "transport": transport });
        let created = server.query(create, json!({ "input": input })).await;
        uploads.push(created["createDirectUpload"]["directUpload"]["uploadUrl"].as_str().unwrap().to_owned());
    }
    let download =
        server.query("query($id: ID!) { file(id: $id) { downloadUrl } }", json!({ "id": file["id"] })).await;
    let image = file["image"]["id"].as_str().unwrap();
    let at = |path: &str| format!("{}{path}", server.url);
    vec![
        (at("/graphql"), vec![Method::GET, Method::HEAD, Method::POST]),
        (at("/api/images"), vec![Method::GET, Method::HEAD]),
        (at(&format!("/api/images/{image}")), vec![Method::GET, Method::HEAD, Method::DELETE]),
        (at("/api/images/by-file/x"), vec![Method::GET]),
        (at("/api/openapi.json"), vec![Method::GET]),
        (at("/api/nothing"), vec![Method::GET]),
        (uploads[0].clone(), vec![Method::PUT]),
        (uploads[1].clone(), vec![Method::POST]),
        (download["file"]["downloadUrl"].as_str().unwrap().to_owned(), vec![Method::GET, Method::HEAD]),
        (file["image"]["url"].as_str().unwrap().to_owned(), vec![Method::GET, Method::HEAD]),
    ]
}

fn listed(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap().split(','));
    values.map(|value| value.trim().to_ascii_lowercase()).collect()
}

async fn preflight(server: &Server, url: &str, method: &Method, wanted: &str) -> Response {
    let request = server.http.request(Method::OPTIONS, url).header("origin", ORIGIN);
    let request = request.header("access-control-request-method", method.as_str());
    request.header("access-control-request-headers", wanted).send().await.unwrap()
}

both! {
    /// Every request header is allowed by its name, because the wildcard `*` does not include `Authorization`.
    async fn every_header_may_be_sent(database: Database) {
        let server = Server::start(database).await;
        let wanted = ["accept", "apollo-require-preflight", "apollographql-client-name", "apollographql-client-version", "authorization", "baggage", "content-type", "if-match", "if-none-match", "idempotency-key", "last-event-id", "range", "sentry-trace", "traceparent", "tracestate", "x-anything", "x-request-id", "x-requested-with"];
        for (url, methods) in urls(&server).await {
            for method in methods {
                let answer = preflight(&server, &url, &method, &wanted.join(",")).await;
                assert!(answer.status().is_success(), "{method} {url}: {}", answer.status());
                let headers = answer.headers();
                assert_eq!(listed(headers, "access-control-allow-origin"), ["*"], "{url}");
                let allowed = listed(headers, "access-control-allow-headers");
                assert!(wanted.iter().all(|header| allowed.contains(&(*header).to_owned())), "{method} {url}: {allowed:?}");
                let methods = listed(headers, "access-control-allow-methods");
                assert!(methods.contains(&method.as_str().to_ascii_lowercase()), "{method} {url}: {methods:?}");
                assert!(listed(headers, "access-control-max-age")[0].parse::<u32>().unwrap() >= 600, "{url}");
                assert!(listed(headers, "vary").contains(&"access-control-request-headers".to_owned()), "{url}");
            }
        }
    }

    /// Scripts can read every answer including refusals, and the headers that a client acts on.
    async fn every_response_is_readable_by_scripts(database: Database) {
        let server = Server::start(database).await;
        for (url, methods) in urls(&server).await {
            let exposed = if url.contains("/cloudflare/") { vec!["etag", "content-length", "retry-after"] } else {
                vec!["etag", "content-range", "content-length", "content-disposition", "accept-ranges", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id", "location", "allow"]
            };
            // The last of these methods is supported nowhere.
            for method in methods.into_iter().chain([Method::PATCH]) {
                for token in [ADMIN, "wrong"] {
                    let request = server.http.request(method.clone(), &url).header("origin", ORIGIN).bearer_auth(token);
                    let answer = request.send().await.unwrap();
                    let headers = answer.headers();
                    assert_eq!(listed(headers, "access-control-allow-origin"), ["*"], "{method} {url} {}", answer.status());
                    let named = listed(headers, "access-control-expose-headers");
                    assert!(exposed.iter().all(|header| named.contains(&(*header).to_owned())), "{method} {url}: {named:?}");
                }
            }
        }
        let refused: Value = server.http.put(format!("{}/uploads/x", server.url)).header("origin", ORIGIN).send().await.unwrap().json().await.unwrap();
        assert_eq!(refused["error"]["code"], "FORBIDDEN");
    }
}
