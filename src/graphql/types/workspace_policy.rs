//! `WorkspacePolicy`.

use async_graphql::{Enum, InputObject, SimpleObject};
use row_object::RowObject;

use crate::app::App;
use crate::entity::workspace;
use crate::graphql::types::scalar::ByteSize;
use crate::ingest::policy;
use crate::workspace::edit::PolicyChange;

/// Rules applied to new uploads of a workspace.
#[derive(Debug, Clone, SimpleObject, RowObject)]
pub struct WorkspacePolicy {
    /// Accepted MIME types, by any of their names; `image/*` style wildcards allowed. Empty means any.
    allowed_mime_types: Vec<String>,
    /// Largest accepted file.
    max_file_size: ByteSize,
    /// New images require signed URLs by default.
    private_by_default: bool,
    /// What metadata of a photo is kept in `exif` when an image is created, and in delivered images. The original bytes
    /// and their downloads keep all of it.
    exif_policy: ExifPolicy,
    /// What an upload does whose bytes the workspace already has.
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

/// Rules applied to new uploads. Absent fields stay unchanged.
#[derive(Debug, Default, InputObject)]
pub struct WorkspacePolicyInput {
    /// Accepted MIME types, at most 50, by any of their names; `image/*` style wildcards allowed. Empty means any.
    allowed_mime_types: Option<Vec<String>>,
    /// Largest accepted file, at most the server's limit.
    max_file_size: Option<ByteSize>,
    /// New images require signed URLs by default.
    private_by_default: Option<bool>,
    /// What metadata of a photo is kept in `exif` when an image is created, and in delivered images. The original bytes
    /// and their downloads keep all of it.
    exif_policy: Option<ExifPolicy>,
    /// What an upload does whose bytes the workspace already has.
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

/// What metadata of a photo is kept in `exif` and `photo` when an image is created. The bytes are stored unchanged:
/// `downloadUrl` of the file delivers them with all metadata, the location included, whatever the policy. Delivered
/// images keep at most the copyright notice, unless the policy is `KEEP_ALL`: only such a workspace gets URLs with
/// `metadata: KEEP`. While flexible variants of the account are on, anyone who knows the URL of an image that is not
/// private can add such a transformation to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "workspace::ExifPolicy")]
pub enum ExifPolicy {
    /// Everything, location included. URLs with `metadata: KEEP` are returned.
    KeepAll,
    /// Everything except location and serial numbers. The default.
    StripLocation,
    /// Orientation and copyright only.
    CopyrightOnly,
    /// Nothing.
    StripAll,
}

/// What an upload does whose bytes the workspace already has. Files in the trash do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "workspace::DuplicatePolicy")]
pub enum DuplicatePolicy {
    /// Create a new file with its own id, which shares the stored bytes.
    Create,
    /// Return the existing file; the payload says `deduplicated: true`. A file whose id was returned before its bytes
    /// arrived (`importFile`, direct uploads) remains, and shares the stored bytes.
    Reuse,
    /// Fail with `DUPLICATE_CONTENT`.
    Reject,
}
