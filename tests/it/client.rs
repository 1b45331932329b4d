//! An emulated account of a test's own, and a client for it.

use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use cloudflare_images::client::{Body, Client, Credentials, Error, NewImage, Settings, Upload};
use cloudflare_images::wire::Image;
use cloudflare_images_emulator::{self as emulator, Emulator};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::http;
use crate::pictures::png;

/// An emulated account.
pub(crate) struct Account {
    pub(crate) client: Client,
    /// Base URL of the emulator, without a trailing slash.
    pub(crate) root: String,
    /// The emulator's data, removed with it.
    _dir: TempDir,
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
            rate: None,
            batch_rate: None,
        };
        let emulator = Emulator::open(settings).await.unwrap();
        let router = Router::new().nest("/cloudflare", emulator.router());
        tokio::spawn(imagegraph::http::serve(listener, router, CancellationToken::new()));
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
        Account { client: Client::new(settings).unwrap(), root, _dir: dir }
    }

    /// A client with other settings.
    pub(crate) fn other(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = (*self.client.settings).clone();
        change(&mut settings);
        Client::new(settings).unwrap()
    }

    /// Creates an image.
    pub(crate) async fn image(&self, seed: u32) -> Image {
        create(&self.client, NewImage::default(), png(seed)).await.unwrap()
    }

    /// Makes the emulator apply a fault to one request.
    pub(crate) async fn fault(&self, call: &str, fault: Value) {
        let fault = json!({ "call": call, "fault": fault, "times": 1 });
        let response = http().post(format!("{}/faults", self.root)).json(&fault).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
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

/// The kind and the code of an error that is neither transient nor ambiguous.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, Option<u32>) {
    let error = result.unwrap_err();
    assert!(!error.is_transient() && !error.maybe_applied(), "{error:?}");
    assert!(!error.message().is_empty(), "{error:?}");
    let kind = match &error {
        Error::NotFound(_) => "not found",
        Error::Conflict(_) => "conflict",
        Error::TooLarge(_) => "too large",
        Error::Unsupported(_) => "unsupported",
        Error::Invalid(_) => "invalid",
        Error::Unauthorized(_) => "unauthorized",
        _ => panic!("{error:?}"),
    };
    (kind, error.code())
}
