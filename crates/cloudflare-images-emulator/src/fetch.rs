//! Uploads by URL: the emulator fetches the bytes itself.

use std::time::Duration;

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;
use url::Url;

use super::Emulator;
use super::answer::Refusal;
use super::form::Spooled;

/// Fetches an image over HTTP, with the user and password the URL may carry; 5454 if that fails.
pub(super) async fn fetch(emulator: &Emulator, url: &str) -> Result<Spooled, Refusal> {
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
            return Err(Refusal::too_large());
        }
    }
    let size = file.size;
    Ok(Spooled { path: file.finish().await?, size, filename: filename(&url) })
}

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(30);

/// Built per call: uploads by URL are rare, and a host without certificates must not keep the emulator from opening.
fn client() -> Result<reqwest::Client, Refusal> {
    let builder = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT).timeout(WHOLE);
    builder.redirect(reqwest::redirect::Policy::limited(5)).build().map_err(failed)
}

/// The last part of the path.
fn filename(url: &Url) -> String {
    let name = url.path().rsplit('/').find(|part| !part.is_empty()).unwrap_or("image");
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

fn failed(why: impl std::fmt::Display) -> Refusal {
    let message = format!("error while fetching the image by URL: {why}");
    Refusal::new(StatusCode::BAD_REQUEST, 5454, message).at(&["url"])
}
