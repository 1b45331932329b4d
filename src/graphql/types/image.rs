//! `Image`, its renditions, and the account's variants.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, SimpleObject};
use row_object::row_object;

use crate::content::{photo, placeholder};
use crate::delivery::{self, fit::Fit};
use crate::entity::api_token::Scope;
use crate::entity::image;
use crate::entity::json_text::JsonText;
use crate::entity::workspace::ExifPolicy;
use crate::error::{Error, Result};
use crate::graphql::context::parse_ids;
use crate::graphql::error::{from_loader, top_level};
use crate::graphql::rows::{ListSelection, related_columns_of_items};
use crate::graphql::types::connection::{OrderDirection, TotalCount};
use crate::graphql::types::file::File;
use crate::graphql::types::filter::ImageFilter;
use crate::graphql::types::photo::{FocalPoint, PhotoInfo};
use crate::graphql::types::scalar::{ByteSize, DateTime, Id, JsonRef, Url, UrlText};
use crate::graphql::types::transform::{
    ImageRendition, ImageSrcSet, ImageTransformInput, TransformFit, TransformMetadata,
};
use crate::graphql::types::workspace::Workspace;
use crate::graphql::{ContextExt, semanticNonNull};
use crate::id::{FileId, ImageId, WorkspaceId};
use crate::image as images;
use crate::image::rendition::{DeliveryFacts, RenditionRequest, Renditions, SrcSetRequest};
use crate::query::page::{ListOrder, Page, PageArgs, PageSelection};
use cloudflare_images::wire;

/// The projection of an `image/*` file that has been provisioned into Cloudflare Images.
/// It exists only once provisioned, so what the image service supplies is never null.
pub struct Image(pub image::Model);

/// The projection of an `image/*` file that has been provisioned into Cloudflare Images.
/// It exists only once provisioned, so what the image service supplies is never null.
#[row_object(image)]
impl Image {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<ImageId> {
        Id(self.0.id)
    }

    /// Id of the underlying file.
    async fn file_id(&self) -> Id<FileId> {
        Id(self.0.file_id)
    }

    /// The underlying file.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[relation(File)]
    async fn file(&self) -> Option<FileId> {
        Some(self.0.file_id)
    }

    /// Id of the workspace it belongs to.
    async fn workspace_id(&self) -> Id<WorkspaceId> {
        Id(self.0.workspace_id)
    }

    /// The workspace it belongs to.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[relation(Workspace)]
    async fn workspace(&self) -> Option<WorkspaceId> {
        Some(self.0.workspace_id)
    }

    /// Id in Cloudflare Images. Not a stable identity: it changes when `requireSignedUrls` changes and when the image
    /// is provisioned again.
    async fn cf_image_id(&self) -> &str {
        self.0.cf_image_id.as_deref().unwrap_or_default()
    }

    /// Pixels of the image as displayed: after EXIF rotation, for HEIC after its clean aperture and rotation. Null for
    /// vector images without an intrinsic size.
    async fn width(&self) -> Option<i32> {
        self.0.width
    }

    /// Pixels of the image as displayed: after EXIF rotation, for HEIC after its clean aperture and rotation. Null for
    /// vector images without an intrinsic size.
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

