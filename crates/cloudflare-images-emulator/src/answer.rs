//! Answers as Cloudflare writes them: the envelope of the API, the text of the delivery host, and every refusal.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use cloudflare_images::wire::{Envelope, Message, Source};

/// The envelope around a result, status 200.
pub(super) fn success<T: Serialize>(result: T) -> Response {
    let envelope = Envelope { result: Some(result), success: true, errors: vec![], messages: vec![] };
    json(StatusCode::OK, &envelope)
}

/// What a delete answers: an empty object.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

/// An error with Cloudflare's number and text. It answers as an envelope, or as text on the delivery host.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) message: String,
    /// JSON pointer to what it is about.
    pointer: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Refusal { status, code, message: message.into(), pointer: None }
    }

    /// The same about one field of the body or parameter of the query; `path` are the names that lead there.
    pub(super) fn at(self, path: &[&str]) -> Self {
        let escaped = path.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
        Refusal { pointer: Some(escaped.fold(String::new(), |pointer, name| pointer + "/" + &name)), ..self }
    }

    pub(super) fn bad_request(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 5400, format!("Bad Request: {why}"))
    }

    pub(super) fn image_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, 5404, "Image not found")
    }

    pub(super) fn variant_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, 5401, "Variant not found")
    }

    pub(super) fn exists() -> Self {
        Self::new(StatusCode::CONFLICT, 5409, "Resource already exists")
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 10000, "Authentication error")
    }

    /// What a token of the permission *Images Read* is answered where *Images Write* is needed.
    pub(super) fn not_permitted() -> Self {
        Self::new(StatusCode::FORBIDDEN, 10000, "Authentication error")
    }

    pub(super) fn wrong_account() -> Self {
        let message = "The given account is not valid or is not authorized to access this service";
        Self::new(StatusCode::FORBIDDEN, 5403, message)
    }

    pub(super) fn service_limit(what: &str) -> Self {
        let message = format!("The given account has reached a service limit: {what}");
        Self::new(StatusCode::FORBIDDEN, 5453, message)
    }

    pub(super) fn not_a_form() -> Self {
        let message = "Images must be uploaded as a form, not as raw image data. \
                       Please use multipart/form-data format";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 5415, message)
    }

    pub(super) fn unsupported_type() -> Self {
        let message = "Uploaded image must have image/jpeg, image/png, image/webp, image/gif or image/svg+xml \
                       content-type";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 5455, message)
    }

    /// A form without bytes under the one name they are looked for. `strays` are the names they came under.
    pub(super) fn no_file(or_url: bool, strays: &[String]) -> Self {
        let wanted = if or_url { "file or url is missing" } else { "file is missing" };
        let hint = match strays {
            [] => String::new(),
            _ => format!("; the part with the image must be named `file`, not `{}`", strays.join("`, `")),
        };
        Self::bad_request(format!("Error parsing form fields: {wanted}{hint}")).at(&["file"])
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, 5413, "Maximum image size of 10 MB is reached")
    }

    pub(super) fn no_route(path: &str) -> Self {
        let message = format!("Could not route to {path}, perhaps your object identifier is invalid?");
        Self::new(StatusCode::NOT_FOUND, 7003, message)
    }

    pub(super) fn method(method: &axum::http::Method) -> Self {
        let message = format!("Method {method} not available for that URI.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, 7001, message)
    }

    /// A fault of the emulator itself; the cause goes to the log.
    pub(super) fn internal(cause: impl std::error::Error + 'static) -> Self {
        tracing::error!(error = &cause as &dyn std::error::Error, "the Cloudflare Images emulator failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 5500, "Internal Server Error")
    }

    /// The same error as the delivery host words it.
    pub(super) fn into_text(self) -> Response {
        let text = format!("ERROR {}: {}\n", self.code, self.message);
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        let code = HeaderValue::from_str(&format!("err={}", self.code));
        if let Ok(code) = code {
            headers.insert("cf-images", code.clone());
            headers.insert("cf-resized", code);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let errors = vec![Message {
            code: self.code,
            message: self.message.clone(),
            documentation_url: Some(documentation(self.code).to_owned()),
            source: self.pointer.clone().map(|pointer| Source { pointer: Some(pointer) }),
        }];
        let envelope = Envelope::<()> { result: None, success: false, errors, messages: vec![] };
        let mut response = json(self.status, &envelope);
        // For whoever writes it in another form.
        response.extensions_mut().insert(self);
        response
    }
}

/// The page of Cloudflare's documentation that a number belongs to.
fn documentation(code: u32) -> &'static str {
    match code {
        5411 => "https://developers.cloudflare.com/images/storage/upload-images/upload-custom-path/",
        5413 | 5443 | 5455 | 7011 => "https://developers.cloudflare.com/images/get-started/limits/",
        5454 => "https://developers.cloudflare.com/images/storage/upload-images/upload-url/",
        9400..=9599 => "https://developers.cloudflare.com/images/reference/errors/",
        971 => "https://developers.cloudflare.com/fundamentals/api/reference/limits/",
        10000 => "https://developers.cloudflare.com/fundamentals/api/get-started/create-token/",
        _ => "https://developers.cloudflare.com/api/resources/images/",
    }
}

impl From<sea_orm::DbErr> for Refusal {
    fn from(error: sea_orm::DbErr) -> Self {
        Refusal::internal(error)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Refusal::internal(error)
    }
}

/// Pretty-printed, with the headers of the recorded answers.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(body) {
        Ok(text) => {
            let mut response = (status, Body::from(text)).into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
            headers.insert("cf-cache-status", HeaderValue::from_static("DYNAMIC"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer of the Cloudflare Images emulator cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
