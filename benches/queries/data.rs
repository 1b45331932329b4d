//! The data: 100 workspaces, of which one has three tenths of everything, and images with the EXIF of a camera.

use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};
use imagegraph::entity::api_token;
use imagegraph::id::{FileId, ImageId, WorkspaceId};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use serde_json::json;
use uuid::Uuid;

use crate::cases::ask;
use crate::load::Endpoint;
use crate::process::Process;

/// Account hash in the delivery URLs of the images.
const HASH: &str = "hash";
/// Rows of one INSERT.
const CHUNK: i64 = 100_000;
const WORKSPACES: i64 = 100;
/// Number of the workspace with private images: by its name the one after the first twenty.
const MIXED: i64 = 20;
/// How many workspaces the member belongs to whose token is used: the first ones.
const MEMBERSHIPS: i64 = MIXED + 1;

/// What the cases need to know of the data.
pub(crate) struct Data {
    /// Secret of a member's token that may read.
    pub(crate) token: String,
    /// The workspace with three tenths of the images.
    pub(crate) large: WorkspaceId,
    /// A workspace with private images, every other one.
    pub(crate) mixed: WorkspaceId,
    pub(crate) image: ImageId,
    pub(crate) file: FileId,
    /// For each order, its row two hundred thousand rows deep, or at five sixths of a smaller list.
    pub(crate) deep: Vec<Deep>,
}

/// A place in a list.
pub(crate) struct Deep {
    pub(crate) order: Order,
    pub(crate) id: ImageId,
    /// Value of the order's column, as the floor takes it; empty for the order by id.
    pub(crate) key: String,
}

/// An order of images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    /// As the schema calls it.
    pub(crate) name: &'static str,
    /// The column that is compared; empty for the id alone.
    pub(crate) column: &'static str,
}

pub(crate) const ORDERS: [Order; 7] = [
    Order { name: "CREATED_AT", column: "" },
    Order { name: "UPDATED_AT", column: "updated_at" },
    Order { name: "FILENAME", column: "filename" },
    Order { name: "SIZE", column: "size" },
    Order { name: "WIDTH", column: "width_key" },
    Order { name: "HEIGHT", column: "height_key" },
    Order { name: "TAKEN_AT", column: "taken_at_key" },
];

impl Data {
    /// What stands before the id in the delivery URLs of the server's account.
    pub(crate) async fn delivery_url(&self, server: &Process) -> String {
        let query = json!({ "query": "query($id: ID!) { image(id: $id) { url } }", "variables": { "id": self.image.to_string() } });
        let answer = ask(server, &self.token, &query).await;
        let url = answer["data"]["image"]["url"].as_str().unwrap_or_else(|| panic!("no URL: {answer}"));
        format!("{}{HASH}", url.split(HASH).next().unwrap())
    }
}

/// Makes the data in a database that the program has migrated, unless it is there.
pub(crate) async fn make(url: &str, dir: &Path, files: i64) -> Data {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.unwrap();
    let sql = Sql { sqlite: db.get_database_backend() == DbBackend::Sqlite };
    let there = number(&db, "SELECT count(*) AS n FROM file").await;
    let token = "imgr_token-of-a-member-for-benches-0123456789";
    if there == 0 {
        let began = Instant::now();
        people(&db, sql, token).await;
        let indexes = if sql.sqlite { Vec::new() } else { drop_indexes(&db).await };
        for from in (0..files).step_by(CHUNK as usize) {
            rows(&db, sql, from, (from + CHUNK).min(files)).await;
            eprintln!(
                "{} of {files} files, {:.0} s",
                (from + CHUNK).min(files),
                began.elapsed().as_secs_f64()
            );
        }
        for (name, create) in indexes {
            db.execute_unprepared(&create).await.unwrap();
            eprintln!("{name}, {:.0} s", began.elapsed().as_secs_f64());
        }
        if !sql.sqlite {
            db.execute_unprepared("VACUUM ANALYZE").await.unwrap();
        }
    } else {
        assert_eq!(there, files, "the database has other data: use an empty one");
    }
    bytes(dir, files);
    let large = WorkspaceId(id(3, 0));
    let depth = number(
        &db,
        &format!("SELECT image_count AS n FROM workspace_usage WHERE workspace_id = {}", sql.uuid(large.0)),
    )
    .await;
    let mut deep = Vec::new();
    for order in ORDERS {
        deep.push(place(&db, sql, large, order, (depth * 5 / 6).min(200_000)).await);
    }
    let image = deep[0].id;
    // The two have one number: see `rows`.
    let file = FileId(id(1, image.0.as_u128() & u128::from(u32::MAX)));
    Data { token: token.to_owned(), large, mixed: WorkspaceId(id(3, MIXED as u128)), image, file, deep }
}

