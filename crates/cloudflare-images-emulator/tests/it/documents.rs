//! The management API compared with Cloudflare's documentation, over plain HTTP: what any client may send.

use reqwest::multipart::{Form, Part};
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};

use test_pictures::{photo, png};

use crate::harness::{Account, http, send};

impl Account {
    async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        send(self.request(method, path).json(&body)).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = send(self.request("GET", path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body["result"].clone()
    }

    /// Inserts rows of images without files, for lists.
    async fn insert_rows(&self, images: u32) {
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

fn ids(page: &Value) -> Vec<&str> {
    page["images"].as_array().unwrap().iter().map(|image| image["id"].as_str().unwrap()).collect()
}

/// Status, code and pointer of an error response.
fn error_of((status, body): &(u16, Value)) -> (u16, u64, &str) {
    let error = &body["errors"][0];
    (*status, error["code"].as_u64().unwrap(), error["source"]["pointer"].as_str().unwrap_or_default())
}

fn file_part(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("a.png")
}

/// `PATCH` of a variant is a merge: options that are left out do not change, and `null` resets one to its default.
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

/// An invalid edit of a variant names the option in its pointer, and changes nothing.
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
        assert_eq!(error_of(&refused), (400, 5400, pointer), "{edit}: {}", refused.1);
    }
    let nothing = send(account.request("PATCH", "/v1/variants/public")).await;
    assert_eq!(error_of(&nothing), (400, 5400, ""));
    let unknown = account.json("PATCH", "/v1/variants/nothing", json!({ "options": { "width": 1 } })).await;
    assert_eq!(error_of(&unknown), (404, 5401, ""));
    assert_eq!(account.get("/v1/variants").await, before);
}

/// An edit of an image replaces its metadata as a whole; what is left out or `null` does not change. Settings likewise.
#[tokio::test]
async fn edits_keep_what_is_left_out() {
    let account = Account::open().await;
    let form = Form::new()
        .part("file", file_part(png(1)))
        .text("metadata", r#"{"a":1,"b":2}"#)
        .text("creator", "me");
    let (_, made) = send(account.request("POST", "/v1").multipart(form)).await;
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
    let (_, edited) = send(account.request("PATCH", &path).multipart(form)).await;
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

/// v2 has 1,000 images per page and 10,000 in all, by token and, as in an older version of its documentation, by page.
#[tokio::test]
async fn the_list_of_v2_ends() {
    let account = Account::open().await;
    account.insert_rows(10_500).await;
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
    // The last page is shorter if 10,000 is not a multiple of the page size.
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
        let refused = send(account.request("GET", &format!("/v2?{query}"))).await;
        assert_eq!(error_of(&refused), (400, 5400, pointer), "{query}");
    }
    assert_eq!(ids(&account.get("/v2?per_page=1000").await).len(), 1000);
    assert_eq!(ids(&account.get("/v2?per_page=1").await).len(), 1);
}

/// Both lists have numbered pages; those after the last image are empty.
#[tokio::test]
async fn pages_by_number_end() {
    let account = Account::open().await;
    account.insert_rows(25).await;
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
    // A token continues from a numbered page.
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
        assert_eq!(send(account.request("GET", &format!("/v1?{query}"))).await.0, status, "{query}");
    }
}

/// Names in metadata may contain hyphens, spaces, slashes and letters of any script.
#[tokio::test]
async fn filters_take_any_name() {
    let account = Account::open().await;
    let names = ["user-id", "user id", "größe", "a/b", "$x", "0", "it's", "x:y", "キー", "a_b", "%", "?"];
    for (seed, name) in (0..).zip(names) {
        let meta = json!({ name: "here", "in-side": { name: { "on-e": seed } } });
        let form = Form::new().part("file", file_part(png(seed))).text("metadata", meta.to_string());
        assert_eq!(send(account.request("POST", "/v1").multipart(form)).await.0, 200);
    }
    let find = async |filter: String, value: &str| {
        let (status, body) = send(account.request("GET", "/v2").query(&[(filter.as_str(), value)])).await;
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
        let refused = send(account.request("GET", "/v2").query(&[(filter, "x")])).await;
        let pointer = format!("/{filter}");
        assert_eq!(error_of(&refused), (400, 5400, pointer.as_str()), "{filter}");
    }
}

/// Every error has a documentation URL, and a pointer if it is about one field.
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
        let (_, body) = send(account.request("POST", "/v1").multipart(form())).await;
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
        let (status, body) = send(account.request(method, path)).await;
        assert!((400..500).contains(&status), "{body}");
        assert!(
            body["errors"][0]["documentation_url"].is_string() && body["errors"][0].get("source").is_none(),
            "{body}"
        );
    }
    let (_, fine) = send(account.request("GET", "/v1/stats")).await;
    assert_eq!(
        (&fine["success"], &fine["errors"], &fine["messages"]),
        (&json!(true), &json!([]), &json!([]))
    );
}

