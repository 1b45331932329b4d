//! GraphQL over server-sent events, one operation per connection: the distinct connections mode of
//! <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>.
//!
//! `EventSource` in browsers cannot be used, because it sends no `Authorization`, and tokens are not accepted in URLs.

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
use crate::graphql::transport::multipart::FileParts;
use crate::graphql::transport::operation::{self, OperationEvent};
use crate::graphql::transport::request::RequestRejection;
use crate::graphql::transport::response::error;
use crate::graphql::transport::service::{GraphqlService, operation_type};
use crate::http::RequestId;
use crate::id::ApiTokenId;

const COMPLETE: &str = "event: complete\ndata:\n\n";
const KEEP_ALIVE: &str = ":\n\n";
/// Events that are buffered for a client that reads slowly.
const BUFFERED_EVENTS: usize = 2;

/// Responds to a request with the events of its operation.
pub(super) fn respond(
    service: GraphqlService,
    credential: Credential,
    token: ApiTokenId,
    request: Request,
    files: FileParts,
    queries_only: bool,
    id: RequestId,
) -> Response {
    if queries_only && is_mutation(&service.documents, &request) {
        return RequestRejection::query_required().into_http(id);
    }
    let max = service.app.config.max_connections;
    let Some(permit) = service.app.connections.acquire(token, max) else {
        let message = format!("This token has {max} connections open; close one first.");
        let mut response = error(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_CONNECTIONS", &message);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    let (events, received) = mpsc::channel(BUFFERED_EVENTS);
    let app = service.app.clone();
    let operation = operation::run(service, Arc::new(credential), request, files, id);
    // In a task of its own: the body of a response is not polled while its client does not read, and so would not notice
    // the timeout or the stop of the server.
    tokio::spawn(app.clone().connections.serve(async move {
        let _permit = permit;
        send_events(&app, operation, events).await;
    }));
    let body = stream::unfold(received, |mut received| async {
        let event: Bytes = received.recv().await?;
        Some((Ok::<_, Infallible>(event), received))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Turns off the buffering of nginx, which would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// Sends the events of an operation, and keep-alive comments, until the operation is complete, the client is gone or does not
/// read, or the server stops. A client that receives no `complete` event may repeat the operation.
async fn send_events(
    app: &App,
    mut operation: BoxStream<'static, OperationEvent>,
    events: mpsc::Sender<Bytes>,
) {
    let mut keep_alive = tokio::time::interval(app.config.keep_alive);
    loop {
        let (event, last) = tokio::select! {
            () = app.connections.stop.cancelled() => return,
            () = events.closed() => return,
            _ = keep_alive.tick() => (KEEP_ALIVE.to_owned(), false),
            event = operation.next() => match event {
                Some(OperationEvent::Next(response)) => (next(&response), false),
                Some(OperationEvent::Error(errors)) => (next(&Errors { errors }) + COMPLETE, true),
                Some(OperationEvent::Unauthenticated) => (next(&Errors { errors: vec![unauthenticated()] }) + COMPLETE, true),
                Some(OperationEvent::Complete) | None => (COMPLETE.to_owned(), true),
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

/// A `next` event. Compact JSON has no line breaks, so the data is one line. Not written through `serde_json::Value`, which
/// sorts the fields of objects.
fn next(response: &impl Serialize) -> String {
    let response = serde_json::to_string(response).unwrap_or_default();
    format!("event: next\ndata: {response}\n\n")
}

fn unauthenticated() -> ServerError {
    let refusal = crate::auth::unauthenticated().public();
    let mut problem = ServerError::new(refusal.message, None);
    problem.extensions.get_or_insert_default().set("code", refusal.code.as_str());
    problem
}

fn is_mutation(documents: &Documents, request: &Request) -> bool {
    documents.find(&request.query).is_ok_and(|document| {
        let operation = operation_type(&document.executable, request.operation_name.as_deref());
        !matches!(operation, Some(OperationType::Query | OperationType::Subscription))
    })
}
