//! A host of Cloudflare Images: its address, its credentials, its pace; and the tries of a call.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use percent_encoding::utf8_percent_encode;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::call::{Call, Failed, Tries};
use super::failures::Failures;
use super::pace::Pace;
use super::settings::bearer;
use super::{Blob, Deleted, Error, Said, Settings, answer};
use crate::{signing, wire};

/// One of Cloudflare's hosts.
pub(super) struct Host {
    http: reqwest::Client,
    /// Paths of calls are below this.
    base: Url,
    access: Access,
    pace: Pace,
    failures: Arc<Failures>,
    /// Of one try.
    timeout: Duration,
    /// Of one call.
    deadline: Duration,
}

/// What opens a host.
enum Access {
    /// Nothing.
    Free,
    /// The account's credentials.
    Credentials(HeaderMap),
    /// A token that the account's API hands out.
    BatchToken { account: Arc<Host>, token: Mutex<Option<wire::BatchToken>> },
}

impl Host {
    /// The management API.
    pub(super) fn account(
        settings: &Settings,
        http: &reqwest::Client,
        failures: &Arc<Failures>,
    ) -> Result<Self, Error> {
        let account = utf8_percent_encode(&settings.account_id, signing::NAME);
        let base = signing::below(&settings.api, &format!("/accounts/{account}/images"));
        let access = Access::Credentials(settings.credentials.headers()?);
        let pace = Pace::new(settings.rate, Duration::from_secs(300));
        Ok(Self { base, access, pace, ..Self::upload(settings, http, failures) })
    }

    /// The batch host.
    pub(super) fn batch(
        settings: &Settings,
        http: &reqwest::Client,
        account: Arc<Self>,
        failures: &Arc<Failures>,
    ) -> Self {
        let base = signing::below(&settings.batch, "/images");
        let access = Access::BatchToken { account, token: Mutex::new(None) };
        Self { base, access, ..Self::upload(settings, http, failures) }
    }

    /// The host of direct uploads.
    pub(super) fn upload(settings: &Settings, http: &reqwest::Client, failures: &Arc<Failures>) -> Self {
        let &Settings { timeout, deadline, .. } = settings;
        Self {
            http: http.clone(),
            base: settings.upload.clone(),
            access: Access::Free,
            pace: Self::per_second(),
            failures: Arc::clone(failures),
            timeout,
            deadline,
        }
    }

    /// What Cloudflare allows a batch token, and any address.
    fn per_second() -> Pace {
        Pace::new(200, Duration::from_secs(1))
    }

    /// The path of a URL that lies on this host.
    pub(super) fn path_below(&self, url: &str) -> Option<String> {
        let url = Url::parse(url).ok().filter(|url| url.origin() == self.base.origin())?;
        let path = url.path().strip_prefix(self.base.path().trim_end_matches('/'))?;
        path.starts_with('/').then(|| path.to_owned())
    }

