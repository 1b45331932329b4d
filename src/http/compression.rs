//! Compression of responses, as `Accept-Encoding` asks.
//!
//! The routes of downloads and of the emulator are not behind this layer: what they send are files, whose bytes, ranges and
//! entity tags must stay as they are.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{self, HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::CompressionLevel;
use tower_http::compression::{Compression, Predicate};
use tower_service::Service;

use super::accept_encoding::{AcceptEncoding, Coding};

/// Smaller responses, in bytes, are left alone: with their headers they fit into one packet as they are.
const MIN_SIZE: u64 = 1024;
/// Fast for all three: the next level of gzip and Brotli takes half as long again, for one per cent of the size.
const LEVEL: CompressionLevel = CompressionLevel::Precise(2);
/// The fastest first.
const OFFERED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// Compresses a response.
///
/// The coding is chosen here and not by tower-http, which answers 406 when it finds none: after the request was executed, and
/// for responses that are not to be coded as well.
pub async fn compress(mut request: Request, next: Next) -> Response {
    let accepted = AcceptEncoding::of(request.headers());
    let min_size = if accepted.refuses_identity() { 1 } else { MIN_SIZE };
    let mut response = match accepted.preferred(&OFFERED) {
        Some(coding) => {
            request.headers_mut().insert(header::ACCEPT_ENCODING, coding.header());
            let compression = Compression::new(next).quality(LEVEL);
            let Ok(response) = compression.compress_when(Worthwhile { min_size }).call(request).await;
            response.map(Body::new)
        }
        None => next.run(request).await,
    };
    let headers = response.headers();
    // tower-http does not say that a small response could have been another one. A 304 says what its 200 would.
    let varies = is_text(headers) || response.status() == StatusCode::NOT_MODIFIED;
    let says_so = headers.get_all(header::VARY).iter().any(|value| value == "accept-encoding");
    if varies && !says_so {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// Selects text that is in memory and is large enough. What is streamed, such as events, is never held back.
#[derive(Clone, Copy)]
struct Worthwhile {
    min_size: u64,
}

impl Predicate for Worthwhile {
    fn should_compress<B: HttpBody>(&self, response: &http::Response<B>) -> bool {
        let size = response.body().size_hint().exact();
        is_text(response.headers()) && size.is_some_and(|size| size >= self.min_size)
    }
}

/// Whether a response is JSON, or text other than events.
fn is_text(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| media_type.starts_with(prefix.as_bytes()));
    begins(&["application/json", "application/graphql-response+json", "text/"])
        && !begins(&["text/event-stream"])
}
