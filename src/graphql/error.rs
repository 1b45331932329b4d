//! Refusals and faults in GraphQL: `userErrors` of payloads, and top-level `errors`.

use std::sync::Arc;

use async_graphql::{Enum, ErrorExtensionValues, SimpleObject};
use row_object::RowObject;

use crate::entity::Failure;
use crate::error::{Code, Error, Refusal};

/// A problem that the caller can resolve. Failed requests are in the top-level `errors`.
#[derive(Debug, Clone, SimpleObject, RowObject)]
pub struct UserError {
    /// What kind of problem it is.
    code: UserErrorCode,
    /// English, safe to show.
    message: String,
    /// Path into the input, e.g. `["input", "focalPoint", "x"]`. Null when it is not about one field.
    field: Option<Vec<String>>,
    /// Repeat the request after this many seconds. Null when repeating does not help.
    retry_after: Option<i32>,
}

/// Kinds of `UserError`. More may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum UserErrorCode {
    /// There is no such object, or the caller may not see it.
    NotFound,
    /// The caller's role or token does not allow it.
    Forbidden,
    /// A value is outside what is accepted.
    InvalidInput,
    /// The state of the object does not allow it, or it was changed in the meantime.
    Conflict,
    /// The file has no bytes.
    EmptyFile,
    /// Too many bytes.
    FileTooLarge,
    /// Too many pixels.
    ImageTooLarge,
    /// A type that is not accepted.
    UnsupportedMimeType,
    /// The bytes are not of the declared type.
    MimeTypeMismatch,
    /// An image that cannot be read.
    CorruptImage,
    /// The file is not an image.
    NotAnImage,
    /// The upload has expired.
    UploadExpired,
    /// The bytes have not arrived.
    UploadIncomplete,
    /// The file is not usable yet.
    NotReady,
    /// The file has an image already.
    AlreadyProvisioned,
    /// The workspace has these bytes already, and its policy or the request rejects a second copy.
    DuplicateContent,
    /// The bytes do not have the expected SHA-256.
    ChecksumMismatch,
    /// The metadata is too large.
    MetadataTooLarge,
    /// The byte store has lost the bytes of the file.
    BytesMissing,
    /// The URL to import from does not respond, or not with a file.
    SourceUnreachable,
    /// The URL to import from has an address that is not allowed.
    SourceForbidden,
    /// A private image cannot have a custom id.
    CustomIdNotAllowed,
    /// Another image of the account has this custom id.
    CustomIdTaken,
    /// The account does not deliver transformations by URL options.
    FlexibleVariantsDisabled,
    /// The account has reached its number of variants.
    VariantLimitReached,
    /// The account has reached its number of signing keys: one in use and one for rotation.
    SigningKeyLimitReached,
    /// The image service rejected the request, or does not respond as expected.
    UpstreamError,
    /// The rate limit of the image service is reached.
    UpstreamRateLimited,
}

impl From<Code> for UserErrorCode {
    fn from(code: Code) -> Self {
        match code {
            Code::NotFound => Self::NotFound,
            Code::Forbidden | Code::Unauthenticated => Self::Forbidden,
            Code::InvalidInput => Self::InvalidInput,
            Code::Conflict => Self::Conflict,
            Code::EmptyFile => Self::EmptyFile,
            Code::FileTooLarge => Self::FileTooLarge,
            Code::ImageTooLarge => Self::ImageTooLarge,
            Code::UnsupportedMimeType => Self::UnsupportedMimeType,
            Code::MimeTypeMismatch => Self::MimeTypeMismatch,
            Code::CorruptImage => Self::CorruptImage,
            Code::NotAnImage => Self::NotAnImage,
            // Not the result of any mutation.
            Code::UploadExpired | Code::UrlExpired => Self::UploadExpired,
            Code::UploadIncomplete => Self::UploadIncomplete,
            Code::NotReady => Self::NotReady,
            Code::AlreadyProvisioned => Self::AlreadyProvisioned,
            Code::DuplicateContent => Self::DuplicateContent,
            Code::ChecksumMismatch => Self::ChecksumMismatch,
            Code::MetadataTooLarge => Self::MetadataTooLarge,
            Code::SourceUnreachable => Self::SourceUnreachable,
            Code::SourceForbidden => Self::SourceForbidden,
            Code::CustomIdNotAllowed => Self::CustomIdNotAllowed,
            Code::CustomIdTaken => Self::CustomIdTaken,
            Code::FlexibleVariantsDisabled => Self::FlexibleVariantsDisabled,
            Code::VariantLimitReached => Self::VariantLimitReached,
            Code::SigningKeyLimitReached => Self::SigningKeyLimitReached,
            Code::BytesMissing => Self::BytesMissing,
            // A request above its rate limit has no payload.
            Code::UpstreamRateLimited | Code::RateLimited => Self::UpstreamRateLimited,
            Code::UpstreamError | Code::Unavailable | Code::Internal => Self::UpstreamError,
        }
    }
}

impl From<Refusal> for UserError {
    fn from(refusal: Refusal) -> Self {
        UserError {
            code: refusal.code.into(),
            message: refusal.message,
            field: refusal.field,
            retry_after: refusal.retry_after.map(|delay| i32::try_from(delay.as_secs()).unwrap_or(i32::MAX)),
        }
    }
}

impl From<&Failure> for UserError {
    fn from(failure: &Failure) -> Self {
        in_input(failure.refusal()).into()
    }
}

/// A refusal with the path of its field from the arguments: the domain has it from the input object.
pub fn in_input(mut refusal: Refusal) -> Refusal {
    refusal.field = refusal.field.map(|path| std::iter::once("input".to_owned()).chain(path).collect());
    refusal
}

/// An error for the top-level `errors`. Logs a fault.
pub fn top_level(problem: Error) -> async_graphql::Error {
    problem.log();
    let refusal = problem.public();
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", refusal.code.as_str());
    if let Some(field) = refusal.field {
        extensions.set("field", field);
    }
    if let Some(delay) = refusal.retry_after {
        extensions.set("retryAfter", delay.as_secs());
    }
    let mut error = async_graphql::Error::new(refusal.message);
    error.extensions = Some(extensions);
    error
}

/// The result of a mutation: a value, or `userErrors` for a refusal. A fault is a top-level error.
pub fn outcome<T>(result: Result<T, Error>) -> async_graphql::Result<(Option<T>, Vec<UserError>)> {
    match result {
        Ok(value) => Ok((Some(value), Vec::new())),
        Err(Error::Refusal(refusal)) => Ok((None, vec![in_input(refusal).into()])),
        Err(fault) => Err(top_level(fault)),
    }
}

/// An error of a loader, which several fields share, as an error of one field.
pub fn from_loader(problem: Arc<Error>) -> async_graphql::Error {
    top_level(Arc::try_unwrap(problem).unwrap_or_else(|problem| problem.duplicate()))
}
