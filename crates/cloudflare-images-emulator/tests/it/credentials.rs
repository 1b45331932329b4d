//! Credentials: the permissions of the API tokens, and where they are kept.

use cloudflare_images_emulator::{Credentials, Emulator, Settings};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_pictures::photo;

use crate::harness::{self, Account, http, send};

/// The result of a call that only reads.
async fn get(account: &Account, path: &str) -> Value {
    let (status, body) = send(account.request("GET", path)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body["result"].clone()
}

fn file_part(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("a.png")
}

/// Every call of the API: method, path, and whether it changes something.
const CALLS: [(&str, &str, bool); 19] = [
    ("POST", "/v1", true),
    ("GET", "/v1", false),
    ("GET", "/v2", false),
    ("GET", "/v1/mine", false),
    ("PATCH", "/v1/mine", true),
    ("GET", "/v1/mine/blob", false),
    ("POST", "/v1/direct_upload", true),
    ("POST", "/v2/direct_upload", true),
    ("GET", "/v1/keys", false),
    ("PUT", "/v1/keys/new", true),
    ("GET", "/v1/stats", false),
    ("GET", "/v1/variants", false),
    ("POST", "/v1/variants", true),
    ("GET", "/v1/variants/public", false),
    ("PATCH", "/v1/variants/public", true),
    ("GET", "/v1/config", false),
    ("PATCH", "/v1/config", true),
    ("GET", "/v1/batch_token", false),
    ("DELETE", "/v1/mine", true),
];

/// A token that may only read can make all calls that change nothing, on the API and on the batch host, and no others.
#[tokio::test]
async fn a_read_token_changes_nothing() {
    let account = Account::open().await;
    let form = Form::new().part("file", file_part(photo(1))).text("id", "mine");
    assert_eq!(send(account.request("POST", "/v1").multipart(form)).await.0, 200);
    let everything = async || {
        let mut all = vec![get(&account, "/v2").await, get(&account, "/v1/keys").await];
        all.extend([get(&account, "/v1/variants").await, get(&account, "/v1/config").await]);
        all
    };
    let before = everything().await;
    let reader = &account.emulator.credentials().read_token;
    let token = send(http().get(account.api("/v1/batch_token")).bearer_auth(reader)).await.1;
    let token = token["result"]["token"].as_str().unwrap().to_owned();
    for (method, path, changes) in CALLS {
        let on_batch = path.starts_with("/v1/mine") && !path.ends_with("blob")
            || ["/v1", "/v2", "/v2/direct_upload"].contains(&path);
        let batch = on_batch.then(|| (format!("{}/batch/images{path}", account.root), &token));
        for (url, token) in [Some((account.api(path), reader)), batch].into_iter().flatten() {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = http().request(method.clone(), &url).bearer_auth(token).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), if changes { 403 } else { 200 }, "{method} {url}");
            if changes {
                let body: Value = answer.json().await.unwrap();
                assert_eq!(
                    (&body["success"], &body["errors"][0]["code"]),
                    (&json!(false), &json!(10000)),
                    "{body}"
                );
            }
        }
    }
    for path in ["/v1/keys/default", "/v1/variants/public"] {
        assert_eq!(send(http().delete(account.api(path)).bearer_auth(reader)).await.0, 403, "{path}");
    }
    assert_eq!(everything().await, before);
    // An upload is rejected before its file is checked.
    let form = Form::new().part("file", file_part(photo(1)));
    assert_eq!(send(http().post(account.api("/v1")).bearer_auth(reader).multipart(form)).await.0, 403);
}

/// Unknown credentials are answered with 401, and another account with 403.
#[tokio::test]
async fn credentials_are_checked() {
    let account = Account::open().await;
    let Credentials { account_id, api_token, read_token, .. } = account.emulator.credentials();
    let url = account.api("/v1/stats");
    let as_key = |key: &str| http().get(&url).header("x-auth-email", "a@b").header("x-auth-key", key);
    for (what, request, status) in [
        ("nothing", http().get(&url), 401),
        ("a wrong token", http().get(&url).bearer_auth("x"), 401),
        ("an empty token", http().get(&url).bearer_auth(""), 401),
        ("half a token", http().get(&url).bearer_auth(&api_token[1..]), 401),
        ("another scheme", http().get(&url).basic_auth("a@b", Some(api_token)), 401),
        ("no scheme", http().get(&url).header("authorization", api_token), 401),
        ("a wrong key", as_key("x"), 401),
        ("a key without its e-mail", http().get(&url).header("x-auth-key", api_token), 401),
        ("a token as a key", as_key(read_token), 401),
        ("a key", as_key(api_token), 200),
        ("a token", http().get(&url).bearer_auth(api_token), 200),
        ("a token that reads", http().get(&url).bearer_auth(read_token), 200),
        ("small letters", http().get(&url).header("authorization", format!("bearer {api_token}")), 200),
    ] {
        let (found, body) = send(request).await;
        assert_eq!(found, status, "{what}: {body}");
        if status == 401 {
            assert_eq!(
                (&body["success"], &body["errors"][0]["code"]),
                (&json!(false), &json!(10000)),
                "{what}"
            );
        }
    }
    let elsewhere = url.replace(account_id, &"0".repeat(32));
    for token in [api_token, read_token] {
        let (status, body) = send(http().get(&elsewhere).bearer_auth(token)).await;
        assert_eq!((status, &body["errors"][0]["code"]), (403, &json!(5403)));
    }
    let (status, body) = send(http().get(&elsewhere).bearer_auth("x")).await;
    assert_eq!((status, &body["errors"][0]["code"]), (401, &json!(10000)));
}

/// The read token is kept like the other one, created if a file of an earlier version has none, and can be set.
#[tokio::test]
async fn the_read_token_is_kept() {
    let dir = TempDir::new().unwrap();
    let open = async |change: fn(&mut Settings)| {
        let mut settings = harness::settings(dir.path());
        change(&mut settings);
        Emulator::open(settings).await.unwrap().credentials().clone()
    };
    let first = open(|_| {}).await;
    assert!(first.read_token.len() >= 32 && first.read_token != first.api_token);
    assert!(!format!("{first:?}").contains(&first.read_token));
    assert_eq!(open(|_| {}).await.read_token, first.read_token);
    let path = dir.path().join("credentials.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    kept.as_object_mut().unwrap().remove("read_token");
    std::fs::write(&path, kept.to_string()).unwrap();
    let second = open(|_| {}).await;
    assert_eq!((&second.account_id, &second.api_token), (&first.account_id, &first.api_token));
    assert!(second.read_token.len() >= 32 && second.read_token != first.read_token);
    assert_eq!(open(|_| {}).await.read_token, second.read_token);
    let set = open(|settings| settings.read_token = Some("reader".to_owned())).await;
    assert_eq!(set.read_token, "reader");
}
