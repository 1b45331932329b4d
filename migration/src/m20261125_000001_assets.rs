use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

// Tags, metadata and settings of files and images, placeholders and colours, the policy of a workspace, the trash, imports,
// direct uploads by PUT, and idempotency keys.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DbBackend::Postgres => crate::execute(manager, POSTGRES_FILE).await?,
            _ => rebuild_file(manager).await?,
        }
        crate::execute(manager, UP).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(
            "cannot be undone: the former tables cannot hold files in the trash and unfinished imports"
                .to_owned(),
        ))
    }
}

/// Rebuilds the table with foreign keys off, because SQLite cannot change a check constraint (SQLite documentation, "Making
/// Other Kinds Of Table Schema Changes"). The pragma applies to one connection, and the pool that migrates has only one.
async fn rebuild_file(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    crate::execute(manager, "PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE").await?;
    crate::execute(manager, SQLITE_FILE).await?;
    crate::execute(manager, "COMMIT; PRAGMA foreign_keys = ON").await
}

const POSTGRES_FILE: &str = r#"
ALTER TABLE file DROP CONSTRAINT file_status_check;
ALTER TABLE file ADD CONSTRAINT file_status_check
    CHECK (status IN ('AWAITING_UPLOAD', 'PROCESSING', 'READY', 'FAILED'));
ALTER TABLE file
    ADD COLUMN tags       {json} NOT NULL DEFAULT '[]',
    ADD COLUMN metadata   {json},
    ADD COLUMN source_url {text},
    ADD COLUMN intent     {json},
    ADD COLUMN deleted_at {time};
DROP INDEX file_by_id;
DROP INDEX file_by_filename;
DROP INDEX file_by_size;
DROP INDEX file_by_workspace_id;
DROP INDEX file_by_workspace_filename;
DROP INDEX file_by_workspace_size
"#;

const SQLITE_FILE: &str = r#"
CREATE TABLE file_next (
    id            {uuid} PRIMARY KEY NOT NULL,
    workspace_id  {uuid} NOT NULL REFERENCES workspace (id),
    created_by    {uuid} REFERENCES "user" (id) ON DELETE SET NULL,
    filename      {text} NOT NULL CHECK (length(filename) BETWEEN 1 AND 255),
    status        {text} NOT NULL CHECK (status IN ('AWAITING_UPLOAD', 'PROCESSING', 'READY', 'FAILED')),
    mime_type     {text},
    size          bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    sha256        {bytes} CHECK (length(sha256) = 32),
    blob_id       {uuid},
    failure       {json},
    image_status  {text} NOT NULL
                  CHECK (image_status IN ('NOT_APPLICABLE', 'QUEUED', 'IN_PROGRESS', 'READY', 'FAILED', 'REMOVED')),
    image_failure {json},
    tags          {json} NOT NULL DEFAULT '[]',
    metadata      {json},
    source_url    {text},
    intent        {json},
    deleted_at    {time},
    removed_at    {time},
    due_at        {time},
    attempts      integer NOT NULL DEFAULT 0,
    created_at    {time} NOT NULL,
    updated_at    {time} NOT NULL,
    CHECK (status <> 'READY' OR (mime_type IS NOT NULL AND sha256 IS NOT NULL AND blob_id IS NOT NULL))
);
INSERT INTO file_next (id, workspace_id, created_by, filename, status, mime_type, size, sha256, blob_id, failure,
                       image_status, image_failure, removed_at, due_at, attempts, created_at, updated_at)
    SELECT id, workspace_id, created_by, filename, status, mime_type, size, sha256, blob_id, failure,
           image_status, image_failure, removed_at, due_at, attempts, created_at, updated_at FROM file;
DROP TABLE file;
ALTER TABLE file_next RENAME TO file;
CREATE INDEX file_by_blob ON file (blob_id);
CREATE INDEX file_due ON file (due_at) WHERE due_at IS NOT NULL
"#;

const UP: &str = r#"
CREATE INDEX file_by_id ON file (id) WHERE removed_at IS NULL AND deleted_at IS NULL;
CREATE INDEX file_by_filename ON file (filename, id) WHERE removed_at IS NULL AND deleted_at IS NULL;
CREATE INDEX file_by_size ON file (size, id) WHERE removed_at IS NULL AND deleted_at IS NULL;
CREATE INDEX file_by_workspace_id ON file (workspace_id, id)
    WHERE removed_at IS NULL AND deleted_at IS NULL AND workspace_id IS NOT NULL;
