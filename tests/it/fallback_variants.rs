//! Transformations that one image of a page does not support are null or replaced by a variant; an error is for
//! invalid requests only.

use cloudflare_images::wire::{Fit, Variant, VariantOptions};
use image::ImageFormat;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{gif, photo, picture};

async fn switch(server: &Server, on: bool) {
    let switch = "mutation($on: Boolean) { updateCloudflareAccount(input: { flexibleVariants: $on }) { userErrors { code } } }";
    server.query(switch, json!({ "on": on })).await;
}

async fn variant(server: &Server, name: &str, fit: Fit, side: u32) {
    let options = VariantOptions {
        fit: fit.into(),
        width: Some(side),
        height: Some(side),
        ..VariantOptions::default()
    };
    let variant = Variant { id: name.to_owned(), options, never_require_signed_urls: false };
    server.running.app.cloudflare.create_variant(&variant).await.unwrap();
    server.running.app.variants.invalidate();
}

async fn image(server: &Server, name: &str, bytes: Vec<u8>, private: bool) -> Value {
    let input = json!({ "image": { "requireSignedUrls": private } });
    let payload = server.upload_as(ADMIN, input, name, "", bytes).await;
    assert_eq!(payload["userErrors"], json!([]), "{payload:#}");
    payload["file"]["image"]["id"].clone()
}

/// A server with one image of each type that answers depend on.
async fn server_with_all_image_types(database: Database) -> Server {
    let server = Server::start(database).await;
    let vector = b"<svg xmlns='http://www.w3.org/2000/svg' width='30' height='20'/>".to_vec();
    let boundless = b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec();
    for private in [false, true] {
        image(&server, "a.png", picture(200, 100, ImageFormat::Png), private).await;
        image(&server, "thin.png", picture(2000, 1, ImageFormat::Png), private).await;
        image(&server, "high.png", picture(1, 2000, ImageFormat::Png), private).await;
        image(&server, "moving.gif", gif(2), private).await;
        image(&server, "turned.jpg", photo(6), private).await;
        image(&server, "a.svg", vector.clone(), private).await;
        image(&server, "boundless.svg", boundless.clone(), private).await;
    }
    server
}

const PAGE: &str =
    "query($v: String, $t: ImageTransformInput, $s: ImageTransformInput, $w: [Int!]) { images { nodes {
    id width format requireSignedUrls url renditions { url }
    rendition(variant: $v, transform: $t) { variant url width height exact }
    srcSet(widths: $w, transform: $s) { src candidates { variant exact url } } } } }";

