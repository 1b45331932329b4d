//! The mutation root. A mutation decodes its input, calls one domain function and encodes the result.

pub mod api_token;

pub mod cloudflare_account;

pub mod direct_upload;

pub mod file;

pub mod image;

pub mod upload;

pub mod workspace;

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::ContainerType;
use async_graphql::{
    Context, ContextSelectionSet, MaybeUndefined, MergedObject, ObjectType, OutputType, Positioned,
    ServerResult, Value,
};

use self::api_token::TokenMutation;
use self::cloudflare_account::AccountMutation;
use self::direct_upload::DirectUploadMutation;
use self::file::FileMutation;
use self::image::ImageMutation;
use self::upload::UploadMutation;
use self::workspace::WorkspaceMutation;
use crate::graphql::ContextExt;
use crate::graphql::error::top_level;

/// Root of all writes. Each takes one `input` and returns a payload with the changed object and `userErrors`.
/// `userErrors` is empty if and only if the change was made.
#[derive(MergedObject, Default)]
pub struct Mutation(
    UploadMutation,
    DirectUploadMutation,
    ImageMutation,
    FileMutation,
    WorkspaceMutation,
    TokenMutation,
    AccountMutation,
);

/// A mutation root whose fields share no loaded rows and no rights: a field may have changed what an earlier one has loaded.
pub struct FreshPerField<T>(pub T);

impl<T: ObjectType> ContainerType for FreshPerField<T> {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        if ctx.loaders().loader().begin_mutation() > 0 {
            let refreshed = ctx.viewer().refresh(&ctx.app().db.read).await;
            let failed = |problem| ctx.set_error_path(top_level(problem).into_server_error(ctx.item.pos));
            refreshed.map_err(failed)?;
        }
        self.0.resolve_field(ctx).await
    }
}

impl<T: ObjectType> OutputType for FreshPerField<T> {
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

impl<T: ObjectType> ObjectType for FreshPerField<T> {}

/// A field that may be absent, null, or have a value, as the domain has it.
fn optional<T>(field: MaybeUndefined<T>) -> Option<Option<T>> {
    match field {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}
