//! Request bodies: multipart forms, whose files are written to disk as they arrive, and JSON.

use std::io::Write;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use futures_util::StreamExt;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempPath};
use tokio::io::AsyncWriteExt;

use super::Emulator;
use super::error::ApiError;
use cloudflare_images::wire::MAX_IMAGE_BYTES;

/// A complete form.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// Text fields that have a meaning, in the order they were sent.
    pub(super) fields: Vec<(String, String)>,
    /// The part named `file`.
    pub(super) file: Option<SpooledFile>,
    /// Names of parts that have no meaning, whose content was skipped.
    pub(super) ignored_parts: Vec<String>,
}

/// A received file that is not in the store yet. It is removed when dropped.
#[derive(Debug)]
pub(super) struct SpooledFile {
    pub(super) path: TempPath,
    /// Bytes.
    pub(super) size: u64,
    pub(super) filename: String,
}

impl Form {
    /// The last value of a field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// How long to wait for the next bytes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a whole form may take.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Limit of the text of all fields together, and of a JSON body, in bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Limit of the number of parts of a form.
const MAX_PARTS: usize = 200;
/// Limit of a form, in bytes: the largest file, and more than enough for everything else.
const MAX_FORM_BYTES: u64 = MAX_IMAGE_BYTES + 1024 * 1024;

/// Reads a multipart form; 5415 for anything else, 5413 for a file above 10 MB, 5408 if the client is
/// too slow.
pub(super) async fn multipart(
    emulator: &Emulator,
    headers: &HeaderMap,
    body: Body,
) -> Result<Form, ApiError> {
    tokio::time::timeout(TOTAL_TIMEOUT, read_form(emulator, headers, body))
        .await
        .unwrap_or_else(|_| Err(upload_too_slow()))
}

/// Whether the content type is that of a multipart form.
pub(super) fn is_multipart(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| multer::parse_boundary(value).is_ok())
}

/// The body, or `None` if it is empty.
pub(super) async fn non_empty(body: Body) -> Result<Option<Body>, ApiError> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = with_idle_timeout(chunks.next()).await? {
        if !chunk.as_ref().is_ok_and(Bytes::is_empty) {
            let whole = futures_util::stream::iter([chunk]).chain(chunks);
            return Ok(Some(Body::from_stream(whole)));
        }
    }
    Ok(None)
}

/// Reads a JSON body of any content type: Cloudflare accepts the default of `curl --data` too.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    serde_json::from_slice(&read_limited(body).await?).map_err(ApiError::bad_request)
}

/// Reads a body of at most 64 KiB; 7011 for a longer one.
async fn read_limited(body: Body) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, 7011, "Request entity is too large");
    // Checked before the body is polled, so that a client that waits for `100 Continue` does not send it.
    if body.size_hint().lower() > MAX_TEXT_BYTES as u64 {
        return Err(too_large());
    }
    with_idle_timeout(axum::body::to_bytes(body, MAX_TEXT_BYTES)).await?.map_err(|_| too_large())
}

async fn read_form(emulator: &Emulator, headers: &HeaderMap, body: Body) -> Result<Form, ApiError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|_| ApiError::not_a_form())?;
    if body.size_hint().lower() > MAX_FORM_BYTES {
        return Err(ApiError::image_too_large());
    }
    let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(MAX_FORM_BYTES));
    let mut parts = Multipart::with_constraints(body.into_data_stream(), boundary, limits);
    let mut form = Form::default();
    let mut text_bytes = 0;
    while let Some(part) = with_idle_timeout(parts.next_field()).await?.map_err(form_error)? {
        let header = part.headers().get(CONTENT_DISPOSITION).map_or(&b""[..], HeaderValue::as_bytes);
        let disposition::Part { name, filename } = disposition::part(header);
        let name = name.unwrap_or_default();
        match (name.as_str(), filename) {
            ("file", _) if form.file.is_some() => {
                return Err(ApiError::bad_request("more than one file").with_pointer(&["file"]));
            }
            ("file", Some(filename)) => {
                let spooled = spool(emulator, part, filename).await?;
                // Browsers send an empty file without a name if no file was chosen.
                form.file = Some(spooled).filter(|spooled| spooled.size > 0 || !spooled.filename.is_empty());
            }
            // Some clients send a file as a text field by mistake.
            ("file", None) => return Err(ApiError::unsupported_type()),
            _ if form.fields.len() + form.ignored_parts.len() >= MAX_PARTS => {
                return Err(ApiError::bad_request("Error parsing form fields: too many parts"));
            }
            _ if is_known_field(&name) => {
                let value = text(part, &name, &mut text_bytes).await?;
                form.fields.push((name, value));
            }
            // `next_field` skips its content.
            _ => form.ignored_parts.push(name),
        }
    }
    Ok(form)
}

