//! The emulator's fault injection as whoever tests a program against it uses it: each kind, its limits, its log.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Account;
use crate::harness::http;
use crate::pictures::picture;

impl Account {
    /// Adds a fault and answers its id, or the refusal.
    async fn add(&self, fault: Value) -> (u16, Value) {
        let answer = http().post(format!("{}/faults", self.root)).json(&fault).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn faults(&self) -> Value {
        http().get(format!("{}/faults", self.root)).send().await.unwrap().json().await.unwrap()
    }

    async fn take_away(&self, what: &str) -> u16 {
        http().delete(format!("{}/faults{what}", self.root)).send().await.unwrap().status().as_u16()
    }

    fn call(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url =
            format!("{}/client/v4/accounts/{}/images{path}", self.root, self.client.settings.account_id);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        http().request(method, url).bearer_auth(&self.emulator.credentials().api_token)
    }

    /// Makes a variant, which is a call with an effect and a body.
    fn make(&self, id: &str) -> reqwest::RequestBuilder {
        self.call("POST", "/v1/variants").json(&json!({ "id": id, "options": {} }))
    }

    async fn has(&self, id: &str) -> bool {
        self.client.find_variant(id).await.unwrap().is_some()
    }
}

/// An error of any status and number, in any form; what is left out follows from the rest.
#[tokio::test]
async fn errors_of_any_status_and_number() {
    let account = Account::open().await;
    for (fault, status, code) in [
        (json!({ "status": 429, "retry_after": 7 }), 429, 971),
        (json!({ "code": 5453 }), 403, 5453),
        (json!({ "code": 7003 }), 404, 7003),
        (json!({ "code": 10000 }), 403, 10000),
        (json!({ "code": 5408 }), 408, 5408),
        (json!({ "code": 5409 }), 409, 5409),
        (json!({ "code": 5404 }), 404, 5404),
        (json!({ "code": 5503 }), 503, 5503),
        (json!({ "code": 12345 }), 400, 12345),
        (json!({ "status": 418, "code": 4242, "message": "a teapot" }), 418, 4242),
        (json!({ "status": 200, "code": 5404 }), 200, 5404),
        (json!({ "status": 401 }), 401, 10000),
        (json!({ "status": 500 }), 500, 5500),
        (json!({ "status": 502 }), 502, 5500),
        (json!({ "status": 504 }), 504, 5500),
    ] {
        let mut full = fault.clone();
        full["kind"] = json!("status");
        account.fault("variants.create", full).await;
        let answer = account.make("never").send().await.unwrap();
        let headers = answer.headers().clone();
        assert_eq!(answer.status(), status, "{fault}");
        assert_eq!(
            headers.get("retry-after").map(|wait| wait.to_str().unwrap()),
            fault.get("retry_after").map(|_| "7")
        );
        let body: Value = answer.json().await.unwrap();
        assert_eq!((&body["success"], &body["errors"][0]["code"]), (&json!(false), &json!(code)), "{fault}");
        let message = body["errors"][0]["message"].as_str().unwrap();
        assert!(!message.is_empty() && fault.get("message").is_none_or(|wanted| wanted == message), "{body}");
    }
    assert!(!account.has("never").await, "nothing was carried out");
    let headers = json!({ "x-ratelimit-remaining": "0" });
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    account
        .fault(
            "stats.get",
            json!({ "kind": "status", "status": 429, "retry_after": date, "headers": headers }),
        )
        .await;
    let answer = account.call("GET", "/v1/stats").send().await.unwrap();
    assert_eq!(
        (&answer.headers()["retry-after"], &answer.headers()["x-ratelimit-remaining"]),
        (&date.parse().unwrap(), &"0".parse().unwrap())
    );
    for (form, media_type, text) in [
        ("text", "text/plain;charset=utf-8", "ERROR 5500: Internal Server Error\n"),
        ("html", "text/html; charset=utf-8", "<html>\n<head><title>502 Bad Gateway</title></head>"),
    ] {
        account.fault("stats.get", json!({ "kind": "status", "status": 502, "form": form })).await;
        let answer = account.call("GET", "/v1/stats").send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (502, &media_type.parse().unwrap())
        );
        assert!(answer.text().await.unwrap().starts_with(text), "{form}");
    }
    // On the delivery host errors are text by themselves.
    account.fault("delivery", json!({ "kind": "status", "status": 404, "code": 9404 })).await;
    let answer = http().get(format!("{}/imagedelivery/a/b/c", account.root)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ERROR 9404: Injected fault\n");
}

/// Answers that are made up.
#[tokio::test]
async fn answers_of_any_kind() {
    let account = Account::open().await;
    let fault = json!({ "kind": "answer", "status": 203, "content_type": "text/csv", "body": "a;b", "headers": { "x-a": "b" } });
    account.fault("variants.create", fault).await;
    let answer = account.make("never").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"], &answer.headers()["x-a"]),
        (203, &"text/csv".parse().unwrap(), &"b".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "a;b");
    account.fault("variants.create", json!({ "kind": "garbage" })).await;
    let answer = account.make("never").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().starts_with("<!doctype html>"));
    assert!(!account.has("never").await);
}

