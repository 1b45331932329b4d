//! A `graphql-transport-ws` client that returns every message as it comes.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use imagegraph::entity::event::{EventKind, Model};
use imagegraph::id::FileId;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::harness::Server;

/// Timeout for messages that have to come.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Socket(pub(super) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects without sending `connection_init`.
    pub(super) async fn open(server: &Server, headers: &[(&'static str, String)]) -> Socket {
        let url = format!("{}/graphql", server.url.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Socket(tokio_tungstenite::connect_async(request).await.unwrap().0)
    }

    /// Connects with a token.
    pub(super) async fn connect(server: &Server, token: &str) -> Socket {
        let mut socket = Socket::open(server, &[]).await;
        let payload = json!({ "Authorization": format!("Bearer {token}") });
        socket.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.message().await, json!({ "type": "connection_ack" }));
        socket
    }

    pub(super) async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends a message as it is.
    pub(super) async fn send_text(&mut self, message: &str) {
        self.0.send(Message::text(message.to_owned())).await.unwrap();
    }

    pub(super) async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.send(json!({ "id": id, "type": "subscribe", "payload": payload })).await;
    }

    /// The next message, or the code and reason of a close.
    pub(super) async fn next(&mut self) -> Result<Value, (u16, String)> {
        // Keep-alive messages are skipped.
        let late = tokio::time::Instant::now() + TIMEOUT;
        loop {
            let message = tokio::time::timeout_at(late, self.0.next()).await.expect("a message in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    // Answers the close.
                    let _ = self.0.next().await;
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }

    pub(super) async fn message(&mut self) -> Value {
        self.next().await.unwrap()
    }

    /// The next event of the only subscription. Events of finished analyses, which come at any time, are skipped.
    pub(super) async fn event(&mut self) -> Value {
        loop {
            let event = self.any_event().await;
            if event["kind"] != "IMAGE_ANALYSED" {
                return event;
            }
        }
    }

    /// The next event of the only subscription.
    pub(super) async fn any_event(&mut self) -> Value {
        let message = self.message().await;
        assert_eq!(message["type"], "next", "{message:#}");
        let answer = &message["payload"];
        assert!(answer.get("errors").is_none(), "{answer:#}");
        answer["data"]["assetEvents"].clone()
    }

    pub(super) async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// The code of the error that comes next.
    pub(super) async fn refusal(&mut self) -> String {
        let message = self.message().await;
        assert_eq!(message["type"], "error", "{message:#}");
        message["payload"][0]["extensions"]["code"].as_str().unwrap().to_owned()
    }
}

/// A cursor before all events of the first workspace.
pub(crate) fn beginning(server: &Server) -> String {
    imagegraph::event::cursor(&Model {
        seq: 0,
        workspace_id: server.workspace.parse().unwrap(),
        kind: EventKind::FileCreated,
        file_id: FileId::new(server.clock.now()),
        image_id: None,
        at: server.clock.now(),
    })
}
