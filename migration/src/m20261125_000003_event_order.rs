use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

// Numbers of events in the order of commits. A number that is drawn when the row is inserted says nothing about when
// others get to see the row: whoever reads on from a number would miss the transaction that drew a lower one and
// commits later. On PostgreSQL the number is therefore drawn anew while the transaction commits, one transaction per
// workspace at a time. The lock is taken when every row lock is held already, so nobody who waits for it is waited for.
// SQLite has one writer at a time: there the order of numbers is the order of commits.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &[FUNCTION, TRIGGER]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &["DROP TRIGGER event_committed ON event", "DROP FUNCTION event_committed"]).await
    }
}

/// Statement by statement: the function's body has semicolons of its own.
async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
    }
    Ok(())
}

/// What is notified is the workspace and the newest number in it.
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
