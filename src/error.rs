//! Errors. No other module decides what a client may read about an error.
//!
//! A *refusal* is an error that the client can correct: it has a code, a sentence, the input field, and perhaps a delay.
//! A *fault* is an error of the server: its cause is logged, and the client reads a fixed sentence.

use std::error::Error as StdError;
use std::time::Duration;

use crate::id::ParseIdError;

/// Result of every domain function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal or a fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error that the client can correct.
    #[error("{}", .0.message)]
    Refusal(Refusal),
    /// An error of the server or of something it depends on.
    #[error("{context}")]
    Fault {
        /// What was being done, for the log.
        context: &'static str,
        /// Why it failed, for the log.
        source: Box<dyn StdError + Send + Sync>,
        /// Whether a dependency does not work at the moment, so that the same request may succeed later.
        transient: bool,
    },
}

/// What a client reads about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Machine-readable kind.
    pub code: Code,
    /// English sentence for the client, which says what is accepted.
    pub message: String,
    /// Path of the input field, such as `["image", "alt"]`.
    pub field: Option<Vec<String>>,
    /// Time after which the request may succeed.
    pub retry_after: Option<Duration>,
}

/// Machine-readable kinds of errors. Faults are `Unavailable` or `Internal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Unauthenticated,
    Forbidden,
    NotFound,
    InvalidInput,
    Conflict,
    EmptyFile,
    FileTooLarge,
    ImageTooLarge,
    UnsupportedMimeType,
    MimeTypeMismatch,
    CorruptImage,
    NotAnImage,
    UploadExpired,
    UrlExpired,
    UploadIncomplete,
    NotReady,
    AlreadyProvisioned,
    DuplicateContent,
    ChecksumMismatch,
    MetadataTooLarge,
    SourceUnreachable,
    SourceForbidden,
    CustomIdNotAllowed,
    CustomIdTaken,
    FlexibleVariantsDisabled,
    VariantLimitReached,
    SigningKeyLimitReached,
    BytesMissing,
    UpstreamError,
    UpstreamRateLimited,
    RateLimited,
    Unavailable,
    Internal,
}

impl Code {
    /// Every code, for the schema and for stored failures.
    pub const ALL: [Code; 33] = [
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::InvalidInput,
        Code::Conflict,
        Code::EmptyFile,
        Code::FileTooLarge,
        Code::ImageTooLarge,
        Code::UnsupportedMimeType,
        Code::MimeTypeMismatch,
        Code::CorruptImage,
        Code::NotAnImage,
        Code::UploadExpired,
        Code::UrlExpired,
        Code::UploadIncomplete,
        Code::NotReady,
        Code::AlreadyProvisioned,
        Code::DuplicateContent,
        Code::ChecksumMismatch,
        Code::MetadataTooLarge,
        Code::SourceUnreachable,
        Code::SourceForbidden,
        Code::CustomIdNotAllowed,
        Code::CustomIdTaken,
        Code::FlexibleVariantsDisabled,
        Code::VariantLimitReached,
        Code::SigningKeyLimitReached,
        Code::BytesMissing,
        Code::UpstreamError,
        Code::UpstreamRateLimited,
        Code::RateLimited,
        Code::Unavailable,
        Code::Internal,
    ];

    /// The published spelling: `extensions.code` in GraphQL, `error.code` in REST.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::InvalidInput => "BAD_USER_INPUT",
            Code::Conflict => "CONFLICT",
            Code::EmptyFile => "EMPTY_FILE",
            Code::FileTooLarge => "FILE_TOO_LARGE",
            Code::ImageTooLarge => "IMAGE_TOO_LARGE",
            Code::UnsupportedMimeType => "UNSUPPORTED_MIME_TYPE",
            Code::MimeTypeMismatch => "MIME_TYPE_MISMATCH",
            Code::CorruptImage => "CORRUPT_IMAGE",
            Code::NotAnImage => "NOT_AN_IMAGE",
            Code::UploadExpired => "UPLOAD_EXPIRED",
            Code::UrlExpired => "URL_EXPIRED",
            Code::UploadIncomplete => "UPLOAD_INCOMPLETE",
            Code::NotReady => "NOT_READY",
            Code::AlreadyProvisioned => "ALREADY_PROVISIONED",
            Code::DuplicateContent => "DUPLICATE_CONTENT",
            Code::ChecksumMismatch => "CHECKSUM_MISMATCH",
            Code::MetadataTooLarge => "METADATA_TOO_LARGE",
            Code::SourceUnreachable => "SOURCE_UNREACHABLE",
            Code::SourceForbidden => "SOURCE_FORBIDDEN",
            Code::CustomIdNotAllowed => "CUSTOM_ID_NOT_ALLOWED",
            Code::CustomIdTaken => "CUSTOM_ID_TAKEN",
            Code::FlexibleVariantsDisabled => "FLEXIBLE_VARIANTS_DISABLED",
            Code::VariantLimitReached => "VARIANT_LIMIT_REACHED",
            Code::SigningKeyLimitReached => "SIGNING_KEY_LIMIT_REACHED",
            Code::BytesMissing => "BYTES_MISSING",
            Code::UpstreamError => "UPSTREAM_ERROR",
            Code::UpstreamRateLimited => "UPSTREAM_RATE_LIMITED",
            Code::RateLimited => "RATE_LIMITED",
            Code::Unavailable => "SERVICE_UNAVAILABLE",
            Code::Internal => "INTERNAL_SERVER_ERROR",
        }
    }

    /// HTTP status the REST face answers with.
    pub fn status(self) -> u16 {
        match self {
            Code::Unauthenticated => 401,
            Code::Forbidden => 403,
            Code::NotFound => 404,
            Code::Conflict
            | Code::DuplicateContent
            | Code::FlexibleVariantsDisabled
            | Code::VariantLimitReached
            | Code::SigningKeyLimitReached
            | Code::CustomIdTaken
            | Code::NotReady
            | Code::AlreadyProvisioned
            | Code::UploadIncomplete => 409,
            Code::UploadExpired | Code::UrlExpired | Code::BytesMissing => 410,
            Code::FileTooLarge => 413,
            Code::UnsupportedMimeType => 415,
            Code::InvalidInput
            | Code::EmptyFile
            | Code::ImageTooLarge
            | Code::MimeTypeMismatch
            | Code::CorruptImage
            | Code::ChecksumMismatch
            | Code::MetadataTooLarge
            | Code::SourceForbidden
            | Code::CustomIdNotAllowed
            | Code::NotAnImage => 400,
            Code::UpstreamError | Code::SourceUnreachable => 502,
            Code::RateLimited => 429,
            Code::UpstreamRateLimited | Code::Unavailable => 503,
            Code::Internal => 500,
        }
    }
}

