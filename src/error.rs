//! What can go wrong, and the only place that decides what a client may read about it.
//!
//! A *refusal* is the caller's to mend: it has a code, a sentence, the field, and perhaps a delay.
//! A *fault* is ours: it keeps its cause for the log and shows the world one fixed sentence.

use std::error::Error as StdError;
use std::time::Duration;

use crate::id::ParseIdError;

/// Result of every domain function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal or a fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the caller can do something about.
    #[error("{}", .0.message)]
    Refusal(Refusal),
    /// Something we must look into.
    #[error("{context}")]
    Fault {
        /// What was being done, for the log.
        context: &'static str,
        /// Why it failed, for the log.
        source: Box<dyn StdError + Send + Sync>,
        /// Something we depend on does not answer: the same request works once it does again.
        passing: bool,
    },
}

/// What a client reads about its mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Machine-readable kind.
    pub code: Code,
    /// English sentence, safe to show, saying what would be accepted.
    pub message: String,
    /// Path into the input, e.g. `["input", "filename"]`.
    pub field: Option<Vec<String>>,
    /// Worth trying again after this long.
    pub retry_after: Option<Duration>,
}

/// Kinds of refusals, and the one kind of fault.
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

/// The sentence every fault shows; the request id in the answer leads to the cause in the log.
pub const FAULT_MESSAGE: &str =
    "Something went wrong on our side. Try again; if it stays, report the request id.";

/// The sentence of a fault that passes by itself.
const OUTAGE_MESSAGE: &str = "Something this server depends on does not work at the moment. Try again; if it stays, report the request id.";
/// When to try again after such a fault.
const OUTAGE_RETRY: Duration = Duration::from_secs(5);

impl Error {
    /// A refusal that is not about one field.
    pub fn refuse(code: Code, message: impl Into<String>) -> Self {
        Error::Refusal(Refusal { code, message: message.into(), field: None, retry_after: None })
    }

    /// A refusal of one input field, named from the root of the input object.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::refuse(Code::InvalidInput, message).at(field)
    }

    /// "Not there" and "not yours", which nobody can tell apart.
    pub fn not_found(what: &str) -> Self {
        Self::refuse(Code::NotFound, format!("There is no such {what}, or you may not see it."))
    }

    /// Wraps a cause that the client may not read.
    pub fn fault(context: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Error::Fault { context, source: source.into(), passing: false }
    }

    /// Wraps the cause of a fault that passes by itself: a byte store, a disk or a database that does not work for a
    /// while.
    pub fn outage(context: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Error::Fault { context, source: source.into(), passing: true }
    }

    /// Names the input field; a path is written with dots.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        if let Error::Refusal(refusal) = &mut self {
            refusal.field = Some(field.split('.').map(str::to_owned).collect());
        }
        self
    }

    /// Says that the field lies in another one.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        if let Error::Refusal(Refusal { field: Some(path), .. }) = &mut self {
            path.insert(0, parent.to_owned());
        }
        self
    }

    /// Whether the cause passes by itself.
    pub fn passes(&self) -> bool {
        matches!(self, Error::Fault { passing: true, .. })
    }

    /// What the client reads, whichever kind this is.
    pub fn public(&self) -> Refusal {
        match self {
            Error::Refusal(refusal) => refusal.clone(),
            Error::Fault { passing: true, .. } => Refusal {
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

    /// Logs a fault with its chain of causes. Called once, where the answer is made.
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

/// The refusal to work with a file whose bytes the store has lost.
pub fn bytes_missing() -> Error {
    let message = "The bytes of this file are missing from the byte store, or not all of them are there. Upload it again.";
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
        Error::fault("talking to the account", source)
    }
}