/// Drops the indexes of files and images that keep no rule, because it is faster to make each of them at once of all rows.
/// Returns their names, and the statements that make them.
async fn drop_indexes(db: &DatabaseConnection) -> Vec<(String, String)> {
    let statement = "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS sql FROM pg_index \
                     WHERE indrelid IN ('file'::regclass, 'image'::regclass) AND NOT indisunique";
    let rows = db.query_all_raw(Statement::from_string(DbBackend::Postgres, statement)).await.unwrap();
    let mut indexes = Vec::new();
    for row in rows {
        let (name, create): (String, String) =
            (row.try_get("", "name").unwrap(), row.try_get("", "sql").unwrap());
        db.execute_unprepared(&format!("DROP INDEX {name}")).await.unwrap();
        indexes.push((name, create));
    }
    indexes
}

/// The spelling of SQL that differs.
#[derive(Clone, Copy)]
struct Sql {
    sqlite: bool,
}

impl Sql {
    fn uuid(self, id: Uuid) -> String {
        if self.sqlite { format!("x'{}'", id.simple()) } else { format!("'{id}'::uuid") }
    }

    /// Numbers `i` from `from` up to, but not including, `to`.
    fn series(self, from: i64, to: i64) -> String {
        if self.sqlite {
            format!(
                "(WITH RECURSIVE s(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {to}) SELECT i FROM s) s"
            )
        } else {
            format!("generate_series({from}::bigint, {to} - 1) AS s(i)")
        }
    }

    /// The id with the number that an expression gives: see [`id`].
    fn id(self, kind: i32, number: &str) -> String {
        if self.sqlite {
            format!("unhex(printf('0190000{kind}%08x70008000%08x', {number}, {number}))")
        } else {
            let hex = format!("lpad(to_hex({number}), 8, '0')");
            format!("('0190000{kind}' || {hex} || '70008000' || {hex})::uuid")
        }
    }

    fn time(self, seconds: &str) -> String {
        if self.sqlite {
            format!("strftime('%Y-%m-%dT%H:%M:%S+00:00', 1767225600 + {seconds}, 'unixepoch')")
        } else {
            format!("to_timestamp(1767225600 + {seconds})")
        }
    }

    fn padded(self, number: &str) -> String {
        if self.sqlite {
            format!("printf('%05d', {number})")
        } else {
            format!("lpad(({number})::text, 5, '0')")
        }
    }
}

/// The id of the row of a kind with this number. Ids sort as numbers do.
fn id(kind: u128, number: u128) -> Uuid {
    Uuid::from_u128((0x0190_0000_u128 + kind) << 96 | number << 64 | 0x7000_8000 << 32 | number)
}

