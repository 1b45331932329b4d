//! Error responses: `{"error": {"code", "message", "field", "requestId"}}`, with the HTTP status of the code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::RequestId;
use crate::error::{Code, Error, Result};

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ErrorBody {
    error: ErrorDetail,
}

/// What was refused, and why.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProblemBody)]
pub struct ErrorDetail {
    /// Machine-readable kind, the same as in GraphQL.
    code: &'static str,
    /// English, safe to show.
    message: String,
    /// The parameter it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// To find the request in the server's log.
    request_id: String,
}

/// The JSON response for a result. An error is logged here.
pub fn respond<T: Serialize>(result: Result<T>, id: RequestId) -> Response {
    let problem = match result {
        Ok(value) => return Json(value).into_response(),
        Err(problem) => problem,
    };
    problem.log();
    let refusal = problem.public();
    let (code, retry_after) = (refusal.code, refusal.retry_after);
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let field = refusal.field.map(|path| path.join("."));
    let mut response = body(status, code.as_str(), refusal.message, field, id);
    if code == Code::Unauthenticated {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(delay) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    response
}

/// An error response with a code that exists only in HTTP, not in the domain.
pub fn reject(status: StatusCode, code: &'static str, message: &str, id: RequestId) -> Response {
    body(status, code, message.to_owned(), None, id)
}

/// An error response for clients of GraphQL and of REST: its body has `error` for REST, and `errors` for GraphQL.
pub(super) fn for_both_faces(status: StatusCode, code: &str, message: &str, id: RequestId) -> Response {
    let id = id.to_string();
    let body = json!({
        "error": { "code": code, "message": message, "requestId": id },
        "errors": [{ "message": message, "extensions": { "code": code, "requestId": id } }],
    });
    (status, Json(body)).into_response()
}

/// The response for a path without a route.
pub async fn route_not_found(_: crate::auth::Viewer, id: RequestId) -> Response {
    respond::<()>(Err(Error::not_found("route")), id)
}

/// The response for a method that the route does not support. The router adds `Allow`.
pub async fn method_not_allowed(id: RequestId) -> Response {
    let message = "This route does not support this method. The supported methods are in the header Allow.";
    reject(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message, id)
}

fn body(
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<String>,
    id: RequestId,
) -> Response {
    let error = ErrorDetail { code, message, field, request_id: id.to_string() };
    (status, Json(ErrorBody { error })).into_response()
}
