//! What a client is made with.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::Error;

/// Everything a client needs to know; it reads no environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Account whose images these are; 32 hexadecimal digits at Cloudflare.
    pub account_id: String,
    /// Who is calling.
    pub credentials: Credentials,
    /// Management API, such as `https://api.cloudflare.com/client/v4`.
    pub api: Url,
    /// Batch API, such as `https://batch.imagedelivery.net`.
    pub batch: Url,
    /// Delivery, such as `https://imagedelivery.net` or `https://example.com/cdn-cgi/imagedelivery`;
    /// the client itself never calls it, [`signing`](crate::signing) builds on it.
    pub delivery: Url,
    /// Direct uploads, such as `https://upload.imagedelivery.net`.
    pub upload: Url,
    /// Limit of one try, from connecting to the last byte of its answer; of a file that is sent and of a blob, the
    /// longest silence.
    pub timeout: Duration,
    /// Limit of one call with all its tries and waits; at most an hour. A try that sends a file may outlast it, as long
    /// as its bytes go on.
    pub deadline: Duration,
    /// Calls to the management API in any five minutes, a fifth of them at once; at least one.
    pub rate: u32,
}

/// Who is calling.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// API token with the permissions *Images Read* and *Images Write*.
    Token(Secret),
    /// Global API key of a user.
    EmailKey {
        /// The user's address.
        email: String,
        /// The key.
        key: Secret,
    },
}

/// Text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Settings {
    /// The `rate` Cloudflare allows one user over all of its API and from all of the user's servers.
    /// Source: developers.cloudflare.com/fundamentals/api/reference/limits.
    pub const CLOUDFLARE_RATE: u32 = 1200;

    /// The connections every host of this client shares.
    pub(super) fn http(&self) -> Result<reqwest::Client, Error> {
        self.check()?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("imagegraph/", env!("CARGO_PKG_VERSION")))
            // Sooner than a try ends, so that it shows as what it is.
            .connect_timeout((self.timeout / 2).min(Duration::from_secs(10)))
            // Credentials must not travel to wherever an answer points, and we do the repeating.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A proxy would come from the environment.
            .no_proxy();
        #[cfg(any(target_os = "android", target_os = "linux"))]
        {
            // What the connection has buffered and the other end does not take is silence as well.
            http = http.tcp_user_timeout(self.timeout);
        }
        if self.bases().iter().all(|(_, url)| url.scheme() == "http") {
            // A system without certificates, such as a bare container, is no obstacle then.
            http = http.tls_certs_only([]);
        }
        http.build().map_err(|error| Error::Setup { message: "no HTTP client".into(), source: Some(error) })
    }

    fn check(&self) -> Result<(), Error> {
        for (name, url) in self.bases() {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(setup(format!("the {name} base URL is not an http or https URL")));
            }
            // It would show in logs.
            if !url.username().is_empty() || url.password().is_some() {
                return Err(setup(format!("the {name} base URL contains credentials")));
            }
        }
        match self.account_id.as_str() {
            "" | "." | ".." => Err(setup("the account id is no id")),
            _ => Ok(()),
        }
    }

    fn bases(&self) -> [(&'static str, &Url); 4] {
        [("api", &self.api), ("batch", &self.batch), ("delivery", &self.delivery), ("upload", &self.upload)]
    }
}

impl Credentials {
    /// The headers that carry them.
    pub(super) fn headers(&self) -> Result<HeaderMap, Error> {
        let pairs = match self {
            Self::Token(token) => vec![(AUTHORIZATION, bearer(&token.0)?)],
            Self::EmailKey { email, key } => vec![
                (HeaderName::from_static("x-auth-email"), header(email)?),
                (HeaderName::from_static("x-auth-key"), header(&key.0)?),
            ],
        };
        Ok(pairs.into_iter().collect())
    }
}

/// `Authorization` for a token.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, Error> {
    header(&format!("Bearer {token}"))
}

fn header(value: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| setup("a credential contains characters no HTTP header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn setup(message: impl Into<String>) -> Error {
    Error::Setup { message: message.into(), source: None }
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
