//! Durability: acknowledged uploads are on the disk, and bytes that are lost nevertheless are detected.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{ADMIN, Database, Remote, Server, eventually};
use crate::pictures::png;
use crate::shared_upload_parts::noise;
use crate::upload_rules::sha256;

const FILE: &str = "query($id: ID!) { file(id: $id) { status downloadUrl failure { code message } sha256 } }";

async fn find(server: &Server, id: &Value) -> Value {
    server.query(FILE, json!({ "id": id })).await["file"].clone()
}

/// Path of the only original in the byte store.
fn only_original(server: &Server) -> PathBuf {
    let names = server.originals();
    assert_eq!(names.len(), 1, "{names:?}");
    server.dir.path().join("blobs/originals").join(&names[0])
}

/// Kinds of the events of a file, oldest first.
async fn events(server: &Server, id: &Value) -> Vec<String> {
    use imagegraph::entity::event::{Column, Entity};
    let id: imagegraph::id::FileId = id.as_str().unwrap().parse().unwrap();
    let rows = Entity::find().filter(Column::FileId.eq(id)).all(&server.running.app.db.read).await.unwrap();
    rows.iter().map(|row| format!("{:?}", row.kind)).collect()
}

fn cut(path: &PathBuf) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3).unwrap();
}

fn remove(path: &PathBuf) {
    std::fs::remove_file(path).unwrap();
}

