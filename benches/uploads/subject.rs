//! What is measured: the floor, and the program in several ways.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use url::Url;

use crate::load::{Endpoint, exchange};
use crate::process::{ADMIN, Postgres, Process};
use crate::rates::RATES;
use crate::requests::Pictures;

pub(crate) const ACCOUNT: &str = "bench";
pub(crate) const TOKEN: &str = "token-of-the-account-of-the-benchmark";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    /// The account is an emulator in a process of its own, and pictures are not analysed.
    Server,
    Relaxed,
    Analysis,
    /// The account is the embedded emulator.
    Embedded,
    /// The account enforces the documented rates, to which the server keeps, and it can be made to fail.
    Rates,
}

pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    /// What started it.
    command: Command,
    /// The process of the account.
    pub(crate) account: Option<Process>,
    pub(crate) postgres: Option<Postgres>,
    workspace: String,
    /// A database that was made for this subject.
    database: Option<String>,
}

/// Where uploads of a subject go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    workspace: Option<String>,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] =
        [Kind::Floor, Kind::Server, Kind::Relaxed, Kind::Analysis, Kind::Embedded];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Floor => "floor",
            Kind::Server => "server",
            Kind::Relaxed => "relaxed durability",
            Kind::Analysis => "with analysis",
            Kind::Embedded => "with the embedded emulator",
            Kind::Rates => "at the documented rates",
        }
    }
}

impl Subject {
    pub(crate) async fn start(kind: Kind, scratch: &Path) -> Subject {
        let dir = scratch.join(format!("{kind:?}"));
        std::fs::create_dir_all(&dir).unwrap();
        if kind == Kind::Floor {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg("--floor").arg(&dir);
            let process = Process::start(&mut command, "floor listens on ");
            return Subject {
                kind,
                process,
                command,
                account: None,
                postgres: None,
                workspace: String::new(),
                database: None,
            };
        }
        let database = make_database(kind).await;
        let url = database
            .clone()
            .unwrap_or_else(|| format!("sqlite://{}?mode=rwc", dir.join("uploads.sqlite").display()));
        let account = (kind != Kind::Embedded).then(|| emulator(kind, &dir));
        let mut command = Process::command(&url, &dir, None);
        if let Some(account) = &account {
            let at = |path: &str| format!("http://{}{path}", account.address);
            command
                .env("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
                .env("CLOUDFLARE_API_TOKEN", TOKEN)
                .env("CLOUDFLARE_BASE_URL", at("/client/v4"))
                .env("CLOUDFLARE_BATCH_URL", at("/batch"))
                .env("CLOUDFLARE_UPLOAD_URL", at("/upload"))
                .env("CLOUDFLARE_DELIVERY_URL", at("/imagedelivery"));
        }
        if !matches!(kind, Kind::Embedded | Kind::Rates) {
            // The emulator has no rate, and what the server costs is measured.
            command.env("IMAGEGRAPH_CLOUDFLARE_RATE", "4000000000");
        }
        if kind == Kind::Relaxed {
            command.env("IMAGEGRAPH_DURABILITY", "relaxed");
        }
        if kind == Kind::Rates {
            // Each of the refusals would be logged.
            command.env("IMAGEGRAPH_LOG", "off");
        }
        if kind == Kind::Analysis {
            command.env("IMAGEGRAPH_WORKER_INTERVAL", "0.05");
        }
        let process = Process::start(&mut command, "listens on ");
        let workspace = first_workspace(&process).await;
        let postgres = Postgres::of(&url).await;
        Subject { kind, process, command, account, postgres, workspace, database }
    }

    /// Starts the program again, with its worker at work.
    pub(crate) fn restart_with_worker(&mut self) {
        self.process = Process::start(self.command.env_remove("IMAGEGRAPH_WORKER_INTERVAL"), "listens on ");
    }

    pub(crate) fn target(&self) -> Target {
        let workspace = (self.kind != Kind::Floor).then(|| self.workspace.clone());
        Target { address: self.process.address, workspace }
    }

    /// Asks as the admin.
    pub(crate) async fn query(&self, text: &str) -> Value {
        query(&self.process, text).await
    }

    /// SQL statements since its start.
    pub(crate) async fn statements(&self) -> u64 {
        if self.kind == Kind::Floor { 0 } else { self.process.statements().await }
    }

    /// Waits until it does nothing any more; returns its time on a processor.
    pub(crate) async fn idle(&self) -> Duration {
        let mut before = self.process.cpu();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.process.cpu();
            // Looking for work takes less than this.
            if now - before < Duration::from_millis(25) {
                return before;
            }
            before = now;
        }
    }

    pub(crate) async fn end(self) {
        drop((self.process, self.postgres));
        if let Some(url) = self.database {
            let name = Url::parse(&url).unwrap().path().trim_matches('/').to_owned();
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            connect().await.unwrap().execute_unprepared(&drop).await.unwrap();
        }
    }
}

impl Target {
    pub(crate) fn request(&self, pictures: &Pictures, number: u64) -> Vec<u8> {
        match &self.workspace {
            None => pictures.plain(self.address, number),
            Some(workspace) => pictures.mutation(self.address, workspace, number),
        }
    }

    /// An upload is answered with its image.
    pub(crate) fn check(&self, body: &[u8]) {
        if self.workspace.is_some() {
            let answer: Value = serde_json::from_slice(body).unwrap();
            let file = &answer["data"]["uploadFile"]["file"];
            assert!(file["imageStatus"] == "READY" && file["image"]["url"].is_string(), "{answer:#}");
        }
    }
}

/// The emulator of the program, alone.
fn emulator(kind: Kind, dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
    command
        .current_dir(dir)
        .env("IMAGEGRAPH_LISTEN", "127.0.0.1:0")
        .env("IMAGEGRAPH_DATA_DIR", dir.join("account"))
        .args(["emulator", "--account-id", ACCOUNT, "--api-token", TOKEN]);
    if kind == Kind::Rates {
        command.env("IMAGEGRAPH_EMULATOR_FAULTS", "true");
        command.args(RATES.iter().flat_map(|(flag, rate)| [flag, rate]));
    }
    Process::start(&mut command, " listens on ")
}

/// The id of the workspace that the first start created.
async fn first_workspace(process: &Process) -> String {
    let answer = query(process, "{ workspaces { nodes { id } } }").await;
    answer["data"]["workspaces"]["nodes"][0]["id"].as_str().unwrap().to_owned()
}

/// Asks as the admin.
async fn query(process: &Process, query: &str) -> Value {
    let body = json!({ "query": query }).to_string();
    let address = process.address;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&Endpoint { address, request: request.into_bytes().into() }).await;
    serde_json::from_slice(&answer).unwrap()
}

async fn connect() -> Option<sea_orm::DatabaseConnection> {
    let url = std::env::var("DATABASE_URL").ok()?;
    Some(Database::connect(url).await.unwrap())
}

/// A new database beside the one of `DATABASE_URL`; `None` for SQLite.
async fn make_database(kind: Kind) -> Option<String> {
    let connection = connect().await?;
    let name = format!("uploads_{}_{kind:?}", std::process::id()).to_lowercase();
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut url = Url::parse(&std::env::var("DATABASE_URL").unwrap()).unwrap();
    url.set_path(&name);
    Some(url.into())
}
