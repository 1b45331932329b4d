use sea_orm_migration::prelude::*;

// The partial indexes by workspace have the condition `workspace_id IS NOT NULL`, which is always true. It keeps SQLite from
// using them for lists over all workspaces, which its planner would do by a skip-scan and a sort once it has statistics.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::execute(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::execute(manager, DOWN).await
    }
}

const UP: &str = r#"
CREATE TABLE workspace (
    id         {uuid} PRIMARY KEY NOT NULL,
    name       {text} NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    created_at {time} NOT NULL,
    updated_at {time} NOT NULL
);
CREATE INDEX workspace_by_name ON workspace (name, id);

CREATE TABLE "user" (
    id         {uuid} PRIMARY KEY NOT NULL,
    name       {text} NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    email      {text} UNIQUE,
    role       {text} NOT NULL CHECK (role IN ('ADMIN', 'MEMBER')),
    created_at {time} NOT NULL
);

CREATE TABLE membership (
    id           {uuid} PRIMARY KEY NOT NULL,
    workspace_id {uuid} NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    user_id      {uuid} NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    role         {text} NOT NULL CHECK (role IN ('OWNER', 'EDITOR', 'VIEWER')),
    created_at   {time} NOT NULL,
    UNIQUE (user_id, workspace_id)
);
CREATE INDEX membership_by_workspace ON membership (workspace_id, id);

CREATE TABLE api_token (
    id           {uuid} PRIMARY KEY NOT NULL,
    user_id      {uuid} NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    workspace_id {uuid} REFERENCES workspace (id) ON DELETE CASCADE,
    name         {text} NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    hint         {text} NOT NULL,
    secret_hash  {bytes} NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    scopes       {json} NOT NULL,
    expires_at   {time},
    revoked_at   {time},
    created_at   {time} NOT NULL
);
CREATE INDEX api_token_by_user ON api_token (user_id, id);
CREATE INDEX api_token_by_workspace ON api_token (workspace_id, id);

CREATE TABLE file (
    id            {uuid} PRIMARY KEY NOT NULL,
    workspace_id  {uuid} NOT NULL REFERENCES workspace (id),
    created_by    {uuid} REFERENCES "user" (id) ON DELETE SET NULL,
    filename      {text} NOT NULL CHECK (length(filename) BETWEEN 1 AND 255),
    status        {text} NOT NULL CHECK (status IN ('AWAITING_UPLOAD', 'READY', 'FAILED')),
    mime_type     {text},
    size          bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    sha256        {bytes} CHECK (length(sha256) = 32),
    blob_id       {uuid},
    failure       {json},
    image_status  {text} NOT NULL
                  CHECK (image_status IN ('NOT_APPLICABLE', 'QUEUED', 'IN_PROGRESS', 'READY', 'FAILED', 'REMOVED')),
    image_failure {json},
    removed_at    {time},
    due_at        {time},
    attempts      integer NOT NULL DEFAULT 0,
    created_at    {time} NOT NULL,
    updated_at    {time} NOT NULL,
    CHECK (status <> 'READY' OR (mime_type IS NOT NULL AND sha256 IS NOT NULL AND blob_id IS NOT NULL))
);
CREATE INDEX file_by_id ON file (id) WHERE removed_at IS NULL;
CREATE INDEX file_by_filename ON file (filename, id) WHERE removed_at IS NULL;
CREATE INDEX file_by_size ON file (size, id) WHERE removed_at IS NULL;
CREATE INDEX file_by_workspace_id ON file (workspace_id, id)
    WHERE removed_at IS NULL AND workspace_id IS NOT NULL;
CREATE INDEX file_by_workspace_filename ON file (workspace_id, filename, id)
    WHERE removed_at IS NULL AND workspace_id IS NOT NULL;
CREATE INDEX file_by_workspace_size ON file (workspace_id, size, id)
    WHERE removed_at IS NULL AND workspace_id IS NOT NULL;
