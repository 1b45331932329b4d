//! Errors of the Cloudflare account: which are retried and which are final, what operators and clients see of them,
//! how long they are retried, and what continues after the client has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use imagegraph::config::Config;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::{photo, png};

const FILE: &str = "query($id: ID!) { file(id: $id) { id status imageStatus imageFailure { code message field retryAfter } image { id } } }";
const PROVISION: &str =
    "mutation($id: ID!, $image: NewImageInput) { provisionImage(input: { fileId: $id, image: $image }) {
    file { imageStatus } image { id cfImageId } userErrors { code field message } } }";
const GALLERY: &str = "{ images { nodes { id url renditions { url } srcSet { src } } } }";

async fn file(server: &Server, id: &Value) -> Value {
    server.query(FILE, json!({ "id": id })).await["file"].clone()
}

async fn metrics(server: &Server) -> String {
    let asked = server.http.get(format!("{}/metrics", server.url)).bearer_auth(ADMIN).send().await.unwrap();
    asked.text().await.unwrap()
}

/// The counter of failed calls of a kind.
async fn failures(server: &Server, kind: &str) -> u64 {
    let name = format!("imagegraph_account_failures_total{{kind=\"{kind}\"}} ");
    let text = metrics(server).await;
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

async fn event_kinds(server: &Server) -> Vec<String> {
    use sea_orm::{EntityTrait, QueryOrder};
    let db = &server.running.app.db.read;
    let events =
        imagegraph::entity::event::Entity::find().order_by_asc(imagegraph::entity::event::Column::Seq);
    events.all(db).await.unwrap().iter().map(|event| format!("{:?}", event.kind)).collect()
}

/// A small photo with comment segments that make it larger.
fn large_photo(size: usize) -> Vec<u8> {
    let photo = photo(1);
    let mut bytes = photo[..2].to_vec();
    while bytes.len() + photo.len() + 60_004 < size {
        bytes.extend([0xff, 0xfe]);
        bytes.extend(60_002u16.to_be_bytes());
        bytes.extend(std::iter::repeat_n(b'x', 60_000));
    }
    bytes.extend(&photo[2..]);
    bytes
}

/// A proxy to the account of another server. `pace` is awaited for each chunk that is sent, and gets its length.
async fn proxy<F: Future<Output = ()> + Send + 'static>(
    to: String,
    pace: impl Fn(usize) -> F + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let pace = Arc::new(pace);
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let (to, pace) = (TcpStream::connect(&to).await.unwrap(), Arc::clone(&pace));
            let ((mut read, mut back), (mut answer, mut write)) = (from.into_split(), to.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answer, &mut back).await });
            tokio::spawn(async move {
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = read.read(&mut chunk).await {
                    pace(length).await;
                    if write.write_all(&chunk[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// Settings for the account of another server, through a proxy.
fn account_of(server: &Server, proxy: &str, config: &mut Config) {
    let app = &server.running.app;
    let credentials = std::fs::read_to_string(server.dir.path().join("emulator/credentials.json")).unwrap();
    let credentials: Value = serde_json::from_str(&credentials).unwrap();
    config.cloudflare_account_id = Some(app.cloudflare.settings.account_id.clone());
    config.cloudflare_api_token = credentials["api_token"].as_str().map(str::to_owned);
    let api = app.cloudflare.settings.api.path();
    config.cloudflare_base_url = format!("{proxy}{api}").parse().unwrap();
}

both! {
    /// An error that is not certainly about this image is retried and then succeeds; the client sees a neutral
    /// message, and the operator a counter.
    async fn account_errors_are_retried(database: Database) {
        for (status, code) in [
            (403, 5453), (404, 7003), (404, 7000), (403, 5403), (401, 10000), (403, 9109), (402, 1000),
            (400, 5400), (415, 5415), (400, 5999), (422, 31337), (404, 5404), (405, 7001), (409, 0), (413, 0), (415, 0), (400, 0),
        ] {
            let server = Server::start(database).await;
            let message = "inner secret of the account";
            let fault = match code {
                0 => json!({ "kind": "answer", "status": status, "content_type": "text/plain", "body": message }),
                _ => json!({ "kind": "status", "status": status, "code": code, "message": message }),
            };
            server.fault(json!({ "call": "images.create", "fault": fault })).await;
            let made = server.file("a.png", png(1)).await;
            assert_eq!((&made["status"], &made["imageStatus"]), (&json!("READY"), &json!("QUEUED")), "{status} {code} {made:#}");
            assert_eq!(made["imageFailure"]["code"], "UPSTREAM_ERROR", "{status} {code}");
            assert!(made["imageFailure"]["retryAfter"].as_i64().unwrap() >= 1);
            assert!(!made.to_string().contains("secret") && (code == 0 || !made.to_string().contains(&code.to_string())), "{made}");
            let kind = if code == 5404 { None } else { Some("account") };
            if let Some(kind) = kind {
                assert!(failures(&server, kind).await >= 1, "{status} {code}");
            }
            server.remove_faults().await;
            eventually("provisioned", || async {
                server.pass(Duration::from_secs(30)).await;
                (file(&server, &made["id"]).await["imageStatus"] == "READY").then_some(())
            })
            .await;
            assert_eq!(server.account_images().await.len(), 1);
            server.end().await;
        }
    }

    /// An error about this image is final at once, with a message of our own and an event.
    async fn image_errors_are_final(database: Database) {
        let server = Server::start(database).await;
        for (status, number, code) in [
            (413, 5413, "FILE_TOO_LARGE"), (413, 7011, "FILE_TOO_LARGE"), (400, 5443, "IMAGE_TOO_LARGE"),
            (415, 5455, "UNSUPPORTED_MIME_TYPE"), (400, 9422, "CORRUPT_IMAGE"),
        ] {
            let fault = json!({ "kind": "status", "status": status, "code": number, "message": "inner secret" });
            server.fault(json!({ "call": "images.create", "fault": fault })).await;
            let made = server.file("a.png", png(number)).await;
            assert_eq!((&made["imageStatus"], &made["imageFailure"]["code"]), (&json!("FAILED"), &json!(code)), "{made:#}");
            assert_eq!(made["imageFailure"]["retryAfter"], Value::Null);
            assert!(!made.to_string().contains("secret"), "{made}");
            // A repeated request is refused again.
            let again = server.query(PROVISION, json!({ "id": made["id"] })).await["provisionImage"].clone();
            assert_eq!((&again["userErrors"][0]["code"], &again["file"]["imageStatus"]), (&json!(code), &json!("FAILED")));
            server.remove_faults().await;
        }
        assert_eq!(event_kinds(&server).await.iter().filter(|kind| *kind == "ImageProvisionFailed").count(), 10);
        assert!(failures(&server, "refused").await >= 10);
        assert_eq!(failures(&server, "account").await, 0);
    }

    /// Provisioning fails after the maximum number of attempts or the maximum time, with the reason and an event; it
    /// can be requested again.
    async fn attempts_are_bounded(database: Database) {
        for (attempts, time) in [(3, 1_000_000), (1_000, 3600)] {
            let server = Server::start_with(database, |config| {
                config.provision_attempts = attempts;
                config.provision_time = Duration::from_secs(time);
            })
            .await;
            server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 503 } })).await;
            let made = server.file("a.png", png(1)).await;
            assert_eq!(made["imageStatus"], "QUEUED");
            let ended = eventually("provisioning has failed", || async {
                server.pass(Duration::from_secs(700)).await;
                let found = file(&server, &made["id"]).await;
                (found["imageStatus"] == "FAILED").then_some(found)
            })
            .await;
            assert_eq!((&ended["status"], &ended["imageFailure"]["code"]), (&json!("READY"), &json!("UPSTREAM_ERROR")));
            assert_eq!(ended["imageFailure"]["retryAfter"], Value::Null);
            assert!(ended["imageFailure"]["message"].as_str().unwrap().contains("Provisioning failed after"), "{ended:#}");
            assert_eq!(event_kinds(&server).await.last().unwrap(), "ImageProvisionFailed");
            // The new request has as many attempts as the first one.
            let again = server.query(PROVISION, json!({ "id": made["id"] })).await["provisionImage"].clone();
            assert_eq!((&again["userErrors"], &again["file"]["imageStatus"]), (&json!([]), &json!("QUEUED")), "{again:#}");
            server.remove_faults().await;
            let again = server.query(PROVISION, json!({ "id": made["id"] })).await["provisionImage"].clone();
            assert_eq!((&again["userErrors"], &again["file"]["imageStatus"]), (&json!([]), &json!("READY")));
            server.end().await;
        }
    }

    /// Missing bytes fail at once, however the image was requested.
    async fn missing_bytes_fail_at_once(database: Database) {
        let server = Server::start(database).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 503 } })).await;
        let (gone, short) = (server.file("a.png", png(1)).await, server.file("b.png", png(2)).await);
        let kept = server.upload_as(ADMIN, json!({ "image": { "provision": false } }), "c.png", "", png(3)).await["file"].clone();
        let originals = server.dir.path().join("blobs/originals");
        for entry in std::fs::read_dir(&originals).unwrap() {
            let path = entry.unwrap().path();
            match std::fs::read(&path).unwrap() == png(2) {
                true => std::fs::write(path, &png(2)[..20]).unwrap(),
                false => std::fs::remove_file(path).unwrap(),
            }
        }
        server.remove_faults().await;
        for made in [&gone, &short] {
            let ended = eventually("provisioning has failed", || async {
                server.pass(Duration::from_secs(30)).await;
                let found = file(&server, &made["id"]).await;
                (found["imageStatus"] == "FAILED").then_some(found)
            })
            .await;
            assert_eq!(ended["imageFailure"]["code"], "BYTES_MISSING", "{ended:#}");
        }
        let refused = server.query(PROVISION, json!({ "id": kept["id"] })).await["provisionImage"].clone();
        assert_eq!((&refused["userErrors"][0]["code"], &refused["userErrors"][0]["field"]), (&json!("BYTES_MISSING"), &json!(["input", "fileId"])));
    }

    /// A custom id that is taken is refused with the same code and field by every mutation.
    async fn taken_custom_ids(database: Database) {
        let server = Server::start(database).await;
        let image = json!({ "cfImageId": "taken" });
        let first = server.upload_as(ADMIN, json!({ "image": image }), "a.png", "", png(1)).await;
        assert_eq!(first["file"]["image"]["cfImageId"], "taken");
        let expected = json!([{ "code": "CUSTOM_ID_TAKEN", "field": ["input", "image", "cfImageId"] }]);
        let mut refused = server.upload_as(ADMIN, json!({ "image": image }), "b.png", "", png(2)).await["userErrors"].clone();
        refused[0].as_object_mut().unwrap().retain(|key, _| key == "code" || key == "field");
        assert_eq!(refused, expected);
        let plain = server.upload_as(ADMIN, json!({ "image": { "provision": false } }), "c.png", "", png(3)).await["file"].clone();
        for (mutation, mut input) in [
            ("importFile", json!({ "workspaceId": server.workspace, "url": "http://127.0.0.1:1/a.png" })),
            ("createDirectUpload", json!({ "workspaceId": server.workspace, "filename": "a.png", "mimeType": "image/png" })),
            ("createDirectUpload", json!({ "workspaceId": server.workspace, "filename": "a.png", "mimeType": "image/png", "transport": "PUT" })),
            ("provisionImage", json!({ "fileId": plain["id"] })),
        ] {
            input["image"] = image.clone();
            let name = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
            let query = format!("mutation($input: {name}!) {{ {mutation}(input: $input) {{ userErrors {{ code field }} }} }}");
            let answer = server.query(&query, json!({ "input": input })).await;
            assert_eq!(answer[mutation]["userErrors"], expected, "{mutation}");
        }
        let files = server.query("{ files { totalCount } }", json!({})).await;
        assert_eq!(files["files"]["totalCount"], 2, "refused requests store no files");
        // The id is taken while the uploads are running: the file is stored, and the error is in the payload and on
        // the file.
        let at_once = (10..14).map(|i| server.upload_as(ADMIN, json!({ "image": { "cfImageId": "race" } }), "d.png", "", png(i)));
        let answers = futures_util::future::join_all(at_once).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["userErrors"] == json!([]));
        assert_eq!((won.len(), lost.len()), (1, 3), "{answers:#?}");
        for answer in lost {
            assert_eq!((&answer["userErrors"][0]["code"], &answer["userErrors"][0]["field"]), (&expected[0]["code"], &expected[0]["field"]));
            if answer["file"].is_object() {
                assert_eq!((&answer["file"]["status"], &answer["file"]["imageStatus"]), (&json!("READY"), &json!("FAILED")));
                let failure = file(&server, &answer["file"]["id"]).await["imageFailure"].clone();
                assert_eq!((&failure["code"], &failure["field"]), (&expected[0]["code"], &expected[0]["field"]));
            }
        }
        // With REUSE the same bytes with the same custom id are the existing file.
        let known = server.upload_as(ADMIN, json!({ "image": image, "onDuplicate": "REUSE" }), "a.png", "", png(1)).await;
        assert_eq!((&known["userErrors"], &known["deduplicated"]), (&json!([]), &json!(true)));
    }

    /// After a lost answer the id belongs to our own image, which is recognised.
    async fn a_custom_id_taken_by_the_same_image_is_no_conflict(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = Duration::from_millis(500)).await;
        server.fault(json!({ "call": "images.create", "fault": { "kind": "lost_answer" }, "times": 1 })).await;
        // The list of images does not contain it yet.
        let empty = json!({ "kind": "answer", "body": r#"{"success":true,"errors":[],"messages":[],"result":{"images":[],"continuation_token":null}}"# });
        server.fault(json!({ "call": "images.list", "fault": empty })).await;
        let made = server.upload_as(ADMIN, json!({ "image": { "cfImageId": "mine" } }), "a.png", "", png(1)).await;
        assert_eq!((&made["userErrors"], &made["file"]["imageStatus"]), (&json!([]), &json!("QUEUED")));
        let again = server.query(PROVISION, json!({ "id": made["file"]["id"] })).await["provisionImage"].clone();
        assert_eq!((&again["userErrors"], &again["image"]["cfImageId"]), (&json!([]), &json!("mine")), "{again:#}");
        server.remove_faults().await;
        assert_eq!(server.account_images().await.len(), 1);
    }

    /// Every mutation refuses an unknown id with the path of its field.
    async fn refusals_name_their_field(database: Database) {
        let server = Server::start(database).await;
        let nowhere = |prefix: &str| json!(format!("{prefix}_00000000000000000000000000"));
        for (mutation, id, prefix) in [
            ("deleteImage", "id", "img"), ("updateImage", "id", "img"), ("deleteFile", "id", "fil"), ("updateFile", "id", "fil"),
            ("restoreFile", "id", "fil"), ("provisionImage", "fileId", "fil"), ("completeDirectUpload", "id", "upl"),
            ("cancelDirectUpload", "id", "upl"), ("updateWorkspace", "id", "wsp"), ("revokeApiToken", "id", "tok"),
        ] {
            let name = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
            let query = format!("mutation($input: {name}!) {{ {mutation}(input: $input) {{ userErrors {{ code field }} }} }}");
            let answer = server.query(&query, json!({ "input": { id: nowhere(prefix) } })).await;
            assert_eq!(answer[mutation]["userErrors"], json!([{ "code": "NOT_FOUND", "field": ["input", id] }]), "{mutation}");
        }
        let made = server.file("a.png", png(1)).await;
        let trash = "mutation($id: ID!) { deleteFile(input: { id: $id }) { success } }";
        server.query(trash, json!({ "id": made["id"] })).await;
        for (mutation, id) in [("provisionImage", "fileId"), ("updateFile", "id")] {
            let name = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
            let query = format!("mutation($input: {name}!) {{ {mutation}(input: $input) {{ userErrors {{ code field }} }} }}");
            let answer = server.query(&query, json!({ "input": { id: made["id"] } })).await;
            assert_eq!(answer[mutation]["userErrors"], json!([{ "code": "CONFLICT", "field": ["input", id] }]), "{mutation}");
        }
    }

    /// A gallery that has been shown once is answered from the cache while the account does not respond; it is asked
    /// by one request at a time.
    async fn a_hanging_account_does_not_delay_cached_pages(database: Database) {
        let server = Server::start(database).await;
        server.upload_as(ADMIN, json!({ "image": { "requireSignedUrls": true } }), "a.png", "", png(1)).await;
        server.file("b.jpg", photo(1)).await;
        let before = server.query(GALLERY, json!({})).await;
        let app = &server.running.app;
        for call in ["keys.list", "variants.list", "config.get"] {
            server.fault(json!({ "call": call, "fault": { "kind": "delay", "ms": 60_000 } })).await;
        }
        app.variants.mark_stale();
        app.keys.mark_stale();
        app.flexible_variants.mark_stale();
        let begun = Instant::now();
        for shown in futures_util::future::join_all((0..8).map(|_| server.query(GALLERY, json!({})))).await {
            assert_eq!(shown, before);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let counts: Value = server.http.get(format!("{}/cloudflare/faults", server.url)).send().await.unwrap().json().await.unwrap();
        for call in ["keys.list", "variants.list", "config.get"] {
            assert!(counts["calls"][call].as_u64().unwrap() <= 2, "{call}: {counts}");
        }
    }

    /// The first query to an account that does not respond is answered soon, with an error for what is missing.
    async fn a_hanging_account_does_not_delay_the_first_page(database: Database) {
        let server = Server::start(database).await;
        server.fault(json!({ "call": "variants.list", "fault": { "kind": "delay", "ms": 60_000 } })).await;
        server.file("b.jpg", photo(1)).await;
        let begun = Instant::now();
        let query = "{ images { nodes { id url renditions { url } } } }";
        for answer in futures_util::future::join_all((0..8).map(|_| server.ask(ADMIN, query, json!({})))).await {
            assert_eq!(answer["errors"][0]["extensions"]["code"], "UPSTREAM_ERROR", "{answer:#}");
            assert!(answer["data"]["images"]["nodes"][0]["url"].is_string());
        }
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    }

    /// A mutation whose client disconnects is completed: the next request finds the result.
    async fn mutations_are_completed_without_the_client(database: Database) {
        let server = Server::start(database).await;
        let made = server.file("a.png", png(1)).await;
        let leaving = async |call: &str, mutation: &str, variables: Value| {
            server.fault(json!({ "call": call, "fault": { "kind": "delay", "ms": 800 }, "times": 1 })).await;
            let body = json!({ "query": mutation, "variables": variables });
            let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&body);
            let left = tokio::time::timeout(Duration::from_millis(300), request.send()).await;
            assert!(left.is_err(), "{mutation}: the response came before the client left");
        };
        let update = "mutation($id: ID!) { updateImage(input: { id: $id, creator: \"me\", alt: \"mine\" }) { image { id } } }";
        leaving("images.edit", update, json!({ "id": made["image"]["id"] })).await;
        eventually("the image is changed", || async {
            let query = "query($id: ID!) { image(id: $id) { creator alt } }";
            let found = server.query(query, json!({ "id": made["image"]["id"] })).await;
            (found["image"] == json!({ "creator": "me", "alt": "mine" })).then_some(())
        })
        .await;
        let again = "mutation($id: ID!) { updateImage(input: { id: $id, creator: \"you\" }) { userErrors { code } } }";
        let again = server.query(again, json!({ "id": made["image"]["id"] })).await;
        assert_eq!(again["updateImage"]["userErrors"], json!([]));

        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"b.png\", mimeType: \"image/png\", idempotencyKey: \"k\" }) { directUpload { id uploadUrl } userErrors { code } } }";
        leaving("direct_upload.create", create, json!({ "w": server.workspace })).await;
        let created = server.query(create, json!({ "w": server.workspace })).await["createDirectUpload"].clone();
        assert!(created["directUpload"]["uploadUrl"].is_string(), "{created:#}");

        let form = Form::new().part("file", Part::bytes(png(2)).file_name("b.png"));
        let url = created["directUpload"]["uploadUrl"].as_str().unwrap();
        assert_eq!(server.http.post(url).multipart(form).send().await.unwrap().status(), 200);
        let complete = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { file { status } } }";
        leaving("images.blob", complete, json!({ "id": created["directUpload"]["id"] })).await;
        eventually("the upload is completed", || async {
            let query = "query($id: ID!) { directUpload(id: $id) { status } }";
            let found = server.query(query, json!({ "id": created["directUpload"]["id"] })).await;
            (found["directUpload"]["status"] == "COMPLETED").then_some(())
        })
        .await;

        let variant = "mutation { createVariant(input: { name: \"thumb\", width: 4, height: 4 }) { variant { name } } }";
        server.query("{ variants { name } }", json!({})).await;
        leaving("variants.create", variant, json!({})).await;
        eventually("the variant is known", || async {
            server.query("{ variants { name } }", json!({})).await.to_string().contains("thumb").then_some(())
        })
        .await;
    }
}

