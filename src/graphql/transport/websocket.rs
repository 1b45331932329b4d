//! GraphQL over WebSocket, protocol `graphql-transport-ws`, with the limits and rights of every other request.
//!
//! One task serves a socket: while it waits for the client to read, it runs nothing and takes nothing, so that no queue
//! can grow; and it does not wait for ever.
//!
//! A browser cannot set headers on a socket, so the token comes in the payload of `connection_init`. It is looked up
//! again for each operation and while subscriptions run: once it is not usable, the socket closes.

mod message;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::ServerError;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::{StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll, StreamExt};
use serde_json::Value;
use tokio::time::Instant;

use self::message::{Closing, Received};
use crate::auth::Credential;
use crate::connections::Place;
use crate::error::{Code, Error};
use crate::graphql::transport::handler::{Face, error};
use crate::graphql::transport::operation::{self, Said};
use crate::graphql::transport::request::Parts;
use crate::http::{RequestId, credential};

const PROTOCOL: &str = "graphql-transport-ws";
/// How much larger a message may be than a request, to be read at all: the rest of one that is not read cannot be read
/// past, and the client would lose the reason of the close.
const MARGIN: usize = 1024 * 1024;
/// How long the closing of a socket may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Upgrades a request to a socket.
pub(super) async fn upgrade(face: Face, id: RequestId, mut head: request::Parts) -> Response {
    let offered =
        head.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !offered.flat_map(|value| value.split(',')).any(|protocol| protocol.trim() == PROTOCOL) {
        let message = "The WebSocket protocol spoken here is graphql-transport-ws.";
        return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", message);
    }
    let bearer = credential::bearer_token(&head.headers).map(str::to_owned);
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let max = face.app.config.max_query_size + MARGIN;
    upgrade.max_message_size(max).max_frame_size(max).protocols([PROTOCOL]).on_upgrade(move |stream| {
        let app = face.app.clone();
        let socket = Socket {
            stream,
            face,
            id,
            bearer,
            session: None,
            operations: HashMap::new(),
            running: SelectAll::new(),
            heard: Instant::now(),
        };
        app.connections.serve(socket.serve())
    })
}

/// Why a socket ends.
enum End {
    /// We close it.
    Close(Closing),
    /// The client closes it.
    Closed,
    /// The client is gone.
    Gone,
}

impl From<Closing> for End {
    fn from(closing: Closing) -> Self {
        End::Close(closing)
    }
}

struct Socket {
    stream: WebSocket,
    face: Face,
    id: RequestId,
    /// The token of the upgrade request.
    bearer: Option<String>,
    /// Since `connection_init`.
    session: Option<Session>,
    /// By their ids, with what stops them.
    operations: HashMap<String, AbortHandle>,
    running: SelectAll<Abortable<BoxStream<'static, (String, Said)>>>,
    /// When the client gave its last sign of life.
    heard: Instant,
}

struct Session {
    credential: Arc<Credential>,
    _place: Place,
}

impl Socket {
    async fn serve(mut self) {
        match self.run().await {
            End::Gone => {}
            End::Closed => self.finish(None).await,
            End::Close(closing) => self.finish(Some(closing)).await,
        }
    }

