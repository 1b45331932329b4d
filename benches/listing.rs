//! Time of the first and the deepest page of a list of 100,000 images, in every order, compared with fetching the same number
//! of images by their ids; and of filters, searches and totals, compared with the first page.
//!
//! Run with `cargo bench --bench listing`; on PostgreSQL with `TEST_DATABASE_URL=postgres://… cargo bench --bench listing`,
//! where the URL names an empty database.

#![expect(clippy::unwrap_used, reason = "a failed step of a benchmark ends it")]
#![expect(clippy::disallowed_methods, reason = "the benchmark reads TEST_DATABASE_URL")]

#[path = "../tests/it/seed_rows.rs"]
mod seed_rows;

use std::time::{Duration, Instant};

use clap::Parser;
use imagegraph::app::Clock;
use imagegraph::config::Config;
use imagegraph::rows;
use serde_json::{Value, json};

const ROWS: i64 = 100_000;
/// Number of requests of which the median is taken.
const REPETITIONS: usize = 40;
const ADMIN: &str = "admin-token-for-benches-0123456789abcdef";

const PAGE: &str = "query($after: String, $order: ImageOrder, $w: ID, $ids: [ID!], $filter: ImageFilter) {
    images(first: 100, after: $after, orderBy: $order, workspaceId: $w, ids: $ids, filter: $filter) {
        nodes { id url width height } pageInfo { hasNextPage startCursor endCursor } } }";
const TOTALS: &str = "query($w: ID, $filter: ImageFilter) {
    images(first: 1, workspaceId: $w, filter: $filter) { totalCount totalCountPrecision totalSize } }";

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    config: Config,
    /// The flag that cargo passes to every benchmark.
    #[arg(long)]
    bench: bool,
}

struct Bench {
    http: reqwest::Client,
    url: String,
}

#[tokio::main]
async fn main() {
    let dir = tempfile::TempDir::new().unwrap();
    let settings = Settings::parse();
    let _ = settings.bench;
    let mut config = settings.config;
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.data_dir = dir.path().to_owned();
    config.database_url = std::env::var("TEST_DATABASE_URL").ok();
    config.cloudflare_account_id = None;
    config.admin_token = Some(ADMIN.to_owned());
    config.worker_interval = Duration::from_secs(3600);
    let running = imagegraph::server::start(config, Clock::default()).await.unwrap();
    let db = &running.app.db.write;
    let workspace = running.first_start.as_ref().unwrap().workspace.to_string();
    let clock = Clock::default();
    let other = rows::workspace::insert(db, "other", clock.now()).await.unwrap().id.to_string();
    seed_rows::insert_files_and_images(db.connection(), [&workspace, &other], ROWS).await;
    let bench = Bench {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        url: format!("{}graphql", running.public_url),
    };
    println!("a page of 100 images of {ROWS}, median of {REPETITIONS}; floor: 100 images by their ids");
    println!(
        "{:<12} {:<5} {:<10} {:>9} {:>9} {:>9} {:>13} {:>13}",
        "order", "", "list", "floor", "first", "deepest", "first/floor", "deep/first"
    );
    for field in ["CREATED_AT", "UPDATED_AT", "FILENAME", "SIZE", "WIDTH", "HEIGHT", "TAKEN_AT"] {
        bench.order(field, &workspace).await;
    }
    bench.filters_and_totals(&workspace).await;
    running.stop().await;
}

impl Bench {
    /// The first and the deepest page of a list in the order of a field, as ratios.
    async fn order(&self, field: &str, workspace: &str) {
        for direction in ["ASC", "DESC"] {
            for (list, scope) in [("all", Value::Null), ("workspace", json!(workspace))] {
                let order = json!({ "field": field, "direction": direction });
                let first = self.page(json!({ "order": order, "w": scope })).await;
                let ids: Vec<Value> =
                    first["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect();
                // `last: 100` gives the cursor of the deepest page.
                let last = self.last(json!({ "order": order, "w": scope })).await;
                let deep = last["pageInfo"]["startCursor"].clone();
                let floor = self.time(json!({ "order": order, "w": scope, "ids": ids })).await;
                let near = self.time(json!({ "order": order, "w": scope })).await;
                let far = self.time(json!({ "order": order, "w": scope, "after": deep })).await;
                println!(
                    "{field:<12} {direction:<5} {list:<10} {:>7.2}ms {:>7.2}ms {:>7.2}ms {:>13.2} {:>13.2}",
                    floor,
                    near,
                    far,
                    near / floor,
                    far / near
                );
            }
        }
    }

    /// Filters, searches and totals, as ratios to the first page of the same list.
    async fn filters_and_totals(&self, workspace: &str) {
        println!(
            "\n{:<52} {:>9} {:>9} {:>13}",
            "a page of 100 images by size", "floor", "time", "time/floor"
        );
        let order = json!({ "field": "SIZE", "direction": "DESC" });
        let filter =
            json!({ "format": ["JPEG"], "width": { "min": 100 }, "filename": { "contains": ".JPG" } });
        for (list, scope) in [("all", Value::Null), ("workspace", json!(workspace))] {
            let floor = self.time(json!({ "order": order, "w": scope })).await;
            let last = self.last(json!({ "order": order, "w": scope, "filter": filter })).await;
            let deep = last["pageInfo"]["startCursor"].clone();
            for (what, filter, after) in [
                ("filtered, first page", filter.clone(), Value::Null),
                ("filtered, deepest page", filter.clone(), deep),
                ("search for a word of 100 rows", json!({ "search": "00421" }), Value::Null),
                ("search for a word of all rows", json!({ "search": "jpg" }), Value::Null),
                ("search for a word of one letter", json!({ "search": "7" }), Value::Null),
                ("search for a word of no row", json!({ "search": "nowhere" }), Value::Null),
            ] {
                let time =
                    self.time(json!({ "order": order, "w": scope, "filter": filter, "after": after })).await;
                println!(
                    "{:<52} {floor:>7.2}ms {time:>7.2}ms {:>13.2}",
                    format!("{what}, {list}"),
                    time / floor
                );
            }
            for (what, filter) in
                [("totals", Value::Null), ("totals of the filter, to the cap", filter.clone())]
            {
                let time = self.time_of(TOTALS, json!({ "w": scope, "filter": filter })).await;
                println!(
                    "{:<52} {floor:>7.2}ms {time:>7.2}ms {:>13.2}",
                    format!("{what}, {list}"),
                    time / floor
                );
            }
        }
    }

    async fn page(&self, variables: Value) -> Value {
        self.images(PAGE, variables).await
    }

    async fn last(&self, variables: Value) -> Value {
        let query = "query($order: ImageOrder, $w: ID, $filter: ImageFilter) {
            images(last: 100, orderBy: $order, workspaceId: $w, filter: $filter) { pageInfo { startCursor } } }";
        self.images(query, variables).await
    }

    /// Sends a query, and returns its field `images`.
    async fn images(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let answer = self.http.post(&self.url).bearer_auth(ADMIN).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"]["images"].take()
    }

    /// Median time of a page, in milliseconds.
    async fn time(&self, variables: Value) -> f64 {
        self.time_of(PAGE, variables).await
    }

    async fn time_of(&self, query: &str, variables: Value) -> f64 {
        let mut times = Vec::new();
        for _ in 0..REPETITIONS {
            let began = Instant::now();
            self.images(query, variables.clone()).await;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        times[REPETITIONS / 2]
    }
}
