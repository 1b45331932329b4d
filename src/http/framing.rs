//! Refuses requests whose headers make something else of the body than what would be read.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::RequestId;

/// A refusal before anything knows what the request is for.
struct Misframed {
    status: StatusCode,
    code: &'static str,
    header: HeaderName,
    message: String,
}

/// Refuses transfer codings and expectations that the HTTP layer lets through and nothing here honours.
pub(super) async fn understood(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let refused = transfer_coding(headers).or_else(|| expectation(request.version(), headers));
    match refused {
        Some(misframed) => misframed.answer(&request),
        None => next.run(request).await,
    }
}

/// Refuses parts of a body that would be taken for the whole, and types that contradict each other.
pub(super) async fn whole(request: Request, next: Next) -> Response {
    let stores = [Method::PUT, Method::POST, Method::PATCH].contains(request.method());
    let refused = stores.then(|| part(request.headers()).or_else(|| two_types(request.headers()))).flatten();
    match refused {
        Some(misframed) => misframed.answer(&request),
        None => next.run(request).await,
    }
}

/// RFC 9112, 6.1: a coding that is not understood is 501.
fn transfer_coding(headers: &HeaderMap) -> Option<Misframed> {
    let strange = |value: &[u8]| !value.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.any(|value| strange(value.as_bytes())).then(|| Misframed {
        status: StatusCode::NOT_IMPLEMENTED,
        code: "NOT_IMPLEMENTED",
        header: header::TRANSFER_ENCODING,
        message: "The only transfer coding that is understood is `chunked`.".to_owned(),
    })
}

/// RFC 9110, 10.1.1: an expectation that is not met is 417.
fn expectation(version: Version, headers: &HeaderMap) -> Option<Misframed> {
    let strange = |value: &[u8]| !value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
    let mut expected = headers.get_all(header::EXPECT).iter();
    let unmet = version > Version::HTTP_10 && expected.any(|value| strange(value.as_bytes()));
    unmet.then(|| Misframed {
        status: StatusCode::EXPECTATION_FAILED,
        code: "EXPECTATION_FAILED",
        header: header::EXPECT,
        message: "The only expectation that is met is `100-continue`.".to_owned(),
    })
}

/// RFC 9110, 14.5: a server that does not store parts refuses them.
fn part(headers: &HeaderMap) -> Option<Misframed> {
    headers.contains_key(header::CONTENT_RANGE).then(|| Misframed {
        status: StatusCode::BAD_REQUEST,
        code: "BAD_USER_INPUT",
        header: header::CONTENT_RANGE,
        message:
            "Parts of a body are not put together: send all of it in one request, without Content-Range."
                .to_owned(),
    })
}

fn two_types(headers: &HeaderMap) -> Option<Misframed> {
    (headers.get_all(header::CONTENT_TYPE).iter().count() > 1).then(|| Misframed {
        status: StatusCode::BAD_REQUEST,
        code: "BAD_USER_INPUT",
        header: header::CONTENT_TYPE,
        message: "Content-Type stands twice: a body has one type.".to_owned(),
    })
}

impl Misframed {
    /// As both faces write it, because neither has been asked yet.
    fn answer(self, request: &Request) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message, "field": self.header.as_str() });
        if let Some(id) = request.extensions().get::<RequestId>() {
            error["requestId"] = json!(id.to_string());
        }
        let errors = json!([{ "message": self.message, "extensions": { "code": self.code } }]);
        (self.status, Json(json!({ "error": error, "errors": errors }))).into_response()
    }
}
