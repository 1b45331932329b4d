//! Rate limits: the cost of a query, and the points that its token has left.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use imagegraph::config::Config;
use imagegraph::entity::membership::Role;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{ADMIN, Database, Server};

const LIMIT: u32 = 1_000;
/// A query that costs nearly all points.
const EXPENSIVE: &str =
    "{ images(first: 98) { nodes { id url width height size format fileId workspaceId createdAt } } }";
const EXPENSIVE_COST: i64 = 98 * 10 + 1;
const BALANCE: &str = "rateLimit { cost limit remaining resetAt }";

struct Answer {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> &str {
        self.body["errors"][0]["extensions"]["code"].as_str().unwrap_or("no code")
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, body: response.json().await.unwrap() }
}

fn post(server: &Server, token: &str, body: &Value) -> reqwest::RequestBuilder {
    server.http.post(format!("{}/graphql", server.url)).bearer_auth(token).json(body)
}

async fn ask(server: &Server, token: &str, query: &str) -> Answer {
    let request = post(server, token, &json!({ "query": query }));
    answer(request.header(ACCEPT, "application/graphql-response+json")).await
}

async fn limited(database: Database) -> Server {
    let change = |config: &mut Config| {
        config.rate_limit = Some(LIMIT);
        // Its statements would be counted.
        config.worker_interval = Duration::from_secs(3600);
    };
    let server = Server::start_with(database, change).await;
    server.quiet().await;
    server
}

