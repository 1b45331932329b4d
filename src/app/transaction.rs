//! Transactions that write.

use std::sync::Arc;

use sea_orm::entity::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use tokio::sync::Notify;

use super::Writer;

/// A transaction that writes. Its commit notifies [`Db::committed`](super::Db::committed).
pub struct Transaction {
    inner: DatabaseTransaction,
    writer: Writer,
    committed: Arc<Notify>,
}

impl Transaction {
    pub(super) fn new(inner: DatabaseTransaction, writer: Writer, committed: &Arc<Notify>) -> Self {
        Transaction { inner, writer, committed: Arc::clone(committed) }
    }

    /// Commits. With full durability, the changes are on disk when this returns.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.inner.commit().await?;
        self.committed.notify_one();
        self.writer.sync().await
    }

    /// Rolls back.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.inner.rollback().await
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.writer.statements.record(&statement);
        self.inner.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.writer.statements.record(&statement);
        self.inner.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.writer.statements.record(&statement);
        self.inner.query_all_raw(statement).await
    }
}