    /// Raw EXIF as the workspace's policy kept it when the image was created: an object from tag names to strings,
    /// numbers, or lists of numbers. For typed access use `photo`.
    async fn exif(&self) -> Option<JsonRef<'_>> {
        self.0.exif.as_ref().map(JsonRef)
    }

    /// Delivery URL of the `public` variant, signed for an image that requires it. Expiry is rounded to a fixed window,
    /// so that the URL is stable and can be cached. Where `public` keeps metadata that the workspace's `exifPolicy`
    /// does not allow, the URL of the closest variant that does not. Null, with an error, only while the image service
    /// does not provide the signing key, and when there is no such variant.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[page]
    #[columns(DeliveryFacts::URL_COLUMNS)]
    async fn url(
        rows: &[&Image],
        ctx: &Context<'_>,
    ) -> impl Fn(&Image) -> Option<async_graphql::Result<UrlText>> {
        let facts = facts(rows, ctx, Renditions::Public).await;
        let whole = whole_rows(ctx, rows.iter().filter(|image| facts.replaces_public(&image.0))).await;
        move |image: &Image| {
            let row = match &whole {
                Ok(whole) => whole.get(&image.0.id).unwrap_or(&image.0),
                Err(problem) if facts.replaces_public(&image.0) => return Some(Err(problem.clone())),
                Err(_) => &image.0,
            };
            Some(facts.url(row).map(|(url, _)| UrlText(url)).map_err(top_level))
        }
    }

    /// When `url` expires. Null for a public image.
    #[page]
    #[columns(require_signed_urls)]
    async fn url_expires_at(_rows: &[&Image], ctx: &Context<'_>) -> impl Fn(&Image) -> Option<DateTime> {
        let app = ctx.app();
        let expiry = DateTime(delivery::expiry(app.clock.now(), app.config.signed_url_ttl));
        move |image: &Image| image.0.require_signed_urls.then_some(expiry)
    }

    /// One sized version: its URL and its size in pixels. Give `variant` or `transform`, not both.
    /// Vector images are never resized: every version of one is the whole image.
    ///
    /// A transformation is not available for a private image, while flexible variants are off, and where the result would be
    /// too large for this image. A variant that keeps metadata is not available where the workspace's `exifPolicy` does not
    /// allow it. Then the closest variant is returned, with `exact: false`: the smallest named variant that shows the whole
    /// image and covers the requested size, or else the largest, signed if necessary. Null without an error when there is
    /// none, and for a transformation that changes the picture (`blur`, `brightness`, `contrast`, `gamma`, `saturation`,
    /// `rotate`, `flip`, `animated: false`), which no variant can replace.
    #[page(nested)]
    #[columns(DeliveryFacts::COLUMNS)]
    async fn rendition(
        rows: &[&Image],
        ctx: &Context<'_>,
        #[graphql(desc = "Name of a variant.")] variant: Option<String>,
        #[graphql(
            desc = "Transformation: exact where flexible variants are on and the image is not private."
        )]
        transform: Option<ImageTransformInput>,
        #[graphql(desc = "Seconds a signed URL stays valid at least, 60-604800. Default: the server's.")]
        expires_in: Option<i32>,
    ) -> impl Fn(&Image) -> Option<async_graphql::Result<ImageRendition>> {
        let (transform, expires_in) = (transform.map(Into::into), expires_in.map(i64::from));
        let request = RenditionRequest { variant, transform, expires_in };
        let facts = facts(rows, ctx, Renditions::Requested(&request)).await;
        move |image: &Image| {
            let made = facts.rendition(&image.0, &request).map_err(top_level).transpose();
            made.map(|made| made.map(Into::into))
        }
    }

    /// All named variants of this image, except those that keep metadata which the workspace's `exifPolicy` does not
    /// allow.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[page(nested)]
    #[columns(DeliveryFacts::COLUMNS)]
    async fn renditions(
        rows: &[&Image],
        ctx: &Context<'_>,
        #[graphql(desc = "Seconds a signed URL stays valid at least, 60-604800. Default: the server's.")]
        expires_in: Option<i32>,
    ) -> impl Fn(&Image) -> Option<async_graphql::Result<Vec<ImageRendition>>> {
        let expires_in = expires_in.map(i64::from);
        let facts = facts(rows, ctx, Renditions::AllVariants).await;
        move |image: &Image| {
            let all = facts.renditions(&image.0, expires_in).map_err(top_level);
            Some(all.map(|all| all.into_iter().map(Into::into).collect()))
        }
    }

    /// The attributes of an `<img>`: src, srcset, sizes, width, height. For private images, and while flexible variants
    /// are off, the candidates are the named variants that show the whole image, those nearest to `widths`. Null
    /// without an error when there is none, and where no variant can replace `transform`: see `rendition`.
    #[page(nested)]
    #[columns(DeliveryFacts::COLUMNS)]
    async fn src_set(
        rows: &[&Image],
        ctx: &Context<'_>,
        #[graphql(
            desc = "Widths in pixels, 1-12000; those above the original are dropped. Up to 12.",
            default_with = "Some(vec![320, 640, 960, 1280, 1920])"
        )]
        widths: Option<Vec<i32>>,
        #[graphql(desc = "`sizes` attribute, passed through.", default_with = "Some(\"100vw\".to_owned())")]
        sizes: Option<String>,
        #[graphql(
            desc = "Transformation applied to each, where flexible variants are on and the image is not private. Its `width` and `height` set the aspect ratio; without `fit` the image is cropped to it."
        )]
        transform: Option<ImageTransformInput>,
        #[graphql(desc = "Seconds a signed URL stays valid at least, 60-604800. Default: the server's.")]
        expires_in: Option<i32>,
    ) -> impl Fn(&Image) -> Option<async_graphql::Result<ImageSrcSet>> {
        let request = SrcSetRequest {
            widths: widths.unwrap_or_else(|| vec![320, 640, 960, 1280, 1920]),
            sizes: sizes.unwrap_or_else(|| "100vw".to_owned()),
            transform: transform.map(Into::into),
            expires_in: expires_in.map(i64::from),
        };
        let facts = facts(rows, ctx, Renditions::SrcSet(&request)).await;
        move |image: &Image| {
            let made = facts.src_set(&image.0, &request).map_err(top_level).transpose();
            made.map(|made| made.map(Into::into))
        }
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

    /// Some pixel of the first frame is at least partly transparent. Null before the analysis, and for vector images
    /// and HEIC.
    async fn has_alpha(&self) -> Option<bool> {
        self.0.has_alpha
    }

    /// Alternative text for people who do not see the image. The empty string marks a decorative image.
    #[columns(alt, alt_sent)]
    async fn alt(&self) -> Option<&str> {
        self.0.shown_alt()
    }

    /// Base64 ThumbHash, about 30 characters. Null before the analysis, and for vector images and HEIC.
    async fn thumbhash(&self) -> Option<String> {
        self.0.thumbhash.as_deref().map(placeholder::to_base64)
    }

    /// BlurHash, about 30 characters. Null before the analysis, and for vector images and HEIC.
    async fn blurhash(&self) -> Option<&str> {
        self.0.blurhash.as_deref()
    }

    /// Placeholder as a `data:` URL of about 500 bytes. Null before the analysis, and for vector images and HEIC.
    async fn placeholder(&self) -> Option<Url> {
        self.0.thumbhash.as_deref().and_then(placeholder::data_url).map(Url)
    }

    /// Dominant colour as `#rrggbb`, in sRGB. Null before the analysis, and for vector images and HEIC.
    async fn dominant_color(&self) -> Option<&str> {
        self.0.dominant_color.as_deref()
    }

    /// Up to six colours as `#rrggbb` in sRGB, most frequent first. Empty before the analysis, and for vector images
    /// and HEIC.
    async fn palette(&self) -> &[String] {
        &self.0.palette.0
    }

    /// Point that crops keep in view.
    #[nested]
    #[columns(focal_x, focal_y)]
    async fn focal_point(&self) -> Option<FocalPoint> {
        self.0.focal_point().map(Into::into)
    }

    /// Camera data in typed form. Null when the file has none, and when the workspace's policy dropped it.
    #[nested]
    async fn photo(&self) -> Option<PhotoInfo> {
        let exif = self.0.exif.as_ref().map(JsonText::value);
        photo::from_exif(exif.as_ref()).map(Into::into)
    }

    /// The image service's `creator` field.
    async fn creator(&self) -> Option<&str> {
        self.0.creator.as_deref()
    }

    /// Metadata kept with the image service: a JSON object of at most 978 bytes.
    async fn cf_metadata(&self) -> Option<JsonRef<'_>> {
        self.0.cf_metadata.as_ref().map(JsonRef)
    }

    /// Deliver only through signed URLs.
    async fn require_signed_urls(&self) -> bool {
        self.0.require_signed_urls
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// What the renditions of a page of images depend on.
async fn facts(rows: &[&Image], ctx: &Context<'_>, renditions: Renditions<'_>) -> DeliveryFacts {
    let images: Vec<&image::Model> = rows.iter().map(|image| &image.0).collect();
    // By the loader, which several fields share.
    let keeping_all = async |workspaces: HashSet<WorkspaceId>| {
        let found = ctx.loaders().load_many(workspaces).await.inspect_err(|problem| problem.log());
        let found = found.unwrap_or_default().into_values();
        found
            .filter(|workspace| workspace.exif_policy == ExifPolicy::KeepAll)
            .map(|workspace| workspace.id)
            .collect()
    };
    DeliveryFacts::fetch(ctx.app(), &images, renditions, keeping_all).await
}

/// The rows of some images with all columns, by the loader. A viewer who may not read images has them from a write, which returns
/// whole rows, so that none is loaded.
async fn whole_rows<'a>(
    ctx: &Context<'_>,
    images: impl Iterator<Item = &'a &'a Image>,
) -> async_graphql::Result<HashMap<ImageId, image::Model>> {
    let ids: Vec<ImageId> = images.map(|image| image.0.id).collect();
    if ids.is_empty() || ctx.viewer().require(Scope::ImagesRead).is_err() {
        return Ok(HashMap::new());
    }
    ctx.loaders().load_many(ids).await.map_err(from_loader)
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

/// A named delivery variant of the account.
#[derive(Debug, Clone, SimpleObject)]
pub struct ImageVariant {
    /// Name as it appears in delivery URLs.
    name: String,
    /// How an image is fitted to the box. Null for a setting that this schema does not know.
    fit: Option<TransformFit>,
    /// Width of the box in pixels. Null when the variant does not limit it.
    width: Option<i32>,
    /// Height of the box in pixels. Null when the variant does not limit it.
    height: Option<i32>,
    /// What metadata the delivered image keeps. URLs of a variant with `KEEP` are returned only for workspaces whose
    /// `exifPolicy` is `KEEP_ALL`. Null for a setting that this schema does not know.
    metadata: Option<TransformMetadata>,
    /// Delivered without a signature even for private images.
    never_require_signed_urls: bool,
}

impl From<&wire::Variant> for ImageVariant {
    fn from(variant: &wire::Variant) -> Self {
        let side = |side: u32| i32::try_from(side).ok();
        ImageVariant {
            name: variant.id.clone(),
            fit: variant.options.fit.known().map(|fit| Fit::from(fit).into()),
            width: variant.options.width.and_then(side),
            height: variant.options.height.and_then(side),
            metadata: variant.options.metadata.known().map(Into::into),
            never_require_signed_urls: variant.never_require_signed_urls,
        }
    }
}

/// Order of images.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct ImageOrder {
    /// Sort key.
    pub field: ImageOrderField,
    /// Sort direction.
    pub direction: OrderDirection,
}

