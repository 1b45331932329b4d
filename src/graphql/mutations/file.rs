//! Writes on files.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use crate::error::Result;
use crate::file::trash;
use crate::file::update::{self as files, FileChange};
use crate::graphql::context::readable_file;
use crate::graphql::error::{UserError, outcome};
use crate::graphql::mutations::optional;
use crate::graphql::types::file::File;
use crate::graphql::types::new_image::object;
use crate::graphql::types::scalar::{DateTime, Json};
use crate::graphql::{ContextExt, parse_id};
use crate::id::FileId;

/// Writes on files.
#[derive(Default)]
pub struct FileMutation;

/// Writes on files.
#[Object]
impl FileMutation {
    /// Change name, tags or metadata of a file.
    async fn update_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: UpdateFileInput,
    ) -> Option<async_graphql::Result<UpdateFilePayload>> {
        let updated = async {
            let id: FileId = parse_id(&input.id, "id")?;
            files::update(ctx.app(), ctx.viewer(), id, input.try_into()?).await
        };
        let updated = outcome(updated.await);
        Some(
            updated
                .map(|(file, user_errors)| UpdateFilePayload { file: readable_file(ctx, file), user_errors }),
        )
    }

    /// Delete a file and its image projection: move it to the trash, or delete it permanently.
    async fn delete_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which file, and whether permanently.")] input: DeleteFileInput,
    ) -> Option<async_graphql::Result<DeleteFilePayload>> {
        let deleted = async {
            let id: FileId = parse_id(&input.id, "id")?;
            trash::delete(ctx.app(), ctx.viewer(), id, input.permanently.unwrap_or(false)).await
        };
        Some(outcome(deleted.await).map(|(deleted, user_errors)| DeleteFilePayload {
            success: deleted.is_some(),
            deleted_file_id: deleted.as_ref().map(|deleted| deleted.id.to_string().into()),
            deleted_image_id:
                deleted.as_ref().and_then(|deleted| deleted.image_id).map(|id| id.to_string().into()),
            file: readable_file(ctx, deleted.and_then(|deleted| deleted.trashed)),
            user_errors,
        }))
    }

    /// Take a file out of the trash. If it had an image, one with the same settings is provisioned again.
    async fn restore_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to act on.")] input: RestoreFileInput,
    ) -> Option<async_graphql::Result<RestoreFilePayload>> {
        let restored =
            async { trash::restore(ctx.app(), ctx.viewer(), parse_id::<FileId>(&input.id, "id")?).await };
        let restored = outcome(restored.await);
        Some(
            restored.map(|(file, user_errors)| RestoreFilePayload {
                file: readable_file(ctx, file),
                user_errors,
            }),
        )
    }
}

impl TryFrom<UpdateFileInput> for FileChange {
    type Error = crate::error::Error;

    fn try_from(input: UpdateFileInput) -> Result<Self> {
        let metadata = optional(input.metadata);
        Ok(FileChange {
            filename: input.filename,
            tags: input.tags,
            metadata: metadata
                .map(|json| json.map(|json| object(json, "metadata")).transpose())
                .transpose()?,
            if_updated_at: input.if_updated_at.map(|at| at.0),
        })
    }
}

/// Input of `updateFile`. Absent fields stay unchanged.
#[derive(InputObject)]
pub struct UpdateFileInput {
    /// `fil_` id.
    id: ID,
    /// New name: 1-255 characters, no slash and no control character.
    filename: Option<String>,
    /// Replaces all tags: at most 50, each of 1-100 characters.
    tags: Option<Vec<String>>,
    /// Replaces the whole object, at most 16 KiB; null clears it.
    metadata: MaybeUndefined<Json>,
    /// Fail with `CONFLICT` unless `updatedAt` of the file is this time.
    if_updated_at: Option<DateTime>,
}

/// Result of `updateFile`.
#[derive(SimpleObject)]
pub struct UpdateFilePayload {
    /// The changed file.
    file: Option<File>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `deleteFile`.
#[derive(InputObject)]
pub struct DeleteFileInput {
    /// `fil_` id.
    id: ID,
    /// Skip the trash. Cannot be undone.
    #[graphql(default_with = "Some(false)")]
    permanently: Option<bool>,
}

/// Result of `deleteFile`.
#[derive(SimpleObject)]
pub struct DeleteFilePayload {
    /// Whether the file was deleted.
    success: bool,
    /// The deleted file.
    deleted_file_id: Option<ID>,
    /// The image that was deleted with it.
    deleted_image_id: Option<ID>,
    /// The file in the trash. Null when it was deleted permanently: on request, when the workspace has no trash, and
    /// when the file had no bytes.
    file: Option<File>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `restoreFile`.
#[derive(InputObject)]
pub struct RestoreFileInput {
    /// `fil_` id.
    id: ID,
}

/// Result of `restoreFile`.
#[derive(SimpleObject)]
pub struct RestoreFilePayload {
    /// The restored file; see `imageStatus` for its new image.
    file: Option<File>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}
