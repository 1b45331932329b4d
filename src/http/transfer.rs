//! Raw bytes over HTTP, in and out, at URLs that are their own permission.

use std::ops::Range;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use futures_util::TryStreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tower_http::cors::{Any, CorsLayer};

use super::{REQUEST_ID, RequestId};
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

/// Where direct uploads are PUT and files are downloaded. Whoever has the URL may use it from a page of any origin.
pub(super) fn router() -> Router<App> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT])
        .allow_headers(Any)
        .expose_headers([
            REQUEST_ID,
            header::ACCEPT_RANGES,
            header::CONTENT_DISPOSITION,
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::ETAG,
        ])
        .max_age(Duration::from_secs(3600));
    Router::new().route("/uploads/{id}", put(receive)).route("/files/{id}/{filename}", get(send)).layer(cors)
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
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let chunks = body.into_data_stream().map_err(|_| {
            Error::refuse(Code::UploadIncomplete, "The body broke off; send the bytes again, all of them.")
        });
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
    rest::answer(received.await, request_id)
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
        respond(&app, &found, &method, &headers).await
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

async fn respond(app: &App, found: &Download, method: &Method, headers: &HeaderMap) -> Result<Response> {
    let asked = Asked::of(headers, &found.etag, found.size);
    let (status, range) = match &asked {
        Asked::Known => (StatusCode::NOT_MODIFIED, 0..0),
        Asked::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
        Asked::All => (StatusCode::OK, 0..found.size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
    };
    let length = range.end - range.start;
    let empty = matches!(asked, Asked::Known | Asked::Nothing) || *method == Method::HEAD || length == 0;
    let body = match empty {
        true => Body::empty(),
        false => Body::from_stream(download::read(app, found, range.clone()).await?),
    };
    let mut response = (status, body).into_response();
    let answer = response.headers_mut();
    describe(answer, found)?;
    match asked {
        Asked::Known => {}
        Asked::Nothing => set(answer, header::CONTENT_RANGE, &format!("bytes */{}", found.size))?,
        Asked::All => set(answer, header::CONTENT_LENGTH, &length.to_string())?,
        Asked::Part(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, found.size);
            set(answer, header::CONTENT_RANGE, &text)?;
            set(answer, header::CONTENT_LENGTH, &length.to_string())?;
        }
    }
    Ok(response)
}

fn describe(answer: &mut HeaderMap, found: &Download) -> Result<()> {
    let left = (found.expires_at - found.now).num_seconds().max(0);
    let disposition = if found.attachment { "attachment" } else { "inline" };
    for (name, value) in [
        (header::CONTENT_TYPE, found.content_type.as_str()),
        (header::ETAG, &found.etag),
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
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    let extended = utf8_percent_encode(filename, EXTENDED);
    format!("{disposition}; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(Range<u64>),
    /// A part beyond its end.
    Nothing,
    /// Nothing, because the client has it.
    Known,
}

impl Asked {
    /// RFC 9110: `If-None-Match` first, then `Range` as far as `If-Range` lets it count.
    fn of(headers: &HeaderMap, etag: &str, size: u64) -> Asked {
        let text =
            |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
        let known = text(header::IF_NONE_MATCH).is_some_and(|tags| {
            tags.split(',')
                .any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
        });
        if known {
            return Asked::Known;
        }
        // A date cannot be compared: there is no Last-Modified.
        let counts = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
        match text(header::RANGE).filter(|_| counts) {
            Some(range) => Asked::range(range, size),
            None => Asked::All,
        }
    }

    /// One range of bytes. Several at once, other units and what makes no sense are as if nothing had been asked.
    fn range(text: &str, size: u64) -> Asked {
        let Some(spec) = text.strip_prefix("bytes=").map(str::trim) else { return Asked::All };
        let Some((first, last)) = spec.split_once('-') else { return Asked::All };
        let number = |text: &str| -> Option<u64> {
            let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let (start, end) = match (first, last) {
            ("", length) => match number(length) {
                Some(length) => (size.saturating_sub(length), if length == 0 { 0 } else { size }),
                None => return Asked::All,
            },
            (start, "") => match number(start) {
                Some(start) => (start, size),
                None => return Asked::All,
            },
            (start, end) => match (number(start), number(end)) {
                (Some(start), Some(end)) if start <= end => (start, end.saturating_add(1).min(size)),
                _ => return Asked::All,
            },
        };
        if start < end && start < size { Asked::Part(start..end) } else { Asked::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, asked) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-", Asked::Part(0..10)),
            ("bytes=3-5", Asked::Part(3..6)),
            ("bytes=3-99", Asked::Part(3..10)),
            ("bytes=9-99999999999999999999", Asked::Part(9..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=99999999999999999999-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-3", Asked::All),
            ("bytes=0-1,3-4", Asked::All),
            ("bytes=a-b", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("bytes=-", Asked::All),
            ("bytes=", Asked::All),
            ("items=0-1", Asked::All),
        ] {
            assert_eq!(Asked::range(text, 10), asked, "{text}");
        }
        assert_eq!(Asked::range("bytes=0-", 0), Asked::Nothing);
    }

    #[test]
    fn names_are_written_twice() {
        let written = content_disposition("inline", "na\u{ef}ve \"50%\".png");
        assert_eq!(
            written,
            "inline; filename=\"na_ve _50__.png\"; filename*=UTF-8''na%C3%AFve%20%2250%25%22.png"
        );
    }
}
