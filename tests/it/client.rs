//! The Cloudflare client over the emulator: every call, what it answers and what it is refused.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use cloudflare_images::client::{
    Blob, Body, Client, Credentials, Deleted, Error, ListQuery, MetaFilter, MetaTest, NewDirectUpload,
    NewImage, PageQuery, Settings, SortOrder, Upload,
};
use cloudflare_images::signing;
use cloudflare_images::wire::{
    AccountConfig, Fit, Image, ImageEdit, MAX_IMAGE_BYTES, Metadata, Variant, VariantEdit, VariantOptions,
};
use cloudflare_images_emulator::{self as emulator, Emulator};
use futures_util::{StreamExt, TryStreamExt, stream};
use image::{ImageFormat, ImageReader};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::harness::http;
use crate::pictures::{gif, lying_png, photo, picture, png};

/// An emulated account of a test's own.
pub(crate) struct Account {
    pub(crate) client: Client,
    pub(crate) emulator: Emulator,
    /// Where the emulator is, without a trailing slash.
    pub(crate) root: String,
    /// Method and path of each request, in the order they came.
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) dir: TempDir,
}

impl Account {
    pub(crate) async fn open() -> Account {
        let dir = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}/cloudflare", listener.local_addr().unwrap());
        // As a program does first.
        imagegraph::tls::install();
        let settings = emulator::Settings {
            data_dir: dir.path().to_owned(),
            public_url: root.parse().unwrap(),
            account: None,
            read_token: None,
            faults: true,
        };
        let emulator = Emulator::open(settings).await.unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new()
            .nest("/cloudflare", emulator.router())
            .layer(middleware::from_fn_with_state(log.clone(), record));
        tokio::spawn(imagegraph::http::serve(listener, router, CancellationToken::new()));
        let at = |path: &str| format!("{root}{path}").parse().unwrap();
        let settings = Settings {
            account_id: emulator.credentials().account_id.clone(),
            credentials: Credentials::Token(emulator.credentials().api_token.clone().into()),
            api: at("/client/v4"),
            batch: at("/batch"),
            delivery: at("/imagedelivery"),
            upload: at("/upload"),
            timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(40),
            rate: u32::MAX,
        };
        Account { client: Client::new(settings).unwrap(), emulator, root, log, dir }
    }

    /// A client with other settings.
    pub(crate) fn other(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = (*self.client.settings).clone();
        change(&mut settings);
        Client::new(settings).unwrap()
    }

    /// An image of nothing in particular.
    pub(crate) async fn image(&self, seed: u32) -> Image {
        create(&self.client, NewImage::default(), png(seed)).await.unwrap()
    }

    async fn count(&self) -> u64 {
        self.client.stats().await.unwrap().count.current
    }

    /// Status of a delivery URL.
    pub(crate) async fn status(&self, url: impl AsRef<str>) -> u16 {
        http().get(url.as_ref()).send().await.unwrap().status().as_u16()
    }

    /// Makes the emulator misbehave once.
    pub(crate) async fn fault(&self, call: &str, fault: Value) {
        let fault = json!({ "call": call, "fault": fault, "times": 1 });
        let answer = http().post(format!("{}/faults", self.root)).json(&fault).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// How many requests a call has cost since the start.
    async fn calls(&self, call: &str) -> u64 {
        let answer = http().get(format!("{}/faults", self.root)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["calls"][call].as_u64().unwrap_or(0)
    }

    pub(crate) fn hash(&self) -> &str {
        &self.emulator.credentials().account_hash
    }

    /// Files of images in the store.
    fn files(&self) -> usize {
        let folders = std::fs::read_dir(self.dir.path().join("files")).unwrap();
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }
}

async fn record(State(log): State<Arc<Mutex<Vec<String>>>>, request: Request, next: Next) -> Response {
    log.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
    next.run(request).await
}

pub(crate) fn upload(bytes: Vec<u8>) -> Upload {
    let length = bytes.len() as u64;
    let chunks: Vec<_> = bytes.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let stream = stream::iter(chunks).boxed();
    Upload { filename: "süße katze.jpg".to_owned(), content_type: "image/jpeg".to_owned(), length, stream }
}

pub(crate) async fn create(client: &Client, new: NewImage<'_>, bytes: Vec<u8>) -> Result<Image, Error> {
    client.create(new, Body::Upload(upload(bytes))).await
}

async fn create_from(client: &Client, url: impl Into<String>) -> Result<Image, Error> {
    client.create(NewImage::default(), Body::Url(url.into())).await
}

async fn bytes(blob: Blob) -> Vec<u8> {
    blob.stream.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

fn ids(images: &[Image]) -> Vec<&str> {
    images.iter().map(|image| image.id.as_str()).collect()
}

/// A refusal's variant and number.
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> (&'static str, Option<u32>) {
    let error = answer.unwrap_err();
    let kind = match &error {
        Error::NotFound(_) => "not found",
        Error::Conflict(_) => "conflict",
        Error::TooLarge(_) => "too large",
        Error::Unsupported(_) => "unsupported",
        Error::Invalid(_) => "invalid",
        Error::Unauthorized(_) => "unauthorized",
        Error::Account(_) => "account",
        _ => panic!("{error:?}"),
    };
    assert!(!error.is_transient() && !error.ambiguous(), "{error:?}");
    assert!(!error.message().is_empty(), "{error:?}");
    (kind, error.code())
}

/// Everything said about an image comes back, from create and from find, on both hosts.
#[tokio::test]
async fn an_image_is_created_from_bytes() {
    let account = Account::open().await;
    for client in [account.client.clone(), account.client.batch()] {
        let meta = object(json!({ "a": { "b": [1, "ü", null] }, "n": 1.5 }));
        let new = NewImage { metadata: Some(&meta), creator: Some("me ü"), ..NewImage::default() };
        let before = now() - TimeDelta::milliseconds(1);
        let image = create(&client, new, photo(1)).await.unwrap();
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

/// A name in the upload's form may hold what a header has to escape.
#[tokio::test]
async fn a_filename_may_hold_quotes() {
    let account = Account::open().await;
    for name in ["a \"b\".png", "50 %.png", "a;b=c.png", "猫.png"] {
        let body = Body::Upload(Upload { filename: name.to_owned(), ..upload(png(1)) });
        let image = account.client.create(NewImage::default(), body).await.unwrap();
        assert_eq!(image.filename.as_deref(), Some(name));
    }
}

/// An origin whose pictures and failures uploads by URL fetch.
async fn origin() -> Url {
    let locked = |headers: HeaderMap| async move {
        // me:secret
        let open = headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Basic bWU6c2VjcmV0");
        if open { Ok(picture(30, 20, ImageFormat::Png)) } else { Err(StatusCode::UNAUTHORIZED) }
    };
    let router = Router::new()
        .route("/open/{name}", get(|| async { photo(1) }))
        .route("/locked.png", get(locked))
        .route("/text.png", get(|| async { "no picture" }))
        .route("/big.png", get(|| async { vec![0; MAX_IMAGE_BYTES as usize + 1] }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn an_image_is_created_from_a_url() {
    let (account, origin) = (Account::open().await, origin().await);
    let client = &account.client;
    let at = |path: &str| origin.join(path).unwrap().to_string();
    for client in [client.clone(), client.batch()] {
        let meta = object(json!({ "from": "a url" }));
        let new = NewImage { metadata: Some(&meta), require_signed_urls: true, ..NewImage::default() };
        let image = client.create(new, Body::Url(at("/open/s%C3%BC%C3%9F%20100%25.jpg?x=y"))).await.unwrap();
        assert_eq!(image.filename.as_deref(), Some("süß 100%.jpg"));
        assert_eq!((image.meta, image.require_signed_urls), (Some(meta), true));
        assert_eq!(bytes(client.blob(&image.id).await.unwrap()).await, photo(1));
    }
    // A name and a password in the URL open the origin, and do not stay in the answer.
    let locked = at("/locked.png").replace("http://", "http://me:secret@");
    let image = create_from(client, &locked).await.unwrap();
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
        assert_eq!(refusal(create_from(client, url).await), expected, "{url}");
    }
    assert_eq!(account.count().await, 3);
}

/// Pages by token hold every image once, in the order asked for; drafts are no images.
#[tokio::test]
async fn the_list_pages_in_both_directions() {
    let account = Account::open().await;
    let mut images = Vec::new();
    for seed in 0..7 {
        images.push(account.image(seed).await);
    }
    account.client.direct_upload(&NewDirectUpload::default()).await.unwrap();
    images.sort_by_key(|image| (image.uploaded, image.id.clone()));
    for client in [account.client.clone(), account.client.batch()] {
        for (sort_order, turned) in
            [(None, true), (Some(SortOrder::Desc), true), (Some(SortOrder::Asc), false)]
        {
            let mut expected = images.clone();
            if turned {
                expected.reverse();
            }
            let mut query = ListQuery { per_page: Some(3), sort_order, ..ListQuery::default() };
            let (mut found, mut sizes) = (Vec::new(), Vec::new());
            loop {
                let page = client.list(&query).await.unwrap();
                sizes.push(page.images.len());
                found.extend(page.images);
                query.continuation_token = page.continuation_token;
                if query.continuation_token.is_none() {
                    break;
                }
            }
            assert_eq!((sizes, found), (vec![3, 3, 1], expected.clone()));
            let all = client.list(&ListQuery { sort_order, ..ListQuery::default() }).await.unwrap();
            assert_eq!((all.images, all.continuation_token), (expected, None));
        }
    }
    // No page follows a full one that is the last.
    let exact = ListQuery { per_page: Some(7), ..ListQuery::default() };
    assert_eq!(account.client.list(&exact).await.unwrap().continuation_token, None);
}

/// A token belongs to its list.
#[tokio::test]
async fn a_token_from_elsewhere_is_refused() {
    let account = Account::open().await;
    for seed in 0..3 {
        account.image(seed).await;
    }
    let one = ListQuery { per_page: Some(1), ..ListQuery::default() };
    let continuation_token = account.client.list(&one).await.unwrap().continuation_token;
    assert!(continuation_token.is_some());
    for query in [
        ListQuery { continuation_token: Some("junk".to_owned()), ..ListQuery::default() },
        ListQuery {
            continuation_token: continuation_token.clone(),
            sort_order: Some(SortOrder::Asc),
            ..ListQuery::default()
        },
        ListQuery { continuation_token, creator: Some(String::new()), ..ListQuery::default() },
        ListQuery { per_page: Some(0), ..ListQuery::default() },
    ] {
        assert_eq!(refusal(account.client.list(&query).await), ("invalid", Some(5400)), "{query:?}");
    }
}

#[tokio::test]
async fn the_old_list_has_numbered_pages() {
    let account = Account::open().await;
    let mut images = Vec::new();
    for seed in 0..23 {
        let new = NewImage { creator: (seed < 2).then_some("me"), ..NewImage::default() };
        images.push(create(&account.client, new, png(seed)).await.unwrap());
    }
    images.sort_by_key(|image| std::cmp::Reverse((image.uploaded, image.id.clone())));
    for client in [account.client.clone(), account.client.batch()] {
        let page = async |page| {
            let query = PageQuery { page: Some(page), per_page: Some(10), creator: None };
            client.list_v1(&query).await.unwrap().images
        };
        assert_eq!(page(1).await, images[..10]);
        assert_eq!(page(2).await, images[10..20]);
        assert_eq!(page(3).await, images[20..]);
        assert_eq!(page(4).await, []);
        assert_eq!(client.list_v1(&PageQuery::default()).await.unwrap().images, images);
        let of = async |creator: &str| {
            let query = PageQuery { creator: Some(creator.to_owned()), ..PageQuery::default() };
            client.list_v1(&query).await.unwrap().images
        };
        let (mine, others): (Vec<Image>, Vec<Image>) =
            images.iter().cloned().partition(|image| image.creator.is_some());
        assert_eq!((mine.len(), of("me").await, of("").await, of("you").await), (2, mine, others, vec![]));
    }
    let query = PageQuery { page: Some(0), ..PageQuery::default() };
    assert_eq!(refusal(account.client.list_v1(&query).await), ("invalid", Some(5400)));
}

#[tokio::test]
async fn the_list_knows_creators() {
    let account = Account::open().await;
    let mine = NewImage { creator: Some("me ü&=+"), ..NewImage::default() };
    let mine = create(&account.client, mine, png(1)).await.unwrap();
    let yours = NewImage { creator: Some("you"), ..NewImage::default() };
    let yours = create(&account.client, yours, png(2)).await.unwrap();
    let nobodys = account.image(3).await;
    for (creator, expected) in
        [("me ü&=+", vec![mine]), ("you", vec![yours]), ("", vec![nobodys]), ("m", vec![])]
    {
        let query = ListQuery { creator: Some(creator.to_owned()), ..ListQuery::default() };
        assert_eq!(account.client.list(&query).await.unwrap().images, expected, "{creator}");
        assert_eq!(account.client.batch().list(&query).await.unwrap().images, expected, "{creator}");
    }
}

/// Each operator on metadata, with values it takes and values it does not.
#[tokio::test]
async fn the_list_filters_by_metadata() {
    let account = Account::open().await;
    let mut images = Vec::new();
    for (seed, meta) in [
        json!({ "app": { "id": "x|1" }, "n": 5, "b": true, "s": "5" }),
        json!({ "app": { "id": "ü &=" }, "n": 2.5, "b": false, "s": "true" }),
        json!({ "app": "x", "n": "5", "b": "true" }),
        json!({ "n": -3, "a": { "b": { "c": { "d": { "e": "deep" } } } } }),
    ]
    .into_iter()
    .enumerate()
    {
        let meta = object(meta);
        let new = NewImage { metadata: Some(&meta), ..NewImage::default() };
        images.push(create(&account.client, new, png(seed as u32)).await.unwrap());
    }
    account.image(9).await;
    let text = |text: &str| text.to_owned();
    let fraction = serde_json::Number::from_f64(2.5).unwrap();
    let on = |field: &str, test| vec![MetaFilter { field: field.to_owned(), test }];
    let cases = [
        (on("app.id", MetaTest::Eq(text("x|1"))), vec![0]),
        (on("app.id", MetaTest::Eq(text("ü &="))), vec![1]),
        (on("app.id", MetaTest::Eq(text("X|1"))), vec![]),
        (on("app", MetaTest::Eq(text("x"))), vec![2]),
        (on("n", MetaTest::Eq(text("5"))), vec![0, 2]),
        (on("b", MetaTest::Eq(text("true"))), vec![0, 2]),
        (on("n", MetaTest::EqString(text("5"))), vec![2]),
        (on("s", MetaTest::EqString(text("5"))), vec![0]),
        (on("n", MetaTest::EqNumber(5.into())), vec![0]),
        (on("n", MetaTest::EqNumber(fraction.clone())), vec![1]),
        (on("s", MetaTest::EqNumber(5.into())), vec![]),
        (on("b", MetaTest::EqBoolean(true)), vec![0]),
        (on("b", MetaTest::EqBoolean(false)), vec![1]),
        (on("s", MetaTest::EqBoolean(true)), vec![]),
        (on("n", MetaTest::In(vec![text("2.5"), text("5"), text("7")])), vec![0, 1, 2]),
        (on("app.id", MetaTest::In(vec![text("zz"), text("ü &=")])), vec![1]),
        (on("n", MetaTest::InString(vec![text("5"), text("2.5")])), vec![2]),
        (on("n", MetaTest::InNumber(vec![fraction, (-3).into(), 9.into()])), vec![1, 3]),
        (on("n", MetaTest::Gt((-3).into())), vec![0, 1]),
        (on("n", MetaTest::Gte((-3).into())), vec![0, 1, 3]),
        (on("n", MetaTest::Lt(5.into())), vec![1, 3]),
        (on("n", MetaTest::Lte(5.into())), vec![0, 1, 3]),
        ([on("n", MetaTest::Gt(2.into())), on("n", MetaTest::Lt(5.into()))].concat(), vec![1]),
        ([on("n", MetaTest::Gt(2.into())), on("b", MetaTest::EqBoolean(true))].concat(), vec![0]),
        (on("a.b.c.d.e", MetaTest::Eq(text("deep"))), vec![3]),
        (on("a.b.c", MetaTest::Eq(text("deep"))), vec![]),
        (on("missing", MetaTest::Lte(5.into())), vec![]),
    ];
    for (meta, expected) in cases {
        let query = ListQuery { meta, sort_order: Some(SortOrder::Asc), ..ListQuery::default() };
        let found = account.client.list(&query).await.unwrap().images;
        let mut expected: Vec<_> = expected.into_iter().map(|i: usize| images[i].id.as_str()).collect();
        let mut found = ids(&found);
        // Two images of one millisecond come in the order of their ids.
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{query:?}");
        let batch = account.client.batch().list(&query).await.unwrap().images;
        assert_eq!(batch.len(), expected.len(), "{query:?}");
    }
}

/// Filters beyond what Cloudflare allows are refused there.
#[tokio::test]
async fn bad_filters_are_refused() {
    let account = Account::open().await;
    let on = |field: &str, test| MetaFilter { field: field.to_owned(), test };
    let eq = || MetaTest::Eq("x".to_owned());
    for meta in [
        vec![on("", eq())],
        vec![on("a..b", eq())],
        vec![on("a\"b", eq())],
        vec![on("a[b", eq())],
        vec![on("a\u{7}b", eq())],
        vec![on(&"x".repeat(101), eq())],
        vec![on("a.b.c.d.e.f", eq())],
        vec![on("a", MetaTest::InNumber((0..11).map(Into::into).collect()))],
        vec![on("a", eq()); 6],
    ] {
        let query = ListQuery { meta, ..ListQuery::default() };
        assert_eq!(refusal(account.client.list(&query).await), ("invalid", Some(5400)), "{query:?}");
    }
    let ten = MetaTest::InNumber((0..10).map(Into::into).collect());
    let query = ListQuery { meta: vec![on("a.b.c.d.e", ten); 5], ..ListQuery::default() };
    assert_eq!(account.client.list(&query).await.unwrap().images, []);
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
        // The whole object is replaced; what is left out stays.
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

/// A change of access gives an image another id under which everything else is as it was.
#[tokio::test]
async fn a_change_of_access_changes_the_id() {
    let account = Account::open().await;
    let access = |private| ImageEdit { require_signed_urls: Some(private), ..ImageEdit::default() };
    for client in [account.client.clone(), account.client.batch()] {
        let meta = object(json!({ "a": 1 }));
        let new = NewImage { metadata: Some(&meta), creator: Some("me"), ..NewImage::default() };
        let public = create(&client, new, photo(1)).await.unwrap();
        assert_eq!(client.edit(&public.id, &access(false)).await.unwrap(), public);
        let private = client.edit(&public.id, &access(true)).await.unwrap();
        assert_ne!(private.id, public.id);
        let variants = vec![public.variants[0].replace(&public.id, &private.id)];
        let expected =
            Image { id: private.id.clone(), variants, require_signed_urls: true, ..public.clone() };
        assert_eq!(private, expected);
        assert_eq!(client.find(&public.id).await.unwrap(), None);
        assert_eq!(client.find(&private.id).await.unwrap(), Some(expected));
        assert_eq!(bytes(client.blob(&private.id).await.unwrap()).await, photo(1));
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
        let image = create(&client, NewImage::default(), photo(1)).await.unwrap();
        assert_eq!((account.count().await, account.files()), (2, 2));
        assert_eq!(account.status(&image.variants[0]).await, 200);
        assert_eq!(client.delete(&image.id).await.unwrap(), Deleted::Done);
        assert_eq!(client.delete(&image.id).await.unwrap(), Deleted::AlreadyGone);
        assert_eq!(client.find(&image.id).await.unwrap(), None);
        assert_eq!(refusal(client.blob(&image.id).await), ("not found", Some(5404)));
        assert_eq!(account.status(&image.variants[0]).await, 404);
        assert_eq!((account.count().await, account.files()), (1, 1));
        let draft = client.direct_upload(&NewDirectUpload::default()).await.unwrap();
        assert_eq!(client.delete(&draft.id).await.unwrap(), Deleted::Done);
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
    // What the upload says of its type does not count.
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

#[tokio::test]
async fn keys_are_made_rotated_and_deleted() {
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
    // There is always one.
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
async fn variants_are_made_edited_and_deleted() {
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
    // Images have it from now on, in the size it says.
    let image = create(client, NewImage::default(), picture(200, 100, ImageFormat::Png)).await.unwrap();
    let url = signing::url(&client.settings.delivery, account.hash(), &image.id, "hero");
    assert_eq!((image.variants.len(), image.variants[0].as_str()), (2, url.as_str()));
    assert_eq!(pixels(&url).await, (30, 40));
    // Options left out stay, and so does whether a signature is needed.
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
    assert_eq!(client.delete_variant("hero").await.unwrap(), Deleted::Done);
    assert_eq!(client.delete_variant("hero").await.unwrap(), Deleted::AlreadyGone);
    assert_eq!(account.status(&url).await, 403);
    // This one says done and stays.
    assert_eq!(client.delete_variant("public").await.unwrap(), Deleted::Done);
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

/// Width and height of what a URL delivers.
async fn pixels(url: &Url) -> (u32, u32) {
    let response = http().get(url.clone()).send().await.unwrap();
    assert_eq!(response.status(), 200, "{url}");
    let body = Cursor::new(response.bytes().await.unwrap());
    ImageReader::new(body).with_guessed_format().unwrap().into_dimensions().unwrap()
}

/// A hundred variants are all an account may have.
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
async fn the_account_has_switches() {
    let account = Account::open().await;
    let client = &account.client;
    let defaults = AccountConfig {
        flexible_variants: Some(false),
        browser_ttl: Some(172_800),
        preserve_content_credentials: Some(false),
    };
    assert_eq!(client.config().await.unwrap(), defaults);
    let image = create(client, NewImage::default(), picture(200, 100, ImageFormat::Png)).await.unwrap();
    let url = signing::url(&client.settings.delivery, account.hash(), &image.id, "w=50,fit=contain");
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

/// A draft takes its bytes once, from anyone who has its URL, and keeps what was said of it.
#[tokio::test]
async fn a_direct_upload_takes_bytes_once() {
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
        // What was refused leaves the draft open.
        let refused = client.upload(&direct.upload_url, upload(b"no picture".to_vec())).await;
        assert_eq!(refusal(refused), ("unsupported", Some(5455)));
        assert_eq!(client.find(&direct.id).await.unwrap(), Some(draft.clone()));
        let image = client.upload(&direct.upload_url, upload(photo(1))).await.unwrap();
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
        assert_eq!(bytes(client.blob(&direct.id).await.unwrap()).await, photo(1));
        assert_eq!(account.count().await, before + 1);
    }
}

#[tokio::test]
async fn direct_uploads_have_rules() {
    let account = Account::open().await;
    let client = &account.client;
    let image = NewImage { id: Some("katzen/süß 100%.jpg"), ..NewImage::default() };
    let new = NewDirectUpload { image, expiry: None };
    let direct = client.direct_upload(&new).await.unwrap();
    assert_eq!(direct.id, "katzen/süß 100%.jpg");
    assert_eq!(refusal(client.direct_upload(&new).await), ("conflict", Some(5409)));
    assert_eq!(client.upload(&direct.upload_url, upload(photo(1))).await.unwrap().id, direct.id);
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

/// The first version of direct uploads takes JSON, with everything that can be said of an image.
#[tokio::test]
async fn direct_uploads_once_had_another_form() {
    let account = Account::open().await;
    let meta = object(json!({ "a": { "b": [1, "ü"] } }));
    let said = NewImage { metadata: Some(&meta), require_signed_urls: true, ..NewImage::default() };
    let named = NewImage { id: Some("a/ü.png"), creator: Some("me"), ..NewImage::default() };
    for (image, expiry) in [
        (NewImage::default(), None),
        (NewImage::default(), Some(now() + TimeDelta::hours(2))),
        (said, None),
        (named, Some(now() + TimeDelta::hours(5))),
    ] {
        let direct = account.client.direct_upload_v1(&NewDirectUpload { image, expiry }).await.unwrap();
        let draft = account.client.find(&direct.id).await.unwrap().unwrap();
        assert!(draft.draft);
        assert!(image.id.is_none_or(|id| id == direct.id));
        assert_eq!(draft.require_signed_urls, image.require_signed_urls);
        assert_eq!((draft.meta.as_ref(), draft.creator.as_deref()), (image.metadata, image.creator));
        let image = account.client.upload(&direct.upload_url, upload(photo(1))).await.unwrap();
        assert_eq!((image.id, image.draft), (direct.id, false));
    }
    let late = NewDirectUpload { expiry: Some(now() + TimeDelta::hours(7)), ..NewDirectUpload::default() };
    assert_eq!(refusal(account.client.direct_upload_v1(&late).await), ("invalid", Some(5400)));
    let private = NewImage { id: Some("mine"), require_signed_urls: true, ..NewImage::default() };
    let private = NewDirectUpload { image: private, expiry: None };
    assert_eq!(refusal(account.client.direct_upload_v1(&private).await), ("invalid", Some(5400)));
}

/// A batch token opens the batch host for an hour, and nothing else.
#[tokio::test]
async fn a_batch_token_opens_the_batch_host_only() {
    let account = Account::open().await;
    let client = &account.client;
    let token = client.batch_token().await.unwrap();
    let ahead = token.expires_at - now();
    assert!(ahead > TimeDelta::minutes(59) && ahead <= TimeDelta::minutes(60), "{ahead}");
    let list = async |url: &str, token: &str| {
        let request = http().get(format!("{}{url}", account.root)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let id = &client.settings.account_id;
    let (api, key) =
        (format!("/client/v4/accounts/{id}/images/v1"), &account.emulator.credentials().api_token);
    assert_eq!(list("/batch/images/v1", &token.token).await, 200);
    assert_eq!(list("/batch/images/v1", key).await, 401);
    assert_eq!(list(&api, key).await, 200);
    assert_eq!(list(&api, &token.token).await, 401);
    let (_, seal) = token.token.split_once('.').unwrap();
    assert_eq!(list("/batch/images/v1", &format!("4000000000.{seal}")).await, 401);
}

/// Image calls of a batch client go to the batch host with one token; the rest goes to the account.
#[tokio::test]
async fn the_batch_client_goes_to_the_batch_host() {
    let account = Account::open().await;
    let client = account.client.batch();
    let image = create(&client, NewImage::default(), photo(1)).await.unwrap();
    client.find(&image.id).await.unwrap();
    client.list(&ListQuery::default()).await.unwrap();
    client.list_v1(&PageQuery::default()).await.unwrap();
    client.edit(&image.id, &ImageEdit::default()).await.unwrap();
    client.direct_upload(&NewDirectUpload::default()).await.unwrap();
    client.blob(&image.id).await.unwrap();
    client.keys().await.unwrap();
    client.stats().await.unwrap();
    client.variants().await.unwrap();
    client.config().await.unwrap();
    client.delete(&image.id).await.unwrap();
    let api = format!("/cloudflare/client/v4/accounts/{}/images", client.settings.account_id);
    let batch = "/cloudflare/batch/images";
    let id = &image.id;
    assert_eq!(
        *account.log.lock().unwrap(),
        [
            format!("GET {api}/v1/batch_token"),
            format!("POST {batch}/v1"),
            format!("GET {batch}/v1/{id}"),
            format!("GET {batch}/v2"),
            format!("GET {batch}/v1"),
            format!("PATCH {batch}/v1/{id}"),
            format!("POST {batch}/v2/direct_upload"),
            format!("GET {api}/v1/{id}/blob"),
            format!("GET {api}/v1/keys"),
            format!("GET {api}/v1/stats"),
            format!("GET {api}/v1/variants"),
            format!("GET {api}/v1/config"),
            format!("DELETE {batch}/v1/{id}"),
        ]
    );
}

/// Ids of one's own hold slashes, percent signs and any letters, in every call and in delivery.
#[tokio::test]
async fn custom_ids_hold_almost_anything() {
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
            let image = create(&client, new, photo(1)).await.unwrap();
            assert_eq!(image.id, id);
            assert_eq!(signing::account_hash(&image).as_deref(), Some(account.hash()), "{id}");
            let edit = ImageEdit { creator: Some(id.to_owned()), ..ImageEdit::default() };
            let image = client.edit(id, &edit).await.unwrap();
            assert_eq!(image.creator.as_deref(), Some(id));
            assert_eq!(client.find(id).await.unwrap(), Some(image.clone()), "{id}");
            let all = client.list(&ListQuery::default()).await.unwrap().images;
            assert!(all.len() == 1 && all[0] == image, "{all:?}");
            assert_eq!(bytes(client.blob(id).await.unwrap()).await, photo(1), "{id}");
            let url = signing::url(&client.settings.delivery, account.hash(), id, "public");
            assert_eq!(pixels(&url).await, (60, 40), "{url}");
            assert_eq!(account.status(&image.variants[0]).await, 200, "{:?}", image.variants);
            assert_eq!(refusal(create(&client, new, png(1)).await), ("conflict", Some(5409)), "{id}");
            assert_eq!(client.delete(id).await.unwrap(), Deleted::Done, "{id}");
            assert_eq!(client.delete(id).await.unwrap(), Deleted::AlreadyGone, "{id}");
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

/// A private image opens to a valid signature and to nothing else.
#[tokio::test]
async fn signed_urls_open_private_images() {
    let account = Account::open().await;
    let client = &account.client;
    let private = NewImage { require_signed_urls: true, ..NewImage::default() };
    let image = create(client, private, photo(1)).await.unwrap();
    let other = create(client, private, photo(1)).await.unwrap();
    let hash = signing::account_hash(&image).unwrap();
    assert_eq!(hash, account.hash());
    let delivery = &client.settings.delivery;
    let plain = signing::url(delivery, &hash, &image.id, "public");
    assert_eq!(image.variants, [plain.to_string()]);
    assert_eq!(account.status(&plain).await, 403);
    let key = client.keys().await.unwrap().keys.remove(0).value;
    let sign = |variant: &str, key: &str, at| signing::sign(delivery, &hash, &image.id, variant, key, at);
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
    // Names decide before signatures do.
    let options = VariantOptions { width: Some(30), ..VariantOptions::default() };
    let small = Variant { id: "small".to_owned(), options, never_require_signed_urls: false };
    client.create_variant(&small).await.unwrap();
    assert_eq!(account.status(forever.as_str().replace("/public", "/small")).await, 403);
    assert_eq!(pixels(&sign("small", &key, later)).await, (30, 20));
    let edit = VariantEdit { options: small.options, never_require_signed_urls: Some(true) };
    client.edit_variant("small", &edit).await.unwrap();
    assert_eq!(pixels(&signing::url(delivery, &hash, &image.id, "small")).await, (30, 20));
    // Any key of the account will do, until it is rotated or deleted.
    let second = client.put_key("second").await.unwrap().keys.remove(1).value;
    assert_eq!(account.status(sign("public", &second, later)).await, 200);
    let rotated = client.put_key("default").await.unwrap().keys.remove(0).value;
    assert_eq!(account.status(&forever).await, 403);
    assert_eq!(account.status(sign("public", &rotated, None)).await, 200);
    client.delete_key("second").await.unwrap();
    assert_eq!(account.status(sign("public", &second, later)).await, 403);
}

/// Too many bytes or pixels, no picture, half a picture, too much said of it.
#[tokio::test]
async fn bad_uploads_are_refused() {
    let account = Account::open().await;
    let photo = photo(1);
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    for client in [account.client.clone(), account.client.batch()] {
        for (bytes, expected) in [
            (vec![0; MAX_IMAGE_BYTES as usize + 1], ("too large", Some(5413))),
            (vec![0; MAX_IMAGE_BYTES as usize], ("unsupported", Some(5455))),
            (vec![], ("unsupported", Some(5455))),
            (b"no picture".to_vec(), ("unsupported", Some(5455))),
            (b"%PDF-1.7".to_vec(), ("unsupported", Some(5455))),
            (lying_png(12_001, 1), ("too large", Some(5443))),
            (lying_png(10_001, 10_000), ("too large", Some(5443))),
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
        // Eight bytes are the object around the text.
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

/// Wrong credentials open nothing, and a refusal of an upload arrives however large the upload is.
#[tokio::test]
async fn wrong_credentials_are_refused() {
    let account = Account::open().await;
    let wrong = account.other(|settings| settings.credentials = Credentials::Token("x".to_owned().into()));
    let expected = ("unauthorized", Some(10000));
    assert_eq!(refusal(wrong.find("x").await), expected);
    assert_eq!(refusal(wrong.delete("x").await), expected);
    assert_eq!(refusal(wrong.blob("x").await), expected);
    assert_eq!(refusal(wrong.keys().await), expected);
    assert_eq!(refusal(wrong.batch().find("x").await), expected);
    for length in [1_000, 100_000, 1_000_000, 5_000_000] {
        assert_eq!(refusal(create(&wrong, NewImage::default(), vec![0; length]).await), expected, "{length}");
    }
    let elsewhere = account.other(|settings| settings.account_id = "0".repeat(32));
    assert_eq!(refusal(elsewhere.find("x").await), ("unauthorized", Some(5403)));
    let key = |key: &str| Credentials::EmailKey { email: "a@b".to_owned(), key: key.to_owned().into() };
    let token = &account.emulator.credentials().api_token;
    assert_eq!(account.other(|settings| settings.credentials = key(token)).find("x").await.unwrap(), None);
    assert_eq!(refusal(account.other(|settings| settings.credentials = key("x")).find("x").await), expected);
}

/// A wrong base URL is no missing image.
#[tokio::test]
async fn a_wrong_base_url_is_trouble_of_the_account() {
    let account = Account::open().await;
    let lost = account.other(|settings| settings.api = account.root.parse().unwrap());
    assert_eq!(refusal(lost.find("x").await), ("account", Some(7003)));
    assert_eq!(refusal(lost.delete("x").await), ("account", Some(7003)));
    assert_eq!(refusal(lost.delete_variant("x").await), ("account", Some(7003)));
}

/// Whatever goes wrong once, a read goes on to its answer.
#[tokio::test]
async fn reads_outlive_faults() {
    let account = Account::open().await;
    let image = account.image(1).await;
    let hasty = account.other(|settings| settings.timeout = Duration::from_millis(1500));
    for (i, fault) in [
        json!({ "kind": "status", "status": 500 }),
        json!({ "kind": "status", "status": 429, "retry_after": 1 }),
        json!({ "kind": "drop" }),
        json!({ "kind": "lost_answer" }),
        json!({ "kind": "hang_after" }),
    ]
    .into_iter()
    .enumerate()
    {
        for client in [hasty.clone(), hasty.batch()] {
            account.fault("images.get", fault.clone()).await;
            assert_eq!(client.find(&image.id).await.unwrap().as_ref(), Some(&image), "{fault}");
        }
        assert_eq!(account.calls("images.get").await, 4 * (i as u64 + 1), "{fault}");
    }
    account.fault("images.get", json!({ "kind": "garbage" })).await;
    let error = hasty.find(&image.id).await.unwrap_err();
    assert!(matches!(error, Error::Nonsense { ambiguous: false, .. }), "{error:?}");
}

/// A create whose answer is lost says that there may be an image, and its metadata finds it.
#[tokio::test]
async fn a_create_in_doubt_can_be_looked_up() {
    let account = Account::open().await;
    let hasty = account.other(|settings| settings.timeout = Duration::from_millis(1500));
    for (i, (fault, made)) in [
        (json!({ "kind": "lost_answer" }), 1),
        (json!({ "kind": "hang_after" }), 1),
        (json!({ "kind": "garbage" }), 0),
        (json!({ "kind": "status", "status": 503 }), 0),
        (json!({ "kind": "drop" }), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let meta = object(json!({ "try": i }));
        let new = NewImage { metadata: Some(&meta), ..NewImage::default() };
        account.fault("images.create", fault.clone()).await;
        let error = create(&hasty, new, photo(1)).await.unwrap_err();
        assert!(error.is_transient() && error.ambiguous(), "{fault}: {error:?}");
        assert_eq!(account.calls("images.create").await, i as u64 + 1);
        let test = MetaTest::EqNumber(i.into());
        let meta = vec![MetaFilter { field: "try".to_owned(), test }];
        let strays = hasty.list(&ListQuery { meta, ..ListQuery::default() }).await.unwrap().images;
        assert_eq!(strays.len(), made, "{fault}");
    }
}

/// A deletion whose answer is lost is repeated and knows that it was the one.
#[tokio::test]
async fn a_deletion_in_doubt_is_done() {
    let account = Account::open().await;
    for client in [account.client.clone(), account.client.batch()] {
        let image = account.image(1).await;
        account.fault("images.delete", json!({ "kind": "lost_answer" })).await;
        assert_eq!(client.delete(&image.id).await.unwrap(), Deleted::Done);
        assert_eq!(client.delete(&image.id).await.unwrap(), Deleted::AlreadyGone);
    }
    assert_eq!(account.calls("images.delete").await, 6);
}

/// What an account holds is there again after a restart.
#[tokio::test]
async fn an_account_outlives_a_restart() {
    let account = Account::open().await;
    let image = account.image(1).await;
    let settings = emulator::Settings {
        data_dir: account.dir.path().to_owned(),
        public_url: account.root.parse().unwrap(),
        account: None,
        read_token: None,
        faults: false,
    };
    let again = Emulator::open(settings).await.unwrap();
    let (old, new) = (account.emulator.credentials(), again.credentials());
    assert_eq!((&new.account_id, &new.account_hash), (&old.account_id, &old.account_hash));
    assert_eq!(new.api_token, old.api_token);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(imagegraph::http::serve(listener, again.router(), CancellationToken::new()));
    let client = account.other(|settings| settings.api = format!("{root}/client/v4").parse().unwrap());
    assert_eq!(client.find(&image.id).await.unwrap(), Some(image));
    assert_eq!(client.keys().await.unwrap().keys, account.client.keys().await.unwrap().keys);
}
