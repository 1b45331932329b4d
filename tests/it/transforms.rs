//! Transformations by URL and srcset: predicted sizes are delivered, options are validated, private images use
//! variants.

use std::io::Cursor;

use cloudflare_images::wire::{Fit, Variant, VariantOptions};
use image::{ImageFormat, ImageReader};
use serde_json::{Map, Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{gif, photo, picture};

/// Enables or disables flexible variants as an admin.
async fn switch(server: &Server, on: bool) {
    let switch = "mutation($on: Boolean) { updateCloudflareAccount(input: { flexibleVariants: $on }) { cloudflareAccount { flexibleVariants } userErrors { code } } }";
    let done = server.query(switch, json!({ "on": on })).await;
    assert_eq!(done["updateCloudflareAccount"]["cloudflareAccount"]["flexibleVariants"], on);
}

async fn flexible(database: Database) -> Server {
    let server = Server::start(database).await;
    switch(&server, true).await;
    server
}

async fn image(server: &Server, name: &str, bytes: Vec<u8>, settings: Value) -> Value {
    let payload = server.upload_as(ADMIN, json!({ "image": settings }), name, "", bytes).await;
    assert_eq!(payload["userErrors"], json!([]), "{payload:#}");
    payload["file"]["image"]["id"].clone()
}

const RENDITION: &str = "query($id: ID!, $t: ImageTransformInput, $v: String) { image(id: $id) {
    rendition(transform: $t, variant: $v) { variant url width height expiresAt exact } } }";

const SRCSET: &str = "query($id: ID!, $w: [Int!], $s: String, $t: ImageTransformInput) { image(id: $id) {
    srcSet(widths: $w, sizes: $s, transform: $t) { src srcset sizes width height candidates { variant url width height expiresAt exact } } } }";

async fn rendition(server: &Server, id: &Value, transform: &Value) -> Value {
    let found = server.query(RENDITION, json!({ "id": id, "t": transform })).await;
    found["image"]["rendition"].clone()
}

async fn src_set(server: &Server, id: &Value, variables: Value) -> Value {
    let mut all = variables;
    all["id"] = id.clone();
    server.query(SRCSET, all).await["image"]["srcSet"].clone()
}

/// Code and field of the first error.
async fn refused(server: &Server, query: &str, variables: Value) -> (String, Value) {
    let answer = server.ask(ADMIN, query, variables).await;
    let extensions = &answer["errors"][0]["extensions"];
    (
        extensions["code"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned(),
        extensions["field"].clone(),
    )
}

/// Decodes the image at a URL.
async fn delivered(server: &Server, url: &Value) -> image::DynamicImage {
    let request = server.http.get(url.as_str().unwrap()).header("accept", "image/png");
    let response = request.send().await.unwrap();
    let (status, bytes) = (response.status(), response.bytes().await.unwrap());
    assert_eq!(status, 200, "{url}: {}", String::from_utf8_lossy(&bytes));
    ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().decode().unwrap()
}

/// A small random number generator, so that a failure can be reproduced from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn maybe(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A length between 1 pixel and more than any source has.
    fn side(&mut self) -> u64 {
        let most = self.one(&[12, 60, 150, 320]);
        1 + self.below(most)
    }

    fn transform(&mut self) -> Value {
        let mut transform = Map::new();
        let mut put = |name: &str, value: Value| drop(transform.insert(name.to_owned(), value));
        let (wide, high) = self.one(&[(true, true), (true, true), (true, false), (false, true)]);
        if wide {
            put("width", json!(self.side()));
        }
        if high {
            put("height", json!(self.side()));
        }
        let fit = self.one(&["SCALE_DOWN", "CONTAIN", "COVER", "CROP", "ASPECT_CROP", "PAD", "SQUEEZE"]);
        put("fit", json!(fit));
        if self.maybe() {
            put("dpr", json!(self.one(&[1.0, 1.5, 2.0, 1.25, 3.0])));
        }
        if self.maybe() {
            put("rotate", json!(self.one(&[90, 180, 270])));
        }
        if self.below(4) == 0 {
            put("flip", json!(self.one(&["HORIZONTAL", "VERTICAL", "BOTH"])));
        }
        if wide && high && matches!(fit, "COVER" | "CROP" | "ASPECT_CROP") && self.maybe() {
            put("gravity", json!(self.one(&["AUTO", "LEFT", "RIGHT", "TOP", "BOTTOM", "CENTER"])));
        }
        if self.below(4) == 0 {
            put("background", json!(self.one(&["#f80", "rgb(1 2 3)", "teal"])));
        }
        if self.below(6) == 0 {
            put("quality", json!(1 + self.below(100)));
        }
        Value::Object(transform)
    }
}

