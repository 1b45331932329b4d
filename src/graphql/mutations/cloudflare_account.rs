//! Writes on the Cloudflare account, for admins.

use async_graphql::{Context, InputObject, Object, SimpleObject};

use crate::account;
use crate::graphql::ContextExt;
use crate::graphql::error::{UserError, outcome};
use crate::graphql::types::cloudflare_account::{CloudflareAccount, SigningKey};
use crate::graphql::types::image::ImageVariant;
use crate::graphql::types::transform::{TransformFit, TransformMetadata, named_fit};
use cloudflare_images::wire;

/// Writes on the account. Admins only.
#[derive(Default)]
pub struct AccountMutation;

/// Writes on the account. Admins only.
#[Object]
impl AccountMutation {
    /// Create a named variant. Admins only.
    async fn create_variant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What it does.")] input: CreateVariantInput,
    ) -> Option<async_graphql::Result<CreateVariantPayload>> {
        let variant = named_fit(input.fit).map(|fit| wire::Variant {
            id: input.name,
            options: wire::VariantOptions {
                fit: fit.unwrap_or_default().into(),
                width: Some(side(input.width)),
                height: Some(side(input.height)),
                metadata: input.metadata.map_or(wire::Metadata::None, Into::into).into(),
                ..wire::VariantOptions::default()
            },
            never_require_signed_urls: input.never_require_signed_urls.unwrap_or(false),
        });
        let created = async { account::create_variant(ctx.app(), ctx.viewer(), &variant?).await };
        let created = outcome(created.await);
        Some(created.map(|(created, user_errors)| CreateVariantPayload {
            variant: created.as_ref().map(Into::into),
            user_errors,
        }))
    }

    /// Change a named variant; purges the cache of every image. Admins only.
    async fn update_variant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: UpdateVariantInput,
    ) -> Option<async_graphql::Result<UpdateVariantPayload>> {
        let change = named_fit(input.fit).map(|fit| account::VariantChange {
            fit,
            width: input.width.map(side),
            height: input.height.map(side),
            metadata: input.metadata.map(Into::into),
            never_require_signed_urls: input.never_require_signed_urls,
        });
        let changed = async { account::update_variant(ctx.app(), ctx.viewer(), &input.name, change?).await };
        let changed = outcome(changed.await);
        Some(changed.map(|(changed, user_errors)| UpdateVariantPayload {
            variant: changed.as_ref().map(Into::into),
            user_errors,
        }))
    }

    /// Delete a named variant; purges the cache of every image. Admins only.
    async fn delete_variant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to act on.")] input: DeleteVariantInput,
    ) -> Option<async_graphql::Result<DeleteVariantPayload>> {
        let deleted = outcome(account::delete_variant(ctx.app(), ctx.viewer(), &input.name).await);
        Some(
            deleted.map(|(deleted, user_errors)| DeleteVariantPayload {
                success: deleted.is_some(),
                user_errors,
            }),
        )
    }

    /// Create a signing key, or give an existing one a new value. Admins only.
    async fn create_signing_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its name.")] input: CreateSigningKeyInput,
    ) -> Option<async_graphql::Result<CreateSigningKeyPayload>> {
        let keys = outcome(account::put_signing_key(ctx.app(), ctx.viewer(), &input.name).await);
        Some(keys.map(|(keys, user_errors)| CreateSigningKeyPayload {
            signing_keys: keys.map(SigningKey::all),
            user_errors,
        }))
    }

    /// Delete a signing key; URLs it signed stop working. Admins only.
    async fn delete_signing_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to act on.")] input: DeleteSigningKeyInput,
    ) -> Option<async_graphql::Result<DeleteSigningKeyPayload>> {
        let keys = outcome(account::delete_signing_key(ctx.app(), ctx.viewer(), &input.name).await);
        Some(keys.map(|(keys, user_errors)| DeleteSigningKeyPayload {
            signing_keys: keys.map(SigningKey::all),
            user_errors,
        }))
    }

    /// Switch account-wide settings. Admins only.
    async fn update_cloudflare_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to switch.")] input: UpdateCloudflareAccountInput,
    ) -> Option<async_graphql::Result<UpdateCloudflareAccountPayload>> {
        let (app, viewer) = (ctx.app(), ctx.viewer());
        let switched = match input.flexible_variants {
            Some(on) => account::switch_flexible_variants(app, viewer, on).await.map(drop),
            None => account::require_admin(viewer),
        };
        Some(outcome(switched).map(|(switched, user_errors)| UpdateCloudflareAccountPayload {
            cloudflare_account: switched.map(|()| CloudflareAccount),
            user_errors,
        }))
    }
}

