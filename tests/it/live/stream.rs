//! Server-sent events: the distinct connections mode of graphql-sse.

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::socket::beginning;
use super::{FOLLOW, from, revoke};
use crate::harness::{ADMIN, Database, Server, eventually};

const EVENTS: &str = "text/event-stream";

/// A stream, event by event.
struct Events {
    response: futures_util::stream::BoxStream<'static, reqwest::Result<Vec<u8>>>,
    received: String,
}

impl Events {
    async fn of(request: RequestBuilder) -> Events {
        let response = request.header(ACCEPT, EVENTS).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream; charset=utf-8");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        Events {
            response: response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed(),
            received: String::new(),
        }
    }

    /// Name and data of the next event; `None` at the end. Comments are skipped.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.received.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.received = rest;
                if event == ":" {
                    continue;
                }
                let (name, data) = event.split_once('\n').unwrap();
                let data = data.strip_prefix("data:").unwrap();
                let data = if data.is_empty() { Value::Null } else { serde_json::from_str(data).unwrap() };
                return Some((name.strip_prefix("event: ").unwrap().to_owned(), data));
            }
            match self.response.next().await {
                Some(chunk) => self.received += std::str::from_utf8(&chunk.unwrap()).unwrap(),
                None => return None,
            }
        }
    }

    async fn answer(&mut self) -> Value {
        let (name, data) = self.next().await.unwrap();
        assert_eq!(name, "next");
        data
    }

    async fn ends(&mut self) {
        assert_eq!(self.next().await, Some(("complete".to_owned(), Value::Null)));
        assert_eq!(self.next().await, None);
    }
}

fn post(server: &Server, query: &str, variables: Value) -> RequestBuilder {
    let body = json!({ "query": query, "variables": variables });
    server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body)
}

fn get(server: &Server, query: &str) -> RequestBuilder {
    server.http.get(format!("{}/graphql", server.url)).bearer_auth(ADMIN).query(&[("query", query)])
}

/// The first answer of a subscription.
pub(crate) async fn first(server: &Server, token: &str, query: &str) -> Value {
    let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(token);
    Events::of(request.json(&json!({ "query": query }))).await.answer().await
}

async fn refused(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["errors"][0]["extensions"]["code"].as_str().unwrap().to_owned())
}

both! {
    /// Events of a subscription, resumed after the last one; over GET as well.
    async fn subscriptions(database: Database) {
        let server = Server::start(database).await;
        let mut events = Events::of(post(&server, FOLLOW, from(&server, &beginning(&server)))).await;
        let file = server.file("a.txt", b"text".to_vec()).await;
        let first = events.answer().await["data"]["assetEvents"].clone();
        assert_eq!((&first["kind"], &first["fileId"], &first["file"]["filename"]), (&json!("FILE_CREATED"), &file["id"], &json!("a.txt")));
        drop(events);
        let app = &server.running.app;
        eventually("all subscriptions end", || async { (app.event_notifier.subscriber_count() == 0 && app.connections.count() == 0).then_some(()) }).await;
        let query = format!("subscription {{ assetEvents(workspaceId: \"{}\", after: {}) {{ kind }} }}", server.workspace, first["cursor"]);
        let mut events = Events::of(get(&server, &query)).await;
        assert_eq!(events.answer().await, json!({ "data": { "assetEvents": { "kind": "FILE_READY" } } }));
        // A client that prefers JSON and accepts event streams gets an event stream where only that is possible.
        let request = post(&server, FOLLOW, from(&server, &beginning(&server))).header(ACCEPT, "application/json, text/event-stream;q=0.5");
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream; charset=utf-8");
    }

    /// Queries and mutations are streams with one answer.
    async fn other_operations(database: Database) {
        let server = Server::start(database).await;
        let query = "{ server { emulated } }";
        for request in [post(&server, query, json!({})), get(&server, query)] {
            let mut events = Events::of(request).await;
            assert_eq!(events.answer().await["data"], json!({ "server": { "emulated": true } }));
            events.ends().await;
        }
        let mutation = "mutation { deleteFile(input: { id: \"fil_00000000000000000000000000\" }) { userErrors { code } } }";
        let mut events = Events::of(post(&server, mutation, json!({}))).await;
        assert_eq!(events.answer().await["data"]["deleteFile"]["userErrors"][0]["code"], "NOT_FOUND");
        events.ends().await;
        let response = get(&server, mutation).header(ACCEPT, EVENTS).send().await.unwrap();
        assert_eq!(response.headers()[ALLOW], "POST");
        assert_eq!(refused(response).await, (405, "METHOD_NOT_ALLOWED".to_owned()));
    }

    /// Invalid requests are refused by status; invalid operations by an event and the end of the stream.
    async fn refusals(database: Database) {
        let server = Server::start_with(database, |config| config.max_connections = 1).await;
        let missing = "subscription { assetEvents(workspaceId: \"wsp_00000000000000000000000000\") { kind } }";
        for (query, code) in [("{", "GRAPHQL_PARSE_FAILED"), ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"), (missing, "NOT_FOUND")] {
            let mut events = Events::of(post(&server, query, json!({}))).await;
            let answer = events.answer().await;
            assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
            assert!(answer.get("data").is_none());
            events.ends().await;
        }
        // Subscriptions cannot be answered without an event stream.
        let plain = post(&server, FOLLOW, json!({ "workspace": server.workspace })).send().await.unwrap();
        assert_eq!(refused(plain).await, (406, "NOT_ACCEPTABLE".to_owned()));
        let plain = get(&server, missing).send().await.unwrap();
        assert_eq!(refused(plain).await, (405, "METHOD_NOT_ALLOWED".to_owned()));
        let batch = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&json!([{ "query": "{ server { version } }" }]));
        assert_eq!(refused(batch.header(ACCEPT, EVENTS).send().await.unwrap()).await, (406, "NOT_ACCEPTABLE".to_owned()));
        let nobody = server.http.post(format!("{}/graphql", server.url)).json(&json!({ "query": missing })).header(ACCEPT, EVENTS);
        assert_eq!(refused(nobody.send().await.unwrap()).await, (401, "UNAUTHENTICATED".to_owned()));
        // The limit on concurrent streams.
        let app = &server.running.app;
        eventually("none is open", || async { (app.connections.count() == 0).then_some(()) }).await;
        let _first = Events::of(post(&server, FOLLOW, json!({ "workspace": server.workspace }))).await;
        let second = post(&server, FOLLOW, json!({ "workspace": server.workspace })).header(ACCEPT, EVENTS).send().await.unwrap();
        assert_eq!(refused(second).await, (429, "TOO_MANY_CONNECTIONS".to_owned()));
    }

    /// A revoked token ends the stream with an error. A server that stops ends it without one, so that clients
    /// reconnect.
    async fn ends(database: Database) {
        let server = Server::start(database).await;
        let token = server.token("a@example.org", Some((&server.workspace, imagegraph::entity::membership::Role::Viewer))).await;
        let body = json!({ "query": FOLLOW, "variables": { "workspace": server.workspace } });
        let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(&token).json(&body);
        let mut events = Events::of(request).await;
        let mut others = Events::of(post(&server, FOLLOW, json!({ "workspace": server.workspace }))).await;
        revoke(&server, &token).await;
        assert_eq!(events.answer().await["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        events.ends().await;
        tokio::join!(server.end(), async { assert_eq!(others.next().await, None) });
    }
}
