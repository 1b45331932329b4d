//! An emulator of Cloudflare Images: management API, batch host, upload host and delivery host on one axum router.
//!
//! It speaks the same HTTP as Cloudflare, answers errors with the same codes, and stores and resizes images, so that a
//! program can be run and tested end to end without a Cloudflare account.
//!
//! ```no_run
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use cloudflare_images_emulator::{Emulator, Settings, serve};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8788").await?;
//! let settings = Settings {
//!     data_dir: "./cloudflare-images".into(),
//!     public_url: "http://127.0.0.1:8788".parse()?,
//!     account: None,
//!     read_token: None,
//!     faults: false,
//!     rate: None,
//!     batch_rate: None,
//! };
//! let emulator = Emulator::open(settings).await?;
//! println!("{}", emulator.usage(listener.local_addr()?));
//! serve(listener, &emulator, tokio_util::sync::CancellationToken::new()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! An upload from a URL makes an HTTPS client, so the process needs a default `rustls` crypto provider: call
//! `rustls::crypto::ring::default_provider().install_default()` first. The program of this crate does so.

// Reading order: `route` finds out what a request is for, `fault` may alter the answer, `api`, `upload` and `delivery`
// answer it, `store` has the rows and files, `transform` makes the pixels. The JSON types are those of
// `cloudflare_images::wire`, which the client of that crate shares.

#![warn(missing_docs)]

mod account;
mod api;
mod cors;
mod delivery;
mod error;
mod fault;
mod fetch;
mod form;
mod id;
mod ingest;
mod metadata;
mod probe;
mod rate_limit;
mod response;
mod route;
mod store;
mod transform;
mod upload;
mod usage;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use account::Credentials;

use delivery::Renderer;
use error::ApiError;
use fault::{CallInfo, Faults};
use rate_limit::{RateLimit, RateLimits};
use route::Target;
use store::Store;

/// Where an emulator stores its data, where it is reached, and which credentials it accepts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the database, the image files and the credentials; created if missing.
    pub data_dir: PathBuf,
    /// Base URL of this emulator, with or without a trailing slash: for example `http://127.0.0.1:8080/cloudflare`.
    /// Delivery and upload URLs in responses begin with it.
    pub public_url: Url,
    /// Account id, and the API token with all permissions. If `None`, both are random, created on the first open and
    /// kept in `data_dir`.
    pub account: Option<(String, String)>,
    /// API token that may only read. If `None`, it is random and kept in `data_dir`.
    pub read_token: Option<String>,
    /// Serves the fault injection API, `/faults`, without authentication.
    pub faults: bool,
    /// Maximum of calls to the management API in five minutes; more are refused with 429 and `Retry-After` for five
    /// minutes. `None` for no limit; Cloudflare's is 1,200.
    pub rate: Option<NonZeroU32>,
    /// Maximum of calls to the batch host in a second; more are refused for a second. `None` for no limit; Cloudflare's
    /// is 200.
    pub batch_rate: Option<NonZeroU32>,
}

