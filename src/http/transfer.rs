//! Raw bytes over HTTP, in and out, at URLs that are their own permission.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Router, middleware};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;

use super::condition::{Asked, Validators};
use super::{RequestId, cors, digest, encoding, framing, panicked};
use crate::app::App;
use crate::direct_upload::put as uploads;
use crate::download::{self, Download};
use crate::error::{Code, Error, Result};
use crate::rest;

/// What RFC 8187 leaves as it is in an extended value.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
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

/// What is not safe in the plain form of a name: in quotes, and on disks that reserve it.
const UNSAFE: [char; 10] = ['"', '\\', '%', '/', ':', '*', '?', '<', '>', '|'];

/// Where direct uploads are PUT and files are downloaded. Whoever has the URL may use it from a page of any origin.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/uploads/{id}", put(receive))
        .route("/files/{id}/{filename}", get(send))
        .method_not_allowed_fallback(rest::wrong_method)
        .layer(middleware::from_fn(framing::whole))
        .layer(middleware::from_fn(encoding::only_identity))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors([Method::GET, Method::HEAD, Method::PUT]))
}

/// Query of an upload URL.
#[derive(Deserialize)]
struct UploadQuery {
    expires: i64,
    signature: String,
}

/// What the bytes of a PUT have become.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    upload_id: String,
    file_id: String,
    filename: String,
    mime_type: Option<String>,
    size: i64,
    sha256: Option<String>,
}

async fn receive(
    State(app): State<App>,
    request_id: RequestId,
    Path(id): Path<String>,
    query: std::result::Result<Query<UploadQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let received = async {
        let Query(UploadQuery { expires, signature }) = query.map_err(|_| unsigned())?;
        let id = id.parse().map_err(|_| Error::not_found("direct upload"))?;
        let permit = uploads::Permit { expires, signature };
        check_no_form(&headers)?;
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let chunks = body.into_data_stream().map_err(|_| {
            Error::refuse(Code::UploadIncomplete, "The body broke off; send the bytes again, all of them.")
        });
        let chunks = match headers.contains_key(header::IF_MATCH) {
            // There is nothing yet that a tag could be the tag of. Said only where the bytes would be taken.
            true => stream::once(std::future::ready(Err(unmatched()))).boxed(),
            false => digest::checked(digest::announced(&headers)?, chunks),
        };
        let (upload, file) = uploads::receive(&app, id, &permit, length, chunks).await?;
        Ok(Received {
            upload_id: upload.id.to_string(),
            file_id: file.id.to_string(),
            filename: file.filename_sent.unwrap_or(file.filename),
            mime_type: file.mime_type,
            size: file.size,
            sha256: file.sha256.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect()),
        })
    };
    let received: Result<Received> = received.await;
    match received {
        Err(problem) if problem.public() == unmatched().public() => changed(request_id),
        received => rest::answer(received, request_id),
    }
}

fn unmatched() -> Error {
    Error::invalid("If-Match", "There is nothing here yet that `If-Match` could match.")
}

/// A form around the bytes would be stored with them.
fn check_no_form(headers: &HeaderMap) -> Result<()> {
    let sent = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !sent.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
        return Ok(());
    }
    let message = "A PUT takes the bytes of the file alone: send them as they are, not in a form.";
    Err(Error::refuse(Code::UnsupportedMimeType, message))
}

fn changed(request_id: RequestId) -> Response {
    let message = "It is not, or no longer, what this request takes it for.";
    rest::refuse(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message, request_id)
}

/// Query of a download URL.
#[derive(Deserialize)]
struct DownloadQuery {
    expires: i64,
    signature: String,
    attachment: Option<String>,
}

async fn send(
    State(app): State<App>,
    request_id: RequestId,
    method: Method,
    Path((id, _)): Path<(String, String)>,
    query: std::result::Result<Query<DownloadQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let sent = async {
        let Query(query) = query.map_err(|_| unsigned())?;
        let id = id.parse().map_err(|_| unsigned())?;
        let permit = download::Permit {
            expires: query.expires,
            attachment: query.attachment.as_deref() == Some("1"),
            signature: query.signature,
        };
        let found = download::find(&app, id, &permit).await?;
        respond(&app, &found, &method, &headers, request_id).await
    };
    sent.await.unwrap_or_else(|problem| {
        let mut refused = rest::answer::<()>(Err(problem), request_id);
        refused.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        refused
    })
}

fn unsigned() -> Error {
    Error::refuse(Code::Forbidden, "This URL lacks its signature: use it exactly as it was handed out.")
}

async fn respond(
    app: &App,
    found: &Download,
    method: &Method,
    headers: &HeaderMap,
    request_id: RequestId,
) -> Result<Response> {
    let validators = Validators::new(&found.etag, found.created_at.timestamp());
    let (status, range) = match Asked::of(method, headers, &validators, found.size) {
        Asked::All => (StatusCode::OK, 0..found.size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Known => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            describe(response.headers_mut(), found, &validators)?;
            return Ok(response);
        }
        Asked::Other => return with_tag(changed(request_id), found),
        Asked::Beyond => return with_tag(beyond(found, request_id)?, found),
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
    let answer = response.headers_mut();
    describe(answer, found, &validators)?;
    set(answer, header::CONTENT_LENGTH, &length.to_string())?;
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, found.size);
        set(answer, header::CONTENT_RANGE, &text)?;
    }
    Ok(response)
}

fn beyond(found: &Download, request_id: RequestId) -> Result<Response> {
    let message = format!("The file has {} bytes; the range lies beyond them.", found.size);
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut response = rest::refuse(status, "RANGE_NOT_SATISFIABLE", &message, request_id);
    set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", found.size))?;
    Ok(response)
}

/// What would have to be asked for instead.
fn with_tag(mut refused: Response, found: &Download) -> Result<Response> {
    set(refused.headers_mut(), header::ETAG, &found.etag)?;
    set(refused.headers_mut(), header::CACHE_CONTROL, "no-store")?;
    Ok(refused)
}

fn describe(answer: &mut HeaderMap, found: &Download, validators: &Validators<'_>) -> Result<()> {
    let left = (found.expires_at - found.now).num_seconds().max(0);
    let disposition = if found.attachment { "attachment" } else { "inline" };
    for (name, value) in [
        (header::CONTENT_TYPE, found.content_type.as_str()),
        (header::ETAG, &found.etag),
        (header::LAST_MODIFIED, &validators.last_modified()),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, &format!("private, max-age={left}")),
        (header::CONTENT_DISPOSITION, &content_disposition(disposition, &found.filename)),
        // Nothing of it runs, whatever it is and whoever opens it.
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        // The URL is the permission: a page of any origin that has it may show what it leads to.
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        set(answer, name, value)?;
    }
    Ok(())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<()> {
    let value = HeaderValue::from_str(value).map_err(|problem| Error::fault("writing a header", problem))?;
    headers.insert(name, value);
    Ok(())
}

/// RFC 6266: the name in ASCII for those who know no better, and in full as RFC 8187 writes it.
fn content_disposition(disposition: &str, filename: &str) -> String {
    let plain: String = filename
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !UNSAFE.contains(&c) { c } else { '_' })
        .collect();
    let extended = utf8_percent_encode(filename, EXTENDED);
    format!("{disposition}; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_twice() {
        let written = content_disposition("inline", "na\u{ef}ve \"50%\".png");
        assert_eq!(
            written,
            "inline; filename=\"na_ve _50__.png\"; filename*=UTF-8''na%C3%AFve%20%2250%25%22.png"
        );
    }
}
