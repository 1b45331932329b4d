//! The root of all writes: decode the input, call one domain function, encode the outcome.

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::ContainerType;
use async_graphql::{
    Context, ContextSelectionSet, ID, InputObject, MergedObject, Object, ObjectType, OutputType, Positioned,
    ServerResult, SimpleObject, Value,
};

use crate::direct_upload::Told;
use crate::error::{Code, Error, Refusal, Result};
use crate::graphql::account::AccountMutation;
use crate::graphql::api_token::TokenMutation;
use crate::graphql::direct_upload::DirectUpload;
use crate::graphql::edit::EditMutation;
use crate::graphql::error::{UserError, of_input, outcome, top_level};
use crate::graphql::file::File;
use crate::graphql::image::Image;
use crate::graphql::new_image::NewImageInput;
use crate::graphql::upload::UploadMutation;
use crate::graphql::workspace_mutation::WorkspaceMutation;
use crate::graphql::{Asked, parse, readable_file, readable_image};
use crate::id::{DirectUploadId, FileId, ImageId};
use crate::{direct_upload, entity, file, image};

/// Root of all writes. Each takes one `input` and returns a payload with the changed object and `userErrors`.
/// `userErrors` is empty exactly when the change was made.
#[derive(MergedObject, Default)]
pub struct Mutation(
    UploadMutation,
    FileMutation,
    EditMutation,
    WorkspaceMutation,
    TokenMutation,
    AccountMutation,
);

/// A root of writes whose fields run one after the other, each reading afresh: what was loaded for one of them may not
/// be so any more once the next has begun.
pub struct Afresh<T>(pub T);

impl<T: ObjectType> ContainerType for Afresh<T> {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        if ctx.loaders().loader().change() > 0 {
            let refreshed = ctx.viewer().refresh(&ctx.app().db.read).await;
            let failed = |problem| ctx.set_error_path(top_level(problem).into_server_error(ctx.item.pos));
            refreshed.map_err(failed)?;
        }
        self.0.resolve_field(ctx).await
    }
}

impl<T: ObjectType> OutputType for Afresh<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        self.0.resolve(ctx, field).await
    }
}

impl<T: ObjectType> ObjectType for Afresh<T> {}

/// Writes on files and images.
#[derive(Default)]
pub struct FileMutation;

/// Writes on files and images.
#[Object]
impl FileMutation {
    /// Tell the server that the bytes were sent; it verifies this and goes on. Safe to repeat. Not needed where the bytes
    /// are PUT to this server.
    async fn complete_direct_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] input: CompleteDirectUploadInput,
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

    /// Give up a direct upload and its half-made file.
    async fn cancel_direct_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] input: CancelDirectUploadInput,
    ) -> Option<async_graphql::Result<CancelDirectUploadPayload>> {
        let cancelled = async {
            let id: DirectUploadId = parse(&input.id, "id")?;
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

    /// Provision, or provision again, the image projection of an image file.
    async fn provision_image(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of which file, and how.")] input: ProvisionImageInput,
    ) -> Option<async_graphql::Result<ProvisionImagePayload>> {
        let provisioned = async {
            let id: FileId = parse(&input.file_id, "fileId")?;
            let new = input.image.unwrap_or_default().try_into()?;
            image::provision(ctx.app(), ctx.viewer(), id, &new).await
        };
        Some(outcome(provisioned.await).map(|(provisioned, mut user_errors)| {
            let (mut file, mut image) = (None, None);
            if let Some(provisioned) = provisioned {
                user_errors.extend(provisioned.refusal.map(of_input).map(UserError::from));
                (file, image) = (Some(provisioned.file), provisioned.image);
            }
            ProvisionImagePayload {
                image: readable_image(ctx, image),
                file: readable_file(ctx, file),
                user_errors,
            }
        }))
    }

    /// Delete the image projection. The underlying file is unaffected.
    async fn delete_image(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] input: DeleteImageInput,
    ) -> Option<async_graphql::Result<DeleteImagePayload>> {
        let deleted = async {
            let id: ImageId = parse(&input.id, "id")?;
            image::delete(ctx.app(), ctx.viewer(), id).await
        };
        let (file_id, user_errors) = match outcome(deleted.await) {
            Ok(deleted) => deleted,
            Err(fault) => return Some(Err(fault)),
        };
        let file = match file_id {
            // The token may do this and yet not read files.
            Some(id) => file::find(ctx.app(), ctx.viewer(), id).await.or_else(|problem| match problem {
                Error::Refusal(Refusal { code: Code::Forbidden, .. }) => Ok(None),
                other => Err(other),
            }),
            None => Ok(None),
        };
        Some(file.map_err(top_level).map(|file| DeleteImagePayload {
            success: file_id.is_some(),
            deleted_image_id: file_id.map(|_| input.id),
            file: file.map(File),
            user_errors,
        }))
    }
}

