//! `DirectUpload`.

use async_graphql::{Enum, SimpleObject};
use row_object::{RowObject, row_object};

use crate::direct_upload::UploadUrls;
use crate::entity::direct_upload;
use crate::graphql::ContextExt;
use crate::graphql::error::{UserError, top_level};
use crate::graphql::types::file::File;
use crate::graphql::types::scalar::{ByteSize, DateTime, Id, Url};
use crate::id::{DirectUploadId, FileId};

/// A one-time permission to send bytes for one file without an API token.
pub struct DirectUpload(pub direct_upload::Model);

/// A one-time permission to send bytes for one file without an API token.
#[row_object(direct_upload)]
impl DirectUpload {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<DirectUploadId> {
        Id(self.0.id)
    }

    /// The file that the bytes are for. Null once the upload was cancelled or has expired, because the file is deleted
    /// with it.
    #[relation(File)]
    async fn file(&self) -> Option<FileId> {
        self.0.file_id
    }

    /// State of the upload.
    async fn status(&self) -> DirectUploadStatus {
        self.0.status.into()
    }

    /// Why `status` is `FAILED`.
    #[nested]
    async fn failure(&self) -> Option<UserError> {
        self.0.failure.as_ref().map(UserError::from)
    }

    /// How the bytes are sent.
    async fn transport(&self) -> UploadTransport {
        self.0.transport.into()
    }

    /// Where to send the bytes. Null once the upload is closed, and for callers who may not upload.
    #[page]
    #[columns(UploadUrls::COLUMNS)]
    async fn upload_url(
        rows: &[&DirectUpload],
        ctx: &Context<'_>,
    ) -> impl Fn(&DirectUpload) -> Option<async_graphql::Result<Url>> {
        let uploads = rows.iter().map(|upload| &upload.0);
        let urls = UploadUrls::new(ctx.app(), ctx.viewer(), uploads).await.map_err(top_level);
        move |upload: &DirectUpload| {
            let url = urls.as_ref().map_err(Clone::clone).map(|urls| urls.of(&upload.0));
            url.transpose().map(|url| url.map(Url))
        }
    }

    /// HTTP method for `uploadUrl`.
    #[columns(transport)]
    async fn method(&self) -> &str {
        match self.0.transport {
            direct_upload::Transport::FormPost => "POST",
            direct_upload::Transport::Put => "PUT",
        }
    }

    /// Headers to send. None for `FORM_POST`: the client sets the form's own content type.
    #[nested]
    async fn headers(&self) -> Vec<KeyValue> {
        match (self.0.transport, &self.0.mime_type) {
            (direct_upload::Transport::Put, Some(mime_type)) => {
                vec![KeyValue { name: "Content-Type".to_owned(), value: mime_type.clone() }]
            }
            _ => Vec::new(),
        }
    }

    /// Form fields to send before the file part, for `FORM_POST`.
    #[nested]
    #[columns()]
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
#[derive(Debug, Clone, SimpleObject, RowObject)]
pub struct KeyValue {
    /// The name.
    name: String,
    /// The value.
    value: String,
}
