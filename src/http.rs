//! HTTP handling that GraphQL and REST share: request ids, bearer tokens, error responses, request bodies, and the transfer
//! of files.

pub mod credential;

mod condition;

mod digest;

mod drain;

pub mod encoding;

pub mod error;

pub mod framing;

mod lingering_close;

pub mod panic;

pub mod rate_limit;

pub mod request_id;

pub mod transfer;

use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use request_id::RequestId;

/// Serves a router until `stop` is cancelled, then finishes the requests in progress. A client receives an error response even
/// if it is still sending the body.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let router = router
        .layer(middleware::from_fn(framing::reject_unsupported))
        .layer(middleware::from_fn(drain::respond_before_body_ends));
    let stopped = stop.clone().cancelled_owned();
    axum::serve(lingering_close::LingeringListener { listener, stop }, router)
        .with_graceful_shutdown(stopped)
        .await
}
