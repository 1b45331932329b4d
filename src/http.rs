//! What both faces stand on: request ids, bearer credentials, error answers, the handling of bodies, and the transfer of
//! files.

pub mod credential;

mod condition;

mod digest;

pub mod encoding;

pub mod error;

pub mod framing;

pub mod panic;

pub mod rate_limit;

pub mod request_id;

pub mod transfer;

use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use request_id::RequestId;

/// Serves a router until `stop` is cancelled, then finishes the requests in progress. A client that is still sending
/// receives its error answer nevertheless.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    http_serve::serve(listener, router.layer(middleware::from_fn(framing::reject_unsupported)), stop).await
}
