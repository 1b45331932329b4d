//! `CloudflareAccount`, for admins, and the mutations on it.

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};
use serde_json::{Number, Value};

use crate::account;
use crate::error::{Error, Result};
use crate::graphql::connection::{PageInfo, shared};
use crate::graphql::error::{UserError, outcome, top_level};
use crate::graphql::image::{Image, ImageVariant};
use crate::graphql::loader::ImageOfAccount;
use crate::graphql::scalar::{DateTime, Json, Url};
use crate::graphql::transform::{TransformFit, TransformMetadata, named_fit};
use crate::graphql::{Asked, OrderDirection, semanticNonNull};
use crate::image as images;
use crate::image::rendition::account_urls;
use cloudflare_images::client::{MetaFilter, MetaTest};
use cloudflare_images::wire;

/// The Cloudflare Images account as Cloudflare itself reports it, for admins: what every call of the
/// Cloudflare Images API offers and no other type here already has.
pub struct CloudflareAccount;

/// The Cloudflare Images account as Cloudflare itself reports it, for admins: what every call of the
/// Cloudflare Images API offers and no other type here already has.
#[Object]
impl CloudflareAccount {
    /// Account id; never the token.
    async fn account_id(&self, ctx: &Context<'_>) -> String {
        ctx.app().cloudflare.settings.account_id.clone()
    }

    /// Hash in delivery URLs. Null while the account has no image to read it from.
    async fn account_hash(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<String>> {
        account::hash(ctx.app(), ctx.viewer()).await.map_err(top_level).transpose()
    }

    /// Images stored against the account's allowance.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn stats(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<CloudflareStats>> {
        let stats = account::stats(ctx.app(), ctx.viewer()).await.map_err(top_level);
        let number = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
        Some(stats.map(|stats| CloudflareStats {
            current: number(stats.count.current),
            allowed: number(stats.count.allowed),
        }))
    }

    /// Named variants.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn variants(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Vec<ImageVariant>>> {
        let variants = images::rendition::variants(ctx.app()).await.map_err(top_level);
        Some(variants.map(|variants| variants.iter().map(Into::into).collect()))
    }

    /// Signing keys, names only: a value never leaves the server.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn signing_keys(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Vec<SigningKey>>> {
        Some(account::signing_keys(ctx.app(), ctx.viewer()).await.map(names).map_err(top_level))
    }

    /// Images of the account, ours or not, newest first unless said otherwise. Forward only, as Cloudflare pages.
    #[graphql(complexity = "first.unwrap_or(100).clamp(1, 1000) as usize * child_complexity + 1")]
    async fn images(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "1-1000. Default: 100.")] first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Which end first.", default_with = "Some(OrderDirection::Desc)")] direction: Option<
            OrderDirection,
        >,
        #[graphql(desc = "Cloudflare's `creator`; the empty string finds images without one.")]
        creator: Option<String>,
        #[graphql(desc = "Up to five conditions on metadata, all of which must hold.")] metadata: Option<
            Vec<CloudflareMetadataCondition>,
        >,
    ) -> Option<async_graphql::Result<CloudflareImageConnection>> {
        let page = async {
            let conditions = metadata.unwrap_or_default();
            if conditions.len() > 5 {
                return Err(Error::invalid("metadata", "At most five conditions are taken."));
            }
            let list = account::ImageList {
                first: first.map(|first| u32::try_from(first).unwrap_or(0)),
                after,
                oldest_first: direction == Some(OrderDirection::Asc),
                creator,
                conditions: conditions.into_iter().map(condition).collect::<Result<_>>()?,
            };
            account::list_images(ctx.app(), ctx.viewer(), list).await
        };
        Some(page.await.map(CloudflareImageConnection).map_err(top_level))
    }

    /// One image by Cloudflare's id, drafts too.
    async fn image(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Cloudflare's id.")] id: String,
    ) -> Option<async_graphql::Result<CloudflareImage>> {
        let found = account::find_image(ctx.app(), ctx.viewer(), &id).await;
        found.map_err(top_level).transpose().map(|image| image.map(CloudflareImage))
    }

    /// Dynamic transformations by URL options.
    async fn flexible_variants(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<bool>> {
        let config = account::config(ctx.app(), ctx.viewer()).await;
        Some(config.map(|config| config.flexible_variants.unwrap_or(false)).map_err(top_level))
    }
}