/// The message of a fault. The request id in the response identifies the cause in the log.
pub const FAULT_MESSAGE: &str =
    "The server has an internal error. Try again; if the error persists, report the request id.";

/// The message of a transient fault.
const OUTAGE_MESSAGE: &str = "Something this server depends on does not work at the moment. Try again; if the error persists, report the request id.";
/// When to try again after a transient fault.
const OUTAGE_RETRY: Duration = Duration::from_secs(5);

impl Error {
    /// A refusal without an input field.
    pub fn refuse(code: Code, message: impl Into<String>) -> Self {
        Error::Refusal(Refusal { code, message: message.into(), field: None, retry_after: None })
    }

    /// A refusal of an input field; `field` is its path from the input object, with dots.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::refuse(Code::InvalidInput, message).at(field)
    }

    /// The refusal for something that does not exist or that the viewer may not see; the client cannot tell which.
    pub fn not_found(what: &str) -> Self {
        Self::refuse(Code::NotFound, format!("There is no such {what}, or you may not see it."))
    }

    /// A fault with a cause for the log; `context` says what the server was doing.
    pub fn fault(context: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Error::Fault { context, source: source.into(), transient: false }
    }

    /// A transient fault: a byte store, a disk or a database does not work at the moment.
    pub fn outage(context: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Error::Fault { context, source: source.into(), transient: true }
    }

    /// The same error once more, for several fields of an answer that failed together. The copy of a fault has the text of its
    /// cause.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        match self {
            Error::Refusal(refusal) => Error::Refusal(refusal.clone()),
            Error::Fault { context, source, transient } => {
                Error::Fault { context, source: source.to_string().into(), transient: *transient }
            }
        }
    }

    /// Sets the input field of a refusal; a path is written with dots.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        if let Error::Refusal(refusal) = &mut self {
            refusal.field = Some(field.split('.').map(str::to_owned).collect());
        }
        self
    }

    /// Puts the input field of a refusal below another field.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        if let Error::Refusal(Refusal { field: Some(path), .. }) = &mut self {
            path.insert(0, parent.to_owned());
        }
        self
    }

    /// Whether this is a transient fault.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Fault { transient: true, .. })
    }

    /// What the client reads about this error.
    pub fn public(&self) -> Refusal {
        match self {
            Error::Refusal(refusal) => refusal.clone(),
            Error::Fault { transient: true, .. } => Refusal {
                code: Code::Unavailable,
                message: OUTAGE_MESSAGE.to_owned(),
                field: None,
                retry_after: Some(OUTAGE_RETRY),
            },
            Error::Fault { .. } => Refusal {
                code: Code::Internal,
                message: FAULT_MESSAGE.to_owned(),
                field: None,
                retry_after: None,
            },
        }
    }

    /// Logs a fault with its chain of causes. Called once, where the response is made; refusals are not logged.
    pub fn log(&self) {
        if let Error::Fault { context, source, .. } = self {
            let mut chain = source.to_string();
            let mut cause = source.source();
            while let Some(next) = cause {
                chain = format!("{chain}: {next}");
                cause = next.source();
            }
            tracing::error!(context, cause = chain, "fault");
        }
    }
}

/// The refusal of an operation on a file whose bytes the store has lost.
pub fn bytes_missing() -> Error {
    let message = "The bytes of this file are missing from the byte store, completely or in part. Upload the file again.";
    Error::refuse(Code::BytesMissing, message)
}

impl From<sea_orm::DbErr> for Error {
    fn from(source: sea_orm::DbErr) -> Self {
        match source {
            sea_orm::DbErr::ConnectionAcquire(_) | sea_orm::DbErr::Conn(_) => {
                Error::outage("reaching the database", source)
            }
            _ => Error::fault("using the database", source),
        }
    }
}

impl From<object_store::Error> for Error {
    fn from(source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => bytes_missing(),
            _ => Error::outage("using the byte store", source),
        }
    }
}

impl From<ParseIdError> for Error {
    fn from(problem: ParseIdError) -> Self {
        Error::refuse(Code::InvalidInput, format!("Not a valid id: {problem}."))
    }
}

impl From<cloudflare_images::Error> for Error {
    fn from(source: cloudflare_images::Error) -> Self {
        Error::fault("calling the Cloudflare account", source)
    }
}
