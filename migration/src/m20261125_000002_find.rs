use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

// Indexes for every order of the lists, a search text with an index, and counters per workspace that are maintained by
// triggers, so that no code path can miss them. A migration that rebuilds `file` or `image` on SQLite has to create their
// triggers again.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        if postgres {
            create_extension(manager).await?;
            crate::execute_each(manager, &POSTGRES_COLUMNS).await?;
        } else {
            crate::execute_each(manager, &["BEGIN IMMEDIATE"]).await?;
            crate::execute_each(manager, &SQLITE_COLUMNS).await?;
            crate::execute_each(manager, &sqlite_search("file", "filename, tags", "NULL")).await?;
            crate::execute_each(manager, &sqlite_search("image", "filename, alt, tags", "alt")).await?;
        }
        crate::execute_each(manager, &indexes()).await?;
        crate::execute_each(manager, &USAGE).await?;
        for counters in COUNTERS {
            let statements = if postgres { counters.postgres() } else { counters.sqlite() };
            crate::execute_each(manager, &statements).await?;
        }
        if !postgres {
            crate::execute_each(manager, &["COMMIT"]).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        crate::execute_each(manager, &drops(postgres)).await
    }
}

/// Creates the extension for trigram indexes, by which a substring search is an index condition. It is a trusted extension:
/// every role with the CREATE privilege on the database may create it.
async fn create_extension(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    crate::execute_each(manager, &["CREATE EXTENSION IF NOT EXISTS pg_trgm"]).await.map_err(|problem| {
        DbErr::Migration(format!(
            "search needs PostgreSQL's extension pg_trgm, which this role cannot create ({problem}). Let an \
             administrator run `CREATE EXTENSION pg_trgm` in this database, or grant the role CREATE on the \
             database, and start again."
        ))
    })
}

// Pages are found by comparing sort keys, and a comparison with NULL is never true. Each nullable column that lists are ordered
// by therefore has a generated key column that is not null.

const POSTGRES_COLUMNS: [&str; 6] = [
    "ALTER TABLE image
         ADD COLUMN width_key bigint GENERATED ALWAYS AS (coalesce(width, 0)) STORED,
         ADD COLUMN height_key bigint GENERATED ALWAYS AS (coalesce(height, 0)) STORED,
         ADD COLUMN taken_at_key {time}
             GENERATED ALWAYS AS (coalesce(taken_at, '0001-01-01T00:00:00+00:00'::timestamptz)) STORED",
    "CREATE FUNCTION searchable(filename text, alt text, tags jsonb) RETURNS text
         LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
             SELECT filename || chr(10) || coalesce(alt, '') || chr(10) || coalesce(
                 (SELECT string_agg(tag, chr(10)) FROM jsonb_array_elements_text(tags) AS tag), '')
         $$",
    // In the default collation of the database, because ILIKE folds only ASCII letters in the collation "C".
    "ALTER TABLE file ADD COLUMN search_text text GENERATED ALWAYS AS (searchable(filename, NULL, tags)) STORED",
    "ALTER TABLE image ADD COLUMN search_text text GENERATED ALWAYS AS (searchable(filename, alt, tags)) STORED",
    // Without fastupdate: each search would have to read the list of pending entries, and the planner would avoid the index.
    "CREATE INDEX file_by_text ON file USING gin (search_text gin_trgm_ops) WITH (fastupdate = off)",
    "CREATE INDEX image_by_text ON image USING gin (search_text gin_trgm_ops) WITH (fastupdate = off)
         WHERE state = 'READY'",
];

const SQLITE_COLUMNS: [&str; 3] = [
    "ALTER TABLE image ADD COLUMN width_key bigint GENERATED ALWAYS AS (coalesce(width, 0)) VIRTUAL",
    "ALTER TABLE image ADD COLUMN height_key bigint GENERATED ALWAYS AS (coalesce(height, 0)) VIRTUAL",
    "ALTER TABLE image ADD COLUMN taken_at_key {time}
         GENERATED ALWAYS AS (coalesce(taken_at, '0001-01-01T00:00:00+00:00')) VIRTUAL",
];

