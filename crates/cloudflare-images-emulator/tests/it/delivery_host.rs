//! The delivery host: headers for caches, conditional requests, errors, CORS; and drafts that expire.

use cloudflare_images::client::{NewDirectUpload, NewImage};
use cloudflare_images::signing::{DeliveryUrls, SigningKey};
use cloudflare_images::wire::{AccountConfig, ImageEdit, Variant, VariantEdit, VariantOptions};
use image::ImageFormat;
use reqwest::Response;
use sea_orm::{ConnectionTrait, Database};

use test_pictures::{photo, picture};

use crate::harness::{Account, create, http, upload};

async fn get(url: impl AsRef<str>, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(http().get(url.as_ref()), |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

/// An account in which every transformation is delivered.
pub(crate) async fn flexible() -> Account {
    let account = Account::open().await;
    let edit = AccountConfig { flexible_variants: Some(true), ..AccountConfig::default() };
    account.client.edit_config(&edit).await.unwrap();
    account
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
}

pub(crate) fn url(account: &Account, id: &str, variant: &str) -> String {
    DeliveryUrls::new(&account.client.settings.delivery).plain(account.hash(), id, variant)
}

#[tokio::test]
async fn headers_let_caches_work() {
    let account = Account::open().await;
    let client = &account.client;
    let image = create(client, NewImage::default(), picture(40, 30, ImageFormat::Png)).await.unwrap();
    let public = url(&account, &image.id, "public");
    let found = get(&public, &[]).await;
    for (name, value) in [
        ("content-type", "image/png"),
        ("cache-control", "public, max-age=172800, stale-while-revalidate=7200"),
        ("vary", "Accept"),
        ("access-control-allow-origin", "*"),
        ("x-content-type-options", "nosniff"),
        ("cf-images", "internal=ok/-"),
    ] {
        assert_eq!(header(&found, name), value, "{name}");
    }
    let (tag, length) = (header(&found, "etag"), header(&found, "content-length"));
    assert_eq!(found.bytes().await.unwrap().len().to_string(), length);
    let head = http().head(&public).send().await.unwrap();
    assert_eq!((header(&head, "etag"), header(&head, "content-length")), (tag.clone(), length));
    assert!(head.bytes().await.unwrap().is_empty());
    // Conditional requests with the same ETag, in each syntax.
    let listed = format!("\"other\", {tag}");
    for known in [tag.as_str(), &format!("W/{tag}"), &listed, "*"] {
        let unchanged = get(&public, &[("if-none-match", known)]).await;
        assert_eq!((unchanged.status().as_u16(), header(&unchanged, "etag")), (304, tag.clone()), "{known}");
        assert!(unchanged.bytes().await.unwrap().is_empty());
    }
    assert_eq!(get(&public, &[("if-none-match", "\"other\"")]).await.status(), 200);
    // Other formats and other variants have other ETags.
    let webp = get(&public, &[("accept", "image/webp"), ("if-none-match", &tag)]).await;
    assert_eq!((webp.status().as_u16(), header(&webp, "content-type").as_str()), (200, "image/webp"));
    assert_ne!(header(&webp, "etag"), tag);
    let options = VariantOptions { width: Some(20), browser_ttl: Some(7200), ..VariantOptions::default() };
    let edit = VariantEdit { options, never_require_signed_urls: None };
    client.edit_variant("public", &edit).await.unwrap();
    let edited = get(&public, &[("if-none-match", &tag)]).await;
    assert_eq!((edited.status().as_u16(), header(&edited, "etag") == tag), (200, false));
    assert!(header(&edited, "cache-control").contains("max-age=7200,"), "the variant's TTL takes precedence");
}

#[tokio::test]
async fn cache_control_follows_the_account_or_the_signature() {
    let account = Account::open().await;
    let client = &account.client;
    let edit = AccountConfig { browser_ttl: Some(86_400), ..AccountConfig::default() };
    client.edit_config(&edit).await.unwrap();
    let image = account.image(1).await;
    let cache = header(&get(&image.variants[0], &[]).await, "cache-control");
    assert_eq!(cache, "public, max-age=86400, stale-while-revalidate=7200");
    let private = ImageEdit { require_signed_urls: Some(true), ..ImageEdit::default() };
    let image = client.edit(&image.id, &private).await.unwrap();
    let key = client.keys().await.unwrap().keys.remove(0).value;
    let at =
        |hours| Some(chrono::DateTime::from(std::time::SystemTime::now()) + chrono::TimeDelta::hours(hours));
    let (urls, key) = (DeliveryUrls::new(&client.settings.delivery), SigningKey::new(&key));
    let sign = |until| urls.signed(account.hash(), &image.id, "public", &key, until);
    let cache = header(&get(sign(None), &[]).await, "cache-control");
    assert_eq!(cache, "private, max-age=3600");
    let cache = header(&get(sign(at(5)), &[]).await, "cache-control");
    let seconds: u32 = cache.strip_prefix("private, max-age=").unwrap().parse().unwrap();
    assert!((17_000..=18_000).contains(&seconds), "{cache}");
    let late = get(sign(at(-1)), &[]).await;
    assert_eq!((late.status().as_u16(), header(&late, "cache-control").as_str()), (403, "no-cache"));
    // The API has the file, also of private images, without a signature.
    assert_eq!(client.blob(&image.id).await.unwrap().content_type.as_deref(), Some("image/png"));
}

#[tokio::test]
async fn errors_are_text_with_their_code() {
    let account = Account::open().await;
    let image = account.image(1).await;
    let open = url(&account, &image.id, "public");
    let private = ImageEdit { require_signed_urls: Some(true), ..ImageEdit::default() };
    let secret = account.client.edit(&account.image(2).await.id, &private).await.unwrap();
    let secret = url(&account, &secret.id, "public");
    let hash = account.hash();
    for (url, status, code) in [
        (open.replace(hash, "AAAAAAAAAAAAAAAAAAAAAA"), 403, 9427),
        (open.replace(&image.id, "nothing"), 404, 9431),
        (open.replace("/public", "/nothing"), 403, 9425),
        (open.replace("/public", "/w=10"), 403, 9429),
        (open.split(&image.id).next().unwrap().to_owned(), 403, 9426),
        (secret.clone(), 403, 9425),
        (format!("{secret}?sig=00"), 403, 9425),
        (format!("{secret}?exp=1&sig=00"), 403, 9425),
        (format!("{secret}?exp=soon&sig=00"), 403, 9425),
    ] {
        let refused = get(&url, &[]).await;
        assert_eq!(refused.status(), status, "{url}");
        assert_eq!(header(&refused, "content-type"), "text/plain;charset=utf-8");
        assert_eq!(header(&refused, "cf-images"), format!("err={code}"), "{url}");
        assert_eq!(header(&refused, "access-control-allow-origin"), "*");
        let text = refused.text().await.unwrap();
        assert!(text.starts_with(&format!("ERROR {code}: ")), "{text}");
    }
    let flexible = AccountConfig { flexible_variants: Some(true), ..AccountConfig::default() };
    account.client.edit_config(&flexible).await.unwrap();
    assert_eq!(get(open.replace("/public", "/w=10"), &[]).await.status(), 200);
    let refused = get(secret.replace("/public", "/w=10"), &[]).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "cf-images").as_str()), (403, "err=9425"));
}

