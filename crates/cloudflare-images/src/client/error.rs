//! What can go wrong, sorted by what a caller can do about it.

use std::time::Duration;

/// What Cloudflare said about a failure, or what we say when it said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Cloudflare's number for the failure, such as 5404.
    pub code: Option<u32>,
    /// English text of at most a few hundred characters; never a credential of ours.
    pub message: String,
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such image, key or variant.
    #[error("not found: {0}")]
    NotFound(Said),
    /// The id is taken.
    #[error("conflict: {0}")]
    Conflict(Said),
    /// Too many bytes, pixels or frames.
    #[error("too large: {0}")]
    TooLarge(Said),
    /// Not an image, a damaged one, or of a type that is not taken.
    #[error("unsupported image: {0}")]
    Unsupported(Said),
    /// Refused for another reason; the same call would be refused again.
    #[error("invalid: {0}")]
    Invalid(Said),
    /// The credentials are wrong or may not do this.
    #[error("unauthorized: {0}")]
    Unauthorized(Said),
    /// The account cannot take it, whatever was asked: a limit of the service is reached, a subscription has ended, or the
    /// base URL leads to no route.
    #[error("trouble of the account: {0}")]
    Account(Said),
    /// Too many calls: Cloudflare refused, or our own limit says it would.
    #[error("rate limited: {said}")]
    RateLimited {
        /// What was said.
        said: Said,
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// No usable answer: not reachable, too slow, broken off, or a server-side failure.
    #[error("unavailable: {said}")]
    Unavailable {
        /// What was said.
        said: Said,
        /// How long to wait.
        retry_after: Option<Duration>,
        /// Whether the deed may have been done all the same.
        ambiguous: bool,
        /// What happened to the connection, without its URL.
        source: Option<reqwest::Error>,
    },
    /// An answer that cannot be understood.
    #[error("unintelligible answer: {said}")]
    Nonsense {
        /// What was said.
        said: Said,
        /// Whether the deed may have been done all the same.
        ambiguous: bool,
    },
    /// The caller's own stream failed or did not have the length it promised; nothing was stored.
    #[error("the source of the upload failed")]
    Source(#[source] std::io::Error),
    /// The settings cannot be used.
    #[error("Cloudflare settings: {message}")]
    Setup {
        /// Which, and why.
        message: String,
        /// Why there is no HTTP client.
        source: Option<reqwest::Error>,
    },
}

impl Error {
    /// Cloudflare's number for the failure.
    pub fn code(&self) -> Option<u32> {
        self.said().and_then(|said| said.code)
    }

    /// HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.said().and_then(|said| said.status)
    }

    /// Cloudflare's text for the failure, or ours where it had none.
    pub fn message(&self) -> &str {
        match self {
            Self::Source(_) => "the source of the upload failed",
            Self::Setup { message, .. } => message,
            _ => self.said().map_or("", |said| &said.message),
        }
    }

    /// How long to wait before the next try, where the answer says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the refusal is certainly about what was sent, so that sending the same again is no use.
    ///
    /// Only known numbers count: a status without a known number may come from a proxy on the way, and a number
    /// that is not known here may be about the account. What the client itself refuses was never sent, nor will it be.
    pub fn about_request(&self) -> bool {
        match (self, self.code()) {
            (_, Some(5409 | 5411 | 5413 | 5443 | 5455 | 7011 | 9422)) => true,
            // Of all that is a "bad request", only this is known to be about a value.
            (Self::Invalid(said), Some(5400)) => said.message.to_ascii_lowercase().contains("metadata"),
            (Self::Invalid(said), None) => said.status.is_none(),
            _ => false,
        }
    }

    /// Whether it is neither about what was sent nor known to pass by itself: the operator of the account has to look.
    pub fn is_of_account(&self) -> bool {
        let known = matches!(self, Self::NotFound(_) | Self::Source(_) | Self::Setup { .. });
        !known && !self.is_transient() && !self.about_request()
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unavailable { .. } | Self::Nonsense { .. })
    }

    /// Whether the deed may have been done although this error was seen.
    ///
    /// True for a writing call whose request reached, or may have reached, Cloudflare whole and
    /// whose answer was lost, garbled or a 5xx.
    pub fn ambiguous(&self) -> bool {
        match self {
            Self::Unavailable { ambiguous, .. } | Self::Nonsense { ambiguous, .. } => *ambiguous,
            _ => false,
        }
    }

    /// What was said, by Cloudflare or by us.
    fn said(&self) -> Option<&Said> {
        match self {
            Self::NotFound(said)
            | Self::Conflict(said)
            | Self::TooLarge(said)
            | Self::Unsupported(said)
            | Self::Invalid(said)
            | Self::Unauthorized(said)
            | Self::Account(said)
            | Self::RateLimited { said, .. }
            | Self::Unavailable { said, .. }
            | Self::Nonsense { said, .. } => Some(said),
            Self::Source(_) | Self::Setup { .. } => None,
        }
    }
}

impl Said {
    /// A remark of the client itself.
    pub(super) fn ours(message: impl Into<String>) -> Self {
        Self { status: None, code: None, message: message.into() }
    }
}

impl std::fmt::Display for Said {
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
