//! Request bodies: multipart forms, spooled to disk as they arrive, and JSON.

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
use super::answer::Refusal;
use cloudflare_images::wire::MAX_IMAGE_BYTES;

/// A form read to its end.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// Text parts that have a meaning, in the order they came.
    pub(super) fields: Vec<(String, String)>,
    /// The part named `file`.
    pub(super) file: Option<Spooled>,
    /// Names of parts that have no meaning.
    pub(super) strays: Vec<String>,
}

/// Bytes on their way into the store; removed when dropped.
#[derive(Debug)]
pub(super) struct Spooled {
    pub(super) path: TempPath,
    /// Bytes.
    pub(super) size: u64,
    pub(super) filename: String,
}

impl Form {
    /// The last value given for a field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// A client that sends nothing for this long is too slow.
const IDLE: Duration = Duration::from_secs(30);
/// Nor may an upload take longer than this, however steadily it drips.
const WHOLE: Duration = Duration::from_secs(10 * 60);
/// Text of all parts but the file, in bytes, and the size of a JSON body.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Parts of a form.
const MAX_PARTS: usize = 200;
/// A form with more bytes than this has a file that is too large, or is nothing but headers.
const MAX_FORM_BYTES: u64 = MAX_IMAGE_BYTES + 1024 * 1024;

/// Reads a multipart form; 5415 for anything else, 5413 for a file above 10 MB, 5408 for a client too slow.
pub(super) async fn multipart(emulator: &Emulator, headers: &HeaderMap, body: Body) -> Result<Form, Refusal> {
    tokio::time::timeout(WHOLE, parts(emulator, headers, body)).await.unwrap_or_else(|_| Err(too_slow()))
}

/// Whether a body claims to be a multipart form.
pub(super) fn is_multipart(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| multer::parse_boundary(value).is_ok())
}

/// The body as it was, or `None` if it has no bytes.
pub(super) async fn some(body: Body) -> Result<Option<Body>, Refusal> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = in_time(chunks.next()).await? {
        if !chunk.as_ref().is_ok_and(Bytes::is_empty) {
            let whole = futures_util::stream::iter([chunk]).chain(chunks);
            return Ok(Some(Body::from_stream(whole)));
        }
    }
    Ok(None)
}

/// Reads a JSON body whatever its content type says: Cloudflare accepts curl's default too.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    serde_json::from_slice(&read(body).await?).map_err(Refusal::bad_request)
}

/// Reads a body that is no upload; 7011 beyond 64 KiB.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, 7011, "Request entity is too large");
    // Before a client that waits to be asked is asked.
    if body.size_hint().lower() > MAX_TEXT_BYTES as u64 {
        return Err(too_large());
    }
    in_time(axum::body::to_bytes(body, MAX_TEXT_BYTES)).await?.map_err(|_| too_large())
}

async fn parts(emulator: &Emulator, headers: &HeaderMap, body: Body) -> Result<Form, Refusal> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|_| Refusal::not_a_form())?;
    if body.size_hint().lower() > MAX_FORM_BYTES {
        return Err(Refusal::too_large());
    }
    let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(MAX_FORM_BYTES));
    let mut parts = Multipart::with_constraints(body.into_data_stream(), boundary, limits);
    let mut form = Form::default();
    let mut text_bytes = 0;
    while let Some(part) = in_time(parts.next_field()).await?.map_err(refusal)? {
        let header = part.headers().get(CONTENT_DISPOSITION).map_or(&b""[..], HeaderValue::as_bytes);
        let disposition::Part { name, filename } = disposition::part(header);
        let name = name.unwrap_or_default();
        match (name.as_str(), filename) {
            ("file", _) if form.file.is_some() => {
                return Err(Refusal::bad_request("more than one file").at(&["file"]));
            }
            ("file", Some(filename)) => {
                let spooled = spool(emulator, part, filename).await?;
                // What browsers send of a form in which no file was chosen.
                form.file = Some(spooled).filter(|spooled| spooled.size > 0 || !spooled.filename.is_empty());
            }
            // Bytes sent as a text field are what some clients make of a file by mistake.
            ("file", None) => return Err(Refusal::unsupported_type()),
            _ if form.fields.len() + form.strays.len() >= MAX_PARTS => {
                return Err(Refusal::bad_request("Error parsing form fields: too many"));
            }
            _ if has_meaning(&name) => {
                let value = text(part, &name, &mut text_bytes).await?;
                form.fields.push((name, value));
            }
            // The reader goes over its bytes to the next part.
            _ => form.strays.push(name),
        }
    }
    Ok(form)
}

/// Whether a field is one of those a form of the API can have; `metadata[a]` and `metadata.a` are the SDKs'.
fn has_meaning(field: &str) -> bool {
    let name = field.split(['[', '.']).next().unwrap_or_default();
    name == "metadata" || ["id", "url", "requireSignedURLs", "creator", "expiry"].contains(&field)
}

async fn text(mut part: Field<'_>, name: &str, total: &mut usize) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut part).await? {
        *total += chunk.len();
        if *total > MAX_TEXT_BYTES {
            return Err(Refusal::bad_request("Error parsing form fields: too long").at(&[name]));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| {
        Refusal::bad_request(format!("Error parsing form fields: {name} is not UTF-8 text")).at(&[name])
    })
}

async fn spool(emulator: &Emulator, mut part: Field<'_>, filename: String) -> Result<Spooled, Refusal> {
    let mut file = emulator.0.store.files.spool()?;
    while let Some(chunk) = next(&mut part).await? {
        if !file.write(&chunk).await? {
            return Err(Refusal::too_large());
        }
    }
    let size = file.size;
    Ok(Spooled { path: file.finish().await?, size, filename })
}

/// A temporary file that takes up to Cloudflare's limit of bytes.
pub(super) struct SpoolFile {
    file: tokio::io::BufWriter<tokio::fs::File>,
    path: TempPath,
    pub(super) size: u64,
}

impl SpoolFile {
    /// Writes into `temporary`.
    pub(super) fn new(mut temporary: NamedTempFile) -> std::io::Result<Self> {
        temporary.flush()?;
        let (file, path) = temporary.into_parts();
        let file = tokio::io::BufWriter::with_capacity(256 * 1024, tokio::fs::File::from_std(file));
        Ok(SpoolFile { file, path, size: 0 })
    }

    /// Appends; false if that would be more than an image may have.
    pub(super) async fn write(&mut self, chunk: &Bytes) -> std::io::Result<bool> {
        self.size += chunk.len() as u64;
        if self.size > MAX_IMAGE_BYTES {
            return Ok(false);
        }
        self.file.write_all(chunk).await?;
        Ok(true)
    }

    /// Everything is in the file afterwards.
    pub(super) async fn finish(mut self) -> std::io::Result<TempPath> {
        self.file.flush().await?;
        Ok(self.path)
    }
}

async fn next(part: &mut Field<'_>) -> Result<Option<Bytes>, Refusal> {
    in_time(part.next()).await?.transpose().map_err(refusal)
}

async fn in_time<T>(reading: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout(IDLE, reading).await.map_err(|_| too_slow())
}

fn too_slow() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, 5408, "Client was sending upload too slowly")
}

fn refusal(error: multer::Error) -> Refusal {
    match error {
        multer::Error::StreamReadFailed(_) => {
            Refusal::new(StatusCode::BAD_REQUEST, 5433, "Request has been aborted by the client")
        }
        multer::Error::StreamSizeExceeded { .. } => Refusal::too_large(),
        multer::Error::IncompleteStream => Refusal::bad_request(error),
        other => Refusal::bad_request(format!("Error parsing form fields: {other}")),
    }
}
