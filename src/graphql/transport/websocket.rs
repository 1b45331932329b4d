//! GraphQL over WebSocket, protocol `graphql-transport-ws`, with the limits and rights of other requests.
//!
//! `async_graphql_axum::GraphQLWebSocket` is not used: it executes without our limits and the look-ups of rights, and its
//! `GraphQLProtocol` accepts the legacy protocol `graphql-ws` without telling which one was chosen.
//!
//! One task serves a socket. While it waits for the client to read, it receives nothing and executes nothing, so that no
//! queue grows; a timeout ends the wait.
//!
//! Browsers cannot set headers of a WebSocket, so the token is in the payload of `connection_init`. It is looked up again for
//! each operation and during subscriptions. The socket is closed when the token is no longer usable.

mod message;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::ServerError;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::{StatusCode, request};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll, StreamExt};
use serde_json::Value;
use tokio::time::Instant;

use self::message::{ClientMessage, CloseReason};
use crate::auth::Credential;
use crate::connections::ConnectionPermit;
use crate::error::{Code, Error};
use crate::graphql::transport::multipart::FileParts;
use crate::graphql::transport::operation::{self, OperationEvent};
use crate::graphql::transport::response::error;
use crate::graphql::transport::service::GraphqlService;
use crate::http::{RequestId, credential};

const PROTOCOL: &str = "graphql-transport-ws";
/// How much larger than a request a message may be and still be received. Behind a message that is not received nothing can be
/// received either, and the client would not see the close frame.
const OVERSIZE_MARGIN: usize = 1024 * 1024;
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Upgrades a request to a WebSocket.
pub(super) async fn upgrade(service: GraphqlService, id: RequestId, mut head: request::Parts) -> Response {
    let bearer_token = credential::bearer_token(&head.headers).map(str::to_owned);
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade.protocols([PROTOCOL]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        let message = "The only WebSocket protocol that is supported is graphql-transport-ws.";
        return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", message);
    }
    let max = service.app.config.max_query_size + OVERSIZE_MARGIN;
    upgrade.max_message_size(max).max_frame_size(max).on_upgrade(move |stream| {
        let app = service.app.clone();
        let socket = Socket {
            stream,
            service,
            id,
            bearer_token,
            session: None,
            operations: HashMap::new(),
            running: SelectAll::new(),
            last_received: Instant::now(),
        };
        app.connections.serve(socket.serve())
    })
}

/// Why a socket ends.
enum Disconnect {
    /// The server closes it.
    Close(CloseReason),
    /// The client closes it.
    ClosedByClient,
    /// The connection is lost.
    Lost,
}

impl From<CloseReason> for Disconnect {
    fn from(reason: CloseReason) -> Self {
        Disconnect::Close(reason)
    }
}

struct Socket {
    stream: WebSocket,
    service: GraphqlService,
    id: RequestId,
    /// The token of the upgrade request.
    bearer_token: Option<String>,
    /// `None` before `connection_init`.
    session: Option<Session>,
    /// Handles of the running operations, by id.
    operations: HashMap<String, AbortHandle>,
    running: SelectAll<Abortable<BoxStream<'static, (String, OperationEvent)>>>,
    /// When the last message or pong arrived.
    last_received: Instant,
}

struct Session {
    credential: Arc<Credential>,
    /// Held for as long as the socket is open.
    _permit: ConnectionPermit,
}

impl Socket {
    async fn serve(mut self) {
        match self.run().await {
            Disconnect::Lost => {}
            Disconnect::ClosedByClient => self.close(None).await,
            Disconnect::Close(reason) => self.close(Some(reason)).await,
        }
    }

    async fn run(&mut self) -> Disconnect {
        let stop = self.service.app.connections.stop.clone();
        let keep_alive = self.service.app.config.keep_alive;
        let mut tick = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
        let init = tokio::time::sleep(self.service.app.config.socket_init_timeout);
        tokio::pin!(init);
        loop {
            let result = tokio::select! {
                () = stop.cancelled() => Err(message::STOPPING.into()),
                () = &mut init, if self.session.is_none() => Err(message::INIT_TIMEOUT.into()),
                _ = tick.tick() => self.keep_alive(keep_alive).await,
                received = self.stream.recv() => self.receive(received).await,
                Some((id, event)) = self.running.next() => self.forward(id, event).await,
            };
            if let Err(disconnect) = result {
                return disconnect;
            }
        }
    }

