//! Responses: their JSON, status and headers for each media type.

use std::collections::BTreeMap;

use async_graphql::{BatchResponse, ServerError, Value};
use async_graphql_axum::GraphQLResponse;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::error::{Code, Error};
use crate::graphql::cost;
use crate::graphql::rows::{self, WriteJson, raw_text};
use crate::graphql::transport::negotiation::GRAPHQL_RESPONSE;
use crate::graphql::transport::request::RequestRejection;
use crate::http::{RequestId, encoding};

/// Most errors of one response.
const MAX_ERRORS: usize = 20;

/// Gives every error a code and every internal error the request id, and bounds their number.
pub(super) fn finish(mut response: async_graphql::Response, id: RequestId) -> async_graphql::Response {
    response.errors.truncate(MAX_ERRORS);
    let code = if response.data == Value::Null { "GRAPHQL_VALIDATION_FAILED" } else { "BAD_USER_INPUT" };
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        match extensions.get("code") {
            None => extensions.set("code", code),
            Some(Value::String(code)) if is_fault(code) => extensions.set("requestId", id.to_string()),
            Some(_) => {}
        }
    }
    response
}

/// Whether a code is that of a fault: its message refers to the request id.
fn is_fault(code: &str) -> bool {
    [Code::Internal, Code::Unavailable].iter().any(|fault| fault.as_str() == code)
}

/// The response to a single request.
pub(super) fn encode(response: async_graphql::Response, media_type: &'static str) -> Response {
    let (rate_limited, unavailable) = (cost::retry_after(&response), unavailable_for(&response));
    let mut encoded = match RequestError::of(&response, media_type) {
        Some(error) => (StatusCode::BAD_REQUEST, Json(error)).into_response(),
        None => body(&response).into_response(),
    };
    // Under either media type: a proxy that repeats requests goes by the status and does not read the body.
    let retry = rate_limited.map(|seconds| (StatusCode::TOO_MANY_REQUESTS, seconds));
    let retry = retry.or(unavailable.map(|seconds| (StatusCode::SERVICE_UNAVAILABLE, seconds)));
    if let Some((status, seconds)) = retry {
        *encoded.status_mut() = status;
        encoded.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    encoded.with_media_type(media_type)
}

/// The body of a response. Written here, because serde_json would read each text that rows have been written as, to check that
/// it is JSON.
fn body(response: &async_graphql::Response) -> Vec<u8> {
    let written = match &response.data {
        Value::Object(fields) => fields.values().filter_map(raw_text).map(str::len).sum(),
        _ => 0,
    };
    let mut json = Vec::with_capacity(written + 512);
    json.extend_from_slice(b"{\"data\":");
    response.data.write_json(&mut json);
    if !response.extensions.is_empty() {
        json.extend_from_slice(b",\"extensions\":");
        rows::serialize(&response.extensions, &mut json);
    }
    if !response.errors.is_empty() {
        json.extend_from_slice(b",\"errors\":");
        rows::serialize(&response.errors, &mut json);
    }
    json.push(b'}');
    json
}

/// The response to a batch.
pub(super) fn encode_batch(responses: Vec<async_graphql::Response>, media_type: &'static str) -> Response {
    let entry = |response| match RequestError::of(response, media_type) {
        Some(error) => BatchEntry::Error(error),
        None => BatchEntry::Response(response),
    };
    let entries: Vec<BatchEntry<'_>> = responses.iter().map(entry).collect();
    let encoded = match entries.iter().any(|entry| matches!(entry, BatchEntry::Error(_))) {
        true => Json(entries).into_response(),
        false => GraphQLResponse(BatchResponse::Batch(responses)).into_response(),
    };
    encoded.with_media_type(media_type)
}

/// A response without `data`: `application/graphql-response+json` has none for a request that was not executed.
#[derive(Serialize)]
struct RequestError<'a> {
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: &'a BTreeMap<String, Value>,
}

impl<'a> RequestError<'a> {
    fn of(response: &'a async_graphql::Response, media_type: &str) -> Option<Self> {
        let executed = response.data != Value::Null || response.errors.is_empty();
        (media_type == GRAPHQL_RESPONSE && !executed)
            .then_some(RequestError { errors: &response.errors, extensions: &response.extensions })
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum BatchEntry<'a> {
    Error(RequestError<'a>),
    Response(&'a async_graphql::Response),
}

/// After how many seconds to repeat a request of which nothing was done because a dependency does not answer.
fn unavailable_for(response: &async_graphql::Response) -> Option<u64> {
    let nothing_done = match &response.data {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(|value| *value == Value::Null),
        _ => false,
    };
    let unavailable = Value::from(Code::Unavailable.as_str());
    let extensions = response.errors.iter().filter_map(|error| error.extensions.as_ref());
    let mut outages = extensions.filter(|extensions| extensions.get("code") == Some(&unavailable));
    match outages.next()?.get("retryAfter") {
        Some(Value::Number(seconds)) if nothing_done => seconds.as_u64(),
        _ => None,
    }
}

pub(super) trait WithMediaType {
    /// Sets `Content-Type`. An error of an event stream is JSON, because there is no stream yet.
    fn with_media_type(self, media_type: &'static str) -> Self;
}

impl WithMediaType for Response {
    fn with_media_type(mut self, media_type: &'static str) -> Self {
        let value = if media_type == GRAPHQL_RESPONSE {
            HeaderValue::from_static("application/graphql-response+json; charset=utf-8")
        } else {
            HeaderValue::from_static("application/json; charset=utf-8")
        };
        self.headers_mut().insert(header::CONTENT_TYPE, value);
        self
    }
}

/// A refusal or fault before the request was read.
pub(super) fn from_error(problem: Error, id: RequestId) -> Response {
    let refusal = problem.public();
    let response = finish(async_graphql::Response::from_errors(vec![cost::to_server_error(problem)]), id);
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(json!({ "errors": response.errors }))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(delay) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    response
}

/// A request error with a status of its own.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let mut error = ServerError::new(message, None);
    error.extensions.get_or_insert_default().set("code", code);
    (status, Json(json!({ "errors": [error] }))).into_response()
}

impl RequestRejection {
    /// The rejection as the response to one request among others.
    pub(super) fn response(&self) -> async_graphql::Response {
        let mut error = ServerError::new(&self.message, None);
        error.extensions.get_or_insert_default().set("code", self.code);
        async_graphql::Response::from_errors(vec![error])
    }

    pub(super) fn into_http(self, id: RequestId) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        if is_fault(self.code) {
            return self.fault(status, id);
        }
        let mut response = error(status, self.code, &self.message);
        let headers = response.headers_mut();
        match self.status {
            405 => headers.insert(header::ALLOW, HeaderValue::from_static("POST")),
            // Only for a content coding: of another 415 the client would conclude that its coding is the problem.
            415 if self.message == encoding::MESSAGE => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding::ACCEPT_ENCODING))
            }
            _ => None,
        };
        response
    }

    fn fault(&self, status: StatusCode, id: RequestId) -> Response {
        let mut response = finish(self.response(), id);
        let outage = Error::outage("reading a request", "").public().retry_after;
        let delay = outage.filter(|_| status == StatusCode::SERVICE_UNAVAILABLE);
        if let (Some(delay), Some(error)) = (delay, response.errors.first_mut()) {
            error.extensions.get_or_insert_default().set("retryAfter", delay.as_secs());
        }
        let mut response = (status, Json(json!({ "errors": response.errors }))).into_response();
        if let Some(delay) = delay {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs()));
        }
        response
    }
}
