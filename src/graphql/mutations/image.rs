//! Writes on images.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use crate::entity::{self, columns};
use crate::error::{Code, Error, Refusal, Result};
use crate::graphql::context::{readable_file, readable_image};
use crate::graphql::error::{UserError, in_input, outcome, top_level};
use crate::graphql::mutations::optional;
use crate::graphql::types::file::File;
use crate::graphql::types::image::Image;
use crate::graphql::types::new_image::{FocalPointInput, NewImageInput, object};
use crate::graphql::types::scalar::{DateTime, Json};
use crate::graphql::{ContextExt, parse_id};
use crate::id::{FileId, ImageId};
use crate::image::update::{self, ImageChange};
use crate::{file, image};

/// Writes on images.
#[derive(Default)]
pub struct ImageMutation;

/// Writes on images.
#[Object]
impl ImageMutation {
    /// Provision, or provision again, the image projection of an image file.
    async fn provision_image(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of which file, and how.")] input: ProvisionImageInput,
    ) -> Option<async_graphql::Result<ProvisionImagePayload>> {
        let provisioned = async {
            let id: FileId = parse_id(&input.file_id, "fileId")?;
            let new = input.image.unwrap_or_default().try_into()?;
            image::provision(ctx.app(), ctx.viewer(), id, &new).await
        };
        Some(outcome(provisioned.await).map(|(provisioned, mut user_errors)| {
            let (mut file, mut image) = (None, None);
            if let Some(provisioned) = provisioned {
                user_errors.extend(provisioned.refusal.map(in_input).map(UserError::from));
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
        #[graphql(desc = "What to act on.")] input: DeleteImageInput,
    ) -> Option<async_graphql::Result<DeleteImagePayload>> {
        let deleted = async {
            let id: ImageId = parse_id(&input.id, "id")?;
            image::delete(ctx.app(), ctx.viewer(), id).await
        };
        let (file_id, user_errors) = match outcome(deleted.await) {
            Ok(deleted) => deleted,
            Err(fault) => return Some(Err(fault)),
        };
        let file = match file_id {
            // A token that may write images need not be allowed to read files.
            Some(id) => file::find(ctx.app(), ctx.viewer(), id, &columns::all::<entity::file::Entity>())
                .await
                .or_else(|problem| match problem {
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

    /// Change alt text, focal point, privacy or metadata of an image.
    async fn update_image(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: UpdateImageInput,
    ) -> Option<async_graphql::Result<UpdateImagePayload>> {
        let updated = async {
            let id: ImageId = parse_id(&input.id, "id")?;
            update::update(ctx.app(), ctx.viewer(), id, input.try_into()?).await
        };
        let updated = outcome(updated.await);
        Some(updated.map(|(image, user_errors)| UpdateImagePayload {
            image: readable_image(ctx, image),
            user_errors,
        }))
    }
}

impl TryFrom<UpdateImageInput> for ImageChange {
    type Error = crate::error::Error;

    fn try_from(input: UpdateImageInput) -> Result<Self> {
        let metadata = optional(input.cf_metadata);
        Ok(ImageChange {
            alt: optional(input.alt),
            focal_point: optional(input.focal_point).map(|point| point.map(Into::into)),
            require_signed_urls: input.require_signed_urls,
            creator: optional(input.creator),
            cf_metadata: metadata
                .map(|json| json.map(|json| object(json, "cfMetadata")).transpose())
                .transpose()?,
            if_updated_at: input.if_updated_at.map(|at| at.0),
        })
    }
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
    /// Null while it is being provisioned; see `file.imageStatus`.
    image: Option<Image>,
    /// The file.
    file: Option<File>,
    /// Empty if and only if the change was made.
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
    /// Whether the image was deleted.
    success: bool,
    /// The deleted image.
    deleted_image_id: Option<ID>,
    /// The file, which is not deleted.
    file: Option<File>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `updateImage`. Absent fields stay unchanged.
#[derive(InputObject)]
pub struct UpdateImageInput {
    /// `img_` id.
    id: ID,
    /// Alternative text, at most 2000 characters; the empty string marks a decorative image, null removes it.
    alt: MaybeUndefined<String>,
    /// Point that crops keep in view. Null clears it.
    focal_point: MaybeUndefined<FocalPointInput>,
    /// A change purges caches and gives the image a new `cfImageId`.
    require_signed_urls: Option<bool>,
    /// The image service's `creator` field, 1-1024 characters. Null clears it.
    creator: MaybeUndefined<String>,
    /// Replaces what is kept with the image service: a JSON object of at most 978 bytes. Null clears it.
    cf_metadata: MaybeUndefined<Json>,
    /// Fail with `CONFLICT` unless `updatedAt` of the image is this time.
    if_updated_at: Option<DateTime>,
}

/// Result of `updateImage`.
#[derive(SimpleObject)]
pub struct UpdateImagePayload {
    /// The changed image.
    image: Option<Image>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}