fn names(keys: Vec<wire::Key>) -> Vec<SigningKey> {
    keys.into_iter().map(|key| SigningKey { name: key.name }).collect()
}

/// Storage use of the account.
#[derive(Debug, Clone, SimpleObject)]
pub struct CloudflareStats {
    /// Images stored now.
    current: i32,
    /// Images the account may store.
    allowed: i32,
}

/// A signing key.
#[derive(Debug, Clone, SimpleObject)]
pub struct SigningKey {
    /// Letters and digits.
    name: String,
}

/// An image as Cloudflare reports it.
pub struct CloudflareImage(wire::Image);

/// An image as Cloudflare reports it.
#[Object]
impl CloudflareImage {
    /// Cloudflare's id.
    async fn cf_image_id(&self) -> &str {
        &self.0.id
    }

    /// Null on a draft.
    async fn filename(&self) -> Option<&str> {
        self.0.filename.as_deref()
    }

    /// Metadata kept with the image.
    async fn metadata(&self) -> Option<Json> {
        self.0.meta.clone().map(|meta| Json(Value::Object(meta)))
    }

    /// Cloudflare's `creator`.
    async fn creator(&self) -> Option<&str> {
        self.0.creator.as_deref()
    }

    /// Delivered only through signed URLs.
    async fn require_signed_urls(&self) -> bool {
        self.0.require_signed_urls
    }

    /// Direct upload whose bytes have not arrived.
    async fn draft(&self) -> bool {
        self.0.draft
    }

    /// When the bytes, or the draft, arrived.
    async fn uploaded_at(&self) -> Option<DateTime> {
        self.0.uploaded.map(DateTime)
    }

    /// Delivery URLs, one per named variant; unsigned. Those of variants that keep metadata are left out where the policy of
    /// the image's workspace does not let it out.
    async fn variants(&self, ctx: &Context<'_>) -> Vec<Url> {
        let policy = async {
            let found = ctx.loaders().load_one(ImageOfAccount(self.0.id.clone())).await;
            let image = Image(found.ok().flatten()?);
            Some(image.exif_policy(ctx).await)
        };
        account_urls(ctx.app(), &self.0, policy).await.into_iter().map(Url).collect()
    }

    /// Our image that owns it; null for a stray.
    async fn image(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Image>> {
        let key = ImageOfAccount(self.0.id.clone());
        ctx.loaders().load_one(key).await.map_err(shared).transpose().map(|row| row.map(Image))
    }
}

/// A page of the account's images.
pub struct CloudflareImageConnection(account::ImagePage);

/// A page of the account's images.
#[Object]
impl CloudflareImageConnection {
    /// The items, each with its cursor.
    async fn edges(&self) -> Vec<CloudflareImageEdge> {
        let edge = |(cursor, image): &(String, wire::Image)| CloudflareImageEdge {
            cursor: cursor.clone(),
            node: CloudflareImage(image.clone()),
        };
        self.0.rows.iter().map(edge).collect()
    }

    /// The items without their cursors.
    async fn nodes(&self) -> Vec<CloudflareImage> {
        self.0.rows.iter().map(|(_, image)| CloudflareImage(image.clone())).collect()
    }

    /// Where this page lies in the list.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next: self.0.has_next,
            has_previous: self.0.has_previous,
            start: self.0.rows.first().map(|(cursor, _)| cursor.clone()),
            end: self.0.rows.last().map(|(cursor, _)| cursor.clone()),
            total: None,
        }
    }
}

/// An account image in a page.
#[derive(SimpleObject)]
pub struct CloudflareImageEdge {
    /// Leads behind this item: give it as `after`.
    cursor: String,
    /// The item.
    node: CloudflareImage,
}