/// FTS5 tables refer to rows by integers, and the primary keys of `file` and `image` are UUIDs. The tables `file_text` and
/// `image_text` map one to the other and hold the text that is searched.
fn sqlite_search(table: &str, columns: &str, alt: &str) -> Vec<String> {
    let body = |row: &str| {
        let alt = if alt == "NULL" { alt.to_owned() } else { format!("{row}.{alt}") };
        format!(
            "{row}.filename || char(10) || coalesce({alt}, '') || char(10) ||
             (SELECT coalesce(group_concat(value, char(10)), '') FROM json_each({row}.tags))"
        )
    };
    let (new, all) = (body("new"), body(table));
    let (before, after) = (qualified(columns, "old"), qualified(columns, "new"));
    let insert = format!("INSERT INTO {table}_search (rowid, body) VALUES (new.n, new.body)");
    let delete = format!(
        "INSERT INTO {table}_search ({table}_search, rowid, body) VALUES ('delete', old.n, old.body)"
    );
    vec![
        format!(
            "CREATE TABLE {table}_text (n integer PRIMARY KEY, id {{uuid}} NOT NULL UNIQUE, body text NOT NULL)"
        ),
        format!("INSERT INTO {table}_text (id, body) SELECT id, {all} FROM {table}"),
        format!(
            "CREATE VIRTUAL TABLE {table}_search
             USING fts5(body, content = '{table}_text', content_rowid = 'n', tokenize = 'trigram')"
        ),
        format!("INSERT INTO {table}_search ({table}_search) VALUES ('rebuild')"),
        format!(
            "CREATE TRIGGER {table}_text_insert AFTER INSERT ON {table} BEGIN
                 INSERT INTO {table}_text (id, body) VALUES (new.id, {new});
             END"
        ),
        format!(
            "CREATE TRIGGER {table}_text_update AFTER UPDATE OF {columns} ON {table}
             WHEN ({before}) IS NOT ({after}) BEGIN
                 UPDATE {table}_text SET body = {new} WHERE id = new.id;
             END"
        ),
        format!(
            "CREATE TRIGGER {table}_text_delete AFTER DELETE ON {table} BEGIN
                 DELETE FROM {table}_text WHERE id = old.id;
             END"
        ),
        format!("CREATE TRIGGER {table}_search_insert AFTER INSERT ON {table}_text BEGIN {insert}; END"),
        format!(
            "CREATE TRIGGER {table}_search_update AFTER UPDATE ON {table}_text BEGIN {delete}; {insert}; END"
        ),
        format!("CREATE TRIGGER {table}_search_delete AFTER DELETE ON {table}_text BEGIN {delete}; END"),
    ]
}

/// The columns of a comma-separated list, each with the name of its row before it.
fn qualified(columns: &str, row: &str) -> String {
    columns.split(", ").map(|column| format!("{row}.{column}")).collect::<Vec<_>>().join(", ")
}

/// Two indexes for each order of each list, over all workspaces and by workspace. They are partial: they contain the rows that
/// the list shows. The trash is a list of its own.
fn indexes() -> Vec<String> {
    let trash = "removed_at IS NULL AND deleted_at IS NOT NULL";
    [
        ("file", "file_by", "updated_at", "updated_at", "removed_at IS NULL AND deleted_at IS NULL"),
        ("file", "file_trash_by", "id", "", trash),
        ("file", "file_trash_by", "updated_at", "updated_at", trash),
        ("file", "file_trash_by", "filename", "filename", trash),
        ("file", "file_trash_by", "size", "size", trash),
        ("image", "image_by", "updated_at", "updated_at", "state = 'READY'"),
        ("image", "image_by", "width", "width_key", "state = 'READY'"),
        ("image", "image_by", "height", "height_key", "state = 'READY'"),
        ("image", "image_by", "taken_at", "taken_at_key", "state = 'READY'"),
    ]
    .into_iter()
    .flat_map(|(table, prefix, name, key, rows)| {
        let key = if key.is_empty() { "id".to_owned() } else { format!("{key}, id") };
        [
            format!("CREATE INDEX {prefix}_{name} ON {table} ({key}) WHERE {rows}"),
            format!(
                "CREATE INDEX {prefix}_workspace_{name} ON {table} (workspace_id, {key})
                 WHERE {rows} AND workspace_id IS NOT NULL"
            ),
        ]
    })
    .collect()
}

