//! Calls on images: create, find, edit, delete, and their bytes.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use chrono::TimeDelta;
use cloudflare_images::client::{
    Body, Client, DeleteOutcome, Error, ListQuery, NewDirectUpload, NewImage, Upload,
};
use cloudflare_images::signing::{self, DeliveryUrls};
use cloudflare_images::wire::{Image, ImageEdit, MAX_IMAGE_BYTES};
use image::ImageFormat;
use serde_json::json;
use url::Url;

use crate::harness::{Account, bytes, create, listen, now, object, pixels, refusal, upload};
use crate::pictures::{gif, photo, picture, png, png_with_header};

async fn create_from_url(client: &Client, url: impl Into<String>) -> Result<Image, Error> {
    client.create(NewImage::default(), Body::Url(url.into())).await
}

/// `create` and `find` return all properties of an image, on both hosts.
#[tokio::test]
async fn an_image_is_created_from_bytes() {
    let account = Account::open().await;
    for client in [account.client.clone(), account.client.batch()] {
        let meta = object(json!({ "a": { "b": [1, "ü", null] }, "n": 1.5 }));
        let new = NewImage { metadata: Some(&meta), creator: Some("me ü"), ..NewImage::default() };
        let before = now() - TimeDelta::milliseconds(1);
        let image = create(&client, new, photo()).await.unwrap();
        assert!(image.id.len() == 36 && image.id.ends_with("00"), "{}", image.id);
        assert_eq!(image.filename.as_deref(), Some("süße katze.jpg"));
        assert_eq!(image.meta, Some(meta));
        assert_eq!(image.creator.as_deref(), Some("me ü"));
        assert!((before..=now()).contains(&image.uploaded.unwrap()), "{image:?}");
        assert!(!image.require_signed_urls && !image.draft);
        let url = format!("{}/imagedelivery/{}/{}/public", account.root, account.hash(), image.id);
        assert_eq!(image.variants, [url]);
        assert_eq!(client.find(&image.id).await.unwrap(), Some(image));
    }
    let bare = account.image(1).await;
    assert_eq!((bare.meta, bare.creator), (None, None));
    let private = NewImage { require_signed_urls: true, ..NewImage::default() };
    let private = create(&account.client, private, png(2)).await.unwrap();
    assert!(private.require_signed_urls && private.id.ends_with("01"), "{private:?}");
    assert_eq!(account.client.find("9f7c7d9c-0000-4000-8000-000000000000").await.unwrap(), None);
    assert_eq!(account.count().await, 4);
}

/// A file name may contain characters that its header has to escape.
#[tokio::test]
async fn a_filename_may_contain_quotes() {
    let account = Account::open().await;
    for name in ["a \"b\".png", "50 %.png", "a;b=c.png", "猫.png"] {
        let body = Body::Upload(Upload { filename: name.to_owned(), ..upload(png(1)) });
        let image = account.client.create(NewImage::default(), body).await.unwrap();
        assert_eq!(image.filename.as_deref(), Some(name));
    }
}

/// A server from which the emulator fetches uploads by URL.
async fn start_origin() -> Url {
    let protected = |headers: HeaderMap| async move {
        // The base64 form of me:secret.
        let open = headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Basic bWU6c2VjcmV0");
        if open { Ok(picture(30, 20, ImageFormat::Png)) } else { Err(StatusCode::UNAUTHORIZED) }
    };
    let router = Router::new()
        .route("/open/{name}", get(|| async { photo() }))
        .route("/locked.png", get(protected))
        .route("/text.png", get(|| async { "no picture" }))
        .route("/big.png", get(|| async { vec![0; MAX_IMAGE_BYTES as usize + 1] }));
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address.parse().unwrap()
}

