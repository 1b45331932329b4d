//! Keys, statistics, variants and settings of the account, and its credentials.

use std::sync::Arc;

use cloudflare_images::client::{Credentials, DeleteOutcome, NewDirectUpload, NewImage};
use cloudflare_images::signing::DeliveryUrls;
use cloudflare_images::wire::{AccountConfig, Fit, Metadata, Variant, VariantEdit, VariantOptions};
use image::ImageFormat;

use crate::harness::{Account, create, listen, open_emulator, pixels, refusal, serve};
use crate::pictures::picture;

#[tokio::test]
async fn keys_are_created_rotated_and_deleted() {
    let account = Account::open().await;
    let client = &account.client;
    let first = client.keys().await.unwrap().keys;
    assert_eq!((first.len(), first[0].name.as_str()), (1, "default"));
    assert!(first[0].value.len() >= 32);
    assert!(!format!("{first:?}").contains(&first[0].value));
    let two = client.put_key("second").await.unwrap().keys;
    assert_eq!((two.len(), &two[0], two[1].name.as_str()), (2, &first[0], "second"));
    assert_ne!(two[0].value, two[1].value);
    assert_eq!(client.keys().await.unwrap().keys, two);
    assert_eq!(refusal(client.put_key("third").await), ("account", Some(5453)));
    assert_eq!(refusal(client.put_key("no-name").await), ("invalid", Some(5400)));
    let rotated = client.put_key("default").await.unwrap().keys;
    assert_eq!((rotated.len(), &rotated[1]), (2, &two[1]));
    assert!(rotated[0].name == "default" && rotated[0].value != two[0].value);
    assert_eq!(client.delete_key("default").await.unwrap().keys, two[1..]);
    assert_eq!(refusal(client.delete_key("default").await), ("not found", Some(5404)));
    // A new key replaces the last one.
    let last = client.delete_key("second").await.unwrap().keys;
    assert_eq!((last.len(), last[0].name.as_str()), (1, "default"));
    assert!([&two[..], &rotated[..]].concat().iter().all(|old| old.value != last[0].value));
    assert_eq!(client.keys().await.unwrap().keys, last);
}

#[tokio::test]
async fn statistics_count_images_and_no_drafts() {
    let account = Account::open().await;
    assert_eq!(account.count().await, 0);
    let image = account.image(1).await;
    account.image(2).await;
    account.client.direct_upload(&NewDirectUpload::default()).await.unwrap();
    let stats = account.client.stats().await.unwrap();
    assert_eq!((stats.count.current, stats.count.allowed), (2, 100_000));
    account.client.delete(&image.id).await.unwrap();
    assert_eq!(account.count().await, 1);
}

