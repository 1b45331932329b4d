//! What a workspace accepts, whichever way the bytes come.

use crate::app::App;
use crate::entity::workspace::Model as Workspace;
use crate::error::{Code, Error, Result};
use crate::file::mime;

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
    let (pattern, mime_type) = (mime::bare(pattern), mime::bare(mime_type));
    match pattern.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => mime_type.split_once('/').is_some_and(|(found, _)| found == kind),
        None => mime::names(&pattern).contains(&mime_type.as_str()),
    }
}
