//! Errors as text, and the batch host by its own name.

use serde_json::{Value, json};

use crate::harness::{Account, http, send};

/// Text errors have the status, content type and header that were observed at Cloudflare.
#[tokio::test]
async fn text_errors_are_those_of_cloudflare() {
    let account = Account::open().await;
    account.fault("images.delete", json!({ "kind": "errors", "form": "text" })).await;
    let response = account.request("DELETE", "/v1/nothing").send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-type"], "text/plain;charset=utf-8");
    assert_eq!(response.headers()["cf-images"], "err=5404");
    assert_eq!(response.text().await.unwrap(), "ERROR 5404: Image not found\n");
}

/// Requests whose `Host` is Cloudflare's batch host reach the batch host, for clients with a fixed URL.
#[tokio::test]
async fn the_batch_host_has_a_name() {
    let account = Account::open().await;
    let api_token = account.emulator.credentials().api_token.as_str();
    let (_, body) = send(account.request("GET", "/v1/batch_token")).await;
    let Value::String(token) = &body["result"]["token"] else { panic!("{body}") };
    for (host, bearer, status) in [
        ("batch.imagedelivery.net", token.as_str(), 200),
        ("batch.imagedelivery.net", api_token, 401),
        ("example.com", token.as_str(), 404),
    ] {
        let list = http().get(format!("{}/images/v2", account.root)).header("host", host).bearer_auth(bearer);
        assert_eq!(list.send().await.unwrap().status(), status, "{host}");
    }
}
