//! Answers in forms Cloudflare is seen to use beside the documented one: text, web pages, values we have no name for.

use cloudflare_images::client::{Deleted, Error, NewImage};
use cloudflare_images::wire::{Fit, Metadata, Named, VariantEdit};
use serde_json::{Value, json};

use crate::client::{Account, create, refusal};
use crate::harness::{ADMIN, Database, Server, http};
use crate::pictures::photo;

/// What is wrong is understood from text as from JSON: the same kinds, the same numbers.
#[tokio::test]
async fn errors_as_text_say_the_same() {
    let account = Account::open().await;
    let client = &account.client;
    for form in ["json", "text"] {
        let fault = json!({ "kind": "errors", "form": form });
        account.fault("images.get", fault.clone()).await;
        assert_eq!(client.find("nothing").await.unwrap(), None, "{form}");
        account.fault("images.delete", fault.clone()).await;
        assert_eq!(client.delete("nothing").await.unwrap(), Deleted::AlreadyGone, "{form}");
        account.fault("variants.get", fault.clone()).await;
        assert_eq!(client.find_variant("nothing").await.unwrap(), None, "{form}");
        account.fault("images.create", fault.clone()).await;
        let refused = create(client, NewImage::default(), b"no image".to_vec()).await;
        assert_eq!(refusal(refused), ("unsupported", Some(5455)), "{form}");
        account.fault("keys.delete", fault.clone()).await;
        assert_eq!(refusal(client.delete_key("nothing").await), ("not found", Some(5404)), "{form}");
        account.fault("config.edit", fault).await;
        let edit = cloudflare_images::wire::AccountConfig { browser_ttl: Some(1), ..Default::default() };
        assert_eq!(refusal(client.edit_config(&edit).await), ("invalid", Some(5400)), "{form}");
    }
    let direct = client.direct_upload(&Default::default()).await.unwrap();
    account.fault("upload", json!({ "kind": "errors", "form": "text" })).await;
    let refused = client.upload(&direct.upload_url, crate::client::upload(b"no image".to_vec())).await;
    assert_eq!(refusal(refused), ("unsupported", Some(5455)));
    // A call that works is not touched.
    account.fault("images.create", json!({ "kind": "errors", "form": "text" })).await;
    create(client, NewImage::default(), photo(1)).await.unwrap();
}

/// The text is the recorded one: status, type, the number in a header too.
#[tokio::test]
async fn text_errors_look_as_recorded() {
    let account = Account::open().await;
    account.fault("images.delete", json!({ "kind": "errors", "form": "text" })).await;
    let settings = &account.client.settings;
    let url = format!("{}/accounts/{}/images/v1/nothing", settings.api, settings.account_id);
    let token = &account.emulator.credentials().api_token;
    let answer = http().delete(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["content-type"], "text/plain;charset=utf-8");
    assert_eq!(answer.headers()["cf-images"], "err=5404");
    assert_eq!(answer.text().await.unwrap(), "ERROR 5404: Image not found\n");
}

/// A web page says nothing but its status; what that leaves unclear is not taken for an answer.
#[tokio::test]
async fn web_pages_count_by_their_status() {
    let account = Account::open().await;
    let client = account.other(|settings| settings.deadline = std::time::Duration::from_secs(2));
    account.fault("images.get", json!({ "kind": "errors", "form": "html" })).await;
    let error = client.find("nothing").await.unwrap_err();
    assert!(matches!(error, Error::Nonsense { .. }), "a 404 of a proxy is no missing image: {error:?}");
    let image = account.image(1).await;
    account.fault("images.get", json!({ "kind": "status", "status": 502, "form": "html" })).await;
    assert_eq!(client.find(&image.id).await.unwrap().unwrap().id, image.id, "repeated");
    account.fault("images.create", json!({ "kind": "status", "status": 413, "form": "html" })).await;
    assert_eq!(refusal(create(&client, NewImage::default(), photo(1)).await), ("too large", None));
    account.fault("images.create", json!({ "kind": "status", "status": 403, "form": "html" })).await;
    assert_eq!(refusal(create(&client, NewImage::default(), photo(1)).await), ("unauthorized", None));
    account.fault("images.create", json!({ "kind": "status", "status": 502, "form": "html" })).await;
    let error = create(&client, NewImage::default(), photo(1)).await.unwrap_err();
    assert!(error.is_transient() && error.ambiguous(), "{error:?}");
}