both! {
    /// A download reports that bytes are missing or truncated, and so does the file from then on.
    async fn a_download_reports_lost_bytes(database: Database) {
        for harm in [remove, cut] {
            let server = Server::start(database).await;
            let file = server.file("a.txt", b"some text".to_vec()).await;
            let url = find(&server, &file["id"]).await["downloadUrl"].as_str().unwrap().to_owned();
            harm(&only_original(&server));
            for range in ["", "bytes=0-1", "bytes=5-8", "bytes=-2"] {
                let request = server.http.get(&url);
                let request = if range.is_empty() { request } else { request.header("range", range) };
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 410, "{range}");
                assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "BYTES_MISSING");
            }
            assert_eq!(server.http.head(&url).send().await.unwrap().status(), 410);
            let now = find(&server, &file["id"]).await;
            assert_eq!((&now["status"], &now["failure"]["code"], &now["downloadUrl"]), (&json!("FAILED"), &json!("BYTES_MISSING"), &Value::Null));
            assert_eq!(events(&server, &file["id"]).await, ["FileCreated", "FileReady", "FileFailed"]);
            server.end().await;
        }
    }

    /// The worker detects lost bytes, page by page, and corrects the status when they are back.
    async fn the_worker_detects_lost_bytes(database: Database) {
        let server = Server::start_with(database, |config| config.sweep_age = Duration::from_secs(1)).await;
        let (file, image) = (server.file("a.txt", b"some text".to_vec()).await, server.file("a.png", png(1)).await);
        let folder = server.dir.path().join("blobs/originals");
        let aside = server.dir.path().join("aside");
        std::fs::rename(&folder, &aside).unwrap();
        std::fs::create_dir(&folder).unwrap();
        for file in [&file, &image] {
            let failed = eventually("the loss is detected", || async {
                let now = find(&server, &file["id"]).await;
                (now["status"] == "FAILED").then_some(now)
            })
            .await;
            assert_eq!(failed["failure"]["code"], "BYTES_MISSING");
        }
        std::fs::remove_dir(&folder).unwrap();
        std::fs::rename(&aside, &folder).unwrap();
        for file in [&file, &image] {
            eventually("the file is ready again", || async {
                let now = find(&server, &file["id"]).await;
                (now["status"] == "READY" && now["failure"].is_null()).then_some(())
            })
            .await;
        }
        let url = find(&server, &file["id"]).await["downloadUrl"].as_str().unwrap().to_owned();
        assert_eq!(server.http.get(url).send().await.unwrap().bytes().await.unwrap(), "some text");
        let kinds = events(&server, &file["id"]).await;
        assert_eq!(kinds, ["FileCreated", "FileReady", "FileFailed", "FileReady"]);
    }

    /// The same bytes sent again are stored again, whatever the duplicate policy, and whether or not the loss has
    /// been detected.
    async fn lost_bytes_are_no_duplicate(database: Database) {
        for (policy, harm) in [("CREATE", remove as fn(&PathBuf)), ("REUSE", cut), ("REJECT", remove), ("REUSE", remove)] {
            let server = Server::start(database).await;
            let bytes = noise(20_000, 11);
            let first = server.file("a.bin", bytes.clone()).await;
            harm(&only_original(&server));
            let input = json!({ "onDuplicate": policy });
            let second = server.upload_as(ADMIN, input.clone(), "b.bin", "", bytes.clone()).await;
            assert_eq!((&second["userErrors"], &second["deduplicated"]), (&json!([]), &json!(false)), "{policy} {second:#}");
            assert_ne!(second["file"]["id"], first["id"]);
            let url = find(&server, &second["file"]["id"]).await["downloadUrl"].as_str().unwrap().to_owned();
            assert_eq!(sha256(&server.http.get(url).send().await.unwrap().bytes().await.unwrap()), sha256(&bytes));
            assert_eq!(find(&server, &first["id"]).await["failure"]["code"], "BYTES_MISSING");
            // Bytes that exist are still duplicates.
            let third = server.upload_as(ADMIN, json!({ "onDuplicate": "REUSE" }), "c.bin", "", bytes).await;
            assert_eq!((&third["deduplicated"], &third["file"]["id"]), (&json!(true), &second["file"]["id"]));
            server.end().await;
        }
    }

    /// A direct upload that declares the hash of lost bytes is neither skipped nor refused as a duplicate.
    async fn lost_bytes_are_requested_again(database: Database) {
        for policy in ["REUSE", "REJECT"] {
            let server = Server::start(database).await;
            let bytes = noise(20_000, 12);
            let first = server.file("a.bin", bytes.clone()).await;
            remove(&only_original(&server));
            let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { id } deduplicated userErrors { code } } }";
            let input = json!({
                "workspaceId": server.workspace, "filename": "b.bin", "mimeType": "application/octet-stream",
                "transport": "PUT", "sha256": sha256(&bytes), "onDuplicate": policy,
            });
            let made = server.query(create, json!({ "input": input })).await["createDirectUpload"].clone();
            assert_eq!((&made["userErrors"], &made["deduplicated"]), (&json!([]), &json!(false)), "{policy} {made:#}");
            assert!(made["directUpload"]["id"].is_string());
            assert_eq!(find(&server, &first["id"]).await["failure"]["code"], "BYTES_MISSING");
            server.end().await;
        }
    }

    /// A file whose bytes are lost goes to the trash like any other, because they may come back.
    async fn a_lost_file_goes_to_the_trash(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.txt", b"some text".to_vec()).await;
        let (path, aside) = (only_original(&server), server.dir.path().join("aside"));
        // Before the bytes are lost: the sweep after the start may be the first to see it.
        let url = find(&server, &file["id"]).await["downloadUrl"].as_str().unwrap().to_owned();
        std::fs::rename(&path, &aside).unwrap();
        assert_eq!(server.http.get(&url).send().await.unwrap().status(), 410);
        let delete = "mutation($id: ID!) { deleteFile(input: { id: $id }) { success file { id deletedAt } userErrors { code } } }";
        let trashed = server.query(delete, json!({ "id": file["id"] })).await["deleteFile"].clone();
        assert!(trashed["file"]["deletedAt"].is_string(), "{trashed:#}");
        std::fs::rename(&aside, &path).unwrap();
        let restore = "mutation($id: ID!) { restoreFile(input: { id: $id }) { file { id } userErrors { code } } }";
        let restored = server.query(restore, json!({ "id": file["id"] })).await["restoreFile"].clone();
        assert_eq!(restored["userErrors"], json!([]));
        imagegraph::rows::stored_bytes::check_some(&server.running.app).await.unwrap();
        let found = find(&server, &file["id"]).await;
        assert_eq!((&found["status"], &found["failure"]), (&json!("READY"), &Value::Null), "{found:#}");
    }

    /// An image whose bytes are lost cannot be provisioned.
    async fn lost_bytes_are_not_provisioned(database: Database) {
        let server = Server::start(database).await;
        let input = json!({ "image": { "provision": false } });
        let file = server.upload_as(ADMIN, input, "a.png", "", png(2)).await["file"].clone();
        remove(&only_original(&server));
        let provision = "mutation($id: ID!) { provisionImage(input: { fileId: $id }) { image { id } userErrors { code } } }";
        let refused = server.query(provision, json!({ "id": file["id"] })).await;
        assert_eq!(refused["provisionImage"]["userErrors"][0]["code"], "BYTES_MISSING");
        assert_eq!(find(&server, &file["id"]).await["status"], "FAILED");
    }
}