/// Connections that break, before and after the call has had its effect, and in the middle of the answer.
#[tokio::test]
async fn connections_break() {
    let account = Account::open().await;
    for (kind, carried_out) in [("drop", false), ("lost_answer", true)] {
        account.fault("variants.create", json!({ "kind": kind })).await;
        let id = kind.replace('_', "");
        assert!(account.make(&id).send().await.is_err(), "{kind}");
        assert_eq!(account.has(&id).await, carried_out, "{kind}");
    }
    for bytes in [0, 1, 40, 1_000_000] {
        account.fault("variants.create", json!({ "kind": "cut", "bytes": bytes })).await;
        let id = format!("cut{bytes}");
        let mut answer = account.make(&id).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let length = answer.content_length().unwrap();
        let mut received = 0;
        let end = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => received += chunk.len() as u64,
                end => break end,
            }
        };
        assert!(end.is_err() && received == bytes.min(length - 1), "{bytes}: {received} of {length}");
        assert!(account.has(&id).await, "{bytes}");
    }
}

/// Waits before the effect, after it, between the pieces of an answer, and without end.
#[tokio::test]
async fn answers_are_late() {
    let account = Account::open().await;
    for (kind, carried_out) in [("delay", false), ("delay_after", true)] {
        account.fault("variants.create", json!({ "kind": kind, "ms": 1500 })).await;
        let id = kind.replace('_', "");
        let slow = tokio::spawn(account.make(&id).send());
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!slow.is_finished(), "{kind}");
        assert_eq!(account.has(&id).await, carried_out, "{kind}");
        assert_eq!(slow.await.unwrap().unwrap().status(), 200, "{kind}");
        assert!(account.has(&id).await, "{kind}");
    }
    for (kind, carried_out) in [("hang", false), ("hang_after", true)] {
        account.fault("variants.create", json!({ "kind": kind })).await;
        let id = kind.replace('_', "");
        let error = account.make(&id).timeout(Duration::from_millis(700)).send().await.unwrap_err();
        assert!(error.is_timeout(), "{kind}: {error}");
        assert_eq!(account.has(&id).await, carried_out, "{kind}");
    }
    account.fault("stats.get", json!({ "kind": "slow", "bytes": 50, "ms": 100 })).await;
    let begun = Instant::now();
    let mut answer = account.call("GET", "/v1/stats").send().await.unwrap();
    let (length, mut body) = (answer.content_length().unwrap(), Vec::new());
    while let Some(chunk) = answer.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    assert_eq!(body.len() as u64, length);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["success"], true);
    assert!(begun.elapsed() >= Duration::from_millis(100 * length.div_ceil(50) - 50));
}

