//! The pace of calls to the account: none to the embedded emulator, Cloudflare's rates to a real one, and the batch host for
//! what the rate of the management API does not allow.

use std::num::NonZeroU32;

use cloudflare_images_emulator::{Emulator, Settings, serve};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Database, Server, eventually};
use crate::pictures::png;

/// An emulator that enforces rates, as the account of a server.
struct Account {
    url: String,
    emulator: Emulator,
    _dir: TempDir,
}

impl Account {
    /// The documented rates, the first one scaled down.
    async fn open(rate: u32) -> Account {
        let dir = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = Settings {
            data_dir: dir.path().to_owned(),
            public_url: url.parse().unwrap(),
            account: None,
            read_token: None,
            faults: true,
            rate: NonZeroU32::new(rate),
            batch_rate: NonZeroU32::new(200),
        };
        let emulator = Emulator::open(settings).await.unwrap();
        let served = emulator.clone();
        tokio::spawn(async move { serve(listener, &served, CancellationToken::new()).await });
        Account { url, emulator, _dir: dir }
    }

    /// A server with this account, whose rate is used up until the next call is allowed seconds later.
    async fn busy_server(&self, database: Database, rate: u32) -> Server {
        let at = |path: &str| format!("{}{path}", self.url).parse().unwrap();
        let server = Server::start_with(database, |config| {
            config.cloudflare_account_id = Some(self.emulator.credentials().account_id.clone());
            config.cloudflare_api_token = Some(self.emulator.credentials().api_token.clone());
            config.cloudflare_base_url = at("/client/v4");
            config.cloudflare_batch_url = at("/batch");
            config.cloudflare_upload_url = at("/upload");
            config.cloudflare_delivery_url = at("/imagedelivery");
            config.cloudflare_rate = NonZeroU32::new(rate).unwrap();
        })
        .await;
        // The variants that URLs need are known after this.
        server.file("first.png", png(u32::MAX)).await;
        for _ in 1..rate / 5 {
            server.running.app.cloudflare.find("x").await.unwrap();
        }
        server
    }

    /// Makes calls with this text in their path fail, so many times or always.
    async fn fault(&self, path: &str, times: Option<u32>, fault: Value, server: &Server) {
        let rule = json!({ "path": path, "method": "POST", "times": times, "fault": fault });
        let added = server.http.post(format!("{}/faults", self.url)).json(&rule).send().await.unwrap();
        assert!(added.status().is_success(), "{}", added.text().await.unwrap());
    }

    /// How often a call was made.
    async fn calls(&self, server: &Server, call: &str) -> u64 {
        let answer = server.http.get(format!("{}/faults", self.url)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["calls"][call].as_u64().unwrap_or(0)
    }
}

/// Uploads so many images, eight at a time; returns their files.
async fn upload(server: &Server, count: u32) -> Vec<Value> {
    let uploads = (0..count).map(|i| async move { server.file("a.png", png(i)).await });
    futures_util::stream::iter(uploads).buffer_unordered(8).collect().await
}

fn statuses(files: &[Value]) -> Vec<&str> {
    let mut statuses: Vec<_> = files.iter().map(|file| file["imageStatus"].as_str().unwrap()).collect();
    statuses.dedup();
    statuses
}

async fn ready(server: &Server) -> Value {
    server.query("{ images { totalCount } }", json!({})).await["images"]["totalCount"].clone()
}

both! {
    /// More uploads than Cloudflare allows at once: the embedded emulator has no rate, and none of them waits.
    async fn the_embedded_emulator_is_called_without_a_pace(database: Database) {
        let server = Server::start(database).await;
        let files = upload(&server, 260).await;
        assert_eq!((files.len(), statuses(&files)), (260, vec!["READY"]));
        assert!(server.running.app.cloudflare.settings.rate.is_none());
    }

    /// Uploads beyond the rate of the management API go to the batch host, and are ready all the same.
    async fn a_bulk_upload_goes_to_the_batch_host(database: Database) {
        let account = Account::open(30).await;
        let server = account.busy_server(database, 30).await;
        let files = upload(&server, 40).await;
        assert_eq!(statuses(&files), ["READY"]);
        assert_eq!((server.account_images().await.len(), ready(&server).await), (41, json!(41)));
        assert_eq!(account.calls(&server, "images.create").await, 41);
        assert_eq!(account.calls(&server, "batch_token.get").await, 1);
        let rate_limited = server.running.app.cloudflare.failures.counts();
        assert!(rate_limited.contains(&("rate_limited", 0)), "{rate_limited:?}");
    }

    /// A queue is provisioned and deleted by the batch host, without losing or doubling an image, while uploads go on.
    async fn a_queue_goes_to_the_batch_host(database: Database) {
        let account = Account::open(30).await;
        let server = account.busy_server(database, 30).await;
        account.fault("/images/v1", Some(60), json!({ "kind": "status", "status": 400 }), &server).await;
        let queued = upload(&server, 60).await;
        assert_eq!(statuses(&queued), ["QUEUED"]);
        assert_eq!(server.account_images().await.len(), 1);
        server.clock.advance(std::time::Duration::from_secs(60));
        let uploaded: Vec<Value> = futures_util::stream::iter(100..110)
            .then(|i| { let server = &server; async move { server.file("b.png", png(i)).await } })
            .collect()
            .await;
        assert_eq!(statuses(&uploaded), ["READY"]);
        eventually("all are provisioned", || async { (ready(&server).await == 71).then_some(()) }).await;
        assert_eq!(server.account_images().await.len(), 71);
        assert_eq!(account.calls(&server, "batch_token.get").await, 1);
        let delete = "mutation($id: ID!) { deleteImage(input: { id: $id }) { success userErrors { code } } }";
        let listed = server.query("{ images(first: 100) { nodes { id } } }", json!({})).await;
        let images = listed["images"]["nodes"].as_array().unwrap();
        futures_util::future::join_all(images.iter().map(|image| server.query(delete, json!({ "id": image["id"] })))).await;
        eventually("all are deleted", || async { server.account_images().await.is_empty().then_some(()) }).await;
    }

    /// A batch token that is rejected is replaced, and the upload does not notice.
    async fn a_rejected_batch_token_is_replaced(database: Database) {
        let account = Account::open(30).await;
        let server = account.busy_server(database, 30).await;
        assert_eq!(statuses(&upload(&server, 1).await), ["READY"]);
        account.fault("/batch/", Some(1), json!({ "kind": "status", "status": 401 }), &server).await;
        assert_eq!(server.file("b.png", png(1000)).await["imageStatus"], "READY");
        assert_eq!(account.calls(&server, "batch_token.get").await, 2);
        assert_eq!(server.account_images().await.len(), 3);
    }

    /// If the batch host does not work, the management API takes its calls as its rate allows.
    async fn without_a_batch_host_the_management_api_is_called(database: Database) {
        let account = Account::open(600).await;
        // The next call is allowed after 0.6 seconds.
        let server = account.busy_server(database, 600).await;
        account.fault("/batch/", None, json!({ "kind": "status", "code": 7003 }), &server).await;
        let files = upload(&server, 5).await;
        assert_eq!(statuses(&files), ["READY"]);
        assert_eq!(server.account_images().await.len(), 6);
    }
}
