//! The emulator against Cloudflare's descriptions of its API, as plain HTTP: what a client that is not ours may send.

use cloudflare_images_emulator::{self as emulator, Emulator};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Account;
use crate::harness::http;
use crate::pictures::{photo, png};

impl Account {
    fn api(&self, path: &str) -> String {
        format!("{}/client/v4/accounts/{}/images{path}", self.root, self.client.settings.account_id)
    }

    /// A call of the API that is not answered yet.
    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        http().request(method, self.api(path)).bearer_auth(&self.emulator.credentials().api_token)
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        said(self.request(method, path).json(&body)).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = said(self.request("GET", path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body["result"].clone()
    }

    /// Rows of images that nobody uploaded, for lists.
    async fn fill(&self, images: u32) {
        let path = self.dir.path().join("emulator.sqlite");
        let db = Database::connect(format!("sqlite://{}", path.display())).await.unwrap();
        let rows = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {images})
             INSERT INTO image (id, uploaded_ms, require_signed_urls, blob, format, size, width, height, frames)
             SELECT printf('row%05d', i), i, 0, printf('blob%05d', i), 'png', 1, 1, 1, 1 FROM n"
        );
        db.execute_unprepared(&rows).await.unwrap();
    }
}

async fn said(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn ids(page: &Value) -> Vec<&str> {
    page["images"].as_array().unwrap().iter().map(|image| image["id"].as_str().unwrap()).collect()
}

/// Status, number and pointer of a refusal.
fn refusal((status, body): &(u16, Value)) -> (u16, u64, &str) {
    let error = &body["errors"][0];
    (*status, error["code"].as_u64().unwrap(), error["source"]["pointer"].as_str().unwrap_or_default())
}

fn file_part(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("a.png")
}

/// A variant's `PATCH` is a merge: what it does not name stays, and null takes an option back to its default.
#[tokio::test]
async fn a_variant_keeps_what_a_patch_leaves_out() {
    let account = Account::open().await;
    let full = json!({ "fit": "cover", "width": 300, "height": 200, "metadata": "keep", "browser_ttl": 7200, "blur": 5 });
    let with = |changes: &[(&str, Value)]| {
        let mut options = full.clone();
        for (name, value) in changes {
            options[*name] = value.clone();
            if value.is_null() {
                options.as_object_mut().unwrap().remove(*name);
            }
        }
        options
    };
    let cases = [
        (
            json!({ "options": { "width": 350, "height": 350 } }),
            with(&[("width", json!(350)), ("height", json!(350))]),
            true,
        ),
        (json!({ "options": { "width": 1 } }), with(&[("width", json!(1))]), true),
        (json!({ "options": { "height": 9999 } }), with(&[("height", json!(9999))]), true),
        (json!({ "options": { "fit": "pad" } }), with(&[("fit", json!("pad"))]), true),
        (json!({ "options": { "metadata": "none" } }), with(&[("metadata", json!("none"))]), true),
        (json!({ "options": { "browser_ttl": 3600 } }), with(&[("browser_ttl", json!(3600))]), true),
        (json!({ "options": { "blur": 250 } }), with(&[("blur", json!(250))]), true),
        (json!({ "options": { "width": 350.0 } }), with(&[("width", json!(350))]), true),
        (json!({ "options": {}, "neverRequireSignedURLs": false }), full.clone(), false),
        (json!({ "neverRequireSignedURLs": false }), full.clone(), false),
        (json!({}), full.clone(), true),
        (json!({ "options": {} }), full.clone(), true),
        (json!({ "options": null, "neverRequireSignedURLs": null }), full.clone(), true),
        (json!({ "options": { "width": null } }), with(&[("width", Value::Null)]), true),
        (
            json!({ "options": { "height": null, "blur": null, "browser_ttl": null } }),
            with(&[("height", Value::Null), ("blur", Value::Null), ("browser_ttl", Value::Null)]),
            true,
        ),
        (
            json!({ "options": { "fit": null, "metadata": null } }),
            with(&[("fit", json!("scale-down")), ("metadata", json!("none"))]),
            true,
        ),
    ];
    for (i, (edit, options, never)) in cases.into_iter().enumerate() {
        let id = format!("v{i}");
        let made = json!({ "id": id, "options": full, "neverRequireSignedURLs": true });
        assert_eq!(account.json("POST", "/v1/variants", made).await.0, 200);
        let (status, edited) = account.json("PATCH", &format!("/v1/variants/{id}"), edit.clone()).await;
        assert_eq!(status, 200, "{edit}: {edited}");
        let expected = json!({ "id": id, "options": options, "neverRequireSignedURLs": never });
        assert_eq!(edited["result"]["variant"], expected, "{edit}");
        assert_eq!(account.get(&format!("/v1/variants/{id}")).await["variant"], expected, "{edit}");
        assert_eq!(account.get("/v1/variants").await["variants"][&id], expected, "{edit}");
    }
}

/// A bad edit of a variant says which option it is about, and changes nothing.
#[tokio::test]
async fn a_bad_patch_of_a_variant_changes_nothing() {
    let account = Account::open().await;
    let before = account.get("/v1/variants").await;
    for (edit, pointer) in [
        (json!({ "options": { "width": 0 } }), "/options/width"),
        (json!({ "options": { "height": 10_000, "fit": "cover" } }), "/options/height"),
        (json!({ "options": { "fit": "squeeze" } }), "/options/fit"),
        (json!({ "options": { "metadata": "all" } }), "/options/metadata"),
        (json!({ "options": { "browser_ttl": 1 } }), "/options/browser_ttl"),
        (json!({ "options": { "blur": 251 } }), "/options/blur"),
        (json!({ "options": { "sharpen": 3 } }), "/options/sharpen"),
        (json!({ "options": { "a/b~c": null } }), "/options/a~1b~0c"),
        (json!({ "options": { "width": "350" } }), "/options"),
        (json!({ "options": { "width": 350.5 } }), "/options"),
        (json!({ "options": { "width": -1 } }), "/options"),
        (json!({ "options": [] }), ""),
        (json!({ "neverRequireSignedURLs": "yes" }), ""),
        (json!("options"), ""),
    ] {
        let refused = account.json("PATCH", "/v1/variants/public", edit.clone()).await;
        assert_eq!(refusal(&refused), (400, 5400, pointer), "{edit}: {}", refused.1);
    }
    let nothing = said(account.request("PATCH", "/v1/variants/public")).await;
    assert_eq!(refusal(&nothing), (400, 5400, ""));
    let unknown = account.json("PATCH", "/v1/variants/nothing", json!({ "options": { "width": 1 } })).await;
    assert_eq!(refusal(&unknown), (404, 5401, ""));
    assert_eq!(account.get("/v1/variants").await, before);
}

/// The other edits: an image's metadata is replaced whole, everything left out or null stays; so it is with settings.
#[tokio::test]
async fn edits_leave_what_they_do_not_name() {
    let account = Account::open().await;
    let form = Form::new()
        .part("file", file_part(png(1)))
        .text("metadata", r#"{"a":1,"b":2}"#)
        .text("creator", "me");
    let (_, made) = said(account.request("POST", "/v1").multipart(form)).await;
    let path = format!("/v1/{}", made["result"]["id"].as_str().unwrap());
    for (edit, meta, creator) in [
        (json!({}), json!({ "a": 1, "b": 2 }), json!("me")),
        (
            json!({ "metadata": null, "creator": null, "requireSignedURLs": null }),
            json!({ "a": 1, "b": 2 }),
            json!("me"),
        ),
        (json!({ "creator": "you" }), json!({ "a": 1, "b": 2 }), json!("you")),
        (json!({ "metadata": { "b": { "c": [null] } } }), json!({ "b": { "c": [null] } }), json!("you")),
        (json!({ "metadata": {} }), json!({}), json!("you")),
    ] {
        let (status, edited) = account.json("PATCH", &path, edit.clone()).await;
        assert_eq!(
            (status, &edited["result"]["meta"], &edited["result"]["creator"]),
            (200, &meta, &creator),
            "{edit}"
        );
    }
    let form = Form::new().text("creator", "form");
    let (_, edited) = said(account.request("PATCH", &path).multipart(form)).await;
    assert_eq!((&edited["result"]["meta"], &edited["result"]["creator"]), (&json!({}), &json!("form")));
    for (edit, flexible, ttl) in [
        (json!({}), false, 172_800),
        (json!({ "flexible_variants": true }), true, 172_800),
        (json!({ "browser_ttl": 3600, "flexible_variants": null }), true, 3600),
    ] {
        let (status, config) = account.json("PATCH", "/v1/config", edit.clone()).await;
        assert_eq!(status, 200, "{edit}");
        assert_eq!(
            (&config["result"]["flexible_variants"], &config["result"]["browser_ttl"]),
            (&json!(flexible), &json!(ttl)),
            "{edit}"
        );
    }
}

/// v2 gives a thousand images a page and ten thousand in all, by token and, as its older description has it, by number.
#[tokio::test]
async fn the_second_list_has_an_end() {
    let account = Account::open().await;
    account.fill(10_500).await;
    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = account.get(&format!("/v2?continuation_token={token}")).await;
        found.extend(ids(&page).into_iter().map(str::to_owned));
        pages += 1;
        assert!(pages <= 10, "{} images", found.len());
        match page["continuation_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((pages, found.len()), (10, 10_000));
    assert_eq!((found[0].as_str(), found[9_999].as_str()), ("row10500", "row00501"));
    // The last page of a size that does not divide ten thousand is cut.
    let page = account.get("/v2?per_page=900&page=12").await;
    assert_eq!((ids(&page).len(), &page["continuation_token"]), (100, &Value::Null));
    assert_eq!(ids(&account.get("/v2?per_page=900&page=13").await), Vec::<&str>::new());
    for (query, pointer) in [
        ("per_page=1001", "/per_page"),
        ("per_page=10000", "/per_page"),
        ("per_page=0", "/per_page"),
        ("per_page=-1", "/per_page"),
        ("per_page=1.5", "/per_page"),
        ("page=0", "/page"),
        ("page=x", "/page"),
        ("sort_order=up", "/sort_order"),
        ("continuation_token=junk", "/continuation_token"),
        (&format!("page=2&continuation_token={token}"), "/page"),
    ] {
        let refused = said(account.request("GET", &format!("/v2?{query}"))).await;
        assert_eq!(refusal(&refused), (400, 5400, pointer), "{query}");
    }
    assert_eq!(ids(&account.get("/v2?per_page=1000").await).len(), 1000);
    assert_eq!(ids(&account.get("/v2?per_page=1").await).len(), 1);
}

/// `page` counts on in both lists until there is nothing left.
#[tokio::test]
async fn numbered_pages_go_on_and_end() {
    let account = Account::open().await;
    account.fill(25).await;
    for (list, size) in [("/v1", 10), ("/v2", 10), ("/v2", 7)] {
        let mut found: Vec<String> = Vec::new();
        for page in 1..10 {
            let images = account.get(&format!("{list}?page={page}&per_page={size}")).await;
            if ids(&images).is_empty() {
                break;
            }
            found.extend(ids(&images).into_iter().map(str::to_owned));
        }
        let expected: Vec<String> = (1..=25).rev().map(|i| format!("row{i:05}")).collect();
        assert_eq!(found, expected, "{list}, {size} a page");
    }
    // A token goes on from a numbered page.
    let second = account.get("/v2?page=2&per_page=10&sort_order=asc").await;
    assert_eq!(ids(&second)[0], "row00011");
    let token = second["continuation_token"].as_str().unwrap();
    let third = account.get(&format!("/v2?per_page=10&sort_order=asc&continuation_token={token}")).await;
    assert_eq!((ids(&third)[0], ids(&third).len()), ("row00021", 5));
    for (query, status) in [
        ("per_page=9", 400),
        ("per_page=1", 400),
        ("per_page=10", 200),
        ("per_page=10.0", 200),
        ("per_page=10000", 200),
        ("per_page=10001", 400),
        ("page=0", 400),
    ] {
        assert_eq!(said(account.request("GET", &format!("/v1?{query}"))).await.0, status, "{query}");
    }
}

/// A name in metadata is the caller's own: hyphens, spaces, slashes and letters of any script.
#[tokio::test]
async fn filters_take_any_name() {
    let account = Account::open().await;
    let names = ["user-id", "user id", "größe", "a/b", "$x", "0", "it's", "x:y", "キー", "a_b", "%", "?"];
    for (seed, name) in (0..).zip(names) {
        let meta = json!({ name: "here", "in-side": { name: { "on-e": seed } } });
        let form = Form::new().part("file", file_part(png(seed))).text("metadata", meta.to_string());
        assert_eq!(said(account.request("POST", "/v1").multipart(form)).await.0, 200);
    }
    let find = async |filter: String, value: &str| {
        let (status, body) = said(account.request("GET", "/v2").query(&[(filter.as_str(), value)])).await;
        assert_eq!(status, 200, "{filter}: {body}");
        body["result"]["images"].as_array().unwrap().clone()
    };
    for (seed, name) in (0..).zip(names) {
        for (filter, value) in [
            (format!("meta.{name}[eq]"), "here".to_owned()),
            (format!("meta.{name}[in:string]"), "there|here".to_owned()),
            (format!("meta.in-side.{name}.on-e[eq:number]"), seed.to_string()),
        ] {
            let found = find(filter.clone(), &value).await;
            assert_eq!(found.len(), 1, "{filter}");
            assert_eq!(found[0]["meta"][name], "here", "{filter}");
        }
        assert_eq!(find(format!("meta.{name}[eq]"), "elsewhere").await, Vec::<Value>::new());
    }
    for filter in [
        "meta.[eq]",
        "meta.a..b[eq]",
        "meta.a[b[eq]",
        "meta.a\"b[eq]",
        "meta.a\\b[eq]",
        "meta.a",
        "meta.a[like]",
    ] {
        let refused = said(account.request("GET", "/v2").query(&[(filter, "x")])).await;
        let pointer = format!("/{filter}");
        assert_eq!(refusal(&refused), (400, 5400, pointer.as_str()), "{filter}");
    }
}

/// Every error has a page that says more, and points to what it is about where that is one thing.
#[tokio::test]
async fn errors_have_all_their_fields() {
    let account = Account::open().await;
    let form = |name: &'static str, value: &'static str| {
        move || Form::new().part("file", file_part(png(1))).text(name, value)
    };
    for (form, code, pointer) in [
        (&form("id", "9f7c7d9c-0000-4000-8000-000000000000") as &dyn Fn() -> Form, 5411, "/id"),
        (&form("metadata", "[]"), 5400, "/metadata"),
        (&form("metadata", "{"), 5400, "/metadata"),
        (&form("requireSignedURLs", "yes"), 5400, "/requireSignedURLs"),
        (&form("url", "http://127.0.0.1:1/"), 5400, "/url"),
        (&|| Form::new().text("url", "ftp://x/"), 5454, "/url"),
        (&|| Form::new().text("creator", "x".repeat(1025)).part("file", file_part(png(1))), 5400, "/creator"),
        (&|| Form::new().text("creator", "me"), 5400, "/file"),
        (&|| Form::new().part("file", file_part(b"no image".to_vec())), 5455, ""),
    ] {
        let (_, body) = said(account.request("POST", "/v1").multipart(form())).await;
        let error = &body["errors"][0];
        assert_eq!(
            (error["code"].as_u64(), error["source"]["pointer"].as_str().unwrap_or("")),
            (Some(code), pointer),
            "{body}"
        );
        let page = error["documentation_url"].as_str().unwrap();
        assert!(page.starts_with("https://developers.cloudflare.com/"), "{page}");
        assert_eq!(
            (&body["result"], &body["success"], &body["messages"]),
            (&Value::Null, &json!(false), &json!([]))
        );
    }
    for (method, path) in
        [("GET", "/v1/nothing"), ("GET", "/v3"), ("PUT", "/v1"), ("DELETE", "/v1/variants/nothing")]
    {
        let (status, body) = said(account.request(method, path)).await;
        assert!((400..500).contains(&status), "{body}");
        assert!(
            body["errors"][0]["documentation_url"].is_string() && body["errors"][0].get("source").is_none(),
            "{body}"
        );
    }
    let (_, fine) = said(account.request("GET", "/v1/stats")).await;
    assert_eq!(
        (&fine["success"], &fine["errors"], &fine["messages"]),
        (&json!(true), &json!([]), &json!([]))
    );
}

/// Whatever a client of ours understands of an error, the fields beside it never hide it.
#[tokio::test]
async fn the_client_reads_errors_with_any_fields() {
    let account = Account::open().await;
    for odd in [
        json!({ "documentation_url": "https://x", "source": { "pointer": "/id" } }),
        json!({ "documentation_url": null, "source": null }),
        json!({ "documentation_url": 7, "source": "text", "error_chain": [{ "code": 1 }] }),
        json!({ "source": { "pointer": 7 } }),
    ] {
        let mut error = json!({ "code": 5404, "message": "Image not found" });
        error.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
        let body =
            json!({ "result": null, "success": false, "errors": [error], "messages": null }).to_string();
        account.fault("images.get", json!({ "kind": "answer", "status": 404, "body": body })).await;
        assert_eq!(account.client.find("x").await.unwrap(), None, "{odd}");
    }
}

/// A direct upload needs no body: nothing, an empty form and an empty object open one with the defaults.
#[tokio::test]
async fn a_direct_upload_needs_no_body() {
    let account = Account::open().await;
    for path in ["/v2/direct_upload", "/v1/direct_upload"] {
        let post = || account.request("POST", path);
        for (what, request) in [
            ("nothing", post()),
            ("no bytes", post().header("content-length", "0")),
            ("no JSON", post().header("content-type", "application/json")),
            ("no form", post().header("content-type", "multipart/form-data; boundary=x")),
            ("no urlencoded form", post().header("content-type", "application/x-www-form-urlencoded")),
            (
                "chunks of nothing",
                post().body(reqwest::Body::wrap_stream(futures_util::stream::empty::<
                    std::io::Result<Vec<u8>>,
                >())),
            ),
            ("an object", post().json(&json!({}))),
            (
                "an object of another spelling",
                post().header("content-type", "Application/JSON; charset=utf-8").body("{}"),
            ),
            (
                "a form without parts",
                post().header("content-type", "multipart/form-data; boundary=x").body("--x--\r\n"),
            ),
        ] {
            let (status, body) = said(request).await;
            assert_eq!(status, 200, "{path}, {what}: {body}");
            let id = body["result"]["id"].as_str().unwrap();
            let draft = account.get(&format!("/v1/{id}")).await;
            assert_eq!(
                (&draft["draft"], &draft["requireSignedURLs"]),
                (&json!(true), &json!(false)),
                "{what}"
            );
            assert!(draft.get("meta").is_none() && draft.get("creator").is_none(), "{draft}");
        }
        for (what, request, expected) in [
            ("bytes", post().header("content-type", "image/png").body(png(1)), (415, 5415)),
            ("text", post().body("x"), (415, 5415)),
            (
                "fields of another form",
                post()
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body("requireSignedURLs=true"),
                (415, 5415),
            ),
            ("half an object", post().header("content-type", "application/json").body("{"), (400, 5400)),
            (
                "half a form",
                post().header("content-type", "multipart/form-data; boundary=x").body("--x\r\n"),
                (400, 5400),
            ),
        ] {
            let refused = said(request).await;
            assert_eq!((refusal(&refused).0, refusal(&refused).1), expected, "{path}, {what}");
        }
    }
}

/// The first version's JSON has every field of its description.
#[tokio::test]
async fn the_first_direct_upload_takes_all_its_fields() {
    let account = Account::open().await;
    let expiry =
        chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()) + chrono::TimeDelta::hours(1);
    let body = json!({ "metadata": { "a": [1] }, "requireSignedURLs": true, "expiry": expiry.to_rfc3339() });
    let (status, made) = account.json("POST", "/v1/direct_upload", body).await;
    assert_eq!(status, 200, "{made}");
    let draft = account.get(&format!("/v1/{}", made["result"]["id"].as_str().unwrap())).await;
    assert_eq!((&draft["meta"], &draft["requireSignedURLs"]), (&json!({ "a": [1] }), &json!(true)));
    let (_, named) = account.json("POST", "/v1/direct_upload", json!({ "id": "abc123" })).await;
    assert_eq!(named["result"]["id"], "abc123");
    let form = Form::new().part("file", file_part(photo(1)));
    let (status, image) =
        said(http().post(named["result"]["uploadURL"].as_str().unwrap()).multipart(form)).await;
    assert_eq!((status, &image["result"]["id"]), (200, &json!("abc123")));
    for (body, expected) in [
        (json!({ "id": "abc123" }), (409, 5409, "")),
        (json!({ "id": "x", "requireSignedURLs": true }), (400, 5400, "/requireSignedURLs")),
        (json!({ "expiry": "tomorrow" }), (400, 5400, "/expiry")),
        (json!({ "expiry": "2020-01-01T00:00:00Z" }), (400, 5400, "/expiry")),
        (json!({ "metadata": { "a": "x".repeat(1024) } }), (400, 5400, "/metadata")),
        (json!({ "metadata": "text" }), (400, 5400, "")),
    ] {
        let refused = account.json("POST", "/v1/direct_upload", body.clone()).await;
        assert_eq!(refusal(&refused), expected, "{body}");
    }
}

/// A form says what is wrong with it: which part is missing, which came under another name, which is no text.
#[tokio::test]
async fn forms_say_what_is_wrong() {
    let account = Account::open().await;
    let binary = || Part::bytes(vec![0xff, 0xd8, 0xff, 0xfe, 0x80]);
    let draft = account.client.direct_upload(&Default::default()).await.unwrap();
    let cases: [(&str, &dyn Fn() -> Form, u64, &str); 9] = [
        (
            "another name",
            &|| Form::new().part("image", file_part(photo(1))),
            5400,
            "must be named `file`, not `image`",
        ),
        (
            "two other names",
            &|| Form::new().part("a", file_part(photo(1))).part("b", binary()),
            5400,
            "not `a`, `b`",
        ),
        ("no name", &|| Form::new().part("", file_part(photo(1))), 5400, "is missing"),
        ("upper case", &|| Form::new().part("File", file_part(photo(1))), 5400, "not `File`"),
        (
            "much under another name",
            &|| Form::new().part("image", file_part(vec![0; 200_000])),
            5400,
            "not `image`",
        ),
        ("nothing", &|| Form::new().text("creator", "me"), 5400, "is missing"),
        (
            "nothing chosen",
            &|| Form::new().part("file", Part::bytes(vec![]).file_name("")),
            5400,
            "is missing",
        ),
        (
            "two files",
            &|| Form::new().part("file", file_part(photo(1))).part("file", file_part(photo(1))),
            5400,
            "more than one file",
        ),
        ("an empty file", &|| Form::new().part("file", file_part(vec![])), 5455, "must have image/jpeg"),
    ];
    for (what, form, code, text) in cases {
        for post in [account.request("POST", "/v1"), http().post(&draft.upload_url)] {
            let (status, body) = said(post.multipart(form())).await;
            assert!((400..500).contains(&status), "{what}: {body}");
            let error = &body["errors"][0];
            assert_eq!(error["code"], code, "{what}: {body}");
            assert!(error["message"].as_str().unwrap().contains(text), "{what}: {body}");
        }
    }
    for (name, pointer) in [
        ("creator", "/creator"),
        ("id", "/id"),
        ("metadata", "/metadata"),
        ("url", "/url"),
        ("requireSignedURLs", "/requireSignedURLs"),
    ] {
        let form = Form::new().part(name, binary()).part("file", file_part(photo(1)));
        let refused = said(account.request("POST", "/v1").multipart(form)).await;
        assert_eq!(refusal(&refused), (400, 5400, pointer), "{name}");
        assert!(
            refused.1["errors"][0]["message"].as_str().unwrap().contains(&format!("{name} is not UTF-8")),
            "{}",
            refused.1
        );
    }
    assert_eq!(account.client.stats().await.unwrap().count.current, 0);
    // What has no meaning is passed over; text may come as a file; a file that was not chosen does not count.
    let form = Form::new()
        .part("thumbnail", binary().file_name("t.jpg"))
        .part("comment", binary())
        .part("metadata", Part::text(r#"{"a":1}"#).file_name("meta.json"))
        .part("file", file_part(photo(1)));
    let (status, made) = said(account.request("POST", "/v1").multipart(form)).await;
    assert_eq!((status, &made["result"]["meta"]), (200, &json!({ "a": 1 })), "{made}");
    let form = Form::new().part("file", Part::bytes(vec![]).file_name("")).text("url", "ftp://x/");
    let refused = said(account.request("POST", "/v1").multipart(form)).await;
    assert_eq!(refusal(&refused), (400, 5454, "/url"));
}

/// Every call of the API: method, path, whether it changes something.
const CALLS: [(&str, &str, bool); 19] = [
    ("POST", "/v1", true),
    ("GET", "/v1", false),
    ("GET", "/v2", false),
    ("GET", "/v1/mine", false),
    ("PATCH", "/v1/mine", true),
    ("GET", "/v1/mine/blob", false),
    ("POST", "/v1/direct_upload", true),
    ("POST", "/v2/direct_upload", true),
    ("GET", "/v1/keys", false),
    ("PUT", "/v1/keys/new", true),
    ("GET", "/v1/stats", false),
    ("GET", "/v1/variants", false),
    ("POST", "/v1/variants", true),
    ("GET", "/v1/variants/public", false),
    ("PATCH", "/v1/variants/public", true),
    ("GET", "/v1/config", false),
    ("PATCH", "/v1/config", true),
    ("GET", "/v1/batch_token", false),
    ("DELETE", "/v1/mine", true),
];

/// A token of the permission to read is refused every change, here and on the batch host, and reads everything.
#[tokio::test]
async fn a_token_that_reads_changes_nothing() {
    let account = Account::open().await;
    let form = Form::new().part("file", file_part(photo(1))).text("id", "mine");
    assert_eq!(said(account.request("POST", "/v1").multipart(form)).await.0, 200);
    let everything = async || {
        let mut all = vec![account.get("/v2").await, account.get("/v1/keys").await];
        all.extend([account.get("/v1/variants").await, account.get("/v1/config").await]);
        all
    };
    let before = everything().await;
    let reader = &account.emulator.credentials().read_token;
    let token = said(http().get(account.api("/v1/batch_token")).bearer_auth(reader)).await.1;
    let token = token["result"]["token"].as_str().unwrap().to_owned();
    for (method, path, changes) in CALLS {
        let on_batch = path.starts_with("/v1/mine") && !path.ends_with("blob")
            || ["/v1", "/v2", "/v2/direct_upload"].contains(&path);
        let batch = on_batch.then(|| (format!("{}/batch/images{path}", account.root), &token));
        for (url, token) in [Some((account.api(path), reader)), batch].into_iter().flatten() {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = http().request(method.clone(), &url).bearer_auth(token).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), if changes { 403 } else { 200 }, "{method} {url}");
            if changes {
                let body: Value = answer.json().await.unwrap();
                assert_eq!(
                    (&body["success"], &body["errors"][0]["code"]),
                    (&json!(false), &json!(10000)),
                    "{body}"
                );
            }
        }
    }
    for path in ["/v1/keys/default", "/v1/variants/public"] {
        assert_eq!(said(http().delete(account.api(path)).bearer_auth(reader)).await.0, 403, "{path}");
    }
    assert_eq!(everything().await, before);
    // An upload is refused before its bytes are looked at.
    let form = Form::new().part("file", file_part(photo(1)));
    assert_eq!(said(http().post(account.api("/v1")).bearer_auth(reader).multipart(form)).await.0, 403);
}

/// Who is not known is refused with 401 everywhere, and who is known elsewhere with 403.
#[tokio::test]
async fn credentials_are_looked_at() {
    let account = Account::open().await;
    let emulator::Credentials { account_id, api_token, read_token, .. } = account.emulator.credentials();
    let url = account.api("/v1/stats");
    let as_key = |key: &str| http().get(&url).header("x-auth-email", "a@b").header("x-auth-key", key);
    for (what, request, status) in [
        ("nothing", http().get(&url), 401),
        ("a wrong token", http().get(&url).bearer_auth("x"), 401),
        ("an empty token", http().get(&url).bearer_auth(""), 401),
        ("half a token", http().get(&url).bearer_auth(&api_token[1..]), 401),
        ("another scheme", http().get(&url).basic_auth("a@b", Some(api_token)), 401),
        ("no scheme", http().get(&url).header("authorization", api_token), 401),
        ("a wrong key", as_key("x"), 401),
        ("a key without its e-mail", http().get(&url).header("x-auth-key", api_token), 401),
        ("a token as a key", as_key(read_token), 401),
        ("a key", as_key(api_token), 200),
        ("a token", http().get(&url).bearer_auth(api_token), 200),
        ("a token that reads", http().get(&url).bearer_auth(read_token), 200),
        ("small letters", http().get(&url).header("authorization", format!("bearer {api_token}")), 200),
    ] {
        let (found, body) = said(request).await;
        assert_eq!(found, status, "{what}: {body}");
        if status == 401 {
            assert_eq!(
                (&body["success"], &body["errors"][0]["code"]),
                (&json!(false), &json!(10000)),
                "{what}"
            );
        }
    }
    let elsewhere = url.replace(account_id, &"0".repeat(32));
    for token in [api_token, read_token] {
        assert_eq!(refusal(&said(http().get(&elsewhere).bearer_auth(token)).await), (403, 5403, ""));
    }
    assert_eq!(refusal(&said(http().get(&elsewhere).bearer_auth("x")).await), (401, 10000, ""));
}

/// The token that reads is kept as the other one is, made where an older file has none, and may be given.
#[tokio::test]
async fn the_token_that_reads_is_kept() {
    let dir = TempDir::new().unwrap();
    let open = async |given: emulator::Given| {
        let settings = emulator::Settings {
            data_dir: dir.path().to_owned(),
            public_url: "http://127.0.0.1:1".parse().unwrap(),
            given,
            faults: false,
        };
        Emulator::open(settings).await.unwrap().credentials().clone()
    };
    let first = open(emulator::Given::default()).await;
    assert!(first.read_token.len() >= 32 && first.read_token != first.api_token);
    assert!(!format!("{first:?}").contains(&first.read_token));
    assert_eq!(open(emulator::Given::default()).await.read_token, first.read_token);
    let path = dir.path().join("credentials.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    kept.as_object_mut().unwrap().remove("read_token");
    std::fs::write(&path, kept.to_string()).unwrap();
    let second = open(emulator::Given::default()).await;
    assert_eq!((&second.account_id, &second.api_token), (&first.account_id, &first.api_token));
    assert!(second.read_token.len() >= 32 && second.read_token != first.read_token);
    assert_eq!(open(emulator::Given::default()).await.read_token, second.read_token);
    let given = emulator::Given { read_token: Some("reader".to_owned()), ..emulator::Given::default() };
    assert_eq!(open(given).await.read_token, "reader");
}