#[tokio::test]
async fn an_image_is_created_from_a_url() {
    let (account, origin) = (Account::open().await, start_origin().await);
    let client = &account.client;
    let at = |path: &str| origin.join(path).unwrap().to_string();
    for client in [client.clone(), client.batch()] {
        let meta = object(json!({ "from": "a url" }));
        let new = NewImage { metadata: Some(&meta), require_signed_urls: true, ..NewImage::default() };
        let image = client.create(new, Body::Url(at("/open/s%C3%BC%C3%9F%20100%25.jpg?x=y"))).await.unwrap();
        assert_eq!(image.filename.as_deref(), Some("süß 100%.jpg"));
        assert_eq!((image.meta, image.require_signed_urls), (Some(meta), true));
        assert_eq!(bytes(client.blob(&image.id).await.unwrap()).await, photo());
    }
    // A user name and a password in the URL are sent to the server and do not appear in the result.
    let locked = at("/locked.png").replace("http://", "http://me:secret@");
    let image = create_from_url(client, &locked).await.unwrap();
    assert_eq!(bytes(client.blob(&image.id).await.unwrap()).await, picture(30, 20, ImageFormat::Png));
    assert!(!format!("{image:?}").contains("secret"), "{image:?}");
    let url = &image.variants[0];
    for (url, expected) in [
        (at("/locked.png").as_str(), ("invalid", Some(5454))),
        (&locked.replace("secret", "wrong"), ("invalid", Some(5454))),
        (&at("/nothing"), ("invalid", Some(5454))),
        ("http://127.0.0.1:1/x.png", ("invalid", Some(5454))),
        ("ftp://127.0.0.1/x.png", ("invalid", Some(5454))),
        ("no url", ("invalid", Some(5454))),
        (url, ("invalid", Some(5454))),
        (&at("/text.png"), ("unsupported", Some(5455))),
        (&at("/big.png"), ("too large", Some(5413))),
    ] {
        assert_eq!(refusal(create_from_url(client, url).await), expected, "{url}");
    }
    assert_eq!(account.count().await, 3);
}

#[tokio::test]
async fn metadata_and_creator_are_edited() {
    let account = Account::open().await;
    for client in [account.client.clone(), account.client.batch()] {
        let old = object(json!({ "a": 1, "b": 2 }));
        let new = NewImage { metadata: Some(&old), creator: Some("me"), ..NewImage::default() };
        let image = create(&client, new, png(1)).await.unwrap();
        let same = client.edit(&image.id, &ImageEdit::default()).await.unwrap();
        assert_eq!(same, image);
        // Metadata are replaced as a whole; absent properties stay unchanged.
        let meta = object(json!({ "c": { "d": "ü" } }));
        let edit = ImageEdit { metadata: Some(meta.clone()), ..ImageEdit::default() };
        let edited = client.edit(&image.id, &edit).await.unwrap();
        assert_eq!(edited, Image { meta: Some(meta), ..image.clone() });
        let edit = ImageEdit { creator: Some("you".to_owned()), ..ImageEdit::default() };
        let edited = client.edit(&image.id, &edit).await.unwrap();
        assert_eq!(edited.creator.as_deref(), Some("you"));
        assert_eq!(edited.meta.as_ref().unwrap()["c"]["d"], "ü");
        let edit = ImageEdit { creator: Some(String::new()), ..ImageEdit::default() };
        assert_eq!(client.edit(&image.id, &edit).await.unwrap().creator, None);
        assert_eq!(client.find(&image.id).await.unwrap(), Some(Image { creator: None, ..edited }));
        let long = ImageEdit { creator: Some("x".repeat(1025)), ..ImageEdit::default() };
        assert_eq!(refusal(client.edit(&image.id, &long).await), ("invalid", Some(5400)));
        let long =
            ImageEdit { metadata: Some(object(json!({ "a": "x".repeat(1024) }))), ..ImageEdit::default() };
        assert_eq!(refusal(client.edit(&image.id, &long).await), ("invalid", Some(5400)));
        assert_eq!(refusal(client.edit("nothing", &ImageEdit::default()).await), ("not found", Some(5404)));
    }
}

