//! A stand-in for Cloudflare Images: management API, batch host, upload host and delivery host on one router.
//!
//! It speaks the same HTTP as Cloudflare, refuses with the same codes, and really stores and resizes images, so that
//! a server can be run and tested end to end with nothing to sign up for.
//! It knows nothing of the server that uses it: what both share is the JSON in [`cloudflare_images::wire`].
//!
//! Reading order: `route` names what a request asks for, `fault` may spoil it, `api`, `upload` and `delivery`
//! answer it, `store` keeps it, `transform` makes the pixels.

mod account;
mod answer;
mod api;
mod cors;
mod delivery;
mod fault;
mod fetch;
mod form;
mod id;
mod ingest;
mod metadata;
mod probe;
mod route;
mod store;
mod transform;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chrono::{DateTime, Utc};
use url::Url;

pub use account::Credentials;

use answer::Refusal;
use delivery::Renders;
use fault::{Faults, Seen};
use route::Target;
use store::Store;

/// What an emulator needs to be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the emulator's own store; made if missing.
    pub data_dir: PathBuf,
    /// Where this emulator is reached, without trailing slash: e.g. `http://127.0.0.1:8080/cloudflare`.
    /// Delivery, upload and batch URLs begin with it.
    pub public_url: Url,
    /// Credentials to accept; what is not given is made at random on first open and kept in `data_dir`.
    pub given: Given,
    /// Opens the fault injection endpoint to everybody who reaches the emulator.
    pub faults: bool,
}

/// Credentials that are not made at random.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Account id, and the API token that may do everything.
    pub account: Option<(String, String)>,
    /// The API token that may read.
    pub read_token: Option<String>,
}

/// Why an emulator could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder or file of the store could not be made or read.
    #[error("cannot use {path} for the Cloudflare Images emulator")]
    Files {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The credentials file holds something else.
    #[error("{path} does not hold the emulator's credentials")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The database refused.
    #[error("cannot open the emulator's database")]
    Database(#[from] sea_orm::DbErr),
}

/// A running stand-in for one Cloudflare account; clones share it.
#[derive(Clone)]
pub struct Emulator(Arc<Shared>);

struct Shared {
    credentials: Credentials,
    /// [`Settings::public_url`] as text without its trailing slash.
    public_url: String,
    store: Store,
    renders: Renders,
    faults: Option<Faults>,
}

impl Emulator {
    /// Opens the store in `settings.data_dir`, making it on the first call. Nothing is served yet.
    pub async fn open(settings: Settings) -> Result<Emulator, OpenError> {
        let store = Store::open(&settings.data_dir, now()).await?;
        let credentials = account::load(&settings.data_dir, settings.given)?;
        Ok(Emulator(Arc::new(Shared {
            credentials,
            public_url: settings.public_url.as_str().trim_end_matches('/').to_owned(),
            store,
            renders: Renders::default(),
            faults: settings.faults.then(Faults::default),
        })))
    }

    /// The account this emulator is, and the token that opens it.
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// Every host of the emulator, told apart by the first part of the path:
    /// `/client/v4`, `/batch`, `/upload`, `/imagedelivery` and, if opened, `/faults`.
    pub fn router(&self) -> Router {
        // Ids may hold raw and encoded slashes alike, which a pattern cannot tell apart: `route` reads the path.
        Router::new().route("/", any(serve)).route("/{*path}", any(serve)).with_state(self.clone())
    }
}

async fn serve(State(emulator): State<Emulator>, request: Request) -> Response {
    let path = request.uri().path();
    // Clients that cannot be told another base URL reach the batch host by its name.
    let path = if is_for_batch_host(&request) { format!("/batch{path}") } else { path.to_owned() };
    let target = match route::target(request.method(), &path) {
        Ok(target) => target,
        Err(refusal) if is_for_browsers(&path) => return cors::opened(refusal.into_response()),
        Err(refusal) => return refusal.into_response(),
    };
    answer_or_spoil(&emulator, target, request).await
}

/// Whether pages ask for it: the upload and delivery hosts.
fn is_for_browsers(path: &str) -> bool {
    ["/upload/", "/imagedelivery/", "/cdn-cgi/"].iter().any(|host| path.starts_with(host))
}

fn is_for_batch_host(request: &Request) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("batch.imagedelivery.net"))
}

async fn answer_or_spoil(emulator: &Emulator, target: Target, request: Request) -> Response {
    match (&emulator.0.faults, &target) {
        (Some(faults), Target::Faults(what)) => fault::control(faults, *what, request).await,
        (None, Target::Faults(_)) => Refusal::no_route(request.uri().path()).into_response(),
        (Some(faults), _) => {
            let seen = Seen {
                call: target.name(),
                method: request.method().to_string(),
                path: request.uri().path().to_owned(),
                in_text: matches!(target, Target::Delivery(_)),
            };
            faults.around(seen, answer(emulator, target, request)).await
        }
        (None, _) => answer(emulator, target, request).await,
    }
}

async fn answer(emulator: &Emulator, target: Target, request: Request) -> Response {
    match target {
        Target::Api { account, call } => match account::authorize(emulator, &account, request.headers()) {
            Ok(permission) => api::answer(emulator, permission, call, request).await,
            Err(refusal) => refusal.into_response(),
        },
        Target::Batch(call) => match account::authorize_batch(emulator, request.headers(), now()) {
            Ok(permission) => api::answer(emulator, permission, call, request).await,
            Err(refusal) => refusal.into_response(),
        },
        Target::Upload { hash, id } => upload::answer(emulator, &hash, &id, request).await,
        Target::Delivery(path) => delivery::answer(emulator, &path, request).await,
        Target::Faults(_) => Refusal::no_route(request.uri().path()).into_response(),
    }
}

/// The one place of the emulator that reads the clock, to the millisecond it stores.
fn now() -> DateTime<Utc> {
    #[expect(clippy::disallowed_methods, reason = "the emulator is a service of its own, with its own clock")]
    let now = Utc::now();
    now
}

/// Random bytes as base64url text without padding.
fn random_text<const BYTES: usize>() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; BYTES]>())
}

/// Bytes as lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
