//! The settings of a client.

use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::Error;

/// Everything that a [`Client`](super::Client) has to know. [`Settings::new`] has Cloudflare's own addresses.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The id of the account; 32 hexadecimal digits at Cloudflare.
    pub account_id: String,
    /// How the client authenticates.
    pub credentials: Credentials,
    /// Base URL of the management API, such as `https://api.cloudflare.com/client/v4`.
    pub api: Url,
    /// Base URL of the batch API, such as `https://batch.imagedelivery.net`.
    pub batch: Url,
    /// Base URL of image delivery, such as `https://imagedelivery.net` or `https://example.com/cdn-cgi/imagedelivery`.
    /// The client never calls it; [`signing`](crate::signing) builds URLs from it.
    pub delivery: Url,
    /// Base URL of direct uploads, such as `https://upload.imagedelivery.net`.
    pub upload: Url,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The longest time for one attempt, from connecting to the last byte of the response. While a file is sent or a
    /// blob is received, the longest time without progress.
    pub attempt_timeout: Duration,
    /// The longest time for one call with all of its attempts and pauses; values above one hour count as one hour. An
    /// attempt that sends a file may take longer as long as its bytes move.
    pub call_timeout: Duration,
    /// Number of calls to the management API in any five minutes, of which a fifth may come at once. `None` for an
    /// account without a rate limit, such as an emulator's.
    pub rate: Option<NonZeroU32>,
    /// Number of calls to the batch host in any second, of which a fifth may come at once, and to the upload host.
    /// `None` for hosts without a rate limit.
    pub batch_rate: Option<NonZeroU32>,
}

/// How a client authenticates.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// An API token with the permissions *Images Read* and *Images Write*.
    Token(Secret),
    /// The global API key of a user.
    EmailKey {
        /// The user's e-mail address.
        email: String,
        /// The key.
        key: Secret,
    },
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Settings {
    /// The `rate` that Cloudflare allows one user, over all of its API and all clients of the user.
    /// Source: developers.cloudflare.com/fundamentals/api/reference/limits.
    pub const CLOUDFLARE_RATE: NonZeroU32 = NonZeroU32::new(1200).expect("it is not zero");

    /// The `batch_rate` that Cloudflare allows a batch token, and an IP address on its other hosts.
    /// Source: developers.cloudflare.com/images/storage/upload-images/images-batch.
    pub const CLOUDFLARE_BATCH_RATE: NonZeroU32 = NonZeroU32::new(200).expect("it is not zero");

    /// The default of `user_agent`: the name and the version of this crate.
    pub const USER_AGENT: &str = concat!("cloudflare-images/", env!("CARGO_PKG_VERSION"));

    /// Settings for an account at Cloudflare: its public addresses and its rates, 30 seconds for an attempt, 120 seconds
    /// for a call.
    pub fn new(account_id: impl Into<String>, credentials: Credentials) -> Self {
        let url = |text: &str| Url::parse(text).expect("the URL is valid");
        Self {
            account_id: account_id.into(),
            credentials,
            api: url("https://api.cloudflare.com/client/v4"),
            batch: url("https://batch.imagedelivery.net"),
            delivery: url("https://imagedelivery.net"),
            upload: url("https://upload.imagedelivery.net"),
            user_agent: Self::USER_AGENT.to_owned(),
            attempt_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(120),
            rate: Some(Self::CLOUDFLARE_RATE),
            batch_rate: Some(Self::CLOUDFLARE_BATCH_RATE),
        }
    }

    /// The HTTP client that all hosts share.
    pub(super) fn http(&self) -> Result<reqwest::Client, Error> {
        self.check()?;
        let mut http = reqwest::Client::builder()
            .user_agent(header(&self.user_agent, "the user agent")?)
            // Shorter than an attempt, so that a failed connection is reported as such and not as a timeout.
            .connect_timeout((self.attempt_timeout / 2).min(Duration::from_secs(10)))
            // A redirect could send the credentials to another host, and retries are made by this crate.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // reqwest would read proxies from the environment.
            .no_proxy();
        #[cfg(any(target_os = "android", target_os = "linux"))]
        {
            // Ends a connection whose peer does not acknowledge bytes that the kernel has buffered.
            http = http.tcp_user_timeout(self.attempt_timeout);
        }
        if self.base_urls().iter().all(|(_, url)| url.scheme() == "http") {
            // Without TLS no root certificates are needed, and a minimal container may have none.
            http = http.tls_certs_only([]);
        }
        http.build().map_err(|error| Error::Settings {
            message: "the HTTP client cannot be built".into(),
            source: Some(error),
        })
    }

    fn check(&self) -> Result<(), Error> {
        for (name, url) in self.base_urls() {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(invalid(format!("the {name} base URL is not an http or https URL")));
            }
            // URLs appear in logs.
            if !url.username().is_empty() || url.password().is_some() {
                return Err(invalid(format!("the {name} base URL contains credentials")));
            }
        }
        match self.account_id.as_str() {
            "" | "." | ".." => Err(invalid("the account id cannot be empty, `.` or `..`")),
            _ => Ok(()),
        }
    }

    fn base_urls(&self) -> [(&'static str, &Url); 4] {
        [("api", &self.api), ("batch", &self.batch), ("delivery", &self.delivery), ("upload", &self.upload)]
    }
}

impl Credentials {
    /// The request headers that authenticate.
    pub(super) fn headers(&self) -> Result<HeaderMap, Error> {
        let pairs = match self {
            Self::Token(token) => vec![(AUTHORIZATION, bearer(&token.0)?)],
            Self::EmailKey { email, key } => vec![
                (HeaderName::from_static("x-auth-email"), secret_header(email)?),
                (HeaderName::from_static("x-auth-key"), secret_header(&key.0)?),
            ],
        };
        Ok(pairs.into_iter().collect())
    }
}

/// The value of `Authorization` for a token.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, Error> {
    secret_header(&format!("Bearer {token}"))
}

/// A header value that `Debug` does not show.
fn secret_header(value: &str) -> Result<HeaderValue, Error> {
    let mut value = header(value, "a credential")?;
    value.set_sensitive(true);
    Ok(value)
}

fn header(value: &str, what: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value)
        .map_err(|_| invalid(format!("{what} contains characters that an HTTP header cannot contain")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Settings { message: message.into(), source: None }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
