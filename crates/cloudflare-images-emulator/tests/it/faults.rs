//! Fault injection: each kind of fault, the rules that select calls, and the lists of faults and calls.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use test_pictures::picture;

use crate::harness::{Account, create, http};

impl Account {
    /// Adds a fault; returns status and body of the response.
    async fn add_rule(&self, fault: Value) -> (u16, Value) {
        let answer = http().post(format!("{}/faults", self.root)).json(&fault).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn faults(&self) -> Value {
        http().get(format!("{}/faults", self.root)).send().await.unwrap().json().await.unwrap()
    }

    async fn delete_faults(&self, path: &str) -> u16 {
        http().delete(format!("{}/faults{path}", self.root)).send().await.unwrap().status().as_u16()
    }

    /// Creates a variant: a call with an effect and a response body.
    fn create_variant(&self, id: &str) -> reqwest::RequestBuilder {
        self.request("POST", "/v1/variants").json(&json!({ "id": id, "options": {} }))
    }

    async fn has_variant(&self, id: &str) -> bool {
        self.client.find_variant(id).await.unwrap().is_some()
    }
}

/// Errors of any status and code, in any form; members that are left out have the values that Cloudflare uses.
#[tokio::test]
async fn errors_of_any_status_and_code() {
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
        let answer = account.create_variant("never").send().await.unwrap();
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
    assert!(!account.has_variant("never").await, "nothing was carried out");
    let headers = json!({ "x-ratelimit-remaining": "0" });
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    account
        .fault(
            "stats.get",
            json!({ "kind": "status", "status": 429, "retry_after": date, "headers": headers }),
        )
        .await;
    let answer = account.request("GET", "/v1/stats").send().await.unwrap();
    assert_eq!(
        (&answer.headers()["retry-after"], &answer.headers()["x-ratelimit-remaining"]),
        (&date.parse().unwrap(), &"0".parse().unwrap())
    );
    for (form, media_type, text) in [
        ("text", "text/plain;charset=utf-8", "ERROR 5500: Internal Server Error\n"),
        ("html", "text/html; charset=utf-8", "<html>\n<head><title>502 Bad Gateway</title></head>"),
    ] {
        account.fault("stats.get", json!({ "kind": "status", "status": 502, "form": form })).await;
        let answer = account.request("GET", "/v1/stats").send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (502, &media_type.parse().unwrap())
        );
        assert!(answer.text().await.unwrap().starts_with(text), "{form}");
    }
    // On the delivery host errors are text by default.
    account.fault("delivery", json!({ "kind": "status", "status": 404, "code": 9404 })).await;
    let answer = http().get(format!("{}/imagedelivery/a/b/c", account.root)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ERROR 9404: Injected fault\n");
}

/// Responses with any content.
#[tokio::test]
async fn responses_of_any_content() {
    let account = Account::open().await;
    let fault = json!({ "kind": "answer", "status": 203, "content_type": "text/csv", "body": "a;b", "headers": { "x-a": "b" } });
    account.fault("variants.create", fault).await;
    let answer = account.create_variant("never").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"], &answer.headers()["x-a"]),
        (203, &"text/csv".parse().unwrap(), &"b".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "a;b");
    account.fault("variants.create", json!({ "kind": "garbage" })).await;
    let answer = account.create_variant("never").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().starts_with("<!doctype html>"));
    assert!(!account.has_variant("never").await);
}

/// Connections that are closed before the call is carried out, after it, and in the middle of the response.
#[tokio::test]
async fn connections_break() {
    let account = Account::open().await;
    for (kind, carried_out) in [("drop", false), ("lost_answer", true)] {
        account.fault("variants.create", json!({ "kind": kind })).await;
        let id = kind.replace('_', "");
        assert!(account.create_variant(&id).send().await.is_err(), "{kind}");
        assert_eq!(account.has_variant(&id).await, carried_out, "{kind}");
    }
    for bytes in [0, 1, 40, 1_000_000] {
        account.fault("variants.create", json!({ "kind": "cut", "bytes": bytes })).await;
        let id = format!("cut{bytes}");
        let mut answer = account.create_variant(&id).send().await.unwrap();
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
        assert!(account.has_variant(&id).await, "{bytes}");
    }
}