/// What is stored, uploaded and delivered can be spoilt as well; bytes arrive whole where nothing is cut.
#[tokio::test]
async fn every_host_has_faults() {
    let account = Account::open().await;
    let original = picture(40, 30, image::ImageFormat::Png);
    let image = crate::client::create(&account.client, Default::default(), original.clone()).await.unwrap();
    account.fault("delivery", json!({ "kind": "slow", "bytes": 64, "ms": 5 })).await;
    let slow = http().get(&image.variants[0]).send().await.unwrap();
    assert_eq!(slow.headers()["content-type"], "image/png");
    let slow = slow.bytes().await.unwrap();
    assert_eq!(slow, http().get(&image.variants[0]).send().await.unwrap().bytes().await.unwrap());
    account.fault("images.blob", json!({ "kind": "slow", "bytes": 100, "ms": 2 })).await;
    let blob =
        account.call("GET", &format!("/v1/{}/blob", image.id)).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(blob, original);
    account.fault("images.blob", json!({ "kind": "cut", "bytes": 10 })).await;
    let blob = account.call("GET", &format!("/v1/{}/blob", image.id)).send().await.unwrap();
    assert!(blob.bytes().await.is_err());
    let draft = account.client.direct_upload(&Default::default()).await.unwrap();
    account.fault("upload", json!({ "kind": "status", "status": 415, "code": 5550 })).await;
    let refused =
        http().post(&draft.upload_url).multipart(reqwest::multipart::Form::new()).send().await.unwrap();
    assert_eq!(refused.status(), 415);
    let token = account.client.batch_token().await.unwrap().token;
    account.fault("images.get", json!({ "kind": "status", "status": 502 })).await;
    let batch = http().get(format!("{}/batch/images/v1/{}", account.root, image.id)).bearer_auth(token);
    assert_eq!(batch.send().await.unwrap().status(), 502);
}

/// A fault strikes the calls it is for, as often as it says, and what it has done can be seen and undone.
#[tokio::test]
async fn faults_have_limits() {
    let account = Account::open().await;
    let status =
        async |method: &str, path: &str| account.call(method, path).send().await.unwrap().status().as_u16();
    let fault = json!({ "kind": "status", "status": 500 });
    let (_, added) =
        account.add(json!({ "call": "variants.*", "fault": fault, "skip": 1, "times": 2 })).await;
    let id = added["id"].as_u64().unwrap();
    let mut seen = Vec::new();
    for path in ["/v1/variants", "/v1/stats", "/v1/variants/public", "/v1/variants", "/v1/variants"] {
        seen.push(status("GET", path).await);
    }
    assert_eq!(seen, [200, 200, 500, 500, 200]);
    let shown = account.faults().await;
    assert_eq!(shown["calls"], json!({ "stats.get": 1, "variants.get": 1, "variants.list": 3 }));
    let waiting = &shown["faults"][0];
    assert_eq!(
        (
            &waiting["id"],
            &waiting["call"],
            &waiting["times"],
            &waiting["skip"],
            &waiting["struck"],
            &waiting["fault"]["kind"]
        ),
        (&json!(id), &json!("variants.*"), &json!(0), &json!(0), &json!(2), &json!("status"))
    );
    // Method and path.
    account.add(json!({ "method": "get", "fault": fault })).await;
    assert_eq!((status("GET", "/v1/stats").await, status("PATCH", "/v1/config").await), (500, 400));
    assert_eq!(account.take_away("").await, 200);
    account.add(json!({ "path": "/v1/variants/pub", "fault": fault })).await;
    assert_eq!(
        (status("GET", "/v1/variants/public").await, status("GET", "/v1/variants/other").await),
        (500, 404)
    );
    // One is taken away; the rest stays.
    let (_, other) = account.add(json!({ "call": "stats.get", "fault": fault })).await;
    let other = format!("/{}", other["id"]);
    assert_eq!(status("GET", "/v1/stats").await, 500);
    assert_eq!((account.take_away(&other).await, account.take_away(&other).await), (200, 404));
    assert_eq!((status("GET", "/v1/stats").await, status("GET", "/v1/variants/public").await), (200, 500));
    assert_eq!(account.faults().await["faults"].as_array().unwrap().len(), 1);
    assert_eq!(account.take_away("/calls").await, 200);
    assert_eq!(account.faults().await["calls"], json!({}));
    assert_eq!(account.take_away("").await, 200);
    assert_eq!(
        (account.faults().await["faults"].clone(), status("GET", "/v1/variants/public").await),
        (json!([]), 200)
    );
    // Chance: of 200 calls each of which is struck with one half, neither none nor all are.
    account.add(json!({ "call": "stats.get", "fault": fault, "probability": 0.5 })).await;
    let mut struck = 0;
    for _ in 0..200 {
        struck += u32::from(status("GET", "/v1/stats").await == 500);
    }
    assert!((1..200).contains(&struck), "{struck}");
    assert_eq!(account.faults().await["faults"][0]["struck"], struck);
}

