//! Request bodies: what the caller describes, and how it is sent.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream::{self, BoxStream, Stream, TryStreamExt};
use reqwest::multipart::{Form, Part};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Error;

/// Properties of an image to be created.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewImage<'a> {
    /// A custom id: up to 1024 characters, slashes allowed, not a UUID, for public images only. `None` for a UUID made by
    /// Cloudflare.
    pub id: Option<&'a str>,
    /// At most [`MAX_METADATA_BYTES`](crate::wire::MAX_METADATA_BYTES) as JSON.
    pub metadata: Option<&'a Map<String, Value>>,
    /// Whether delivery needs a signed URL.
    pub require_signed_urls: bool,
    /// Any text of up to 1024 characters that identifies who made the image.
    pub creator: Option<&'a str>,
}

/// Properties of a direct upload to be created.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewDirectUpload<'a> {
    /// Properties of the image that the upload creates.
    pub image: NewImage<'a>,
    /// When the URL expires, 2 minutes to 6 hours from now; Cloudflare's default is 30 minutes.
    pub expiry: Option<DateTime<Utc>>,
}

/// Where the bytes of a new image come from.
#[derive(Debug)]
pub enum Body {
    /// The client sends them.
    Upload(Upload),
    /// Cloudflare fetches them from this URL, which may contain a user name and a password.
    Url(String),
}

/// A file to be sent.
pub struct Upload {
    /// The file name. Control characters are replaced by `_`.
    pub filename: String,
    /// MIME type, such as `image/png`.
    pub content_type: String,
    /// The exact number of bytes in `stream`.
    pub length: u64,
    /// The bytes. Reading begins when there is a connection to send them on, and a call is not retried after that.
    pub stream: BoxStream<'static, io::Result<Bytes>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { filename, content_type, length, stream: _ } = self;
        f.debug_struct("Upload")
            .field("filename", filename)
            .field("content_type", content_type)
            .field("length", length)
            .finish_non_exhaustive()
    }
}

/// A request body from which each attempt builds its own copy.
pub(super) enum RequestBody {
    None,
    /// No bytes, with `Content-Length: 0`: some servers require the header where a method usually has a body.
    Empty,
    Json(Bytes),
    /// A multipart form. It must not be empty, because Cloudflare rejects a form without parts.
    Form {
        fields: Vec<(&'static str, String)>,
        file: Option<FilePart>,
    },
}

impl RequestBody {
    pub(super) fn json(value: &impl Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec(value).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Self::Json(text.into()))
    }

    /// The form that creates an image.
    pub(super) fn image_form(image: &NewImage<'_>, body: Body) -> Result<Self, Error> {
        let mut fields = image_fields(image)?;
        let file = match body {
            Body::Upload(upload) => Some(FilePart::new(upload)?),
            Body::Url(url) => {
                fields.push(("url", url));
                None
            }
        };
        Ok(Self::Form { fields, file })
    }

    /// The form that creates a direct upload.
    pub(super) fn direct_upload_form(new: &NewDirectUpload<'_>) -> Result<Self, Error> {
        let mut fields = image_fields(&new.image)?;
        fields.extend(new.expiry.map(|at| ("expiry", rfc3339(at))));
        Ok(Self::Form { fields, file: None })
    }

    /// The JSON that creates a direct upload in version 1 of the API.
    pub(super) fn direct_upload_json(new: &NewDirectUpload<'_>) -> Result<Self, Error> {
        let NewDirectUpload { image, expiry } = new;
        let mut body = Map::new();
        let mut put =
            |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
        put("id", image.id.map(Value::from));
        put("metadata", image.metadata.cloned().map(Value::Object));
        put("requireSignedURLs", image.require_signed_urls.then_some(true.into()));
        put("creator", image.creator.map(Value::from));
        put("expiry", expiry.map(|at| rfc3339(at).into()));
        Self::json(&body)
    }

    /// The form that is sent to the URL of a direct upload.
    pub(super) fn upload_form(upload: Upload) -> Result<Self, Error> {
        Ok(Self::Form { fields: Vec::new(), file: Some(FilePart::new(upload)?) })
    }

    /// Whether another attempt can send the same bytes.
    pub(super) fn can_be_resent(&self) -> bool {
        self.file().is_none_or(|file| file.state().stream.is_some())
    }

    /// Whether the server may have received all bytes.
    pub(super) fn is_sent(&self) -> bool {
        self.file().is_none_or(FilePart::is_sent)
    }

    /// The deadline of an attempt that would end at `deadline`: later while the bytes of a file move.
    pub(super) fn extended_deadline(&self, deadline: Instant, idle_timeout: Duration) -> Instant {
        self.file().map_or(deadline, |file| file.state().extended_deadline(deadline, idle_timeout))
    }

    /// The error of the caller's stream, if it failed.
    pub(super) fn take_source_error(&self) -> Option<Error> {
        self.file()?.state().source_error.take().map(Error::UploadSource)
    }

