//! One attempt to fetch a file: redirects followed by hand, each address checked and then connected to, no other.

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
use crate::import::{address, unreachable};
use crate::ingest::filename::cleaned_filename;
use crate::storage::spool::{Spool, too_large};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found.
pub struct Fetched {
    pub spool: Spool,
    /// The name the source gives it, made presentable.
    pub filename: Option<String>,
    pub content_type: Option<String>,
}

/// Why an attempt did not work.
#[derive(Debug)]
pub enum FetchError {
    /// It would not work the next time either.
    Final(Refusal),
    /// Worth another attempt, perhaps not before a while.
    Passing(Refusal, Option<Duration>),
    /// It is ours.
    Fault(Error),
}

/// Fetches what is at a URL, at most `max` bytes of it, within the time one attempt has.
pub async fn fetch(app: &App, url: &Url, max: u64) -> Result<Fetched, FetchError> {
    tokio::time::timeout(app.config.import_timeout, follow(app, url, max)).await.unwrap_or_else(|_| {
        let seconds = app.config.import_timeout.as_secs_f64();
        Err(passing(format!("The source did not send the file within {seconds} seconds.")))
    })
}

async fn follow(app: &App, url: &Url, max: u64) -> Result<Fetched, FetchError> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = get(app, &url).await?;
        let Some(next) = redirect(&url, &response)? else { return receive(app, &url, response, max).await };
        url = next;
    }
    Err(FetchError::Final(unreachable(format!("The source redirects more than {MAX_REDIRECTS} times."))))
}

/// Asks for a URL at an address that was checked.
async fn get(app: &App, url: &Url) -> Result<Response, FetchError> {
    address::check_url(url, app.config.import_allow_loopback)?;
    let addresses = resolve(app, url).await?;
    let client = Client::builder()
        // A proxy would connect to whatever it likes.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(Checked(addresses)))
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("imagegraph/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|problem| FetchError::Fault(Error::fault("making an HTTP client", problem)))?;
    let request =
        client.get(url.clone()).header(header::ACCEPT, "*/*").header(header::ACCEPT_ENCODING, "identity");
    // What exactly went wrong would tell about a network that the caller may not see.
    request.send().await.map_err(|_| passing("The source cannot be reached."))
}

/// The addresses of a URL's host, all of them checked.
async fn resolve(app: &App, url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
    // An address in the URL was checked with it.
    let Some(Host::Domain(name)) = url.host() else { return Ok(Vec::new()) };
    let port = url.port_or_known_default().unwrap_or(80);
    let unknown = || passing("The name of the source's host cannot be resolved.");
    let found: Vec<_> = tokio::net::lookup_host((name, port)).await.map_err(|_| unknown())?.collect();
    for address in &found {
        address::check(address.ip(), app.config.import_allow_loopback)?;
    }
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// Answers the checked addresses, whatever it is asked: the name is not resolved again, where the answer might be another.
struct Checked(Vec<SocketAddr>);

impl Resolve for Checked {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// Where an answer sends us; `None` if it is one to read.
fn redirect(url: &Url, response: &Response) -> Result<Option<Url>, FetchError> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = text(response.headers(), header::LOCATION);
    let next = location.and_then(|location| url.join(&location).ok());
    next.map(Some).ok_or_else(|| {
        FetchError::Final(unreachable(format!("The source answers {status} without saying where to go.")))
    })
}

async fn receive(app: &App, url: &Url, response: Response, max: u64) -> Result<Fetched, FetchError> {
    check_status(&response)?;
    let headers = response.headers();
    if let Some(encoding) = text(headers, header::CONTENT_ENCODING).filter(|encoding| encoding != "identity")
    {
        let encoding: String = encoding.chars().filter(char::is_ascii_graphic).take(20).collect();
        let message =
            format!("The source sends the file in the encoding {encoding}, which was not asked for.");
        return Err(FetchError::Final(unreachable(message)));
    }
    if response.content_length().is_some_and(|length| length > max) {
        return Err(too_large(max).into());
    }
    let said = headers.get(header::CONTENT_DISPOSITION);
    let filename = said.and_then(|value| disposition::download(value.as_bytes()));
    let filename = filename.map(|name| cleaned_filename(&name));
    let content_type = text(headers, header::CONTENT_TYPE);
    tracing::debug!(host = url.host_str().unwrap_or_default(), path = url.path(), "importing");
    let chunks = response.bytes_stream().map_err(|_| broken_off());
    match Spool::receive(&app.config.data_dir, max, chunks).await {
        Ok(spool) => Ok(Fetched { spool, filename, content_type }),
        Err(Error::Refusal(why)) if why.code == Code::SourceUnreachable => {
            Err(FetchError::Passing(why, None))
        }
        Err(problem) => Err(problem.into()),
    }
}

fn check_status(response: &Response) -> Result<(), FetchError> {
    let status = response.status();
    if status.is_success() && status != StatusCode::PARTIAL_CONTENT {
        return Ok(());
    }
    let why = unreachable(format!("The source answers with the status {}.", status.as_u16()));
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        let delay = text(response.headers(), header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        return Err(FetchError::Passing(why, delay.map(Duration::from_secs)));
    }
    Err(FetchError::Final(why))
}

/// A header as text; bytes beyond ASCII are taken as UTF-8, which is what servers send.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

fn passing(message: impl Into<String>) -> FetchError {
    FetchError::Passing(unreachable(message), None)
}

fn broken_off() -> Error {
    Error::refuse(Code::SourceUnreachable, "The source broke off before the file was there.")
}
