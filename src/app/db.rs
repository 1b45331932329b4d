//! The database connections of a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::{
    ConnectOptions, Database, DbBackend, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use tokio::sync::Notify;

use super::reader::is_worth_retrying;
use super::{Reader, Transaction, Writer, writer};
use crate::config::Durability;
use crate::folder;

/// The database: a pool for reading and a pool for writing.
///
/// On PostgreSQL they are the same pool. SQLite allows one writer at a time, so the pool for writing has one connection, for
/// which writers wait in the process instead of failing with `SQLITE_BUSY`.
#[derive(Clone)]
pub struct Db {
    pub read: Reader,
    pub write: Writer,
    /// Notified when a transaction of this process commits.
    pub committed: Arc<Notify>,
    statements: Arc<Statements>,
}

/// The SQL statements of a process: their number, and the statements themselves while a test records them.
#[derive(Default)]
pub(super) struct Statements {
    count: AtomicU64,
    #[cfg(debug_assertions)]
    recording: std::sync::Mutex<Option<Vec<sea_orm::Statement>>>,
}

impl Statements {
    pub(super) fn record(
        &self,
        #[cfg_attr(not(debug_assertions), expect(unused))] statement: &sea_orm::Statement,
    ) {
        self.count.fetch_add(1, Ordering::Relaxed);
        #[cfg(debug_assertions)]
        if let Ok(mut recording) = self.recording.lock()
            && let Some(statements) = recording.as_mut()
        {
            statements.push(statement.clone());
        }
    }
}

impl Db {
    /// Opens both pools. A missing SQLite file is created.
    pub async fn open(url: &str, connections: u32, durability: Durability) -> Result<Db, sea_orm::DbErr> {
        let statements = Arc::new(Statements::default());
        let committed = Arc::new(Notify::new());
        if url.starts_with("sqlite:") {
            let file = Arc::new(std::sync::OnceLock::new());
            // A statement that fires triggers keeps the former contents of the pages that it changes until it ends: in memory,
            // instead of a temporary file from 64 KiB on.
            let write = Database::connect(sqlite(url, 1, "memory", &file)).await?;
            let read = Database::connect(sqlite(url, connections, "default", &file)).await?;
            let durable = file.get().filter(|_| durability == Durability::Full);
            let log = durable.map(|file| writer::WriteAheadLog::of(file));
            let write = Writer::new(write, log, &statements);
            return Ok(Db { read: Reader::new(read, &statements), write, committed, statements });
        }
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(connections)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(Duration::from_secs(10))
            // A test is a round trip of its own before each statement, so only connections that may have been closed
            // meanwhile are tested. What is left is up to the reader and to `begin`.
            .test_before_acquire_if_idle_for(Duration::from_secs(1))
            .sqlx_logging(false);
        let both = Database::connect(options).await?;
        let read = Reader::new(both.clone(), &statements);
        Ok(Db { read, write: Writer::new(both, None, &statements), committed, statements })
    }

    /// Begins a transaction that writes.
    pub async fn begin(&self) -> Result<Transaction, sea_orm::DbErr> {
        // Immediate, because a SQLite transaction that reads before it writes fails instead of waiting for a writer in another
        // process.
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.write.connection().get_database_backend() == DbBackend::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let mut retries = 0;
        let inner = loop {
            match self.write.connection().begin_with_options(options).await {
                Err(error) if is_worth_retrying(&error, &mut retries) => {}
                begun => break begun?,
            }
        };
        Ok(Transaction::new(inner, self.write.clone(), &self.committed))
    }

    /// The number of SQL statements run so far.
    pub fn statement_count(&self) -> u64 {
        self.statements.count.load(Ordering::Relaxed)
    }

    /// The statements that run during `work`, by itself or by others, for tests that check query plans. In debug builds only,
    /// because recording locks a mutex for every statement.
    #[cfg(debug_assertions)]
    pub async fn recorded(&self, work: impl Future) -> Vec<sea_orm::Statement> {
        if let Ok(mut recording) = self.statements.recording.lock() {
            *recording = Some(Vec::new());
        }
        work.await;
        self.statements.recording.lock().ok().and_then(|mut recording| recording.take()).unwrap_or_default()
    }
}

/// The options of a SQLite database. Connecting stores the path of its file in `file`.
fn sqlite(
    url: &str,
    connections: u32,
    temp_store: &'static str,
    file: &Arc<std::sync::OnceLock<PathBuf>>,
) -> ConnectOptions {
    let (mut options, file) = (ConnectOptions::new(url), Arc::clone(file));
    // A connection to a file does not break, so it is not tested.
    options.max_connections(connections).sqlx_logging(false).test_before_acquire(false).map_sqlx_sqlite_opts(
        move |options| {
            if make_private(options.get_filename()) {
                let _ = file.set(options.get_filename().to_owned());
            }
            options
                .create_if_missing(true)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(10))
                .pragma("journal_mode", "WAL")
                // The writer syncs the log, once for several commits.
                .pragma("synchronous", "NORMAL")
                .pragma("temp_store", temp_store)
        },
    );
    options
}

/// Restricts a database and its log to the server's own user, because it contains secrets. False for a database that is not a
/// file. Errors are ignored here, because opening the database reports them.
fn make_private(database: &Path) -> bool {
    let name = database.to_string_lossy();
    if name.starts_with(":memory:") || name.starts_with("file:") {
        return false;
    }
    let _ = folder::create_file(database);
    for log in ["-wal", "-shm"] {
        let _ = folder::make_private(Path::new(&format!("{name}{log}")));
    }
    true
}
