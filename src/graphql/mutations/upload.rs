//! Uploads in the request, and imports from a URL.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::error::{Error, Result};
use crate::file::upload::{NewFile, upload};
use crate::graphql::context::{readable_file, readable_image};
use crate::graphql::error::{UserError, in_input, outcome};
use crate::graphql::loader::ImageByFile;
use crate::graphql::transport::multipart::FileParts;
use crate::graphql::types::file::File;
use crate::graphql::types::image::Image;
use crate::graphql::types::new_image::{NewImageInput, object};
use crate::graphql::types::scalar::{Json, Upload, Url};
use crate::graphql::types::workspace_policy::DuplicatePolicy;
use crate::graphql::{ContextExt, parse_id};
use crate::import::{NewImport, import};
use crate::ingest::NewFileOptions;
use crate::ingest::Uploaded;

/// Writes that bring files in.
#[derive(Default)]
pub struct UploadMutation;

/// Writes that bring files in.
#[Object]
impl UploadMutation {
    /// Upload a file in this request (GraphQL multipart request). For browsers prefer `createDirectUpload`.
    async fn upload_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to upload, and where to.")] input: UploadFileInput,
    ) -> Option<async_graphql::Result<UploadFilePayload>> {
        let uploaded = outcome(upload_file(ctx, input).await);
        Some(uploaded.map(|(uploaded, mut user_errors)| {
            let refusal = uploaded.as_ref().and_then(|uploaded| uploaded.refusal.clone());
            user_errors.extend(refusal.map(in_input).map(UserError::from));
            let (file, deduplicated) = file_and_deduplicated(ctx, uploaded);
            UploadFilePayload { file, deduplicated, user_errors }
        }))
    }

    /// Let the server fetch a file from a public URL. The file is returned immediately, with the status `PROCESSING`.
    async fn import_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to fetch, and where to.")] input: ImportFileInput,
    ) -> Option<async_graphql::Result<ImportFilePayload>> {
        let imported = outcome(import_file(ctx, input).await);
        Some(imported.map(|(imported, user_errors)| {
            let (file, deduplicated) = file_and_deduplicated(ctx, imported);
            ImportFilePayload { file, deduplicated, user_errors }
        }))
    }
}

/// The file of an upload, and whether it existed before. A new file is returned to a token that may not read files; an existing
/// one is not.
fn file_and_deduplicated(ctx: &Context<'_>, uploaded: Option<Uploaded>) -> (Option<File>, bool) {
    match uploaded {
        Some(Uploaded { file, deduplicated: true, .. }) => (readable_file(ctx, Some(file)), true),
        Some(Uploaded { file, deduplicated: false, .. }) => (Some(File(file)), false),
        None => (None, false),
    }
}

async fn upload_file(ctx: &Context<'_>, input: UploadFileInput) -> Result<Uploaded> {
    let workspace_id = parse_id(&input.workspace_id, "workspaceId")?;
    let part = ctx.data_opt::<FileParts>().and_then(|parts| parts.get(&input.file)).cloned();
    let part = part.ok_or_else(|| Error::invalid("file", "The request has no such file part."))?;
    let options = NewFileOptions {
        filename: input.filename,
        sha256: input.sha256,
        ..new_file_options(
            input.tags,
            input.metadata,
            input.image,
            input.on_duplicate,
            input.idempotency_key,
        )?
    };
    let new = NewFile {
        workspace_id,
        spool: part.spool,
        options,
        declared_filename: part.filename,
        declared_type: part.content_type,
    };
    let mut uploaded = upload(ctx.app(), ctx.viewer(), new).await?;
    if let Some(Image(image)) = readable_image(ctx, uploaded.image.take()) {
        ctx.loaders().feed_one(ImageByFile(image.file_id), image).await;
    }
    Ok(uploaded)
}

async fn import_file(ctx: &Context<'_>, input: ImportFileInput) -> Result<Uploaded> {
    let workspace_id = parse_id(&input.workspace_id, "workspaceId")?;
    let options = NewFileOptions {
        filename: input.filename,
        ..new_file_options(
            input.tags,
            input.metadata,
            input.image,
            input.on_duplicate,
            input.idempotency_key,
        )?
    };
    import(ctx.app(), ctx.viewer(), NewImport { workspace_id, url: input.url.0, options }).await
}

/// The fields that all uploads have.
pub(super) fn new_file_options(
    tags: Option<Vec<String>>,
    metadata: Option<Json>,
    image: Option<NewImageInput>,
    on_duplicate: Option<DuplicatePolicy>,
    idempotency_key: Option<String>,
) -> Result<NewFileOptions> {
    Ok(NewFileOptions {
        filename: None,
        tags: tags.unwrap_or_default(),
        metadata: metadata.map(|metadata| object(metadata, "metadata")).transpose()?,
        image: image.unwrap_or_default().try_into()?,
        on_duplicate: on_duplicate.map(Into::into),
        sha256: None,
        idempotency_key,
    })
}

/// Input of `uploadFile`.
#[derive(InputObject)]
pub struct UploadFileInput {
    /// `wsp_` id of the workspace that will own the file.
    workspace_id: ID,
    /// The file part.
    file: Upload,
    /// Default: the name of the file part.
    filename: Option<String>,
    /// Free labels: at most 50, each of 1-100 characters.
    tags: Option<Vec<String>>,
    /// A JSON object of at most 16 KiB.
    metadata: Option<Json>,
    /// Settings for the projection, if the file is an image.
    image: Option<NewImageInput>,
    /// Default: the workspace's policy.
    on_duplicate: Option<DuplicatePolicy>,
    /// Lower-case hex SHA-256 the bytes must have.
    sha256: Option<String>,
    /// A retry with the same key within 24 hours returns the first result.
    idempotency_key: Option<String>,
}

/// Result of `uploadFile`.
#[derive(SimpleObject)]
pub struct UploadFilePayload {
    /// The new file, or the existing file with these bytes.
    file: Option<File>,
    /// These bytes were stored before, and `file` is the existing file.
    deduplicated: bool,
    /// Empty if and only if the change was made. With a `file`: the file was stored, and its image was rejected for
    /// this reason.
    user_errors: Vec<UserError>,
}

/// Input of `importFile`.
#[derive(InputObject)]
pub struct ImportFileInput {
    /// `wsp_` id of the workspace that will own the file.
    workspace_id: ID,
    /// http(s) URL; addresses of private networks are refused.
    url: Url,
    /// Default: the name the source gives it, or the last part of the URL's path.
    filename: Option<String>,
    /// Free labels: at most 50, each of 1-100 characters.
    tags: Option<Vec<String>>,
    /// A JSON object of at most 16 KiB.
    metadata: Option<Json>,
    /// Settings for the projection, if the file is an image.
    image: Option<NewImageInput>,
    /// Default: the workspace's policy.
    on_duplicate: Option<DuplicatePolicy>,
    /// A retry with the same key within 24 hours returns the first result.
    idempotency_key: Option<String>,
}

/// Result of `importFile`.
#[derive(SimpleObject)]
pub struct ImportFilePayload {
    /// Returned immediately with `status: PROCESSING`; subscribe to `assetEvents`, or poll it.
    file: Option<File>,
    /// Always false: duplicates are detected after the bytes were fetched, and `file` then shares the stored bytes.
    deduplicated: bool,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}