/// A change of access gives an image a new id and changes nothing else.
#[tokio::test]
async fn a_change_of_access_changes_the_id() {
    let account = Account::open().await;
    let access = |private| ImageEdit { require_signed_urls: Some(private), ..ImageEdit::default() };
    for client in [account.client.clone(), account.client.batch()] {
        let meta = object(json!({ "a": 1 }));
        let new = NewImage { metadata: Some(&meta), creator: Some("me"), ..NewImage::default() };
        let public = create(&client, new, photo()).await.unwrap();
        assert_eq!(client.edit(&public.id, &access(false)).await.unwrap(), public);
        let private = client.edit(&public.id, &access(true)).await.unwrap();
        assert_ne!(private.id, public.id);
        let variants = vec![public.variants[0].replace(&public.id, &private.id)];
        let expected =
            Image { id: private.id.clone(), variants, require_signed_urls: true, ..public.clone() };
        assert_eq!(private, expected);
        assert_eq!(client.find(&public.id).await.unwrap(), None);
        assert_eq!(client.find(&private.id).await.unwrap(), Some(expected));
        assert_eq!(bytes(client.blob(&private.id).await.unwrap()).await, photo());
        assert_eq!(
            (account.status(&public.variants[0]).await, account.status(&private.variants[0]).await),
            (404, 403)
        );
        let edit = ImageEdit { creator: Some("you".to_owned()), ..access(false) };
        let again = client.edit(&private.id, &edit).await.unwrap();
        assert!(!again.require_signed_urls && again.id != private.id, "{again:?}");
        assert_eq!((again.creator.as_deref(), again.meta.as_ref()), (Some("you"), Some(&meta)));
        assert_eq!(client.find(&private.id).await.unwrap(), None);
        assert_eq!(account.status(&again.variants[0]).await, 200);
    }
    let new = NewImage { id: Some("mine"), ..NewImage::default() };
    create(&account.client, new, png(1)).await.unwrap();
    assert_eq!(refusal(account.client.edit("mine", &access(true)).await), ("invalid", Some(5400)));
}

#[tokio::test]
async fn an_image_is_deleted_once() {
    let account = Account::open().await;
    let kept = account.image(1).await;
    for client in [account.client.clone(), account.client.batch()] {
        let image = create(&client, NewImage::default(), photo()).await.unwrap();
        assert_eq!((account.count().await, account.files()), (2, 2));
        assert_eq!(account.status(&image.variants[0]).await, 200);
        assert_eq!(client.delete(&image.id).await.unwrap(), DeleteOutcome::Deleted);
        assert_eq!(client.delete(&image.id).await.unwrap(), DeleteOutcome::NotFound);
        assert_eq!(client.find(&image.id).await.unwrap(), None);
        assert_eq!(refusal(client.blob(&image.id).await), ("not found", Some(5404)));
        assert_eq!(account.status(&image.variants[0]).await, 404);
        assert_eq!((account.count().await, account.files()), (1, 1));
        let draft = client.direct_upload(&NewDirectUpload::default()).await.unwrap();
        assert_eq!(client.delete(&draft.id).await.unwrap(), DeleteOutcome::Deleted);
        assert_eq!(
            refusal(client.upload(&draft.upload_url, upload(png(1))).await),
            ("not found", Some(5404))
        );
    }
    assert_eq!(account.client.find(&kept.id).await.unwrap(), Some(kept));
}

#[tokio::test]
async fn a_blob_is_what_was_uploaded() {
    let account = Account::open().await;
    let drawing = br#"<svg xmlns="http://www.w3.org/2000/svg" width="2" height="1"/>"#.to_vec();
    // The declared type of the upload is ignored.
    for (media_type, original) in [
        ("image/jpeg", picture(900, 700, ImageFormat::Jpeg)),
        ("image/png", picture(31, 17, ImageFormat::Png)),
        ("image/webp", picture(31, 17, ImageFormat::WebP)),
        ("image/gif", gif(3)),
        ("image/svg+xml", drawing),
    ] {
        let image = create(&account.client, NewImage::default(), original.clone()).await.unwrap();
        let blob = account.client.blob(&image.id).await.unwrap();
        assert_eq!(blob.content_type.as_deref(), Some(media_type));
        assert_eq!(blob.length, Some(original.len() as u64));
        assert!(bytes(blob).await == original, "{media_type}");
    }
    let draft = account.client.direct_upload(&NewDirectUpload::default()).await.unwrap();
    assert_eq!(refusal(account.client.blob(&draft.id).await), ("not found", Some(5404)));
}