/// Sort keys of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ImageOrderField {
    /// When it was created.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
    /// Name of the file in Unicode's composed form, byte by byte.
    Filename,
    /// Bytes of the original.
    Size,
    /// Pixels; an image without a width sorts as 0.
    Width,
    /// Pixels; an image without a height sorts as 0.
    Height,
    /// When the photo was taken; an image without that EXIF sorts as the oldest.
    TakenAt,
}

impl Default for ImageOrder {
    fn default() -> Self {
        ImageOrder { field: ImageOrderField::CreatedAt, direction: OrderDirection::Desc }
    }
}

sized_connection!(ImageConnection, ImageEdge, Image, image, "A page of images.", "An image in a page.");

connections_by_workspace!(ImageConnection, image);

/// A page of images.
pub async fn list_images(
    ctx: &Context<'_>,
    workspace_id: Option<WorkspaceId>,
    ids: Option<Vec<ID>>,
    filter: Option<ImageFilter>,
    page: PageArgs,
    order: Option<ImageOrder>,
) -> Result<ImageConnection> {
    let list = list(workspace_id, ids, filter, page, order)?;
    let selection = ListSelection::of::<Image>(ctx).into();
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let page = match list_with_files(ctx, &list, &selection).await? {
        Some(page) => page,
        None => images::list(app, viewer, list.clone(), &selection).await?,
    };
    let (app, viewer) = (app.clone(), Arc::clone(viewer));
    let total = TotalCount::of_list(async move { images::count(&app, &viewer, &list).await });
    Ok(ImageConnection::new(page, total))
}