const PAIRS: usize = 500;

/// For 500 random pairs of transformation and source, the predicted size is that of the delivered pixels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_sizes_are_those_of_the_pixels() {
    let server = flexible(Database::Sqlite).await;
    let seed = std::env::var("TRANSFORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    println!("TRANSFORM_SEED={seed}");
    let mut dice = Random(seed);
    let mut sources = vec![
        ("turned", image(&server, "turned.jpg", photo(6), json!({})).await),
        ("mirrored", image(&server, "mirrored.jpg", photo(5), json!({})).await),
        ("moving", image(&server, "moving.gif", gif(2), json!({})).await),
        ("thin", image(&server, "thin.png", picture(257, 1, ImageFormat::Png), json!({})).await),
        ("dot", image(&server, "dot.png", picture(1, 1, ImageFormat::Png), json!({})).await),
    ];
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        for _ in 0..4 {
            let (width, height) = (dice.side() as u32, dice.side() as u32);
            let focal = json!({ "focalPoint": { "x": 0.25, "y": 0.7 } });
            sources.push(("random", image(&server, "random", picture(width, height, format), focal).await));
        }
    }
    let mut pair = 0;
    while pair < PAIRS {
        let (name, id) = &sources[usize::try_from(dice.below(sources.len() as u64)).unwrap()];
        let transform = dice.transform();
        let answer = server.ask(ADMIN, RENDITION, json!({ "id": id, "t": transform })).await;
        let told = answer["data"]["image"]["rendition"].clone();
        if told.is_null() {
            // If the thin source is enlarged and flipped or rotated, no variant can replace the transformation.
            assert_eq!(
                (*name, answer.get("errors")),
                ("thin", None),
                "TRANSFORM_SEED={seed}: {transform}: {answer}"
            );
            continue;
        }
        if told["exact"] == false {
            // If the thin source is enlarged, the largest variant replaces the transformation.
            assert_eq!(
                (*name, &told["variant"]),
                ("thin", &json!("public")),
                "TRANSFORM_SEED={seed}: {transform}"
            );
            continue;
        }
        pair += 1;
        let pixels = delivered(&server, &told["url"]).await;
        let size = (json!(pixels.width()), json!(pixels.height()));
        assert_eq!(
            (told["width"].clone(), told["height"].clone()),
            size,
            "pair {pair} of TRANSFORM_SEED={seed}: {transform} of {name}, {}",
            told["url"]
        );
    }
}

