//! What can go wrong, classified by what the caller can do about it.

use std::time::Duration;

/// What is known about a failed call: from Cloudflare's response, or from the client where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorDetails {
    /// HTTP status; `None` if there was no response.
    pub status: Option<u16>,
    /// Cloudflare's error code, such as 5404; `None` if the response has none.
    pub code: Option<u32>,
    /// English text of at most 500 characters. It never contains the client's credentials.
    pub message: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image, signing key or variant.
    #[error("not found: {0}")]
    NotFound(ErrorDetails),
    /// The id is in use.
    #[error("conflict: {0}")]
    Conflict(ErrorDetails),
    /// The image has too many bytes, pixels or frames.
    #[error("too large: {0}")]
    TooLarge(ErrorDetails),
    /// The file is not an image, is damaged, or has a type that Cloudflare Images does not accept.
    #[error("unsupported image: {0}")]
    Unsupported(ErrorDetails),
    /// The request was rejected for another reason, by Cloudflare or by the client before it was sent. The same request
    /// would be rejected again.
    #[error("invalid: {0}")]
    Invalid(ErrorDetails),
    /// The credentials are wrong or lack a permission.
    #[error("unauthorized: {0}")]
    Unauthorized(ErrorDetails),
    /// The account or the settings prevent the call, whatever it asks for: a service limit is reached, the subscription
    /// has ended, or the base URL leads to no route of the API.
    #[error("account cannot be used: {0}")]
    Account(ErrorDetails),
    /// Too many calls: Cloudflare rejected the call, or the client's own rate limiter did.
    #[error("rate limited: {details}")]
    RateLimited {
        /// Status, code and text.
        details: ErrorDetails,
        /// How long to wait before the next call, if known.
        retry_after: Option<Duration>,
    },
    /// There was no usable response: no connection, a timeout, a connection that closed early, or a server error.
    #[error("unavailable: {details}")]
    Unavailable {
        /// Status, code and text.
        details: ErrorDetails,
        /// How long to wait before the next call, if known.
        retry_after: Option<Duration>,
        /// Whether Cloudflare may have carried out the call. See [`Error::maybe_applied`].
        maybe_applied: bool,
        /// The error of the connection, without its URL.
        source: Option<reqwest::Error>,
    },
    /// The response is not one of this API: not JSON, not of the expected shape, a redirect, or a proxy's page.
    #[error("invalid response: {details}")]
    InvalidResponse {
        /// Status, code and text.
        details: ErrorDetails,
        /// Whether Cloudflare may have carried out the call. See [`Error::maybe_applied`].
        maybe_applied: bool,
    },
    /// The stream of an [`Upload`](super::Upload) failed, or its length is not the declared one. Nothing was stored.
    #[error("the source of the upload failed")]
    UploadSource(#[source] std::io::Error),
    /// The settings cannot be used.
    #[error("Cloudflare settings: {message}")]
    Settings {
        /// Which setting, and why.
        message: String,
        /// Why no HTTP client could be built.
        source: Option<reqwest::Error>,
    },
}

impl Error {
    /// Cloudflare's error code, such as 5404.
    pub fn code(&self) -> Option<u32> {
        self.details().and_then(|details| details.code)
    }

    /// HTTP status; `None` if there was no response.
    pub fn status(&self) -> Option<u16> {
        self.details().and_then(|details| details.status)
    }

    /// Cloudflare's text for the failure, or the client's where Cloudflare gave none.
    pub fn message(&self) -> &str {
        match self {
            Self::UploadSource(_) => "the source of the upload failed",
            Self::Settings { message, .. } => message,
            _ => self.details().map_or("", |details| &details.message),
        }
    }

    /// How long to wait before the next call, if Cloudflare or the client's rate limiter says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the failure is certainly caused by the content of the request, so that the same request would fail again.
    ///
    /// Only known error codes count. A status without one may come from a proxy in between, and an unknown code may
    /// concern the account. A request that the client itself rejected was not sent and never will be.
    pub fn is_request_error(&self) -> bool {
        match (self, self.code()) {
            (_, Some(5409 | 5411 | 5413 | 5443 | 5455 | 7011 | 9422)) => true,
            // 5400 stands for any bad request; the metadata is the only value that its message is known to name.
            (Self::Invalid(details), Some(5400)) => details.message.to_ascii_lowercase().contains("metadata"),
            (Self::Invalid(details), None) => details.status.is_none(),
            _ => false,
        }
    }

