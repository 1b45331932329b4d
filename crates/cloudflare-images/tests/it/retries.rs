//! Retries after faults of the emulator.

use std::time::Duration;

use cloudflare_images::client::{DeleteOutcome, Error, ListQuery, MetaFilter, MetaTest, NewImage};
use serde_json::json;

use crate::harness::{Account, create, object};
use crate::pictures::photo;

/// A read is retried after any transient fault.
#[tokio::test]
async fn reads_are_retried_after_faults() {
    let account = Account::open().await;
    let image = account.image(1).await;
    let impatient = account.client_with(|settings| settings.attempt_timeout = Duration::from_millis(1500));
    for (i, fault) in [
        json!({ "kind": "status", "status": 500 }),
        json!({ "kind": "status", "status": 429, "retry_after": 1 }),
        json!({ "kind": "drop" }),
        json!({ "kind": "lost_answer" }),
        json!({ "kind": "hang_after" }),
    ]
    .into_iter()
    .enumerate()
    {
        for client in [impatient.clone(), impatient.batch()] {
            account.fault("images.get", fault.clone()).await;
            assert_eq!(client.find(&image.id).await.unwrap().as_ref(), Some(&image), "{fault}");
        }
        assert_eq!(account.calls("images.get").await, 4 * (i as u64 + 1), "{fault}");
    }
    account.fault("images.get", json!({ "kind": "garbage" })).await;
    let error = impatient.find(&image.id).await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse { maybe_applied: false, .. }), "{error:?}");
}

/// If the response of `create` is lost, the error says that there may be an image, and a list by metadata finds it.
#[tokio::test]
async fn an_image_whose_response_was_lost_can_be_listed() {
    let account = Account::open().await;
    let impatient = account.client_with(|settings| settings.attempt_timeout = Duration::from_millis(1500));
    for (i, (fault, created)) in [
        (json!({ "kind": "lost_answer" }), 1),
        (json!({ "kind": "hang_after" }), 1),
        (json!({ "kind": "garbage" }), 0),
        (json!({ "kind": "status", "status": 503 }), 0),
        (json!({ "kind": "drop" }), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let meta = object(json!({ "try": i }));
        let new = NewImage { metadata: Some(&meta), ..NewImage::default() };
        account.fault("images.create", fault.clone()).await;
        let error = create(&impatient, new, photo()).await.unwrap_err();
        assert!(error.is_transient() && error.maybe_applied(), "{fault}: {error:?}");
        assert_eq!(account.calls("images.create").await, i as u64 + 1);
        let test = MetaTest::EqNumber(i.into());
        let meta = vec![MetaFilter { field: "try".to_owned(), test }];
        let found = impatient.list(&ListQuery { meta, ..ListQuery::default() }).await.unwrap().images;
        assert_eq!(found.len(), created, "{fault}");
    }
}

/// A deletion whose response is lost is retried, and reports that the image was deleted.
#[tokio::test]
async fn a_deletion_whose_response_was_lost_is_reported_as_done() {
    let account = Account::open().await;
    for client in [account.client.clone(), account.client.batch()] {
        let image = account.image(1).await;
        account.fault("images.delete", json!({ "kind": "lost_answer" })).await;
        assert_eq!(client.delete(&image.id).await.unwrap(), DeleteOutcome::Deleted);
        assert_eq!(client.delete(&image.id).await.unwrap(), DeleteOutcome::NotFound);
    }
    assert_eq!(account.calls("images.delete").await, 6);
}
