//! Entity tags of reads, and 304 for a client that has the answer.

use reqwest::header::{ACCEPT, IF_NONE_MATCH};
use reqwest::{RequestBuilder, Response};
use serde_json::json;

use crate::compression::text;
use crate::harness::{ADMIN, Database, Server};
use crate::pictures::png;

const PAGE: &str = "{ images { totalCount nodes { id url file { filename } } } }";

fn get(server: &Server, query: &str) -> RequestBuilder {
    server.http.get(format!("{}/graphql", server.url)).bearer_auth(ADMIN).query(&[("query", query)])
}

async fn sent(request: RequestBuilder) -> (u16, String, Response) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), text(&answer, "etag"), answer)
}

both! {
    /// A query over GET is answered with 304 until its answer changes, also where a rate limit counts what it costs.
    async fn queries_over_get(database: Database) {
        let server = Server::start_with(database, |config| config.rate_limit = Some(12_000)).await;
        let file = server.file("a.png", png(1)).await;
        let (status, tag, first) = sent(get(&server, PAGE)).await;
        assert_eq!(status, 200);
        assert!(tag.starts_with("W/\""), "{tag}");
        for (name, value) in [("cache-control", "private, no-cache"), ("vary", "accept, authorization, ")] {
            assert!(text(&first, name).starts_with(value), "{name}: {}", text(&first, name));
        }
        assert!(text(&first, "vary").ends_with("accept-encoding"), "{}", text(&first, "vary"));
        let remaining = |answer: &Response| text(answer, "ratelimit");
        let mut before = remaining(&first);
        let strong = tag.strip_prefix("W/").unwrap();
        for known in [&tag, strong, "*", &format!("\"a\", W/\"b\" ,{tag}")] {
            let (status, again, answer) = sent(get(&server, PAGE).header(IF_NONE_MATCH, known)).await;
            assert_eq!((status, &again), (304, &tag), "{known}");
            for name in ["cache-control", "vary"] {
                assert_eq!(text(&answer, name), text(&first, name), "{known}");
            }
            for name in ["content-type", "content-encoding"] {
                assert_eq!(text(&answer, name), "", "{known}");
            }
            // What it costs is charged.
            assert_ne!(remaining(&answer), before);
            before = remaining(&answer);
            assert_eq!(answer.bytes().await.unwrap().len(), 0);
        }
        for unknown in ["\"a\"", "W/\"a\"", "", "nonsense"] {
            assert_eq!(sent(get(&server, PAGE).header(IF_NONE_MATCH, unknown)).await.0, 200, "{unknown}");
        }
        // The same tag in every coding; another one for another media type.
        let coded = get(&server, PAGE).header("accept-encoding", "gzip, identity;q=0");
        let (_, again, answer) = sent(coded).await;
        assert_eq!((again, text(&answer, "content-encoding").as_str()), (tag.clone(), "gzip"));
        let typed = get(&server, PAGE).header(ACCEPT, "application/graphql-response+json");
        assert_eq!(sent(typed.header(IF_NONE_MATCH, &tag)).await.0, 200);
        let rename = "mutation($id: ID!) { updateFile(input: { id: $id, filename: \"b.png\" }) { userErrors { code } } }";
        server.query(rename, json!({ "id": file["id"] })).await;
        let (status, changed, _) = sent(get(&server, PAGE).header(IF_NONE_MATCH, &tag)).await;
        assert_eq!(status, 200);
        assert_ne!(changed, tag);
        // Who asks for the balance of the token asks for what changes.
        // So much that it takes a while until the points are there again.
        let balance = "{ rateLimit { remaining } images(first: 100) { nodes { id file { id } } } }";
        let (_, tag, _) = sent(get(&server, balance)).await;
        assert_eq!(sent(get(&server, balance).header(IF_NONE_MATCH, tag)).await.0, 200);
    }

    /// Errors, mutations and whatever comes by POST have no entity tag, and no precondition changes them.
    async fn nothing_else(database: Database) {
        let server = Server::start(database).await;
        let post = |query: &str| {
            let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN);
            request.json(&json!({ "query": query }))
        };
        let create = "mutation { createWorkspace(input: { name: \"a\" }) { workspace { name } } }";
        let fails = "{ server { version } images(first: 1000) { totalCount } }";
        for (request, status) in [
            (post(PAGE), 200),
            (post(create), 200),
            (get(&server, create), 405),
            (get(&server, "{ nothing }"), 200),
            (get(&server, "{ nothing }").header(ACCEPT, "application/graphql-response+json"), 400),
            (get(&server, fails), 200),
            (server.http.get(format!("{}/graphql", server.url)).query(&[("query", PAGE)]), 401),
            (get(&server, PAGE).header(ACCEPT, "text/event-stream"), 200),
            (server.http.get(format!("{}/api/images/img_1", server.url)).bearer_auth(ADMIN), 400),
        ] {
            let (found, tag, answer) = sent(request.header(IF_NONE_MATCH, "*")).await;
            assert_eq!((found, tag.as_str()), (status, ""));
            assert!(!text(&answer, "cache-control").contains("private"));
        }
    }

    /// The reads of REST, and its OpenAPI document.
    async fn reads_over_rest(database: Database) {
        let server = Server::start_with(database, |config| config.rate_limit = Some(100_000)).await;
        let file = server.file("a.png", png(1)).await;
        let image = file["image"]["id"].as_str().unwrap();
        let get = |path: &str| server.http.get(format!("{}{path}", server.url)).bearer_auth(ADMIN);
        let one = format!("/api/images/{image}");
        let by_file = format!("/api/images/by-file/{}", file["id"].as_str().unwrap());
        for path in ["/api/images", &one, &by_file, "/api/openapi.json"] {
            let (status, tag, first) = sent(get(path)).await;
            assert_eq!((status, text(&first, "cache-control").as_str()), (200, "private, no-cache"), "{path}");
            assert!(text(&first, "vary").starts_with("authorization, "), "{path}: {}", text(&first, "vary"));
            let (status, again, answer) = sent(get(path).header(IF_NONE_MATCH, &tag)).await;
            assert_eq!((status, &again), (304, &tag), "{path}");
            assert_eq!(text(&answer, "vary"), text(&first, "vary"), "{path}");
            assert_ne!(text(&answer, "ratelimit"), "", "{path}");
            assert_eq!(answer.bytes().await.unwrap().len(), 0, "{path}");
        }
        let (_, tag, _) = sent(get("/api/images")).await;
        server.file("b.png", png(2)).await;
        assert_eq!(sent(get("/api/images").header(IF_NONE_MATCH, tag)).await.0, 200);
    }
}
