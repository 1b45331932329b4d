//! What every operation is given: the parts of a running server.

mod cached;

mod transaction;

mod writer;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbBackend, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use tokio::sync::{Notify, OnceCell, Semaphore};
use url::Url;

pub use cached::Cached;
pub use transaction::Transaction;
pub use writer::Writer;

use crate::blob::Blobs;
use crate::config::{Config, Durability};
use crate::connections::Connections;
use crate::error::{Error, Result};
use crate::event::Wakes;
use crate::folder;
use crate::id::{ApiTokenId, DirectUploadId, FileId};
use crate::rate::Buckets;
use cloudflare_images::client::Client;
use cloudflare_images::wire::{Key, Variant};

/// Most steps with images the worker takes at once.
const IMAGE_STEPS: usize = 32;

/// A running server's parts; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts, reached through [`App`].
pub struct Parts {
    pub config: Config,
    pub db: Db,
    pub blobs: Blobs,
    pub cloudflare: Client,
    /// Named variants of the account.
    pub variants: Cached<Vec<Variant>>,
    /// Signing keys of the account.
    pub keys: Cached<Vec<Key>>,
    /// Whether the account delivers transformations by URL options.
    pub flexible_variants: Cached<bool>,
    pub clock: Clock,
    /// What each token may still ask for.
    pub buckets: Buckets,
    /// Wakes the worker when something became due.
    pub due: Notify,
    /// Turns of the worker's steps with images: each may hold a connection to the account for long.
    pub image_steps: Arc<Semaphore>,
    /// Which tokens were used when.
    pub token_uses: TokenUses,
    /// Wakes the worker when there is something to fetch.
    pub imports: Notify,
    /// How far down the list of files their bytes were looked for; from the newest on when there is nothing.
    pub checked_down_to: std::sync::Mutex<Option<FileId>>,
    /// Direct uploads whose bytes are arriving here.
    pub receiving: std::sync::Mutex<HashSet<DirectUploadId>>,
    /// What the server signs its own URLs with, once it was needed.
    pub url_secret: OnceCell<Vec<u8>>,
    /// Wakes whoever follows the events of a workspace.
    pub wakes: Wakes,
    /// Sockets and event streams.
    pub connections: Connections,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(config: Config, db: Db, blobs: Blobs, cloudflare: Client, clock: Clock) -> App {
        App(Arc::new(Parts {
            config,
            db,
            blobs,
            cloudflare,
            variants: Cached::default(),
            keys: Cached::default(),
            flexible_variants: Cached::default(),
            clock,
            buckets: Buckets::default(),
            due: Notify::new(),
            image_steps: Arc::new(Semaphore::new(IMAGE_STEPS)),
            token_uses: TokenUses::default(),
            imports: Notify::new(),
            checked_down_to: std::sync::Mutex::default(),
            receiving: std::sync::Mutex::default(),
            url_secret: OnceCell::new(),
            wakes: Wakes::default(),
            connections: Connections::default(),
        }))
    }

    /// Until when a claim made now holds.
    pub fn lease(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + self.config.lease
    }

    /// Where clients reach this server.
    pub fn public_url(&self) -> Result<Url> {
        self.config.public_url.clone().ok_or_else(|| Error::fault("naming the server", "it was not started"))
    }

    /// In debug builds, for the tests that kill a server between two steps: if this is the step asked for, says so in
    /// a file and stands still.
    pub async fn step(&self, name: &'static str) {
        #[cfg(debug_assertions)]
        if self.config.stand_still_at.as_deref() == Some(name) {
            let _ = std::fs::write(self.config.data_dir.join("standing-still"), name);
            std::future::pending::<()>().await;
        }
        #[cfg(not(debug_assertions))]
        let _ = name;
    }
}

/// The database: one pool for reading, one for writing.
///
/// On PostgreSQL they are the same pool. SQLite has one writer at a time, so its writing pool has one connection and
/// writers queue in the process instead of running into `SQLITE_BUSY`.
#[derive(Clone)]
pub struct Db {
    pub read: DatabaseConnection,
    pub write: Writer,
    /// Somebody in this process has committed something.
    pub committed: Arc<Notify>,
    statements: Arc<Statements>,
}

/// The SQL statements of a process: how many, and, while somebody records them, which.
#[derive(Default)]
struct Statements {
    count: AtomicU64,
    recording: std::sync::Mutex<Option<Vec<Statement>>>,
}

impl Statements {
    fn note(&self, statement: &Statement) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut recording) = self.recording.lock()
            && let Some(statements) = recording.as_mut()
        {
            statements.push(statement.clone());
        }
    }
}

