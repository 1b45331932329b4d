//! The database connections for reading.

use std::sync::Arc;

use sea_orm::entity::prelude::async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, SqlxError,
    Statement,
};

use super::db::Statements;

/// How often a read is repeated on another connection. A restart of the database breaks every idle connection at once, and the
/// pool hands them out one by one.
const MAX_RETRIES: u32 = 10;

/// The database connections for reading.
///
/// The pool does not test a connection that was used a moment ago: that is a round trip for every statement. A read that finds
/// its connection broken is therefore repeated on another one, which cannot do harm.
#[derive(Clone)]
pub struct Reader {
    inner: DatabaseConnection,
    statements: Arc<Statements>,
}

impl Reader {
    pub(super) fn new(inner: DatabaseConnection, statements: &Arc<Statements>) -> Reader {
        Reader { inner, statements: Arc::clone(statements) }
    }

    /// Checks that the database answers.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.inner.ping().await
    }

    /// Closes the connections.
    pub async fn close(self) -> Result<(), DbErr> {
        self.inner.close().await
    }
}

#[async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.statements.record(&statement);
        self.inner.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.statements.record(&statement);
        let mut retries = 0;
        loop {
            match self.inner.query_one_raw(statement.clone()).await {
                Err(error) if is_worth_retrying(&error, &mut retries) => {}
                result => return result,
            }
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.statements.record(&statement);
        let mut retries = 0;
        loop {
            match self.inner.query_all_raw(statement.clone()).await {
                Err(error) if is_worth_retrying(&error, &mut retries) => {}
                result => return result,
            }
        }
    }
}

/// Whether what failed, and may be run more than once, should be run again: its connection was broken. Counts.
pub(super) fn is_worth_retrying(error: &DbErr, retries: &mut u32) -> bool {
    *retries += 1;
    *retries <= MAX_RETRIES && is_broken_connection(error)
}

/// Whether an error says that a connection of the pool was closed by the other side. Not a connection that cannot be opened:
/// the pool itself waits for that.
fn is_broken_connection(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    match &**error {
        SqlxError::Io(_) => true,
        // PostgreSQL's codes of a server that shuts down: admin_shutdown, crash_shutdown, cannot_connect_now.
        SqlxError::Database(error) => {
            error.code().is_some_and(|code| matches!(&*code, "57P01" | "57P02" | "57P03"))
        }
        _ => false,
    }
}
