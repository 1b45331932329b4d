//! The router: both faces, file transfer, the GraphiQL page, the emulator, health and metrics.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::routing::{any, get};
use tower_http::cors::{AllowHeaders, AllowMethods, Any, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

#[cfg(feature = "emulator")]
use super::account::EMULATOR_PATH;
use super::{graphiql, health, metrics};
use crate::app::App;
use crate::graphql::transport::handler;
use crate::graphql::transport::service::GraphqlService;
use crate::http::{compression, encoding, error, framing, panic, rate_limit, request_id, transfer};
use crate::rest;

/// Response headers that scripts of other origins may read, beyond those that CORS always allows.
const EXPOSED_HEADERS: [HeaderName; 13] = [
    request_id::X_REQUEST_ID,
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
    rate_limit::RATE_LIMIT,
    rate_limit::RATE_LIMIT_POLICY,
];

/// The router of a server, with that of the emulator if there is one.
pub fn router(app: App, emulator: Option<Router>) -> Router {
    let transfer = transfer::router().layer(cors([Method::GET, Method::HEAD, Method::PUT]));
    let mut router = faces(&app)
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(health::ready))
        .layer(middleware::from_fn(compression::compress))
        .merge(graphiql::router())
        .merge(transfer)
        .with_state(app);
    #[cfg(feature = "emulator")]
    if let Some(emulator) = emulator {
        router = router.nest(EMULATOR_PATH, emulator);
    }
    #[cfg(not(feature = "emulator"))]
    drop(emulator);
    router = router.fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here.\n") });
    let nosniff = HeaderValue::from_static("nosniff");
    router
        // The outermost comes first. They are one layer, because each layer of a router is copied for every request.
        .layer((
            SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, nosniff),
            middleware::from_fn(request_id::assign),
            panic::layer(),
        ))
}

/// The routes of GraphQL and REST.
fn faces(app: &App) -> Router<App> {
    Router::new()
        .route("/graphql", get(handler::handle).post(handler::handle).with_state(GraphqlService::new(app)))
        .method_not_allowed_fallback(handler::method_not_allowed)
        .nest("/api", rest::router(app).layer(middleware::from_fn(encoding::reject_encoded)))
        .route("/api/", any(error::route_not_found))
        .layer((
            cors([Method::GET, Method::HEAD, Method::POST, Method::DELETE]),
            panic::layer(),
            middleware::from_fn(framing::reject_partial),
        ))
}

/// Allows pages of any origin. Tokens travel in a header and signatures in a URL, never in a cookie, so a page can only use
/// what it was given. The request headers are mirrored because `*` does not cover `Authorization`.
fn cors(methods: impl Into<AllowMethods>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED_HEADERS)
        .max_age(Duration::from_secs(3600))
}
