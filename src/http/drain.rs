//! Responses that are sent before the whole request body has been read.
//!
//! A short remainder is read concurrently with the response, so that the connection can be used again. A long one is not
//! read here: the response has `Connection: close`, and [`super::lingering_close`] closes the connection. A client that
//! waits for `100 Continue` (RFC 9110, 10.1.1) receives the response instead: hyper sends `100 Continue` when the body is first
//! polled, and here it is not polled.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};

/// Longest remainder that is read, in bytes.
const MAX_DRAINED: u64 = 64 * 1024;
/// Longest time for which the remainder is read.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the response of a handler without waiting for the end of the body, and drains the body or closes the connection.
pub(super) async fn respond_before_body_ends(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waiting = request.version() > Version::HTTP_10 && expects_continue(request.headers());
    let (parts, body) = request.into_parts();
    let body = SharedBody::new(body);
    let mut response = next.run(Request::from_parts(parts, Body::new(body.clone()))).await;
    if body.should_drain(waiting, response.status().is_success()) {
        tokio::spawn(tokio::time::timeout(DRAIN_TIMEOUT, body.drain()));
    } else if !body.is_read() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body of a request, shared between its handler and the task that drains it.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<State>>);

struct State {
    body: Body,
    /// Bytes that are still expected by `Content-Length`; `None` without it.
    remaining: Option<u64>,
    /// The body was polled, so `100 Continue` was sent to a client that waits for it.
    polled: bool,
    ended: bool,
}

impl SharedBody {
    fn new(body: Body) -> SharedBody {
        let remaining = body.size_hint().exact();
        SharedBody(Arc::new(Mutex::new(State { body, remaining, polled: false, ended: false })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the whole body has been read.
    fn is_read(&self) -> bool {
        let state = self.state();
        state.ended || state.remaining == Some(0)
    }

    /// Whether reading the remainder is cheaper than a new connection. The length of a chunked body is unknown: a handler that
    /// succeeded has read nearly all of it, and one that failed may have read nothing.
    fn should_drain(&self, waiting: bool, succeeded: bool) -> bool {
        let state = self.state();
        let not_sent = waiting && !state.polled;
        !state.ended
            && !not_sent
            && state.remaining.map_or(succeeded, |bytes| (1..=MAX_DRAINED).contains(&bytes))
    }

    async fn drain(self) {
        let (mut chunks, mut bytes) = (Body::new(self).into_data_stream(), 0);
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes += chunk.len() as u64;
            if bytes > MAX_DRAINED {
                return;
            }
        }
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = self.state();
        state.polled = true;
        if state.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut state.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                state.remaining = state.remaining.map(|remaining| remaining.saturating_sub(bytes));
            }
            Some(Err(_)) | None => state.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state();
        state.ended || state.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.state().body.size_hint()
    }
}
