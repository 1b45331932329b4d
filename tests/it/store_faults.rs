//! A byte store or a spool folder that fails is reported as an outage by every API, with a request id, and requests
//! succeed when it works again.

use std::path::PathBuf;
use std::time::Duration;

use axum::routing::get;
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, UPLOAD, eventually};
use crate::pictures::png;
use crate::shared_upload_parts::noise;

const CREATE: &str = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) {
    directUpload { id uploadUrl } userErrors { code } } }";
const COMPLETE: &str =
    "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { file { status } userErrors { code } } }";
const IMPORT: &str = "mutation($input: ImportFileInput!) { importFile(input: $input) { file { id } } }";
const STATUS: &str =
    "query($id: ID!) { file(id: $id) { status downloadUrl imageStatus image { dominantColor } } }";

/// A file in the place of a folder, which is restored by `restore`.
struct BlockedFolder(PathBuf);

impl BlockedFolder {
    fn new(folder: PathBuf) -> BlockedFolder {
        let _ = std::fs::rename(&folder, folder.with_extension("aside"));
        std::fs::write(&folder, "in the way").unwrap();
        BlockedFolder(folder)
    }

    fn restore(self) {
        std::fs::remove_file(&self.0).unwrap();
        if std::fs::rename(self.0.with_extension("aside"), &self.0).is_err() {
            std::fs::create_dir(&self.0).unwrap();
        }
    }
}

async fn upload(server: &Server, bytes: Vec<u8>) -> Response {
    let input = json!({ "workspaceId": server.workspace, "file": null });
    let operations = json!({ "query": UPLOAD, "variables": { "input": input } });
    let form = reqwest::multipart::Form::new()
        .text("operations", operations.to_string())
        .text("map", r#"{"0":["variables.input.file"]}"#)
        .part("0", reqwest::multipart::Part::bytes(bytes).file_name("a.bin"));
    server
        .http
        .post(format!("{}/graphql", server.url))
        .bearer_auth(ADMIN)
        .multipart(form)
        .send()
        .await
        .unwrap()
}

async fn ask(server: &Server, query: &str, variables: Value) -> Response {
    let body = json!({ "query": query, "variables": variables });
    server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body).send().await.unwrap()
}

/// Asserts an outage as GraphQL reports it: status, `Retry-After`, code, and the request id in body and header.
async fn assert_outage(answer: Response) {
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let delay = answer.headers().get("retry-after").map(|delay| delay.to_str().unwrap().to_owned());
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    let extensions = &body["errors"][0]["extensions"];
    assert_eq!((status.as_u16(), delay.as_deref()), (503, Some("5")), "{body:#}");
    assert_eq!(extensions["code"], "SERVICE_UNAVAILABLE", "{body:#}");
    assert_eq!((&extensions["requestId"], &extensions["retryAfter"]), (&json!(id), &json!(5)), "{body:#}");
}

/// Asserts an outage as REST reports it.
async fn assert_rest_outage(answer: Response) {
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (&body["error"]["code"], &body["error"]["requestId"]),
        (&json!("SERVICE_UNAVAILABLE"), &json!(id))
    );
}

async fn create(server: &Server, more: Value) -> Value {
    let mut input = json!({ "workspaceId": server.workspace, "filename": "a.txt", "mimeType": "text/plain", "transport": "PUT" });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    server.query(CREATE, json!({ "input": input })).await["createDirectUpload"]["directUpload"].clone()
}