both! {
    /// Equal transformations have equal URLs, with the options in one order and the device pixel ratio multiplied in.
    async fn a_transformation_has_one_spelling(database: Database) {
        let server = flexible(database).await;
        let id = image(&server, "a.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        for (transform, options, size) in [
            (json!({ "width": 50 }), "w=50", (50, 25)),
            (json!({ "dpr": 2.0, "width": 50 }), "w=100", (100, 50)),
            (json!({ "fit": "SQUEEZE", "height": 30, "width": 20 }), "w=20,h=30,fit=squeeze", (20, 30)),
            (json!({ "fit": "ASPECT_CROP", "height": 400, "width": 400, "gravity": "LEFT" }), "w=400,h=400,fit=aspect-crop,gravity=left", (100, 100)),
            (json!({ "width": 40, "height": 40, "fit": "COVER", "focalPoint": { "x": 0.123456, "y": 1 } }), "w=40,h=40,fit=cover,gravity=0.1235x1", (40, 40)),
            (json!({ "width": 40, "height": 40, "fit": "PAD", "background": "#FFF" }), "w=40,h=40,fit=pad,background=%23fff", (40, 40)),
            (json!({ "rotate": 90, "flip": "BOTH", "width": 50 }), "w=50,flip=hv,rotate=90", (50, 100)),
            (json!({ "quality": 60, "format": "WEBP", "animated": false, "metadata": "STRIP" }), "anim=false,metadata=none,quality=60,format=webp", (200, 100)),
            (json!({ "blur": 5, "sharpen": 0.5, "brightness": 1.2, "contrast": 0.9, "gamma": 1.0, "saturation": 0 }), "blur=5,sharpen=0.5,brightness=1.2,contrast=0.9,gamma=1,saturation=0", (200, 100)),
        ] {
            let told = rendition(&server, &id, &transform).await;
            let url = told["url"].as_str().unwrap();
            assert_eq!(url.rsplit('/').next().unwrap(), options, "{transform}");
            assert_eq!((&told["variant"], &told["expiresAt"]), (&Value::Null, &Value::Null));
            assert_eq!((told["width"].clone(), told["height"].clone()), (json!(size.0), json!(size.1)), "{transform}");
            let pixels = delivered(&server, &told["url"]).await;
            assert_eq!((pixels.width(), pixels.height()), size, "{transform}");
        }
        let svg = br#"<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><rect width="9" height="9"/></svg>"#;
        let id = image(&server, "a.svg", svg.to_vec(), json!({})).await;
        let told = rendition(&server, &id, &json!({ "width": 300, "format": "WEBP" })).await;
        assert_eq!((&told["width"], &told["height"], &told["variant"]), (&json!(30), &json!(20), &json!("public")));
        let set = src_set(&server, &id, json!({})).await;
        let url = set["src"].as_str().unwrap();
        assert!(url.ends_with("/public"), "{url}");
        assert_eq!(set["srcset"], format!("{url} 30w"));
    }

    /// A crop keeps the image's focal point in view, where flipping and rotating have moved it; an explicit gravity
    /// takes precedence.
    async fn crops_keep_the_focal_point(database: Database) {
        let server = flexible(database).await;
        // Red on the left, blue on the right.
        let wide = picture(200, 100, ImageFormat::Png);
        let left = image(&server, "a.png", wide.clone(), json!({ "focalPoint": { "x": 0, "y": 0.5 } })).await;
        let right = image(&server, "b.png", wide, json!({ "focalPoint": { "x": 1, "y": 0.5 } })).await;
        for (id, more, red) in [
            (&left, json!({}), true),
            (&right, json!({}), false),
            (&left, json!({ "flip": "HORIZONTAL" }), true),
            (&right, json!({ "flip": "BOTH" }), false),
            (&left, json!({ "rotate": 90 }), true),
            (&right, json!({ "rotate": 90 }), false),
            (&left, json!({ "rotate": 180 }), true),
            (&right, json!({ "rotate": 270 }), false),
            (&left, json!({ "rotate": 270, "flip": "HORIZONTAL" }), true),
            (&left, json!({ "gravity": "RIGHT" }), false),
            (&left, json!({ "focalPoint": { "x": 1, "y": 0.5 } }), false),
        ] {
            for fit in ["COVER", "CROP", "ASPECT_CROP"] {
                let mut transform = json!({ "width": 40, "height": 40, "fit": fit });
                for (name, value) in more.as_object().unwrap() {
                    transform[name] = value.clone();
                }
                let told = rendition(&server, id, &transform).await;
                let pixels = delivered(&server, &told["url"]).await.to_rgb8();
                let pixel = pixels.get_pixel(20, 20);
                assert_eq!(pixel[0] > pixel[2], red, "{transform}: {pixel:?} {}", told["url"]);
            }
        }
        let told = rendition(&server, &left, &json!({ "width": 40, "height": 40, "fit": "PAD" })).await;
        assert!(!told["url"].as_str().unwrap().contains("gravity"), "nothing is cropped");
    }

    /// Options that are out of range or have no effect are refused with their field.
    async fn options_are_refused_by_name(database: Database) {
        let server = flexible(database).await;
        let id = image(&server, "a.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        for (transform, field) in [
            (json!({}), json!(["transform"])),
            (json!({ "width": 0 }), json!(["transform", "width"])),
            (json!({ "width": 12001 }), json!(["transform", "width"])),
            (json!({ "height": -1 }), json!(["transform", "height"])),
            (json!({ "width": 7000, "dpr": 2 }), json!(["transform", "dpr"])),
            (json!({ "width": 10, "dpr": 0.5 }), json!(["transform", "dpr"])),
            (json!({ "width": 10, "dpr": 4.1 }), json!(["transform", "dpr"])),
            (json!({ "dpr": 2 }), json!(["transform", "dpr"])),
            (json!({ "fit": "COVER" }), json!(["transform", "fit"])),
            (json!({ "width": 10, "gravity": "LEFT" }), json!(["transform", "gravity"])),
            (json!({ "width": 10, "fit": "COVER", "gravity": "LEFT" }), json!(["transform", "gravity"])),
            (json!({ "width": 10, "height": 10, "fit": "PAD", "focalPoint": { "x": 0, "y": 0 } }), json!(["transform", "focalPoint"])),
            (json!({ "width": 10, "height": 10, "fit": "COVER", "focalPoint": { "x": 1.5, "y": 0 } }), json!(["transform", "focalPoint", "x"])),
            (json!({ "width": 10, "quality": 101 }), json!(["transform", "quality"])),
            (json!({ "quality": 0 }), json!(["transform", "quality"])),
            (json!({ "background": "url(x)" }), json!(["transform", "background"])),
            (json!({ "blur": 251 }), json!(["transform", "blur"])),
            (json!({ "sharpen": 10.5 }), json!(["transform", "sharpen"])),
            (json!({ "brightness": 0 }), json!(["transform", "brightness"])),
            (json!({ "contrast": -1 }), json!(["transform", "contrast"])),
            (json!({ "gamma": 1000 }), json!(["transform", "gamma"])),
            (json!({ "saturation": -0.1 }), json!(["transform", "saturation"])),
            (json!({ "rotate": 45 }), json!(["transform", "rotate"])),
            (json!({ "zoom": 2 }), json!(["transform", "zoom"])),
            (json!({ "zoom": 0.5 }), json!(["transform", "zoom"])),
            (json!({ "width": 12000, "height": 12000, "fit": "SQUEEZE" }), json!(["transform", "width"])),
        ] {
            let told = refused(&server, RENDITION, json!({ "id": id, "t": transform })).await;
            assert_eq!(told, ("BAD_USER_INPUT".to_owned(), field), "{transform}");
        }
        for (variables, field) in [
            (json!({ "id": id }), json!(["variant"])),
            (json!({ "id": id, "v": "public", "t": { "width": 10 } }), json!(["transform"])),
            (json!({ "id": id, "v": "nope" }), json!(["variant"])),
        ] {
            let told = refused(&server, RENDITION, variables.clone()).await;
            assert_eq!(told, ("BAD_USER_INPUT".to_owned(), field), "{variables}");
        }
        for (variables, field) in [
            (json!({ "w": [] }), json!(["widths"])),
            (json!({ "w": [0] }), json!(["widths"])),
            (json!({ "w": [12001] }), json!(["widths"])),
            (json!({ "w": vec![10; 13] }), json!(["widths"])),
            (json!({ "s": "\" onload=" }), json!(["sizes"])),
            (json!({ "s": "50vw\n" }), json!(["sizes"])),
            (json!({ "s": "" }), json!(["sizes"])),
            (json!({ "s": "1".repeat(501) }), json!(["sizes"])),
            (json!({ "t": { "dpr": 2 } }), json!(["transform", "dpr"])),
            (json!({ "t": { "width": 2 } }), json!(["transform", "width"])),
            (json!({ "t": { "width": 2, "height": 0 } }), json!(["transform", "height"])),
            (json!({ "t": { "quality": 0 } }), json!(["transform", "quality"])),
        ] {
            let mut all = variables.clone();
            all["id"] = id.clone();
            let told = refused(&server, SRCSET, all).await;
            assert_eq!(told, ("BAD_USER_INPUT".to_owned(), field), "{variables}");
        }
        let late = "query($id: ID!) { image(id: $id) { srcSet(expiresIn: 59) { src } } }";
        assert_eq!(refused(&server, late, json!({ "id": id })).await.1, json!(["expiresIn"]));
        for fit in ["ASPECT_CROP", "SQUEEZE"] {
            for mutation in [
                "mutation($fit: TransformFit) { made: createVariant(input: { name: \"v\", width: 1, height: 1, fit: $fit }) { userErrors { code field } } }",
                "mutation($fit: TransformFit) { made: updateVariant(input: { name: \"public\", fit: $fit }) { userErrors { code field } } }",
            ] {
                let refused = server.query(mutation, json!({ "fit": fit })).await;
                assert_eq!(refused["made"]["userErrors"], json!([{ "code": "INVALID_INPUT", "field": ["input", "fit"] }]));
            }
        }
    }

    /// While flexible variants are disabled, a variant replaces a transformation; enabling them takes effect at once.
    async fn disabled_flexible_variants(database: Database) {
        let server = Server::start(database).await;
        let id = image(&server, "a.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        let on = "{ server { flexibleVariants } }";
        assert_eq!(server.query(on, json!({})).await["server"]["flexibleVariants"], false);
        let asked = json!({ "id": id, "t": { "width": 10 } });
        let stands_in = |made: &Value| {
            assert_eq!((&made["variant"], &made["exact"], &made["width"]), (&json!("public"), &json!(false), &json!(200)));
        };
        stands_in(&server.query(RENDITION, asked.clone()).await["image"]["rendition"]);
        let set = src_set(&server, &id, json!({ "t": { "quality": 10 } })).await;
        stands_in(&set["candidates"][0]);
        switch(&server, true).await;
        assert_eq!(server.query(on, json!({})).await["server"]["flexibleVariants"], true);
        let made = server.query(RENDITION, asked.clone()).await["image"]["rendition"].clone();
        assert_eq!((&made["width"], &made["exact"]), (&json!(10), &json!(true)));
        switch(&server, false).await;
        stands_in(&server.query(RENDITION, asked).await["image"]["rendition"]);
    }

    /// If the account does not reveal whether flexible variants are enabled, they count as disabled; an outage
    /// affects only what depends on it; with the setting the account is not asked.
    async fn unknown_flexible_variants(database: Database) {
        let server = flexible(database).await;
        let id = image(&server, "a.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        let app = &server.running.app;
        let asked = json!({ "id": id, "t": { "width": 10 } });
        server.fault(json!({ "call": "config.get", "fault": { "kind": "status", "status": 404, "code": 7003, "message": "No route for that URI" } })).await;
        app.flexible_variants.invalidate();
        assert_eq!(server.query(RENDITION, asked.clone()).await["image"]["rendition"]["exact"], false);
        let credentials = std::fs::read_to_string(server.dir.path().join("emulator/credentials.json")).unwrap();
        let credentials: Value = serde_json::from_str(&credentials).unwrap();
        let told = Server::start_with(database, |config| {
            let settings = &app.cloudflare.settings;
            config.cloudflare_account_id = Some(settings.account_id.clone());
            config.cloudflare_api_token = credentials["api_token"].as_str().map(str::to_owned);
            config.cloudflare_base_url = settings.api.clone();
            config.cloudflare_batch_url = settings.batch.clone();
            config.cloudflare_upload_url = settings.upload.clone();
            config.cloudflare_delivery_url = settings.delivery.clone();
            config.cloudflare_flexible_variants = Some(true);
        })
        .await;
        let id = image(&told, "b.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        let made = rendition(&told, &id, &json!({ "width": 10 })).await;
        assert_eq!(delivered(&told, &made["url"]).await.width(), 10);
        server.remove_faults().await;

        let down = Server::start_with(database, |config| config.cloudflare_timeout = std::time::Duration::from_millis(300)).await;
        let id = image(&down, "c.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        down.fault(json!({ "call": "config.get", "fault": { "kind": "status", "status": 500 } })).await;
        let query = "query($id: ID!) { server { version flexibleVariants } image(id: $id) { url srcSet { src } rendition(variant: \"public\") { url } } }";
        let answer = down.ask(ADMIN, query, json!({ "id": id })).await;
        assert_eq!((&answer["data"]["server"]["flexibleVariants"], &answer["data"]["image"]["srcSet"]), (&Value::Null, &Value::Null));
        assert!(answer["data"]["image"]["url"].is_string() && answer["data"]["image"]["rendition"]["url"].is_string());
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UPSTREAM_ERROR");
        assert_eq!(answer["errors"].as_array().unwrap().len(), 2, "{answer:#}");
    }

    /// A srcset has each width once, ascending, none above the original, and the descriptors are the delivered
    /// widths.
    async fn a_srcset_has_exact_widths(database: Database) {
        let server = flexible(database).await;
        let id = image(&server, "a.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        let turned = image(&server, "b.jpg", photo(6), json!({})).await;
        for (id, variables, widths, src) in [
            (&id, json!({ "w": [150, 50, 150, 201, 200, 100] }), vec![(50, 25), (100, 50), (150, 75), (200, 100)], (200, 100)),
            (&id, json!({}), vec![(200, 100)], (200, 100)),
            (&id, json!({ "w": [1000], "s": "(min-width: 60em) calc(33vw - 1px), 100vw" }), vec![(200, 100)], (200, 100)),
            (&id, json!({ "w": [50, 100], "t": { "width": 1, "height": 1 } }), vec![(50, 50), (100, 100)], (100, 100)),
            (&id, json!({ "w": [50, 100], "t": { "width": 100, "height": 100, "fit": "SCALE_DOWN" } }), vec![(50, 25), (100, 50)], (100, 50)),
            (&id, json!({ "w": [50, 120], "t": { "rotate": 90 } }), vec![(50, 100)], (50, 100)),
            (&turned, json!({ "w": [20, 40, 60] }), vec![(20, 30), (40, 60)], (40, 60)),
        ] {
            let set = src_set(&server, id, variables.clone()).await;
            let mut attribute = Vec::new();
            for (candidate, (width, height)) in set["candidates"].as_array().unwrap().iter().zip(&widths) {
                let pixels = delivered(&server, &candidate["url"]).await;
                assert_eq!((pixels.width(), pixels.height()), (*width, *height), "{variables}");
                assert_eq!((&candidate["width"], &candidate["height"]), (&json!(width), &json!(height)));
                attribute.push(format!("{} {width}w", candidate["url"].as_str().unwrap()));
            }
            assert_eq!(set["srcset"], attribute.join(", "), "{variables}");
            assert_eq!(attribute.len(), widths.len(), "{variables}");
            assert_eq!((&set["width"], &set["height"]), (&json!(src.0), &json!(src.1)), "{variables}");
            assert_eq!(set["sizes"], variables.get("s").cloned().unwrap_or(json!("100vw")));
        }
        // The widest candidate is at most what a browser without srcset support should load.
        let large = image(&server, "c.jpg", picture(2000, 20, ImageFormat::Jpeg), json!({})).await;
        let set = src_set(&server, &large, json!({})).await;
        assert_eq!((&set["width"], set["candidates"].as_array().unwrap().len()), (&json!(1280), 5));
    }

    /// A private image has no transformations; its srcset consists of the signed URLs of the named variants that show
    /// all of it.
    async fn a_private_srcset_is_made_of_named_variants(database: Database) {
        let server = flexible(database).await;
        for (name, fit, width, height, never) in [
            ("small", Fit::ScaleDown, Some(40), Some(40), false),
            ("medium", Fit::ScaleDown, Some(90), Some(900), false),
            ("twin", Fit::Contain, Some(90), None, false),
            ("open", Fit::Cover, Some(150), None, true),
            ("square", Fit::Cover, Some(70), Some(70), false),
            ("padded", Fit::Pad, Some(110), Some(110), false),
            ("huge", Fit::Contain, Some(900), Some(900), false),
        ] {
            let options = VariantOptions { fit: fit.into(), width, height, ..VariantOptions::default() };
            let variant = Variant { id: name.to_owned(), options, never_require_signed_urls: never };
            server.running.app.cloudflare.create_variant(&variant).await.unwrap();
        }
        server.running.app.variants.invalidate();
        let private = json!({ "requireSignedUrls": true });
        let id = image(&server, "a.png", picture(200, 100, ImageFormat::Png), private).await;
        for (widths, expected) in [
            (json!([30, 60, 100, 180, 5000]), vec![("small", 40), ("medium", 90), ("open", 150), ("public", 200)]),
            (json!([10, 20, 30]), vec![("small", 40)]),
            (json!([90, 91]), vec![("medium", 90), ("open", 150)]),
        ] {
            let set = src_set(&server, &id, json!({ "w": widths })).await;
            let candidates = set["candidates"].as_array().unwrap();
            let told: Vec<_> = candidates.iter().map(|one| (one["variant"].as_str().unwrap(), one["width"].as_u64().unwrap())).collect();
            assert_eq!(told, expected, "{widths}");
            for candidate in candidates {
                let open = candidate["variant"] == "open";
                assert_eq!(candidate["expiresAt"].is_null(), open);
                assert_eq!(!candidate["url"].as_str().unwrap().contains("sig="), open);
                let pixels = delivered(&server, &candidate["url"]).await;
                assert_eq!((json!(pixels.width()), json!(pixels.height())), (candidate["width"].clone(), candidate["height"].clone()));
            }
            assert_eq!(set, src_set(&server, &id, json!({ "w": widths })).await);
        }
        // The same where flexible variants are disabled in the account.
        switch(&server, false).await;
        let id = image(&server, "b.png", picture(200, 100, ImageFormat::Png), json!({})).await;
        let set = src_set(&server, &id, json!({ "w": [40, 80] })).await;
        assert_eq!((&set["candidates"][0]["variant"], &set["candidates"][1]["variant"]), (&json!("small"), &json!("medium")));
    }
}
