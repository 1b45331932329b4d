//! The floor: an axum handler that streams a body to disk, hashes it, and answers when it is there.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

/// Serves the floor, which writes into this folder.
pub(crate) async fn serve(folder: &Path) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("floor listens on {}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/", post(receive))
        .layer(DefaultBodyLimit::disable())
        .with_state(folder.to_owned());
    axum::serve(listener, router).await.unwrap();
}

async fn receive(State(folder): State<PathBuf>, body: Body) -> String {
    let path = folder.join(format!("{:032x}", rand::random::<u128>()));
    let mut file = tokio::fs::File::create(path).await.unwrap();
    let (mut hasher, mut chunks) = (Sha256::new(), body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        hasher.update(&chunk);
        file.write_all(&chunk).await.unwrap();
    }
    // What is acknowledged is on disk, as in the server.
    file.sync_data().await.unwrap();
    hex::encode(hasher.finalize())
}
