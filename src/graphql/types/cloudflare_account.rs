//! `CloudflareAccount`, for admins.

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};
use serde_json::{Number, Value};

use crate::account;
use crate::entity::workspace;
use crate::error::{Error, Result};
use crate::graphql::error::{from_loader, top_level};
use crate::graphql::loader::ImageByCloudflareId;
use crate::graphql::types::connection::{OrderDirection, PageInfo};
use crate::graphql::types::image::{Image, ImageVariant};
use crate::graphql::types::scalar::{DateTime, Json, Url};
use crate::graphql::{ContextExt, semanticNonNull};
use crate::image as images;
use crate::image::rendition::account_urls;
use cloudflare_images::client::{MetaFilter, MetaTest};
use cloudflare_images::wire;

/// The Cloudflare Images account as Cloudflare itself reports it, for admins: everything in the Cloudflare Images API
/// that no other type here has.
pub struct CloudflareAccount;

/// The Cloudflare Images account as Cloudflare itself reports it, for admins: everything in the Cloudflare Images API
/// that no other type here has.
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
        Some(account::signing_keys(ctx.app(), ctx.viewer()).await.map(SigningKey::all).map_err(top_level))
    }

    /// Images of the account, those of other applications included. Forward paging only, as in Cloudflare's API.
    async fn images(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "1-1000. Default: 100.")] first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Direction by upload time.", default_with = "Some(OrderDirection::Desc)")] direction: Option<
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
                return Err(Error::invalid("metadata", "At most five conditions are accepted."));
            }
            let list = account::AccountImageList {
                first: first.map(|first| u32::try_from(first).unwrap_or(0)),
                after,
                oldest_first: direction == Some(OrderDirection::Asc),
                creator,
                conditions: conditions.into_iter().map(meta_filter).collect::<Result<_>>()?,
            };
            account::list_images(ctx.app(), ctx.viewer(), list).await
        };
        Some(page.await.map(CloudflareImageConnection).map_err(top_level))
    }

    /// One image by Cloudflare's id, drafts included.
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

impl SigningKey {
    /// The keys of an account.
    pub fn all(keys: Vec<wire::Key>) -> Vec<SigningKey> {
        keys.into_iter().map(|key| SigningKey { name: key.name }).collect()
    }
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

    /// Delivery URLs, one per named variant; unsigned. Without the variants that keep metadata where the EXIF policy of
    /// the image's workspace does not allow it.
    async fn variants(&self, ctx: &Context<'_>) -> Vec<Url> {
        let policy = async {
            let found = ctx.loaders().load_one(ImageByCloudflareId(self.0.id.clone())).await;
            let workspace = ctx.loaders().load_one(found.ok().flatten()?.workspace_id).await;
            Some(workspace::exif_policy_of(workspace.ok().flatten().as_ref()))
        };
        account_urls(ctx.app(), &self.0, policy).await.into_iter().map(Url).collect()
    }

    /// The image of this server that it belongs to. Null when there is none.
    async fn image(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Image>> {
        let key = ImageByCloudflareId(self.0.id.clone());
        ctx.loaders().load_one(key).await.map_err(from_loader).transpose().map(|row| row.map(Image))
    }
}

/// A page of the account's images.
pub struct CloudflareImageConnection(account::AccountImagePage);

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

    /// Position of this page in the list.
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
    /// Cursor of this item, for `after`.
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
    /// A number above, or equal.
    GreaterOrEqual,
    /// A number below.
    LessThan,
    /// A number below, or equal.
    LessOrEqual,
}

/// The filter of a condition.
///
/// # Errors
/// `BAD_USER_INPUT` for a value that the operator does not compare with.
fn meta_filter(condition: CloudflareMetadataCondition) -> Result<MetaFilter> {
    use CloudflareMetadataOperator as Operator;
    let invalid = || {
        let message = "A condition compares with a string, number or boolean; ANY_OF with a list of up to ten strings \
                       or numbers; the others with a number.";
        Error::invalid("metadata.value", message)
    };
    let number = |value: &Value| value.as_number().cloned().ok_or_else(invalid);
    let test = match (condition.operator, &condition.value.0) {
        (Operator::Equals, Value::String(text)) => MetaTest::EqString(text.clone()),
        (Operator::Equals, Value::Number(number)) => MetaTest::EqNumber(number.clone()),
        (Operator::Equals, Value::Bool(flag)) => MetaTest::EqBoolean(*flag),
        (Operator::Equals, _) => return Err(invalid()),
        (Operator::AnyOf, Value::Array(items)) if (1..=10).contains(&items.len()) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            let numbers: Option<Vec<Number>> = items.iter().map(|item| item.as_number().cloned()).collect();
            match (texts, numbers) {
                (Some(texts), _) => MetaTest::InString(texts),
                (None, Some(numbers)) => MetaTest::InNumber(numbers),
                (None, None) => return Err(invalid()),
            }
        }
        (Operator::AnyOf, _) => return Err(invalid()),
        (Operator::GreaterThan, value) => MetaTest::Gt(number(value)?),
        (Operator::GreaterOrEqual, value) => MetaTest::Gte(number(value)?),
        (Operator::LessThan, value) => MetaTest::Lt(number(value)?),
        (Operator::LessOrEqual, value) => MetaTest::Lte(number(value)?),
    };
    Ok(MetaFilter { field: condition.field, test })
}