    async fn run(&mut self) -> End {
        let stop = self.face.app.connections.stop.clone();
        let keep_alive = self.face.app.config.keep_alive;
        let mut tick = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
        let init = tokio::time::sleep(self.face.app.config.socket_init_timeout);
        tokio::pin!(init);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => Err(message::STOPPING.into()),
                () = &mut init, if self.session.is_none() => Err(message::INIT_TIMEOUT.into()),
                _ = tick.tick() => self.keep_alive(keep_alive).await,
                received = self.stream.recv() => self.receive(received).await,
                Some((id, said)) = self.running.next() => self.say(id, said).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Asks for a sign of life. A client that gave none since long ago is gone.
    async fn keep_alive(&mut self, every: Duration) -> Result<(), End> {
        if self.heard.elapsed() > every * 3 {
            return Err(End::Gone);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn receive(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard = Instant::now();
        let text = match received {
            Some(Ok(Message::Text(text))) if text.len() > self.face.app.config.max_query_size => {
                return Err(message::TOO_BIG.into());
            }
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return Err(message::NOT_TEXT.into()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) => return Err(End::Closed),
            None => return Err(End::Gone),
            Some(Err(problem)) if problem.to_string().contains("too long") => {
                return Err(message::TOO_BIG.into());
            }
            Some(Err(_)) => return Err(End::Gone),
        };
        match message::read(&text)? {
            Received::Init(payload) => self.init(&payload).await,
            Received::Ping(payload) => self.send_text(message::pong(payload)).await,
            Received::Pong => Ok(()),
            Received::Subscribe { id, request } => self.subscribe(id, *request).await,
            Received::Refused { id, refusal } => {
                self.send_text(message::error(&id, &refusal.answer().errors)).await
            }
            Received::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
        }
    }

    async fn init(&mut self, payload: &Value) -> Result<(), End> {
        if self.session.is_some() {
            return Err(message::TOO_MANY_INITS.into());
        }
        let sent = ["Authorization", "authorization"].iter().find_map(|name| payload.get(name));
        let secret = match sent {
            Some(sent) => sent.as_str().and_then(credential::parse_bearer).map(str::to_owned),
            None => self.bearer.take(),
        };
        let credential = Credential::new(secret.ok_or(message::FORBIDDEN)?);
        let app = &self.face.app;
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
        let place = app.connections.enter(viewer.token.id, app.config.max_connections);
        let place = place.ok_or(message::TOO_MANY_CONNECTIONS)?;
        self.session = Some(Session { credential: Arc::new(credential), _place: place });
        self.send_text(message::ack()).await
    }

    async fn subscribe(&mut self, id: String, request: async_graphql::Request) -> Result<(), End> {
        let Some(session) = &self.session else { return Err(message::UNAUTHORIZED.into()) };
        if self.operations.contains_key(&id) {
            return Err(message::ID_IN_USE.into());
        }
        let most = self.face.app.config.max_socket_operations;
        if self.operations.len() >= most {
            let message = format!("A socket runs at most {most} operations at once; complete one first.");
            let mut problem = ServerError::new(message, None);
            problem.extensions.get_or_insert_default().set("code", "TOO_MANY_OPERATIONS");
            return self.send_text(message::error(&id, &[problem])).await;
        }
        let credential = Arc::clone(&session.credential);
        let said = operation::run(self.face.clone(), credential, request, Parts::default(), self.id);
        let (stop, stopped) = AbortHandle::new_pair();
        self.operations.insert(id.clone(), stop);
        self.running.push(Abortable::new(said.map(move |said| (id.clone(), said)).boxed(), stopped));
        Ok(())
    }

    async fn say(&mut self, id: String, said: Said) -> Result<(), End> {
        let text = match said {
            Said::Next(answer) => message::next(&id, &answer),
            Said::Unauthenticated => return Err(message::UNAUTHORIZED.into()),
            Said::Failed(errors) => {
                self.operations.remove(&id);
                message::error(&id, &errors)
            }
            Said::Complete => {
                self.operations.remove(&id);
                message::complete(&id)
            }
        };
        self.send_text(text).await
    }

    async fn send_text(&mut self, text: String) -> Result<(), End> {
        self.send(Message::text(text)).await
    }

    /// Sends, and waits until the client has made room for it, but not for ever.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        let timeout = self.face.app.config.send_timeout;
        let stop = self.face.app.connections.stop.clone();
        tokio::select! {
            sent = tokio::time::timeout(timeout, self.stream.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Gone),
                Err(_) => Err(message::NOT_READING.into()),
            },
            () = stop.cancelled() => Err(message::STOPPING.into()),
        }
    }

    /// Says why, if it is us who close, and waits for the other half of the close: dropped before, the connection could
    /// end before the client has read the reason, or our answer to its own close.
    async fn finish(mut self, why: Option<Closing>) {
        self.running.clear();
        let closing = async {
            if let Some(Closing(code, reason)) = why {
                let frame = CloseFrame { code, reason: reason.into() };
                let _ = self.stream.send(Message::Close(Some(frame))).await;
            }
            while let Some(Ok(_)) = self.stream.recv().await {}
        };
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }
}
