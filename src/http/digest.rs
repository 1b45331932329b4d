//! `Content-Digest` and `Repr-Digest` (RFC 9530): a body whose SHA-256 differs from the one in its headers is rejected.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The SHA-256 in the headers of a request. Other algorithms are ignored, as the RFC allows.
///
/// # Errors
/// `BAD_USER_INPUT` for a digest that is not 32 bytes in base64.
pub(super) fn expected_sha256(headers: &HeaderMap) -> Result<Option<[u8; 32]>> {
    let encoded = headers.contains_key(header::CONTENT_ENCODING);
    // Without a content coding, the content and the representation are the same bytes.
    let names = if encoded { &[CONTENT_DIGEST][..] } else { &[CONTENT_DIGEST, REPR_DIGEST] };
    let values = names.iter().flat_map(|name| headers.get_all(name));
    let members =
        values.filter_map(|value: &HeaderValue| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut digests = members.filter_map(|member| member.trim().strip_prefix("sha-256="));
    digests.next().map(|value| parse(value).ok_or_else(malformed)).transpose()
}

fn parse(value: &str) -> Option<[u8; 32]> {
    let inner = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(inner).ok()?.try_into().ok()
}

fn malformed() -> Error {
    let message = "A digest must have the form `sha-256=:…:`, with 32 bytes in base64 between the colons.";
    Error::invalid("Content-Digest", message)
}

/// Passes the chunks on, and ends with an error if their SHA-256 is not the expected one.
pub(super) fn verify<S>(sha256: Option<[u8; 32]>, chunks: S) -> BoxStream<'static, Result<Bytes>>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
{
    let Some(sha256) = sha256 else { return chunks.boxed() };
    let start = Some((chunks, Sha256::new()));
    let verified = stream::unfold(start, move |state| async move {
        let (mut chunks, mut hasher) = state?;
        match chunks.next().await {
            Some(Ok(chunk)) => {
                hasher.update(&chunk);
                Some((Ok(chunk), Some((chunks, hasher))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None if hasher.finalize()[..] == sha256[..] => None,
            None => Some((Err(mismatch()), None)),
        }
    });
    verified.boxed()
}

fn mismatch() -> Error {
    let message = "The SHA-256 of the body differs from Content-Digest. Send the whole file again.";
    Error::refuse(Code::ChecksumMismatch, message)
}
