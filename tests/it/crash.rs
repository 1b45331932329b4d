//! The program is killed with SIGKILL at each step and started again: no file is lost, no image is stored twice, and
//! no bytes are left over after the sweep.
//!
//! In debug builds the program stops at the crash point that `IMAGEGRAPH_CRASH_POINT` names. The emulator runs as a process of its own, so
//! that it survives the server.

use std::process::Command;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{ADMIN, Database, Program, UPLOAD, eventually, http, originals};
use crate::pictures::{photo, png};

/// An emulator, and a server that uses it and can be killed and started again.
struct Setup {
    dir: TempDir,
    database_url: Option<String>,
    account: Vec<(String, String)>,
    emulator: Program,
    /// Lease of the worker, in seconds.
    lease: &'static str,
    http: reqwest::Client,
}

struct RunningServer {
    program: Program,
    url: String,
}

impl Setup {
    async fn new(database: Database) -> Setup {
        let dir = TempDir::new().unwrap();
        let mut emulator = Self::start_emulator(&dir, "127.0.0.1:0");
        let said = emulator.output_until("CLOUDFLARE_DELIVERY_URL=").await;
        let account = said
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Setup { database_url: database.fresh().await, dir, account, emulator, lease: "1", http: http() }
    }

    /// Starts the emulator on the data in its folder.
    fn start_emulator(dir: &TempDir, listen: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
        command
            .env_clear()
            .args(["emulator", "--emulator-faults", "--listen", listen, "--data-dir"])
            .arg(dir.path().join("account"));
        Program::start(command)
    }

    fn setting(&self, name: &str) -> String {
        self.account.iter().find(|(known, _)| known == name).unwrap().1.clone()
    }

    /// Starts the server; it stops at the crash point `step`, if there is one.
    async fn start(&self, step: Option<&str>) -> RunningServer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
        command
            .env_clear()
            .envs(self.account.iter().map(|(name, value)| (name, value)))
            .env("IMAGEGRAPH_DATA_DIR", self.data())
            .env("IMAGEGRAPH_ADMIN_TOKEN", ADMIN)
            // The leases of a killed server end soon, and the sweep deletes bytes soon.
            .env("IMAGEGRAPH_LEASE", self.lease)
            .env("IMAGEGRAPH_SWEEP_AGE", "1")
            .env("IMAGEGRAPH_WORKER_INTERVAL", "0.1")
            .env("IMAGEGRAPH_STRAY_CHECK", "1")
            .env("IMAGEGRAPH_IMPORT_TIMEOUT", "2")
            .env("IMAGEGRAPH_IMPORT_ALLOW_LOOPBACK", "true")
            .args(["--listen", "127.0.0.1:0"]);
        if let Some(url) = &self.database_url {
            command.env("DATABASE_URL", url);
        }
        if let Some(step) = step {
            command.env("IMAGEGRAPH_CRASH_POINT", step);
        }
        let mut program = Program::start(command);
        let said = program.output_until("listens on").await;
        let address = said.lines().find_map(|line| line.split(" listens on ").nth(1)).unwrap().to_owned();
        RunningServer { program, url: format!("http://{address}") }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Waits until the server has stopped at the step, then kills it.
    async fn kill_at(&self, mut server: RunningServer, step: &str) {
        let marker = self.data().join("crash-point-reached");
        eventually(step, || async { marker.exists().then_some(()) }).await;
        server.program.kill();
        std::fs::remove_file(marker).unwrap();
    }

    async fn ask(&self, server: &RunningServer, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let answer = self
            .http
            .post(format!("{}/graphql", server.url))
            .bearer_auth(ADMIN)
            .json(&body)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{answer:#}");
        answer["data"].clone()
    }

    /// Sends a request without waiting for its answer, because the server is killed before it answers.
    fn send(&self, server: &RunningServer, query: &str, variables: Value) -> tokio::task::JoinHandle<()> {
        let body = json!({ "query": query, "variables": variables });
        let request = self.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body);
        tokio::spawn(async move { drop(request.send().await) })
    }

