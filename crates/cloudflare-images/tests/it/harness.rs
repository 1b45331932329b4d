//! An emulated account for one test, and functions that several tests use.

use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body as RequestBody;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use cloudflare_images::client::{Blob, Body, Client, Credentials, Error, NewImage, Settings, Upload};
use cloudflare_images::wire::Image;
use cloudflare_images_emulator::{self as emulator, Emulator};
use futures_util::{StreamExt, TryStreamExt, stream};
use image::ImageReader;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::pictures::png;

/// An emulated account and a client for it.
pub(crate) struct Account {
    pub(crate) client: Client,
    pub(crate) emulator: Emulator,
    /// Base URL of the emulator, without a trailing slash.
    pub(crate) root: String,
    /// Method and path of each request, in the order of their arrival.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    pub(crate) dir: TempDir,
}

impl Account {
    pub(crate) async fn open() -> Account {
        install_tls();
        let dir = TempDir::new().unwrap();
        let (listener, address) = listen().await;
        let root = format!("{address}/cloudflare");
        let emulator = open_emulator(dir.path(), &root).await;
        let requests = Arc::new(Mutex::new(Vec::new()));
        serve(listener, Router::new().nest("/cloudflare", emulator.router()), requests.clone());
        let at = |path: &str| format!("{root}{path}").parse().unwrap();
        let credentials = emulator.credentials();
        let settings = Settings {
            api: at("/client/v4"),
            batch: at("/batch"),
            delivery: at("/imagedelivery"),
            upload: at("/upload"),
            attempt_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(40),
            rate: None,
            ..Settings::new(
                credentials.account_id.as_str(),
                Credentials::Token(credentials.api_token.clone().into()),
            )
        };
        Account { client: Client::new(settings).unwrap(), emulator, root, requests, dir }
    }

    /// A client with other settings.
    pub(crate) fn client_with(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = (*self.client.settings).clone();
        change(&mut settings);
        Client::new(settings).unwrap()
    }

    /// Creates an image.
    pub(crate) async fn image(&self, seed: u32) -> Image {
        create(&self.client, NewImage::default(), png(seed)).await.unwrap()
    }

    /// Number of images in the account.
    pub(crate) async fn count(&self) -> u64 {
        self.client.stats().await.unwrap().count.current
    }

    /// Number of files in the emulator's store.
    pub(crate) fn files(&self) -> usize {
        let folders = std::fs::read_dir(self.dir.path().join("files")).unwrap();
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }

    /// HTTP status of a delivery URL.
    pub(crate) async fn status(&self, url: impl AsRef<str>) -> u16 {
        http().get(url.as_ref()).send().await.unwrap().status().as_u16()
    }

    /// Makes the emulator apply a fault to one request.
    pub(crate) async fn fault(&self, call: &str, fault: Value) {
        let fault = json!({ "call": call, "fault": fault, "times": 1 });
        let response = http().post(format!("{}/faults", self.root)).json(&fault).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    /// Number of requests for a call since the start.
    pub(crate) async fn calls(&self, call: &str) -> u64 {
        let response = http().get(format!("{}/faults", self.root)).send().await.unwrap();
        response.json::<Value>().await.unwrap()["calls"][call].as_u64().unwrap_or(0)
    }

    pub(crate) fn hash(&self) -> &str {
        &self.emulator.credentials().account_hash
    }
}

/// Opens an emulator whose store is in this folder and whose URLs begin with `root`.
pub(crate) async fn open_emulator(dir: &Path, root: &str) -> Emulator {
    let settings = emulator::Settings {
        data_dir: dir.to_owned(),
        public_url: root.parse().unwrap(),
        account: None,
        read_token: None,
        faults: true,
        rate: None,
        batch_rate: None,
    };
    Emulator::open(settings).await.unwrap()
}

/// Binds a free port. Returns its base URL as well.
pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

/// Serves a router, and records the method and the path of each request.
pub(crate) fn serve(listener: TcpListener, router: Router, requests: Arc<Mutex<Vec<String>>>) {
    let router = router.layer(middleware::from_fn_with_state(requests, record));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

async fn record(State(requests): State<Arc<Mutex<Vec<String>>>>, request: Request, next: Next) -> Response {
    requests.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
    next.run(request.map(read_to_end)).await
}

/// Reads a body to its end even if the handler responds earlier. Otherwise the server would reset the connection, and the
/// client could lose the response.
fn read_to_end(body: RequestBody) -> RequestBody {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let failed = chunk.is_err();
            // An error means that the handler has responded.
            let _ = sender.send(chunk).await;
            if failed {
                break;
            }
        }
    });
    let chunks = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    RequestBody::from_stream(chunks)
}

/// Installs the cryptography provider, which every program has to do before it makes a client.
pub(crate) fn install_tls() {
    // An error means that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An HTTP client for requests that are not calls of the API.
pub(crate) fn http() -> reqwest::Client {
    install_tls();
    let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy();
    http.tls_certs_only([]).build().unwrap()
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

pub(crate) async fn bytes(blob: Blob) -> Vec<u8> {
    blob.stream.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

/// Width and height of the image that a URL delivers.
pub(crate) async fn pixels(url: &str) -> (u32, u32) {
    let response = http().get(url).send().await.unwrap();
    assert_eq!(response.status(), 200, "{url}");
    let body = Cursor::new(response.bytes().await.unwrap());
    ImageReader::new(body).with_guessed_format().unwrap().into_dimensions().unwrap()
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(crate) fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// The kind and the code of an error that is neither transient nor ambiguous.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, Option<u32>) {
    let error = result.unwrap_err();
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
    assert!(!error.is_transient() && !error.maybe_applied(), "{error:?}");
    assert!(!error.message().is_empty(), "{error:?}");
    (kind, error.code())
}
