//! What the emulator keeps: rows in an SQLite database of its own, bytes in a folder beside it.

mod files;
pub(super) mod image;
pub(super) mod setting;
pub(super) mod signing_key;
pub(super) mod variant;

use std::path::Path;

use chrono::{DateTime, Duration, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sea_orm::{
    ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, EntityTrait,
    IntoActiveModel, PaginatorTrait, QueryFilter, Schema,
};
use tokio::sync::Mutex;

pub(super) use files::{Files, close};
pub(super) use image::Format;

use super::OpenError;

/// Rows and bytes.
pub(super) struct Store {
    pub(super) db: DatabaseConnection,
    pub(super) files: Files,
    /// Held from a check to the write that rests on it; single statements need no lock.
    pub(super) changing: Mutex<()>,
}

impl Store {
    /// Opens what `data_dir` holds, making folders, tables, the `public` variant and a signing key where missing,
    /// and forgets drafts and files nothing can need any more.
    pub(super) async fn open(data_dir: &Path, now: DateTime<Utc>) -> Result<Store, OpenError> {
        let files = Files::open(data_dir, now)?;
        let database = data_dir.join("emulator.sqlite");
        let unusable = |source| OpenError::Files { path: database.clone(), source };
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&database)
            .map_err(unusable)?;
        // What SQLite keeps beside it gets the same permissions.
        close(&database, 0o600).map_err(unusable)?;
        let db = connect(&database).await?;
        create_tables(&db).await?;
        variant::ensure_public(&db, now).await?;
        signing_key::ensure_one(&db, now).await?;
        let forgotten = (now - Duration::days(1)).timestamp_millis();
        image::Entity::delete_many()
            .filter(image::COLUMN.blob.is_null())
            .filter(image::COLUMN.expires_ms.lt(forgotten))
            .exec(&db)
            .await?;
        sweep(&db, &files, now).await?;
        Ok(Store { db, files, changing: Mutex::new(()) })
    }
}

/// Connections of the pool. Readers do not wait for each other or for the writer: SQLite's log is write-ahead.
const CONNECTIONS: u32 = 4;
/// How long a writer waits for another one.
const BUSY: std::time::Duration = std::time::Duration::from_secs(10);

async fn connect(path: &Path) -> Result<DatabaseConnection, DbErr> {
    // The path may hold characters a URL gives a meaning to.
    let path = path.to_string_lossy();
    let mut options =
        ConnectOptions::new(format!("sqlite://{}?mode=rwc", utf8_percent_encode(&path, NON_ALPHANUMERIC)));
    options.max_connections(CONNECTIONS).sqlx_logging(false).map_sqlx_sqlite_opts(|options| {
        options.busy_timeout(BUSY).pragma("journal_mode", "WAL").pragma("synchronous", "FULL")
    });
    Database::connect(options).await
}

async fn create_tables(db: &DatabaseConnection) -> Result<(), DbErr> {
    let schema = Schema::new(db.get_database_backend());
    db.execute(schema.create_table_from_entity(image::Entity).if_not_exists()).await?;
    db.execute(schema.create_table_from_entity(variant::Entity).if_not_exists()).await?;
    db.execute(schema.create_table_from_entity(signing_key::Entity).if_not_exists()).await?;
    db.execute(schema.create_table_from_entity(setting::Entity).if_not_exists()).await?;
    // Both lists page by this key and leave drafts out.
    let by_upload =
        "CREATE INDEX IF NOT EXISTS image_by_upload ON image (uploaded_ms, id) WHERE blob IS NOT NULL";
    db.execute_unprepared(by_upload).await?;
    let by_blob = "CREATE INDEX IF NOT EXISTS image_by_blob ON image (blob) WHERE blob IS NOT NULL";
    db.execute_unprepared(by_blob).await?;
    Ok(())
}

/// Removes files that were stored without getting their row, because the process died in between.
async fn sweep(db: &DatabaseConnection, files: &Files, now: DateTime<Utc>) -> Result<(), OpenError> {
    for blob in files.old_blobs(now)? {
        let rows = image::Entity::find().filter(image::COLUMN.blob.eq(blob.as_str())).count(db).await?;
        if rows == 0 {
            files.remove(&blob);
        }
    }
    Ok(())
}

/// Inserts a row; false if its key is taken.
pub(super) async fn insert<M, A>(db: &DatabaseConnection, row: M) -> Result<bool, DbErr>
where
    M: IntoActiveModel<A>,
    A: ActiveModelTrait + sea_orm::ActiveModelBehavior + Send,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    match row.into_active_model().insert(db).await {
        Ok(_) => Ok(true),
        Err(error) => match error.sql_err() {
            Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) => Ok(false),
            _ => Err(error),
        },
    }
}
