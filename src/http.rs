//! HTTP handling that GraphQL and REST share: request ids, bearer tokens, error responses, request bodies, compression, entity
//! tags, and the transfer of files.

pub mod accept_encoding;

pub mod compression;

pub mod credential;

mod condition;

mod digest;

pub mod encoding;

pub mod error;

pub mod framing;

pub mod panic;

pub mod rate_limit;

pub mod request_id;

pub mod revalidation;

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
    http_serve::serve(listener, router.layer(middleware::from_fn(framing::reject_unsupported)), stop).await
}