/// Delays before the call is carried out, after it, between the pieces of a response, and without end.
#[tokio::test]
async fn responses_are_late() {
    let account = Account::open().await;
    for (kind, carried_out) in [("delay", false), ("delay_after", true)] {
        account.fault("variants.create", json!({ "kind": kind, "ms": 1500 })).await;
        let id = kind.replace('_', "");
        let slow = tokio::spawn(account.create_variant(&id).send());
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!slow.is_finished(), "{kind}");
        assert_eq!(account.has_variant(&id).await, carried_out, "{kind}");
        assert_eq!(slow.await.unwrap().unwrap().status(), 200, "{kind}");
        assert!(account.has_variant(&id).await, "{kind}");
    }
    for (kind, carried_out) in [("hang", false), ("hang_after", true)] {
        account.fault("variants.create", json!({ "kind": kind })).await;
        let id = kind.replace('_', "");
        let error = account.create_variant(&id).timeout(Duration::from_millis(700)).send().await.unwrap_err();
        assert!(error.is_timeout(), "{kind}: {error}");
        assert_eq!(account.has_variant(&id).await, carried_out, "{kind}");
    }
    account.fault("stats.get", json!({ "kind": "slow", "bytes": 50, "ms": 100 })).await;
    let begun = Instant::now();
    let mut answer = account.request("GET", "/v1/stats").send().await.unwrap();
    let (length, mut body) = (answer.content_length().unwrap(), Vec::new());
    while let Some(chunk) = answer.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    assert_eq!(body.len() as u64, length);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["success"], true);
    assert!(begun.elapsed() >= Duration::from_millis(100 * length.div_ceil(50) - 50));
}