#[tokio::test]
async fn custom_domains_and_cors_are_supported() {
    let account = Account::open().await;
    let image = account.image(1).await;
    let open = url(&account, &image.id, "public");
    let domain = open.replace("/imagedelivery/", "/cdn-cgi/imagedelivery/");
    assert_eq!(get(&domain, &[]).await.status(), 200);
    let asked = http().request(reqwest::Method::OPTIONS, &open).header("origin", "https://example.com");
    let allowed = asked.send().await.unwrap();
    assert_eq!(header(&allowed, "access-control-allow-methods"), "GET, HEAD, OPTIONS");
    let refused = http().post(&open).send().await.unwrap();
    assert_eq!(refused.status(), 405);
    // If a custom id is used again, the same URL has the new image and another ETag.
    let new = || NewImage { id: Some("cat.png"), ..NewImage::default() };
    create(&account.client, new(), picture(20, 10, ImageFormat::Png)).await.unwrap();
    let cat = url(&account, "cat.png", "public");
    let tag = header(&get(&cat, &[]).await, "etag");
    account.client.delete("cat.png").await.unwrap();
    assert_eq!(get(&cat, &[("if-none-match", &tag)]).await.status(), 404);
    create(&account.client, new(), picture(20, 10, ImageFormat::Png)).await.unwrap();
    assert_eq!(get(&cat, &[("if-none-match", &tag)]).await.status(), 200);
}