/// Whether forms of the API have this field. The SDKs send metadata as `metadata[a]` and `metadata.a`.
fn is_known_field(field: &str) -> bool {
    let name = field.split(['[', '.']).next().unwrap_or_default();
    name == "metadata" || ["id", "url", "requireSignedURLs", "creator", "expiry"].contains(&field)
}

async fn text(mut part: Field<'_>, name: &str, total: &mut usize) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut part).await? {
        *total += chunk.len();
        if *total > MAX_TEXT_BYTES {
            return Err(ApiError::bad_request("Error parsing form fields: too long").with_pointer(&[name]));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| {
        ApiError::bad_request(format!("Error parsing form fields: {name} is not UTF-8 text"))
            .with_pointer(&[name])
    })
}

async fn spool(emulator: &Emulator, mut part: Field<'_>, filename: String) -> Result<SpooledFile, ApiError> {
    let mut file = emulator.0.store.files.spool()?;
    while let Some(chunk) = next_chunk(&mut part).await? {
        if !file.write(&chunk).await? {
            return Err(ApiError::image_too_large());
        }
    }
    let size = file.size;
    Ok(SpooledFile { path: file.finish().await?, size, filename })
}

/// Writes a temporary file of at most [`MAX_IMAGE_BYTES`].
pub(super) struct SpoolWriter {
    file: tokio::io::BufWriter<tokio::fs::File>,
    path: TempPath,
    pub(super) size: u64,
}

impl SpoolWriter {
    /// Writes to `temporary`.
    pub(super) fn new(mut temporary: NamedTempFile) -> std::io::Result<Self> {
        temporary.flush()?;
        let (file, path) = temporary.into_parts();
        let file = tokio::io::BufWriter::with_capacity(256 * 1024, tokio::fs::File::from_std(file));
        Ok(SpoolWriter { file, path, size: 0 })
    }

    /// Appends bytes; false if the file would be larger than an image may be.
    pub(super) async fn write(&mut self, chunk: &Bytes) -> std::io::Result<bool> {
        self.size += chunk.len() as u64;
        if self.size > MAX_IMAGE_BYTES {
            return Ok(false);
        }
        self.file.write_all(chunk).await?;
        Ok(true)
    }

    /// Flushes the buffer and returns the file's path.
    pub(super) async fn finish(mut self) -> std::io::Result<TempPath> {
        self.file.flush().await?;
        Ok(self.path)
    }
}

async fn next_chunk(part: &mut Field<'_>) -> Result<Option<Bytes>, ApiError> {
    with_idle_timeout(part.next()).await?.transpose().map_err(form_error)
}

async fn with_idle_timeout<T>(reading: impl Future<Output = T>) -> Result<T, ApiError> {
    tokio::time::timeout(IDLE_TIMEOUT, reading).await.map_err(|_| upload_too_slow())
}

fn upload_too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, 5408, "Client was sending upload too slowly")
}

fn form_error(error: multer::Error) -> ApiError {
    match error {
        multer::Error::StreamReadFailed(_) => {
            ApiError::new(StatusCode::BAD_REQUEST, 5433, "Request has been aborted by the client")
        }
        multer::Error::StreamSizeExceeded { .. } => ApiError::image_too_large(),
        multer::Error::IncompleteStream => ApiError::bad_request(error),
        other => ApiError::bad_request(format!("Error parsing form fields: {other}")),
    }
}