    /// Sends a ping. A client that has not answered the last ones is lost.
    async fn keep_alive(&mut self, interval: Duration) -> Result<(), Disconnect> {
        if self.last_received.elapsed() > interval * 3 {
            return Err(Disconnect::Lost);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn receive(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), Disconnect> {
        self.last_received = Instant::now();
        let text = match received {
            Some(Ok(Message::Text(text))) if text.len() > self.service.app.config.max_query_size => {
                return Err(message::TOO_BIG.into());
            }
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return Err(message::NOT_TEXT.into()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) => return Err(Disconnect::ClosedByClient),
            None => return Err(Disconnect::Lost),
            Some(Err(problem)) if problem.to_string().contains("too long") => {
                return Err(message::TOO_BIG.into());
            }
            Some(Err(_)) => return Err(Disconnect::Lost),
        };
        match message::parse(&text)? {
            ClientMessage::ConnectionInit(payload) => self.connection_init(&payload).await,
            ClientMessage::Ping(payload) => self.send_text(message::pong(payload)).await,
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe { id, request } => self.subscribe(id, *request).await,
            ClientMessage::Rejected { id, rejection } => {
                self.send_text(message::error(&id, &rejection.response().errors)).await
            }
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
        }
    }

    async fn connection_init(&mut self, payload: &Value) -> Result<(), Disconnect> {
        if self.session.is_some() {
            return Err(message::TOO_MANY_INITS.into());
        }
        let sent = ["Authorization", "authorization"].iter().find_map(|name| payload.get(name));
        let secret = match sent {
            Some(sent) => sent.as_str().and_then(credential::parse_bearer).map(str::to_owned),
            None => self.bearer_token.take(),
        };
        let credential = Credential::new(secret.ok_or(message::FORBIDDEN)?);
        let app = &self.service.app;
        let viewer = match credential.viewer(app, Duration::ZERO).await {
            Ok(viewer) => viewer,
            Err(Error::Refusal(refusal)) if refusal.code == Code::Unauthenticated => {
                return Err(message::FORBIDDEN.into());
            }
            Err(problem) => {
                problem.log();
                return Err(message::FAULT.into());
            }
        };
        let permit = app.connections.acquire(viewer.token.id, app.config.max_connections);
        let permit = permit.ok_or(message::TOO_MANY_CONNECTIONS)?;
        self.session = Some(Session { credential: Arc::new(credential), _permit: permit });
        self.send_text(message::ack()).await
    }

    async fn subscribe(&mut self, id: String, request: async_graphql::Request) -> Result<(), Disconnect> {
        let Some(session) = &self.session else { return Err(message::UNAUTHORIZED.into()) };
        if self.operations.contains_key(&id) {
            return Err(message::ID_IN_USE.into());
        }
        let max_operations = self.service.app.config.max_socket_operations;
        if self.operations.len() >= max_operations {
            let message = format!(
                "A socket runs at most {max_operations} operations at the same time; complete one first."
            );
            let mut problem = ServerError::new(message, None);
            problem.extensions.get_or_insert_default().set("code", "TOO_MANY_OPERATIONS");
            return self.send_text(message::error(&id, &[problem])).await;
        }
        let credential = Arc::clone(&session.credential);
        let events = operation::run(self.service.clone(), credential, request, FileParts::default(), self.id);
        let (handle, registration) = AbortHandle::new_pair();
        self.operations.insert(id.clone(), handle);
        self.running.push(Abortable::new(events.map(move |event| (id.clone(), event)).boxed(), registration));
        Ok(())
    }

    async fn forward(&mut self, id: String, event: OperationEvent) -> Result<(), Disconnect> {
        let text = match event {
            OperationEvent::Next(response) => message::next(&id, &response),
            OperationEvent::Unauthenticated => return Err(message::UNAUTHORIZED.into()),
            OperationEvent::Error(errors) => {
                self.operations.remove(&id);
                message::error(&id, &errors)
            }
            OperationEvent::Complete => {
                self.operations.remove(&id);
                message::complete(&id)
            }
        };
        self.send_text(text).await
    }

    async fn send_text(&mut self, text: String) -> Result<(), Disconnect> {
        self.send(Message::text(text)).await
    }

    /// Sends a message, and waits with a timeout until the client has read enough to make room for it.
    async fn send(&mut self, message: Message) -> Result<(), Disconnect> {
        let timeout = self.service.app.config.send_timeout;
        let stop = self.service.app.connections.stop.clone();
        tokio::select! {
            sent = tokio::time::timeout(timeout, self.stream.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Disconnect::Lost),
                Err(_) => Err(message::NOT_READING.into()),
            },
            () = stop.cancelled() => Err(message::STOPPING.into()),
        }
    }

    /// Sends a close frame if the server closes, and waits for the closing handshake. Without the wait, the connection could
    /// end before the client has read the frame.
    async fn close(mut self, reason: Option<CloseReason>) {
        self.running.clear();
        let closing = async {
            if let Some(CloseReason(code, reason)) = reason {
                let frame = CloseFrame { code, reason: reason.into() };
                let _ = self.stream.send(Message::Close(Some(frame))).await;
            }
            while let Some(Ok(_)) = self.stream.recv().await {}
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }
}
