//! A server for one test, and functions to talk to it.

mod postgres;

mod program;

mod s3;

pub(crate) use program::{Program, Remote};
pub(crate) use s3::{Bucket, Failure};

use std::time::Duration;

use clap::Parser;
use imagegraph::app::Clock;
use imagegraph::bootstrap::{self, NewToken};
use imagegraph::config::Config;
use imagegraph::entity::api_token::Scope;
use imagegraph::entity::membership;
use imagegraph::id::WorkspaceId;
use imagegraph::rows;
use imagegraph::server::{self, Running};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// Defines each test once and runs it on both databases.
macro_rules! both {
    ($($(#[doc = $doc:literal])* async fn $name:ident($database:ident: Database) $body:block)+) => {
        $(
            $(#[doc = $doc])*
            mod $name {
                use super::*;

                async fn check($database: Database) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    check(Database::Sqlite).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    if $crate::harness::Database::Postgres.is_there() {
                        check(Database::Postgres).await;
                    }
                }
            }
        )+
    };
}

impl Database {
    /// Whether the database can be used here. With `CI=true` it has to be.
    pub(crate) fn is_there(self) -> bool {
        let there = self == Database::Sqlite || postgres::cluster().is_some();
        assert!(
            there || std::env::var("CI").as_deref() != Ok("true"),
            "under CI PostgreSQL must be installed"
        );
        if !there {
            eprintln!("not run on PostgreSQL: install it or set TEST_DATABASE_URL");
        }
        there
    }

    /// The URL of a new, empty database; `None` lets the server create its own file.
    pub(crate) async fn fresh(self) -> Option<String> {
        match self {
            Database::Sqlite => None,
            Database::Postgres => Some(postgres::fresh_database().await),
        }
    }
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    config: Config,
}

/// Settings of a test server: the defaults, independent of the environment.
pub(crate) fn config(dir: &TempDir, database_url: Option<String>) -> Config {
    let mut config = Settings::parse_from(["it"]).config;
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.data_dir = dir.path().to_owned();
    config.public_url = None;
    config.database_url = database_url;
    config.store_url = None;
    config.cloudflare_account_id = None;
    config.admin_token = Some(ADMIN.to_owned());
    config.emulator_faults = true;
    config.import_allow_loopback = true;
    config.crash_point = None;
    // Many servers share one PostgreSQL.
    config.database_connections = 4;
    // Short enough to wait for, and long enough that its statements do not disturb the counts.
    config.worker_interval = Duration::from_millis(100);
    config
}

/// The token of the first admin in every test.
pub(crate) const ADMIN: &str = "admin-token-for-tests-0123456789abcdef";

/// A running server.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) url: String,
    /// The workspace that the first start creates.
    pub(crate) workspace: String,
    pub(crate) http: reqwest::Client,
    pub(crate) clock: Clock,
    pub(crate) dir: TempDir,
}

impl Server {
    /// Starts a server on a fresh database.
    pub(crate) async fn start(database: Database) -> Server {
        Self::start_with(database, |_| {}).await
    }

    /// Starts a server with other settings.
    pub(crate) async fn start_with(database: Database, change: impl FnOnce(&mut Config)) -> Server {
        let dir = TempDir::new().unwrap();
        let mut config = config(&dir, database.fresh().await);
        change(&mut config);
        let clock = Clock::default();
        let running = server::start(config, clock.clone()).await.unwrap();
        let url = running.public_url.as_str().trim_end_matches('/').to_owned();
        let workspace = running.first_start.as_ref().unwrap().workspace.to_string();
        Server { running, url, workspace, http: http(), clock, dir }
    }

    /// Advances the clock, after the worker had time to finish the rows it holds: claims expire by that clock.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    /// Waits until the worker has finished its first round, whose statements would be counted.
    pub(crate) async fn quiet(&self) {
        for _ in 0..100 {
            let before = self.running.app.db.statement_count();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if self.running.app.db.statement_count() == before {
                return;
            }
        }
        panic!("the worker does not become idle");
    }

    /// Stops the server and closes its connections, for tests that start many.
    pub(crate) async fn end(self) {
        self.running.stop().await;
    }

    /// Runs an operation as the admin; returns its `data` and panics on top-level errors.
    pub(crate) async fn query(&self, query: &str, variables: Value) -> Value {
        self.query_as(ADMIN, query, variables).await
    }

    /// Runs an operation; returns its `data` and panics on top-level errors.
    pub(crate) async fn query_as(&self, token: &str, query: &str, variables: Value) -> Value {
        let mut answer = self.ask(token, query, variables).await;
        assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
        answer["data"].take()
    }

    /// Runs an operation; returns the whole body.
    pub(crate) async fn ask(&self, token: &str, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let request = self.http.post(format!("{}/graphql", self.url)).bearer_auth(token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The code of the first top-level error.
    pub(crate) async fn refusal(&self, token: &str, query: &str, variables: Value) -> String {
        let answer = self.ask(token, query, variables).await;
        answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
    }

    /// Uploads bytes into the first workspace as the admin; returns the payload.
    pub(crate) async fn upload(&self, name: &str, bytes: Vec<u8>) -> Value {
        self.upload_as(ADMIN, json!({}), name, "", bytes).await
    }

    /// Uploads bytes; returns the payload. `input` is merged into the input; an empty `content_type` sends none.
    pub(crate) async fn upload_as(
        &self,
        token: &str,
        input: Value,
        name: &str,
        content_type: &str,
        bytes: Vec<u8>,
    ) -> Value {
        let mut full = json!({ "workspaceId": self.workspace, "file": null });
        for (key, value) in input.as_object().unwrap() {
            full[key] = value.clone();
        }
        let mut part = Part::bytes(bytes).file_name(name.to_owned());
        if !content_type.is_empty() {
            part = part.mime_str(content_type).unwrap();
        }
        let operations = json!({ "query": UPLOAD, "variables": { "input": full } });
        let form = Form::new()
            .text("operations", operations.to_string())
            .text("map", r#"{"0":["variables.input.file"]}"#)
            .part("0", part);
        let request = self.http.post(format!("{}/graphql", self.url)).bearer_auth(token).multipart(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{answer:#}");
        answer["data"]["uploadFile"].clone()
    }

    /// Uploads bytes that are expected to be accepted; returns the file.
    pub(crate) async fn file(&self, name: &str, bytes: Vec<u8>) -> Value {
        let payload = self.upload(name, bytes).await;
        assert_eq!(payload["userErrors"], json!([]), "{payload:#}");
        payload["file"].clone()
    }

    /// Creates another workspace; returns its id.
    pub(crate) async fn other_workspace(&self, name: &str) -> String {
        let db = &self.running.app.db;
        let workspace = rows::workspace::insert(&db.write, name, self.clock.now()).await.unwrap();
        workspace.id.to_string()
    }

    /// A token of a user with this membership (workspace and role), or with none.
    pub(crate) async fn token(&self, email: &str, membership: Option<(&str, membership::Role)>) -> String {
        self.token_with(email, membership, Scope::ALL.to_vec(), None).await
    }

    /// A token with these scopes, possibly limited to one workspace.
    pub(crate) async fn token_with(
        &self,
        email: &str,
        membership: Option<(&str, membership::Role)>,
        scopes: Vec<Scope>,
        only: Option<&str>,
    ) -> String {
        let db = &self.running.app.db;
        let parse = |id: &str| id.parse::<WorkspaceId>().unwrap();
        let mut new = NewToken {
            email: Some(email.to_owned()),
            user_name: None,
            name: "test".to_owned(),
            scopes,
            workspace: membership.map(|(workspace, _)| parse(workspace)),
            role: membership.map(|(_, role)| role),
            expires_at: None,
        };
        // The first token, for the workspace, creates the membership; the second one is returned.
        bootstrap::create_token(db, &self.clock, &new).await.unwrap();
        new.role = None;
        new.workspace = only.map(parse);
        bootstrap::create_token(db, &self.clock, &new).await.unwrap()
    }

    /// Adds a fault to the emulator.
    pub(crate) async fn fault(&self, fault: Value) {
        let answer =
            self.http.post(format!("{}/cloudflare/faults", self.url)).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Removes all faults from the emulator.
    pub(crate) async fn remove_faults(&self) {
        self.http.delete(format!("{}/cloudflare/faults", self.url)).send().await.unwrap();
    }

    /// All images in the account, as its API lists them.
    pub(crate) async fn account_images(&self) -> Vec<cloudflare_images::wire::Image> {
        let query = cloudflare_images::client::ListQuery::default();
        self.running.app.cloudflare.list(&query).await.unwrap().images
    }

    /// Names of the originals in the byte store.
    pub(crate) fn originals(&self) -> Vec<String> {
        originals(self.dir.path())
    }

    /// Number of SQL statements for answering a query, its authentication included.
    pub(crate) async fn statements(&self, query: &str, variables: Value) -> u64 {
        let before = self.running.app.db.statement_count();
        self.query(query, variables).await;
        self.running.app.db.statement_count() - before
    }
}

/// Names of the originals in the byte store of a data folder.
pub(crate) fn originals(data_dir: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(data_dir.join("blobs/originals")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// An HTTP client with a timeout. It has its own TLS provider, so that the tests do not install the one that the
/// program has to install itself.
pub(crate) fn http() -> reqwest::Client {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
    client.timeout(Duration::from_secs(60)).no_proxy().build().unwrap()
}

/// Waits until `check` returns a value, at most 20 seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    for _ in 0..400 {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("timed out waiting for: {what}");
}

/// The upload mutation of all tests.
pub(crate) const UPLOAD: &str = "mutation($input: UploadFileInput!) { uploadFile(input: $input) {
    file { id filename mimeType size sha256 status imageStatus imageFailure { code message retryAfter }
           image { id cfImageId url width height format animated exif mimeType requireSignedUrls } }
    deduplicated userErrors { code message field retryAfter }
} }";