/// Custom ids may contain slashes, percent signs and any letters, in every call and in delivery URLs.
#[tokio::test]
async fn custom_ids_may_contain_any_characters() {
    let account = Account::open().await;
    for client in [account.client.clone(), account.client.batch()] {
        for id in [
            "a",
            "katzen/süß 100%.jpg",
            "a%2Fb",
            "a/b",
            "100%25",
            "x/y/blob",
            "猫/кот/🐈.webp",
            "a+b&c=d?e#f;g,h",
            "~user/'(q)*!.png",
            "x//y",
        ] {
            let new = NewImage { id: Some(id), ..NewImage::default() };
            let image = create(&client, new, photo()).await.unwrap();
            assert_eq!(image.id, id);
            assert_eq!(signing::account_hash(&image).as_deref(), Some(account.hash()), "{id}");
            let edit = ImageEdit { creator: Some(id.to_owned()), ..ImageEdit::default() };
            let image = client.edit(id, &edit).await.unwrap();
            assert_eq!(image.creator.as_deref(), Some(id));
            assert_eq!(client.find(id).await.unwrap(), Some(image.clone()), "{id}");
            let all = client.list(&ListQuery::default()).await.unwrap().images;
            assert!(all.len() == 1 && all[0] == image, "{all:?}");
            assert_eq!(bytes(client.blob(id).await.unwrap()).await, photo(), "{id}");
            let url = DeliveryUrls::new(&client.settings.delivery).plain(account.hash(), id, "public");
            assert_eq!(pixels(&url).await, (60, 40), "{url}");
            assert_eq!(account.status(&image.variants[0]).await, 200, "{:?}", image.variants);
            assert_eq!(refusal(create(&client, new, png(1)).await), ("conflict", Some(5409)), "{id}");
            assert_eq!(client.delete(id).await.unwrap(), DeleteOutcome::Deleted, "{id}");
            assert_eq!(client.delete(id).await.unwrap(), DeleteOutcome::NotFound, "{id}");
        }
    }
    assert_eq!((account.count().await, account.files()), (0, 0));
}

#[tokio::test]
async fn some_custom_ids_are_refused() {
    let account = Account::open().await;
    let long = "x".repeat(1025);
    for id in [
        "",
        "/a",
        "a/",
        "a/../b",
        "a/./b",
        "9f7c7d9c-0000-4000-8000-000000000000",
        "keys",
        "stats",
        "variants/x",
        "a.txt",
        "a\u{7}b",
        &long,
    ] {
        let new = NewImage { id: Some(id), ..NewImage::default() };
        let answer = create(&account.client, new, png(1)).await;
        assert_eq!(refusal(answer), ("invalid", Some(5411)), "{id}");
    }
    let new = NewImage { id: Some("mine"), require_signed_urls: true, ..NewImage::default() };
    assert_eq!(refusal(create(&account.client, new, png(1)).await), ("invalid", Some(5400)));
    assert_eq!((account.count().await, account.files()), (0, 0));
    let new = NewImage { id: Some(&long[1..]), ..NewImage::default() };
    assert_eq!(create(&account.client, new, png(1)).await.unwrap().id, long[1..]);
}

/// Files that are too large, are not images or are truncated, and properties that are too long.
#[tokio::test]
async fn bad_uploads_are_refused() {
    let account = Account::open().await;
    let photo = photo();
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    for client in [account.client.clone(), account.client.batch()] {
        for (bytes, expected) in [
            (vec![0; MAX_IMAGE_BYTES as usize + 1], ("too large", Some(5413))),
            (vec![0; MAX_IMAGE_BYTES as usize], ("unsupported", Some(5455))),
            (vec![], ("unsupported", Some(5455))),
            (b"no picture".to_vec(), ("unsupported", Some(5455))),
            (b"%PDF-1.7".to_vec(), ("unsupported", Some(5455))),
            (png_with_header(12_001, 1), ("too large", Some(5443))),
            (png_with_header(10_001, 10_000), ("too large", Some(5443))),
            (half(&photo), ("unsupported", Some(9422))),
            (half(&picture(100, 100, ImageFormat::Png)), ("unsupported", Some(9422))),
        ] {
            let length = bytes.len();
            assert_eq!(
                refusal(create(&client, NewImage::default(), bytes).await),
                expected,
                "{length} bytes"
            );
        }
        // The object around the text has eight bytes.
        let meta = |length: usize| object(json!({ "a": "x".repeat(length - 8) }));
        let (just, long) = (meta(1024), meta(1025));
        let creator = "ü".repeat(1025);
        for new in [
            NewImage { metadata: Some(&long), ..NewImage::default() },
            NewImage { creator: Some(&creator), ..NewImage::default() },
        ] {
            assert_eq!(refusal(create(&client, new, png(1)).await), ("invalid", Some(5400)));
        }
        assert_eq!((account.count().await, account.files()), (0, 0));
        let new = NewImage { metadata: Some(&just), creator: Some(&creator[2..]), ..NewImage::default() };
        let image = create(&client, new, png(1)).await.unwrap();
        assert_eq!((image.meta, image.creator.as_deref()), (Some(just), Some(&creator[2..])));
        client.delete(&image.id).await.unwrap();
    }
}