    async fn workspace(&self, server: &RunningServer) -> String {
        let found = self.ask(server, "{ workspaces { nodes { id } } }", json!({})).await;
        found["workspaces"]["nodes"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn upload(&self, server: &RunningServer, bytes: Vec<u8>) -> reqwest::RequestBuilder {
        let input = json!({ "workspaceId": self.workspace(server).await, "file": null });
        let form = Form::new()
            .text("operations", json!({ "query": UPLOAD, "variables": { "input": input } }).to_string())
            .text("map", r#"{"0":["variables.input.file"]}"#)
            .part("0", Part::bytes(bytes).file_name("photo.jpg"));
        self.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).multipart(form)
    }

    /// Number of images in the account without drafts.
    async fn account_images(&self) -> usize {
        let url = format!(
            "{}/accounts/{}/images/v2",
            self.setting("CLOUDFLARE_BASE_URL"),
            self.setting("CLOUDFLARE_ACCOUNT_ID")
        );
        let answer =
            self.http.get(url).bearer_auth(self.setting("CLOUDFLARE_API_TOKEN")).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["result"]["images"].as_array().unwrap().len()
    }

    /// Waits until there are `files` files with all their images ready, and as many images in the account and objects
    /// in the byte store.
    async fn wait_for_totals(&self, server: &RunningServer, files: usize, images: usize) -> Value {
        eventually(&format!("{files} files, {images} images and nothing else"), || async {
            let found = self
                .ask(
                    server,
                    "{ files { nodes { id status imageStatus image { id url } } } images { totalCount } }",
                    json!({}),
                )
                .await;
            let nodes = found["files"]["nodes"].as_array().unwrap().clone();
            let all_final = nodes
                .iter()
                .all(|node| ["READY", "REMOVED"].contains(&node["imageStatus"].as_str().unwrap()));
            let counts = (
                nodes.len(),
                found["images"]["totalCount"].as_u64().unwrap() as usize,
                self.account_images().await,
                originals(&self.data()).len(),
            );
            (all_final && counts == (files, images, images, files)).then_some(json!(nodes))
        })
        .await
    }
}

both! {
    /// Before the rows are written a killed upload leaves nothing; after that it leaves the file and one image.
    async fn killed_while_uploading(database: Database) {
        for (step, survives) in [("spooled", false), ("bytes-stored", false), ("rows-written", true), ("account-image-created", true), ("image-ready", true)] {
            let setup = Setup::new(database).await;
            let server = setup.start(Some(step)).await;
            let request = setup.upload(&server, photo(1)).await;
            let sending = tokio::spawn(async move { drop(request.send().await) });
            setup.kill_at(server, step).await;
            sending.await.unwrap();
            let server = setup.start(None).await;
            let expected = usize::from(survives);
            let files = setup.wait_for_totals(&server, expected, expected).await;
            if survives {
                let url = files[0]["image"]["url"].as_str().unwrap();
                assert_eq!(setup.http.get(url).send().await.unwrap().status(), 200, "{step}");
            }
            // The state is final.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            setup.wait_for_totals(&server, expected, expected).await;
        }
    }

    /// A deletion killed at any step is completed after the next start.
    async fn killed_while_deleting(database: Database) {
        for (mutation, steps, files) in [
            ("mutation($file: ID!, $image: ID!) { deleteFile(input: { id: $file, permanently: true }) { success } deleted: deleteImage(input: { id: $image }) { success } }", &["file-marked", "account-image-deleted", "image-removed", "bytes-removed"][..], 1),
            ("mutation($file: ID!, $image: ID!) { deleteImage(input: { id: $image }) { success } file: updateFile(input: { id: $file }) { file { id } } }", &["image-marked", "account-image-deleted"][..], 2),
        ] {
            for step in steps {
                let setup = Setup::new(database).await;
                let server = setup.start(Some(step)).await;
                let request = setup.upload(&server, photo(1)).await;
                let uploaded: Value = request.send().await.unwrap().json().await.unwrap();
                let file = &uploaded["data"]["uploadFile"]["file"];
                let kept = setup.upload(&server, png(2)).await.send().await.unwrap();
                assert_eq!(kept.status(), 200);
                let request = setup.send(&server, mutation, json!({ "file": file["id"], "image": file["image"]["id"] }));
                setup.kill_at(server, step).await;
                request.await.unwrap();
                let server = setup.start(None).await;
                setup.wait_for_totals(&server, files, 1).await;
            }
        }
    }

    /// A server killed while it moves a file to the trash, restores one or changes access is repaired by the next
    /// start.
    async fn killed_between_trash_and_account(database: Database) {
        let trash = "mutation($file: ID!) { deleteFile(input: { id: $file }) { success } }";
        let restore = "mutation($file: ID!) { restoreFile(input: { id: $file }) { file { id } } }";
        let switch = "mutation($image: ID!) { updateImage(input: { id: $image, requireSignedUrls: true }) { image { id } } }";
        for (step, mutation) in [("file-trashed", trash), ("file-restored", restore), ("account-image-edited", switch)] {
            let setup = Setup::new(database).await;
            let server = setup.start(Some(step)).await;
            let request = setup.upload(&server, photo(1)).await;
            let uploaded: Value = request.send().await.unwrap().json().await.unwrap();
            let file = &uploaded["data"]["uploadFile"]["file"];
            let things = json!({ "file": file["id"], "image": file["image"]["id"] });
            if step == "file-restored" {
                setup.ask(&server, trash, things.clone()).await;
            }
            let request = setup.send(&server, mutation, things.clone());
            setup.kill_at(server, step).await;
            request.await.unwrap();
            let server = setup.start(None).await;
            if step == "file-trashed" {
                crate::harness::eventually("the image is removed from the account", || async {
                    (setup.account_images().await == 0).then_some(())
                })
                .await;
                let back = setup.ask(&server, "mutation($file: ID!) { restoreFile(input: { id: $file }) { file { imageStatus } } }", things).await;
                assert_eq!(back["restoreFile"]["file"]["imageStatus"], "READY");
            }
            let files = setup.wait_for_totals(&server, 1, 1).await;
            if step != "account-image-edited" {
                continue;
            }
            // The row takes over the new id of the image in the account.
            let query = "query($image: ID!) { image(id: $image) { requireSignedUrls url } }";
            let image = crate::harness::eventually("access is switched", || async {
                let image = setup.ask(&server, query, json!({ "image": files[0]["image"]["id"] })).await["image"].clone();
                (image["requireSignedUrls"] == true).then_some(image)
            })
            .await;
            assert_eq!(setup.http.get(image["url"].as_str().unwrap()).send().await.unwrap().status(), 200);
        }
    }

    /// While the emulator's port refuses connections, uploads succeed, also after a restart of the server, and all
    /// images are provisioned once it is back.
    async fn an_account_that_refuses_connections(database: Database) {
        let mut setup = Setup::new(database).await;
        // The server is not killed while it holds a lease here, so the lease may be long.
        setup.lease = "120";
        let address = setup.setting("CLOUDFLARE_BASE_URL").replace("http://", "").replace("/client/v4", "");
        let server = setup.start(None).await;
        setup.emulator.kill();
        // With the default settings the response waits long enough to report why the image is queued.
        let uploads = (0..3).map(async |i| setup.upload(&server, png(i)).await.send().await.unwrap());
        for answer in futures_util::future::join_all(uploads).await {
            let answer: Value = answer.json().await.unwrap();
            let file = &answer["data"]["uploadFile"]["file"];
            assert_eq!((&file["status"], &file["imageStatus"]), (&json!("READY"), &json!("QUEUED")), "{answer:#}");
            assert_eq!(file["imageFailure"]["code"], "UPSTREAM_ERROR");
            assert!(file["imageFailure"]["retryAfter"].as_i64().unwrap() >= 1);
        }
        let mut server = server;
        server.program.kill();
        let server = setup.start(None).await;
        let found = setup.ask(&server, "{ files { totalCount } images { totalCount } }", json!({})).await;
        assert_eq!(found, json!({ "files": { "totalCount": 3 }, "images": { "totalCount": 0 } }));
        setup.emulator = Setup::start_emulator(&setup.dir, &address);
        setup.emulator.output_until("CLOUDFLARE_DELIVERY_URL=").await;
        setup.wait_for_totals(&server, 3, 3).await;
    }

    /// A direct upload killed at each step of its creation and completion.
    async fn killed_while_uploading_directly(database: Database) {
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.jpg\", mimeType: \"image/jpeg\", expiresIn: 120, onDuplicate: REJECT }) { directUpload { id uploadUrl } userErrors { code } } }";
        let complete = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { directUpload { status } file { status image { id } } userErrors { code } } }";
        for step in ["upload-inserted", "draft-created"] {
            let setup = Setup::new(database).await;
            let server = setup.start(Some(step)).await;
            let workspace = setup.workspace(&server).await;
            let request = setup.send(&server, create, json!({ "w": workspace }));
            setup.kill_at(server, step).await;
            request.await.unwrap();
            let server = setup.start(None).await;
            // The client does not know this upload. It expires without bytes.
            let found = setup.ask(&server, "{ files { nodes { status } } images { totalCount } }", json!({})).await;
            assert_eq!(found, json!({ "files": { "nodes": [{ "status": "AWAITING_UPLOAD" }] }, "images": { "totalCount": 0 } }), "{step}");
            assert_eq!(setup.account_images().await, 0);
        }
        for step in ["bytes-stored", "rows-written", "upload-completed"] {
            let setup = Setup::new(database).await;
            let server = setup.start(Some(step)).await;
            let workspace = setup.workspace(&server).await;
            let created = setup.ask(&server, create, json!({ "w": workspace })).await["createDirectUpload"]["directUpload"].clone();
            let form = Form::new().part("file", Part::bytes(photo(1)).file_name("a.jpg"));
            let sent = setup.http.post(created["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
            assert_eq!(sent.status(), 200);
            let request = setup.send(&server, complete, json!({ "id": created["id"] }));
            setup.kill_at(server, step).await;
            request.await.unwrap();
            let server = setup.start(None).await;
            let done = setup.ask(&server, complete, json!({ "id": created["id"] })).await["completeDirectUpload"].clone();
            assert_eq!((&done["userErrors"], &done["file"]["status"]), (&json!([]), &json!("READY")), "{step}");
            setup.wait_for_totals(&server, 1, 1).await;
        }
    }

    /// A creation killed at any step continues when it is repeated with its key: one upload, whose URL accepts the
    /// bytes, even if the account has a draft with the chosen id whose URL the client never received.
    async fn an_interrupted_creation_continues_with_its_key(database: Database) {
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.jpg\", mimeType: \"image/jpeg\", idempotencyKey: \"k\", image: { cfImageId: \"mine/a\" } }) { directUpload { id uploadUrl } userErrors { code message } } }";
        let complete = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { file { status } image { cfImageId } userErrors { code } } }";
        for step in ["upload-inserted", "draft-created"] {
            let setup = Setup::new(database).await;
            let server = setup.start(Some(step)).await;
            let workspace = setup.workspace(&server).await;
            let request = setup.send(&server, create, json!({ "w": workspace }));
            setup.kill_at(server, step).await;
            request.await.unwrap();
            let server = setup.start(None).await;
            let created = setup.ask(&server, create, json!({ "w": workspace })).await["createDirectUpload"].clone();
            assert_eq!(created["userErrors"], json!([]), "{step}");
            assert_eq!(setup.ask(&server, create, json!({ "w": workspace })).await["createDirectUpload"], created);
            let form = Form::new().part("file", Part::bytes(photo(1)).file_name("a.jpg"));
            let url = created["directUpload"]["uploadUrl"].as_str().unwrap();
            assert_eq!(setup.http.post(url).multipart(form).send().await.unwrap().status(), 200);
            let done = setup.ask(&server, complete, json!({ "id": created["directUpload"]["id"] })).await["completeDirectUpload"].clone();
            assert_eq!(done, json!({ "file": { "status": "READY" }, "image": { "cfImageId": "mine/a" }, "userErrors": [] }), "{step}");
            setup.wait_for_totals(&server, 1, 1).await;
        }
    }

    /// An import killed at any step is fetched again after the next start, and results in one file with one image.
    async fn killed_while_importing(database: Database) {
        let source = axum::Router::new().route("/a.png", axum::routing::get(|| async { png(1) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a.png", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, source).await });
        let import = "mutation($w: ID!, $url: URL!) { importFile(input: { workspaceId: $w, url: $url }) { file { status } userErrors { code } } }";
        for step in ["fetched", "bytes-stored", "rows-written"] {
            let setup = Setup::new(database).await;
            let server = setup.start(Some(step)).await;
            let workspace = setup.workspace(&server).await;
            let begun = setup.ask(&server, import, json!({ "w": workspace, "url": url })).await;
            assert_eq!(begun["importFile"], json!({ "file": { "status": "PROCESSING" }, "userErrors": [] }));
            setup.kill_at(server, step).await;
            let server = setup.start(None).await;
            let fetched = "{ files { nodes { status } } }";
            eventually("the file is fetched", || async {
                (setup.ask(&server, fetched, json!({})).await["files"]["nodes"][0]["status"] == "READY").then_some(())
            })
            .await;
            setup.wait_for_totals(&server, 1, 1).await;
        }
    }

    /// A PUT killed at any step can be repeated at the same URL, unless its bytes were stored.
    async fn killed_while_putting(database: Database) {
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.png\", mimeType: \"image/png\", transport: PUT }) { directUpload { id uploadUrl } userErrors { code } } }";
        for (step, again) in [("upload-received", 200), ("bytes-stored", 200), ("rows-written", 200)] {
            let setup = Setup::new(database).await;
            let server = setup.start(Some(step)).await;
            let workspace = setup.workspace(&server).await;
            let created = setup.ask(&server, create, json!({ "w": workspace })).await["createDirectUpload"]["directUpload"].clone();
            let url = created["uploadUrl"].as_str().unwrap().to_owned();
            let request = setup.http.put(&url).body(png(1));
            let sending = tokio::spawn(async move { drop(request.send().await) });
            let before = server.url.clone();
            setup.kill_at(server, step).await;
            sending.await.unwrap();
            let server = setup.start(None).await;
            // The signing secret is stored, so the URL stays valid; only the port has changed.
            let sent = setup.http.put(url.replace(&before, &server.url)).body(png(1)).send().await.unwrap();
            assert_eq!(sent.status(), again, "{step}");
            setup.wait_for_totals(&server, 1, 1).await;
        }
    }

    /// If the rows were committed and the answer was lost, the same request with the same key returns the file.
    async fn a_lost_answer_is_repeated(database: Database) {
        let setup = Setup::new(database).await;
        let server = setup.start(Some("rows-written")).await;
        let workspace = setup.workspace(&server).await;
        let request = |server: &RunningServer| {
            let input = json!({ "workspaceId": workspace, "file": null, "idempotencyKey": "once", "onDuplicate": "REJECT" });
            let form = Form::new()
                .text("operations", json!({ "query": UPLOAD, "variables": { "input": input } }).to_string())
                .text("map", r#"{"0":["variables.input.file"]}"#)
                .part("0", Part::bytes(photo(1)).file_name("a.jpg"));
            setup.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).multipart(form)
        };
        let sending = request(&server);
        let sending = tokio::spawn(async move { drop(sending.send().await) });
        setup.kill_at(server, "rows-written").await;
        sending.await.unwrap();
        let server = setup.start(None).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let answer: Value = request(&server).send().await.unwrap().json().await.unwrap();
            assert_eq!(answer["data"]["uploadFile"]["userErrors"], json!([]), "{answer:#}");
            ids.push(answer["data"]["uploadFile"]["file"]["id"].clone());
        }
        assert_eq!(ids[0], ids[1]);
        setup.wait_for_totals(&server, 1, 1).await;
    }
}