    /// A call with a result.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failed> {
        let result = self.attempt(&call).await?;
        result.ok_or_else(|| {
            let error = answer::nonsense("the answer has no result", call.may_be_done());
            Failed { in_doubt: error.ambiguous(), error }
        })
    }

    /// A call that deletes.
    pub(super) async fn delete(&self, path: String) -> Result<Deleted, Error> {
        match self.attempt::<IgnoredAny>(&Call::new(Method::DELETE, path)).await {
            Ok(_) => Ok(Deleted::Done),
            // An earlier try of this call may well have been what deleted it.
            Err(Failed { error: Error::NotFound(_), in_doubt: true }) => Ok(Deleted::Done),
            Err(Failed { error: Error::NotFound(_), in_doubt: false }) => Ok(Deleted::AlreadyGone),
            Err(Failed { error, .. }) => Err(error),
        }
    }

    /// A call for bytes; they may take as long as they like, but not pause longer than a try may take.
    pub(super) async fn open(&self, call: Call) -> Result<Blob, Error> {
        let mut tries = Tries::new(self.deadline);
        loop {
            match self.respond(&call, &mut tries).await {
                Ok((response, by)) if is_json(&response) => {
                    let error = not_a_blob(response, by).await;
                    self.note(&call, &error);
                    return Err(error);
                }
                Ok((response, _)) => return Ok(blob(response, self.timeout)),
                Err(error) => self.again(&mut tries, &call, error).await?,
            }
        }
    }

    /// A fresh token for the batch host. Boxed because the batch host's own calls come through here.
    pub(super) fn batch_token(&self) -> BoxFuture<'_, Result<wire::BatchToken, Error>> {
        Box::pin(async { Ok(self.call(Call::new(Method::GET, "/v1/batch_token")).await?) })
    }

    /// All tries of a call.
    async fn attempt<T: DeserializeOwned>(&self, call: &Call) -> Result<Option<T>, Failed> {
        let mut tries = Tries::new(self.deadline);
        loop {
            match self.attempt_once(call, &mut tries).await {
                Ok(result) => return Ok(result),
                Err(error) => self.again(&mut tries, call, error).await?,
            }
        }
    }

    /// Waits for the next try of a call, or gives the failure back when there is none.
    async fn again(&self, tries: &mut Tries, call: &Call, error: Error) -> Result<(), Failed> {
        tries.again(call, error).await.inspect_err(|failed| self.note(call, &failed.error))
    }

    fn note(&self, call: &Call, error: &Error) {
        // What follows the host in the URL of a direct upload is a permission.
        let path = if matches!(self.access, Access::Free) { "a direct upload" } else { &call.path };
        self.failures.note(&format!("{} {path}", call.method), error);
    }

    async fn attempt_once<T: DeserializeOwned>(
        &self,
        call: &Call,
        tries: &mut Tries,
    ) -> Result<Option<T>, Error> {
        let (response, by) = self.respond(call, tries).await?;
        let done = call.may_be_done();
        let body = timeout_at(by, answer::whole(response, done)).await.map_err(|_| answer::late(done))??;
        answer::understood(&body, done)
    }

    /// One try up to the head of an answer that reports success, and when the try must end.
    async fn respond(&self, call: &Call, tries: &mut Tries) -> Result<(Response, Instant), Error> {
        self.pace.turn(tries.until).await?;
        let (headers, token) = self.credentials(tries.until).await?;
        let request = self.http.request(call.method.clone(), self.url(call)).headers(headers);
        let request = call.content.attach(request.header(ACCEPT, call.accept))?;
        let now = Instant::now();
        let by = now + self.timeout.min(tries.until.saturating_duration_since(now));
        let response = match self.head(call, request, by).await {
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                let failure = call.content.failure();
                return Err(failure.unwrap_or_else(|| answer::lost(error, call.may_be_done())));
            }
            None => return Err(answer::late(call.may_be_done())),
        };
        // The answer to a file that took its time has a time of its own.
        let by = if call.content.until(by, self.timeout) > by { Instant::now() + self.timeout } else { by };
        if response.status().is_success() {
            return Ok((response, by));
        }
        let refused = answer::refused(response, call.may_be_done());
        let error = timeout_at(by, refused).await.unwrap_or_else(|_| answer::late(call.may_be_done()));
        if let Error::RateLimited { retry_after: Some(wait), .. } = &error {
            self.pace.hold(*wait);
        }
        match token {
            Some(token) if matches!(error, Error::Unauthorized(_)) => {
                Err(self.renew(token, tries, error).await)
            }
            _ => Err(error),
        }
    }

    /// Sends a request and waits for the head of its answer, until `by` or, where a file is sent, until its bytes have
    /// not moved for as long as a try may take. `None` when that is over.
    async fn head(
        &self,
        call: &Call,
        request: reqwest::RequestBuilder,
        by: Instant,
    ) -> Option<Result<Response, reqwest::Error>> {
        let mut sending = std::pin::pin!(request.send());
        loop {
            let until = call.content.until(by, self.timeout);
            match timeout_at(until, &mut sending).await {
                Ok(answered) => return Some(answered),
                Err(_) if call.content.until(by, self.timeout) > until => {}
                Err(_) => return None,
            }
        }
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = signing::below(&self.base, &call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    /// The headers that open the host, and the token among them if there is one.
    async fn credentials(&self, until: Instant) -> Result<(HeaderMap, Option<String>), Error> {
        match &self.access {
            Access::Free => Ok((HeaderMap::new(), None)),
            Access::Credentials(headers) => Ok((headers.clone(), None)),
            Access::BatchToken { account, token } => {
                let token = timeout_at(until, current(account, token)).await;
                let token = token.map_err(|_| answer::late(false))??;
                Ok((HeaderMap::from_iter([(AUTHORIZATION, bearer(&token)?)]), Some(token)))
            }
        }
    }

    /// Forgets a token that was refused; the call gets one more try with a new one.
    async fn renew(&self, refused: String, tries: &mut Tries, error: Error) -> Error {
        if let Access::BatchToken { token, .. } = &self.access {
            let mut token = token.lock().await;
            if token.as_ref().is_some_and(|current| current.token == refused) {
                *token = None;
            }
        }
        if tries.renewed {
            return error;
        }
        tries.renewed = true;
        let said = Said::ours("the batch token was refused; the next try fetches another");
        Error::Unavailable { said, retry_after: Some(Duration::ZERO), ambiguous: false, source: None }
    }
}

/// The token in use, or a new one when it is about to expire. One fetch serves all who wait.
async fn current(account: &Host, token: &Mutex<Option<wire::BatchToken>>) -> Result<String, Error> {
    let mut token = token.lock().await;
    let soon = DateTime::<Utc>::from(SystemTime::now()) + TimeDelta::seconds(30);
    if let Some(token) = token.as_ref().filter(|token| token.expires_at > soon) {
        return Ok(token.token.clone());
    }
    let fresh = account.batch_token().await?;
    Ok(token.insert(fresh).token.clone())
}

/// No image is JSON: this is a refusal under a success status.
fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.is_some_and(|kind| kind.starts_with(b"application/json"))
}

async fn not_a_blob(response: Response, by: Instant) -> Error {
    let error = match timeout_at(by, answer::whole(response, false)).await {
        Ok(Ok(body)) => answer::understood::<IgnoredAny>(&body, false).err(),
        Ok(Err(error)) => Some(error),
        Err(_) => Some(answer::late(false)),
    };
    error.unwrap_or_else(|| answer::nonsense("the answer is no image", false))
}

fn blob(response: Response, patience: Duration) -> Blob {
    let text = |name| response.headers().get(name)?.to_str().ok();
    let content_type = text(CONTENT_TYPE).map(str::to_owned);
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let chunks = stream::try_unfold(response, move |mut response| async move {
        let chunk = tokio::time::timeout(patience, response.chunk()).await;
        let chunk: Option<Bytes> =
            chunk.map_err(|_| answer::late(false))?.map_err(|error| answer::lost(error, false))?;
        Ok(chunk.map(|chunk| (chunk, response)))
    });
    Blob { content_type, length, stream: chunks.boxed() }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}
