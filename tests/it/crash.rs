//! SIGKILL between any two steps, and a second start: no lost file, no doubled image, no orphan after the sweep.
//!
//! In debug builds the program stands still at a step it is told to. The account is an emulator of its own, so that it
//! outlives the server.

use std::process::Command;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{ADMIN, Database, Program, UPLOAD, eventually, http, originals};
use crate::pictures::{photo, png};

/// An emulator, and a server on it that can be killed and started again.
struct Stage {
    dir: TempDir,
    database_url: Option<String>,
    account: Vec<(String, String)>,
    emulator: Program,
    /// Seconds for which a claim holds.
    lease: &'static str,
    http: reqwest::Client,
}

struct Life {
    server: Program,
    url: String,
}

impl Stage {
    async fn set(database: Database) -> Stage {
        let dir = TempDir::new().unwrap();
        let mut emulator = Self::account(&dir, "127.0.0.1:0");
        let said = emulator.said_until("CLOUDFLARE_DELIVERY_URL=").await;
        let account = said
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Stage { database_url: database.fresh().await, dir, account, emulator, lease: "1", http: http() }
    }

    /// Starts the account, on what it kept in its folder.
    fn account(dir: &TempDir, listen: &str) -> Program {
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

    /// Starts the server, to stand still at a step if one is named.
    async fn start(&self, step: Option<&str>) -> Life {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
        command
            .env_clear()
            .envs(self.account.iter().map(|(name, value)| (name, value)))
            .env("IMAGEGRAPH_DATA_DIR", self.data())
            .env("IMAGEGRAPH_ADMIN_TOKEN", ADMIN)
            // A claim made by a killed server ends soon, and bytes are old soon.
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
            command.env("IMAGEGRAPH_STAND_STILL_AT", step);
        }
        let mut server = Program::start(command);
        let said = server.said_until("listens on").await;
        let address = said.lines().find_map(|line| line.split(" listens on ").nth(1)).unwrap().to_owned();
        Life { server, url: format!("http://{address}") }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Waits until the server stands still, then kills it.
    async fn kill_at(&self, mut life: Life, step: &str) {
        let mark = self.data().join("standing-still");
        eventually(step, || async { mark.exists().then_some(()) }).await;
        life.server.kill();
        std::fs::remove_file(mark).unwrap();
    }

    async fn ask(&self, life: &Life, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let answer = self
            .http
            .post(format!("{}/graphql", life.url))
            .bearer_auth(ADMIN)
            .json(&body)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{answer:#}");
        answer["data"].clone()
    }

    /// Begins a request that will never be answered.
    fn begin(&self, life: &Life, query: &str, variables: Value) -> tokio::task::JoinHandle<()> {
        let body = json!({ "query": query, "variables": variables });
        let request = self.http.post(format!("{}/graphql", life.url)).bearer_auth(ADMIN).json(&body);
        tokio::spawn(async move { drop(request.send().await) })
    }

    async fn workspace(&self, life: &Life) -> String {
        let found = self.ask(life, "{ workspaces { nodes { id } } }", json!({})).await;
        found["workspaces"]["nodes"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn upload(&self, life: &Life, bytes: Vec<u8>) -> reqwest::RequestBuilder {
        let input = json!({ "workspaceId": self.workspace(life).await, "file": null });
        let form = Form::new()
            .text("operations", json!({ "query": UPLOAD, "variables": { "input": input } }).to_string())
            .text("map", r#"{"0":["variables.input.file"]}"#)
            .part("0", Part::bytes(bytes).file_name("photo.jpg"));
        self.http.post(format!("{}/graphql", life.url)).bearer_auth(ADMIN).multipart(form)
    }

    /// Images in the account, drafts left out.
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

    /// Waits until the server has come to rest: so many files, all of whose images are ready, and as many of everything
    /// in the account and in the byte store.
    async fn comes_to_rest(&self, life: &Life, files: usize, images: usize) -> Value {
        eventually(&format!("{files} files, {images} images and nothing else"), || async {
            let found = self
                .ask(
                    life,
                    "{ files { nodes { id status imageStatus image { id url } } } images { totalCount } }",
                    json!({}),
                )
                .await;
            let nodes = found["files"]["nodes"].as_array().unwrap().clone();
            let settled = nodes
                .iter()
                .all(|node| ["READY", "REMOVED"].contains(&node["imageStatus"].as_str().unwrap()));
            let there = (
                nodes.len(),
                found["images"]["totalCount"].as_u64().unwrap() as usize,
                self.account_images().await,
                originals(&self.data()).len(),
            );
            (settled && there == (files, images, images, files)).then_some(json!(nodes))
        })
        .await
    }
}

both! {
    /// An upload killed at each step: before the rows are written nothing is there, after it the file and one image.
    async fn killed_while_uploading(database: Database) {
        for (step, survives) in [("spooled", false), ("bytes-stored", false), ("rows-written", true), ("created", true), ("settled", true)] {
            let stage = Stage::set(database).await;
            let life = stage.start(Some(step)).await;
            let request = stage.upload(&life, photo(1)).await;
            let sending = tokio::spawn(async move { drop(request.send().await) });
            stage.kill_at(life, step).await;
            sending.await.unwrap();
            let life = stage.start(None).await;
            let expected = usize::from(survives);
            let files = stage.comes_to_rest(&life, expected, expected).await;
            if survives {
                let url = files[0]["image"]["url"].as_str().unwrap();
                assert_eq!(stage.http.get(url).send().await.unwrap().status(), 200, "{step}");
            }
            // And nothing changes any more.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            stage.comes_to_rest(&life, expected, expected).await;
        }
    }

    /// Deletions killed at each step are finished by the next start.
    async fn killed_while_deleting(database: Database) {
        for (mutation, steps, files) in [
            ("mutation($file: ID!, $image: ID!) { deleteFile(input: { id: $file, permanently: true }) { success } deleted: deleteImage(input: { id: $image }) { success } }", &["file-marked", "removed", "image-removed", "bytes-removed"][..], 1),
            ("mutation($file: ID!, $image: ID!) { deleteImage(input: { id: $image }) { success } file: updateFile(input: { id: $file }) { file { id } } }", &["image-marked", "removed"][..], 2),
        ] {
            for step in steps {
                let stage = Stage::set(database).await;
                let life = stage.start(Some(step)).await;
                let request = stage.upload(&life, photo(1)).await;
                let uploaded: Value = request.send().await.unwrap().json().await.unwrap();
                let file = &uploaded["data"]["uploadFile"]["file"];
                let kept = stage.upload(&life, png(2)).await.send().await.unwrap();
                assert_eq!(kept.status(), 200);
                let begun = stage.begin(&life, mutation, json!({ "file": file["id"], "image": file["image"]["id"] }));
                stage.kill_at(life, step).await;
                begun.await.unwrap();
                let life = stage.start(None).await;
                stage.comes_to_rest(&life, files, 1).await;
            }
        }
    }

    /// Killed between the steps of going to the trash, of coming back, and of a change of access: the next start puts it
    /// right.
    async fn killed_between_trash_and_account(database: Database) {
        let trash = "mutation($file: ID!) { deleteFile(input: { id: $file }) { success } }";
        let restore = "mutation($file: ID!) { restoreFile(input: { id: $file }) { file { id } } }";
        let switch = "mutation($image: ID!) { updateImage(input: { id: $image, requireSignedUrls: true }) { image { id } } }";
        for (step, mutation) in [("file-trashed", trash), ("file-restored", restore), ("image-edited", switch)] {
            let stage = Stage::set(database).await;
            let life = stage.start(Some(step)).await;
            let request = stage.upload(&life, photo(1)).await;
            let uploaded: Value = request.send().await.unwrap().json().await.unwrap();
            let file = &uploaded["data"]["uploadFile"]["file"];
            let things = json!({ "file": file["id"], "image": file["image"]["id"] });
            if step == "file-restored" {
                stage.ask(&life, trash, things.clone()).await;
            }
            let begun = stage.begin(&life, mutation, things.clone());
            stage.kill_at(life, step).await;
            begun.await.unwrap();
            let life = stage.start(None).await;
            if step == "file-trashed" {
                crate::harness::eventually("out of the account", || async {
                    (stage.account_images().await == 0).then_some(())
                })
                .await;
                let back = stage.ask(&life, "mutation($file: ID!) { restoreFile(input: { id: $file }) { file { imageStatus } } }", things).await;
                assert_eq!(back["restoreFile"]["file"]["imageStatus"], "READY");
            }
            let files = stage.comes_to_rest(&life, 1, 1).await;
            if step != "image-edited" {
                continue;
            }
            // The row takes over the id that the account gave.
            let query = "query($image: ID!) { image(id: $image) { requireSignedUrls url } }";
            let image = crate::harness::eventually("switched", || async {
                let image = stage.ask(&life, query, json!({ "image": files[0]["image"]["id"] })).await["image"].clone();
                (image["requireSignedUrls"] == true).then_some(image)
            })
            .await;
            assert_eq!(stage.http.get(image["url"].as_str().unwrap()).send().await.unwrap().status(), 200);
        }
    }

    /// The account's process is gone and its port refuses connections: uploads go on, also over a restart of the server,
    /// and all images are there once the account is back.
    async fn an_account_that_refuses_connections(database: Database) {
        let mut stage = Stage::set(database).await;
        // Nobody dies holding a claim here, and an attempt may take its time.
        stage.lease = "120";
        let address = stage.setting("CLOUDFLARE_BASE_URL").replace("http://", "").replace("/client/v4", "");
        let life = stage.start(None).await;
        stage.emulator.kill();
        // With the default settings: the answer waits long enough to say why.
        let uploads = (0..3).map(async |i| stage.upload(&life, png(i)).await.send().await.unwrap());
        for answer in futures_util::future::join_all(uploads).await {
            let answer: Value = answer.json().await.unwrap();
            let file = &answer["data"]["uploadFile"]["file"];
            assert_eq!((&file["status"], &file["imageStatus"]), (&json!("READY"), &json!("QUEUED")), "{answer:#}");
            assert_eq!(file["imageFailure"]["code"], "UPSTREAM_ERROR");
            assert!(file["imageFailure"]["retryAfter"].as_i64().unwrap() >= 1);
        }
        let mut life = life;
        life.server.kill();
        let life = stage.start(None).await;
        let found = stage.ask(&life, "{ files { totalCount } images { totalCount } }", json!({})).await;
        assert_eq!(found, json!({ "files": { "totalCount": 3 }, "images": { "totalCount": 0 } }));
        stage.emulator = Stage::account(&stage.dir, &address);
        stage.emulator.said_until("CLOUDFLARE_DELIVERY_URL=").await;
        stage.comes_to_rest(&life, 3, 3).await;
    }

    /// A direct upload killed at each step of its creation and its completion.
    async fn killed_while_uploading_directly(database: Database) {
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.jpg\", mimeType: \"image/jpeg\", expiresIn: 120, onDuplicate: REJECT }) { directUpload { id uploadUrl } userErrors { code } } }";
        let complete = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { directUpload { status } file { status image { id } } userErrors { code } } }";
        for step in ["upload-inserted", "draft-made"] {
            let stage = Stage::set(database).await;
            let life = stage.start(Some(step)).await;
            let workspace = stage.workspace(&life).await;
            let begun = stage.begin(&life, create, json!({ "w": workspace }));
            stage.kill_at(life, step).await;
            begun.await.unwrap();
            let life = stage.start(None).await;
            // Nobody knows of it; it waits for its expiry and shows that it has no bytes.
            let found = stage.ask(&life, "{ files { nodes { status } } images { totalCount } }", json!({})).await;
            assert_eq!(found, json!({ "files": { "nodes": [{ "status": "AWAITING_UPLOAD" }] }, "images": { "totalCount": 0 } }), "{step}");
            assert_eq!(stage.account_images().await, 0);
        }
        for step in ["bytes-stored", "rows-written", "upload-settled"] {
            let stage = Stage::set(database).await;
            let life = stage.start(Some(step)).await;
            let workspace = stage.workspace(&life).await;
            let created = stage.ask(&life, create, json!({ "w": workspace })).await["createDirectUpload"]["directUpload"].clone();
            let form = Form::new().part("file", Part::bytes(photo(1)).file_name("a.jpg"));
            let sent = stage.http.post(created["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
            assert_eq!(sent.status(), 200);
            let begun = stage.begin(&life, complete, json!({ "id": created["id"] }));
            stage.kill_at(life, step).await;
            begun.await.unwrap();
            let life = stage.start(None).await;
            let done = stage.ask(&life, complete, json!({ "id": created["id"] })).await["completeDirectUpload"].clone();
            assert_eq!((&done["userErrors"], &done["file"]["status"]), (&json!([]), &json!("READY")), "{step}");
            stage.comes_to_rest(&life, 1, 1).await;
        }
    }

    /// A creation killed at each step goes on when it is repeated under its key: one upload, whose URL takes the bytes, even
    /// where the account has a draft of the chosen id whose URL nobody was told.
    async fn a_creation_is_gone_on_with_under_its_key(database: Database) {
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.jpg\", mimeType: \"image/jpeg\", idempotencyKey: \"k\", image: { cfImageId: \"mine/a\" } }) { directUpload { id uploadUrl } userErrors { code message } } }";
        let complete = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { file { status } image { cfImageId } userErrors { code } } }";
        for step in ["upload-inserted", "draft-made"] {
            let stage = Stage::set(database).await;
            let life = stage.start(Some(step)).await;
            let workspace = stage.workspace(&life).await;
            let begun = stage.begin(&life, create, json!({ "w": workspace }));
            stage.kill_at(life, step).await;
            begun.await.unwrap();
            let life = stage.start(None).await;
            let created = stage.ask(&life, create, json!({ "w": workspace })).await["createDirectUpload"].clone();
            assert_eq!(created["userErrors"], json!([]), "{step}");
            assert_eq!(stage.ask(&life, create, json!({ "w": workspace })).await["createDirectUpload"], created);
            let form = Form::new().part("file", Part::bytes(photo(1)).file_name("a.jpg"));
            let url = created["directUpload"]["uploadUrl"].as_str().unwrap();
            assert_eq!(stage.http.post(url).multipart(form).send().await.unwrap().status(), 200);
            let done = stage.ask(&life, complete, json!({ "id": created["directUpload"]["id"] })).await["completeDirectUpload"].clone();
            assert_eq!(done, json!({ "file": { "status": "READY" }, "image": { "cfImageId": "mine/a" }, "userErrors": [] }), "{step}");
            stage.comes_to_rest(&life, 1, 1).await;
        }
    }

    /// An import killed at each step is fetched again by the next start, and is one file with one image.
    async fn killed_while_importing(database: Database) {
        let source = axum::Router::new().route("/a.png", axum::routing::get(|| async { png(1) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a.png", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, source).await });
        let import = "mutation($w: ID!, $url: URL!) { importFile(input: { workspaceId: $w, url: $url }) { file { status } userErrors { code } } }";
        for step in ["fetched", "bytes-stored", "rows-written"] {
            let stage = Stage::set(database).await;
            let life = stage.start(Some(step)).await;
            let workspace = stage.workspace(&life).await;
            let begun = stage.ask(&life, import, json!({ "w": workspace, "url": url })).await;
            assert_eq!(begun["importFile"], json!({ "file": { "status": "PROCESSING" }, "userErrors": [] }));
            stage.kill_at(life, step).await;
            let life = stage.start(None).await;
            let fetched = "{ files { nodes { status } } }";
            eventually("the file is fetched", || async {
                (stage.ask(&life, fetched, json!({})).await["files"]["nodes"][0]["status"] == "READY").then_some(())
            })
            .await;
            stage.comes_to_rest(&life, 1, 1).await;
        }
    }

    /// A PUT killed at each step: the same URL takes the bytes again, or they had arrived.
    async fn killed_while_putting(database: Database) {
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.png\", mimeType: \"image/png\", transport: PUT }) { directUpload { id uploadUrl } userErrors { code } } }";
        for (step, again) in [("upload-received", 200), ("bytes-stored", 200), ("rows-written", 200)] {
            let stage = Stage::set(database).await;
            let life = stage.start(Some(step)).await;
            let workspace = stage.workspace(&life).await;
            let created = stage.ask(&life, create, json!({ "w": workspace })).await["createDirectUpload"]["directUpload"].clone();
            let url = created["uploadUrl"].as_str().unwrap().to_owned();
            let request = stage.http.put(&url).body(png(1));
            let sending = tokio::spawn(async move { drop(request.send().await) });
            let before = life.url.clone();
            stage.kill_at(life, step).await;
            sending.await.unwrap();
            let life = stage.start(None).await;
            // The secret that signed it outlives the process; only the port is another one.
            let sent = stage.http.put(url.replace(&before, &life.url)).body(png(1)).send().await.unwrap();
            assert_eq!(sent.status(), again, "{step}");
            stage.comes_to_rest(&life, 1, 1).await;
        }
    }

    /// The rows were committed, the answer was lost: the same request with the same key finds what it made.
    async fn a_lost_answer_is_given_again(database: Database) {
        let stage = Stage::set(database).await;
        let life = stage.start(Some("rows-written")).await;
        let workspace = stage.workspace(&life).await;
        let request = |life: &Life| {
            let input = json!({ "workspaceId": workspace, "file": null, "idempotencyKey": "once", "onDuplicate": "REJECT" });
            let form = Form::new()
                .text("operations", json!({ "query": UPLOAD, "variables": { "input": input } }).to_string())
                .text("map", r#"{"0":["variables.input.file"]}"#)
                .part("0", Part::bytes(photo(1)).file_name("a.jpg"));
            stage.http.post(format!("{}/graphql", life.url)).bearer_auth(ADMIN).multipart(form)
        };
        let sending = request(&life);
        let sending = tokio::spawn(async move { drop(sending.send().await) });
        stage.kill_at(life, "rows-written").await;
        sending.await.unwrap();
        let life = stage.start(None).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let answer: Value = request(&life).send().await.unwrap().json().await.unwrap();
            assert_eq!(answer["data"]["uploadFile"]["userErrors"], json!([]), "{answer:#}");
            ids.push(answer["data"]["uploadFile"]["file"]["id"].clone());
        }
        assert_eq!(ids[0], ids[1]);
        stage.comes_to_rest(&life, 1, 1).await;
    }
}