/// Width or height of a variant. A negative number becomes 0, which the domain rejects.
fn side(pixels: i32) -> u32 {
    u32::try_from(pixels).unwrap_or(0)
}

/// Input of `createVariant`.
#[derive(InputObject)]
pub struct CreateVariantInput {
    /// Letters and digits, 1-99.
    name: String,
    /// How an image is fitted to the box.
    #[graphql(default_with = "Some(TransformFit::ScaleDown)")]
    fit: Option<TransformFit>,
    /// Width of the box in pixels, 1-9999.
    width: i32,
    /// Height of the box in pixels, 1-9999.
    height: i32,
    /// What metadata the delivered image keeps. URLs of a variant with `KEEP` are returned only for workspaces whose
    /// `exifPolicy` is `KEEP_ALL`.
    #[graphql(default_with = "Some(TransformMetadata::None)")]
    metadata: Option<TransformMetadata>,
    /// Deliver without a signature even for private images.
    #[graphql(default_with = "Some(false)")]
    never_require_signed_urls: Option<bool>,
}

/// Result of `createVariant`.
#[derive(SimpleObject)]
pub struct CreateVariantPayload {
    /// The new variant.
    variant: Option<ImageVariant>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `updateVariant`. Absent fields stay unchanged.
#[derive(InputObject)]
pub struct UpdateVariantInput {
    /// Which variant.
    name: String,
    /// How an image is fitted to the box.
    fit: Option<TransformFit>,
    /// Width of the box in pixels, 1-9999.
    width: Option<i32>,
    /// Height of the box in pixels, 1-9999.
    height: Option<i32>,
    /// What metadata the delivered image keeps. URLs of a variant with `KEEP` are returned only for workspaces whose
    /// `exifPolicy` is `KEEP_ALL`.
    metadata: Option<TransformMetadata>,
    /// Deliver without a signature even for private images.
    never_require_signed_urls: Option<bool>,
}

/// Result of `updateVariant`.
#[derive(SimpleObject)]
pub struct UpdateVariantPayload {
    /// The changed variant.
    variant: Option<ImageVariant>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `deleteVariant`.
#[derive(InputObject)]
pub struct DeleteVariantInput {
    /// Which variant.
    name: String,
}

/// Result of `deleteVariant`.
#[derive(SimpleObject)]
pub struct DeleteVariantPayload {
    /// Whether the variant was deleted.
    success: bool,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `createSigningKey`.
#[derive(InputObject)]
pub struct CreateSigningKeyInput {
    /// Letters and digits, 1-20.
    name: String,
}

/// Result of `createSigningKey`.
#[derive(SimpleObject)]
pub struct CreateSigningKeyPayload {
    /// All keys of the account, after the change.
    signing_keys: Option<Vec<SigningKey>>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `deleteSigningKey`.
#[derive(InputObject)]
pub struct DeleteSigningKeyInput {
    /// Which key.
    name: String,
}

/// Result of `deleteSigningKey`.
#[derive(SimpleObject)]
pub struct DeleteSigningKeyPayload {
    /// All keys of the account, after the change.
    signing_keys: Option<Vec<SigningKey>>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `updateCloudflareAccount`. Absent fields stay unchanged.
#[derive(InputObject)]
pub struct UpdateCloudflareAccountInput {
    /// Dynamic transformations by URL options.
    flexible_variants: Option<bool>,
}

/// Result of `updateCloudflareAccount`.
#[derive(SimpleObject)]
pub struct UpdateCloudflareAccountPayload {
    /// The account, after the change.
    cloudflare_account: Option<CloudflareAccount>,
    /// Empty if and only if the change was made.
    user_errors: Vec<UserError>,
}
