//! Errors of the emulator: Cloudflare's status, code and message, as JSON or as text.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::response::json;
use cloudflare_images::wire::{Envelope, Message, Source};

/// An error with Cloudflare's code and message. As a response it is the JSON envelope of the API; [`ApiError::into_text`]
/// is the form of the delivery host.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) message: String,
    /// JSON pointer to the field or parameter that is wrong.
    pointer: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        ApiError { status, code, message: message.into(), pointer: None }
    }

    /// The same error about one field of the body or parameter of the query. `path` lists the names from the outermost to
    /// the innermost.
    pub(super) fn with_pointer(self, path: &[&str]) -> Self {
        let escaped = path.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
        ApiError { pointer: Some(escaped.fold(String::new(), |pointer, name| pointer + "/" + &name)), ..self }
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

    pub(super) fn already_exists() -> Self {
        Self::new(StatusCode::CONFLICT, 5409, "Resource already exists")
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 10000, "Authentication error")
    }

    pub(super) fn rate_limited() -> Self {
        let message = "Please wait and consider throttling your request speed";
        Self::new(StatusCode::TOO_MANY_REQUESTS, 971, message)
    }

    /// For a token with the permission *Images Read* and a call that needs *Images Write*.
    pub(super) fn missing_permission() -> Self {
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

    /// A form without the part `file`. `ignored_parts` are the names of the parts that have no meaning: one of them is
    /// probably the image.
    pub(super) fn missing_file(or_url: bool, ignored_parts: &[String]) -> Self {
        let missing = if or_url { "file or url is missing" } else { "file is missing" };
        let hint = match ignored_parts {
            [] => String::new(),
            _ => format!(
                "; the part with the image must be named `file`, not `{}`",
                ignored_parts.join("`, `")
            ),
        };
        Self::bad_request(format!("Error parsing form fields: {missing}{hint}")).with_pointer(&["file"])
    }

    pub(super) fn image_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, 5413, "Maximum image size of 10 MB is reached")
    }

    pub(super) fn route_not_found(path: &str) -> Self {
        let message = format!("Could not route to {path}, perhaps your object identifier is invalid?");
        Self::new(StatusCode::NOT_FOUND, 7003, message)
    }

    pub(super) fn method_not_allowed(method: &axum::http::Method) -> Self {
        let message = format!("Method {method} not available for that URI.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, 7001, message)
    }

    /// A failure of the emulator itself. The cause is logged, and not part of the response.
    pub(super) fn internal(cause: impl std::error::Error + 'static) -> Self {
        tracing::error!(error = &cause as &dyn std::error::Error, "the Cloudflare Images emulator failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 5500, "Internal Server Error")
    }

    /// The error as plain text, as the delivery host sends it.
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let errors = vec![Message {
            code: self.code,
            message: self.message.clone(),
            documentation_url: Some(documentation_url(self.code).to_owned()),
            source: self.pointer.clone().map(|pointer| Source { pointer: Some(pointer) }),
        }];
        let envelope = Envelope::<()> { result: None, success: false, errors, messages: vec![] };
        let mut response = json(self.status, &envelope);
        // Fault injection reads it to send the same error in another form.
        response.extensions_mut().insert(self);
        response
    }
}

/// The page of Cloudflare's documentation about a code.
fn documentation_url(code: u32) -> &'static str {
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

impl From<sea_orm::DbErr> for ApiError {
    fn from(error: sea_orm::DbErr) -> Self {
        ApiError::internal(error)
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        ApiError::internal(error)
    }
}
