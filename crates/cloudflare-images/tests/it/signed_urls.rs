//! Signed delivery URLs.

use chrono::TimeDelta;
use cloudflare_images::client::NewImage;
use cloudflare_images::signing::{self, DeliveryUrls, SigningKey};
use cloudflare_images::wire::{Variant, VariantEdit, VariantOptions};

use crate::harness::{Account, create, now, pixels};
use crate::pictures::photo;

/// A private image is delivered only by a URL with a valid signature.
#[tokio::test]
async fn signed_urls_deliver_private_images() {
    let account = Account::open().await;
    let client = &account.client;
    let private = NewImage { require_signed_urls: true, ..NewImage::default() };
    let image = create(client, private, photo()).await.unwrap();
    let other = create(client, private, photo()).await.unwrap();
    let hash = signing::account_hash(&image).unwrap();
    assert_eq!(hash, account.hash());
    let urls = DeliveryUrls::new(&client.settings.delivery);
    let plain = urls.plain(&hash, &image.id, "public");
    assert_eq!(image.variants, std::slice::from_ref(&plain));
    assert_eq!(account.status(&plain).await, 403);
    let key = client.keys().await.unwrap().keys.remove(0).value;
    let sign =
        |variant: &str, key: &str, at| urls.signed(&hash, &image.id, variant, &SigningKey::new(key), at);
    let hence = now() + TimeDelta::hours(1);
    let later = Some(hence);
    let (forever, expiring) = (sign("public", &key, None), sign("public", &key, later));
    assert_eq!(pixels(&forever).await, (60, 40));
    assert_eq!(pixels(&expiring).await, (60, 40));
    assert_eq!(account.status(sign("public", &key, Some(now() - TimeDelta::seconds(2)))).await, 403);
    assert_eq!(account.status(sign("public", "another key", later)).await, 403);
    let exp = hence.timestamp();
    let forged = expiring.as_str().replace(&exp.to_string(), &(exp + 1).to_string());
    assert_ne!(forged, expiring.as_str());
    assert_eq!(account.status(&forged).await, 403);
    assert_eq!(account.status(expiring.as_str().replace(&format!("exp={exp}&"), "")).await, 403);
    assert_eq!(account.status(forever.as_str().replace(&image.id, &other.id)).await, 403);
    // A signature is valid for one variant, and not needed for a variant that never requires it.
    let options = VariantOptions { width: Some(30), ..VariantOptions::default() };
    let small = Variant { id: "small".to_owned(), options, never_require_signed_urls: false };
    client.create_variant(&small).await.unwrap();
    assert_eq!(account.status(forever.as_str().replace("/public", "/small")).await, 403);
    assert_eq!(pixels(&sign("small", &key, later)).await, (30, 20));
    let edit = VariantEdit { options: small.options, never_require_signed_urls: Some(true) };
    client.edit_variant("small", &edit).await.unwrap();
    assert_eq!(pixels(&urls.plain(&hash, &image.id, "small")).await, (30, 20));
    // Any key of the account is valid until it is rotated or deleted.
    let second = client.put_key("second").await.unwrap().keys.remove(1).value;
    assert_eq!(account.status(sign("public", &second, later)).await, 200);
    let rotated = client.put_key("default").await.unwrap().keys.remove(0).value;
    assert_eq!(account.status(&forever).await, 403);
    assert_eq!(account.status(sign("public", &rotated, None)).await, 200);
    client.delete_key("second").await.unwrap();
    assert_eq!(account.status(sign("public", &second, later)).await, 403);
}
