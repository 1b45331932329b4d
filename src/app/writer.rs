//! The database connections for writing, and the sync of their commits to disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::entity::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use tokio::sync::Mutex;

use super::db::Statements;
use crate::folder;

/// The database connections for writing. With full durability, a statement that writes is on disk when its call returns.
#[derive(Clone)]
pub struct Writer {
    inner: DatabaseConnection,
    /// SQLite's write-ahead log. `None` for PostgreSQL, which syncs its commits, and with less than full durability.
    log: Option<Arc<WriteAheadLog>>,
    pub(super) statements: Arc<Statements>,
}

impl Writer {
    pub(super) fn new(
        inner: DatabaseConnection,
        log: Option<WriteAheadLog>,
        statements: &Arc<Statements>,
    ) -> Writer {
        Writer { inner, log: log.map(Arc::new), statements: Arc::clone(statements) }
    }

    /// The connections. A commit through them is on disk only after [`Writer::sync`].
    pub fn connection(&self) -> &DatabaseConnection {
        &self.inner
    }

    /// Waits until all commits so far are on disk.
    pub async fn sync(&self) -> Result<(), DbErr> {
        match &self.log {
            Some(log) => log.sync().await.map_err(|error| DbErr::Custom(error.to_string())),
            None => Ok(()),
        }
    }

    /// Closes the connections.
    pub async fn close(self) -> Result<(), DbErr> {
        self.inner.close().await
    }

    /// Syncs after a statement, unless it is a `SELECT`, and returns the result.
    async fn synced<T>(&self, sql: &str, result: T) -> Result<T, DbErr> {
        if !sql.trim_start().get(..6).is_some_and(|verb| verb.eq_ignore_ascii_case("select")) {
            self.sync().await?;
        }
        Ok(result)
    }
}

/// SQLite's write-ahead log. SQLite would sync it within each commit, while other writers wait. Here it is synced after the
/// commit, once for all commits since the last sync.
pub(super) struct WriteAheadLog {
    path: PathBuf,
    /// Number of commits.
    committed: AtomicU64,
    /// Number of commits that are on disk. Locked while the log is synced.
    synced: Mutex<u64>,
}

impl WriteAheadLog {
    /// The log of a database file.
    pub(super) fn of(database: &Path) -> WriteAheadLog {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        WriteAheadLog { path: path.into(), committed: AtomicU64::new(0), synced: Mutex::new(0) }
    }

    async fn sync(&self) -> io::Result<()> {
        let commit = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = self.synced.lock().await;
        // Another task has synced this commit together with its own.
        if *synced >= commit {
            return Ok(());
        }
        let all = self.committed.load(Ordering::SeqCst);
        let (path, first) = (self.path.clone(), *synced == 0);
        let synced_now = move || {
            sync_file(&path)?;
            // Opening the database created the log, so its directory entry must be synced too.
            path.parent().filter(|_| first).map_or(Ok(()), folder::sync)
        };
        tokio::task::spawn_blocking(synced_now).await.map_err(io::Error::other)??;
        *synced = all;
        Ok(())
    }
}

fn sync_file(path: &Path) -> io::Result<()> {
    match File::options().write(true).open(path) {
        Ok(log) => log.sync_data(),
        // SQLite removes the log after it has moved everything to the database file and synced that.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl ConnectionTrait for Writer {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.statements.record(&statement);
        let sql = statement.sql.clone();
        self.synced(&sql, self.inner.execute_raw(statement).await?).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.synced(sql, self.inner.execute_unprepared(sql).await?).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.statements.record(&statement);
        let sql = statement.sql.clone();
        self.synced(&sql, self.inner.query_one_raw(statement).await?).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.statements.record(&statement);
        let sql = statement.sql.clone();
        self.synced(&sql, self.inner.query_all_raw(statement).await?).await
    }
}
