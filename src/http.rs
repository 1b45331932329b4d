//! The router: both faces, the emulator's mount, the viewer of a request, health, metrics, and what every answer has.

mod drain;

mod page;

mod transfer;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, http};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tracing::Instrument;
use url::Url;
use utoipa::OpenApi;
use uuid::Uuid;

use crate::app::App;
use crate::cloudflare::client::{self, Credentials};
use crate::config::Config;
use crate::error::{Code, Error, FAULT_MESSAGE, Result};
use crate::graphql::{self, cost, handler};
use crate::rate;
use crate::rest::{self, ApiDoc};
use crate::viewer::{self, Viewer};

/// Where the emulator is mounted.
#[cfg(feature = "emulator")]
const EMULATOR: &str = "/cloudflare";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
        use crate::emulator::{Emulator, Given, Settings};
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
    Emulator(#[source] Box<crate::emulator::OpenError>),
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
    let face =
        handler::Face { schema: graphql::schema(&app), live: graphql::live_schema(&app), app: app.clone() };
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(Any)
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT, REQUEST_ID])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER, cost::LIMIT, cost::POLICY])
        .max_age(Duration::from_secs(3600));
    // Tokens travel in a header and never in a cookie, so a page of any origin may ask: it can only use its own token.
    let faces = Router::new()
        .route("/graphql", get(handler::serve).post(handler::serve).with_state(face))
        .nest("/api", rest::router().route("/openapi.json", get(openapi)))
        .layer(cors);
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
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(drain::after_answer))
        .layer(middleware::from_fn(identify))
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
        let viewer = viewer(app, &parts.headers).await;
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
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    let mut response = async move {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A panic is a fault like any other; what it said stays in the log.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> http::Response<Body> {
    let cause = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(cause, "panic");
    let code = Code::Internal.as_str();
    let body = json!({
        "error": { "code": code, "message": FAULT_MESSAGE },
        "errors": [{ "message": FAULT_MESSAGE, "extensions": { "code": code } }],
    });
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}

async fn openapi(_: Viewer) -> Json<utoipa::openapi::OpenApi> {
    Json(ApiDoc::openapi())
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
         imagegraph_followers {}\n",
        app.db.statements(),
        app.connections.count(),
        app.wakes.followers()
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
