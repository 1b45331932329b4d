//! The batch host and its tokens.

use chrono::TimeDelta;
use cloudflare_images::client::{ListQuery, NewDirectUpload, NewImage, PageQuery};
use cloudflare_images::wire::ImageEdit;

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
