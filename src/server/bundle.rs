//! The files of the GraphiQL page, embedded in the binary.
//!
//! The build of the page leaves what compresses well as two files, by Brotli and by gzip, and not as it is: see
//! `web/vite.config.js`.

use std::borrow::Cow;
use std::io::Read;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use flate2::read::GzDecoder;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::http::accept_encoding::{AcceptEncoding, Coding};
use crate::http::revalidation;

/// The output of `npm run build` in `web/`. Missing output is allowed, so that a checkout compiles without Node.js.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct BuiltPage;

/// The endings of compressed files.
const BROTLI: &str = ".br";
const GZIP: &str = ".gz";

/// A file in the form in which a client takes it.
struct Representation {
    bytes: Bytes,
    /// `None` for the file as it is.
    coding: Option<Coding>,
    /// The same for every coding.
    tag: String,
}

impl Representation {
    /// Finds a file of the page; `None` if it has none of this name.
    fn find(path: &str, accepted: &AcceptEncoding<'_>) -> Option<Self> {
        if path.ends_with(BROTLI) || path.ends_with(GZIP) {
            return None;
        }
        if let Some(plain) = BuiltPage::get(path) {
            return Some(Representation { coding: None, tag: tag(&plain), bytes: bytes(plain) });
        }
        let gzip = BuiltPage::get(&format!("{path}{GZIP}"))?;
        let (coding, tag) = (accepted.preferred(&[Coding::Brotli, Coding::Gzip]), tag(&gzip));
        let bytes = match coding {
            Some(Coding::Brotli) => bytes(BuiltPage::get(&format!("{path}{BROTLI}"))?),
            Some(_) => bytes(gzip),
            None => unzip(&gzip.data)?,
        };
        Some(Representation { bytes, coding, tag })
    }
}

/// The response with a file of the page, or 304 if the client has it; `None` if there is no such file.
pub(super) fn response(path: &str, request: &HeaderMap) -> Option<Response> {
    let found = Representation::find(path, &AcceptEncoding::of(request))?;
    let mut response = Response::new(Body::from(found.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = found.coding {
        headers.insert(header::CONTENT_ENCODING, coding.header());
    }
    Some(revalidation::with_tag(request, response, &found.tag))
}

/// The media type of a file, by its ending.
pub(super) fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        "md" => "text/markdown; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn tag(file: &EmbeddedFile) -> String {
    revalidation::weak_tag(&[&file.metadata.sha256_hash()])
}

/// The bytes of a file, without a copy where they are part of the binary.
fn bytes(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    }
}

fn unzip(compressed: &[u8]) -> Option<Bytes> {
    let mut plain = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut plain).ok()?;
    Some(plain.into())
}