/// A page of images that was read together with their files, which the relation finds. `None` if they are not selected, if the
/// viewer may not read them, and if that fails: the page is then read alone, so that only the field has an error.
async fn list_with_files(
    ctx: &Context<'_>,
    list: &images::ImageList,
    selection: &PageSelection<image::Column>,
) -> Result<Option<Page<image::Entity>>> {
    let Some(of_file) = related_columns_of_items::<Image, File>(ctx, "file") else { return Ok(None) };
    if ctx.viewer().require(Scope::FilesRead).is_err() {
        return Ok(None);
    }
    match images::list_with_files(ctx.app(), ctx.viewer(), list.clone(), selection, &of_file).await {
        Ok((page, files)) => {
            ctx.loaders().loader().keep_joined(of_file, files);
            Ok(Some(page))
        }
        Err(Error::Fault { .. }) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// A page of the images of each of these workspaces.
pub async fn images_by_workspace(
    ctx: &Context<'_>,
    workspaces: &[WorkspaceId],
    ids: Option<Vec<ID>>,
    filter: Option<ImageFilter>,
    page: PageArgs,
    order: Option<ImageOrder>,
) -> Result<HashMap<WorkspaceId, ImageConnection>> {
    let list = list(None, ids, filter, page, order)?;
    let selection = ListSelection::of::<Image>(ctx).into();
    let (app, viewer, order) = (ctx.app(), ctx.viewer(), list.order);
    let pages = images::list_by_workspace(app, viewer, workspaces, list.clone(), &selection).await?;
    let (app, viewer, of) = (app.clone(), Arc::clone(viewer), workspaces.to_vec());
    let total = async move { images::count_by_workspace(&app, &viewer, &of, &list).await };
    let total = TotalCount::of_workspaces(total);
    Ok(ImageConnection::by_workspace(workspaces, pages, order, total))
}

/// The arguments of a list.
fn list(
    workspace_id: Option<WorkspaceId>,
    ids: Option<Vec<ID>>,
    filter: Option<ImageFilter>,
    page: PageArgs,
    order: Option<ImageOrder>,
) -> Result<images::ImageList> {
    let order = order.unwrap_or_default();
    let by = match order.field {
        ImageOrderField::CreatedAt => images::BY_CREATION,
        ImageOrderField::UpdatedAt => images::BY_UPDATE,
        ImageOrderField::Filename => images::BY_FILENAME,
        ImageOrderField::Size => images::BY_SIZE,
        ImageOrderField::Width => images::BY_WIDTH,
        ImageOrderField::Height => images::BY_HEIGHT,
        ImageOrderField::TakenAt => images::BY_TAKEN,
    };
    Ok(images::ImageList {
        workspace_id,
        ids: parse_ids(ids)?,
        filter: filter.unwrap_or_default().decode()?,
        page,
        order: ListOrder { descending: order.direction == OrderDirection::Desc, ..by },
    })
}