/// Whether `strace` can be used. With `CI=true` it has to be installed.
fn strace() -> bool {
    let there = Command::new("strace")
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(there || std::env::var("CI").as_deref() != Ok("true"), "under CI strace must be installed");
    if !there {
        eprintln!("not traced_upload: install strace");
    }
    there
}

/// System calls in the order of their completion, from the log of `strace -f -y`.
fn calls(log: &str) -> Vec<String> {
    let (mut begun, mut calls) = (HashMap::new(), Vec::new());
    for line in log.lines() {
        let (thread, call) = line.trim_start().split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread.to_owned(), start.to_owned());
        } else if call.starts_with("<...") {
            calls.extend(begun.remove(thread));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

/// System calls of an upload on files, up to its acknowledgement.
async fn traced_upload(durability: &str, bytes: Vec<u8>) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let mut command = Command::new("strace");
    // Not as the parent process, because a signal to the program has to reach the program.
    command.args([
        "-D",
        "-f",
        "-y",
        "-s",
        "40",
        "-e",
        "trace=fsync,fdatasync,linkat,write,writev,sendto,sendmsg",
        "-o",
    ]);
    command.arg(&log).arg(env!("CARGO_BIN_EXE_imagegraph"));
    let variables = [("IMAGEGRAPH_DURABILITY", durability.to_owned())];
    let mut server = Remote::start_as(command, &dir, &variables, Stdio::inherit()).await;
    server.file("first.txt", b"makes the folders".to_vec()).await;
    let before = std::fs::read_to_string(&log).unwrap().len();
    server.file("a.bin", bytes).await;
    let seen = eventually("the answer is in the log", || async {
        let log = std::fs::read_to_string(&log).unwrap();
        let calls = calls(&log[before..]);
        let answer = calls.iter().position(|call| call.contains("HTTP/1.1 200"))?;
        Some(calls[..answer].to_vec())
    })
    .await;
    server.program.stop();
    seen
}

fn position(calls: &[String], of: impl Fn(&str) -> bool) -> Option<usize> {
    calls.iter().position(|call| of(call))
}

/// The bytes, the entry of their folder and the row are synced in this order before the answer, for small files and
/// for files that are written in parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_folder_and_row_are_synced_before_the_answer() {
    if !strace() {
        return;
    }
    for length in [5_000, 12 * 1024 * 1024] {
        let calls = traced_upload("full", noise(length, 21)).await;
        let syncs = |call: &str| call.starts_with("fsync(") || call.starts_with("fdatasync(");
        // The file has no name until its bytes are on disk.
        let bytes = position(&calls, |call| syncs(call) && call.contains("/data/#"));
        let named = position(&calls, |call| call.starts_with("linkat(") && call.contains("/originals/"));
        let folder = position(&calls, |call| syncs(call) && call.contains("/originals>"));
        let row = calls.iter().rposition(|call| syncs(call) && call.contains("/imagegraph.sqlite-wal>"));
        let order = [bytes, named, folder, row];
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?}: {calls:#?}");
    }
}

/// With `relaxed` durability nothing is synced before the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relaxed_durability_syncs_nothing_before_the_answer() {
    if !strace() {
        return;
    }
    let calls = traced_upload("relaxed", noise(5_000, 22)).await;
    let ours = |call: &str| call.contains("/originals") || call.contains("/imagegraph.sqlite-wal>");
    let synced =
        position(&calls, |call| (call.starts_with("fsync(") || call.starts_with("fdatasync(")) && ours(call));
    assert_eq!(synced, None, "{calls:#?}");
}
