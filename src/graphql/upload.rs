//! The four ways in: with the request, from a URL, and directly, one by one or many at once.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use futures_util::StreamExt;

use crate::direct_upload::create::{self, Created, NewDirectUpload};
use crate::error::{Error, Result};
use crate::file::upload::{NewFile, upload};
use crate::graphql::direct_upload::{DirectUpload, UploadTransport};
use crate::graphql::error::{UserError, of_input, outcome};
use crate::graphql::file::File;
use crate::graphql::new_image::{NewImageInput, object};
use crate::graphql::policy::DuplicatePolicy;
use crate::graphql::request::Parts;
use crate::graphql::scalar::{ByteSize, Json, Upload, Url};
use crate::graphql::{Asked, parse, readable_file};
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
            user_errors.extend(refusal.map(of_input).map(UserError::from));
            let (file, deduplicated) = split(ctx, uploaded);
            UploadFilePayload { file, deduplicated, user_errors }
        }))
    }

    /// Let the server fetch a file from a public URL. The file comes back at once, with the status `PROCESSING`.
    async fn import_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to fetch, and where to.")] input: ImportFileInput,
    ) -> Option<async_graphql::Result<ImportFilePayload>> {
        let imported = outcome(import_file(ctx, input).await);
        Some(imported.map(|(imported, user_errors)| {
            let (file, deduplicated) = split(ctx, imported);
            ImportFilePayload { file, deduplicated, user_errors }
        }))
    }

    /// Make a one-time upload URL, so that a client can send bytes without an API token.
    async fn create_direct_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What will be sent.")] input: CreateDirectUploadInput,
    ) -> Option<async_graphql::Result<CreateDirectUploadPayload>> {
        let created = outcome(create_direct_upload(ctx, input).await);
        Some(created.map(|(created, user_errors)| CreateDirectUploadPayload::of(created, user_errors)))
    }

    /// Make up to 100 direct uploads at once. Each entry succeeds or fails on its own.
    #[graphql(complexity = "input.uploads.len().min(100) * child_complexity + 1")]
    async fn create_direct_uploads(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What will be sent.")] input: CreateDirectUploadsInput,
    ) -> Option<async_graphql::Result<CreateDirectUploadsPayload>> {
        let created = outcome(create_direct_uploads(ctx, input).await);
        Some(created.map(|(results, user_errors)| CreateDirectUploadsPayload {
            results: results.unwrap_or_default(),
            user_errors,
        }))
    }
}

/// A new file is shown to whoever made it; one that was there before, to whoever may read files.
fn split(ctx: &Context<'_>, uploaded: Option<Uploaded>) -> (Option<File>, bool) {
    match uploaded {
        Some(Uploaded { file, deduplicated: true, .. }) => (readable_file(ctx, Some(file)), true),
        Some(Uploaded { file, deduplicated: false, .. }) => (Some(File(file)), false),
        None => (None, false),
    }
}

async fn upload_file(ctx: &Context<'_>, input: UploadFileInput) -> Result<Uploaded> {
    let workspace_id = parse(&input.workspace_id, "workspaceId")?;
    let part = ctx.data_opt::<Parts>().and_then(|parts| parts.get(&input.file)).cloned();
    let part = part.ok_or_else(|| Error::invalid("file", "The request has no such file part."))?;
    let options = NewFileOptions {
        filename: input.filename,
        sha256: input.sha256,
        ..options(input.tags, input.metadata, input.image, input.on_duplicate, input.idempotency_key)?
    };
    let new = NewFile {
        workspace_id,
        spool: part.spool,
        options,
        sent_filename: part.filename,
        sent_type: part.content_type,
    };
    upload(ctx.app(), ctx.viewer(), new).await
}

async fn import_file(ctx: &Context<'_>, input: ImportFileInput) -> Result<Uploaded> {
    let workspace_id = parse(&input.workspace_id, "workspaceId")?;
    let options = NewFileOptions {
        filename: input.filename,
        ..options(input.tags, input.metadata, input.image, input.on_duplicate, input.idempotency_key)?
    };
    import(ctx.app(), ctx.viewer(), NewImport { workspace_id, url: input.url.0, options }).await
}

async fn create_direct_upload(ctx: &Context<'_>, input: CreateDirectUploadInput) -> Result<Created> {
    let new = NewDirectUpload {
        workspace_id: parse(&input.workspace_id, "workspaceId")?,
        options: NewFileOptions {
            filename: Some(input.filename),
            sha256: input.sha256,
            ..options(input.tags, input.metadata, input.image, input.on_duplicate, input.idempotency_key)?
        },
        mime_type: input.mime_type,
        size: input.size.map(|size| size.0),
        expires_in: i64::from(input.expires_in.unwrap_or(1800)),
        transport: input.transport.map(Into::into),
    };
    create::create(ctx.app(), ctx.viewer(), new).await
}