/// Workspaces, and a member of some with a token.
async fn people(db: &DatabaseConnection, sql: Sql, token: &str) {
    let (now, user) = (sql.time("0"), sql.uuid(id(4, 1)));
    let hash = api_token::hash(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hash = if sql.sqlite { format!("x'{hash}'") } else { format!("decode('{hash}', 'hex')") };
    let name = format!("'Workspace ' || {}", sql.padded("i"));
    for statement in [
        format!(
            "INSERT INTO workspace (id, name, created_at, updated_at) SELECT {}, {name}, {now}, {now} FROM {}",
            sql.id(3, "i"),
            sql.series(0, WORKSPACES)
        ),
        format!(
            "INSERT INTO \"user\" (id, name, role, created_at) VALUES ({user}, 'Member', 'MEMBER', {now})"
        ),
        format!(
            "INSERT INTO membership (id, workspace_id, user_id, role, created_at) SELECT {}, {}, {user}, 'EDITOR', {now} FROM {}",
            sql.id(5, "i"),
            sql.id(3, "i"),
            sql.series(0, MEMBERSHIPS)
        ),
        format!(
            "INSERT INTO api_token (id, user_id, name, hint, secret_hash, scopes, created_at) VALUES ({}, {user}, 'bench', 'imgr', {hash}, '[\"FILES_READ\",\"IMAGES_READ\"]', {now})",
            sql.uuid(id(6, 1))
        ),
    ] {
        db.execute_unprepared(&statement).await.unwrap();
    }
}

/// Files, and images of four of five. Three tenths belong to the first workspace; the others have ever fewer.
async fn rows(db: &DatabaseConnection, sql: Sql, from: i64, to: i64) {
    let number = "CASE WHEN (i / 5) % 10 < 3 THEN 0 ELSE 1 + ((i % 99) * (i / 99 % 99)) / 99 END";
    let (workspace, series) = (sql.id(3, &format!("({number})")), sql.series(from, to));
    let name = format!("'photo-' || {} || '.jpg'", sql.padded("(i * 7919) % 100000"));
    let (size, created) = ("200000 + (i * 104729) % 5000000", sql.time("i"));
    let updated = sql.time("(i * 7919) % 99733");
    let hash = if sql.sqlite { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
    let text = if sql.sqlite { "i" } else { "i::text" };
    let private = format!("(({number}) = {MIXED} AND i % 2 = 0)");
    let exif = "'{\"Make\":\"FUJIFILM\",\"Model\":\"X-T5\",\"LensModel\":\"XF35mmF1.4 R\",\"ISO\":' || (100 + i % 6400) || \
                ',\"FNumber\":2.8,\"ExposureTime\":0.004,\"FocalLength\":35,\"Orientation\":1,\"DateTimeOriginal\":\"2026:01:01 12:00:00\",\
                \"Software\":\"Digital Camera X-T5 Ver2.03\",\"Flash\":0,\"WhiteBalance\":0}'"
        .to_owned();
    let exif = if sql.sqlite { exif } else { format!("({exif})::jsonb") };
    let (file, image) = (sql.id(1, "i"), sql.id(2, "i"));
    for statement in [
        format!("INSERT INTO file (id, workspace_id, filename, status, mime_type, size, sha256, blob_id, image_status, created_at, updated_at)
                 SELECT {file}, {workspace}, {name}, 'READY', 'image/jpeg', {size}, {hash}, {file}, 'READY', {created}, {updated} FROM {series}"),
        format!("INSERT INTO image (id, workspace_id, file_id, filename, size, mime_type, format, width, height, animated, exif, require_signed_urls, state, cf_image_id, account_hash, taken_at, created_at, updated_at)
                 SELECT {image}, {workspace}, {file}, {name}, {size}, 'image/jpeg', 'JPEG', 640 + i % 5000, 480 + i % 4000, false, {exif}, {private}, 'READY', {text}, '{HASH}',
                        CASE WHEN i % 4 < 2 THEN {updated} END, {created}, {updated} FROM {series} WHERE i % 5 <> 0"),
    ] {
        db.execute_unprepared(&statement).await.unwrap();
    }
}

/// Empty bytes of the right length for the newest files, which the worker looks at after a start: it would mark them as lost.
fn bytes(dir: &Path, files: i64) {
    const LOOKED_AT: i64 = 10_000;
    let folder = dir.join("blobs/originals");
    std::fs::create_dir_all(&folder).unwrap();
    for i in (files - LOOKED_AT).max(0)..files {
        let file = std::fs::File::create(folder.join(id(1, i as u128).to_string())).unwrap();
        file.set_len(200_000 + (i as u64 * 104_729) % 5_000_000).unwrap();
    }
}

async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    row.map_or(0, |row| row.try_get("", "n").unwrap())
}

/// The row of a list in descending order with so many before it.
async fn place(db: &DatabaseConnection, sql: Sql, workspace: WorkspaceId, order: Order, depth: i64) -> Deep {
    let by = if order.column.is_empty() {
        "id DESC".to_owned()
    } else {
        format!("{} DESC, id DESC", order.column)
    };
    let columns =
        if order.column.is_empty() { "id".to_owned() } else { format!("id, {} AS k", order.column) };
    let statement = format!(
        "SELECT {columns} FROM image WHERE state = 'READY' AND workspace_id = {} ORDER BY {by} LIMIT 1 OFFSET {depth}",
        sql.uuid(workspace.0)
    );
    let row = db
        .query_one_raw(Statement::from_string(db.get_database_backend(), statement))
        .await
        .unwrap()
        .unwrap();
    let key = match order.column {
        "" => String::new(),
        "filename" => row.try_get("", "k").unwrap(),
        "updated_at" | "taken_at_key" => row.try_get::<DateTime<Utc>>("", "k").unwrap().to_rfc3339(),
        _ => row.try_get::<i64>("", "k").unwrap().to_string(),
    };
    Deep { order, id: ImageId(row.try_get("", "id").unwrap()), key }
}

/// Where the program answers GraphQL requests.
pub(crate) fn endpoint(server: &Process, token: &str, body: &str) -> Endpoint {
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/graphql-response+json\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    );
    Endpoint { address: server.address, request: request.into_bytes().into() }
}
