//! Rows by their keys: with the columns that a selection needs, or whole, by the loader of the request.

use std::sync::Arc;

use async_graphql::Context;
use futures_util::future::BoxFuture;

use crate::entity::api_token::Scope;
use crate::entity::{api_token, columns, direct_upload, file, image, membership, user, workspace};
use crate::error::Error;
use crate::graphql::ContextExt;
use crate::graphql::loader::ImageByFile;
use crate::graphql::rows::{LoadRows, related_columns};
use crate::graphql::types::api_token::ApiToken;
use crate::graphql::types::direct_upload::DirectUpload;
use crate::graphql::types::file::File;
use crate::graphql::types::image::Image;
use crate::graphql::types::viewer::User;
use crate::graphql::types::workspace::Workspace;
use crate::graphql::types::workspace_member::WorkspaceMember;
use crate::id::{ApiTokenId, DirectUploadId, FileId, ImageId, MembershipId, UserId, WorkspaceId};
use crate::workspace::member as members;
use crate::{api_token as tokens, direct_upload as direct_uploads};
use crate::{file as files, image as images, workspace as workspaces};

/// How a type of object is found by a type of key: `$ids` makes the ids of the keys, `$key` is the column with the key, and `$of` is
/// the key of a row.
macro_rules! load_rows {
    ($object:ident, $entity:ident, $key:ty, $column:ident, $find:path, $ids:expr, $of:expr) => {
        impl LoadRows<$key> for $object {
            fn load<'a>(
                ctx: &'a Context<'a>,
                keys: Vec<$key>,
                columns: &'a [$entity::Column],
            ) -> BoxFuture<'a, Result<Vec<($key, Self)>, Error>> {
                Box::pin(async move {
                    let ids: Vec<_> = keys.into_iter().map($ids).collect();
                    let columns = columns::with(columns, $entity::Column::$column);
                    let found = $find(ctx.app(), ctx.viewer(), &ids, &columns).await?;
                    Ok(found.into_iter().map(|row| ($of(&row), $object(row))).collect())
                })
            }

            fn load_one<'a>(
                ctx: &'a Context<'a>,
                key: $key,
            ) -> BoxFuture<'a, Result<Option<Self>, Arc<Error>>> {
                Box::pin(async move { Ok(ctx.loaders().load_one(key).await?.map($object)) })
            }
        }
    };
    ($object:ident, $entity:ident, $key:ty, $find:path) => {
        load_rows!($object, $entity, $key, Id, $find, |id| id, |row: &$entity::Model| row.id);
    };
}

load_rows!(Workspace, workspace, WorkspaceId, workspaces::find_many);
load_rows!(User, user, UserId, workspaces::find_users);
load_rows!(Image, image, ImageByFile, FileId, images::find_by_files, |key| key.0, |row: &image::Model| {
    ImageByFile(row.file_id)
});
load_rows!(WorkspaceMember, membership, MembershipId, members::find_many);
load_rows!(ApiToken, api_token, ApiTokenId, tokens::find_many);
load_rows!(DirectUpload, direct_upload, DirectUploadId, direct_uploads::find_many);

impl LoadRows<FileId> for File {
    fn load<'a>(
        ctx: &'a Context<'a>,
        keys: Vec<FileId>,
        columns: &'a [file::Column],
    ) -> BoxFuture<'a, Result<Vec<(FileId, Self)>, Error>> {
        Box::pin(async move {
            let found = match ctx.loaders().loader().take_joined(&keys, columns) {
                Some(joined) => joined,
                None => {
                    let columns = columns::with(columns, file::Column::Id);
                    files::find_many(ctx.app(), ctx.viewer(), &keys, &columns).await?
                }
            };
            Ok(found.into_iter().map(|row| (row.id, File(row))).collect())
        })
    }

    fn load_one<'a>(ctx: &'a Context<'a>, key: FileId) -> BoxFuture<'a, Result<Option<Self>, Arc<Error>>> {
        Box::pin(async move { Ok(ctx.loaders().load_one(key).await?.map(File)) })
    }
}

impl LoadRows<ImageId> for Image {
    fn load<'a>(
        ctx: &'a Context<'a>,
        keys: Vec<ImageId>,
        columns: &'a [image::Column],
    ) -> BoxFuture<'a, Result<Vec<(ImageId, Self)>, Error>> {
        Box::pin(async move {
            let (app, viewer) = (ctx.app(), ctx.viewer());
            let columns = columns::with(columns, image::Column::Id);
            // A single image is read together with its file. If the viewer may not read files, or if that fails, the image is
            // read alone, so that only the field has an error.
            if let [id] = keys[..]
                && let Some(of_file) = related_columns::<Image, File>(ctx, "file")
                && viewer.require(Scope::FilesRead).is_ok()
                && let Ok(found) = images::find_with_file(app, viewer, id, &columns, &of_file).await
            {
                let Some((image, file)) = found else { return Ok(Vec::new()) };
                ctx.loaders().loader().keep_joined(of_file, file.into_iter().collect());
                return Ok(vec![(id, Image(image))]);
            }
            let found = images::find_many(app, viewer, &keys, &columns).await?;
            Ok(found.into_iter().map(|row| (row.id, Image(row))).collect())
        })
    }

    fn load_one<'a>(ctx: &'a Context<'a>, key: ImageId) -> BoxFuture<'a, Result<Option<Self>, Arc<Error>>> {
        Box::pin(async move { Ok(ctx.loaders().load_one(key).await?.map(Image)) })
    }
}
