//! The router: both faces, the emulator's mount, the viewer of a request, health, metrics, and what every answer has.

mod condition;

mod digest;

mod drain;

pub(crate) mod encoding;

mod framing;

mod linger;

mod page;

mod transfer;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, http};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, Any, CorsLayer};
use tracing::Instrument;
use url::Url;
use uuid::Uuid;

use crate::app::App;
use crate::auth::rate;
use crate::auth::{self, Viewer};
use crate::config::Config;
use crate::error::{Code, Error, FAULT_MESSAGE, Result};
use crate::graphql::document::Documents;
use crate::graphql::{self, cost, handler};
use crate::rest;
use cloudflare_images::client::{self, Credentials};

/// Where the emulator is mounted.
#[cfg(feature = "emulator")]
const EMULATOR: &str = "/cloudflare";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What scripts may read of an answer beyond what every answer has.
const EXPOSED: [HeaderName; 13] = [
    REQUEST_ID,
    header::ACCEPT_RANGES,
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::DATE,
    header::ETAG,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    cost::LIMIT,
    cost::POLICY,
];

/// The Cloudflare account the server talks to, real or emulated.
pub struct Account {
    /// What the client is made with.
    pub settings: client::Settings,
    /// Where clients get images from.
    pub delivery: Url,
    /// What is mounted when the account is emulated.
    pub emulator: Option<Router>,
}

impl Account {
    /// The account that the settings name; the emulator when they name none. Clients reach that below `public_url`, the
    /// server itself below `own_url`.
    pub async fn open(config: &Config, public_url: &Url, own_url: &Url) -> Result<Account, AccountError> {
        match &config.cloudflare_account_id {
            Some(account_id) => Self::real(config, account_id),
            None => Self::emulated(config, public_url, own_url).await,
        }
    }

    fn real(config: &Config, account_id: &str) -> Result<Account, AccountError> {
        let credentials =
            match (&config.cloudflare_api_token, &config.cloudflare_email, &config.cloudflare_api_key) {
                (Some(token), ..) => Credentials::Token(token.clone().into()),
                (None, Some(email), Some(key)) => {
                    Credentials::EmailKey { email: email.clone(), key: key.clone().into() }
                }
                _ => return Err(AccountError::Credentials),
            };
        let settings = client::Settings {
            account_id: account_id.to_owned(),
            credentials,
            api: config.cloudflare_base_url.clone(),
            batch: config.cloudflare_batch_url.clone(),
            delivery: config.cloudflare_delivery_url.clone(),
            upload: config.cloudflare_upload_url.clone(),
            timeout: config.cloudflare_timeout,
            deadline: config.cloudflare_timeout,
            rate: client::Settings::CLOUDFLARE_RATE,
        };
        Ok(Account { settings, delivery: config.cloudflare_delivery_url.clone(), emulator: None })
    }

    #[cfg(feature = "emulator")]
    async fn emulated(config: &Config, public_url: &Url, own_url: &Url) -> Result<Account, AccountError> {
        use cloudflare_images_emulator::{Emulator, Given, Settings};
        let (base, own) = (below(public_url, EMULATOR), below(own_url, EMULATOR));
        let settings = Settings {
            data_dir: config.data_dir.join("emulator"),
            public_url: base.clone(),
            given: Given::default(),
            faults: config.emulator_faults,
        };
        let emulator =
            Emulator::open(settings).await.map_err(|problem| AccountError::Emulator(Box::new(problem)))?;
        let credentials = emulator.credentials();
        let settings = client::Settings {
            account_id: credentials.account_id.clone(),
            credentials: Credentials::Token(credentials.api_token.clone().into()),
            api: below(&own, "/client/v4"),
            batch: below(&own, "/batch"),
            delivery: below(&base, "/imagedelivery"),
            upload: below(&base, "/upload"),
            timeout: config.cloudflare_timeout,
            deadline: config.cloudflare_timeout,
            // Cloudflare's rate is Cloudflare's; the emulator takes what the machine can do.
            rate: u32::MAX,
        };
        let delivery = settings.delivery.clone();
        Ok(Account { settings, delivery, emulator: Some(emulator.router()) })
    }

    #[cfg(not(feature = "emulator"))]
    async fn emulated(_: &Config, _: &Url, _: &Url) -> Result<Account, AccountError> {
        Err(AccountError::NoEmulator)
    }
}

/// Why there is no account to talk to.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("CLOUDFLARE_ACCOUNT_ID needs CLOUDFLARE_API_TOKEN, or CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY")]
    Credentials,
    #[cfg(feature = "emulator")]
    #[error("the emulator's store cannot be opened")]
    Emulator(#[source] Box<cloudflare_images_emulator::OpenError>),
    #[cfg(not(feature = "emulator"))]
    #[error("this build has no emulator: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN")]
    NoEmulator,
}

#[cfg(feature = "emulator")]
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Everything the server answers.
pub fn router(app: App, emulator: Option<Router>) -> Router {
    let face = handler::Face {
        schema: graphql::schema(&app),
        live: graphql::live_schema(&app),
        documents: Arc::new(Documents::new(graphql::limits(&app.config))),
        app: app.clone(),
    };
    let faces = Router::new()
        .route("/graphql", get(handler::serve).post(handler::serve).with_state(face))
        .method_not_allowed_fallback(handler::wrong_method)
        .nest("/api", rest::router(&app).layer(middleware::from_fn(encoding::only_identity)))
        .route("/api/", any(rest::unknown_route))
        .layer(middleware::from_fn(framing::whole))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors([Method::GET, Method::HEAD, Method::POST, Method::DELETE]));
    let mut router = faces
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(page::router())
        .merge(transfer::router())
        .with_state(app);
    #[cfg(feature = "emulator")]
    if let Some(emulator) = emulator {
        router = router.nest(EMULATOR, emulator);
    }
    #[cfg(not(feature = "emulator"))]
    drop(emulator);
    router = router.fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here.\n") });
    router.layer(CatchPanicLayer::custom(panicked)).layer(middleware::from_fn(identify))
}