/// Concurrent requests for the same transformation have the same result.
#[tokio::test]
async fn concurrent_requests_share_a_transformation() {
    let account = Account::open().await;
    let image =
        create(&account.client, NewImage::default(), picture(900, 700, ImageFormat::Png)).await.unwrap();
    let variant = Variant {
        id: "thumb".to_owned(),
        options: VariantOptions { width: Some(90), ..VariantOptions::default() },
        never_require_signed_urls: false,
    };
    account.client.create_variant(&variant).await.unwrap();
    let thumb = url(&account, &image.id, "thumb");
    let all = futures_util::future::join_all(
        (0..40).map(|_| async { get(&thumb, &[]).await.bytes().await.unwrap() }),
    );
    let all = all.await;
    assert!(all.iter().all(|bytes| *bytes == all[0] && !bytes.is_empty()));
}

/// A rendition that was made is delivered again without its file, so nothing is decoded for it; another one needs the file.
#[tokio::test]
async fn a_rendition_is_made_once() {
    let account = flexible().await;
    let image =
        create(&account.client, NewImage::default(), picture(90, 70, ImageFormat::Jpeg)).await.unwrap();
    let at = |options: &str| url(&account, &image.id, options);
    let first = get(at("w=30"), &[]).await;
    assert_eq!(first.status(), 200);
    for folder in std::fs::read_dir(account.dir.path().join("files")).unwrap() {
        std::fs::remove_dir_all(folder.unwrap().path()).unwrap();
    }
    let again = get(at("w=30"), &[]).await;
    assert_eq!((again.status(), header(&again, "etag")), (first.status(), header(&first, "etag")));
    assert_eq!(again.bytes().await.unwrap(), first.bytes().await.unwrap());
    assert_ne!(get(at("w=31"), &[]).await.status(), 200);
}

/// After an upload URL has expired, its draft is not found, and its custom id can be used again.
#[tokio::test]
async fn drafts_expire() {
    let account = Account::open().await;
    let client = &account.client;
    let image = NewImage { id: Some("later.jpg"), ..NewImage::default() };
    let new = NewDirectUpload { image, expiry: None };
    let direct = client.direct_upload(&new).await.unwrap();
    assert_eq!(client.direct_upload(&new).await.unwrap_err().code(), Some(5409));
    let path = account.dir.path().join("emulator.sqlite");
    let db = Database::connect(format!("sqlite://{}", path.display())).await.unwrap();
    db.execute_unprepared("UPDATE image SET expires_ms = 1 WHERE id = 'later.jpg'").await.unwrap();
    let expired = client.upload(&direct.upload_url, upload(photo(1))).await.unwrap_err();
    assert_eq!(expired.code(), Some(5403));
    assert_eq!(client.find("later.jpg").await.unwrap(), None);
    assert_eq!(account.status(url(&account, "later.jpg", "public")).await, 404);
    let again = client.direct_upload(&new).await.unwrap();
    assert_eq!(again.upload_url, direct.upload_url);
    assert!(client.find("later.jpg").await.unwrap().unwrap().draft);
    client.upload(&again.upload_url, upload(photo(1))).await.unwrap();
    assert_eq!(account.status(url(&account, "later.jpg", "public")).await, 200);
}