both! {
    /// Every answer to a valid query has its cost, over every transport; one to an invalid query has none.
    async fn answers_carry_their_cost(database: Database) {
        let server = Server::start(database).await;
        let cheap = ask(&server, ADMIN, "{ server { version } }").await;
        assert_eq!(cheap.body["extensions"]["cost"], json!({ "complexity": 2, "depth": 2 }));
        let dear = ask(&server, ADMIN, EXPENSIVE).await;
        assert_eq!(dear.body["extensions"]["cost"], json!({ "complexity": EXPENSIVE_COST, "depth": 3 }));
        let get = server.http.get(format!("{}/graphql", server.url)).bearer_auth(ADMIN).query(&[("query", "{ server { version } }")]);
        assert_eq!(answer(get).await.body["extensions"]["cost"]["complexity"], 2);
        let one = json!({ "query": "{ server { version } }" });
        let batch = answer(post(&server, ADMIN, &json!([one, { "query": "{ nope }" }]))).await;
        assert_eq!(batch.body[0]["extensions"]["cost"]["complexity"], 2);
        assert!(batch.body[1].get("extensions").is_none(), "{}", batch.body);
        let uploaded = server.upload("a.txt", b"text".to_vec()).await;
        assert!(uploaded["file"]["id"].is_string());
        // A query that fails while it runs is charged all the same.
        let failed = ask(&server, ADMIN, "{ file(id: \"nope\") { id } }").await;
        assert_eq!(failed.code(), "BAD_USER_INPUT");
        assert_eq!(failed.body["extensions"]["cost"]["complexity"], 2);
    }

    /// Without the setting there is no limit, and no header or field shows one.
    async fn no_limit_by_default(database: Database) {
        let server = Server::start(database).await;
        let answer = ask(&server, ADMIN, &format!("{{ {BALANCE} server {{ maxQueryComplexity }} }}")).await;
        assert_eq!(answer.body["data"], json!({ "rateLimit": null, "server": { "maxQueryComplexity": 20_000 } }));
        assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), ("", ""));
    }

    /// A token without points is refused before anything runs until they are refilled; other tokens are not.
    async fn tokens_spend_points(database: Database) {
        let server = limited(database).await;
        let other = server.token("other@example.com", Some((&server.workspace, Role::Editor))).await;
        let query = EXPENSIVE.replacen('{', &format!("{{ {BALANCE} "), 1);
        let first = ask(&server, ADMIN, &query).await;
        assert_eq!(first.status, StatusCode::OK, "{}", first.body);
        let cost = first.body["extensions"]["cost"]["complexity"].as_i64().unwrap();
        assert_eq!(cost, EXPENSIVE_COST + 5);
        let balance = &first.body["data"]["rateLimit"];
        assert_eq!((balance["cost"].as_i64(), balance["limit"].as_i64()), (Some(cost), Some(LIMIT.into())));
        assert_eq!(balance["remaining"], i64::from(LIMIT) - cost);
        let reset = chrono::DateTime::parse_from_rfc3339(balance["resetAt"].as_str().unwrap()).unwrap();
        assert!(reset > server.clock.now() - Duration::from_secs(60) && reset < server.clock.now() + Duration::from_secs(61));
        assert_eq!(first.header("ratelimit-policy"), format!("\"token\";q={LIMIT};w=60"));
        assert!(first.header("ratelimit").starts_with("\"token\";r="), "{}", first.header("ratelimit"));

        let statements = server.running.app.db.statement_count();
        let refused = ask(&server, ADMIN, EXPENSIVE).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
        let wait = refused.body["errors"][0]["extensions"]["retryAfter"].as_u64().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(refused.header(RETRY_AFTER.as_str()), wait.to_string());
        assert!(refused.body.get("data").is_none());
        assert_eq!(refused.body["extensions"]["cost"]["complexity"], EXPENSIVE_COST);
        // Only the token was looked up.
        assert!(server.running.app.db.statement_count() - statements <= 1);
        // Also with the older media type: clients decide by the status whether to retry.
        let plain = answer(post(&server, ADMIN, &json!({ "query": EXPENSIVE }))).await;
        assert_eq!((plain.status, plain.code()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
        // In a batch each operation has its own result.
        let batch = answer(post(&server, ADMIN, &json!([{ "query": EXPENSIVE }, { "query": "{ server { version } }" }]))).await;
        assert_eq!(batch.status, StatusCode::OK);
        assert_eq!(batch.body[0]["errors"][0]["extensions"]["code"], "RATE_LIMITED");
        assert_eq!(batch.body[1]["data"]["server"]["version"], env!("CARGO_PKG_VERSION"));

        assert_eq!(ask(&server, &other, EXPENSIVE).await.status, StatusCode::OK);
        server.clock.advance(Duration::from_secs(wait + 1));
        let again = ask(&server, ADMIN, EXPENSIVE).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.body);
        assert_eq!(ask(&server, ADMIN, EXPENSIVE).await.code(), "RATE_LIMITED");
    }

    /// An invalid request costs one point; one without a valid token costs none.
    async fn invalid_requests_are_charged(database: Database) {
        // So few points that the next one is refilled after ten seconds.
        let server = Server::start_with(database, |config| config.rate_limit = Some(6)).await;
        for query in ["{ nope }", "{ server {"] {
            server.clock.advance(Duration::from_secs(61));
            let refused = ask(&server, ADMIN, query).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            assert!(refused.header("ratelimit").starts_with("\"token\";r=5;"), "{query}: {}", refused.header("ratelimit"));
        }
        server.clock.advance(Duration::from_secs(61));
        for _ in 0..10 {
            assert_eq!(ask(&server, "imgr_nobody", "{ nope }").await.code(), "UNAUTHENTICATED");
        }
        let told = ask(&server, ADMIN, &format!("{{ {BALANCE} }}")).await;
        let balance = &told.body["data"]["rateLimit"];
        assert_eq!((&balance["cost"], &balance["remaining"]), (&json!(5), &json!(1)));
        // Without points an invalid request is refused for that reason.
        assert_eq!(ask(&server, ADMIN, "{ nope }").await.code(), "GRAPHQL_VALIDATION_FAILED");
        for query in ["{ nope }", "{ server {"] {
            assert_eq!(ask(&server, ADMIN, query).await.code(), "RATE_LIMITED", "{query}");
        }
        // A file is not received if the request is refused.
        let form = Form::new().part("0", Part::bytes(vec![7; 3_000_000]).file_name("a.bin"));
        let upload = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).multipart(form);
        let refused = answer(upload).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
        let wait = refused.header(RETRY_AFTER.as_str()).parse::<u64>().unwrap();
        assert_eq!(refused.body["errors"][0]["extensions"]["retryAfter"], wait);
        assert!(refused.header("ratelimit").starts_with("\"token\";r=0;"), "{}", refused.header("ratelimit"));
    }

    /// A query that costs more than the points of a minute could never run, so it is refused as invalid and without
    /// `Retry-After`.
    async fn no_query_costs_more_than_a_minute(database: Database) {
        let server = limited(database).await;
        let answer = ask(&server, ADMIN, &EXPENSIVE.replace("98", "100")).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED"));
        let answer = ask(&server, ADMIN, "{ server { maxQueryComplexity } }").await;
        assert_eq!(answer.body["data"]["server"]["maxQueryComplexity"], LIMIT);
    }

    /// REST requests spend points of the same token: one, and one more for each image of a page.
    async fn rest_requests_are_charged(database: Database) {
        let server = limited(database).await;
        let list = |limit: u32| server.http.get(format!("{}/api/images?limit={limit}", server.url)).bearer_auth(ADMIN);
        for _ in 0..9 {
            assert_eq!(answer(list(100)).await.status, StatusCode::OK);
        }
        assert_eq!(ask(&server, ADMIN, EXPENSIVE).await.code(), "RATE_LIMITED");
        // 909 points are spent, and at most one per 60 ms has been refilled.
        let mut refused = None;
        for _ in 0..200 {
            let answer = answer(list(100)).await;
            if answer.status != StatusCode::OK {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.unwrap();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.body["error"]["code"], "RATE_LIMITED");
        assert!(refused.header(RETRY_AFTER.as_str()).parse::<u64>().unwrap() >= 1);
        server.clock.advance(Duration::from_secs(61));
        assert_eq!(answer(list(100)).await.status, StatusCode::OK);
    }

    /// Operations on a WebSocket spend points as well.
    async fn websocket_operations_are_charged(database: Database) {
        let server = limited(database).await;
        let mut request = format!("{}/graphql", server.url.replace("http://", "ws://")).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let init = json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {ADMIN}") } });
        socket.send(Message::text(init.to_string())).await.unwrap();
        let mut answers = Vec::new();
        for id in ["1", "2"] {
            let subscribe = json!({ "id": id, "type": "subscribe", "payload": { "query": EXPENSIVE } });
            socket.send(Message::text(subscribe.to_string())).await.unwrap();
            loop {
                let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["id"] == id && (message["type"] == "next" || message["type"] == "error") {
                    answers.push(message["payload"].clone());
                    break;
                }
            }
        }
        assert_eq!(answers[0]["extensions"]["cost"]["complexity"], EXPENSIVE_COST, "{}", answers[0]);
        assert!(answers[1].to_string().contains("RATE_LIMITED"), "{}", answers[1]);
    }
}