    /// Whether the operator of the account has to act: the failure is not caused by the content of the request and is
    /// not known to be temporary.
    pub fn is_account_error(&self) -> bool {
        let local = matches!(self, Self::NotFound(_) | Self::UploadSource(_) | Self::Settings { .. });
        !local && !self.is_transient() && !self.is_request_error()
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unavailable { .. } | Self::InvalidResponse { .. })
    }

    /// Whether the same call may succeed at once, because its host did not carry it out: a token was rejected and is
    /// replaced, or another host takes its calls from now on. The client makes the call again by itself, unless it sends
    /// a file whose stream was read.
    pub fn may_succeed_at_once(&self) -> bool {
        self.retry_after() == Some(Duration::ZERO) && self.is_transient() && !self.maybe_applied()
    }

    /// Whether Cloudflare may have carried out the call in spite of this error.
    ///
    /// True for a call that changes something, if its request may have reached Cloudflare completely and its response was
    /// lost, invalid or a server error (5xx).
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::Unavailable { maybe_applied, .. } | Self::InvalidResponse { maybe_applied, .. } => {
                *maybe_applied
            }
            _ => false,
        }
    }

    fn details(&self) -> Option<&ErrorDetails> {
        match self {
            Self::NotFound(details)
            | Self::Conflict(details)
            | Self::TooLarge(details)
            | Self::Unsupported(details)
            | Self::Invalid(details)
            | Self::Unauthorized(details)
            | Self::Account(details)
            | Self::RateLimited { details, .. }
            | Self::Unavailable { details, .. }
            | Self::InvalidResponse { details, .. } => Some(details),
            Self::UploadSource(_) | Self::Settings { .. } => None,
        }
    }

    /// Whether the host that answered may be the cause, or its token: another host may carry out the same call.
    pub(super) fn is_of_host(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized(_)
                | Self::Account(_)
                | Self::Unavailable { .. }
                | Self::InvalidResponse { .. }
        )
    }

    /// A request that the client rejects before it is sent.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(ErrorDetails::local(message))
    }

    /// A response that is not one of the API.
    pub(super) fn invalid_response(message: impl Into<String>, maybe_applied: bool) -> Self {
        Self::InvalidResponse { details: ErrorDetails::local(message), maybe_applied }
    }

    /// An attempt that took too long.
    pub(super) fn timeout(maybe_applied: bool) -> Self {
        let details = ErrorDetails::local("Cloudflare did not answer in time");
        Self::Unavailable { details, retry_after: None, maybe_applied, source: None }
    }

    /// A call that its host did not carry out, and that can be made again at once.
    pub(super) fn not_carried_out(message: impl Into<String>) -> Self {
        let (details, retry_after) = (ErrorDetails::local(message), Some(Duration::ZERO));
        Self::Unavailable { details, retry_after, maybe_applied: false, source: None }
    }

    /// A connection that failed.
    pub(super) fn connection(error: reqwest::Error, maybe_applied: bool) -> Self {
        let (message, maybe_applied) = if error.is_connect() {
            ("Cloudflare cannot be reached", false)
        } else {
            ("the connection to Cloudflare was closed early", maybe_applied)
        };
        let details = ErrorDetails::local(message);
        Self::Unavailable { details, retry_after: None, maybe_applied, source: Some(error.without_url()) }
    }
}

impl ErrorDetails {
    /// Details from the client itself, without a response.
    pub(super) fn local(message: impl Into<String>) -> Self {
        Self { status: None, code: None, message: message.into() }
    }
}

impl std::fmt::Display for ErrorDetails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match (self.status, self.code) {
            (Some(status), Some(code)) => write!(f, " (HTTP {status}, error {code})"),
            (Some(status), None) => write!(f, " (HTTP {status})"),
            (None, Some(code)) => write!(f, " (error {code})"),
            (None, None) => Ok(()),
        }
    }
}