    /// Adds the body to a request.
    pub(super) fn attach(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, Error> {
        Ok(match self {
            Self::None => request,
            Self::Empty => request.header(reqwest::header::CONTENT_LENGTH, 0),
            Self::Json(text) => {
                request.header(reqwest::header::CONTENT_TYPE, "application/json").body(text.clone())
            }
            Self::Form { fields, file } => {
                // Cloudflare is not known to decode percent-encoded file names, which reqwest would write by default.
                let mut form = Form::new().percent_encode_noop();
                for (name, value) in fields {
                    form = form.text(*name, value.clone());
                }
                if let Some(file) = file {
                    form = form.part("file", file.part()?);
                }
                request.multipart(form)
            }
        })
    }

    fn file(&self) -> Option<&FilePart> {
        match self {
            Self::Form { file, .. } => file.as_ref(),
            _ => None,
        }
    }
}

fn image_fields(image: &NewImage<'_>) -> Result<Vec<(&'static str, String)>, Error> {
    let mut fields = vec![("requireSignedURLs", image.require_signed_urls.to_string())];
    fields.extend(image.id.map(|id| ("id", id.to_owned())));
    fields.extend(image.creator.map(|creator| ("creator", creator.to_owned())));
    if let Some(metadata) = image.metadata {
        let text =
            serde_json::to_string(metadata).map_err(|error| Error::invalid(format!("metadata: {error}")))?;
        fields.push(("metadata", text));
    }
    Ok(fields)
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The file part of a form. Its stream can be read once, but building a part does not read it.
pub(super) struct FilePart {
    filename: String,
    content_type: String,
    length: u64,
    state: Arc<Mutex<Progress>>,
}

/// How much of a file was sent.
struct Progress {
    /// The stream until reading begins.
    stream: Option<BoxStream<'static, io::Result<Bytes>>>,
    /// Bytes that were passed to the HTTP client.
    sent: u64,
    /// When the first and the latest of these bytes were passed.
    first_and_latest: Option<(Instant, Instant)>,
    source_error: Option<io::Error>,
}

impl FilePart {
    fn new(upload: Upload) -> Result<Self, Error> {
        let Upload { filename, content_type, length, stream } = upload;
        let progress = Progress { stream: Some(stream), sent: 0, first_and_latest: None, source_error: None };
        let filename = filename.replace(char::is_control, "_");
        let file = Self { filename, content_type, length, state: Arc::new(Mutex::new(progress)) };
        // Rejects an invalid MIME type before anything is sent.
        file.part()?;
        Ok(file)
    }

    fn part(&self) -> Result<Part, Error> {
        Part::stream_with_length(reqwest::Body::wrap_stream(self.bytes()), self.length)
            .file_name(self.filename.clone())
            .mime_str(&self.content_type)
            .map_err(|_| Error::invalid("the content type is not a MIME type"))
    }

    /// The bytes of the stream, which is taken at the first read. Fails unless they are exactly `length`.
    fn bytes(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let length = self.length;
        stream::try_unfold((self.state.clone(), None), move |(state, open)| async move {
            let open = open.or_else(|| lock(&state).stream.take());
            let mut open =
                open.ok_or_else(|| io::Error::other("the stream was read by an earlier attempt"))?;
            let chunk = open.try_next().await;
            let chunk = lock(&state).record(chunk, length)?;
            Ok(chunk.map(|chunk| (chunk, (state, Some(open)))))
        })
    }

    fn is_sent(&self) -> bool {
        let state = self.state();
        state.stream.is_none() && state.sent >= self.length
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        lock(&self.state)
    }
}

/// The slowest connection that an upload is expected to work on, in bytes per second. Connections buffer megabytes, and
/// nothing reports when those have left, so the time that they may take is computed.
const MIN_BYTES_PER_SECOND: f64 = 64.0 * 1024.0;
/// The longest time of an attempt that sends a file, even if its bytes still move.
const MAX_UPLOAD_TIME: Duration = Duration::from_secs(3600);

impl Progress {
    /// See [`RequestBody::extended_deadline`].
    fn extended_deadline(&self, deadline: Instant, idle_timeout: Duration) -> Instant {
        let Some((first, latest)) = self.first_and_latest else { return deadline };
        let buffered = Duration::from_secs_f64(self.sent as f64 / MIN_BYTES_PER_SECOND);
        let idle_at = latest.max(first + buffered) + idle_timeout;
        deadline.max(idle_at.min(first + MAX_UPLOAD_TIME))
    }

    /// Counts a chunk and passes it on. An error of the source is kept, and ends the request by another one.
    fn record(&mut self, chunk: io::Result<Option<Bytes>>, length: u64) -> io::Result<Option<Bytes>> {
        let chunk = chunk.and_then(|chunk| {
            let sent = self.sent + chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if sent > length || (chunk.is_none() && sent < length) {
                let message = format!("the source does not have the declared length of {length} bytes");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            self.sent = sent;
            let now = Instant::now();
            self.first_and_latest = Some((self.first_and_latest.map_or(now, |(first, _)| first), now));
            Ok(chunk)
        });
        chunk.map_err(|error| {
            self.source_error = Some(error);
            io::Error::other("the source of the upload failed")
        })
    }
}

/// Locks the progress even after a panic in another thread, because its counters are valid at any time.
fn lock(state: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