/// Counters of each workspace. `file_count` and `file_bytes` include the trash; images count once they are provisioned.
const USAGE: [&str; 2] = [
    "CREATE TABLE workspace_usage (
         workspace_id  {uuid} PRIMARY KEY NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
         file_count    bigint NOT NULL DEFAULT 0,
         file_bytes    bigint NOT NULL DEFAULT 0,
         trashed_count bigint NOT NULL DEFAULT 0,
         trashed_bytes bigint NOT NULL DEFAULT 0,
         image_count   bigint NOT NULL DEFAULT 0,
         image_bytes   bigint NOT NULL DEFAULT 0
     )",
    "INSERT INTO workspace_usage (workspace_id, file_count, file_bytes, trashed_count, trashed_bytes, image_count,
                                  image_bytes)
     SELECT id,
         (SELECT count(*) FROM file WHERE workspace_id = workspace.id AND removed_at IS NULL),
         (SELECT coalesce(sum(size), 0) FROM file WHERE workspace_id = workspace.id AND removed_at IS NULL),
         (SELECT count(*) FROM file
          WHERE workspace_id = workspace.id AND removed_at IS NULL AND deleted_at IS NOT NULL),
         (SELECT coalesce(sum(size), 0) FROM file
          WHERE workspace_id = workspace.id AND removed_at IS NULL AND deleted_at IS NOT NULL),
         (SELECT count(*) FROM image WHERE workspace_id = workspace.id AND state = 'READY'),
         (SELECT coalesce(sum(size), 0) FROM image WHERE workspace_id = workspace.id AND state = 'READY')
     FROM workspace",
];

/// The counters of a table, from which its triggers are made. `{row}` stands for the row of the table.
struct Counters {
    table: &'static str,
    /// Condition for a row to be counted.
    condition: &'static str,
    /// Names of the counters, and what a row adds to each.
    counters: &'static [(&'static str, &'static str)],
    /// Columns whose change may change a counter.
    columns: &'static str,
}

const COUNTERS: [Counters; 2] = [
    Counters {
        table: "file",
        condition: "{row}.removed_at IS NULL",
        counters: &[
            ("file_count", "1"),
            ("file_bytes", "{row}.size"),
            ("trashed_count", "CASE WHEN {row}.deleted_at IS NULL THEN 0 ELSE 1 END"),
            ("trashed_bytes", "CASE WHEN {row}.deleted_at IS NULL THEN 0 ELSE {row}.size END"),
        ],
        columns: "workspace_id, size, removed_at, deleted_at",
    },
    Counters {
        table: "image",
        condition: "{row}.state = 'READY'",
        counters: &[("image_count", "1"), ("image_bytes", "{row}.size")],
        columns: "workspace_id, size, state",
    },
];

impl Counters {
    /// A query of the changes of the counters by the rows of `source`, each negated if `sign` is `-`.
    fn changes(&self, sign: &str, row: &str, source: &str) -> String {
        let values: Vec<_> =
            self.counters.iter().map(|(name, value)| format!("{sign}({value}) AS {name}")).collect();
        let select =
            format!("SELECT {{row}}.workspace_id, {} {source} WHERE {}", values.join(", "), self.condition);
        select.replace("{row}", row)
    }

