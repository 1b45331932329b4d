//! GraphQL requests from a query string and from JSON.

use async_graphql::{ParseRequestError, Request, Variables};
use async_graphql_axum::GraphQLRequest;
use axum::body::{Body, HttpBody};
use axum::extract::FromRequest;
use axum::http::{self, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Map, Value};

use crate::config::Config;
use crate::graphql::transport::json;
use crate::graphql::transport::negotiation::JSON;
use crate::graphql::transport::response;

/// One request, or a batch of them.
#[derive(Debug)]
pub(super) enum RequestBody {
    Single(Box<Request>),
    /// A request that cannot be read has its place in the response.
    Batch(Vec<Result<Request, RequestRejection>>),
}

/// Why a request cannot be read or executed: status, code and message of the response.
#[derive(Debug)]
pub(super) struct RequestRejection {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Code for a request with the hash of a persisted query. Apollo Client recognises it, or the message, and then sends whole
/// queries.
pub(super) const PERSISTED_QUERY: &str = "PERSISTED_QUERY_NOT_SUPPORTED";

impl RequestRejection {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        RequestRejection { status: 400, code: "BAD_REQUEST", message: message.into() }
    }

    pub(super) fn too_large(message: String) -> Self {
        RequestRejection { status: 413, code: "PAYLOAD_TOO_LARGE", message }
    }

    pub(super) fn unsupported_media_type(message: String) -> Self {
        RequestRejection { status: 415, code: "UNSUPPORTED_MEDIA_TYPE", message }
    }

    /// For an operation over GET that is not a query.
    pub(super) fn query_required() -> Self {
        let message = "Only queries are executed over GET; send mutations by POST.".to_owned();
        RequestRejection { status: 405, code: "METHOD_NOT_ALLOWED", message }
    }
}

impl From<ParseRequestError> for RequestRejection {
    fn from(_: ParseRequestError) -> Self {
        RequestRejection::bad_request("The body is not a GraphQL request.")
    }
}

impl IntoResponse for RequestRejection {
    fn into_response(self) -> Response {
        let status = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::BAD_REQUEST);
        response::error(status, self.code, &self.message)
    }
}

/// Reads the request in the query string of a GET.
pub(super) fn from_query_string(query: &str) -> Result<Request, RequestRejection> {
    let bad_request = |message: String| Err(RequestRejection::bad_request(message));
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = match &*name {
            "query" | "operationName" => Value::String(value.into_owned()),
            "variables" | "extensions" if value.is_empty() => Value::Null,
            "variables" | "extensions" => match json::read(value.as_bytes()) {
                Ok(value) => value,
                Err(_) => return bad_request(format!("`{name}` in the query string is not JSON.")),
            },
            _ => continue,
        };
        if fields.insert(name.to_string(), value).is_some() {
            return bad_request(format!("`{name}` is given twice in the query string."));
        }
    }
    from_object(Value::Object(fields))
}

/// Reads a JSON body of limited size.
pub(super) async fn from_json(config: &Config, body: Body) -> Result<RequestBody, RequestRejection> {
    let max = config.max_query_size;
    let too_large = || RequestRejection::too_large(format!("A request has at most {max} bytes."));
    // Rejects a body by its `Content-Length` before a client that sent `Expect: 100-continue` is told to send it.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let mut received = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| RequestRejection::bad_request("The body ended early."))?;
        if received.len() + chunk.len() > max {
            return Err(too_large());
        }
        received.extend_from_slice(&chunk);
    }
    let received = Bytes::from(received);
    match extract(received.clone()).await {
        Some(request) => Ok(RequestBody::Single(Box::new(request))),
        None => from_value(parse(&received, "The body")?, config.max_batch),
    }
}

/// Reads an object with the extractor of `async-graphql-axum`.
///
/// `None` for a batch: the extractor of batches takes `["{ a }"]` for one request with its fields by position, and rejects a
/// batch as a whole where one request cannot be read. `None` also for an object that it rejects or that is not executable:
/// [`from_object`] reads it again and names the problem.
async fn extract(body: Bytes) -> Option<Request> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let mut request = http::Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    let request = GraphQLRequest::<RequestRejection>::from_request(request, &()).await.ok()?.into_inner();
    let is_executable = !request.query.trim().is_empty() && request.operation_name.as_deref() != Some("");
    is_executable.then_some(request)
}

