//! GraphQL over HTTP: <https://graphql.github.io/graphql-over-http/draft/>.
//!
//! Our own handler, because the stock one executes mutations over GET and without a content type, answers every request
//! with one media type, and does not bound what it reads.

use std::sync::Arc;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{Request, Response as Answer, ServerError, Value};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::json;

use crate::app::App;
use crate::auth::rate;
use crate::auth::{Credential, Viewer};
use crate::error::{Code, Error};
use crate::graphql::Schema;
use crate::graphql::cost::{self, Paid};
use crate::graphql::document::field_order::Order;
use crate::graphql::document::{Document, Documents};
use crate::graphql::loader::{self, Sweeps};
use crate::graphql::transport::request::{self, Asking, PERSISTED, Parts, Unreadable};
use crate::graphql::transport::{sse, websocket};
use crate::http::{RequestId, credential, encoding, rate_limit};

/// Most errors in one answer.
const MAX_ERRORS: usize = 20;
const RESPONSE_JSON: &str = "application/graphql-response+json";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What the GraphQL face runs on.
#[derive(Clone)]
pub struct Face {
    pub app: App,
    pub schema: Schema,
    /// The schema that runs subscriptions.
    pub live: Schema,
    pub documents: Arc<Documents>,
}

/// Answers GET, POST and WebSocket upgrades on `/graphql`.
pub async fn serve(State(face): State<Face>, id: RequestId, request: axum::http::Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let upgrade =
        head.headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if upgrade {
        return websocket::upgrade(face, id, head).await;
    }
    let Some(accepted) = negotiate(&head.headers) else {
        let message = format!("This answers {JSON}, {RESPONSE_JSON} and {EVENTS}.");
        return error(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", &message);
    };
    let media_type = accepted.media_type;
    let viewer = match credential::viewer(&face.app, &head.headers).await {
        Ok(viewer) => viewer,
        Err(problem) => return refuse(problem, id).typed(media_type),
    };
    let viewer = Arc::new(viewer);
    // Who has nothing left sends no files.
    if let Err(problem) = rate::admit(&face.app, &viewer) {
        let mut refused = refuse(problem, id).typed(media_type);
        rate_limit::add_headers(refused.headers_mut(), &face.app, &viewer);
        return refused;
    }
    // HEAD asks what GET would answer; the HTTP layer leaves the body out.
    let only_queries = matches!(head.method, Method::GET | Method::HEAD);
    let read = if only_queries {
        let asked = request::from_query_string(head.uri.query().unwrap_or_default());
        asked.map(|request| (Asking::One(Box::new(request)), Parts::default()))
    } else {
        read_body(&face.app, &head.headers, body).await
    };
    let (asking, parts) = match read {
        Ok(read) => read,
        Err(unreadable) if unreadable.code == PERSISTED => return encode(unreadable.answer(), media_type),
        Err(unreadable) => return unreadable.response(id).typed(media_type),
    };
    let mut response = match asking {
        Asking::One(request) if accepted.streams(&face.documents, &request) => {
            let credential =
                Credential::new(credential::bearer_token(&head.headers).unwrap_or_default().to_owned());
            sse::answer(face.clone(), credential, viewer.token.id, *request, parts, only_queries, id)
        }
        Asking::Batch(_) if media_type == EVENTS => {
            let message = format!("A batch is not streamed: accept {JSON}, or send one request.");
            error(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", &message)
        }
        Asking::One(request) => match face.execute(*request, &viewer, parts, only_queries, id).await {
            Ok(answer) => encode(answer, media_type),
            Err(refused) => refused.response(id).typed(media_type),
        },
        Asking::Batch(requests) => {
            let answers = join_all(
                requests
                    .into_iter()
                    .map(async |request| face.execute(request?, &viewer, parts.clone(), false, id).await),
            );
            let answers =
                answers.await.into_iter().map(|done| done.unwrap_or_else(|refused| refused.answer()));
            let answers: Vec<_> = answers.map(|answer| Shown { answer, media_type }).collect();
            Json(answers).into_response().typed(media_type)
        }
    };
    rate_limit::add_headers(response.headers_mut(), &face.app, &viewer);
    response
}

impl Face {
    /// Runs one request. `Err` is for an operation that does not run this way.
    pub(super) async fn execute(
        &self,
        request: Request,
        viewer: &Arc<Viewer>,
        parts: Parts,
        only_queries: bool,
        id: RequestId,
    ) -> Result<Answer, Unreadable> {
        let document = match self.parse(&request, viewer) {
            Ok(document) => document,
            Err(problem) => return Ok(polished(Answer::from_errors(vec![problem]), id)),
        };
        let wanted = operation_type(&document.executable, request.operation_name.as_deref());
        if only_queries && wanted != Some(OperationType::Query) {
            return Err(not_over_get());
        }
        if wanted == Some(OperationType::Subscription) {
            let message = format!(
                "A subscription is answered as {EVENTS}, or over a WebSocket: accept {EVENTS}, or connect."
            );
            return Err(Unreadable { status: 406, code: "NOT_ACCEPTABLE", message });
        }
        Ok(self.run(request, &document, viewer, parts, id).await)
    }

    /// Reads the document of a request within the limits.
    pub(super) fn parse(&self, request: &Request, viewer: &Viewer) -> Result<Arc<Document>, ServerError> {
        self.documents.find(&request.query).map_err(|problem| {
            // Not read to the end, and it took its time all the same.
            rate::take(&self.app, viewer, 1).map_or_else(cost::refused, |_| problem)
        })
    }

    /// Makes a request ready to be executed.
    pub(super) fn prepare(
        &self,
        request: Request,
        document: &Document,
        viewer: &Viewer,
    ) -> Result<Request, Vec<ServerError>> {
        document.prepare(request).map_err(|problems| {
            rate::take(&self.app, viewer, 1).map_or_else(|problem| vec![cost::refused(problem)], |_| problems)
        })
    }

    /// Runs a query or mutation that has been parsed within the limits.
    pub(super) async fn run(
        &self,
        request: Request,
        document: &Document,
        viewer: &Arc<Viewer>,
        parts: Parts,
        id: RequestId,
    ) -> Answer {
        let request = match self.prepare(request, document, viewer) {
            Ok(request) => request,
            Err(problems) => return polished(Answer::from_errors(problems), id),
        };
        let order = Order::of(&document.executable, request.operation_name.as_deref(), &request.variables);
        let sweeps = Sweeps::default();
        let request = request
            .data(Arc::clone(viewer))
            .data(Arc::<Paid>::default())
            .data(Arc::new(loader::loaders(self.app.clone(), Arc::clone(viewer), &sweeps)))
            .data(parts);
        let mut answer = sweeps.of(self.schema.execute(request)).await;
        if answer.data != Value::Null {
            order.sort(&mut answer.data);
        }
        polished(answer, id)
    }
}

/// The refusal of a method that is neither GET, HEAD nor POST; the router adds `Allow`.
pub async fn wrong_method() -> Response {
    let message = "Queries are sent by GET or POST, mutations by POST.";
    error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

/// The refusal of anything but a query over GET.
pub(super) fn not_over_get() -> Unreadable {
    let message = "Over GET only a query is run; send mutations by POST.".to_owned();
    Unreadable { status: 405, code: "METHOD_NOT_ALLOWED", message }
}

async fn read_body(app: &App, headers: &HeaderMap, body: Body) -> Result<(Asking, Parts), Unreadable> {
    if encoding::is_encoded(headers) {
        let message = encoding::MESSAGE.to_owned();
        return Err(Unreadable { status: 415, code: "UNSUPPORTED_MEDIA_TYPE", message });
    }
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = sent.split_once(';').unwrap_or((sent, ""));
    match essence.trim().to_ascii_lowercase().as_str() {
        JSON if utf8(parameters) => Ok((request::from_json(&app.config, body).await?, Parts::default())),
        "multipart/form-data" => {
            let boundary = multer::parse_boundary(sent).map_err(|_| Unreadable {
                status: 400,
                code: "BAD_REQUEST",
                message: "The multipart boundary is missing.".to_owned(),
            })?;
            request::from_multipart(&app.config, &app.config.data_dir, boundary, body).await
        }
        _ => Err(Unreadable {
            status: 415,
            code: "UNSUPPORTED_MEDIA_TYPE",
            message: format!("Send the request as {JSON} in UTF-8, or with files as multipart/form-data."),
        }),
    }
}

fn utf8(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

/// What a client takes.
struct Accepted {
    /// What it gets; `text/event-stream` only if it prefers that.
    media_type: &'static str,
    /// Whether it takes `text/event-stream` at all.
    events: bool,
}

impl Accepted {
    /// Whether this request is answered as a stream of events: when the client wants that, and for a subscription when it
    /// takes that.
    fn streams(&self, documents: &Documents, request: &Request) -> bool {
        self.media_type == EVENTS
            || self.events
                && documents.find(&request.query).is_ok_and(|document| {
                    operation_type(&document.executable, request.operation_name.as_deref())
                        == Some(OperationType::Subscription)
                })
    }
}

/// What a client gets: plain JSON unless it asks for something else; `None` when it takes nothing of ours.
fn negotiate(headers: &HeaderMap) -> Option<Accepted> {
    let accepts: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    if accepts.iter().all(|accept| accept.trim().is_empty()) {
        return Some(Accepted { media_type: JSON, events: false });
    }
    let (mut best, mut events): (Option<(&'static str, f32)>, bool) = (None, false);
    for accept in accepts {
        let (range, parameters) = accept.split_once(';').unwrap_or((accept, ""));
        let media_type = match range.trim().to_ascii_lowercase().as_str() {
            RESPONSE_JSON => RESPONSE_JSON,
            EVENTS => EVENTS,
            JSON | "application/*" | "*/*" => JSON,
            _ => continue,
        };
        let weight = parameters
            .split(';')
            .filter_map(|parameter| parameter.trim().strip_prefix("q="))
            .find_map(|weight| weight.trim().parse().ok())
            .unwrap_or(1.0);
        events |= media_type == EVENTS && weight > 0.0;
        if weight > 0.0 && best.is_none_or(|(_, known)| weight > known) {
            best = Some((media_type, weight));
        }
    }
    best.map(|(media_type, _)| Accepted { media_type, events })
}

/// The kind of the operation that a request asks for, as far as that is clear.
pub(super) fn operation_type(document: &ExecutableDocument, name: Option<&str>) -> Option<OperationType> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation.node.ty),
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).map(|operation| operation.node.ty)
        }
        // Several and none named: validation refuses it, unless one of them must not run at all.
        (DocumentOperations::Multiple(operations), None) => {
            let mut kinds = operations.values().map(|operation| operation.node.ty);
            let first = kinds.next()?;
            // One that has a name is alone as well.
            (operations.len() == 1 || first == OperationType::Query && kinds.all(|kind| kind == first))
                .then_some(first)
        }
    }
}

/// Gives every error a code and every fault its request id, and ends an endless list.
pub(super) fn polished(mut answer: Answer, id: RequestId) -> Answer {
    answer.errors.truncate(MAX_ERRORS);
    let code = if answer.data == Value::Null { "GRAPHQL_VALIDATION_FAILED" } else { "BAD_USER_INPUT" };
    for error in &mut answer.errors {
        let extensions = error.extensions.get_or_insert_default();
        match extensions.get("code") {
            None => extensions.set("code", code),
            Some(Value::String(code)) if is_fault(code) => extensions.set("requestId", id.to_string()),
            Some(_) => {}
        }
    }
    answer
}

/// Whether a code is one of ours to look into: its sentence speaks of the request id.
fn is_fault(code: &str) -> bool {
    [Code::Internal, Code::Unavailable].iter().any(|fault| fault.as_str() == code)
}

/// For how many seconds an answer says to wait because something does not work at the moment, and nothing of it was done.
fn outage(answer: &Answer) -> Option<u64> {
    let undone = match &answer.data {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(|value| *value == Value::Null),
        _ => false,
    };
    let passing = Value::from(Code::Unavailable.as_str());
    let extensions = answer.errors.iter().filter_map(|error| error.extensions.as_ref());
    let mut outages = extensions.filter(|extensions| extensions.get("code") == Some(&passing));
    match outages.next()?.get("retryAfter") {
        Some(Value::Number(seconds)) if undone => seconds.as_u64(),
        _ => None,
    }
}

fn encode(answer: Answer, media_type: &'static str) -> Response {
    let (wait, outage) = (cost::wait(&answer), outage(&answer));
    let shown = Shown { answer, media_type };
    let status = if shown.is_bare() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let mut response = (status, Json(shown)).into_response();
    // Under either media type, because whatever repeats requests goes by the status and knows nothing of GraphQL.
    if let Some(seconds) = wait {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    } else if let Some(seconds) = outage {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.typed(media_type)
}

/// An answer as a media type has it.
struct Shown {
    answer: Answer,
    media_type: &'static str,
}

impl Shown {
    /// A request that was never executed has no `data`; only the newer media type leaves it out, and has a status for it.
    fn is_bare(&self) -> bool {
        self.media_type == RESPONSE_JSON && self.answer.data == Value::Null && !self.answer.errors.is_empty()
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_bare() {
            return self.answer.serialize(serializer);
        }
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("errors", &self.answer.errors)?;
        if !self.answer.extensions.is_empty() {
            fields.serialize_entry("extensions", &self.answer.extensions)?;
        }
        fields.end()
    }
}

trait Typed {
    fn typed(self, media_type: &'static str) -> Self;
}

impl Typed for Response {
    fn typed(mut self, media_type: &'static str) -> Self {
        let value = if media_type == RESPONSE_JSON {
            HeaderValue::from_static("application/graphql-response+json; charset=utf-8")
        } else {
            HeaderValue::from_static("application/json; charset=utf-8")
        };
        self.headers_mut().insert(header::CONTENT_TYPE, value);
        self
    }
}

/// A refusal or fault before there was an operation.
fn refuse(problem: Error, id: RequestId) -> Response {
    let refusal = problem.public();
    let answer = polished(Answer::from_errors(vec![cost::refused(problem)]), id);
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(json!({ "errors": answer.errors }))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(delay) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    response
}

/// An answer to a request that never became an operation.
pub fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let mut error = ServerError::new(message, None);
    error.extensions.get_or_insert_default().set("code", code);
    (status, Json(json!({ "errors": [error] }))).into_response()
}

impl Unreadable {
    /// The same as an answer in its place among others.
    pub(super) fn answer(&self) -> Answer {
        let mut error = ServerError::new(&self.message, None);
        error.extensions.get_or_insert_default().set("code", self.code);
        Answer::from_errors(vec![error])
    }

    pub(super) fn response(self, id: RequestId) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        if is_fault(self.code) {
            return self.fault(status, id);
        }
        let mut response = error(status, self.code, &self.message);
        let headers = response.headers_mut();
        match self.status {
            405 => headers.insert(header::ALLOW, HeaderValue::from_static("POST")),
            // Only where the coding is what is wrong: otherwise a client would look for the fault in it.
            415 if self.message == encoding::MESSAGE => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding::ACCEPT_ENCODING))
            }
            _ => None,
        };
        response
    }

    fn fault(&self, status: StatusCode, id: RequestId) -> Response {
        let mut answer = polished(self.answer(), id);
        let outage = Error::outage("reading a request", "").public().retry_after;
        let wait = outage.filter(|_| status == StatusCode::SERVICE_UNAVAILABLE);
        if let (Some(wait), Some(error)) = (wait, answer.errors.first_mut()) {
            error.extensions.get_or_insert_default().set("retryAfter", wait.as_secs());
        }
        let mut response = (status, Json(json!({ "errors": answer.errors }))).into_response();
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response
    }
}
