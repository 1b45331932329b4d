use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::prelude::Uuid;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, JsonValue, QueryResult, Statement, Value};
use unicode_normalization::UnicodeNormalization;

// Names, tags and alternative texts are compared, ordered and searched in composed form (NFC), so that canonically equivalent
// texts are equal. The text as it was sent is kept in a `…_sent` column if it differs and is shown. SQL cannot normalize on
// SQLite, so existing rows are read, composed and written here in batches.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Rows read at once.
const BATCH: usize = 500;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sqlite = manager.get_database_backend() != DbBackend::Postgres;
        if sqlite {
            crate::execute_each(manager, &["BEGIN IMMEDIATE"]).await?;
        }
        crate::execute(manager, UP).await?;
        for table in TABLES {
            compose(manager, &table).await?;
        }
        if sqlite {
            crate::execute_each(manager, &["COMMIT"]).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::execute(manager, DOWN).await
    }
}

const UP: &str = r#"
ALTER TABLE file ADD COLUMN filename_sent {text};
ALTER TABLE file ADD COLUMN tags_sent {json};
ALTER TABLE image ADD COLUMN alt_sent {text};
ALTER TABLE workspace ADD COLUMN name_sent {text}
"#;

const DOWN: &str = r#"
UPDATE file SET filename = filename_sent WHERE length(filename_sent) <= 255;
UPDATE file SET tags = tags_sent WHERE tags_sent IS NOT NULL;
UPDATE image SET alt = alt_sent WHERE alt_sent IS NOT NULL;
UPDATE workspace SET name = name_sent WHERE length(name_sent) <= 100;
ALTER TABLE file DROP COLUMN filename_sent;
ALTER TABLE file DROP COLUMN tags_sent;
ALTER TABLE image DROP COLUMN alt_sent;
ALTER TABLE workspace DROP COLUMN name_sent
"#;

/// A table and its columns that hold texts.
struct Table {
    name: &'static str,
    columns: &'static [Column],
}

struct Column {
    name: &'static str,
    column_type: ColumnType,
    /// Column for the text as it was sent.
    sent: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum ColumnType {
    /// A text and its maximum length by a check constraint, to which it is cut: a few texts are longer when composed.
    Text(usize),
    /// A JSON array of texts without duplicates.
    List,
}

const TABLES: [Table; 3] = [
    Table {
        name: "file",
        columns: &[
            Column { name: "filename", column_type: ColumnType::Text(255), sent: Some("filename_sent") },
            Column { name: "tags", column_type: ColumnType::List, sent: Some("tags_sent") },
        ],
    },
    Table {
        name: "image",
        columns: &[
            Column { name: "filename", column_type: ColumnType::Text(255), sent: None },
            Column { name: "tags", column_type: ColumnType::List, sent: None },
            Column { name: "alt", column_type: ColumnType::Text(usize::MAX), sent: Some("alt_sent") },
        ],
    },
    Table {
        name: "workspace",
        columns: &[Column { name: "name", column_type: ColumnType::Text(100), sent: Some("name_sent") }],
    },
];

/// Composes the texts of a table, in the order of its primary key.
async fn compose(manager: &SchemaManager<'_>, table: &Table) -> Result<(), DbErr> {
    let (connection, backend) = (manager.get_connection(), manager.get_database_backend());
    let columns: Vec<_> =
        table.columns.iter().map(|column| format!("CAST({0} AS text) AS {0}", column.name)).collect();
    let select = format!(
        "SELECT id, {} FROM {} WHERE id > $1 ORDER BY id LIMIT {BATCH}",
        columns.join(", "),
        table.name
    );
    let mut last = Uuid::nil();
    loop {
        let batch = Statement::from_sql_and_values(backend, &select, [last.into()]);
        let rows = connection.query_all_raw(batch).await?;
        for row in &rows {
            last = row.try_get("", "id")?;
            if let Some(update) = update(backend, table, row, last)? {
                connection.execute_raw(update).await?;
            }
        }
        if rows.len() < BATCH {
            return Ok(());
        }
    }
}

/// The statement that composes the texts of a row; `None` if all of them are composed.
fn update(
    backend: DbBackend,
    table: &Table,
    row: &QueryResult,
    id: Uuid,
) -> Result<Option<Statement>, DbErr> {
    let (mut assignments, mut values) = (Vec::new(), Vec::<Value>::new());
    let mut assign = |column: &str, column_type: ColumnType, text: String| {
        values.push(text.into());
        let place = format!("${}", values.len());
        assignments.push(match (column_type, backend) {
            (ColumnType::List, DbBackend::Postgres) => format!("{column} = CAST({place} AS jsonb)"),
            _ => format!("{column} = {place}"),
        });
    };
    for Column { name, column_type, sent } in table.columns {
        let Some(text) = row.try_get::<Option<String>>("", name)? else { continue };
        // The characters of JSON syntax do not take part in composition, so a list is composed if its JSON is.
        if text.nfc().eq(text.chars()) {
            continue;
        }
        let composed = match column_type {
            ColumnType::Text(max_length) => text.nfc().take(*max_length).collect(),
            ColumnType::List => composed_list(&text),
        };
        assign(name, *column_type, composed);
        if let Some(sent) = sent {
            assign(sent, *column_type, text);
        }
    }
    if assignments.is_empty() {
        return Ok(None);
    }
    values.push(id.into());
    let sql = format!("UPDATE {} SET {} WHERE id = ${}", table.name, assignments.join(", "), values.len());
    Ok(Some(Statement::from_sql_and_values(backend, sql, values)))
}

/// The JSON array with its texts composed and duplicates removed.
fn composed_list(text: &str) -> String {
    let Ok(JsonValue::Array(list)) = text.parse::<JsonValue>() else { return text.to_owned() };
    let mut kept: Vec<JsonValue> = Vec::new();
    for item in list {
        let item = match item {
            JsonValue::String(text) => JsonValue::String(text.nfc().collect()),
            other => other,
        };
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    JsonValue::Array(kept).to_string()
}
