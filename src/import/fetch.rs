//! One attempt to fetch a file. Redirects are followed here and not by the HTTP client, so that the address of each target is
//! checked, and the connection goes to the address that was checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, Response, StatusCode, redirect};
use url::{Host, Url};

use crate::app::App;
use crate::error::{Code, Error, Refusal};
use crate::import::{address, source_unreachable};
use crate::ingest::filename::cleaned_filename;
use crate::storage::spool::{Spool, too_large};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A fetched file.
pub struct FetchedFile {
    pub spool: Spool,
    /// The cleaned filename of `Content-Disposition`.
    pub filename: Option<String>,
    pub content_type: Option<String>,
}

/// Why an attempt has failed.
#[derive(Debug)]
pub enum FetchError {
    /// Another attempt would fail for the same reason.
    Permanent(Refusal),
    /// Another attempt may succeed, after the delay of `Retry-After` if the source has sent one.
    Transient(Refusal, Option<Duration>),
    /// A failure of this server.
    Internal(Error),
}

/// Fetches the file at a URL within `import_timeout`. A file of more than `max` bytes is refused.
pub async fn fetch(app: &App, url: &Url, max: u64) -> Result<FetchedFile, FetchError> {
    tokio::time::timeout(app.config.import_timeout, follow(app, url, max)).await.unwrap_or_else(|_| {
        let seconds = app.config.import_timeout.as_secs_f64();
        Err(transient(format!("The source did not send the file within {seconds} seconds.")))
    })
}

async fn follow(app: &App, url: &Url, max: u64) -> Result<FetchedFile, FetchError> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = get(app, &url).await?;
        let Some(next) = redirect(&url, &response)? else { return receive(app, &url, response, max).await };
        url = next;
    }
    Err(FetchError::Permanent(source_unreachable(format!(
        "The source redirects more than {MAX_REDIRECTS} times."
    ))))
}

/// Sends a GET request to a checked address of the URL's host.
async fn get(app: &App, url: &Url) -> Result<Response, FetchError> {
    address::check_url(url, app.config.import_allow_loopback)?;
    let addresses = resolve(app, url).await?;
    let client = Client::builder()
        // A proxy would resolve the name itself, to an address that was not checked.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(PinnedAddresses(addresses)))
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("imagegraph/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|problem| FetchError::Internal(Error::fault("creating an HTTP client", problem)))?;
    let request =
        client.get(url.clone()).header(header::ACCEPT, "*/*").header(header::ACCEPT_ENCODING, "identity");
    // The exact error stays hidden: it would let the caller probe the server's network.
    request.send().await.map_err(|_| transient("The source cannot be reached."))
}

/// Resolves the host of a URL and checks all of its addresses. Empty for an IP address, which needs no resolver.
async fn resolve(app: &App, url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
    // `check_url` has checked an IP address.
    let Some(Host::Domain(name)) = url.host() else { return Ok(Vec::new()) };
    let port = url.port_or_known_default().unwrap_or(80);
    let unresolved = || transient("The name of the source's host cannot be resolved.");
    let found: Vec<_> = tokio::net::lookup_host((name, port)).await.map_err(|_| unresolved())?.collect();
    for address in &found {
        address::check(address.ip(), app.config.import_allow_loopback)?;
    }
    if found.is_empty() { Err(unresolved()) } else { Ok(found) }
}

/// Resolves every name to the addresses that were checked. A second DNS query could return others (DNS rebinding).
struct PinnedAddresses(Vec<SocketAddr>);

impl Resolve for PinnedAddresses {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// The target of a redirect; `None` for any other response.
fn redirect(url: &Url, response: &Response) -> Result<Option<Url>, FetchError> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = text(response.headers(), header::LOCATION);
    let next = location.and_then(|location| url.join(&location).ok());
    next.map(Some).ok_or_else(|| {
        FetchError::Permanent(source_unreachable(format!(
            "The source answers with the status {status} and no valid location."
        )))
    })
}

async fn receive(app: &App, url: &Url, response: Response, max: u64) -> Result<FetchedFile, FetchError> {
    check_status(&response)?;
    let headers = response.headers();
    if let Some(encoding) = text(headers, header::CONTENT_ENCODING).filter(|encoding| encoding != "identity")
    {
        let encoding: String = encoding.chars().filter(char::is_ascii_graphic).take(20).collect();
        let message =
            format!("The source sends the file in the encoding {encoding}, which was not requested.");
        return Err(FetchError::Permanent(source_unreachable(message)));
    }
    if response.content_length().is_some_and(|length| length > max) {
        return Err(too_large(max).into());
    }
    let disposition = headers.get(header::CONTENT_DISPOSITION);
    let filename = disposition.and_then(|value| disposition::download(value.as_bytes()));
    let filename = filename.map(|name| cleaned_filename(&name));
    let content_type = text(headers, header::CONTENT_TYPE);
    tracing::debug!(host = url.host_str().unwrap_or_default(), path = url.path(), "importing");
    let chunks = response.bytes_stream().map_err(|_| connection_lost());
    match Spool::receive(&app.config.data_dir, max, chunks).await {
        Ok(spool) => Ok(FetchedFile { spool, filename, content_type }),
        Err(Error::Refusal(reason)) if reason.code == Code::SourceUnreachable => {
            Err(FetchError::Transient(reason, None))
        }
        Err(problem) => Err(problem.into()),
    }
}

fn check_status(response: &Response) -> Result<(), FetchError> {
    let status = response.status();
    if status.is_success() && status != StatusCode::PARTIAL_CONTENT {
        return Ok(());
    }
    let reason = source_unreachable(format!("The source answers with the status {}.", status.as_u16()));
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        let delay = text(response.headers(), header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        return Err(FetchError::Transient(reason, delay.map(Duration::from_secs)));
    }
    Err(FetchError::Permanent(reason))
}

/// The value of a header, decoded as UTF-8: servers send that although HTTP only defines ASCII.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

fn transient(message: impl Into<String>) -> FetchError {
    FetchError::Transient(source_unreachable(message), None)
}

fn connection_lost() -> Error {
    Error::refuse(
        Code::SourceUnreachable,
        "The connection to the source ended before the whole file had arrived.",
    )
}
