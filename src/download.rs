//! Signed, short-lived URLs of the original bytes, served by this server.

use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use url::Url;

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::url_signature;
use crate::delivery;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Model, Status};
use crate::error::{Code, Error, Result};
use crate::id::FileId;
use crate::rows::stored_bytes;

/// Shortest and longest life of a download URL, in seconds. Rounding may double it.
pub const EXPIRES_IN: std::ops::RangeInclusive<i64> = 60..=86_400;

/// Types a browser shows and never runs: only these are served to be shown. PDF is not among them, because a browser's
/// viewer does not work under the sandbox these answers have.
const INLINE: [&str; 10] = [
    "image/apng",
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/plain",
];

/// What a download URL permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// Unix time.
    pub expires: i64,
    pub attachment: bool,
    pub signature: String,
}

/// A file that may be downloaded.
#[derive(Debug)]
pub struct Download {
    pub filename: String,
    /// With its character set, where it has one.
    pub content_type: String,
    pub size: u64,
    /// Strong validator, in quotes.
    pub etag: String,
    /// Since then the bytes are these.
    pub created_at: DateTime<Utc>,
    /// Serve it to be saved and not to be shown.
    pub attachment: bool,
    /// Until then the URL works.
    pub expires_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
    file: Model,
}

/// The URL of a file's bytes; `None` while it has none to give, and in the trash.
///
/// The expiry is rounded up, so that everybody who asks within a window of `expires_in` seconds gets the same string.
///
/// # Errors
/// `FORBIDDEN` without the scope, `BAD_USER_INPUT` at `expiresIn`.
pub async fn url(
    app: &App,
    viewer: &Viewer,
    file: &Model,
    expires_in: i64,
    attachment: bool,
) -> Result<Option<Url>> {
    viewer.require(Scope::FilesRead)?;
    if !EXPIRES_IN.contains(&expires_in) {
        let message =
            format!("A download URL stays valid for {} to {} seconds.", EXPIRES_IN.start(), EXPIRES_IN.end());
        return Err(Error::invalid("expiresIn", message));
    }
    if file.status != Status::Ready || file.deleted_at.is_some() || file.removed_at.is_some() {
        return Ok(None);
    }
    let ttl = std::time::Duration::from_secs(expires_in.unsigned_abs());
    let expires = delivery::expiry(app.clock.now(), ttl).timestamp();
    let signature = url_signature::sign(app, &message(file.id, expires, attachment)).await?;
    let mut url = app.public_url()?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["files", &file.id.to_string(), file.shown_filename()]);
    }
    url.query_pairs_mut().append_pair("expires", &expires.to_string());
    if attachment {
        url.query_pairs_mut().append_pair("attachment", "1");
    }
    url.query_pairs_mut().append_pair("signature", &signature);
    Ok(Some(url))
}

/// The file behind a download URL.
///
/// # Errors
/// `FORBIDDEN` for a signature that is not ours, `URL_EXPIRED` when its time is over,
/// `NOT_FOUND` once the file is deleted or in the trash.
pub async fn find(app: &App, id: FileId, permit: &Permit) -> Result<Download> {
    let message = message(id, permit.expires, permit.attachment);
    if !url_signature::verify(app, &message, &permit.signature).await? {
        let message = "The signature of this URL does not fit: use it exactly as it was handed out.";
        return Err(Error::refuse(Code::Forbidden, message));
    }
    let now = app.clock.now();
    let expires_at = DateTime::from_timestamp(permit.expires, 0).unwrap_or(now);
    if expires_at <= now {
        let message = "This URL has expired; ask for another one.";
        return Err(Error::refuse(Code::UrlExpired, message));
    }
    let found = file::by_id_unscoped(id).one(&app.db.read).await?;
    let standing = found.filter(|file| file.removed_at.is_none() && file.deleted_at.is_none());
    let Some(file) = standing.filter(|file| file.blob_id.is_some()) else {
        return Err(Error::refuse(Code::NotFound, "There is no such file any more."));
    };
    let mime_type = file.mime_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned());
    let inline = INLINE.contains(&mime_type.as_str())
        || mime_type.starts_with("audio/")
        || mime_type.starts_with("video/");
    let hash: String = file.sha256.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
    Ok(Download {
        filename: file.filename_sent.clone().unwrap_or_else(|| file.filename.clone()),
        content_type: if mime_type == "text/plain" {
            format!("{mime_type}; charset=utf-8")
        } else {
            mime_type
        },
        size: u64::try_from(file.size).unwrap_or_default(),
        etag: format!("\"{hash}\""),
        created_at: file.created_at,
        attachment: permit.attachment || !inline,
        expires_at,
        now,
        file,
    })
}

/// Bytes of a download as they come out of the store.
///
/// # Errors
/// `BYTES_MISSING`.
pub async fn read(
    app: &App,
    download: &Download,
    range: Range<u64>,
) -> Result<BoxStream<'static, object_store::Result<Bytes>>> {
    stored_bytes::read_range(app, &download.file, range).await
}

/// Checks that [`read`] would find the bytes.
///
/// # Errors
/// `BYTES_MISSING`.
pub async fn check(app: &App, download: &Download) -> Result<()> {
    stored_bytes::require(app, &download.file).await
}

fn message(id: FileId, expires: i64, attachment: bool) -> String {
    format!("download\n{id}\n{expires}\n{attachment}")
}
