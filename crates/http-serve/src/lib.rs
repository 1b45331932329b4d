//! Serves an axum router over HTTP/1.1 for programs whose clients send large request bodies.
//!
//! A response that is sent before the whole request body has been read reaches the client: see [`serve`].

#![warn(missing_docs)]

mod drain;

mod lingering_close;

use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves a router until `stop` is cancelled, then finishes the requests in progress. A client that is still sending
/// its body receives an error response nevertheless.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let router = router.layer(middleware::from_fn(drain::respond_before_body_ends));
    let stopped = stop.clone().cancelled_owned();
    // As a router it would be copied with all its routes for each connection.
    let router = router.into_make_service();
    axum::serve(lingering_close::LingeringListener { listener, stop }, router)
        .with_graceful_shutdown(stopped)
        .await
}

/// Completes when the process receives SIGINT (Ctrl-C) or SIGTERM.
pub async fn shutdown_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! { _ = interrupt => {}, _ = terminate.recv() => {} }
            }
            Err(_) => drop(interrupt.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
}