/// An upload of 10 MiB over a slow connection succeeds although it takes several times `cloudflare_timeout`, because
/// it makes progress; the lease is renewed meanwhile, so that no other server sends the image as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_do_not_time_out() {
    let account = Server::start(Database::Sqlite).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let slow_proxy = proxy(account.running.address.to_string(), move |length| {
        counter.fetch_add(length, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(length as u64 * 40 / (64 * 1024)))
    });
    let slow_proxy = slow_proxy.await;
    let server = Server::start_with(Database::Sqlite, |config| {
        account_of(&account, &slow_proxy, config);
        config.cloudflare_timeout = Duration::from_millis(800);
        config.provision_wait = Duration::from_secs(40);
        config.lease = Duration::from_secs(2);
    })
    .await;
    let bytes = large_photo(10 << 20);
    let begun = Instant::now();
    let made = server.file("large.jpg", bytes.clone()).await;
    assert_eq!(
        (&made["imageStatus"], &made["imageFailure"]),
        (&json!("READY"), &Value::Null),
        "after {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() > Duration::from_secs(3), "the connection was not slow: {:?}", begun.elapsed());
    assert_eq!(account.account_images().await.len(), 1);
    assert!(sent.load(Ordering::Relaxed) < bytes.len() * 3 / 2, "it was sent more than once");
}

/// A connection that stalls is an outage after `cloudflare_timeout`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_connections_time_out() {
    let account = Server::start(Database::Sqlite).await;
    let stalled_proxy = proxy(account.running.address.to_string(), |length| async move {
        if length > 4096 {
            std::future::pending::<()>().await;
        }
    });
    let stalled_proxy = stalled_proxy.await;
    let server = Server::start_with(Database::Sqlite, |config| {
        account_of(&account, &stalled_proxy, config);
        config.cloudflare_timeout = Duration::from_millis(800);
        config.provision_wait = Duration::from_secs(40);
    })
    .await;
    let begun = Instant::now();
    let made = server.file("large.jpg", large_photo(10 << 20)).await;
    assert_eq!(
        (&made["imageStatus"], &made["imageFailure"]["code"]),
        (&json!("QUEUED"), &json!("UPSTREAM_ERROR"))
    );
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let small = server.file("small.png", png(1)).await;
    assert_eq!(small["status"], "READY");
}
