//! Uploads by PUT and downloads by GET at signed URLs, which need no token.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Router, middleware};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::condition::{Outcome, Validators};
use super::{RequestId, digest, encoding, error, framing, panic};
use crate::app::App;
use crate::direct_upload::put as uploads;
use crate::download::{self, Download};
use crate::error::{Code, Error, Result};

/// All characters except `attr-char` of RFC 8187, which are not encoded in an extended value.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Characters that need an escape in a quoted string, or that a file system reserves.
const RESERVED: [char; 10] = ['"', '\\', '%', '/', ':', '*', '?', '<', '>', '|'];

/// Routes for direct uploads by PUT and for downloads.
pub fn router() -> Router<App> {
    Router::new()
        .route("/uploads/{id}", put(put_upload))
        .route("/files/{id}/{filename}", get(get_file))
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(middleware::from_fn(framing::reject_partial))
        .layer(middleware::from_fn(encoding::reject_encoded))
        .layer(panic::layer())
}

/// The query of an upload URL.
#[derive(Deserialize)]
struct UploadQuery {
    expires: i64,
    signature: String,
}

/// The response to a PUT.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UploadResponse {
    upload_id: String,
    file_id: String,
    filename: String,
    mime_type: Option<String>,
    size: i64,
    sha256: Option<String>,
}

async fn put_upload(
    State(app): State<App>,
    request_id: RequestId,
    Path(id): Path<String>,
    query: std::result::Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let received = async {
        let Query(UploadQuery { expires, signature }) = query.map_err(|_| bad_signature())?;
        let id = id.parse().map_err(|_| Error::not_found("direct upload"))?;
        let signed = uploads::SignedUpload { expires, signature };
        reject_form(&headers)?;
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let chunks = body.into_data_stream().map_err(|_| {
            Error::refuse(Code::UploadIncomplete, "The body ended early. Send the whole file again.")
        });
        let chunks = match headers.contains_key(header::IF_MATCH) {
            // The file has no bytes yet and so no entity tag. The error is in the stream, so that the signature and the upload
            // are checked before it is returned.
            true => stream::once(std::future::ready(Err(if_match()))).boxed(),
            false => digest::verify(digest::expected_sha256(&headers)?, chunks),
        };
        let (upload, file) = uploads::receive(&app, id, &signed, length, chunks).await?;
        Ok(UploadResponse {
            upload_id: upload.id.to_string(),
            file_id: file.id.to_string(),
            filename: file.filename_sent.unwrap_or(file.filename),
            mime_type: file.mime_type,
            size: file.size,
            sha256: file.sha256.map(hex::encode),
        })
    };
    let received: Result<UploadResponse> = received.await;
    match received {
        Err(problem) if problem.public() == if_match().public() => precondition_failed(request_id),
        received => error::respond(received, request_id),
    }
}

fn if_match() -> Error {
    Error::invalid("If-Match", "The file has no bytes yet, so `If-Match` cannot match.")
}

/// Rejects a multipart form, which would be stored as it is, including its boundaries.
fn reject_form(headers: &HeaderMap) -> Result<()> {
    let sent = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !sent.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
        return Ok(());
    }
    let message = "The body of a PUT must be the file itself, not a multipart form.";
    Err(Error::refuse(Code::UnsupportedMimeType, message))
}

fn precondition_failed(request_id: RequestId) -> Response {
    let message = "A precondition of this request is false for the current state of the file.";
    error::reject(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message, request_id)
}

/// The query of a download URL.
#[derive(Deserialize)]
struct DownloadQuery {
    expires: i64,
    signature: String,
    attachment: Option<String>,
}

