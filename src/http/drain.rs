//! Answers at once, whatever of a request's body has not been read.
//!
//! A short rest is read beside the answer, and the connection can be used again. Of a long one nothing more is read
//! here: the answer says that it is the last one on its connection, which [`super::linger`] closes. A client that waits for
//! `100 Continue` (RFC 9110, 10.1.1) gets the refusal instead, because the HTTP layer sends `100 Continue` when a body
//! is first read, and nothing reads it.

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

/// What is read beside the answer: bytes, and for how long.
const MAX_REST: u64 = 64 * 1024;
const REST_TIME: Duration = Duration::from_secs(5);

/// Answers, and leaves the connection in order.
pub(super) async fn answer_at_once(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits = request.version() > Version::HTTP_10 && waits_for_100(request.headers());
    let (parts, body) = request.into_parts();
    let unread = Unread::new(body);
    let mut response = next.run(Request::from_parts(parts, Body::new(unread.clone()))).await;
    if unread.is_short(waits, response.status().is_success()) {
        tokio::spawn(tokio::time::timeout(REST_TIME, unread.read_on()));
    } else if !unread.is_over() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn waits_for_100(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body of a request, shared by who answers it and who reads its rest.
#[derive(Clone)]
struct Unread(Arc<Mutex<State>>);

struct State {
    body: Body,
    /// Bytes to come, as the client announced them.
    left: Option<u64>,
    /// Somebody wanted to read.
    begun: bool,
    ended: bool,
}

impl Unread {
    fn new(body: Body) -> Unread {
        let left = body.size_hint().exact();
        Unread(Arc::new(Mutex::new(State { body, left, begun: false, ended: false })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is left to read.
    fn is_over(&self) -> bool {
        let state = self.state();
        state.ended || state.left == Some(0)
    }

    /// Whether the rest is worth reading for the sake of the connection. Of a body without a length, all that is known is
    /// that whoever accepted it has read to its end or almost so.
    fn is_short(&self, waits: bool, accepted: bool) -> bool {
        let state = self.state();
        let unasked = waits && !state.begun;
        !state.ended && !unasked && state.left.map_or(accepted, |left| (1..=MAX_REST).contains(&left))
    }

    async fn read_on(self) {
        let (mut chunks, mut bytes) = (Body::new(self).into_data_stream(), 0);
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes += chunk.len() as u64;
            if bytes > MAX_REST {
                return;
            }
        }
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = self.state();
        state.begun = true;
        if state.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut state.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                state.left = state.left.map(|left| left.saturating_sub(bytes));
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