/// The client recognises an error whatever its additional members are.
#[tokio::test]
async fn the_client_reads_errors_with_any_fields() {
    let account = Account::open().await;
    for members in [
        json!({ "documentation_url": "https://x", "source": { "pointer": "/id" } }),
        json!({ "documentation_url": null, "source": null }),
        json!({ "documentation_url": 7, "source": "text", "error_chain": [{ "code": 1 }] }),
        json!({ "source": { "pointer": 7 } }),
    ] {
        let mut error = json!({ "code": 5404, "message": "Image not found" });
        error.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let body =
            json!({ "result": null, "success": false, "errors": [error], "messages": null }).to_string();
        account.fault("images.get", json!({ "kind": "answer", "status": 404, "body": body })).await;
        assert_eq!(account.client.find("x").await.unwrap(), None, "{members}");
    }
}

/// A direct upload needs no body: without one, with an empty form or an empty object, all fields have their defaults.
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
            let (status, body) = send(request).await;
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
            let refused = send(request).await;
            assert_eq!((error_of(&refused).0, error_of(&refused).1), expected, "{path}, {what}");
        }
    }
}

/// The JSON of v1 has every field of its documentation.
#[tokio::test]
async fn direct_uploads_of_v1_have_all_fields() {
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
        send(http().post(named["result"]["uploadURL"].as_str().unwrap()).multipart(form)).await;
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
        assert_eq!(error_of(&refused), expected, "{body}");
    }
}

/// Errors of forms: which part is missing, which has another name, which is not text.
#[tokio::test]
async fn errors_of_forms_name_the_part() {
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
            let (status, body) = send(post.multipart(form())).await;
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
        let refused = send(account.request("POST", "/v1").multipart(form)).await;
        assert_eq!(error_of(&refused), (400, 5400, pointer), "{name}");
        assert!(
            refused.1["errors"][0]["message"].as_str().unwrap().contains(&format!("{name} is not UTF-8")),
            "{}",
            refused.1
        );
    }
    assert_eq!(account.client.stats().await.unwrap().count.current, 0);
    // Unknown parts are ignored; a text field may have a file name; a file without name and content is ignored.
    let form = Form::new()
        .part("thumbnail", binary().file_name("t.jpg"))
        .part("comment", binary())
        .part("metadata", Part::text(r#"{"a":1}"#).file_name("meta.json"))
        .part("file", file_part(photo(1)));
    let (status, made) = send(account.request("POST", "/v1").multipart(form)).await;
    assert_eq!((status, &made["result"]["meta"]), (200, &json!({ "a": 1 })), "{made}");
    let form = Form::new().part("file", Part::bytes(vec![]).file_name("")).text("url", "ftp://x/");
    let refused = send(account.request("POST", "/v1").multipart(form)).await;
    assert_eq!(error_of(&refused), (400, 5454, "/url"));
}
