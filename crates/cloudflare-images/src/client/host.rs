//! One of the hosts of Cloudflare Images: its base URL, its authentication, its rate limit, and the attempts of its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use percent_encoding::utf8_percent_encode;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use reqwest::{Method, Response};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::call::{Attempts, Call, FailedCall, deletion, required};
use super::failures::Failures;
use super::rate_limit::{Priority, RateLimiter};
use super::settings::bearer;
use super::{Blob, DeleteOutcome, Error, Settings, response};
use crate::{signing, wire};

/// One of the hosts of Cloudflare Images.
pub(super) struct Host {
    http: reqwest::Client,
    /// The paths of calls are relative to this.
    base: Url,
    authentication: Authentication,
    pub(super) limiter: RateLimiter,
    failures: Arc<Failures>,
    attempt_timeout: Duration,
    call_timeout: Duration,
}

/// How calls to a host authenticate.
enum Authentication {
    /// Not at all: the path of a direct upload is its own authorisation.
    None,
    /// With the credentials of the settings.
    Credentials(HeaderMap),
    /// With a token that the management API issues.
    BatchToken {
        account: Arc<Host>,
        token: Mutex<Option<wire::BatchToken>>,
        /// Whether the latest token that was used was rejected.
        rejected: AtomicBool,
    },
}

impl Host {
    /// The management API.
    pub(super) fn account(
        settings: &Settings,
        http: &reqwest::Client,
        failures: &Arc<Failures>,
    ) -> Result<Self, Error> {
        let account = utf8_percent_encode(&settings.account_id, signing::PATH_SEGMENT);
        let base = signing::join_path(&settings.api, &format!("/accounts/{account}/images"));
        let authentication = Authentication::Credentials(settings.credentials.headers()?);
        let limiter = RateLimiter::new(settings.rate, Duration::from_secs(300));
        Ok(Self { base, authentication, limiter, ..Self::upload(settings, http, failures) })
    }

    /// The batch host.
    pub(super) fn batch(
        settings: &Settings,
        http: &reqwest::Client,
        account: Arc<Self>,
        failures: &Arc<Failures>,
    ) -> Self {
        let base = signing::join_path(&settings.batch, "/images");
        let (token, rejected) = (Mutex::new(None), AtomicBool::new(false));
        let authentication = Authentication::BatchToken { account, token, rejected };
        Self { base, authentication, ..Self::upload(settings, http, failures) }
    }

    /// The host of direct uploads.
    pub(super) fn upload(settings: &Settings, http: &reqwest::Client, failures: &Arc<Failures>) -> Self {
        let &Settings { attempt_timeout, call_timeout, .. } = settings;
        Self {
            http: http.clone(),
            base: settings.upload.clone(),
            authentication: Authentication::None,
            limiter: RateLimiter::new(settings.batch_rate, Duration::from_secs(1)),
            failures: Arc::clone(failures),
            attempt_timeout,
            call_timeout,
        }
    }

    /// The path of a URL relative to the base URL; `None` if it is a URL of another host or another path.
    pub(super) fn relative_path(&self, url: &str) -> Option<String> {
        let url = Url::parse(url).ok().filter(|url| url.origin() == self.base.origin())?;
        let path = url.path().strip_prefix(self.base.path().trim_end_matches('/'))?;
        path.starts_with('/').then(|| path.to_owned())
    }