both! {
    /// A page with images of every type has no error, whichever transformation is requested for all of them, with
    /// transformations enabled and disabled, and every URL in it works.
    async fn pages_have_no_errors(database: Database) {
        let server = server_with_all_image_types(database).await;
        for on in [true, false] {
            switch(&server, on).await;
            for transform in [
                json!({ "width": 10 }),
                json!({ "width": 50, "height": 50, "fit": "COVER" }),
                json!({ "width": 12000, "fit": "CONTAIN" }),
                json!({ "height": 12000, "fit": "CONTAIN" }),
                json!({ "width": 5000, "dpr": 2, "fit": "CONTAIN" }),
                json!({ "blur": 20 }),
                json!({ "rotate": 90, "height": 12000, "fit": "CONTAIN" }),
                json!({ "metadata": "KEEP" }),
                json!({ "format": "AUTO", "quality": 50 }),
            ] {
                let mut in_set = transform.clone();
                for side in ["width", "height", "dpr", "fit"] {
                    in_set.as_object_mut().unwrap().remove(side);
                }
                for ratio in [None, Some((1, 1)), Some((1, 12000)), Some((12000, 1))] {
                    if let Some((width, height)) = ratio {
                        in_set["width"] = json!(width);
                        in_set["height"] = json!(height);
                    }
                    let set = if in_set == json!({}) { Value::Null } else { in_set.clone() };
                    let variables = json!({ "t": transform, "s": set, "w": [10, 100, 12000] });
                    let answer = server.ask(ADMIN, PAGE, variables.clone()).await;
                    assert!(answer.get("errors").is_none(), "{on} {variables}: {answer:#}");
                    let nodes = answer["data"]["images"]["nodes"].as_array().unwrap();
                    assert_eq!(nodes.len(), 14);
                    for node in nodes {
                        assert!(node["url"].is_string() && node["renditions"].is_array(), "{node:#}");
                        let made = &node["rendition"];
                        let stands_in = made["variant"].is_string();
                        let told = stands_in == (made["exact"] == false) || transform["metadata"] == "KEEP";
                        assert!(made.is_null() || told, "{variables}: {node:#}");
                    }
                }
            }
            // Every URL of one of these pages works.
            let page = server.query(PAGE, json!({ "t": { "width": 10 }, "s": { "width": 1, "height": 1 }, "w": [10, 50] })).await;
            for node in page["images"]["nodes"].as_array().unwrap() {
                let candidates = node["srcSet"]["candidates"].as_array().cloned().unwrap_or_default();
                let urls = candidates.iter().map(|one| one["url"].clone()).chain([node["url"].clone(), node["rendition"]["url"].clone()]);
                for url in urls {
                    let status = server.http.get(url.as_str().unwrap()).send().await.unwrap().status();
                    assert_eq!(status, 200, "{url}");
                }
            }
        }
    }

    /// The smallest variant that shows the whole image and is large enough replaces a transformation, or else the
    /// largest, signed; there is none if the transformation changes more than the size, or if no variant shows the
    /// whole image.
    async fn the_nearest_variant_replaces_a_transformation(database: Database) {
        let server = Server::start(database).await;
        switch(&server, true).await;
        for (name, fit, side) in [("small", Fit::ScaleDown, 40), ("medium", Fit::ScaleDown, 90), ("square", Fit::Cover, 60)] {
            variant(&server, name, fit, side).await;
        }
        let id = image(&server, "a.png", picture(200, 100, ImageFormat::Png), true).await;
        let query = "query($id: ID!, $t: ImageTransformInput) { image(id: $id) { rendition(transform: $t) { variant url width height exact expiresAt } srcSet(transform: $t) { candidates { variant exact } } } }";
        let made = async |transform: Value| server.query(query, json!({ "id": id, "t": transform })).await["image"].clone();
        for (transform, expected) in [
            (json!({ "width": 10 }), "small"),
            (json!({ "width": 40 }), "small"),
            (json!({ "width": 41 }), "medium"),
            (json!({ "width": 30, "height": 30, "fit": "COVER" }), "medium"),
            (json!({ "width": 60, "dpr": 3 }), "public"),
            (json!({ "width": 5000 }), "public"),
            (json!({ "width": 5000, "fit": "CONTAIN" }), "public"),
            (json!({ "format": "WEBP" }), "public"),
        ] {
            let one = "query($id: ID!, $t: ImageTransformInput) { image(id: $id) { rendition(transform: $t) { variant url width height exact expiresAt } } }";
            let image = server.query(one, json!({ "id": id, "t": transform })).await["image"].clone();
            let rendition = &image["rendition"];
            assert_eq!((&rendition["variant"], &rendition["exact"]), (&json!(expected), &json!(false)), "{transform}");
            assert!(rendition["url"].as_str().unwrap().contains("sig=") && rendition["expiresAt"].is_string());
            let bytes = server.http.get(rendition["url"].as_str().unwrap()).send().await.unwrap().bytes().await.unwrap();
            let pixels = image::load_from_memory(&bytes).unwrap();
            assert_eq!((json!(pixels.width()), json!(pixels.height())), (rendition["width"].clone(), rendition["height"].clone()), "{transform}");
        }
        for transform in [json!({ "blur": 9 }), json!({ "rotate": 90 }), json!({ "flip": "BOTH" }), json!({ "brightness": 0.5 }), json!({ "animated": false })] {
            let image = made(transform.clone()).await;
            assert_eq!((&image["rendition"], &image["srcSet"]), (&Value::Null, &Value::Null), "{transform}");
        }
        let image = made(json!({ "quality": 9 })).await;
        assert!(image["srcSet"]["candidates"].as_array().unwrap().iter().all(|one| one["exact"] == false && one["variant"].is_string()), "{image:#}");
        // A srcset without a transformation.
        let plain = server.query("query($id: ID!) { image(id: $id) { srcSet { candidates { exact } } } }", json!({ "id": id })).await;
        assert_eq!(plain["image"]["srcSet"]["candidates"][0]["exact"], true);
        // All variants crop, so none shows the whole image.
        for name in ["small", "medium"] {
            server.running.app.cloudflare.delete_variant(name).await.unwrap();
        }
        let cut = "mutation { updateVariant(input: { name: \"public\", fit: COVER, width: 50, height: 50 }) { userErrors { code } } }";
        server.query(cut, json!({})).await;
        assert_eq!(made(json!({ "format": "WEBP" })).await["rendition"], Value::Null);
    }

    /// An invalid request is an error for every image.
    async fn invalid_transformations_are_refused(database: Database) {
        let server = Server::start(database).await;
        for private in [true, false] {
            let id = image(&server, "a.png", picture(20, 10, ImageFormat::Png), private).await;
            let query = "query($id: ID!, $v: String, $t: ImageTransformInput) { image(id: $id) { rendition(variant: $v, transform: $t) { url } } }";
            for (variables, field) in [
                (json!({ "v": "nope" }), json!(["variant"])),
                (json!({}), json!(["variant"])),
                (json!({ "v": "public", "t": { "width": 1 } }), json!(["transform"])),
                (json!({ "t": { "width": 0 } }), json!(["transform", "width"])),
                (json!({ "t": { "quality": 101 } }), json!(["transform", "quality"])),
                (json!({ "t": {} }), json!(["transform"])),
                (json!({ "t": { "width": 12000, "height": 12000, "fit": "PAD" } }), json!(["transform", "width"])),
            ] {
                let mut all = variables.clone();
                all["id"] = id.clone();
                let answer = server.ask(ADMIN, query, all).await;
                let extensions = &answer["errors"][0]["extensions"];
                assert_eq!((&extensions["code"], &extensions["field"]), (&json!("BAD_USER_INPUT"), &field), "{variables}: {answer:#}");
            }
        }
    }
}
