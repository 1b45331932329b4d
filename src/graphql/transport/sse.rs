//! GraphQL over server-sent events, one operation per connection: the distinct connections mode of
//! <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>.
//!
//! A browser's `EventSource` can send no header, so it cannot be used: a token never stands in an address.

use std::convert::Infallible;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, ServerError};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::app::App;
use crate::auth::Credential;
use crate::graphql::document::Documents;
use crate::graphql::transport::handler::{Face, error, not_over_get, operation_type};
use crate::graphql::transport::operation::{self, Said};
use crate::graphql::transport::request::Parts;
use crate::http::RequestId;
use crate::id::ApiTokenId;

const COMPLETE: &str = "event: complete\ndata:\n\n";
const ALIVE: &str = ":\n\n";
/// Events that wait for a client to read.
const WAITING: usize = 2;

/// Answers one operation as a stream of events.
pub(super) fn answer(
    face: Face,
    credential: Credential,
    token: ApiTokenId,
    request: Request,
    parts: Parts,
    over_get: bool,
    id: RequestId,
) -> Response {
    if over_get && mutates(&face.documents, &request) {
        return not_over_get().response(id);
    }
    let most = face.app.config.max_connections;
    let Some(place) = face.app.connections.enter(token, most) else {
        let message = format!("This token has {most} connections open; close one first.");
        let mut refused = error(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_CONNECTIONS", &message);
        refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return refused;
    };
    let (events, received) = mpsc::channel(WAITING);
    let app = face.app.clone();
    let said = operation::run(face, Arc::new(credential), request, parts, id);
    // On its own, so that a client that does not read cannot keep it.
    tokio::spawn(app.clone().connections.serve(async move {
        let _place = place;
        produce(&app, said, events).await;
    }));
    let body = stream::unfold(received, |mut received| async {
        let event: Bytes = received.recv().await?;
        Some((Ok::<_, Infallible>(event), received))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Proxies that gather what they pass on would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// Sends what an operation says, and signs of life, until it is over, the client has left or does not read, or the server
/// stops. A stream that ends without `complete` is one to begin again.
async fn produce(app: &App, mut said: BoxStream<'static, Said>, events: mpsc::Sender<Bytes>) {
    let mut alive = tokio::time::interval(app.config.keep_alive);
    loop {
        let (event, last) = tokio::select! {
            () = app.connections.stop.cancelled() => return,
            () = events.closed() => return,
            _ = alive.tick() => (ALIVE.to_owned(), false),
            said = said.next() => match said {
                Some(Said::Next(answer)) => (next(&answer), false),
                Some(Said::Failed(errors)) => (next(&Errors { errors }) + COMPLETE, true),
                Some(Said::Unauthenticated) => (next(&Errors { errors: vec![unauthenticated()] }) + COMPLETE, true),
                Some(Said::Complete) | None => (COMPLETE.to_owned(), true),
            },
        };
        let sent = tokio::select! {
            () = app.connections.stop.cancelled() => return,
            sent = tokio::time::timeout(app.config.send_timeout, events.send(event.into())) => sent,
        };
        if last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

#[derive(Serialize)]
struct Errors {
    errors: Vec<ServerError>,
}

/// JSON has no line breaks, so an event has one line of data. Written without a detour, which would sort its fields.
fn next(answer: &impl Serialize) -> String {
    let answer = serde_json::to_string(answer).unwrap_or_default();
    format!("event: next\ndata: {answer}\n\n")
}

fn unauthenticated() -> ServerError {
    let refusal = crate::auth::unauthenticated().public();
    let mut problem = ServerError::new(refusal.message, None);
    problem.extensions.get_or_insert_default().set("code", refusal.code.as_str());
    problem
}

fn mutates(documents: &Documents, request: &Request) -> bool {
    documents.find(&request.query).is_ok_and(|document| {
        let wanted = operation_type(&document.executable, request.operation_name.as_deref());
        !matches!(wanted, Some(OperationType::Query | OperationType::Subscription))
    })
}