/// Reads a request or a batch.
pub(super) fn from_value(value: Value, max_batch: usize) -> Result<RequestBody, RequestRejection> {
    match value {
        Value::Array(requests) if requests.is_empty() => {
            Err(RequestRejection::bad_request("A batch has at least one request."))
        }
        Value::Array(requests) if requests.len() > max_batch => {
            Err(RequestRejection::bad_request(format!("A batch has at most {max_batch} requests.")))
        }
        Value::Array(requests) => Ok(RequestBody::Batch(requests.into_iter().map(from_object).collect())),
        single => from_object(single).map(|request| RequestBody::Single(Box::new(request))),
    }
}

/// Reads the object of a request.
pub(super) fn from_object(value: Value) -> Result<Request, RequestRejection> {
    let bad_request = |message: &str| Err(RequestRejection::bad_request(message));
    let Value::Object(mut fields) = value else {
        return bad_request("A request is an object with the field `query`.");
    };
    let query = match fields.remove("query") {
        Some(Value::String(query)) if !query.trim().is_empty() => query,
        None | Some(Value::Null | Value::String(_)) if is_persisted(&fields) => {
            let message = "PersistedQueryNotSupported".to_owned();
            return Err(RequestRejection { status: 200, code: PERSISTED_QUERY, message });
        }
        _ => return bad_request("`query` is missing: it holds the text of the operation."),
    };
    let mut request = Request::new(query);
    match fields.remove("operationName") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if name.is_empty() => {}
        Some(Value::String(name)) => request = request.operation_name(name),
        Some(_) => return bad_request("`operationName` is a string."),
    }
    match fields.remove("variables") {
        None | Some(Value::Null) => {}
        Some(variables @ Value::Object(_)) => request = request.variables(Variables::from_json(variables)),
        Some(_) => return bad_request("`variables` is an object."),
    }
    match fields.remove("extensions") {
        None | Some(Value::Null | Value::Object(_)) => Ok(request),
        Some(_) => bad_request("`extensions` is an object."),
    }
}

/// Whether a request names its query by a hash.
fn is_persisted(fields: &Map<String, Value>) -> bool {
    fields.get("extensions").is_some_and(|extensions| !extensions["persistedQuery"].is_null())
}

pub(super) fn parse(text: &[u8], what: &str) -> Result<Value, RequestRejection> {
    json::read(text).map_err(|_| RequestRejection::bad_request(format!("{what} is not JSON.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn extracted(body: &'static str) -> Option<Request> {
        extract(Bytes::from_static(body.as_bytes())).await
    }

    /// What the extractor would read otherwise than GraphQL over HTTP is left to [`from_value`].
    #[tokio::test]
    async fn the_extractor_reads_well_formed_objects_only() {
        assert!(extracted(r#" {"query":"{ a }","variables":null,"extensions":null,"x":1}"#).await.is_some());
        for body in [
            r#"["{ a }"]"#,
            r#"[{"query":"{ a }"}]"#,
            r#"{"query":"{ a }","operationName":""}"#,
            r#"{"query":"{ a }","query":"{ b }"}"#,
            r#"{"query":" "}"#,
            r#"{"query":1}"#,
            r"{",
            r"",
        ] {
            assert!(extracted(body).await.is_none(), "{body}");
        }
    }

    #[tokio::test]
    async fn both_readers_agree_on_variables() {
        let body = r#"{"query":"{ a }","variables":{"a":{"$serde_json::private::RawValue":"[1]"},
            "b":[18446744073709551615,-1,0.1,1e300,true,null,"\ud83d\ude00"]}}"#;
        let read = from_object(parse(body.as_bytes(), "The body").unwrap()).unwrap();
        assert_eq!(extracted(body).await.unwrap().variables, read.variables);
    }
}