CREATE INDEX file_by_workspace_filename ON file (workspace_id, filename, id)
    WHERE removed_at IS NULL AND deleted_at IS NULL AND workspace_id IS NOT NULL;
CREATE INDEX file_by_workspace_size ON file (workspace_id, size, id)
    WHERE removed_at IS NULL AND deleted_at IS NULL AND workspace_id IS NOT NULL;
CREATE INDEX file_by_hash ON file (workspace_id, sha256, id) WHERE removed_at IS NULL AND deleted_at IS NULL;

ALTER TABLE workspace ADD COLUMN allowed_mime_types {json} NOT NULL DEFAULT '[]';
ALTER TABLE workspace ADD COLUMN max_file_size bigint CHECK (max_file_size > 0);
ALTER TABLE workspace ADD COLUMN private_by_default boolean NOT NULL DEFAULT false;
ALTER TABLE workspace ADD COLUMN exif_policy {text} NOT NULL DEFAULT 'STRIP_LOCATION'
    CHECK (exif_policy IN ('KEEP_ALL', 'STRIP_LOCATION', 'COPYRIGHT_ONLY', 'STRIP_ALL'));
ALTER TABLE workspace ADD COLUMN on_duplicate {text} NOT NULL DEFAULT 'CREATE'
    CHECK (on_duplicate IN ('CREATE', 'REUSE', 'REJECT'));
ALTER TABLE workspace ADD COLUMN trash_days integer NOT NULL DEFAULT 30 CHECK (trash_days BETWEEN 0 AND 365);

ALTER TABLE image ADD COLUMN alt {text};
ALTER TABLE image ADD COLUMN focal_x double precision CHECK (focal_x BETWEEN 0 AND 1);
ALTER TABLE image ADD COLUMN focal_y double precision CHECK (focal_y BETWEEN 0 AND 1);
ALTER TABLE image ADD COLUMN creator {text};
ALTER TABLE image ADD COLUMN cf_metadata {json};
ALTER TABLE image ADD COLUMN custom_id {text};
ALTER TABLE image ADD COLUMN tags {json} NOT NULL DEFAULT '[]';
ALTER TABLE image ADD COLUMN taken_at {time};
ALTER TABLE image ADD COLUMN has_alpha boolean;
ALTER TABLE image ADD COLUMN thumbhash {bytes};
ALTER TABLE image ADD COLUMN blurhash {text};
ALTER TABLE image ADD COLUMN dominant_color {text};
ALTER TABLE image ADD COLUMN palette {json} NOT NULL DEFAULT '[]';
ALTER TABLE image ADD COLUMN switching_to boolean;
ALTER TABLE image ADD COLUMN analysis_due_at {time};
ALTER TABLE image ADD COLUMN analysis_attempts integer NOT NULL DEFAULT 0;
UPDATE image SET analysis_due_at = created_at WHERE format <> 'SVG';
CREATE INDEX image_analysis_due ON image (analysis_due_at) WHERE analysis_due_at IS NOT NULL;

ALTER TABLE direct_upload ADD COLUMN transport {text} NOT NULL DEFAULT 'FORM_POST'
    CHECK (transport IN ('FORM_POST', 'PUT'));
ALTER TABLE direct_upload ADD COLUMN mime_type {text};
ALTER TABLE direct_upload ADD COLUMN size bigint;
ALTER TABLE direct_upload ADD COLUMN max_size bigint NOT NULL DEFAULT 10485760;
ALTER TABLE direct_upload ADD COLUMN bytes_received bigint NOT NULL DEFAULT 0;

ALTER TABLE api_token ADD COLUMN last_used_at {time};

CREATE TABLE idempotency_key (
    user_id          {uuid} NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    key              {text} NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash     {bytes} NOT NULL CHECK (length(request_hash) = 32),
    file_id          {uuid} NOT NULL,
    direct_upload_id {uuid},
    deduplicated     boolean NOT NULL DEFAULT false,
    created_at       {time} NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_key_by_time ON idempotency_key (created_at);

CREATE TABLE secret (
    name       {text} PRIMARY KEY NOT NULL,
    value      {bytes} NOT NULL CHECK (length(value) = 32),
    created_at {time} NOT NULL
)
"#;
