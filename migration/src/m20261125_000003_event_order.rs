use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

// Sequence numbers of events in the order of commits. A reader that continues after a number would miss events of a transaction
// that was assigned a lower number on insertion and commits later. On PostgreSQL a deferred trigger therefore assigns the number
// again at commit, for one transaction per workspace at a time. It takes its lock after all row locks of the transaction, so the
// lock cannot be part of a deadlock. SQLite has one writer at a time, so the order of insertion is that of commits.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute_on_postgres(manager, &[FUNCTION, TRIGGER]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute_on_postgres(
            manager,
            &["DROP TRIGGER event_committed ON event", "DROP FUNCTION event_committed"],
        )
        .await
    }
}

/// Runs statements on PostgreSQL; on SQLite there is nothing to do.
async fn execute_on_postgres(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
    }
    Ok(())
}

/// Sends a notification with the id of the workspace and its newest number, separated by a space.
const FUNCTION: &str = r#"
CREATE FUNCTION event_committed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('imagegraph.event ' || NEW.workspace_id::text, 0));
    UPDATE event SET seq = DEFAULT WHERE seq = NEW.seq RETURNING seq INTO newest;
    PERFORM pg_notify('imagegraph_event', NEW.workspace_id::text || ' ' || newest::text);
    RETURN NULL;
END
$$"#;

const TRIGGER: &str = r#"
CREATE CONSTRAINT TRIGGER event_committed AFTER INSERT ON event
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION event_committed()"#;
