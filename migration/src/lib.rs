//! Migrations of imagegraph's tables, one file per change, for SQLite and PostgreSQL. Published migrations are not edited.
//!
//! They are written as SQL with placeholders for the type names that differ, and not with SeaORM's schema builder: the tables
//! depend on partial indexes, check constraints and a byte-wise collation, which the builder does not express for both
//! databases.

pub use sea_orm_migration::prelude::MigratorTrait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

mod m20261121_000001_first_tables;
mod m20261125_000001_assets;
mod m20261125_000002_find;
mod m20261125_000003_event_order;
mod m20261126_000001_neutral_names;
mod m20261126_000002_provision_limits;
mod m20261126_000003_spelling;

/// All migrations, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_first_tables::Migration),
            Box::new(m20261125_000001_assets::Migration),
            Box::new(m20261125_000002_find::Migration),
            Box::new(m20261125_000003_event_order::Migration),
            Box::new(m20261126_000001_neutral_names::Migration),
            Box::new(m20261126_000002_provision_limits::Migration),
            Box::new(m20261126_000003_spelling::Migration),
        ]
    }
}

/// Runs SQL statements separated by `;`. The placeholders `{uuid}`, `{text}`, `{bytes}`, `{json}`, `{time}` and `{serial}` are
/// replaced by the type names of the database.
async fn execute(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let statements: Vec<&str> =
        sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()).collect();
    execute_each(manager, &statements).await
}

/// Runs SQL statements that may contain `;`, as functions and triggers do, with the same placeholders.
async fn execute_each(manager: &SchemaManager<'_>, statements: &[impl AsRef<str>]) -> Result<(), DbErr> {
    // Texts are ordered by bytes on both databases: an order that depends on the locale would differ between servers, and the
    // row comparison of a page could not use the index.
    let names = match manager.get_database_backend() {
        DbBackend::Postgres => [
            ("{uuid}", "uuid"),
            ("{text}", r#"text COLLATE "C""#),
            ("{bytes}", "bytea"),
            ("{json}", "jsonb"),
            ("{time}", "timestamptz"),
            ("{serial}", "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        ],
        _ => [
            ("{uuid}", "blob"),
            ("{text}", "text"),
            ("{bytes}", "blob"),
            ("{json}", "text"),
            ("{time}", "text"),
            ("{serial}", "integer PRIMARY KEY AUTOINCREMENT"),
        ],
    };
    for statement in statements {
        let mut sql = statement.as_ref().to_owned();
        for (placeholder, name) in names {
            sql = sql.replace(placeholder, name);
        }
        manager.get_connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}
