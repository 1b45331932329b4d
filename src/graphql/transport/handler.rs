//! GraphQL over HTTP: <https://graphql.github.io/graphql-over-http/draft/>.
//!
//! The handler of `async-graphql-axum` executes mutations over GET and requests without a content type, answers with one
//! media type, and does not bound multipart bodies. Its extractor and responder are used where they fit: see `request.rs` and
//! `response.rs`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use futures_util::future::join_all;

use crate::app::App;
use crate::auth::{Credential, Viewer, rate};
use crate::content::mime;
use crate::graphql::transport::multipart::{self, FileParts};
use crate::graphql::transport::negotiation::{Accepted, EVENT_STREAM, GRAPHQL_RESPONSE, JSON};
use crate::graphql::transport::request::{self, PERSISTED_QUERY, RequestBody, RequestRejection};
use crate::graphql::transport::response::{self, WithMediaType, encode, encode_batch, error};
use crate::graphql::transport::service::GraphqlService;
use crate::graphql::transport::{sse, websocket};
use crate::http::{RequestId, credential, encoding, rate_limit, revalidation};

/// The request headers that the answer to a query over GET depends on: media type and viewer.
const VARY: &str = "accept, authorization";

/// Handles GET, POST and WebSocket upgrades on `/graphql`.
pub async fn handle(State(service): State<GraphqlService>, id: RequestId, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let upgrade = head.headers.get(header::UPGRADE);
    if upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return websocket::upgrade(service, id, head).await;
    }
    let Some(accepted) = Accepted::negotiate(&head.headers) else {
        let message = format!("Accept one of {JSON}, {GRAPHQL_RESPONSE} and {EVENT_STREAM}.");
        return error(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", &message);
    };
    let viewer = match credential::viewer(&service.app, &head.headers).await {
        Ok(viewer) => Arc::new(viewer),
        Err(problem) => return response::from_error(problem, id).with_media_type(accepted.media_type),
    };
    // Checked before the body is read, so that a token without points uploads no files.
    let mut response = match rate::check(&service.app, &viewer) {
        Ok(()) => respond(&service, &viewer, &accepted, head, body, id).await,
        Err(problem) => response::from_error(problem, id).with_media_type(accepted.media_type),
    };
    rate_limit::add_headers(response.headers_mut(), &service.app, &viewer);
    response
}

/// Reads a request, executes it and encodes its response.
async fn respond(
    service: &GraphqlService,
    viewer: &Arc<Viewer>,
    accepted: &Accepted,
    head: Parts,
    body: Body,
    id: RequestId,
) -> Response {
    let media_type = accepted.media_type;
    let queries_only = is_query_method(&head.method);
    let (request, files) = match read(&service.app, &head, body).await {
        Ok(read) => read,
        Err(rejection) if rejection.code == PERSISTED_QUERY => {
            return encode(rejection.response(), media_type);
        }
        Err(rejection) => return rejection.into_http(id).with_media_type(media_type),
    };
    match request {
        RequestBody::Single(request) if accepted.is_event_stream(&service.documents, &request) => {
            let token = credential::bearer_token(&head.headers).unwrap_or_default();
            let credential = Credential::new(token.to_owned());
            sse::respond(service.clone(), credential, viewer.token.id, *request, files, queries_only, id)
        }
        RequestBody::Batch(_) if media_type == EVENT_STREAM => {
            let message = format!("A batch has no event stream: accept {JSON}, or send one request.");
            error(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", &message)
        }
        RequestBody::Single(request) => {
            match service.execute(*request, viewer, files, queries_only, id).await {
                Ok(response) if queries_only && response.errors.is_empty() => {
                    revalidation::private(&head.headers, encode(response, media_type), VARY, id).await
                }
                Ok(response) => encode(response, media_type),
                Err(rejection) => rejection.into_http(id).with_media_type(media_type),
            }
        }
        RequestBody::Batch(requests) => {
            let responses = requests.into_iter().map(async |request| {
                let response = match request {
                    Ok(request) => service.execute(request, viewer, files.clone(), false, id).await,
                    Err(rejection) => Err(rejection),
                };
                response.unwrap_or_else(|rejection| rejection.response())
            });
            encode_batch(join_all(responses).await, media_type)
        }
    }
}

/// Whether a method allows queries only. HEAD is handled as GET: hyper omits the body of its response.
fn is_query_method(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The answer for a method that is neither GET, HEAD nor POST. The router adds `Allow`.
pub async fn method_not_allowed() -> Response {
    let message = "Send a query by GET or POST, and a mutation by POST.";
    error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

async fn read(app: &App, head: &Parts, body: Body) -> Result<(RequestBody, FileParts), RequestRejection> {
    if is_query_method(&head.method) {
        let request = request::from_query_string(head.uri.query().unwrap_or_default())?;
        return Ok((RequestBody::Single(Box::new(request)), FileParts::default()));
    }
    read_body(app, &head.headers, body).await
}

async fn read_body(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<(RequestBody, FileParts), RequestRejection> {
    if encoding::is_encoded(headers) {
        return Err(RequestRejection::unsupported_media_type(encoding::MESSAGE.to_owned()));
    }
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match mime::essence(content_type).as_str() {
        JSON if is_utf8(content_type) => {
            Ok((request::from_json(&app.config, body).await?, FileParts::default()))
        }
        "multipart/form-data" => {
            let boundary = multer::parse_boundary(content_type)
                .map_err(|_| RequestRejection::bad_request("The multipart boundary is missing."))?;
            multipart::read(&app.config, &app.config.data_dir, boundary, body).await
        }
        _ => {
            let message =
                format!("Send the request as {JSON} in UTF-8, or with files as multipart/form-data.");
            Err(RequestRejection::unsupported_media_type(message))
        }
    }
}

fn is_utf8(content_type: &str) -> bool {
    mime::parameter(content_type, "charset")
        .all(|charset| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"))
}