/// A fault that could not be meant is refused, with what would be accepted.
#[tokio::test]
async fn bad_faults_are_refused() {
    let account = Account::open().await;
    let fault = json!({ "kind": "drop" });
    for (rule, text) in [
        (json!({ "call": "images.make", "fault": fault }), "expected one of images.create, "),
        (json!({ "call": "pictures.*", "fault": fault }), "expected one of images.create, "),
        (json!({ "fault": { "kind": "explode" } }), "expected one of `status`, "),
        (json!({}), "missing field `fault`"),
        (json!({ "fault": fault, "often": true }), "unknown field `often`"),
        (json!({ "fault": { "kind": "status" } }), "a status or a code is needed"),
        (json!({ "fault": { "kind": "status", "status": 99 } }), "between 200 and 599"),
        (json!({ "fault": { "kind": "status", "status": 600 } }), "between 200 and 599"),
        (json!({ "fault": { "kind": "answer", "status": 101, "body": "" } }), "between 200 and 599"),
        (
            json!({ "fault": { "kind": "answer", "body": "", "headers": { "a b": "c" } } }),
            "`a b` is no header",
        ),
        (
            json!({ "fault": { "kind": "status", "code": 1, "retry_after": "a\nb" } }),
            "`retry-after` is no header",
        ),
        (json!({ "fault": { "kind": "slow", "bytes": 0, "ms": 1 } }), "bytes must be 1 or more"),
        (json!({ "fault": { "kind": "delay", "ms": 3_600_001 } }), "ms must be at most 3600000"),
        (json!({ "fault": fault, "probability": 0 }), "above 0 and at most 1"),
        (json!({ "fault": fault, "probability": 1.1 }), "above 0 and at most 1"),
        (json!({ "fault": fault, "times": -1 }), "expected u64"),
        (json!([]), "invalid"),
    ] {
        let (status, body) = account.add(rule.clone()).await;
        assert_eq!((status, &body["errors"][0]["code"]), (400, &json!(5400)), "{rule}: {body}");
        assert!(body["errors"][0]["message"].as_str().unwrap().contains(text), "{rule}: {body}");
    }
    assert_eq!(account.faults().await, json!({ "calls": {}, "faults": [] }));
    for (method, path, status) in [
        ("PUT", "/faults", 405),
        ("GET", "/faults/1", 405),
        ("DELETE", "/faults/x", 404),
        ("DELETE", "/faults/9", 404),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = http().request(method.clone(), format!("{}{path}", account.root)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
    }
}

/// Without the setting there is no such endpoint.
#[tokio::test]
async fn faults_are_closed_by_default() {
    let emulator = crate::hostile::Emulator::start().await;
    let root = emulator.root.split("/client/").next().unwrap();
    for request in [
        http().get(format!("{root}/faults")),
        http().post(format!("{root}/faults")).json(&json!({ "fault": { "kind": "drop" } })),
        http().delete(format!("{root}/faults/1")),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
}

/// The guide's table of faults names every kind, and its list every call.
#[test]
fn the_guide_knows_every_fault() {
    let guide = include_str!("../../docs/emulator.md");
    for kind in [
        "status",
        "errors",
        "answer",
        "garbage",
        "delay",
        "delay_after",
        "slow",
        "drop",
        "lost_answer",
        "cut",
        "hang",
        "hang_after",
    ] {
        assert!(guide.contains(&format!("| `{kind}` |")), "{kind}");
    }
    let calls = include_str!("../../crates/cloudflare-images-emulator/src/route.rs")
        .split("const NAMES")
        .nth(1)
        .unwrap();
    let calls: Vec<_> = calls.split("];").next().unwrap().split('"').skip(1).step_by(2).collect();
    assert!(calls.len() > 20, "{calls:?}");
    for call in calls {
        assert!(guide.contains(&format!("`{call}`")), "{call}");
    }
}
