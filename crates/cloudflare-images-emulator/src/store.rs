//! Stored data: rows in a SQLite database, image files in a folder beside it.

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

pub(super) use files::{Files, restrict_permissions};
pub(super) use image::Format;

use super::OpenError;

/// Database and image files.
pub(super) struct Store {
    pub(super) db: DatabaseConnection,
    pub(super) files: Files,
    /// Held between a check and the write that depends on it. Single statements need no lock.
    pub(super) write_lock: Mutex<()>,
}

impl Store {
    /// Opens the store in `data_dir`. Creates folders, tables, the `public` variant and a signing key if they are
    /// missing, and removes drafts that expired a day ago and files without a row.
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
        // SQLite gives the same permissions to the files it creates beside it.
        restrict_permissions(&database, 0o600).map_err(unusable)?;
        let db = connect(&database).await?;
        create_tables(&db).await?;
        variant::ensure_public(&db, now).await?;
        signing_key::ensure_one(&db, now).await?;
        let expired_before = (now - Duration::days(1)).timestamp_millis();
        image::Entity::delete_many()
            .filter(image::COLUMN.blob.is_null())
            .filter(image::COLUMN.expires_ms.lt(expired_before))
            .exec(&db)
            .await?;
        remove_orphans(&db, &files, now).await?;
        Ok(Store { db, files, write_lock: Mutex::new(()) })
    }
}

/// Connections of the pool. With SQLite's write-ahead log, readers wait neither for each other nor for a writer.
const CONNECTIONS: u32 = 4;
/// How long a writer waits for another writer.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

async fn connect(path: &Path) -> Result<DatabaseConnection, DbErr> {
    // The path may contain characters that have a meaning in a URL.
    let path = path.to_string_lossy();
    let mut options =
        ConnectOptions::new(format!("sqlite://{}?mode=rwc", utf8_percent_encode(&path, NON_ALPHANUMERIC)));
    options.max_connections(CONNECTIONS).sqlx_logging(false).map_sqlx_sqlite_opts(|options| {
        options.busy_timeout(BUSY_TIMEOUT).pragma("journal_mode", "WAL").pragma("synchronous", "FULL")
    });
    Database::connect(options).await
}

async fn create_tables(db: &DatabaseConnection) -> Result<(), DbErr> {
    let schema = Schema::new(db.get_database_backend());
    db.execute(schema.create_table_from_entity(image::Entity).if_not_exists()).await?;
    db.execute(schema.create_table_from_entity(variant::Entity).if_not_exists()).await?;
    db.execute(schema.create_table_from_entity(signing_key::Entity).if_not_exists()).await?;
    db.execute(schema.create_table_from_entity(setting::Entity).if_not_exists()).await?;
    // Both lists are in this order and leave out drafts.
    let by_upload =
        "CREATE INDEX IF NOT EXISTS image_by_upload ON image (uploaded_ms, id) WHERE blob IS NOT NULL";
    db.execute_unprepared(by_upload).await?;
    let by_blob = "CREATE INDEX IF NOT EXISTS image_by_blob ON image (blob) WHERE blob IS NOT NULL";
    db.execute_unprepared(by_blob).await?;
    Ok(())
}

/// Removes files without a row: the process ended between storing the file and inserting its row.
async fn remove_orphans(db: &DatabaseConnection, files: &Files, now: DateTime<Utc>) -> Result<(), OpenError> {
    for blob in files.old_blobs(now)? {
        let rows = image::Entity::find().filter(image::COLUMN.blob.eq(blob.as_str())).count(db).await?;
        if rows == 0 {
            files.remove(&blob);
        }
    }
    Ok(())
}

/// Inserts a row; false if its key exists already.
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