async fn get_file(
    State(app): State<App>,
    request_id: RequestId,
    method: Method,
    Path((id, _)): Path<(String, String)>,
    query: std::result::Result<Query<DownloadQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let response = async {
        let Query(query) = query.map_err(|_| bad_signature())?;
        let id = id.parse().map_err(|_| bad_signature())?;
        let signed = download::SignedDownload {
            expires: query.expires,
            attachment: query.attachment.as_deref() == Some("1"),
            signature: query.signature,
        };
        let found = download::find(&app, id, &signed).await?;
        respond(&app, &found, &method, &headers, request_id).await
    };
    response.await.unwrap_or_else(|error| {
        let mut response = error::respond::<()>(Err(error), request_id);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}

fn bad_signature() -> Error {
    Error::refuse(
        Code::Forbidden,
        "The signature of this URL is missing or malformed. Use the URL exactly as the API returned it.",
    )
}

async fn respond(
    app: &App,
    found: &Download,
    method: &Method,
    headers: &HeaderMap,
    request_id: RequestId,
) -> Result<Response> {
    let validators = Validators::new(&found.etag, found.created_at.timestamp());
    let (status, range) = match Outcome::evaluate(method, headers, &validators, found.size) {
        Outcome::Full => (StatusCode::OK, 0..found.size),
        Outcome::Partial(range) => (StatusCode::PARTIAL_CONTENT, range),
        Outcome::NotModified => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            set_file_headers(response.headers_mut(), found, &validators)?;
            return Ok(response);
        }
        Outcome::PreconditionFailed => return with_etag(precondition_failed(request_id), found),
        Outcome::RangeNotSatisfiable => return with_etag(range_not_satisfiable(found, request_id)?, found),
    };
    let length = range.end - range.start;
    if *method == Method::HEAD {
        download::check(app, found).await?;
    }
    let body = match *method == Method::HEAD || length == 0 {
        true => Body::empty(),
        false => Body::from_stream(download::read(app, found, range.clone()).await?),
    };
    let mut response = (status, body).into_response();
    let response_headers = response.headers_mut();
    set_file_headers(response_headers, found, &validators)?;
    set(response_headers, header::CONTENT_LENGTH, &length.to_string())?;
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, found.size);
        set(response_headers, header::CONTENT_RANGE, &text)?;
    }
    Ok(response)
}

fn range_not_satisfiable(found: &Download, request_id: RequestId) -> Result<Response> {
    let message = format!("The range starts after the end of the file, which has {} bytes.", found.size);
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut response = error::reject(status, "RANGE_NOT_SATISFIABLE", &message, request_id);
    set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", found.size))?;
    Ok(response)
}

/// Adds the entity tag, so that the client can repeat the request with it.
fn with_etag(mut response: Response, found: &Download) -> Result<Response> {
    set(response.headers_mut(), header::ETAG, &found.etag)?;
    set(response.headers_mut(), header::CACHE_CONTROL, "no-store")?;
    Ok(response)
}

fn set_file_headers(headers: &mut HeaderMap, found: &Download, validators: &Validators<'_>) -> Result<()> {
    let left = (found.expires_at - found.now).num_seconds().max(0);
    let disposition = if found.attachment { "attachment" } else { "inline" };
    for (name, value) in [
        (header::CONTENT_TYPE, found.content_type.as_str()),
        (header::ETAG, &found.etag),
        (header::LAST_MODIFIED, &validators.last_modified()),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, &format!("private, max-age={left}")),
        (header::CONTENT_DISPOSITION, &content_disposition(disposition, &found.filename)),
        // Scripts in an uploaded HTML or SVG file must not run with the origin of the API.
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        // Anybody with the signed URL may read the file, so pages of any origin may embed it.
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        set(headers, name, value)?;
    }
    Ok(())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<()> {
    let value = HeaderValue::from_str(value).map_err(|error| Error::fault("setting a header", error))?;
    headers.insert(name, value);
    Ok(())
}

/// `Content-Disposition` (RFC 6266) with the filename in ASCII for old clients, and in full, encoded as in RFC 8187.
fn content_disposition(disposition: &str, filename: &str) -> String {
    let ascii: String = filename
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !RESERVED.contains(&c) { c } else { '_' })
        .collect();
    let extended = utf8_percent_encode(filename, NOT_ATTR_CHAR);
    format!("{disposition}; filename=\"{ascii}\"; filename*=UTF-8''{extended}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filename_is_sent_in_ascii_and_in_full() {
        let written = content_disposition("inline", "na\u{ef}ve \"50%\".png");
        assert_eq!(
            written,
            "inline; filename=\"na_ve _50__.png\"; filename*=UTF-8''na%C3%AFve%20%2250%25%22.png"
        );
    }
}