async fn create_direct_uploads(
    ctx: &Context<'_>,
    input: CreateDirectUploadsInput,
) -> Result<Vec<CreateDirectUploadPayload>> {
    if !(1..=create::MAX_BATCH).contains(&input.uploads.len()) {
        let message = format!("1 to {} direct uploads are made at once.", create::MAX_BATCH);
        return Err(Error::invalid("uploads", message));
    }
    let entries: Vec<_> =
        input.uploads.into_iter().enumerate().map(|(index, entry)| create_entry(ctx, index, entry)).collect();
    Ok(futures_util::stream::iter(entries).buffered(create::AT_ONCE).collect().await)
}

/// One entry of a batch. A fault is that entry's too: the others are made all the same.
async fn create_entry(
    ctx: &Context<'_>,
    index: usize,
    input: CreateDirectUploadInput,
) -> CreateDirectUploadPayload {
    let created = create_direct_upload(ctx, input).await.map_err(|problem| {
        problem.log();
        Error::Refusal(problem.public()).under(&index.to_string()).under("uploads")
    });
    let (created, user_errors) = outcome(created).unwrap_or_default();
    CreateDirectUploadPayload::of(created, user_errors)
}

fn options(
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
    /// The new file, or the one that has these bytes.
    file: Option<File>,
    /// The bytes were already there and `file` is the existing one.
    deduplicated: bool,
    /// Empty exactly when the change was made. With a `file`: the file is there, and its image was refused for this.
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
    /// Comes back at once with `status: PROCESSING`; follow `assetEvents`, or poll it.
    file: Option<File>,
    /// False: whether the bytes are there already is known only once they were fetched, and `file` then shares them.
    deduplicated: bool,
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `createDirectUpload`.
#[derive(InputObject)]
pub struct CreateDirectUploadInput {
    /// `wsp_` id of the workspace that will own the file.
    workspace_id: ID,
    /// Name of the file.
    filename: String,
    /// Claimed type; verified when the bytes are here.
    mime_type: String,
    /// Exact size, so that limits are checked before bytes are sent.
    size: Option<ByteSize>,
    /// Lower-case hex SHA-256 the bytes must have. With `onDuplicate: REUSE` known bytes need not be sent at all. The
    /// image service may hand out a large image re-encoded: send that by `PUT`.
    sha256: Option<String>,
    /// Default: `FORM_POST` for images the image service can take, else `PUT`.
    transport: Option<UploadTransport>,
    /// Seconds the URL stays valid, 120-21600.
    #[graphql(default_with = "Some(1800)")]
    expires_in: Option<i32>,
    /// Free labels: at most 50, each of 1-100 characters.
    tags: Option<Vec<String>>,
    /// A JSON object of at most 16 KiB.
    metadata: Option<Json>,
    /// Settings for the projection.
    image: Option<NewImageInput>,
    /// Default: the workspace's policy.
    on_duplicate: Option<DuplicatePolicy>,
    /// A retry with the same key within 24 hours returns the first result.
    idempotency_key: Option<String>,
}

/// Result of `createDirectUpload`.
#[derive(SimpleObject)]
pub struct CreateDirectUploadPayload {
    /// Where the bytes go. Null when `deduplicated`: nothing needs to be sent.
    direct_upload: Option<DirectUpload>,
    /// The file they will fill, or the one that has them.
    file: Option<File>,
    /// The bytes are already there and `file` is the existing one.
    deduplicated: bool,
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}

impl CreateDirectUploadPayload {
    fn of(created: Option<Created>, user_errors: Vec<UserError>) -> Self {
        let deduplicated = created.as_ref().is_some_and(|created| created.upload.is_none());
        let (upload, file) = created.map_or((None, None), |created| (created.upload, Some(created.file)));
        CreateDirectUploadPayload {
            direct_upload: upload.map(DirectUpload),
            file: file.map(File),
            deduplicated,
            user_errors,
        }
    }
}

/// Input of `createDirectUploads`.
#[derive(InputObject)]
pub struct CreateDirectUploadsInput {
    /// What will be sent, 1-100 entries.
    uploads: Vec<CreateDirectUploadInput>,
}

/// Result of `createDirectUploads`.
#[derive(SimpleObject)]
pub struct CreateDirectUploadsPayload {
    /// One per entry of the input, in the same order, each with its own `userErrors`.
    results: Vec<CreateDirectUploadPayload>,
    /// Problems of the batch as a whole.
    user_errors: Vec<UserError>,
}