type Completed =
    (Option<entity::direct_upload::Model>, Option<entity::file::Model>, Option<entity::image::Model>);

async fn complete_direct_upload(ctx: &Context<'_>, input: &CompleteDirectUploadInput) -> Result<Completed> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let id: DirectUploadId = parse(&input.id, "id")?;
    let told =
        Told { status: input.upload_status.map(i64::from), number: input.upload_error_code.map(i64::from) };
    let upload = direct_upload::complete(app, viewer, id, told).await?;
    let Some(file_id) = upload.file_id else { return Ok((Some(upload), None, None)) };
    // What the token may not read is left out; the upload is complete all the same.
    let file = file::find(app, viewer, file_id).await.ok().flatten();
    let image = image::find_by_file(app, viewer, file_id).await.ok().flatten();
    Ok((Some(upload), file, image))
}

/// Input of `completeDirectUpload`.
#[derive(InputObject)]
pub struct CompleteDirectUploadInput {
    /// `upl_` id.
    id: ID,
    /// The HTTP status with which `uploadUrl` answered. Give it unless it was a success: the image service informs only
    /// the sender that it refused the bytes. With 413 or 415, and where no bytes have arrived, the file is then `FAILED` with
    /// the reason.
    upload_status: Option<i32>,
    /// The number in that answer, such as 5455 in `ERROR 5455: …` or in `errors[0].code`. It is more precise than the status.
    upload_error_code: Option<i32>,
}

/// Result of `completeDirectUpload`.
#[derive(SimpleObject)]
pub struct CompleteDirectUploadPayload {
    /// The upload, now over.
    direct_upload: Option<DirectUpload>,
    /// The file, now ready.
    file: Option<File>,
    /// The image, now provisioned.
    image: Option<Image>,
    /// Empty exactly when the change was made.
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
    /// The upload, now over.
    direct_upload: Option<DirectUpload>,
    /// The half-made file that is gone. Null when it was gone before.
    deleted_file_id: Option<ID>,
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `provisionImage`.
#[derive(InputObject)]
pub struct ProvisionImageInput {
    /// `fil_` id.
    file_id: ID,
    /// Settings for the projection.
    image: Option<NewImageInput>,
}

/// Result of `provisionImage`.
#[derive(SimpleObject)]
pub struct ProvisionImagePayload {
    /// Null while provisioning goes on; see `file.imageStatus`.
    image: Option<Image>,
    /// The file.
    file: Option<File>,
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `deleteImage`.
#[derive(InputObject)]
pub struct DeleteImageInput {
    /// `img_` id.
    id: ID,
}

/// Result of `deleteImage`.
#[derive(SimpleObject)]
pub struct DeleteImagePayload {
    /// Whether the image is gone.
    success: bool,
    /// The image that is gone.
    deleted_image_id: Option<ID>,
    /// The file, which stays.
    file: Option<File>,
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}
