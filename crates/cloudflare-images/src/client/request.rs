//! What calls carry, and the bytes a blob brings back.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream::{self, BoxStream, Stream, TryStreamExt};
use reqwest::multipart::{Form, Part};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{Error, Said};

/// What a new image is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewImage<'a> {
    /// Custom id: up to 1,024 characters, slashes allowed, no UUID, public images only. Otherwise
    /// Cloudflare makes a UUID.
    pub id: Option<&'a str>,
    /// At most [`MAX_METADATA_BYTES`](crate::wire::MAX_METADATA_BYTES) of JSON.
    pub metadata: Option<&'a Map<String, Value>>,
    /// Whether delivery needs a signature.
    pub require_signed_urls: bool,
    /// Up to 1,024 characters.
    pub creator: Option<&'a str>,
}

/// What a new direct upload is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewDirectUpload<'a> {
    /// What the image will be.
    pub image: NewImage<'a>,
    /// From 2 minutes to 6 hours ahead; Cloudflare's default is 30 minutes.
    pub expiry: Option<DateTime<Utc>>,
}

/// Where a new image's bytes come from.
#[derive(Debug)]
pub enum Body {
    /// From us.
    Upload(Upload),
    /// Cloudflare fetches them from this URL; it may carry a name and a password.
    Url(String),
}

/// A file on its way to Cloudflare.
pub struct Upload {
    /// Shown in the image's record; control characters are replaced.
    pub filename: String,
    /// MIME type, such as `image/png`.
    pub content_type: String,
    /// Bytes in `stream`, exactly.
    pub length: u64,
    /// The bytes. Not touched before there is a connection to send them on.
    pub stream: BoxStream<'static, io::Result<Bytes>>,
}

/// Stored bytes on their way from Cloudflare.
pub struct Blob {
    /// MIME type as Cloudflare tells it.
    pub content_type: Option<String>,
    /// Bytes in `stream`, if Cloudflare tells; a stream that ends early ends in an error.
    pub length: Option<u64>,
    /// The bytes.
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
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

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { content_type, length, stream: _ } = self;
        f.debug_struct("Blob")
            .field("content_type", content_type)
            .field("length", length)
            .finish_non_exhaustive()
    }
}

/// A request body that can be built again for another try.
pub(super) enum Content {
    None,
    /// No bytes, and a header that says so: servers may insist on it where a body is usual.
    Empty,
    Json(Bytes),
    /// A multipart form; never without a field, for Cloudflare refuses an empty body.
    Form {
        fields: Vec<(&'static str, String)>,
        file: Option<File>,
    },
}

/// Form of an upload with credentials.
pub(super) fn image_form(image: &NewImage<'_>, body: Body) -> Result<Content, Error> {
    let mut fields = image_fields(image)?;
    let file = match body {
        Body::Upload(upload) => Some(File::new(upload)?),
        Body::Url(url) => {
            fields.push(("url", url));
            None
        }
    };
    Ok(Content::Form { fields, file })
}

/// Form that opens a direct upload.
pub(super) fn direct_upload_form(new: &NewDirectUpload<'_>) -> Result<Content, Error> {
    let mut fields = image_fields(&new.image)?;
    fields.extend(new.expiry.map(|at| ("expiry", at.to_rfc3339_opts(SecondsFormat::Secs, true))));
    Ok(Content::Form { fields, file: None })
}

/// JSON that opens a direct upload in the first version of the call.
pub(super) fn direct_upload_json(new: &NewDirectUpload<'_>) -> Result<Content, Error> {
    let NewDirectUpload { image, expiry } = new;
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    put("id", image.id.map(Value::from));
    put("metadata", image.metadata.cloned().map(Value::Object));
    put("requireSignedURLs", image.require_signed_urls.then_some(true.into()));
    put("creator", image.creator.map(Value::from));
    put("expiry", expiry.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true).into()));
    super::json(&body)
}

/// Form of a direct upload itself.
pub(super) fn upload_form(upload: Upload) -> Result<Content, Error> {
    Ok(Content::Form { fields: Vec::new(), file: Some(File::new(upload)?) })
}

fn image_fields(image: &NewImage<'_>) -> Result<Vec<(&'static str, String)>, Error> {
    let mut fields = vec![("requireSignedURLs", image.require_signed_urls.to_string())];
    fields.extend(image.id.map(|id| ("id", id.to_owned())));
    fields.extend(image.creator.map(|creator| ("creator", creator.to_owned())));
    if let Some(metadata) = image.metadata {
        let text = serde_json::to_string(metadata)
            .map_err(|error| Error::Invalid(Said::ours(format!("metadata: {error}"))))?;
        fields.push(("metadata", text));
    }
    Ok(fields)
}

