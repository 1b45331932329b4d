//! Answers over both transports: the order of the selection, and the rules that apply to other requests.

use futures_util::StreamExt;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::socket::{Socket, beginning};
use super::{FOLLOW, from};
use crate::harness::{ADMIN, Database, Server};
use crate::pictures::photo;

const ORDERED: &str = "query($no: Boolean = false) { z: viewer { user { name @include(if: $no) } } server { version @include(if: $no) emulated } b: __typename a: __typename }";
const ANSWER: &str = r#"{"data":{"z":{"user":{}},"server":{"emulated":true},"b":"Query","a":"Query"}"#;

/// The text of the next message: parsing it as `serde_json::Value` would sort its keys.
async fn text(socket: &mut Socket) -> String {
    loop {
        match socket.0.next().await {
            Some(Ok(Message::Text(text))) => return text.to_string(),
            Some(Ok(_)) => {}
            other => panic!("no text: {other:?}"),
        }
    }
}

/// Everything that one operation sends over server-sent events, as text.
async fn events(server: &Server, query: &str, variables: Value) -> String {
    let body = json!({ "query": query, "variables": variables });
    let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body);
    request.header(ACCEPT, "text/event-stream").send().await.unwrap().text().await.unwrap()
}

both! {
    /// Fields are in the order of the selection, and objects without selected fields are empty.
    async fn answers_keep_their_order(database: Database) {
        let server = Server::start(database).await;
        let mut socket = Socket::connect(&server, ADMIN).await;
        socket.subscribe("a", ORDERED, json!({})).await;
        let said = text(&mut socket).await;
        assert!(said.starts_with(&format!(r#"{{"id":"a","type":"next","payload":{ANSWER}"#)), "{said}");
        let said = events(&server, ORDERED, json!({})).await;
        assert!(said.contains(&format!("event: next\ndata: {ANSWER}")), "{said}");
    }

    /// The same for the events of a subscription.
    async fn deliveries_keep_their_order(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(1)).await;
        let id = file["id"].as_str().unwrap();
        let query = "subscription($w: ID!, $after: String, $no: Boolean = false) { assetEvents(workspaceId: $w, after: $after) { z: kind file { image { width @include(if: $no) } id } fileId a: kind } }";
        let variables = json!({ "w": server.workspace, "after": beginning(&server) });
        let ordered = format!(r#"{{"data":{{"assetEvents":{{"z":"FILE_CREATED","file":{{"image":{{}},"id":"{id}"}},"fileId":"{id}","a":"FILE_CREATED"}}}}"#);
        let mut socket = Socket::connect(&server, ADMIN).await;
        socket.subscribe("a", query, variables.clone()).await;
        let said = text(&mut socket).await;
        assert!(said.starts_with(&format!(r#"{{"id":"a","type":"next","payload":{ordered}"#)), "{said}");
        let body = json!({ "query": query, "variables": variables });
        let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body);
        let mut chunks = request.header(ACCEPT, "text/event-stream").send().await.unwrap().bytes_stream();
        let mut said = String::new();
        while !said.contains("data: ") {
            said += std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap();
        }
        assert!(said.contains(&format!("event: next\ndata: {ordered}")), "{said}");
    }

    /// Variables of the wrong type are refused before anything runs.
    async fn variables_are_coerced(database: Database) {
        let server = Server::start(database).await;
        let half = "mutation($n: String!, $t: DateTime) {
            a: createWorkspace(input: { name: \"half\" }) { workspace { id } }
            b: createWorkspace(input: { name: $n }) { workspace { id } }
            c: updateFile(input: { id: 1, ifUpdatedAt: $t }) { userErrors { code } }
        }";
        let mut socket = Socket::connect(&server, ADMIN).await;
        for variables in [json!({}), json!({ "n": null }), json!({ "n": 1 }), json!({ "n": "x", "t": "nope" })] {
            socket.subscribe("a", half, variables.clone()).await;
            assert_eq!(socket.refusal().await, "GRAPHQL_VALIDATION_FAILED", "{variables}");
            let said = events(&server, half, variables.clone()).await;
            assert!(said.contains("GRAPHQL_VALIDATION_FAILED") && !said.contains("\"data\""), "{variables}: {said}");
        }
        for variables in [json!({}), json!({ "workspace": null }), json!({ "workspace": server.workspace, "kinds": ["NOPE"] })] {
            socket.subscribe("a", FOLLOW, variables.clone()).await;
            assert_eq!(socket.refusal().await, "GRAPHQL_VALIDATION_FAILED", "{variables}");
        }
        let found = server.query("{ workspaces { nodes { name } } }", json!({})).await;
        assert_eq!(found["workspaces"]["nodes"], json!([{ "name": "My workspace" }]));
        // A single value is coerced to a list.
        let mut variables = from(&server, &beginning(&server));
        variables["kinds"] = json!("FILE_READY");
        socket.subscribe("b", FOLLOW, variables).await;
        server.file("a.txt", b"text".to_vec()).await;
        assert_eq!(socket.event().await["kind"], "FILE_READY");
    }

    /// A socket stays open when a persisted query is declined, and payloads come back as they were sent.
    async fn persisted_queries_are_declined(database: Database) {
        let server = Server::start(database).await;
        let mut socket = Socket::connect(&server, ADMIN).await;
        let extensions = json!({ "persistedQuery": { "version": 1, "sha256Hash": "0".repeat(64) } });
        socket.send(json!({ "id": "a", "type": "subscribe", "payload": { "extensions": extensions } })).await;
        let message = socket.message().await;
        assert_eq!((&message["id"], &message["type"]), (&json!("a"), &json!("error")));
        assert_eq!(message["payload"][0]["message"], "PersistedQueryNotSupported");
        assert_eq!(message["payload"][0]["extensions"]["code"], "PERSISTED_QUERY_NOT_SUPPORTED");
        socket.subscribe("a", "{ server { emulated } }", json!({})).await;
        assert_eq!(socket.message().await["payload"]["data"], json!({ "server": { "emulated": true } }));
        assert_eq!(socket.message().await, json!({ "id": "a", "type": "complete" }));
        let payload = r#"{"$serde_json::private::RawValue":"[1,2]","a":{"$serde_json::private::RawValue":"{"}}"#;
        socket.send_text(&format!(r#"{{"type":"ping","payload":{payload}}}"#)).await;
        assert_eq!(text(&mut socket).await, format!(r#"{{"type":"pong","payload":{payload}}}"#));
        let mut other = Socket::open(&server, &[]).await;
        let payload = format!(r#"{{"Authorization":"Bearer {ADMIN}","x":{{"$serde_json::private::RawValue":"["}}}}"#);
        other.send_text(&format!(r#"{{"type":"connection_init","payload":{payload}}}"#)).await;
        assert_eq!(other.message().await, json!({ "type": "connection_ack" }));
    }
}
