//! The query root.

use async_graphql::{ComplexObject, Context, ID, Object, SimpleObject};

use crate::content::detect::IMAGE_MIME_TYPES;
use crate::error::Error;
use crate::graphql::cost::{QueryCost, RateLimit};
use crate::graphql::error::{from_loader, top_level};
use crate::graphql::loader::ImageByFile;
use crate::graphql::rows::{LoadRows, Row, selected_columns};
use crate::graphql::types::cloudflare_account::CloudflareAccount;
use crate::graphql::types::connection::{connection, page_args};
use crate::graphql::types::direct_upload::{DirectUpload, UploadTransport};
use crate::graphql::types::file::{File, FileConnection, FileOrder, list_files};
use crate::graphql::types::filter::{FileFilter, ImageFilter};
use crate::graphql::types::image::{Image, ImageConnection, ImageOrder, ImageVariant, list_images};
use crate::graphql::types::node::{NodeRow, find_nodes};
use crate::graphql::types::scalar::ByteSize;
use crate::graphql::types::viewer::Viewer;
use crate::graphql::types::workspace::{Workspace, WorkspaceConnection, WorkspaceOrder, list_workspaces};
use crate::graphql::{ContextExt, parse_id, semanticNonNull};
use crate::id::{AnyId, DirectUploadId, FileId, ImageId, WorkspaceId};
use crate::image;
use crate::query::page::MAX_PAGE;
use cloudflare_images::wire;

/// A nullable item that is null, beside an error, if it failed.
type Fallible<T> = Option<async_graphql::Result<T>>;

/// Root of all reads.
pub struct Query;

/// Root of all reads.
#[Object]
impl Query {
    /// Fetch any object by id. Null when it does not exist or the caller may not see it.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Prefixed id.")] id: ID,
    ) -> Option<async_graphql::Result<NodeRow>> {
        let found = match parse_id(&id, "id") {
            Ok(id) => find_nodes(ctx, &[id]).await.pop().flatten().transpose().map_err(from_loader),
            Err(problem) => Err(top_level(problem)),
        };
        found.transpose()
    }

    /// Fetch up to 100 objects by id, in the order asked for, with null for each one that is malformed, not found or
    /// not visible.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Prefixed ids.")] ids: Vec<ID>,
    ) -> Option<async_graphql::Result<Vec<Fallible<NodeRow>>>> {
        Some(find_given_nodes(ctx, &ids).await)
    }

    /// The authenticated caller.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn viewer(&self, ctx: &Context<'_>) -> Option<Viewer> {
        Some(Viewer(ctx.viewer().clone()))
    }

    /// One workspace.
    async fn workspace(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`wsp_` id.")] id: ID,
    ) -> Option<async_graphql::Result<Row<Workspace>>> {
        find_row(ctx, parse_id::<WorkspaceId>(&id, "id")).await
    }

    /// Workspaces the caller is a member of; admins see all.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn workspaces(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
        #[graphql(
            desc = "Sort order; ties are broken by id.",
            default_with = "Some(WorkspaceOrder::default())"
        )]
        order_by: Option<WorkspaceOrder>,
    ) -> Option<async_graphql::Result<Row<WorkspaceConnection>>> {
        let page = page_args(first, after, last, before);
        connection(list_workspaces(ctx, page, order_by.unwrap_or_default()).await)
    }

    /// One file.
    async fn file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`fil_` id.")] id: ID,
    ) -> Option<async_graphql::Result<Row<File>>> {
        find_row(ctx, parse_id::<FileId>(&id, "id")).await
    }

    /// Files in one workspace, or in every workspace the caller may see.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn files(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this workspace.")] workspace_id: Option<ID>,
        #[graphql(desc = "Only these files, at most 100. Narrows the caller's scope, never widens it.")] ids: Option<Vec<ID>>,
        #[graphql(desc = "Conditions, all of which must hold.")] filter: Option<FileFilter>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
        #[graphql(desc = "Sort order; ties are broken by id.", default_with = "Some(FileOrder::default())")]
        order_by: Option<FileOrder>,
    ) -> Option<async_graphql::Result<Row<FileConnection>>> {
        let page = page_args(first, after, last, before);
        let list = async {
            let workspace = workspace_id.map(|id| parse_id(&id, "workspaceId")).transpose()?;
            list_files(ctx, workspace, ids, filter, page, order_by).await
        };
        connection(list.await)
    }

    /// One image.
    async fn image(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`img_` id.")] id: ID,
    ) -> Option<async_graphql::Result<Row<Image>>> {
        find_row(ctx, parse_id::<ImageId>(&id, "id")).await
    }

    /// The image of a file, if it has one.
    async fn image_by_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`fil_` id.")] file_id: ID,
    ) -> Option<async_graphql::Result<Row<Image>>> {
        find_row(ctx, parse_id::<FileId>(&file_id, "fileId").map(ImageByFile)).await
    }

    /// Images in one workspace, or in every workspace the caller may see.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn images(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this workspace.")] workspace_id: Option<ID>,
        #[graphql(desc = "Only these images, at most 100. Narrows the caller's scope, never widens it.")] ids: Option<Vec<ID>>,
        #[graphql(desc = "Conditions, all of which must hold.")] filter: Option<ImageFilter>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
        #[graphql(desc = "Sort order; ties are broken by id.", default_with = "Some(ImageOrder::default())")]
        order_by: Option<ImageOrder>,
    ) -> Option<async_graphql::Result<Row<ImageConnection>>> {
        let page = page_args(first, after, last, before);
        let list = async {
            let workspace = workspace_id.map(|id| parse_id(&id, "workspaceId")).transpose()?;
            list_images(ctx, workspace, ids, filter, page, order_by).await
        };
        connection(list.await)
    }

    /// Named delivery variants of the account (at most 100).
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn variants(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Vec<ImageVariant>>> {
        let variants = image::rendition::variants(ctx.app()).await.map_err(top_level);
        Some(variants.map(|variants| variants.iter().map(Into::into).collect()))
    }

    /// The Cloudflare Images account behind this server. Null for callers who are not admins.
    async fn cloudflare_account(&self, ctx: &Context<'_>) -> Option<CloudflareAccount> {
        ctx.viewer().manages_server().then_some(CloudflareAccount)
    }

    /// One direct upload.
    async fn direct_upload(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`upl_` id.")] id: ID,
    ) -> Option<async_graphql::Result<Row<DirectUpload>>> {
        find_row(ctx, parse_id::<DirectUploadId>(&id, "id")).await
    }

    /// Limits and settings that clients need to know.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn server(&self, ctx: &Context<'_>) -> Option<ServerInfo> {
        let config = &ctx.app().config;
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        Some(ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            emulated: config.emulated(),
            max_multipart_size: ByteSize(config.max_file_size),
            max_image_size: ByteSize(wire::MAX_IMAGE_BYTES),
            max_file_size: ByteSize(config.max_file_size),
            image_mime_types: IMAGE_MIME_TYPES.map(str::to_owned).to_vec(),
            upload_transports: vec![UploadTransport::FormPost, UploadTransport::Put],
            max_page_size: i32::try_from(MAX_PAGE).unwrap_or(i32::MAX),
            max_query_complexity: count(config.highest_cost()),
            max_query_depth: count(config.max_depth),
        })
    }

    /// Cost of this request and the points left. Null when rate limits are off.
    async fn rate_limit(&self, ctx: &Context<'_>) -> Option<RateLimit> {
        ctx.data_opt::<QueryCost>()?.0.map(Into::into)
    }
}

