//! What a workspace accepts, whichever way the bytes come.

use crate::app::App;
use crate::content::detect::DetectedContent;
use crate::content::mime::{self, DeclaredType};
use crate::entity::workspace::Model as Workspace;
use crate::error::{Code, Error, Result};
use crate::storage::spool::{Spool, too_large};

/// Largest file a workspace takes, in bytes: its own limit, or the server's where that is lower.
pub fn max_size(app: &App, workspace: &Workspace) -> u64 {
    let own = workspace.max_file_size.and_then(|bytes| u64::try_from(bytes).ok());
    app.config.max_file_size.min(own.unwrap_or(u64::MAX))
}

/// Checks a type, found or claimed, against those the workspace takes.
///
/// # Errors
/// `UNSUPPORTED_MIME_TYPE`, naming what is taken.
pub fn check_type(workspace: &Workspace, mime_type: &str) -> Result<()> {
    let allowed = &workspace.allowed_mime_types.0;
    if allowed.is_empty() || allowed.iter().any(|pattern| matches(pattern, mime_type)) {
        return Ok(());
    }
    let message = format!("This workspace takes no {mime_type}; it takes {}.", allowed.join(", "));
    Err(Error::refuse(Code::UnsupportedMimeType, message))
}

/// Whether a type is one of those a pattern such as `image/png`, `image/*` or `*/*` stands for, by any of its names.
pub fn matches(pattern: &str, mime_type: &str) -> bool {
    let (pattern, mime_type) = (mime::essence(pattern), mime::essence(mime_type));
    match pattern.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => mime_type.split_once('/').is_some_and(|(found, _)| found == kind),
        None => mime::aliases(&pattern).contains(&mime_type.as_str()),
    }
}

/// Checks received bytes against what the workspace takes and finds out what they are.
///
/// # Errors
/// `EMPTY_FILE`, `FILE_TOO_LARGE`, `CHECKSUM_MISMATCH`, `MIME_TYPE_MISMATCH`, `UNSUPPORTED_MIME_TYPE`, `CORRUPT_IMAGE`;
/// with `provision` also what Cloudflare Images would refuse.
pub async fn checked_kind(
    app: &App,
    workspace: &Workspace,
    spool: &Spool,
    sha256: Option<&[u8; 32]>,
    declared: DeclaredType<'_>,
    provision: bool,
) -> Result<DetectedContent> {
    if spool.size == 0 {
        return Err(Error::refuse(Code::EmptyFile, "The file has no bytes."));
    }
    let most = max_size(app, workspace);
    if spool.size > most {
        return Err(too_large(most));
    }
    if sha256.is_some_and(|expected| *expected != spool.sha256) {
        let message =
            "The bytes do not have the SHA-256 that was given: they were changed or cut off on their way.";
        return Err(Error::refuse(Code::ChecksumMismatch, message));
    }
    let kind = DetectedContent::detect(spool, declared).await?;
    kind.check_declared(declared)?;
    check_type(workspace, &kind.mime_type)?;
    if provision {
        kind.check_image(spool.size)?;
    }
    Ok(kind)
}