/// Serves what a router answers until the server is stopped, and then what is under way. Refusals reach clients that are
/// still sending.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let router = router
        .layer(middleware::from_fn(framing::understood))
        .layer(middleware::from_fn(drain::answer_at_once));
    let stopped = stop.clone().cancelled_owned();
    axum::serve(linger::Lingering { listener, stop }, router).with_graceful_shutdown(stopped).await
}

/// What pages of any origin may ask and read. Tokens travel in a header and signatures in a URL, never in a cookie, so a
/// page can only use what it has. The headers it wants to send are named back to it one by one, because `*` does not cover
/// `Authorization`.
fn cors(methods: impl Into<AllowMethods>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(Duration::from_secs(3600))
}

/// Names a request, in its answer and in every line of its log.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(Uuid);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(RequestId(Uuid::nil())))
    }
}

impl FromRequestParts<App> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut request::Parts, app: &App) -> Result<Self, Response> {
        let id = parts.extensions.get().copied().unwrap_or(RequestId(Uuid::nil()));
        let viewer = match parts.extensions.get::<Viewer>() {
            Some(viewer) => Ok(viewer.clone()),
            None => viewer(app, &parts.headers).await,
        };
        let admitted = viewer.and_then(|viewer| rate::take(app, &viewer, 1).map(|_| viewer));
        admitted.map_err(|problem| rest::answer::<()>(Err(problem), id))
    }
}

/// Who sent these headers.
///
/// # Errors
/// `UNAUTHENTICATED` without a usable token.
pub async fn viewer(app: &App, headers: &HeaderMap) -> Result<Viewer> {
    let secret = bearer(headers).ok_or_else(viewer::unauthenticated)?;
    let now = app.clock.now();
    let viewer = Viewer::from_secret(&app.db.read, secret, now).await?;
    app.token_uses.note(viewer.token.id, now);
    Ok(viewer)
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    bearer_of(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The token in `Bearer <token>`.
pub fn bearer_of(text: &str) -> Option<&str> {
    let (scheme, token) = text.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId(Uuid::new_v4());
    request.extensions_mut().insert(id);
    // The path without its query: a signature in a query string is a secret.
    let span =
        tracing::info_span!("request", %id, method = %request.method(), path = logged(request.uri().path()));
    let mut response = async move {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await;
    if response.extensions().get::<Panicked>().is_some() {
        response = fault(id);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A path as the log has it: of a one-time upload URL of the emulator the path itself is the secret.
fn logged(path: &str) -> &str {
    let upload = path.match_indices("/upload/").next();
    upload.map_or(path, |(start, found)| &path[..start + found.len()])
}

/// A panic is a fault like any other; what it said stays in the log.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> http::Response<Body> {
    let cause = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(cause, "panic");
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(Panicked);
    response
}

/// Marks the answer to a request whose handling panicked.
#[derive(Clone)]
struct Panicked;

/// A fault as both faces show it.
fn fault(id: RequestId) -> Response {
    let (code, id) = (Code::Internal.as_str(), id.to_string());
    let body = json!({
        "error": { "code": code, "message": FAULT_MESSAGE, "requestId": id },
        "errors": [{ "message": FAULT_MESSAGE, "extensions": { "code": code, "requestId": id } }],
    });
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}

/// Whether this server can do its work: its database and byte store answer. An account that is down does not take the
/// server out of service, because uploads are kept and provisioned later.
async fn ready(State(app): State<App>) -> Response {
    let database = app.db.read.ping().await.map_err(Error::from);
    let store = app.blobs.check().await.map_err(Error::from);
    let say = |result: &Result<()>| if result.is_ok() { "ok" } else { "failing" };
    let body = json!({ "database": say(&database), "store": say(&store) });
    let mut status = StatusCode::OK;
    for problem in [database, store].into_iter().filter_map(Result::err) {
        problem.log();
        status = StatusCode::SERVICE_UNAVAILABLE;
    }
    (status, Json(body)).into_response()
}

fn account_failures(app: &App) -> String {
    let counts = app.cloudflare.failures.counts().into_iter();
    counts
        .map(|(kind, count)| format!("imagegraph_account_failures_total{{kind=\"{kind}\"}} {count}\n"))
        .collect()
}

/// Numbers for Prometheus; for admins.
async fn metrics(State(app): State<App>, viewer: Viewer, id: RequestId) -> Response {
    if !viewer.manages_server() {
        return rest::answer::<()>(Err(Error::refuse(Code::Forbidden, "Metrics are for admins.")), id);
    }
    let text = format!(
        "# HELP imagegraph_sql_statements_total SQL statements run.\n\
         # TYPE imagegraph_sql_statements_total counter\n\
         imagegraph_sql_statements_total {}\n\
         # HELP imagegraph_connections Open WebSockets and event streams.\n\
         # TYPE imagegraph_connections gauge\n\
         imagegraph_connections {}\n\
         # HELP imagegraph_followers Subscriptions that follow a workspace.\n\
         # TYPE imagegraph_followers gauge\n\
         imagegraph_followers {}\n\
         # HELP imagegraph_account_failures_total Calls to the Cloudflare account that failed.\n\
         # TYPE imagegraph_account_failures_total counter\n{}",
        app.db.statements(),
        app.connections.count(),
        app.wakes.followers(),
        account_failures(&app)
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