CREATE INDEX file_by_blob ON file (blob_id);
CREATE INDEX file_due ON file (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE image (
    id                  {uuid} PRIMARY KEY NOT NULL,
    workspace_id        {uuid} NOT NULL REFERENCES workspace (id),
    file_id             {uuid} NOT NULL REFERENCES file (id),
    filename            {text} NOT NULL,
    size                bigint NOT NULL,
    mime_type           {text} NOT NULL,
    format              {text} NOT NULL
                        CHECK (format IN ('AVIF', 'GIF', 'HEIC', 'JPEG', 'PNG', 'SVG', 'WEBP', 'OTHER')),
    width               integer CHECK (width > 0),
    height              integer CHECK (height > 0),
    animated            boolean NOT NULL,
    exif                {json},
    require_signed_urls boolean NOT NULL,
    state               {text} NOT NULL CHECK (state IN ('PENDING', 'READY', 'FAILED', 'REMOVING')),
    cf_image_id         {text} UNIQUE,
    account_hash        {text},
    due_at              {time},
    attempts            integer NOT NULL DEFAULT 0,
    created_at          {time} NOT NULL,
    updated_at          {time} NOT NULL,
    CHECK (state <> 'READY' OR (cf_image_id IS NOT NULL AND account_hash IS NOT NULL))
);
CREATE UNIQUE INDEX image_of_file ON image (file_id) WHERE state <> 'REMOVING';
CREATE INDEX image_by_file ON image (file_id);
CREATE INDEX image_by_id ON image (id) WHERE state = 'READY';
CREATE INDEX image_by_filename ON image (filename, id) WHERE state = 'READY';
CREATE INDEX image_by_size ON image (size, id) WHERE state = 'READY';
CREATE INDEX image_by_workspace_id ON image (workspace_id, id)
    WHERE state = 'READY' AND workspace_id IS NOT NULL;
CREATE INDEX image_by_workspace_filename ON image (workspace_id, filename, id)
    WHERE state = 'READY' AND workspace_id IS NOT NULL;
CREATE INDEX image_by_workspace_size ON image (workspace_id, size, id)
    WHERE state = 'READY' AND workspace_id IS NOT NULL;
CREATE INDEX image_due ON image (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE direct_upload (
    id                  {uuid} PRIMARY KEY NOT NULL,
    workspace_id        {uuid} NOT NULL REFERENCES workspace (id),
    file_id             {uuid} REFERENCES file (id) ON DELETE SET NULL,
    image_id            {uuid} NOT NULL,
    created_by          {uuid} REFERENCES "user" (id) ON DELETE SET NULL,
    status              {text} NOT NULL CHECK (status IN ('OPEN', 'COMPLETED', 'EXPIRED', 'CANCELLED', 'FAILED')),
    require_signed_urls boolean NOT NULL,
    cf_image_id         {text},
    upload_url          {text},
    failure             {json},
    expires_at          {time} NOT NULL,
    due_at              {time},
    attempts            integer NOT NULL DEFAULT 0,
    created_at          {time} NOT NULL,
    updated_at          {time} NOT NULL
);
CREATE INDEX direct_upload_by_workspace ON direct_upload (workspace_id, id);
CREATE INDEX direct_upload_by_file ON direct_upload (file_id);
CREATE INDEX direct_upload_due ON direct_upload (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE event (
    seq          {serial},
    workspace_id {uuid} NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    kind         {text} NOT NULL,
    file_id      {uuid} NOT NULL,
    image_id     {uuid},
    at           {time} NOT NULL
);
CREATE INDEX event_by_workspace ON event (workspace_id, seq);
CREATE INDEX event_by_time ON event (at)
"#;

const DOWN: &str = r#"
DROP TABLE event;
DROP TABLE direct_upload;
DROP TABLE image;
DROP TABLE file;
DROP TABLE api_token;
DROP TABLE membership;
DROP TABLE "user";
DROP TABLE workspace
"#;
