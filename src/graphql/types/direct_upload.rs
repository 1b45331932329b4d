//! `DirectUpload`.

use async_graphql::{Context, Enum, Object, SimpleObject};

use crate::direct_upload as direct_uploads;
use crate::entity::direct_upload;
use crate::graphql::ContextExt;
use crate::graphql::error::{UserError, from_loader, top_level};
use crate::graphql::types::file::File;
use crate::graphql::types::scalar::{ByteSize, DateTime, Id, Url};
use crate::id::DirectUploadId;

/// A one-time permission to send bytes for one file without an API token.
pub struct DirectUpload(pub direct_upload::Model);

/// A one-time permission to send bytes for one file without an API token.
#[Object]
impl DirectUpload {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<DirectUploadId> {
        Id(self.0.id)
    }

    /// The file that the bytes are for. Null once the upload was cancelled or has expired, because the file is deleted
    /// with it.
    async fn file(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<File>> {
        let file = self.0.file_id?;
        ctx.loaders().load_one(file).await.map_err(from_loader).transpose().map(|row| row.map(File))
    }

    /// State of the upload.
    async fn status(&self) -> DirectUploadStatus {
        self.0.status.into()
    }

    /// Why `status` is `FAILED`.
    async fn failure(&self) -> Option<UserError> {
        self.0.failure.as_ref().map(UserError::from)
    }

    /// How the bytes are sent.
    async fn transport(&self) -> UploadTransport {
        self.0.transport.into()
    }

    /// Where to send the bytes. Null once the upload is closed, and for callers who may not upload.
    async fn upload_url(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Url>> {
        let url = direct_uploads::upload_url(ctx.app(), ctx.viewer(), &self.0).await;
        url.map_err(top_level).transpose().map(|url| url.map(Url))
    }

    /// HTTP method for `uploadUrl`.
    async fn method(&self) -> &str {
        match self.0.transport {
            direct_upload::Transport::FormPost => "POST",
            direct_upload::Transport::Put => "PUT",
        }
    }

    /// Headers to send. None for `FORM_POST`: the client sets the form's own content type.
    async fn headers(&self) -> Vec<KeyValue> {
        match (self.0.transport, &self.0.mime_type) {
            (direct_upload::Transport::Put, Some(mime_type)) => {
                vec![KeyValue { name: "Content-Type".to_owned(), value: mime_type.clone() }]
            }
            _ => Vec::new(),
        }
    }

    /// Form fields to send before the file part, for `FORM_POST`.
    async fn form_fields(&self) -> Vec<KeyValue> {
        Vec::new()
    }

    /// Name of the file part, for `FORM_POST`.
    async fn file_field_name(&self) -> Option<&str> {
        (self.0.transport == direct_upload::Transport::FormPost).then_some("file")
    }

    /// Largest accepted size.
    async fn max_size(&self) -> ByteSize {
        self.0.max_size.into()
    }

    /// Bytes that have arrived so far. Of an upload that is not a PUT to this server, known only once it is complete.
    async fn bytes_received(&self) -> ByteSize {
        self.0.bytes_received.into()
    }

    /// When `uploadUrl` expires.
    async fn expires_at(&self) -> DateTime {
        DateTime(self.0.expires_at)
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// How bytes are sent. More ways may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "direct_upload::Transport")]
pub enum UploadTransport {
    /// One `multipart/form-data` POST, straight to the image service. Images only.
    FormPost,
    /// One PUT of the raw bytes to this server or its object store.
    Put,
}

/// States of a direct upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "direct_upload::Status")]
pub enum DirectUploadStatus {
    /// Waiting for bytes, or for `completeDirectUpload`.
    Open,
    /// The bytes have arrived and the file is ready.
    Completed,
    /// No bytes arrived before it expired.
    Expired,
    /// Cancelled by the caller.
    Cancelled,
    /// The bytes that arrived were rejected; see `failure`.
    Failed,
}

/// Name and value.
#[derive(Debug, Clone, SimpleObject)]
pub struct KeyValue {
    /// The name.
    name: String,
    /// The value.
    value: String,
}
