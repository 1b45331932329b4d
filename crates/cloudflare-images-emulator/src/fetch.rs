//! Uploads from a URL: the emulator fetches the bytes.

use std::time::Duration;

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;
use url::Url;

use super::Emulator;
use super::error::ApiError;
use super::form::SpooledFile;

/// Fetches an image over HTTP, with the user name and password of the URL if it has them; 5454 if that fails.
pub(super) async fn fetch(emulator: &Emulator, url: &str) -> Result<SpooledFile, ApiError> {
    let url = Url::parse(url).map_err(failed)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(failed("Unsupported protocol"));
    }
    if url.host_str() == Some("imagedelivery.net") || url.as_str().starts_with(&emulator.0.public_url) {
        return Err(failed("images cannot be fetched from the delivery host"));
    }
    let mut response =
        client()?.get(url.clone()).send().await.map_err(|error| failed(error.without_url()))?;
    if !response.status().is_success() {
        return Err(failed(format!("the origin answered {}", response.status().as_u16())));
    }
    let mut file = emulator.0.store.files.spool()?;
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(error.without_url()))? {
        if !file.write(&chunk).await? {
            return Err(ApiError::image_too_large());
        }
    }
    let size = file.size;
    Ok(SpooledFile { path: file.finish().await?, size, filename: filename(&url) })
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Made for each call: uploads from a URL are rare, and a machine without root certificates, on which this fails, can
/// still run the emulator.
fn client() -> Result<reqwest::Client, ApiError> {
    let builder =
        reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).timeout(TOTAL_TIMEOUT);
    builder.redirect(reqwest::redirect::Policy::limited(5)).build().map_err(failed)
}

/// The last segment of the path.
fn filename(url: &Url) -> String {
    let name = url.path().rsplit('/').find(|part| !part.is_empty()).unwrap_or("image");
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

fn failed(why: impl std::fmt::Display) -> ApiError {
    let message = format!("error while fetching the image by URL: {why}");
    ApiError::new(StatusCode::BAD_REQUEST, 5454, message).with_pointer(&["url"])
}
