//! `Content-Digest` (RFC 9530): bytes that are not those the client announced are refused as damaged.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The SHA-256 the client says its bytes have. Other algorithms are not looked at, as the RFC allows.
///
/// # Errors
/// `BAD_USER_INPUT` for one that is not 32 bytes in base 64.
pub(super) fn announced(headers: &HeaderMap) -> Result<Option<[u8; 32]>> {
    let encoded = headers.contains_key(header::CONTENT_ENCODING);
    // The digest of the content is that of the whole when nothing is coded.
    let names = if encoded { &[CONTENT_DIGEST][..] } else { &[CONTENT_DIGEST, REPR_DIGEST] };
    let values = names.iter().flat_map(|name| headers.get_all(name));
    let members =
        values.filter_map(|value: &HeaderValue| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut sent = members.filter_map(|member| member.trim().strip_prefix("sha-256="));
    sent.next().map(|value| parse(value).ok_or_else(malformed)).transpose()
}

fn parse(value: &str) -> Option<[u8; 32]> {
    let inner = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(inner).ok()?.try_into().ok()
}

fn malformed() -> Error {
    let message = "A digest is written `sha-256=:…:`, with 32 bytes in base 64 between the colons.";
    Error::invalid("Content-Digest", message)
}

/// The same chunks, and a refusal after them if they are not those that were announced.
pub(super) fn checked<S>(sha256: Option<[u8; 32]>, chunks: S) -> BoxStream<'static, Result<Bytes>>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
{
    let Some(sha256) = sha256 else { return chunks.boxed() };
    let start = Some((chunks, Sha256::new()));
    let checked = stream::unfold(start, move |state| async move {
        let (mut chunks, mut hasher) = state?;
        match chunks.next().await {
            Some(Ok(chunk)) => {
                hasher.update(&chunk);
                Some((Ok(chunk), Some((chunks, hasher))))
            }
            Some(Err(problem)) => Some((Err(problem), None)),
            None if hasher.finalize()[..] == sha256[..] => None,
            None => Some((Err(damaged()), None)),
        }
    });
    checked.boxed()
}

fn damaged() -> Error {
    let message = "The bytes are not those that Content-Digest announces; send them again, all of them.";
    Error::refuse(Code::ChecksumMismatch, message)
}