/// A condition on a metadata field, as Cloudflare's `meta.<field>[<operator>]`.
#[derive(Debug, Clone, InputObject)]
pub struct CloudflareMetadataCondition {
    /// Path of at most five names, e.g. `region.name`.
    field: String,
    /// How it is compared.
    operator: CloudflareMetadataOperator,
    /// A string, number or boolean; for `ANY_OF` a list of at most ten strings or ten numbers.
    value: Json,
}

/// How a metadata field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum CloudflareMetadataOperator {
    /// Equal, and of the same type.
    Equals,
    /// Equal to one of a list.
    AnyOf,
    /// A number above.
    GreaterThan,
    /// A number not below.
    GreaterOrEqual,
    /// A number below.
    LessThan,
    /// A number not above.
    LessOrEqual,
}

fn condition(condition: CloudflareMetadataCondition) -> Result<MetaFilter> {
    use CloudflareMetadataOperator as Operator;
    let wrong = || {
        let message = "A condition compares with a string, number or boolean; ANY_OF with a list of up to ten strings \
                       or numbers; the others with a number.";
        Error::invalid("metadata.value", message)
    };
    let number = |value: &Value| value.as_number().cloned().ok_or_else(wrong);
    let test = match (condition.operator, &condition.value.0) {
        (Operator::Equals, Value::String(text)) => MetaTest::EqString(text.clone()),
        (Operator::Equals, Value::Number(number)) => MetaTest::EqNumber(number.clone()),
        (Operator::Equals, Value::Bool(flag)) => MetaTest::EqBoolean(*flag),
        (Operator::Equals, _) => return Err(wrong()),
        (Operator::AnyOf, Value::Array(items)) if (1..=10).contains(&items.len()) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            let numbers: Option<Vec<Number>> = items.iter().map(|item| item.as_number().cloned()).collect();
            match (texts, numbers) {
                (Some(texts), _) => MetaTest::InString(texts),
                (None, Some(numbers)) => MetaTest::InNumber(numbers),
                (None, None) => return Err(wrong()),
            }
        }
        (Operator::AnyOf, _) => return Err(wrong()),
        (Operator::GreaterThan, value) => MetaTest::Gt(number(value)?),
        (Operator::GreaterOrEqual, value) => MetaTest::Gte(number(value)?),
        (Operator::LessThan, value) => MetaTest::Lt(number(value)?),
        (Operator::LessOrEqual, value) => MetaTest::Lte(number(value)?),
    };
    Ok(MetaFilter { field: condition.field, test })
}

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
        let made = async { account::create_variant(ctx.app(), ctx.viewer(), &variant?).await };
        let made = outcome(made.await);
        Some(made.map(|(made, user_errors)| CreateVariantPayload {
            variant: made.as_ref().map(Into::into),
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
        #[graphql(desc = "Which one.")] input: DeleteVariantInput,
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
            signing_keys: keys.map(names),
            user_errors,
        }))
    }

    /// Delete a signing key; URLs it signed stop working. Admins only.
    async fn delete_signing_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] input: DeleteSigningKeyInput,
    ) -> Option<async_graphql::Result<DeleteSigningKeyPayload>> {
        let keys = outcome(account::delete_signing_key(ctx.app(), ctx.viewer(), &input.name).await);
        Some(keys.map(|(keys, user_errors)| DeleteSigningKeyPayload {
            signing_keys: keys.map(names),
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

/// A side as the domain checks it: what is no positive number becomes 0, which it refuses.
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
    /// What metadata stays in the delivered image. URLs of a variant with `KEEP` are handed out only for workspaces whose
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
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `updateVariant`. Fields left out stay as they are.
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
    /// What metadata stays in the delivered image. URLs of a variant with `KEEP` are handed out only for workspaces whose
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
    /// Empty exactly when the change was made.
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
    /// Whether the variant is gone.
    success: bool,
    /// Empty exactly when the change was made.
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
    /// Empty exactly when the change was made.
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
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}

/// Input of `updateCloudflareAccount`. Fields left out stay as they are.
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
    /// Empty exactly when the change was made.
    user_errors: Vec<UserError>,
}
