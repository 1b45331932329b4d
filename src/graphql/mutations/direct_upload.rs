//! Writes on direct uploads.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use futures_util::StreamExt;

use crate::direct_upload::create::{self, CreatedUpload, NewDirectUpload};
use crate::direct_upload::{self, ReportedResponse};
use crate::entity::{self, columns};
use crate::error::{Error, Result};
use crate::graphql::error::{UserError, outcome};
use crate::graphql::mutations::upload::new_file_options;
use crate::graphql::types::direct_upload::{DirectUpload, UploadTransport};
use crate::graphql::types::file::File;
use crate::graphql::types::image::Image;
use crate::graphql::types::new_image::NewImageInput;
use crate::graphql::types::scalar::{ByteSize, Json};
use crate::graphql::types::workspace_policy::DuplicatePolicy;
use crate::graphql::{ContextExt, parse_id};
use crate::id::DirectUploadId;
use crate::ingest::NewFileOptions;
use crate::{file, image};

/// Writes on direct uploads.
#[derive(Default)]
pub struct DirectUploadMutation;

/// Writes on direct uploads.
#[Object]
impl DirectUploadMutation {
    /// Create a one-time upload URL, with which a client can send bytes without an API token.
    async fn create_direct_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What will be sent.")] input: CreateDirectUploadInput,
    ) -> Option<async_graphql::Result<CreateDirectUploadPayload>> {
        let created = outcome(create_direct_upload(ctx, input).await);
        Some(created.map(|(created, user_errors)| CreateDirectUploadPayload::of(created, user_errors)))
    }

    /// Create up to 100 direct uploads. Each entry succeeds or fails on its own.
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

    /// Tell the server that the bytes were sent, which it verifies. Idempotent. Not needed for a PUT to this server.
    async fn complete_direct_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to act on.")] input: CompleteDirectUploadInput,
    ) -> Option<async_graphql::Result<CompleteDirectUploadPayload>> {
        let completed = outcome(complete_direct_upload(ctx, &input).await);
        Some(completed.map(|(completed, user_errors)| {
            let (upload, file, image) = completed.unwrap_or_default();
            CompleteDirectUploadPayload {
                direct_upload: upload.map(DirectUpload),
                file: file.map(File),
                image: image.map(Image),
                user_errors,
            }
        }))
    }

    /// Cancel a direct upload and delete its incomplete file.
    async fn cancel_direct_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to act on.")] input: CancelDirectUploadInput,
    ) -> Option<async_graphql::Result<CancelDirectUploadPayload>> {
        let cancelled = async {
            let id: DirectUploadId = parse_id(&input.id, "id")?;
            direct_upload::cancel(ctx.app(), ctx.viewer(), id).await
        };
        Some(outcome(cancelled.await).map(|(cancelled, user_errors)| {
            let (upload, gone) = cancelled.unzip();
            CancelDirectUploadPayload {
                direct_upload: upload.map(DirectUpload),
                deleted_file_id: gone.flatten().map(|id| id.to_string().into()),
                user_errors,
            }
        }))
    }
}

async fn create_direct_upload(ctx: &Context<'_>, input: CreateDirectUploadInput) -> Result<CreatedUpload> {
    let new = NewDirectUpload {
        workspace_id: parse_id(&input.workspace_id, "workspaceId")?,
        options: NewFileOptions {
            filename: Some(input.filename),
            sha256: input.sha256,
            ..new_file_options(
                input.tags,
                input.metadata,
                input.image,
                input.on_duplicate,
                input.idempotency_key,
            )?
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
    Ok(futures_util::stream::iter(entries).buffered(create::BATCH_CONCURRENCY).collect().await)
}

/// Creates one direct upload of a batch. A fault is reported for it alone, and the others are created.
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

type Completed =
    (Option<entity::direct_upload::Model>, Option<entity::file::Model>, Option<entity::image::Model>);

async fn complete_direct_upload(ctx: &Context<'_>, input: &CompleteDirectUploadInput) -> Result<Completed> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let id: DirectUploadId = parse_id(&input.id, "id")?;
    let response = ReportedResponse {
        status: input.upload_status.map(i64::from),
        error_code: input.upload_error_code.map(i64::from),
    };
    let upload = direct_upload::complete(app, viewer, id, response).await?;
    let Some(file_id) = upload.file_id else { return Ok((Some(upload), None, None)) };
    // The upload is complete even if the token may not read the file or the image.
    let file = file::find(app, viewer, file_id, &columns::all::<entity::file::Entity>()).await.ok().flatten();
    let all = columns::all::<entity::image::Entity>();
    let image =
        image::find_by_files(app, viewer, &[file_id], &all).await.ok().and_then(|mut found| found.pop());
    Ok((Some(upload), file, image))
}

/// Input of `createDirectUpload`.
#[derive(InputObject)]
pub struct CreateDirectUploadInput {
    /// `wsp_` id of the workspace that will own the file.
    workspace_id: ID,
    /// Name of the file.
    filename: String,
    /// Declared type; verified when the bytes have arrived.
    mime_type: String,
    /// Exact size, so that limits are checked before bytes are sent.
    size: Option<ByteSize>,
    /// Lower-case hex SHA-256 the bytes must have. With `onDuplicate: REUSE`, known bytes need not be sent. The image
    /// service may re-encode a large image, so send it by `PUT`.
    sha256: Option<String>,
    /// Default: `FORM_POST` for images that the image service accepts, else `PUT`.
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
    /// Where to send the bytes. Null when `deduplicated`: nothing needs to be sent.
    direct_upload: Option<DirectUpload>,
    /// The file that the bytes are for, or the existing file with these bytes.
    file: Option<File>,
    /// These bytes were stored before, and `file` is the existing file.
    deduplicated: bool,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

impl CreateDirectUploadPayload {
    fn of(created: Option<CreatedUpload>, user_errors: Vec<UserError>) -> Self {
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
    /// One result for each entry of the input, in the same order, with its own `userErrors`.
    results: Vec<CreateDirectUploadPayload>,
    /// Problems of the batch as a whole.
    user_errors: Vec<UserError>,
}

/// Input of `completeDirectUpload`.
#[derive(InputObject)]
pub struct CompleteDirectUploadInput {
    /// `upl_` id.
    id: ID,
    /// The HTTP status of the response of `uploadUrl`. Give it when the upload was rejected: the image service reports
    /// that to the uploading client only. With 413 or 415, and when no bytes have arrived, the file becomes `FAILED`
    /// with this reason.
    upload_status: Option<i32>,
    /// The error number in that response, such as 5455 in `ERROR 5455: …` or in `errors[0].code`. It is more precise
    /// than the status.
    upload_error_code: Option<i32>,
}

/// Result of `completeDirectUpload`.
#[derive(SimpleObject)]
pub struct CompleteDirectUploadPayload {
    /// The upload, now closed.
    direct_upload: Option<DirectUpload>,
    /// The file, now ready.
    file: Option<File>,
    /// The image, now provisioned.
    image: Option<Image>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `cancelDirectUpload`.
#[derive(InputObject)]
pub struct CancelDirectUploadInput {
    /// `upl_` id.
    id: ID,
}

/// Result of `cancelDirectUpload`.
#[derive(SimpleObject)]
pub struct CancelDirectUploadPayload {
    /// The upload, now closed.
    direct_upload: Option<DirectUpload>,
    /// The incomplete file that was deleted. Null when it was deleted before.
    deleted_file_id: Option<ID>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}