both! {
    /// Small and large uploads, a PUT, a completed form, a download, an import.
    async fn a_failing_byte_store(database: Database) {
        let server = Server::start(database).await;
        let kept = server.file("kept.txt", b"kept".to_vec()).await;
        let url = server.query(STATUS, json!({ "id": kept["id"] })).await["file"]["downloadUrl"].as_str().unwrap().to_owned();
        let put = create(&server, json!({})).await;
        let form = create(&server, json!({ "filename": "a.png", "mimeType": "image/png", "transport": "FORM_POST" })).await;
        let part = reqwest::multipart::Part::bytes(png(1)).file_name("a.png");
        let sent = server.http.post(form["uploadUrl"].as_str().unwrap()).multipart(reqwest::multipart::Form::new().part("file", part));
        assert_eq!(sent.send().await.unwrap().status(), 200);
        let router = axum::Router::new().route("/a.bin", get(|| async { noise(5000, 8) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = format!("http://{}/a.bin", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });

        let blocked = BlockedFolder::new(server.dir.path().join("blobs/originals"));
        assert_outage(upload(&server, b"small".to_vec()).await).await;
        assert_outage(upload(&server, noise(12 * 1024 * 1024, 7)).await).await;
        assert_rest_outage(server.http.put(put["uploadUrl"].as_str().unwrap()).body("text").send().await.unwrap()).await;
        assert_outage(ask(&server, COMPLETE, json!({ "id": form["id"] })).await).await;
        assert_rest_outage(server.http.get(&url).send().await.unwrap()).await;
        assert_rest_outage(server.http.get(&url).header("range", "bytes=1-2").send().await.unwrap()).await;
        assert_rest_outage_head(server.http.head(&url).send().await.unwrap());
        let input = json!({ "workspaceId": server.workspace, "url": source });
        let imported = server.query(IMPORT, json!({ "input": input })).await["importFile"]["file"]["id"].clone();
        // It is postponed, and not held for the length of a lease: one attempt was made, and the next is due soon.
        eventually("the import is put off", || async {
            let row = imagegraph::entity::file::by_id_unscoped(imported.as_str().unwrap().parse().unwrap());
            let row = row.one(&server.running.app.db.read).await.unwrap().unwrap();
            let soon = server.clock.now() + Duration::from_secs(30);
            (row.attempts > 0 && row.due_at.is_some_and(|due| due < soon)).then_some(())
        })
        .await;
        blocked.restore();

        eventually("the import is there", || async {
            let file = server.query(STATUS, json!({ "id": imported })).await["file"].clone();
            (file["status"] == "READY").then_some(())
        })
        .await;
        assert_eq!(server.http.put(put["uploadUrl"].as_str().unwrap()).body("text").send().await.unwrap().status(), 200);
        let done = ask(&server, COMPLETE, json!({ "id": form["id"] })).await.json::<Value>().await.unwrap();
        assert_eq!(done["data"]["completeDirectUpload"]["file"]["status"], "READY", "{done:#}");
        assert_eq!(server.http.get(&url).send().await.unwrap().bytes().await.unwrap(), "kept");
        // Nothing remains of the failed attempts: five files, five objects.
        assert_eq!(server.query("{ files { totalCount } }", json!({})).await["files"]["totalCount"], 4);
        assert_eq!(server.originals().len(), 4);
    }

    /// Bytes that cannot be spooled: of a multipart request, of a PUT, and those that a completed form has in the
    /// account.
    async fn a_failing_spool_folder(database: Database) {
        let aside = tempfile::TempDir::new().unwrap();
        let elsewhere = format!("sqlite://{}/db.sqlite", aside.path().display());
        let server = Server::start_with(database, |config| {
            config.database_url.get_or_insert(elsewhere);
            config.data_dir = config.data_dir.join("data");
            config.store_url = Some(format!("file://{}/blobs", aside.path().display()).parse().unwrap());
        })
        .await;
        let put = create(&server, json!({})).await;
        let blocked = BlockedFolder::new(server.dir.path().join("data"));
        assert_outage(upload(&server, b"text".to_vec()).await).await;
        assert_rest_outage(server.http.put(put["uploadUrl"].as_str().unwrap()).body("text").send().await.unwrap()).await;
        blocked.restore();
        server.file("a.txt", b"text".to_vec()).await;
        assert_eq!(server.http.put(put["uploadUrl"].as_str().unwrap()).body("text").send().await.unwrap().status(), 200);
    }

    /// The analysis of an image waits until its bytes can be read, without a limit on attempts.
    async fn analysis_waits_for_the_store(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(5)).await;
        let due = "UPDATE image SET analysis_due_at = '2020-01-01T00:00:00+00:00', analysis_attempts = 4, dominant_color = NULL";
        eventually("it was looked at", || async {
            let seen = server.query(STATUS, json!({ "id": file["id"] })).await["file"]["image"]["dominantColor"].clone();
            (!seen.is_null()).then_some(())
        })
        .await;
        let blocked = BlockedFolder::new(server.dir.path().join("blobs/originals"));
        sea_orm::ConnectionTrait::execute_unprepared(&server.running.app.db.write, due).await.unwrap();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            server.clock.advance(Duration::from_secs(40));
        }
        blocked.restore();
        server.clock.advance(Duration::from_secs(40));
        eventually("it is looked at again", || async {
            let seen = server.query(STATUS, json!({ "id": file["id"] })).await["file"]["image"]["dominantColor"].clone();
            (!seen.is_null()).then_some(())
        })
        .await;
    }

    /// The same for provisioning: the image waits and does not fail.
    async fn provisioning_waits_for_the_store(database: Database) {
        let server = Server::start(database).await;
        let file = server.upload_as(ADMIN, json!({ "image": { "provision": false } }), "a.png", "", png(6)).await["file"].clone();
        let provision = "mutation($id: ID!) { provisionImage(input: { fileId: $id }) { image { id } userErrors { code } } }";
        let blocked = BlockedFolder::new(server.dir.path().join("blobs/originals"));
        assert_outage(ask(&server, provision, json!({ "id": file["id"] })).await).await;
        blocked.restore();
        let done = server.query(provision, json!({ "id": file["id"] })).await;
        assert_eq!(done["provisionImage"]["userErrors"], json!([]));
        assert_eq!(server.query(STATUS, json!({ "id": file["id"] })).await["file"]["imageStatus"], "READY");
    }
}

fn assert_rest_outage_head(answer: Response) {
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"5".parse().unwrap()));
}