/// Limits and settings of the server.
#[derive(Debug, Clone, SimpleObject)]
#[graphql(complex)]
pub struct ServerInfo {
    /// Version of the server.
    version: String,
    /// True when image calls go to the built-in emulator and not to a Cloudflare account.
    emulated: bool,
    /// Largest file of a multipart request.
    max_multipart_size: ByteSize,
    /// Largest file that can become an image.
    max_image_size: ByteSize,
    /// Largest file.
    max_file_size: ByteSize,
    /// Types that become images.
    image_mime_types: Vec<String>,
    /// Ways to send bytes without an API token.
    upload_transports: Vec<UploadTransport>,
    /// Most items of one page.
    max_page_size: i32,
    /// Highest cost of a query.
    max_query_complexity: i32,
    /// Deepest nesting of a query.
    max_query_depth: i32,
}

/// Limits and settings of the server.
#[ComplexObject]
impl ServerInfo {
    /// Whether transformations by URL, `rendition(transform:)`, are available. Null, with an error, only while the
    /// image service does not answer.
    #[graphql(directive = semanticNonNull::apply(None))]
    async fn flexible_variants(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<bool>> {
        Some(image::rendition::flexible_variants(ctx.app()).await.map_err(top_level))
    }
}

/// A row by its key.
async fn find_row<K, T>(ctx: &Context<'_>, key: Result<K, Error>) -> Fallible<Row<T>>
where
    T: LoadRows<K>,
{
    let columns = selected_columns::<T>(ctx);
    let found = async { Ok(T::load(ctx, vec![key?], &columns).await?.pop().map(|(_, row)| row)) };
    found.await.map_err(top_level).transpose().map(|row| row.map(Row))
}

async fn find_given_nodes(ctx: &Context<'_>, ids: &[ID]) -> async_graphql::Result<Vec<Fallible<NodeRow>>> {
    if ids.len() as u64 > MAX_PAGE {
        let message = format!("At most {MAX_PAGE} ids are accepted.");
        return Err(top_level(Error::invalid("ids", message)));
    }
    // A malformed id has null in its place.
    let parsed: Vec<Option<AnyId>> = ids.iter().map(|id| id.parse().ok()).collect();
    let known: Vec<AnyId> = parsed.iter().flatten().copied().collect();
    let mut found = find_nodes(ctx, &known).await.into_iter();
    let mut nodes = Vec::with_capacity(parsed.len());
    for id in parsed {
        let node = if id.is_some() { found.next().flatten() } else { None };
        nodes.push(match node {
            // A refusal concerns the objects of this type; a fault concerns all.
            Some(Err(problem)) if !matches!(*problem, Error::Refusal(_)) => return Err(from_loader(problem)),
            other => other.map(|node| node.map_err(from_loader)),
        });
    }
    Ok(nodes)
}
