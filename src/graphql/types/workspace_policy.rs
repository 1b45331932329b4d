//! `WorkspacePolicy`.

use async_graphql::{Enum, InputObject, SimpleObject};

use crate::app::App;
use crate::entity::workspace;
use crate::file::policy;
use crate::graphql::types::scalar::ByteSize;
use crate::workspace::edit::PolicyChange;

/// Rules applied to new uploads of a workspace.
#[derive(Debug, Clone, SimpleObject)]
pub struct WorkspacePolicy {
    /// Accepted MIME types, by any of their names; `image/*` style wildcards allowed. Empty means any.
    allowed_mime_types: Vec<String>,
    /// Largest accepted file.
    max_file_size: ByteSize,
    /// New images need signed URLs unless told otherwise.
    private_by_default: bool,
    /// What of a photo's metadata is kept in `exif` when an image is made, and what URLs that are handed out let out of it.
    /// The original bytes and their downloads keep all of it.
    exif_policy: ExifPolicy,
    /// What happens when bytes already present in the workspace are uploaded again.
    on_duplicate: DuplicatePolicy,
    /// Days a trashed file can be restored. 0 deletes at once.
    trash_retention_days: i32,
}

impl WorkspacePolicy {
    /// The policy of a workspace.
    pub fn of(app: &App, workspace: &workspace::Model) -> WorkspacePolicy {
        WorkspacePolicy {
            allowed_mime_types: workspace.allowed_mime_types.0.clone(),
            max_file_size: ByteSize(policy::max_size(app, workspace)),
            private_by_default: workspace.private_by_default,
            exif_policy: workspace.exif_policy.into(),
            on_duplicate: workspace.on_duplicate.into(),
            trash_retention_days: workspace.trash_days,
        }
    }
}

/// Rules applied to new uploads. Fields left out stay as they are.
#[derive(Debug, Default, InputObject)]
pub struct WorkspacePolicyInput {
    /// Accepted MIME types, at most 50, by any of their names; `image/*` style wildcards allowed. Empty means any.
    allowed_mime_types: Option<Vec<String>>,
    /// Largest accepted file, at most the server's limit.
    max_file_size: Option<ByteSize>,
    /// New images need signed URLs unless told otherwise.
    private_by_default: Option<bool>,
    /// What of a photo's metadata is kept in `exif` when an image is made, and what URLs that are handed out let out of it.
    /// The original bytes and their downloads keep all of it.
    exif_policy: Option<ExifPolicy>,
    /// What happens when bytes already present in the workspace are uploaded again.
    on_duplicate: Option<DuplicatePolicy>,
    /// Days a trashed file can be restored, 0-365. 0 deletes at once.
    trash_retention_days: Option<i32>,
}

impl From<WorkspacePolicyInput> for PolicyChange {
    fn from(input: WorkspacePolicyInput) -> Self {
        PolicyChange {
            allowed_mime_types: input.allowed_mime_types,
            max_file_size: input.max_file_size.map(|size| size.0),
            private_by_default: input.private_by_default,
            exif_policy: input.exif_policy.map(Into::into),
            on_duplicate: input.on_duplicate.map(Into::into),
            trash_days: input.trash_retention_days,
        }
    }
}

/// What of a photo's metadata is kept in `exif` and `photo` when an image is made. The bytes are stored as they came: a file's
/// `downloadUrl` delivers them with everything that the camera wrote, the place included, whatever the policy. Delivered
/// images carry at most the copyright notice, unless the policy is `KEEP_ALL`: no other workspace is handed a URL whose variant
/// or transformation says `metadata: KEEP`. While the account's flexible variants are on, somebody who knows the URL of an
/// image that is not private can write such a transformation into it by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "workspace::ExifPolicy")]
pub enum ExifPolicy {
    /// Everything, location included. URLs with `metadata: KEEP` are handed out.
    KeepAll,
    /// Everything but location and serial numbers. The default.
    StripLocation,
    /// Nothing but orientation and copyright.
    CopyrightOnly,
    /// Nothing.
    StripAll,
}

/// What an upload of bytes already present in the workspace does. Files in the trash do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "workspace::DuplicatePolicy")]
pub enum DuplicatePolicy {
    /// Make a new file with its own id that shares the stored bytes.
    Create,
    /// Return the existing file; the payload says `deduplicated: true`. A file whose id was given out before its bytes
    /// came (`importFile`, direct uploads) stays, and shares the stored bytes.
    Reuse,
    /// Fail with `DUPLICATE_CONTENT`.
    Reject,
}