#[tokio::test]
async fn variants_are_created_edited_and_deleted() {
    let account = Account::open().await;
    let client = &account.client;
    let public = client.find_variant("public").await.unwrap().unwrap();
    assert_eq!(client.variants().await.unwrap().variants.values().collect::<Vec<_>>(), [&public]);
    let hero = Variant {
        id: "hero".to_owned(),
        options: VariantOptions {
            fit: Fit::Pad.into(),
            width: Some(30),
            height: Some(40),
            metadata: Metadata::Copyright.into(),
            browser_ttl: Some(3600),
            blur: Some(7),
            ..VariantOptions::default()
        },
        never_require_signed_urls: true,
    };
    assert_eq!(client.create_variant(&hero).await.unwrap(), hero);
    assert_eq!(refusal(client.create_variant(&hero).await), ("conflict", Some(5409)));
    assert_eq!(client.find_variant("hero").await.unwrap(), Some(hero.clone()));
    assert_eq!(client.find_variant("nothing").await.unwrap(), None);
    let all = client.variants().await.unwrap().variants;
    assert_eq!(all.values().collect::<Vec<_>>(), [&hero, &public]);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["hero", "public"]);
    // Images are delivered by the new variant.
    let image = create(client, NewImage::default(), picture(200, 100, ImageFormat::Png)).await.unwrap();
    let url = DeliveryUrls::new(&client.settings.delivery).plain(account.hash(), &image.id, "hero");
    assert_eq!((image.variants.len(), image.variants[0].as_str()), (2, url.as_str()));
    assert_eq!(pixels(&url).await, (30, 40));
    // Absent options stay unchanged, and so does an absent `never_require_signed_urls`.
    let options = VariantOptions { height: Some(3), ..VariantOptions::default() };
    let edit = VariantEdit { options: options.clone(), never_require_signed_urls: None };
    let edited = client.edit_variant("hero", &edit).await.unwrap();
    let merged =
        VariantOptions { width: Some(30), browser_ttl: Some(3600), blur: Some(7), ..options.clone() };
    assert_eq!(edited, Variant { options: merged, ..hero });
    assert_eq!(pixels(&url).await, (6, 3));
    let edit = VariantEdit { options, never_require_signed_urls: Some(false) };
    assert!(!client.edit_variant("hero", &edit).await.unwrap().never_require_signed_urls);
    assert_eq!(refusal(client.edit_variant("nothing", &edit).await), ("not found", Some(5401)));
    assert_eq!(client.delete_variant("hero").await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(client.delete_variant("hero").await.unwrap(), DeleteOutcome::NotFound);
    assert_eq!(account.status(&url).await, 403);
    // The deletion of `public` succeeds and has no effect.
    assert_eq!(client.delete_variant("public").await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(client.find_variant("public").await.unwrap(), Some(public));
    for id in ["no-name", "", &"x".repeat(100)] {
        let bad = Variant {
            id: id.to_owned(),
            options: VariantOptions::default(),
            never_require_signed_urls: false,
        };
        assert_eq!(refusal(client.create_variant(&bad).await), ("invalid", Some(5400)), "{id}");
    }
    let options = VariantOptions { width: Some(10_000), ..VariantOptions::default() };
    let bad = Variant { id: "wide".to_owned(), options, never_require_signed_urls: false };
    assert_eq!(refusal(client.create_variant(&bad).await), ("invalid", Some(5400)));
    assert_eq!(client.variants().await.unwrap().variants.len(), 1);
}

/// An account may have 100 variants.
#[tokio::test]
async fn variants_have_a_limit() {
    let account = Account::open().await;
    let variant = |i: u32| Variant {
        id: format!("v{i}"),
        options: VariantOptions { width: Some(i), ..VariantOptions::default() },
        never_require_signed_urls: false,
    };
    for i in 1..100 {
        account.client.create_variant(&variant(i)).await.unwrap();
    }
    assert_eq!(refusal(account.client.create_variant(&variant(100)).await), ("account", Some(5453)));
    assert_eq!(account.client.variants().await.unwrap().variants.len(), 100);
}

#[tokio::test]
async fn the_settings_of_the_account_are_edited() {
    let account = Account::open().await;
    let client = &account.client;
    let defaults = AccountConfig {
        flexible_variants: Some(false),
        browser_ttl: Some(172_800),
        preserve_content_credentials: Some(false),
    };
    assert_eq!(client.config().await.unwrap(), defaults);
    let image = create(client, NewImage::default(), picture(200, 100, ImageFormat::Png)).await.unwrap();
    let url =
        DeliveryUrls::new(&client.settings.delivery).plain(account.hash(), &image.id, "w=50,fit=contain");
    assert_eq!(account.status(&url).await, 403);
    let edit = AccountConfig { flexible_variants: Some(true), ..AccountConfig::default() };
    let edited = AccountConfig { flexible_variants: Some(true), ..defaults };
    assert_eq!(client.edit_config(&edit).await.unwrap(), edited);
    assert_eq!(pixels(&url).await, (50, 25));
    let edit = AccountConfig { browser_ttl: Some(3600), ..AccountConfig::default() };
    let edited = AccountConfig { browser_ttl: Some(3600), ..edited };
    assert_eq!(client.edit_config(&edit).await.unwrap(), edited);
    assert_eq!(client.config().await.unwrap(), edited);
    let bad = AccountConfig { browser_ttl: Some(3599), ..AccountConfig::default() };
    assert_eq!(refusal(client.edit_config(&bad).await), ("invalid", Some(5400)));
    assert_eq!(client.config().await.unwrap(), edited);
}

/// Wrong credentials are refused by every call, also for a large upload.
#[tokio::test]
async fn wrong_credentials_are_refused() {
    let account = Account::open().await;
    let wrong =
        account.client_with(|settings| settings.credentials = Credentials::Token("x".to_owned().into()));
    let expected = ("unauthorized", Some(10000));
    assert_eq!(refusal(wrong.find("x").await), expected);
    assert_eq!(refusal(wrong.delete("x").await), expected);
    assert_eq!(refusal(wrong.blob("x").await), expected);
    assert_eq!(refusal(wrong.keys().await), expected);
    assert_eq!(refusal(wrong.batch().find("x").await), expected);
    for length in [1_000, 100_000, 1_000_000, 5_000_000] {
        assert_eq!(refusal(create(&wrong, NewImage::default(), vec![0; length]).await), expected, "{length}");
    }
    let elsewhere = account.client_with(|settings| settings.account_id = "0".repeat(32));
    assert_eq!(refusal(elsewhere.find("x").await), ("unauthorized", Some(5403)));
    let key = |key: &str| Credentials::EmailKey { email: "a@b".to_owned(), key: key.to_owned().into() };
    let token = &account.emulator.credentials().api_token;
    assert_eq!(
        account.client_with(|settings| settings.credentials = key(token)).find("x").await.unwrap(),
        None
    );
    assert_eq!(
        refusal(account.client_with(|settings| settings.credentials = key("x")).find("x").await),
        expected
    );
}

/// A wrong base URL is not reported as a missing image.
#[tokio::test]
async fn a_wrong_base_url_is_an_account_error() {
    let account = Account::open().await;
    let misdirected = account.client_with(|settings| settings.api = account.root.parse().unwrap());
    assert_eq!(refusal(misdirected.find("x").await), ("account", Some(7003)));
    assert_eq!(refusal(misdirected.delete("x").await), ("account", Some(7003)));
    assert_eq!(refusal(misdirected.delete_variant("x").await), ("account", Some(7003)));
}

/// The emulator keeps the account in its folder.
#[tokio::test]
async fn an_account_survives_a_restart() {
    let account = Account::open().await;
    let image = account.image(1).await;
    let again = open_emulator(account.dir.path(), &account.root).await;
    let (old, new) = (account.emulator.credentials(), again.credentials());
    assert_eq!((&new.account_id, &new.account_hash), (&old.account_id, &old.account_hash));
    assert_eq!(new.api_token, old.api_token);
    let (listener, root) = listen().await;
    serve(listener, again.router(), Arc::default());
    let client = account.client_with(|settings| settings.api = format!("{root}/client/v4").parse().unwrap());
    assert_eq!(client.find(&image.id).await.unwrap(), Some(image));
    assert_eq!(client.keys().await.unwrap().keys, account.client.keys().await.unwrap().keys);
}