impl Db {
    /// Opens both pools; makes a missing SQLite file.
    pub async fn open(url: &str, connections: u32, durability: Durability) -> Result<Db, sea_orm::DbErr> {
        let statements = Arc::new(Statements::default());
        let committed = Arc::new(Notify::new());
        if url.starts_with("sqlite:") {
            let file = Arc::new(std::sync::OnceLock::new());
            let write = connect(sqlite(url, 1, &file), &statements).await?;
            let read = connect(sqlite(url, connections, &file), &statements).await?;
            let durable = file.get().filter(|_| durability == Durability::Full);
            let write = Writer::new(write, durable.map(|file| writer::Log::of(file)));
            return Ok(Db { read, write, committed, statements });
        }
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(connections)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(Duration::from_secs(10))
            .sqlx_logging(false);
        let both = connect(options, &statements).await?;
        Ok(Db { read: both.clone(), write: Writer::new(both, None), committed, statements })
    }

    /// Begins a transaction that is going to write.
    pub async fn begin(&self) -> Result<Transaction, sea_orm::DbErr> {
        // Immediate: a SQLite transaction that reads first and writes later could not wait for another process.
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.write.connection().get_database_backend() == DbBackend::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let inner = self.write.connection().begin_with_options(options).await?;
        Ok(Transaction::new(inner, self.write.clone(), &self.committed))
    }

    /// SQL statements run so far.
    pub fn statements(&self) -> u64 {
        self.statements.count.load(Ordering::Relaxed)
    }

    /// The statements that `work` runs, and whatever else runs meanwhile: for tests that look at their plans.
    pub async fn recorded(&self, work: impl Future) -> Vec<Statement> {
        if let Ok(mut recording) = self.statements.recording.lock() {
            *recording = Some(Vec::new());
        }
        work.await;
        self.statements.recording.lock().ok().and_then(|mut recording| recording.take()).unwrap_or_default()
    }
}

async fn connect(
    options: ConnectOptions,
    statements: &Arc<Statements>,
) -> Result<DatabaseConnection, sea_orm::DbErr> {
    let mut connection = Database::connect(options).await?;
    let statements = Arc::clone(statements);
    connection.set_metric_callback(move |info| statements.note(info.statement));
    Ok(connection)
}

/// Notes in `file` where the database lies.
fn sqlite(url: &str, connections: u32, file: &Arc<std::sync::OnceLock<PathBuf>>) -> ConnectOptions {
    let (mut options, file) = (ConnectOptions::new(url), Arc::clone(file));
    options.max_connections(connections).sqlx_logging(false).map_sqlx_sqlite_opts(move |options| {
        if keep_private(options.get_filename()) {
            let _ = file.set(options.get_filename().to_owned());
        }
        options
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .pragma("journal_mode", "WAL")
            // The log is synced by the writer, for several commits at once.
            .pragma("synchronous", "NORMAL")
    });
    options
}

/// Closes a database to everybody else: secrets are in it. False if it is none on a disk. What is wrong with its folder is
/// said when it is opened.
fn keep_private(database: &Path) -> bool {
    let name = database.to_string_lossy();
    if name.starts_with(":memory:") || name.starts_with("file:") {
        return false;
    }
    let _ = folder::make_file(database);
    for log in ["-wal", "-shm"] {
        let _ = folder::close(Path::new(&format!("{name}{log}")));
    }
    true
}

/// The latest use of each token that is not written down yet.
#[derive(Default)]
pub struct TokenUses(std::sync::Mutex<Noted>);

#[derive(Default)]
struct Noted {
    uses: HashMap<ApiTokenId, DateTime<Utc>>,
    taken_at: Option<DateTime<Utc>>,
}

impl TokenUses {
    /// Notes that a token is used.
    pub fn note(&self, id: ApiTokenId, now: DateTime<Utc>) {
        if let Ok(mut noted) = self.0.lock() {
            noted.uses.insert(id, now);
        }
    }

    /// Takes what is noted, unless that was done less than `step` ago.
    pub fn take(&self, now: DateTime<Utc>, step: TimeDelta) -> HashMap<ApiTokenId, DateTime<Utc>> {
        match self.0.lock() {
            Ok(mut noted) if noted.taken_at.is_none_or(|at| now - at >= step) && !noted.uses.is_empty() => {
                noted.taken_at = Some(now);
                std::mem::take(&mut noted.uses)
            }
            _ => HashMap::new(),
        }
    }
}

/// Where the time comes from; tests may move it.
#[derive(Clone, Default)]
pub struct Clock {
    ahead_millis: Arc<AtomicI64>,
}

impl Clock {
    /// Now, to the millisecond: what every database keeps and every answer shows.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> DateTime<Utc> {
        (Utc::now() + TimeDelta::milliseconds(self.ahead_millis.load(Ordering::Relaxed))).trunc_subsecs(3)
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }
}