/// Downloads, uploads and deliveries have faults too; the body is complete unless it is cut.
#[tokio::test]
async fn every_host_has_faults() {
    let account = Account::open().await;
    let original = picture(40, 30, image::ImageFormat::Png);
    let image = create(&account.client, Default::default(), original.clone()).await.unwrap();
    account.fault("delivery", json!({ "kind": "slow", "bytes": 64, "ms": 5 })).await;
    let slow = http().get(&image.variants[0]).send().await.unwrap();
    assert_eq!(slow.headers()["content-type"], "image/png");
    let slow = slow.bytes().await.unwrap();
    assert_eq!(slow, http().get(&image.variants[0]).send().await.unwrap().bytes().await.unwrap());
    account.fault("images.blob", json!({ "kind": "slow", "bytes": 100, "ms": 2 })).await;
    let blob = account
        .request("GET", &format!("/v1/{}/blob", image.id))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(blob, original);
    account.fault("images.blob", json!({ "kind": "cut", "bytes": 10 })).await;
    let blob = account.request("GET", &format!("/v1/{}/blob", image.id)).send().await.unwrap();
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

/// A fault applies to the calls that its rule selects, as often as it says; it can be listed and removed.
#[tokio::test]
async fn rules_select_calls() {
    let account = Account::open().await;
    let status = async |method: &str, path: &str| {
        account.request(method, path).send().await.unwrap().status().as_u16()
    };
    let fault = json!({ "kind": "status", "status": 500 });
    let (_, added) =
        account.add_rule(json!({ "call": "variants.*", "fault": fault, "skip": 1, "times": 2 })).await;
    let id = added["id"].as_u64().unwrap();
    let mut statuses = Vec::new();
    for path in ["/v1/variants", "/v1/stats", "/v1/variants/public", "/v1/variants", "/v1/variants"] {
        statuses.push(status("GET", path).await);
    }
    assert_eq!(statuses, [200, 200, 500, 500, 200]);
    let listed = account.faults().await;
    assert_eq!(listed["calls"], json!({ "stats.get": 1, "variants.get": 1, "variants.list": 3 }));
    let fault_in_list = &listed["faults"][0];
    assert_eq!(
        (
            &fault_in_list["id"],
            &fault_in_list["call"],
            &fault_in_list["times"],
            &fault_in_list["skip"],
            &fault_in_list["struck"],
            &fault_in_list["fault"]["kind"]
        ),
        (&json!(id), &json!("variants.*"), &json!(0), &json!(0), &json!(2), &json!("status"))
    );
    // Method and path.
    account.add_rule(json!({ "method": "get", "fault": fault })).await;
    assert_eq!((status("GET", "/v1/stats").await, status("PATCH", "/v1/config").await), (500, 400));
    assert_eq!(account.delete_faults("").await, 200);
    account.add_rule(json!({ "path": "/v1/variants/pub", "fault": fault })).await;
    assert_eq!(
        (status("GET", "/v1/variants/public").await, status("GET", "/v1/variants/other").await),
        (500, 404)
    );
    // One is removed; the other stays.
    let (_, other) = account.add_rule(json!({ "call": "stats.get", "fault": fault })).await;
    let other = format!("/{}", other["id"]);
    assert_eq!(status("GET", "/v1/stats").await, 500);
    assert_eq!((account.delete_faults(&other).await, account.delete_faults(&other).await), (200, 404));
    assert_eq!((status("GET", "/v1/stats").await, status("GET", "/v1/variants/public").await), (200, 500));
    assert_eq!(account.faults().await["faults"].as_array().unwrap().len(), 1);
    assert_eq!(account.delete_faults("/calls").await, 200);
    assert_eq!(account.faults().await["calls"], json!({}));
    assert_eq!(account.delete_faults("").await, 200);
    assert_eq!(
        (account.faults().await["faults"].clone(), status("GET", "/v1/variants/public").await),
        (json!([]), 200)
    );
    // A probability of one half applies to some of 200 calls, but not to all.
    account.add_rule(json!({ "call": "stats.get", "fault": fault, "probability": 0.5 })).await;
    let mut struck = 0;
    for _ in 0..200 {
        struck += u32::from(status("GET", "/v1/stats").await == 500);
    }
    assert!((1..200).contains(&struck), "{struck}");
    assert_eq!(account.faults().await["faults"][0]["struck"], struck);
}

/// Rules that no call can meet and faults that cannot be injected are rejected, with the accepted values.
#[tokio::test]
async fn invalid_rules_are_rejected() {
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
            "`a b` is not a valid header",
        ),
        (
            json!({ "fault": { "kind": "status", "code": 1, "retry_after": "a\nb" } }),
            "`retry-after` is not a valid header",
        ),
        (json!({ "fault": { "kind": "slow", "bytes": 0, "ms": 1 } }), "bytes must be 1 or more"),
        (json!({ "fault": { "kind": "delay", "ms": 3_600_001 } }), "ms must be at most 3600000"),
        (json!({ "fault": fault, "probability": 0 }), "above 0 and at most 1"),
        (json!({ "fault": fault, "probability": 1.1 }), "above 0 and at most 1"),
        (json!({ "fault": fault, "times": -1 }), "expected u64"),
        (json!([]), "invalid"),
    ] {
        let (status, body) = account.add_rule(rule.clone()).await;
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

/// Without the setting the API does not exist.
#[tokio::test]
async fn fault_injection_is_off_by_default() {
    let account = Account::open_with(|settings| settings.faults = false).await;
    let root = &account.root;
    for request in [
        http().get(format!("{root}/faults")),
        http().post(format!("{root}/faults")).json(&json!({ "fault": { "kind": "drop" } })),
        http().delete(format!("{root}/faults/1")),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
}
