//! GraphQL over WebSocket, protocol `graphql-transport-ws`, with the limits and rights of every other request.
//!
//! A browser cannot set headers on a socket, so the token comes in the payload of `connection_init`. It is looked up
//! again for each operation: a revoked token ends with the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::futures_util::stream::{self, BoxStream, StreamExt};
use async_graphql::{Data, Executor, Request, Response as Answer, ServerError};
use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::{HeaderValue, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::graphql::handler::{Face, error, polished};
use crate::graphql::request::Parts;
use crate::http::RequestId;
use crate::viewer::{self, Viewer};

const PROTOCOL: HeaderValue = HeaderValue::from_static("graphql-transport-ws");

/// Upgrades a request to a socket.
pub async fn upgrade(face: Face, id: RequestId, mut head: request::Parts) -> Response {
    let offered =
        head.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !offered.flat_map(|value| value.split(',')).any(|protocol| protocol.trim() == "graphql-transport-ws") {
        let message = "The WebSocket protocol spoken here is graphql-transport-ws.";
        return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", message);
    }
    // A client that offers the older protocol as well gets this one.
    head.headers.insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    let bearer = viewer_secret(&head);
    let protocol = match GraphQLProtocol::from_request_parts(&mut head, &()).await {
        Ok(protocol) => protocol,
        Err(status) => return status.into_response(),
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let max = face.app.config.max_query_size;
    upgrade.max_message_size(max).max_frame_size(max).protocols(["graphql-transport-ws"]).on_upgrade(
        move |stream| {
            let socket = Socket { face: face.clone(), id, running: Arc::new(AtomicUsize::new(0)) };
            GraphQLWebSocket::new(stream, socket, protocol)
                .on_connection_init(move |payload| async move { greet(&face, bearer, &payload).await })
                .serve()
        },
    )
}

/// The token a socket was opened with.
struct Secret(String);

fn viewer_secret(head: &request::Parts) -> Option<String> {
    crate::http::bearer(&head.headers).map(str::to_owned)
}

async fn greet(face: &Face, bearer: Option<String>, payload: &Value) -> async_graphql::Result<Data> {
    let sent = ["Authorization", "authorization"].iter().find_map(|name| payload.get(name)?.as_str());
    let secret = match sent {
        Some(text) => crate::http::bearer_of(text).map(str::to_owned),
        None => bearer,
    };
    let secret = secret.ok_or_else(|| async_graphql::Error::new("Unauthorized"))?;
    Viewer::from_secret(&face.app.db.read, &secret, face.app.clock.now())
        .await
        .map_err(|_| async_graphql::Error::new("Unauthorized"))?;
    let mut data = Data::default();
    data.insert(Secret(secret));
    Ok(data)
}

/// Runs the operations of one socket.
#[derive(Clone)]
struct Socket {
    face: Face,
    id: RequestId,
    running: Arc<AtomicUsize>,
}

/// Counts an operation for as long as it runs.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Socket {
    async fn run(self, request: Request, secret: Option<String>) -> Answer {
        let running = Running(self.running.clone());
        if self.running.fetch_add(1, Ordering::Relaxed) >= self.face.app.config.max_socket_operations {
            drop(running);
            return refused("Too many operations on this socket at once.", "TOO_MANY_OPERATIONS", self.id);
        }
        let viewer = match secret {
            Some(secret) => {
                Viewer::from_secret(&self.face.app.db.read, &secret, self.face.app.clock.now()).await
            }
            None => Err(viewer::unauthenticated()),
        };
        let viewer = match viewer {
            Ok(viewer) => Arc::new(viewer),
            Err(problem) => {
                problem.log();
                let refusal = problem.public();
                return refused(&refusal.message, refusal.code.as_str(), self.id);
            }
        };
        let answer = self.face.execute(request, &viewer, Parts::default(), false, self.id).await;
        drop(running);
        answer.unwrap_or_default()
    }
}

impl Executor for Socket {
    async fn execute(&self, request: Request) -> Answer {
        self.clone().run(request, None).await
    }

    fn execute_stream(&self, request: Request, session: Option<Arc<Data>>) -> BoxStream<'static, Answer> {
        let secret = session.and_then(|data| {
            data.get(&std::any::TypeId::of::<Secret>())?.downcast_ref::<Secret>().map(|s| s.0.clone())
        });
        stream::once(self.clone().run(request, secret)).boxed()
    }
}

fn refused(message: &str, code: &str, id: RequestId) -> Answer {
    let mut problem = ServerError::new(message, None);
    problem.extensions.get_or_insert_default().set("code", code);
    polished(Answer::from_errors(vec![problem]), id)
}
