//! Reads on what an early answer left unread.
//!
//! A client that is still sending when the connection closes loses the answer: the refusal of a large upload would look
//! like a broken network.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::stream::{self, StreamExt};
use tokio::sync::Mutex;

/// How much of an unread body is read on, in bytes and in time.
const MAX_DRAINED: usize = 32 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Answers, then reads on within bounds.
pub(super) async fn after_answer(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let rest = Arc::new(Mutex::new(body.into_data_stream()));
    let shared = stream::unfold(Arc::clone(&rest), |rest| async move {
        let chunk = rest.lock().await.next().await?;
        Some((chunk, rest))
    })
    .fuse();
    let response = next.run(Request::from_parts(parts, Body::from_stream(shared))).await;
    let _ = tokio::time::timeout(DRAIN_TIME, drain(&rest)).await;
    response
}

async fn drain(rest: &Mutex<BodyDataStream>) {
    let (mut rest, mut bytes) = (rest.lock().await, 0);
    while let Some(Ok(chunk)) = rest.next().await {
        bytes += chunk.len();
        if bytes > MAX_DRAINED {
            return;
        }
    }
}
