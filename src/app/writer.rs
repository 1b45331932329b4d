//! The connection that writes, and how its commits reach the disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::entity::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use tokio::sync::Mutex;

use crate::folder;

/// The connections for writing. What it has answered outlasts a power cut, if that is wanted.
#[derive(Clone)]
pub struct Writer {
    inner: DatabaseConnection,
    /// SQLite's log; nothing when the database sees to its disk itself.
    log: Option<Arc<Log>>,
}

impl Writer {
    pub(super) fn new(inner: DatabaseConnection, log: Option<Log>) -> Writer {
        Writer { inner, log: log.map(Arc::new) }
    }

    /// The connections themselves. What is committed through them waits for [`Writer::sync`].
    pub fn connection(&self) -> &DatabaseConnection {
        &self.inner
    }

    /// Returns once everything that is committed by now is on the disk.
    pub async fn sync(&self) -> Result<(), DbErr> {
        match &self.log {
            Some(log) => log.sync().await.map_err(|problem| DbErr::Custom(problem.to_string())),
            None => Ok(()),
        }
    }

    /// Ends the connections.
    pub async fn close(self) -> Result<(), DbErr> {
        self.inner.close().await
    }

    async fn synced<T>(&self, sql: &str, result: T) -> Result<T, DbErr> {
        if !sql.trim_start().get(..6).is_some_and(|verb| verb.eq_ignore_ascii_case("select")) {
            self.sync().await?;
        }
        Ok(result)
    }
}

/// SQLite's write-ahead log. SQLite itself would sync it once per commit while everybody else who writes waits; this syncs
/// it after the commit, once for all who have committed until then.
pub(super) struct Log {
    path: PathBuf,
    /// Commits so far.
    committed: AtomicU64,
    /// How many of them are on the disk. Held while the log is synced.
    synced: Mutex<u64>,
}

impl Log {
    /// The log of a database.
    pub(super) fn of(database: &Path) -> Log {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Log { path: path.into(), committed: AtomicU64::new(0), synced: Mutex::new(0) }
    }

    async fn sync(&self) -> io::Result<()> {
        let mine = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = self.synced.lock().await;
        // Somebody whose turn came first has seen to this commit as well.
        if *synced >= mine {
            return Ok(());
        }
        let all = self.committed.load(Ordering::SeqCst);
        let (path, first) = (self.path.clone(), *synced == 0);
        let synced_now = move || {
            sync_file(&path)?;
            // The log was made when the database was opened: its name must outlast a power cut as well.
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
        // SQLite removes it once everything is in the database and on the disk.
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(problem) => Err(problem),
    }
}

#[async_trait]
impl ConnectionTrait for Writer {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let sql = statement.sql.clone();
        self.synced(&sql, self.inner.execute_raw(statement).await?).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.synced(sql, self.inner.execute_unprepared(sql).await?).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let sql = statement.sql.clone();
        self.synced(&sql, self.inner.query_one_raw(statement).await?).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let sql = statement.sql.clone();
        self.synced(&sql, self.inner.query_all_raw(statement).await?).await
    }
}