/// Why an emulator could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder or file of the store could not be created or read.
    #[error("cannot use {path} for the Cloudflare Images emulator")]
    Files {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The credentials file is not valid.
    #[error("{path} does not contain the emulator's credentials")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The database could not be opened.
    #[error("cannot open the emulator's database")]
    Database(#[from] sea_orm::DbErr),
}

/// The emulator of one Cloudflare account. Clones share the same store.
#[derive(Clone)]
pub struct Emulator(Arc<Inner>);

struct Inner {
    credentials: Credentials,
    /// [`Settings::public_url`] as text without a trailing slash.
    public_url: String,
    store: Store,
    renderer: Renderer,
    rate_limits: RateLimits,
    /// `None` if fault injection is off.
    faults: Option<Faults>,
}

impl Emulator {
    /// Opens the store in `settings.data_dir`, or creates it. Nothing listens yet: see [`Emulator::router`] and
    /// [`serve`].
    pub async fn open(settings: Settings) -> Result<Emulator, OpenError> {
        let store = Store::open(&settings.data_dir, now()).await?;
        let credentials = account::load(&settings)?;
        Ok(Emulator(Arc::new(Inner {
            credentials,
            public_url: settings.public_url.as_str().trim_end_matches('/').to_owned(),
            store,
            renderer: Renderer::default(),
            rate_limits: RateLimits::new(&settings),
            faults: settings.faults.then(Faults::default),
        })))
    }

    /// The account id and hash, and the API tokens that are accepted.
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// All hosts of the emulator on one router, each below its own path: `/client/v4`, `/batch`, `/upload`,
    /// `/imagedelivery` and, with [`Settings::faults`], `/faults`. It may be nested below the path of
    /// [`Settings::public_url`].
    pub fn router(&self) -> Router {
        // Image ids may contain both raw and encoded slashes, which axum's patterns cannot tell apart. `route` parses the
        // path instead.
        Router::new().route("/", any(respond)).route("/{*path}", any(respond)).with_state(self.clone())
    }
}

/// Serves an emulator until `stop` is cancelled, then finishes the requests in progress.
pub async fn serve(
    listener: TcpListener,
    emulator: &Emulator,
    stop: CancellationToken,
) -> std::io::Result<()> {
    http_serve::serve(listener, emulator.router(), stop).await
}

async fn respond(State(emulator): State<Emulator>, request: Request) -> Response {
    let path = request.uri().path();
    // For clients whose batch URL cannot be configured, and which are directed here by name resolution.
    let path = if has_batch_host(&request) { format!("/batch{path}") } else { path.to_owned() };
    let target = match route::parse(request.method(), &path) {
        Ok(target) => target,
        Err(error) if allows_cross_origin(&path) => return cors::allow(error.into_response()),
        Err(error) => return error.into_response(),
    };
    respond_with_faults(&emulator, target, request).await
}

/// Whether scripts of any origin may read responses for this path: those of the upload and delivery hosts.
fn allows_cross_origin(path: &str) -> bool {
    ["/upload/", "/imagedelivery/", "/cdn-cgi/"].iter().any(|host| path.starts_with(host))
}

fn has_batch_host(request: &Request) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("batch.imagedelivery.net"))
}

/// Answers a request, altered by an injected fault if one applies to it.
async fn respond_with_faults(emulator: &Emulator, target: Target, request: Request) -> Response {
    match (&emulator.0.faults, &target) {
        (Some(faults), Target::Faults(call)) => fault::respond(faults, *call, request).await,
        (None, Target::Faults(_)) => ApiError::route_not_found(request.uri().path()).into_response(),
        (Some(faults), _) => {
            let call = CallInfo {
                name: target.name(),
                method: request.method().to_string(),
                path: request.uri().path().to_owned(),
                has_text_errors: matches!(target, Target::Delivery(_)),
            };
            faults.apply(call, respond_to_target(emulator, target, request)).await
        }
        (None, _) => respond_to_target(emulator, target, request).await,
    }
}

async fn respond_to_target(emulator: &Emulator, target: Target, request: Request) -> Response {
    let limit = match &target {
        Target::Api { .. } => &emulator.0.rate_limits.api,
        Target::Batch(_) => &emulator.0.rate_limits.batch,
        Target::Upload { .. } | Target::Delivery(_) | Target::Faults(_) => &None,
    };
    if let Some(Err(too_many)) = limit.as_ref().map(RateLimit::admit) {
        return *too_many;
    }
    match target {
        Target::Api { account, call } => match account::authorize(emulator, &account, request.headers()) {
            Ok(permission) => api::respond(emulator, permission, call, request).await,
            Err(error) => error.into_response(),
        },
        Target::Batch(call) => match account::authorize_batch(emulator, request.headers(), now()) {
            Ok(permission) => api::respond(emulator, permission, call, request).await,
            Err(error) => error.into_response(),
        },
        Target::Upload { hash, id } => upload::respond(emulator, &hash, &id, request).await,
        Target::Delivery(path) => delivery::respond(emulator, &path, request).await,
        Target::Faults(_) => ApiError::route_not_found(request.uri().path()).into_response(),
    }
}

/// The current time. Only this function reads the clock.
fn now() -> DateTime<Utc> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the emulator has its own clock, as a separate service would"
    )]
    let now = Utc::now();
    now
}

/// Random bytes as base64url text without padding.
fn random_text<const BYTES: usize>() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; BYTES]>())
}
