//! `Image`, its renditions, and the account's variants.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use crate::cloudflare::wire;
use crate::entity::image;
use crate::graphql::connection::shared;
use crate::graphql::error::top_level;
use crate::graphql::file::File;
use crate::graphql::scalar::{ByteSize, DateTime, Json, Url};
use crate::graphql::workspace::Workspace;
use crate::graphql::{Asked, OrderDirection, semanticNonNull};
use crate::image::{self as images, delivery};

/// The projection of an `image/*` file that has been provisioned into Cloudflare Images.
/// It exists only once provisioned, so what the image service supplies is never null.
pub struct Image(pub image::Model);

/// The projection of an `image/*` file that has been provisioned into Cloudflare Images.
/// It exists only once provisioned, so what the image service supplies is never null.
#[Object]
impl Image {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// Id of the underlying file.
    async fn file_id(&self) -> ID {
        self.0.file_id.to_string().into()
    }

    /// The underlying file.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn file(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<File>> {
        ctx.loaders().load_one(self.0.file_id).await.map_err(shared).transpose().map(|row| row.map(File))
    }

    /// Id of the workspace it belongs to.
    async fn workspace_id(&self) -> ID {
        self.0.workspace_id.to_string().into()
    }

    /// The workspace it belongs to.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn workspace(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Workspace>> {
        ctx.loaders()
            .load_one(self.0.workspace_id)
            .await
            .map_err(shared)
            .transpose()
            .map(|row| row.map(Workspace))
    }

    /// Id in Cloudflare Images. Not an identity of ours: it changes when `requireSignedUrls` is switched
    /// and when the image is provisioned again.
    async fn cf_image_id(&self) -> &str {
        self.0.cf_image_id.as_deref().unwrap_or_default()
    }

    /// Pixels after EXIF rotation. Null for vector images without an intrinsic size.
    async fn width(&self) -> Option<i32> {
        self.0.width
    }

    /// Pixels after EXIF rotation. Null for vector images without an intrinsic size.
    async fn height(&self) -> Option<i32> {
        self.0.height
    }

    /// `width` / `height`. Null when either is.
    async fn aspect_ratio(&self) -> Option<f64> {
        Some(f64::from(self.0.width?) / f64::from(self.0.height?))
    }

    /// Bytes of the original.
    async fn size(&self) -> ByteSize {
        self.0.size.into()
    }

    /// Raw EXIF: an object of tag names to texts, numbers, or lists of numbers.
    async fn exif(&self) -> Option<Json> {
        self.0.exif.clone().map(Json)
    }

    /// Delivery URL of the `public` variant, or, for an image that requires signed URLs, a signed one.
    /// Expiry is rounded to a fixed window so that the string is stable and caches keep working.
    /// Null only while the image service does not tell the key to sign with.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn url(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Url>> {
        Some(images::url(ctx.app(), &self.0).await.map(|(url, _)| Url(url)).map_err(top_level))
    }

    /// When `url` stops working. Null for a public image.
    async fn url_expires_at(&self, ctx: &Context<'_>) -> Option<DateTime> {
        let app = ctx.app();
        let signed = self.0.require_signed_urls;
        signed.then(|| DateTime(delivery::expiry(app.clock.now(), app.config.signed_url_ttl)))
    }

    /// One sized version: its URL and the pixel size it will have.
    async fn rendition(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Name of a variant.")] variant: String,
        #[graphql(desc = "Seconds a signed URL stays valid at least, 60-604800. Default: the server's.")]
        expires_in: Option<i32>,
    ) -> Option<async_graphql::Result<ImageRendition>> {
        let rendition = images::rendition(ctx.app(), &self.0, &variant, expires_in.map(i64::from)).await;
        Some(rendition.map(Into::into).map_err(top_level))
    }

    /// Every named variant of this image.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn renditions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Seconds a signed URL stays valid at least, 60-604800. Default: the server's.")]
        expires_in: Option<i32>,
    ) -> Option<async_graphql::Result<Vec<ImageRendition>>> {
        let all = async {
            let mut renditions = Vec::new();
            for variant in images::variants(ctx.app()).await?.iter() {
                let expires_in = expires_in.map(i64::from);
                renditions.push(images::rendition(ctx.app(), &self.0, &variant.id, expires_in).await?.into());
            }
            Ok(renditions)
        };
        Some(all.await.map_err(top_level))
    }

    /// Encoding of the original.
    async fn format(&self) -> ImageFormat {
        self.0.format.into()
    }

    /// MIME type of the original.
    async fn mime_type(&self) -> &str {
        &self.0.mime_type
    }

    /// More than one frame.
    async fn animated(&self) -> bool {
        self.0.animated
    }

    /// Deliver only through signed URLs.
    async fn require_signed_urls(&self) -> bool {
        self.0.require_signed_urls
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// Encodings an original may have. More may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "image::Format")]
pub enum ImageFormat {
    /// AV1 image file.
    Avif,
    /// GIF, still or animated.
    Gif,
    /// HEIC, as phones write it.
    Heic,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// Vector image.
    Svg,
    /// WebP, still or animated.
    Webp,
    /// Anything else the image service accepted.
    Other,
}

/// One sized version of an image.
#[derive(Debug, Clone, SimpleObject)]
pub struct ImageRendition {
    /// Variant name, if this is one.
    variant: Option<String>,
    /// Where it is delivered.
    url: Url,
    /// Pixels this version will have. Null when it cannot be told in advance.
    width: Option<i32>,
    /// Pixels this version will have. Null when it cannot be told in advance.
    height: Option<i32>,
    /// When the URL stops working. Null for a URL that needs no signature.
    expires_at: Option<DateTime>,
}

impl From<delivery::Rendition> for ImageRendition {
    fn from(rendition: delivery::Rendition) -> Self {
        let side = |side: u32| i32::try_from(side).ok();
        ImageRendition {
            variant: Some(rendition.variant),
            url: Url(rendition.url),
            width: rendition.size.and_then(|(width, _)| side(width)),
            height: rendition.size.and_then(|(_, height)| side(height)),
            expires_at: rendition.expires_at.map(DateTime),
        }
    }
}

/// A named delivery variant of the account.
#[derive(Debug, Clone, SimpleObject)]
pub struct ImageVariant {
    /// Name as it appears in delivery URLs.
    name: String,
    /// How an image is fitted to the box.
    fit: TransformFit,
    /// Width of the box in pixels. Null when the variant does not limit it.
    width: Option<i32>,
    /// Height of the box in pixels. Null when the variant does not limit it.
    height: Option<i32>,
    /// What metadata stays in the delivered image.
    metadata: TransformMetadata,
    /// Delivered without a signature even for private images.
    never_require_signed_urls: bool,
}

impl From<&wire::Variant> for ImageVariant {
    fn from(variant: &wire::Variant) -> Self {
        let side = |side: u32| i32::try_from(side).ok();
        ImageVariant {
            name: variant.id.clone(),
            fit: variant.options.fit.into(),
            width: variant.options.width.and_then(side),
            height: variant.options.height.and_then(side),
            metadata: variant.options.metadata.into(),
            never_require_signed_urls: variant.never_require_signed_urls,
        }
    }
}

/// How an image is fitted to the target box. More may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "wire::Fit")]
pub enum TransformFit {
    /// Inside the box, never enlarged.
    ScaleDown,
    /// Inside the box, enlarged if need be.
    Contain,
    /// Fills the box exactly; the rest is cropped away.
    Cover,
    /// As `COVER` when larger than the box, as `SCALE_DOWN` when smaller.
    Crop,
    /// As `CONTAIN`, then filled to the box with background.
    Pad,
}

/// What metadata stays in the delivered image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "wire::Metadata")]
pub enum TransformMetadata {
    /// Everything.
    Keep,
    /// The copyright tag of JPEG files.
    Copyright,
    /// Cloudflare's `none`; named so because a `NONE` case collides with Swift's `Optional.none`.
    #[graphql(name = "STRIP")]
    None,
}

/// Order of images.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct ImageOrder {
    /// What to order by.
    pub field: ImageOrderField,
    /// Which way.
    pub direction: OrderDirection,
}

/// What images can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ImageOrderField {
    /// When it was made.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
    /// Name of the file, byte by byte.
    Filename,
    /// Bytes of the original.
    Size,
    /// Pixels; an image without a width counts as 0 wide.
    Width,
    /// Pixels; an image without a height counts as 0 high.
    Height,
    /// When the photo was taken; an image that does not tell counts as older than all others.
    TakenAt,
}

impl Default for ImageOrder {
    fn default() -> Self {
        ImageOrder { field: ImageOrderField::CreatedAt, direction: OrderDirection::Desc }
    }
}