/// The batch host answers by its name too, for clients that can be told an address only.
#[tokio::test]
async fn the_batch_host_has_a_name() {
    let emulator = crate::hostile::Emulator::start().await;
    let token =
        http().get(format!("{}/batch_token", emulator.root)).bearer_auth("demo-token").send().await.unwrap();
    let token = token.json::<Value>().await.unwrap()["result"]["token"].as_str().unwrap().to_owned();
    let address = emulator.root.split("/client/").next().unwrap();
    for (host, bearer, status) in [
        ("batch.imagedelivery.net", token.as_str(), 200),
        ("batch.imagedelivery.net", "demo-token", 401),
        ("example.com", token.as_str(), 404),
    ] {
        let list = http().get(format!("{address}/images/v2")).header("host", host).bearer_auth(bearer);
        assert_eq!(list.send().await.unwrap().status(), status, "{host}");
    }
}

/// Three variants: one plain, one with names and options that we do not know, one with nulls.
fn strange_variants() -> Value {
    let plain = json!({ "id": "plain", "options": { "fit": "cover", "width": 30, "height": 20, "metadata": "keep" } });
    let strange = json!({ "id": "strange", "neverRequireSignedURLs": true, "options": {
        "fit": "squeeze", "width": 30, "height": 20, "metadata": "everything", "sharpen": 3,
    } });
    let bare =
        json!({ "id": "bare", "options": { "fit": null, "width": null, "height": null, "metadata": null } });
    json!({ "plain": plain, "strange": strange, "bare": bare })
}

fn answer(result: &Value) -> Value {
    let body = json!({ "result": result, "success": true, "errors": [], "messages": [] });
    json!({ "kind": "answer", "body": body.to_string() })
}

/// What we have no name for is read, kept, and written back as it came.
#[tokio::test]
async fn unknown_names_survive() {
    let account = Account::open().await;
    account.fault("variants.list", answer(&json!({ "variants": strange_variants() }))).await;
    let variants = account.client.variants().await.unwrap().variants;
    assert_eq!(variants.len(), 3);
    assert_eq!(variants["plain"].options.fit, Named::Known(Fit::Cover));
    let strange = &variants["strange"].options;
    assert_eq!(strange.fit, Named::Unknown("squeeze".to_owned()));
    assert_eq!((strange.fit.known(), strange.metadata.known()), (None, None));
    assert_eq!(variants["bare"].options.fit.known(), Some(Fit::ScaleDown));
    assert_eq!(variants["bare"].options.metadata.known(), Some(Metadata::None));
    assert_eq!(serde_json::to_value(strange).unwrap(), strange_variants()["strange"]["options"]);
    // The emulator knows every fit it applies, and refuses the rest.
    let edit = VariantEdit { options: strange.clone(), never_require_signed_urls: None };
    assert_eq!(refusal(account.client.edit_variant("public", &edit).await), ("invalid", Some(5400)));
    let options = json!({ "fit": "squeeze" });
    let edit =
        VariantEdit { options: serde_json::from_value(options).unwrap(), never_require_signed_urls: None };
    let refused = account.client.edit_variant("public", &edit).await.unwrap_err();
    assert!(refused.message().contains("'squeeze' is not a supported fit mode"), "{refused}");
}

both! {
    /// One strange variant hides no other: it is listed without what we cannot name, and without a size.
    async fn a_strange_variant_hides_no_other(database: Database) {
        let server = Server::start(database).await;
        // Variants that keep metadata are handed out to such a workspace only.
        let keep_all = "mutation($id: ID!) { updateWorkspace(input: { id: $id, policy: { exifPolicy: KEEP_ALL } }) { userErrors { code } } }";
        server.query(keep_all, json!({ "id": server.workspace })).await;
        let image = server.file("photo.jpg", photo(1)).await["image"]["id"].clone();
        let mut fault = json!({ "call": "variants.list" });
        fault["fault"] = answer(&json!({ "variants": strange_variants() }));
        server.fault(fault).await;
        server.running.app.variants.invalidate();
        let query = "query($id: ID!) {
            variants { name fit width height metadata }
            image(id: $id) { renditions { variant width height } }
        }";
        let found = server.ask(ADMIN, query, json!({ "id": image })).await;
        assert_eq!(found["errors"], Value::Null);
        assert_eq!(found["data"]["variants"], json!([
            { "name": "bare", "fit": "SCALE_DOWN", "width": null, "height": null, "metadata": "STRIP" },
            { "name": "plain", "fit": "COVER", "width": 30, "height": 20, "metadata": "KEEP" },
            { "name": "strange", "fit": null, "width": 30, "height": 20, "metadata": null },
        ]));
        assert_eq!(found["data"]["image"]["renditions"], json!([
            { "variant": "bare", "width": 60, "height": 40 },
            { "variant": "plain", "width": 30, "height": 20 },
            { "variant": "strange", "width": null, "height": null },
        ]));
    }
}
