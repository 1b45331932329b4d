//! The bytes of a stored image.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::Error;

/// The bytes of a stored image while they are received.
pub struct Blob {
    /// MIME type, if the response has one.
    pub content_type: Option<String>,
    /// Number of bytes in `stream`, if the response has it.
    pub length: Option<u64>,
    /// The bytes. The stream ends with an error if the connection closes early or pauses for longer than
    /// [`Settings::attempt_timeout`](super::Settings::attempt_timeout).
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
}

impl Blob {
    pub(super) fn new(response: Response, idle_timeout: Duration) -> Self {
        let header = |name| response.headers().get(name)?.to_str().ok();
        let content_type = header(CONTENT_TYPE).map(str::to_owned);
        let length = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let chunks = stream::try_unfold(response, move |mut response| async move {
            let chunk = tokio::time::timeout(idle_timeout, response.chunk()).await;
            let chunk =
                chunk.map_err(|_| Error::timeout(false))?.map_err(|error| Error::connection(error, false))?;
            Ok(chunk.map(|chunk| (chunk, response)))
        });
        Self { content_type, length, stream: chunks.boxed() }
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