    fn names(&self) -> String {
        self.counters.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn conflict(&self) -> String {
        let sums: Vec<_> = self
            .counters
            .iter()
            .map(|(name, _)| format!("{name} = workspace_usage.{name} + excluded.{name}"))
            .collect();
        format!("ON CONFLICT (workspace_id) DO UPDATE SET {}", sums.join(", "))
    }

    fn sqlite(&self) -> Vec<String> {
        let (table, names, conflict) = (self.table, self.names(), self.conflict());
        let add = |sign, row| {
            let changes = self.changes(sign, row, "");
            format!("INSERT INTO workspace_usage (workspace_id, {names}) {changes} {conflict};")
        };
        let (plus, minus) = (add("", "new"), add("-", "old"));
        let (old, new) = (qualified(self.columns, "old"), qualified(self.columns, "new"));
        vec![
            format!("CREATE TRIGGER {table}_usage_insert AFTER INSERT ON {table} BEGIN {plus} END"),
            format!("CREATE TRIGGER {table}_usage_delete AFTER DELETE ON {table} BEGIN {minus} END"),
            format!(
                "CREATE TRIGGER {table}_usage_update AFTER UPDATE OF {} ON {table}
                 WHEN ({old}) IS NOT ({new}) BEGIN {minus} {plus} END",
                self.columns
            ),
        ]
    }

    /// Triggers per statement, so that a statement that writes many rows updates each counter once. Counters are locked in the
    /// order of the workspaces and after the rows they count, which avoids deadlocks, until the end of the transaction.
    fn postgres(&self) -> Vec<String> {
        let table = self.table;
        let (plus, minus) =
            (self.changes("", "n", "FROM new_rows n"), self.changes("-", "o", "FROM old_rows o"));
        let both = format!("{minus} UNION ALL {plus}");
        [
            ("insert", "NEW TABLE AS new_rows", &plus),
            ("delete", "OLD TABLE AS old_rows", &minus),
            ("update", "OLD TABLE AS old_rows NEW TABLE AS new_rows", &both),
        ]
        .into_iter()
        .flat_map(|(event, rows, changes)| {
            let sums: Vec<_> = self.counters.iter().map(|(name, _)| format!("sum({name})")).collect();
            let (changed, sums) = (sums.join(" <> 0 OR "), sums.join(", "));
            [
                format!(
                    "CREATE FUNCTION {table}_usage_{event}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         INSERT INTO workspace_usage (workspace_id, {})
                         SELECT workspace_id, {sums} FROM ({changes}) changes
                         GROUP BY workspace_id HAVING {changed} <> 0 ORDER BY workspace_id
                         {};
                         RETURN NULL;
                     END $$",
                    self.names(),
                    self.conflict()
                ),
                format!(
                    "CREATE TRIGGER {table}_usage_{event} AFTER {event} ON {table} REFERENCING {rows}
                     FOR EACH STATEMENT EXECUTE FUNCTION {table}_usage_{event}()"
                ),
            ]
        })
        .collect()
    }
}

fn drops(postgres: bool) -> Vec<String> {
    let mut statements = Vec::new();
    for (table, columns) in [("file", ""), ("image", "width_key height_key taken_at_key")] {
        for event in ["insert", "delete", "update"] {
            let on = if postgres { format!(" ON {table}") } else { String::new() };
            statements.push(format!("DROP TRIGGER {table}_usage_{event}{on}"));
            if postgres {
                statements.push(format!("DROP FUNCTION {table}_usage_{event}()"));
            } else {
                statements.push(format!("DROP TRIGGER {table}_text_{event}"));
            }
        }
        if postgres {
            statements.push(format!("ALTER TABLE {table} DROP COLUMN search_text"));
        } else {
            statements.push(format!("DROP TABLE {table}_search"));
            statements.push(format!("DROP TABLE {table}_text"));
        }
        for index in indexes().iter().filter(|index| index.contains(&format!(" ON {table} "))) {
            let name = index.split(' ').nth(2).unwrap_or_default();
            statements.push(format!("DROP INDEX {name}"));
        }
        for column in columns.split_whitespace() {
            statements.push(format!("ALTER TABLE {table} DROP COLUMN {column}"));
        }
    }
    if postgres {
        // The extension is not dropped: other tables in the database may use it.
        statements.push("DROP FUNCTION searchable(text, text, jsonb)".to_owned());
    }
    statements.push("DROP TABLE workspace_usage".to_owned());
    statements
}
