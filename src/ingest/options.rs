//! Options of a new file, and their validation against the workspace.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::entity::file::{ImageStatus, Model, Status};
use crate::entity::image::NewImage;
use crate::entity::workspace::{DuplicatePolicy, Model as Workspace};
use crate::error::Result;
use crate::id::{FileId, UserId};
use crate::ingest::description::{Tags, check_metadata, check_sha256, check_tags};
use crate::ingest::filename::checked_filename;
use crate::normalization::{original_unless_nfc, to_nfc};
use crate::provision::settings;

/// Options of a new file, for uploads, direct uploads and imports alike.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewFileOptions {
    pub filename: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Option<Map<String, Value>>,
    pub image: NewImage,
    /// `None` applies the workspace's policy.
    pub on_duplicate: Option<DuplicatePolicy>,
    /// SHA-256 that the bytes must have, as lower-case hexadecimal digits.
    pub sha256: Option<String>,
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// Options after validation, with the defaults of the workspace.
#[derive(Debug, Clone)]
pub struct ValidatedOptions {
    pub filename: Option<String>,
    pub tags: Tags,
    pub metadata: Option<Value>,
    pub image: NewImage,
    /// Whether the image will require signed URLs.
    pub signed: bool,
    pub on_duplicate: DuplicatePolicy,
    pub sha256: Option<[u8; 32]>,
}

impl NewFileOptions {
    /// Checks everything that can be checked without the bytes.
    ///
    /// # Errors
    /// `BAD_USER_INPUT`, `METADATA_TOO_LARGE`, `CUSTOM_ID_NOT_ALLOWED`, each with its field.
    pub fn validate(&self, workspace: &Workspace) -> Result<ValidatedOptions> {
        let name = |name: &String| checked_filename(name).map_err(|e| e.at("filename"));
        let filename = self.filename.as_ref().map(name).transpose()?;
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata)?;
        }
        let signed = self.image.require_signed_urls.unwrap_or(workspace.private_by_default);
        settings::check(&self.image, signed)?;
        Ok(ValidatedOptions {
            filename,
            tags: check_tags(&self.tags)?,
            metadata: self.metadata.clone().map(Value::Object),
            image: self.image.clone(),
            signed,
            on_duplicate: self.on_duplicate.unwrap_or(workspace.on_duplicate),
            sha256: self.sha256.as_deref().map(check_sha256).transpose()?,
        })
    }
}

impl ValidatedOptions {
    /// The row of a file whose bytes have not been received.
    pub fn row(&self, workspace: &Workspace, user: UserId, filename: String, now: DateTime<Utc>) -> Model {
        Model {
            id: FileId::new(now),
            workspace_id: workspace.id,
            created_by: Some(user),
            filename_sent: original_unless_nfc(&filename),
            filename: to_nfc(&filename).into_owned(),
            status: Status::AwaitingUpload,
            mime_type: None,
            size: 0,
            sha256: None,
            blob_id: None,
            failure: None,
            image_status: ImageStatus::NotApplicable,
            image_failure: None,
            tags: self.tags.stored.clone(),
            tags_sent: self.tags.sent.clone(),
            metadata: self.metadata.clone().map(Into::into),
            source_url: None,
            intent: None,
            deleted_at: None,
            removed_at: None,
            due_at: None,
            attempts: 0,
            created_at: now,
            updated_at: now,
        }
    }
}
