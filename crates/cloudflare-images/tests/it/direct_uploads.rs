//! Direct uploads.

use chrono::TimeDelta;
use cloudflare_images::client::{NewDirectUpload, NewImage};
use cloudflare_images::wire::Image;
use serde_json::json;

use crate::harness::{Account, bytes, now, object, refusal, upload};
use crate::pictures::{photo, png};

/// The URL of a direct upload accepts one file, and the image has the properties of the draft.
#[tokio::test]
async fn a_direct_upload_accepts_one_file() {
    let account = Account::open().await;
    for (client, private) in [(account.client.clone(), true), (account.client.batch(), false)] {
        let before = account.count().await;
        let meta = object(json!({ "a": 1 }));
        let image = NewImage {
            metadata: Some(&meta),
            creator: Some("me"),
            require_signed_urls: private,
            ..NewImage::default()
        };
        let expiry = Some(now() + TimeDelta::hours(1));
        let direct = client.direct_upload(&NewDirectUpload { image, expiry }).await.unwrap();
        let url = format!("{}/upload/{}/{}", account.root, account.hash(), direct.id);
        assert_eq!(direct.upload_url, url);
        let draft = client.find(&direct.id).await.unwrap().unwrap();
        assert_eq!(
            (draft.id.as_str(), draft.filename.as_ref(), draft.draft),
            (direct.id.as_str(), None, true)
        );
        assert_eq!(draft.require_signed_urls, private);
        assert_eq!((draft.meta.as_ref(), draft.creator.as_deref()), (Some(&meta), Some("me")));
        assert_eq!(account.status(&draft.variants[0]).await, 404);
        // After a refused file the URL can be used again.
        let refused = client.upload(&direct.upload_url, upload(b"no picture".to_vec())).await;
        assert_eq!(refusal(refused), ("unsupported", Some(5455)));
        assert_eq!(client.find(&direct.id).await.unwrap(), Some(draft.clone()));
        let image = client.upload(&direct.upload_url, upload(photo())).await.unwrap();
        let expected = Image {
            filename: Some("süße katze.jpg".to_owned()),
            draft: false,
            uploaded: image.uploaded,
            ..draft.clone()
        };
        assert_eq!(image, expected);
        assert!(image.uploaded >= draft.uploaded);
        assert_eq!(client.find(&direct.id).await.unwrap(), Some(image));
        let again = client.upload(&direct.upload_url, upload(png(1))).await;
        assert_eq!(refusal(again), ("conflict", Some(5409)));
        assert_eq!(bytes(client.blob(&direct.id).await.unwrap()).await, photo());
        assert_eq!(account.count().await, before + 1);
    }
}

#[tokio::test]
async fn direct_uploads_have_limits() {
    let account = Account::open().await;
    let client = &account.client;
    let image = NewImage { id: Some("katzen/süß 100%.jpg"), ..NewImage::default() };
    let new = NewDirectUpload { image, expiry: None };
    let direct = client.direct_upload(&new).await.unwrap();
    assert_eq!(direct.id, "katzen/süß 100%.jpg");
    assert_eq!(refusal(client.direct_upload(&new).await), ("conflict", Some(5409)));
    assert_eq!(client.upload(&direct.upload_url, upload(photo())).await.unwrap().id, direct.id);
    assert_eq!(refusal(client.direct_upload(&new).await), ("conflict", Some(5409)));
    for ahead in [TimeDelta::minutes(-1), TimeDelta::minutes(1), TimeDelta::hours(7)] {
        let new = NewDirectUpload { expiry: Some(now() + ahead), ..NewDirectUpload::default() };
        assert_eq!(refusal(client.direct_upload(&new).await), ("invalid", Some(5400)), "{ahead}");
    }
    let private = NewImage { id: Some("mine"), require_signed_urls: true, ..NewImage::default() };
    let private = NewDirectUpload { image: private, expiry: None };
    assert_eq!(refusal(client.direct_upload(&private).await), ("invalid", Some(5400)));
    let open = client.direct_upload(&NewDirectUpload::default()).await.unwrap();
    for (url, expected) in [
        (open.upload_url.replace(&open.id, "nothing"), ("not found", Some(5404))),
        (open.upload_url.replace(account.hash(), "x"), ("unauthorized", Some(5403))),
        (open.upload_url.replace("/upload/", "/elsewhere/"), ("invalid", None)),
    ] {
        assert_eq!(refusal(client.upload(&url, upload(png(1))).await), expected, "{url}");
    }
    assert!(client.find(&open.id).await.unwrap().unwrap().draft);
}

/// Version 1 of the call takes JSON with all properties of an image.
#[tokio::test]
async fn version_1_of_direct_uploads_takes_json() {
    let account = Account::open().await;
    let meta = object(json!({ "a": { "b": [1, "ü"] } }));
    let private_image = NewImage { metadata: Some(&meta), require_signed_urls: true, ..NewImage::default() };
    let named = NewImage { id: Some("a/ü.png"), creator: Some("me"), ..NewImage::default() };
    for (image, expiry) in [
        (NewImage::default(), None),
        (NewImage::default(), Some(now() + TimeDelta::hours(2))),
        (private_image, None),
        (named, Some(now() + TimeDelta::hours(5))),
    ] {
        let direct = account.client.direct_upload_v1(&NewDirectUpload { image, expiry }).await.unwrap();
        let draft = account.client.find(&direct.id).await.unwrap().unwrap();
        assert!(draft.draft);
        assert!(image.id.is_none_or(|id| id == direct.id));
        assert_eq!(draft.require_signed_urls, image.require_signed_urls);
        assert_eq!((draft.meta.as_ref(), draft.creator.as_deref()), (image.metadata, image.creator));
        let image = account.client.upload(&direct.upload_url, upload(photo())).await.unwrap();
        assert_eq!((image.id, image.draft), (direct.id, false));
    }
    let late = NewDirectUpload { expiry: Some(now() + TimeDelta::hours(7)), ..NewDirectUpload::default() };
    assert_eq!(refusal(account.client.direct_upload_v1(&late).await), ("invalid", Some(5400)));
    let private = NewImage { id: Some("mine"), require_signed_urls: true, ..NewImage::default() };
    let private = NewDirectUpload { image: private, expiry: None };
    assert_eq!(refusal(account.client.direct_upload_v1(&private).await), ("invalid", Some(5400)));
}
