//! Downloads: signed, short-lived URLs at which this server sends the original bytes.

use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use url::Url;

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::url_signature::{self, Signer};
use crate::delivery;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Model, Status};
use crate::error::{Code, Error, Result};
use crate::id::FileId;
use crate::rows::stored_bytes;

/// Shortest and longest lifetime of a download URL, in seconds. Rounding up the expiry may double it.
pub const EXPIRES_IN: std::ops::RangeInclusive<i64> = 60..=86_400;

/// MIME types, besides audio and video, that are sent with the disposition `inline`: browsers display them without running
/// scripts. PDF is missing because the viewers of browsers do not work in the sandbox that the response sets.
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

/// The signed query parameters of a download URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDownload {
    /// Unix time in seconds.
    pub expires: i64,
    pub attachment: bool,
    pub signature: String,
}

/// A file to send in response to a download URL.
#[derive(Debug)]
pub struct Download {
    pub filename: String,
    /// With the parameter `charset` for text.
    pub content_type: String,
    pub size: u64,
    /// Strong entity tag, in quotes.
    pub etag: String,
    /// For `Last-Modified`: bytes never change.
    pub created_at: DateTime<Utc>,
    /// Send it with the disposition `attachment` instead of `inline`.
    pub attachment: bool,
    /// When the URL expires.
    pub expires_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
    file: Model,
}

/// Makes download URLs.
pub struct DownloadUrls {
    signer: Signer,
    public_url: Url,
    /// Unix time in seconds.
    expires: i64,
    attachment: bool,
}

impl DownloadUrls {
    /// Makes URLs that stay valid for so many seconds. Their expiry is rounded up to a multiple of that, so that all URLs made
    /// within that time are equal and caches can use them.
    ///
    /// # Errors
    /// `FORBIDDEN` without the scope, `BAD_USER_INPUT` at `expiresIn`.
    pub async fn new(app: &App, viewer: &Viewer, expires_in: i64, attachment: bool) -> Result<Self> {
        viewer.require(Scope::FilesRead)?;
        if !EXPIRES_IN.contains(&expires_in) {
            let (shortest, longest) = (EXPIRES_IN.start(), EXPIRES_IN.end());
            let message = format!("A download URL stays valid for {shortest} to {longest} seconds.");
            return Err(Error::invalid("expiresIn", message));
        }
        let ttl = std::time::Duration::from_secs(expires_in.unsigned_abs());
        let expires = delivery::expiry(app.clock.now(), ttl).timestamp();
        Ok(DownloadUrls {
            signer: Signer::load(app).await?,
            public_url: app.public_url()?,
            expires,
            attachment,
        })
    }

    /// The URL of a file; `None` while it has no bytes, and in the trash.
    pub fn of(&self, file: &Model) -> Option<Url> {
        if file.status != Status::Ready || file.deleted_at.is_some() || file.removed_at.is_some() {
            return None;
        }
        let signature = self.signer.sign(&message(file.id, self.expires, self.attachment));
        let mut url = self.public_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["files", &file.id.to_string(), file.shown_filename()]);
        }
        url.query_pairs_mut().append_pair("expires", &self.expires.to_string());
        if self.attachment {
            url.query_pairs_mut().append_pair("attachment", "1");
        }
        url.query_pairs_mut().append_pair("signature", &signature);
        Some(url)
    }
}

/// The file behind a download URL.
///
/// # Errors
/// `FORBIDDEN` for an invalid signature, `URL_EXPIRED`, `NOT_FOUND` for a file that is deleted or in the trash.
pub async fn find(app: &App, id: FileId, signed: &SignedDownload) -> Result<Download> {
    let message = message(id, signed.expires, signed.attachment);
    url_signature::require_valid(app, &message, &signed.signature).await?;
    let now = app.clock.now();
    let expires_at = DateTime::from_timestamp(signed.expires, 0).unwrap_or(now);
    if expires_at <= now {
        let message = "This URL has expired; request a new one.";
        return Err(Error::refuse(Code::UrlExpired, message));
    }
    let found = file::by_id_unscoped(id).one(&app.db.read).await?;
    let Some(file) = found.filter(has_bytes) else {
        return Err(Error::refuse(Code::NotFound, "This file no longer exists."));
    };
    Ok(to_download(file, signed.attachment, expires_at, now))
}

/// Whether a file is neither deleted nor in the trash, and has bytes.
fn has_bytes(file: &Model) -> bool {
    file.removed_at.is_none() && file.deleted_at.is_none() && file.blob_id.is_some()
}

fn to_download(file: Model, attachment: bool, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Download {
    let mime_type = file.mime_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned());
    let inline = INLINE.contains(&mime_type.as_str())
        || mime_type.starts_with("audio/")
        || mime_type.starts_with("video/");
    let hash = file.sha256.as_ref().map(hex::encode).unwrap_or_default();
    Download {
        filename: file.filename_sent.clone().unwrap_or_else(|| file.filename.clone()),
        content_type: if mime_type == "text/plain" {
            format!("{mime_type}; charset=utf-8")
        } else {
            mime_type
        },
        size: u64::try_from(file.size).unwrap_or_default(),
        etag: format!("\"{hash}\""),
        created_at: file.created_at,
        attachment: attachment || !inline,
        expires_at,
        now,
        file,
    }
}

/// Streams a range of the bytes from the byte store.
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

/// Checks that the byte store has the bytes, without reading them.
///
/// # Errors
/// `BYTES_MISSING`.
pub async fn check(app: &App, download: &Download) -> Result<()> {
    stored_bytes::require(app, &download.file).await
}

/// The text that is signed.
fn message(id: FileId, expires: i64, attachment: bool) -> String {
    format!("download\n{id}\n{expires}\n{attachment}")
}
