//! Cost of durability: uploads per second with `IMAGEGRAPH_DURABILITY` full and relaxed, and their ratio, for one client and
//! for sixteen concurrent ones.
//!
//! Run with `cargo bench --bench uploads`; on PostgreSQL with `TEST_DATABASE_URL=postgres://… cargo bench --bench uploads`,
//! where the URL names an empty database. The disk of the folder for temporary files is measured: `TMPDIR` chooses another.

#![expect(clippy::unwrap_used, reason = "a failed step of a benchmark ends it")]
#![expect(clippy::disallowed_methods, reason = "the benchmark reads TEST_DATABASE_URL")]

use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::StreamExt;
use imagegraph::app::Clock;
use imagegraph::config::{Config, Durability};
use imagegraph::server::{self, Running};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const ADMIN: &str = "admin-token-for-benches-0123456789abcdef";
const FILES: usize = 320;
const BYTES: usize = 64 * 1024;
const UPLOAD: &str =
    "mutation($input: UploadFileInput!) { uploadFile(input: $input) { file { id } userErrors { code } } }";

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    config: Config,
    /// The flag that cargo passes to every benchmark.
    #[arg(long)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    println!("{FILES} files of {BYTES} bytes, uploads per second");
    println!("{:>8} {:>10} {:>10} {:>8}", "clients", "full", "relaxed", "ratio");
    for clients in [1, 16] {
        let mut rates = Vec::new();
        for durability in [Durability::Full, Durability::Relaxed] {
            rates.push(uploads_per_second(durability, clients).await);
        }
        println!("{clients:>8} {:>10.0} {:>10.0} {:>8.2}", rates[0], rates[1], rates[0] / rates[1]);
    }
}

/// Uploads per second, the best of three runs.
async fn uploads_per_second(durability: Durability, clients: usize) -> f64 {
    let dir = tempfile::TempDir::new().unwrap();
    let settings = Settings::parse();
    let _ = settings.bench;
    let mut config = settings.config;
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.data_dir = dir.path().to_owned();
    config.database_url = std::env::var("TEST_DATABASE_URL").ok();
    config.cloudflare_account_id = None;
    config.admin_token = Some(ADMIN.to_owned());
    config.durability = durability;
    let running = server::start(config, Clock::default()).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let workspace = first_workspace(&http, &running).await;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let uploads = (0..FILES).map(|_| upload(&http, &running, &workspace));
        futures_util::stream::iter(uploads).buffer_unordered(clients).collect::<Vec<()>>().await;
        best = best.min(start.elapsed());
    }
    running.stop().await;
    FILES as f64 / best.as_secs_f64()
}

/// The id of the workspace that the first start created.
async fn first_workspace(http: &reqwest::Client, running: &Running) -> String {
    let query = json!({ "query": "{ workspaces { nodes { id } } }" });
    let request = http.post(format!("{}graphql", running.public_url)).bearer_auth(ADMIN).json(&query);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["data"]["workspaces"]["nodes"][0]["id"].as_str().unwrap().to_owned()
}

async fn upload(http: &reqwest::Client, running: &Running, workspace: &str) {
    let bytes: Vec<u8> =
        std::iter::repeat_with(rand::random::<u64>).take(BYTES / 8).flat_map(u64::to_le_bytes).collect();
    let input = json!({ "workspaceId": workspace, "file": null });
    let form = Form::new()
        .text("operations", json!({ "query": UPLOAD, "variables": { "input": input } }).to_string())
        .text("map", r#"{"0":["variables.input.file"]}"#)
        .part("0", Part::bytes(bytes).file_name("a.bin"));
    let request = http.post(format!("{}graphql", running.public_url)).bearer_auth(ADMIN).multipart(form);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["uploadFile"]["userErrors"], json!([]), "{answer:#}");
}