impl Content {
    /// Whether another try can send the same.
    pub(super) fn repeatable(&self) -> bool {
        match self {
            Self::Form { file: Some(file), .. } => file.state().stream.is_some(),
            _ => true,
        }
    }

    /// Whether the other end can have all of it.
    pub(super) fn sent(&self) -> bool {
        match self {
            Self::Form { file: Some(file), .. } => file.sent(),
            _ => true,
        }
    }

    /// Until when a try may take that would end at `by`: longer, while the bytes of a file move.
    pub(super) fn until(&self, by: Instant, silence: Duration) -> Instant {
        match self {
            Self::Form { file: Some(file), .. } => file.state().until(by, silence),
            _ => by,
        }
    }

    /// What broke the source, if it broke.
    pub(super) fn failure(&self) -> Option<Error> {
        match self {
            Self::Form { file: Some(file), .. } => file.state().failure.take().map(Error::Source),
            _ => None,
        }
    }

    /// Puts the body on a request.
    pub(super) fn attach(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, Error> {
        Ok(match self {
            Self::None => request,
            Self::Empty => request.header(reqwest::header::CONTENT_LENGTH, 0),
            Self::Json(text) => {
                request.header(reqwest::header::CONTENT_TYPE, "application/json").body(text.clone())
            }
            Self::Form { fields, file } => {
                // Cloudflare's parser is not known to undo the percent-encoding of names.
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
}

/// A file part whose stream stays in reserve until it is first read.
pub(super) struct File {
    filename: String,
    content_type: String,
    length: u64,
    state: Arc<Mutex<FileState>>,
}

struct FileState {
    /// Gone once reading began.
    stream: Option<BoxStream<'static, io::Result<Bytes>>>,
    /// Bytes handed over.
    sent: u64,
    /// When the first bytes were handed over, and when the last.
    moved: Option<(Instant, Instant)>,
    failure: Option<io::Error>,
}

impl File {
    fn new(upload: Upload) -> Result<Self, Error> {
        let Upload { filename, content_type, length, stream } = upload;
        let state = FileState { stream: Some(stream), sent: 0, moved: None, failure: None };
        let filename = filename.replace(char::is_control, "_");
        let file = Self { filename, content_type, length, state: Arc::new(Mutex::new(state)) };
        file.part()?;
        Ok(file)
    }

    fn part(&self) -> Result<Part, Error> {
        Part::stream_with_length(reqwest::Body::wrap_stream(self.bytes()), self.length)
            .file_name(self.filename.clone())
            .mime_str(&self.content_type)
            .map_err(|_| Error::Invalid(Said::ours("the content type is not a MIME type")))
    }

    /// The stream, taken out of reserve at the first read and held to its length.
    fn bytes(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let length = self.length;
        stream::try_unfold((self.state.clone(), None), move |(state, open)| async move {
            let open = open.or_else(|| lock(&state).stream.take());
            let mut open = open.ok_or_else(|| io::Error::other("the source was read before"))?;
            let chunk = open.try_next().await;
            let chunk = lock(&state).count(chunk, length)?;
            Ok(chunk.map(|chunk| (chunk, (state, Some(open)))))
        })
    }

    fn sent(&self) -> bool {
        let state = self.state();
        state.stream.is_none() && state.sent >= self.length
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        lock(&self.state)
    }
}

/// Bytes a second that a line carries at least. What was handed over may still be on its way: connections buffer
/// megabytes, and nobody tells when those have left.
const SLOWEST: f64 = 64.0 * 1024.0;
/// However slowly bytes move, a try ends after this.
const LONGEST: Duration = Duration::from_secs(3600);

impl FileState {
    /// As [`Content::until`].
    fn until(&self, by: Instant, silence: Duration) -> Instant {
        let Some((first, last)) = self.moved else { return by };
        let on_its_way = Duration::from_secs_f64(self.sent as f64 / SLOWEST);
        let silent = (last + silence).max(first + on_its_way + silence);
        by.max(silent.min(first + LONGEST))
    }

    /// Lets a chunk pass, or keeps the reason why not and breaks the request off.
    fn count(&mut self, chunk: io::Result<Option<Bytes>>, length: u64) -> io::Result<Option<Bytes>> {
        let chunk = chunk.and_then(|chunk| {
            let sent = self.sent + chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if sent > length || (chunk.is_none() && sent < length) {
                let message = format!("the source does not have the {length} bytes it promised");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            self.sent = sent;
            let now = Instant::now();
            self.moved = Some((self.moved.map_or(now, |(first, _)| first), now));
            Ok(chunk)
        });
        chunk.map_err(|error| {
            self.failure = Some(error);
            io::Error::other("the source failed")
        })
    }
}

/// A panic elsewhere does not spoil a counter.
fn lock(state: &Mutex<FileState>) -> MutexGuard<'_, FileState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
