//! Inserts many rows by SQL that generates them in the database.

use imagegraph::id::WorkspaceId;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

/// Inserts files with their images, alternately into the two workspaces. Names, sizes, times and pixel sizes repeat, and half of
/// the images have no `taken_at`.
pub(crate) async fn insert_files_and_images(db: &DatabaseConnection, workspaces: [&str; 2], rows: i64) {
    let [a, b] = workspaces.map(|id| id.parse::<WorkspaceId>().unwrap().0);
    let sqlite = db.get_database_backend() == DbBackend::Sqlite;
    let series = if sqlite {
        format!(
            "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {rows}) SELECT i FROM s) s"
        )
    } else {
        format!("generate_series(1, {rows}) AS s(i)")
    };
    let workspace = if sqlite {
        format!("CASE WHEN i % 2 = 0 THEN x'{}' ELSE x'{}' END", a.simple(), b.simple())
    } else {
        format!("CASE WHEN i % 2 = 0 THEN '{a}'::uuid ELSE '{b}'::uuid END")
    };
    let id = |kind: i32| {
        if sqlite {
            format!("unhex(printf('0190000{kind}%08x70008000%08x', i, i))")
        } else {
            format!(
                "(lpad('0190000{kind}', 8, '0') || lpad(to_hex(i), 8, '0') || '70008000' || lpad(to_hex(i), 8, '0'))::uuid"
            )
        }
    };
    let now = if sqlite { "'2026-01-01T00:00:00+00:00'" } else { "now()" };
    let hash = if sqlite { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
    let name = if sqlite {
        "printf('%05d.jpg', (i * 7919) % 1000)"
    } else {
        "lpad(((i * 7919) % 1000)::text, 5, '0') || '.jpg'"
    };
    let number = if sqlite { "(i * 104729) % 5000" } else { "(i::bigint * 104729) % 5000" };
    let text = if sqlite { "i" } else { "i::text" };
    let time = if sqlite {
        "strftime('%Y-%m-%dT%H:%M:%S+00:00', 1767225600 + (i * 7919) % 9973, 'unixepoch')"
    } else {
        "to_timestamp(1767225600 + (i::bigint * 7919) % 9973)"
    };
    for statement in [
        format!("INSERT INTO file (id, workspace_id, filename, status, mime_type, size, sha256, blob_id, image_status, tags, created_at, updated_at)
                 SELECT {}, {workspace}, {name}, 'READY', 'image/jpeg', {number}, {hash}, {}, 'READY', '[\"holiday\"]', {now}, {time} FROM {series}", id(1), id(1)),
        format!("INSERT INTO image (id, workspace_id, file_id, filename, size, mime_type, format, width, height, animated, require_signed_urls, state, cf_image_id, account_hash, taken_at, created_at, updated_at)
                 SELECT {}, {workspace}, {}, {name}, {number}, 'image/jpeg', 'JPEG', 1 + i % 509, 1 + i % 251, false, false, 'READY', {text}, 'hash',
                        CASE WHEN i % 4 < 2 THEN {time} END, {now}, {time} FROM {series}", id(2), id(1)),
        // PostgreSQL would gather statistics on its own some time later. SQLite has statistics only after ANALYZE, which the
        // server never runs: with them its planner prefers a sort to an index if the limit is small.
        if sqlite { String::from("SELECT 1") } else { String::from("ANALYZE") },
    ] {
        db.execute_unprepared(&statement).await.unwrap();
    }
}