    /// Makes a call whose response has a result.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, FailedCall> {
        let attempts = self.attempts();
        required(&call, self.answer(&call, attempts).await)
    }

    /// Makes a call that deletes.
    pub(super) async fn delete(&self, path: String) -> Result<DeleteOutcome, Error> {
        deletion(self.answer(&Call::new(Method::DELETE, path), self.attempts()).await)
    }

    /// The attempts of a call that somebody waits for.
    fn attempts(&self) -> Attempts {
        Attempts::new(self.call_timeout, Priority::Interactive)
    }

    /// Makes a call whose response is bytes. Retries end with the head of the response.
    pub(super) async fn download(&self, call: Call) -> Result<Blob, Error> {
        let mut attempts = self.attempts();
        loop {
            match self.send(&call, &mut attempts).await {
                // An error in an envelope, with a success status: no image is JSON.
                Ok((response, deadline)) if response::is_json(&response) => {
                    let error = error_instead_of_blob(response, deadline).await;
                    self.record_failure(&call, &error);
                    return Err(error);
                }
                Ok((response, _)) => return Ok(Blob::new(response, self.attempt_timeout)),
                Err(error) => self.wait_for_retry(&mut attempts, &call, error).await?,
            }
        }
    }

    /// A new token for the batch host. Boxed, because calls of the batch host call this function in turn.
    pub(super) fn batch_token(&self) -> BoxFuture<'_, Result<wire::BatchToken, Error>> {
        Box::pin(async {
            let call = Call::new(Method::GET, "/v1/batch_token");
            let attempts = Attempts::new(self.call_timeout, Priority::Token);
            Ok(required(&call, self.answer(&call, attempts).await)?)
        })
    }

    /// Makes a call with these attempts; `None` if its response has no result.
    pub(super) async fn answer<T: DeserializeOwned>(
        &self,
        call: &Call,
        mut attempts: Attempts,
    ) -> Result<Option<T>, FailedCall> {
        loop {
            match self.attempt(call, &mut attempts).await {
                Ok(result) => return Ok(result),
                Err(error) => self.wait_for_retry(&mut attempts, call, error).await?,
            }
        }
    }

    /// Waits before the next attempt; records and returns the error if there is none.
    async fn wait_for_retry(
        &self,
        attempts: &mut Attempts,
        call: &Call,
        error: Error,
    ) -> Result<(), FailedCall> {
        attempts
            .wait_for_retry(call, error)
            .await
            .inspect_err(|failed| self.record_failure(call, &failed.error))
    }

    fn record_failure(&self, call: &Call, error: &Error) {
        // The path of a direct upload is a credential: it must not be logged.
        let path =
            if matches!(self.authentication, Authentication::None) { "a direct upload" } else { &call.path };
        self.failures.record(&format!("{} {path}", call.method), error);
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        call: &Call,
        attempts: &mut Attempts,
    ) -> Result<Option<T>, Error> {
        let (response, deadline) = self.send(call, attempts).await?;
        let maybe_applied = call.maybe_applied();
        let body = timeout_at(deadline, response::read_body(response, maybe_applied))
            .await
            .map_err(|_| Error::timeout(maybe_applied))??;
        response::parse_envelope(&body, maybe_applied)
    }

    /// Makes one attempt up to the head of a response with a success status. Also returns the deadline for its body.
    async fn send(&self, call: &Call, attempts: &mut Attempts) -> Result<(Response, Instant), Error> {
        if !attempts.take_admission() {
            self.limiter.acquire(attempts.priority, attempts.deadline).await?;
        }
        let (headers, token) = self.credentials(attempts.deadline).await?;
        let request = self.http.request(call.method.clone(), self.url(call)).headers(headers);
        let request = call.body.attach(request.header(ACCEPT, call.accept))?;
        let now = Instant::now();
        let deadline = now + self.attempt_timeout.min(attempts.deadline.saturating_duration_since(now));
        let response = self.wait_for_head(call, request, deadline).await?;
        // If sending the file extended the deadline, the response has a time of its own.
        let extended = call.body.extended_deadline(deadline, self.attempt_timeout) > deadline;
        let deadline = if extended { Instant::now() + self.attempt_timeout } else { deadline };
        let refused = matches!(response.status().as_u16(), 401 | 403);
        if let (Authentication::BatchToken { rejected, .. }, false) = (&self.authentication, refused) {
            rejected.store(false, Ordering::Relaxed);
        }
        if response.status().is_success() {
            return Ok((response, deadline));
        }
        let maybe_applied = call.maybe_applied();
        let error = timeout_at(deadline, response::read_error(response, maybe_applied))
            .await
            .unwrap_or_else(|_| Error::timeout(maybe_applied));
        if let Error::RateLimited { retry_after: Some(wait), .. } = &error {
            self.limiter.block(*wait);
        }
        match token {
            Some(token) if matches!(error, Error::Unauthorized(_)) => {
                Err(self.discard_token(token, attempts, error).await)
            }
            _ => Err(error),
        }
    }

    /// Sends a request and waits for the head of the response until `deadline`, which moves while the bytes of a file do.
    async fn wait_for_head(
        &self,
        call: &Call,
        request: reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Response, Error> {
        let mut sending = std::pin::pin!(request.send());
        loop {
            let extended = call.body.extended_deadline(deadline, self.attempt_timeout);
            match timeout_at(extended, &mut sending).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    let source_error = call.body.take_source_error();
                    return Err(
                        source_error.unwrap_or_else(|| Error::connection(error, call.maybe_applied()))
                    );
                }
                Err(_) if call.body.extended_deadline(deadline, self.attempt_timeout) > extended => {}
                Err(_) => return Err(Error::timeout(call.maybe_applied())),
            }
        }
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = signing::join_path(&self.base, &call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    /// The headers that authenticate, and the token in them if there is one.
    async fn credentials(&self, deadline: Instant) -> Result<(HeaderMap, Option<String>), Error> {
        match &self.authentication {
            Authentication::None => Ok((HeaderMap::new(), None)),
            Authentication::Credentials(headers) => Ok((headers.clone(), None)),
            Authentication::BatchToken { account, token, .. } => {
                let token = timeout_at(deadline, current_token(account, token)).await;
                let token = token.map_err(|_| Error::timeout(false))??;
                Ok((HeaderMap::from_iter([(AUTHORIZATION, bearer(&token)?)]), Some(token)))
            }
        }
    }

    /// Discards a token that was rejected. The error becomes a transient one, so that the next attempt fetches a new token:
    /// once per call, and unless the token before this one was rejected as well.
    async fn discard_token(&self, used: String, attempts: &mut Attempts, error: Error) -> Error {
        let Authentication::BatchToken { token, rejected, .. } = &self.authentication else { return error };
        let mut token = token.lock().await;
        if token.as_ref().is_some_and(|current| current.token == used) {
            *token = None;
            if rejected.swap(true, Ordering::Relaxed) {
                return error;
            }
        }
        if attempts.token_renewed {
            return error;
        }
        attempts.token_renewed = true;
        Error::not_carried_out("the batch token was rejected; the next attempt fetches a new one")
    }
}

/// The current token, or a new one if it is about to expire. The lock makes concurrent calls wait for one request.
async fn current_token(account: &Host, token: &Mutex<Option<wire::BatchToken>>) -> Result<String, Error> {
    let mut token = token.lock().await;
    let soon = DateTime::<Utc>::from(SystemTime::now()) + TimeDelta::seconds(30);
    if let Some(token) = token.as_ref().filter(|token| token.expires_at > soon) {
        return Ok(token.token.clone());
    }
    let new = account.batch_token().await?;
    Ok(token.insert(new).token.clone())
}

async fn error_instead_of_blob(response: Response, deadline: Instant) -> Error {
    let error = match timeout_at(deadline, response::read_body(response, false)).await {
        Ok(Ok(body)) => response::parse_envelope::<IgnoredAny>(&body, false).err(),
        Ok(Err(error)) => Some(error),
        Err(_) => Some(Error::timeout(false)),
    };
    error.unwrap_or_else(|| Error::invalid_response("the response is not an image", false))
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}
