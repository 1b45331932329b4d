//! The batch host and its tokens.

use std::num::NonZeroU32;

use chrono::TimeDelta;
use cloudflare_images::client::{Client, ListQuery, NewDirectUpload, NewImage, PageQuery};
use cloudflare_images::wire::ImageEdit;
use serde_json::json;

use crate::harness::{Account, create, http, now};
use crate::pictures::photo;

/// A batch token is valid for an hour, on the batch host only.
#[tokio::test]
async fn a_batch_token_is_valid_on_the_batch_host_only() {
    let account = Account::open().await;
    let client = &account.client;
    let token = client.batch_token().await.unwrap();
    let ahead = token.expires_at - now();
    assert!(ahead > TimeDelta::minutes(59) && ahead <= TimeDelta::minutes(60), "{ahead}");
    let list = async |url: &str, token: &str| {
        let request = http().get(format!("{}{url}", account.root)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let id = &client.settings.account_id;
    let (api, key) =
        (format!("/client/v4/accounts/{id}/images/v1"), &account.emulator.credentials().api_token);
    assert_eq!(list("/batch/images/v1", &token.token).await, 200);
    assert_eq!(list("/batch/images/v1", key).await, 401);
    assert_eq!(list(&api, key).await, 200);
    assert_eq!(list(&api, &token.token).await, 401);
    let (_, signature) = token.token.split_once('.').unwrap();
    assert_eq!(list("/batch/images/v1", &format!("4000000000.{signature}")).await, 401);
}

/// A batch client sends its calls on images to the batch host, with one token, and all others to the management API.
#[tokio::test]
async fn a_batch_client_calls_the_batch_host() {
    let account = Account::open().await;
    let client = account.client.batch();
    let image = create(&client, NewImage::default(), photo()).await.unwrap();
    client.find(&image.id).await.unwrap();
    client.list(&ListQuery::default()).await.unwrap();
    client.list_v1(&PageQuery::default()).await.unwrap();
    client.edit(&image.id, &ImageEdit::default()).await.unwrap();
    client.direct_upload(&NewDirectUpload::default()).await.unwrap();
    client.blob(&image.id).await.unwrap();
    client.keys().await.unwrap();
    client.stats().await.unwrap();
    client.variants().await.unwrap();
    client.config().await.unwrap();
    client.delete(&image.id).await.unwrap();
    let api = format!("/cloudflare/client/v4/accounts/{}/images", client.settings.account_id);
    let batch = "/cloudflare/batch/images";
    let id = &image.id;
    assert_eq!(
        *account.requests.lock().unwrap(),
        [
            format!("GET {api}/v1/batch_token"),
            format!("POST {batch}/v1"),
            format!("GET {batch}/v1/{id}"),
            format!("GET {batch}/v2"),
            format!("GET {batch}/v1"),
            format!("PATCH {batch}/v1/{id}"),
            format!("POST {batch}/v2/direct_upload"),
            format!("GET {api}/v1/{id}/blob"),
            format!("GET {api}/v1/keys"),
            format!("GET {api}/v1/stats"),
            format!("GET {api}/v1/variants"),
            format!("GET {api}/v1/config"),
            format!("DELETE {batch}/v1/{id}"),
        ]
    );
}

/// A client that has used up what its rate allows at once; the next call is allowed after twelve seconds.
async fn busy(account: &Account) -> Client {
    let client = account.client_with(|settings| settings.rate = NonZeroU32::new(30)).balanced();
    for _ in 0..5 {
        client.find("x").await.unwrap();
    }
    account.requests.lock().unwrap().clear();
    client
}

/// How often the batch host, the management API and the token were called.
fn calls(account: &Account) -> (usize, usize, usize) {
    let requests = account.requests.lock().unwrap();
    let count = |part: &str| requests.iter().filter(|request| request.contains(part)).count();
    let tokens = count("/batch_token");
    (count("/cloudflare/batch/"), count("/client/v4/") - tokens, tokens)
}

/// What the rate of the management API does not allow at once goes to the batch host, with one token.
#[tokio::test]
async fn the_batch_host_takes_what_the_rate_does_not_allow() {
    let account = Account::open().await;
    let client = busy(&account).await;
    for _ in 0..5 {
        let image = create(&client, NewImage::default(), photo()).await.unwrap();
        client.background().delete(&image.id).await.unwrap();
    }
    assert_eq!(calls(&account), (10, 0, 1));
}

/// A token that ends soon is replaced before it does, and a rejected one at once.
#[tokio::test]
async fn tokens_are_renewed() {
    let account = Account::open().await;
    let token = account.client.batch_token().await.unwrap().token;
    let client = account.client.batch();
    let soon = json!({ "result": { "token": token, "expiresAt": now() + TimeDelta::seconds(20) }, "success": true, "errors": [], "messages": [] });
    account.fault("batch_token.get", json!({ "kind": "answer", "body": soon.to_string() })).await;
    account.requests.lock().unwrap().clear();
    for _ in 0..3 {
        client.find("x").await.unwrap();
    }
    assert_eq!(calls(&account), (3, 0, 2));
    account.fault("images.get", json!({ "kind": "status", "status": 401, "code": 10000 })).await;
    client.find("x").await.unwrap();
    assert_eq!(calls(&account), (5, 0, 3));
    // A file whose bytes were read is sent again by the caller.
    account.fault("images.create", json!({ "kind": "status", "status": 401, "code": 10000 })).await;
    let error = create(&client, NewImage::default(), photo()).await.unwrap_err();
    assert!(error.may_succeed_at_once(), "{error:?}");
    create(&client, NewImage::default(), photo()).await.unwrap();
    assert_eq!(calls(&account), (7, 0, 4));
}

/// Calls until the rate is used up and this part of the path was called: each call has its result.
async fn find_until_called(account: &Account, client: &Client, part: &str) {
    for _ in 0..1000 {
        assert!(client.find("x").await.unwrap().is_none());
        if account.requests.lock().unwrap().iter().any(|request| request.contains(part)) {
            return;
        }
    }
    panic!("{part} is not called");
}

/// If the batch host fails, or gives no token, the management API takes its calls, also those that have to wait.
#[tokio::test]
async fn the_management_api_takes_the_calls_of_a_failing_batch_host() {
    for (path, fault) in [
        ("/batch/", json!({ "kind": "drop" })),
        ("/batch/", json!({ "kind": "status", "status": 403, "code": 10000 })),
        ("/batch/", json!({ "kind": "status", "status": 401, "code": 10000 })),
        ("/batch_token", json!({ "kind": "status", "status": 403, "code": 10000 })),
    ] {
        let account = Account::open().await;
        let rule = json!({ "path": path, "fault": fault });
        http().post(format!("{}/faults", account.root)).json(&rule).send().await.unwrap();
        // So fast a pace that waiting for it takes a moment only.
        let client = account.client_with(|settings| settings.rate = NonZeroU32::new(900)).balanced();
        find_until_called(&account, &client, path).await;
        let before = calls(&account);
        client.find("x").await.unwrap();
        assert_eq!(calls(&account), (before.0, before.1 + 1, before.2), "{path} {fault}");
    }
}

/// A creation that the batch host may have carried out is not made again.
#[tokio::test]
async fn a_creation_that_may_have_been_made_is_not_repeated() {
    let account = Account::open().await;
    let client = busy(&account).await;
    account.fault("images.create", json!({ "kind": "lost_answer" })).await;
    let error = create(&client, NewImage::default(), photo()).await.unwrap_err();
    assert!(error.maybe_applied() && !error.may_succeed_at_once(), "{error:?}");
    assert_eq!((account.count().await, account.calls("images.create").await), (1, 1));
}
