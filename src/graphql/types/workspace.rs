//! `Workspace`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, SimpleObject};
use row_object::{RowObject, row_object};

use crate::entity::{membership, workspace, workspace_usage};
use crate::error::Result;
use crate::graphql::error::from_loader;
use crate::graphql::loader::UsageByWorkspace;
use crate::graphql::rows::ListSelection;
use crate::graphql::types::api_token::{ApiTokenConnection, tokens_by_workspace};
use crate::graphql::types::connection::{ByWorkspace, OrderDirection, TotalCount, page_args};
use crate::graphql::types::file::{FileConnection, FileOrder, files_by_workspace};
use crate::graphql::types::filter::{FileFilter, ImageFilter};
use crate::graphql::types::image::{ImageConnection, ImageOrder, images_by_workspace};
use crate::graphql::types::scalar::{ByteSize, DateTime, Id};
use crate::graphql::types::workspace_member::{WorkspaceMemberConnection, members_by_workspace};
use crate::graphql::types::workspace_policy::WorkspacePolicy;
use crate::graphql::{ContextExt, semanticNonNull};
use crate::id::WorkspaceId;
use crate::query::page::{ListOrder, PageArgs};
use crate::{api_token as tokens, workspace as workspaces};

/// A tenant: the unit of membership and isolation.
pub struct Workspace(pub workspace::Model);

/// A tenant: the unit of membership and isolation.
#[row_object(workspace)]
impl Workspace {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<WorkspaceId> {
        Id(self.0.id)
    }

    /// Display name.
    #[columns(name, name_sent)]
    async fn name(&self) -> &str {
        self.0.shown_name()
    }

    /// The caller's role here. Null for an admin who is not a member.
    #[page]
    #[columns(id)]
    async fn viewer_role(
        _rows: &[&Workspace],
        ctx: &Context<'_>,
    ) -> impl Fn(&Workspace) -> Option<WorkspaceRole> {
        let viewer = Arc::clone(ctx.viewer());
        move |workspace: &Workspace| viewer.role_in(workspace.0.id).map(Into::into)
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }

    /// Rules applied to new uploads.
    #[page(nested)]
    #[columns(allowed_mime_types, max_file_size, private_by_default, exif_policy, on_duplicate, trash_days)]
    async fn policy(_rows: &[&Workspace], ctx: &Context<'_>) -> impl Fn(&Workspace) -> WorkspacePolicy {
        let app = ctx.app().clone();
        move |workspace: &Workspace| WorkspacePolicy::of(&app, &workspace.0)
    }

    /// Members and their roles, longest membership first.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[page(row)]
    #[columns(id)]
    async fn members(
        rows: &[&Workspace],
        ctx: &Context<'_>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
    ) -> impl Fn(&Workspace) -> Option<async_graphql::Result<WorkspaceMemberConnection>> {
        let page = page_args(first, after, last, before);
        let lists = ByWorkspace::new(members_by_workspace(ctx, &ids_of(rows), page).await);
        move |workspace: &Workspace| lists.of(workspace.0.id)
    }

    /// API tokens limited to this workspace, newest first. Null for callers who are neither owner nor admin.
    #[page(row)]
    #[columns(id)]
    async fn api_tokens(
        rows: &[&Workspace],
        ctx: &Context<'_>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
    ) -> impl Fn(&Workspace) -> Option<async_graphql::Result<ApiTokenConnection>> {
        let page = page_args(first, after, last, before);
        let managed: Vec<WorkspaceId> =
            ids_of(rows).into_iter().filter(|id| tokens::may_list(ctx.viewer(), *id)).collect();
        let lists = match managed.is_empty() {
            true => Ok(HashMap::new()),
            false => tokens_by_workspace(ctx, &managed, page).await,
        };
        let lists = ByWorkspace::new(lists);
        let viewer = Arc::clone(ctx.viewer());
        move |workspace: &Workspace| {
            lists.of(workspace.0.id).filter(|_| tokens::may_list(&viewer, workspace.0.id))
        }
    }

    /// Usage, from counters that are always up to date.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[page(nested)]
    #[columns(id)]
    async fn usage(
        rows: &[&Workspace],
        ctx: &Context<'_>,
    ) -> impl Fn(&Workspace) -> Option<async_graphql::Result<Usage>> {
        let found = ctx.loaders().load_many(ids_of(rows).into_iter().map(UsageByWorkspace)).await;
        let (found, now) = (found.map_err(from_loader), ctx.app().clock.now());
        move |workspace: &Workspace| {
            let found = found.as_ref().map_err(Clone::clone);
            Some(found.map(|found| Usage::new(found.get(&UsageByWorkspace(workspace.0.id)), now)))
        }
    }

    /// Files of this workspace.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[page(row)]
    #[columns(id)]
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn files(
        rows: &[&Workspace],
        ctx: &Context<'_>,
        #[graphql(desc = "Only these files.")] ids: Option<Vec<ID>>,
        #[graphql(desc = "Conditions, all of which must hold.")] filter: Option<FileFilter>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
        #[graphql(desc = "Sort order; ties are broken by id.", default_with = "Some(FileOrder::default())")]
        order_by: Option<FileOrder>,
    ) -> impl Fn(&Workspace) -> Option<async_graphql::Result<FileConnection>> {
        let page = page_args(first, after, last, before);
        let lists = files_by_workspace(ctx, &ids_of(rows), ids, filter, page, order_by).await;
        let lists = ByWorkspace::new(lists);
        move |workspace: &Workspace| lists.of(workspace.0.id)
    }

    /// Images of this workspace.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[page(row)]
    #[columns(id)]
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn images(
        rows: &[&Workspace],
        ctx: &Context<'_>,
        #[graphql(desc = "Only these images.")] ids: Option<Vec<ID>>,
        #[graphql(desc = "Conditions, all of which must hold.")] filter: Option<ImageFilter>,
        #[graphql(desc = "Page size going forward, 1-100. Neither `first` nor `last` given means 100.")]
        first: Option<i32>,
        #[graphql(desc = "Return items after this cursor.")] after: Option<String>,
        #[graphql(desc = "Page size going backward, 1-100.")] last: Option<i32>,
        #[graphql(desc = "Return items before this cursor.")] before: Option<String>,
        #[graphql(desc = "Sort order; ties are broken by id.", default_with = "Some(ImageOrder::default())")]
        order_by: Option<ImageOrder>,
    ) -> impl Fn(&Workspace) -> Option<async_graphql::Result<ImageConnection>> {
        let page = page_args(first, after, last, before);
        let lists = images_by_workspace(ctx, &ids_of(rows), ids, filter, page, order_by).await;
        let lists = ByWorkspace::new(lists);
        move |workspace: &Workspace| lists.of(workspace.0.id)
    }
}

/// The workspaces of a page, each once.
fn ids_of(rows: &[&Workspace]) -> Vec<WorkspaceId> {
    let ids: BTreeSet<WorkspaceId> = rows.iter().map(|workspace| workspace.0.id).collect();
    ids.into_iter().collect()
}

/// Usage of a workspace, and its quotas.
#[derive(Debug, Clone, SimpleObject, RowObject)]
pub struct Usage {
    /// Files, those in the trash included.
    file_count: i32,
    /// Bytes of all files; files that share stored bytes are counted separately.
    file_bytes: ByteSize,
    /// Always null: there are no quotas.
    file_bytes_quota: Option<ByteSize>,
    /// Images in the image service.
    image_count: i32,
    /// Always null: there are no quotas.
    image_count_quota: Option<i32>,
    /// Bytes of the files in the trash, which are counted above too.
    trashed_bytes: ByteSize,
    /// When these numbers were read.
    measured_at: DateTime,
}

impl Usage {
    fn new(usage: Option<&workspace_usage::Model>, now: chrono::DateTime<chrono::Utc>) -> Self {
        let count = |n: Option<i64>| i32::try_from(n.unwrap_or_default()).unwrap_or(i32::MAX);
        Usage {
            file_count: count(usage.map(|usage| usage.file_count)),
            file_bytes: usage.map_or(0, |usage| usage.file_bytes).into(),
            file_bytes_quota: None,
            image_count: count(usage.map(|usage| usage.image_count)),
            image_count_quota: None,
            trashed_bytes: usage.map_or(0, |usage| usage.trashed_bytes).into(),
            measured_at: DateTime(now),
        }
    }
}

/// Role inside one workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "membership::Role")]
pub enum WorkspaceRole {
    /// Can read.
    Viewer,
    /// Can read, upload, edit and delete.
    Editor,
    /// Can also manage members, tokens and policy.
    Owner,
}

/// Order of workspaces.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct WorkspaceOrder {
    /// Sort key.
    pub field: WorkspaceOrderField,
    /// Sort direction.
    pub direction: OrderDirection,
}

/// Sort keys of workspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum WorkspaceOrderField {
    /// Display name, byte by byte.
    Name,
    /// When it was created.
    CreatedAt,
}

impl Default for WorkspaceOrder {
    fn default() -> Self {
        WorkspaceOrder { field: WorkspaceOrderField::Name, direction: OrderDirection::Asc }
    }
}

connection!(
    WorkspaceConnection,
    WorkspaceEdge,
    Workspace,
    workspace,
    "A page of workspaces.",
    "A workspace in a page."
);

/// A page of the caller's workspaces.
pub async fn list_workspaces(
    ctx: &Context<'_>,
    page: PageArgs,
    order: WorkspaceOrder,
) -> Result<WorkspaceConnection> {
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let by = match order.field {
        WorkspaceOrderField::Name => workspaces::BY_NAME,
        WorkspaceOrderField::CreatedAt => workspaces::BY_CREATION,
    };
    let list = workspaces::WorkspaceList {
        page,
        order: ListOrder { descending: order.direction == OrderDirection::Desc, ..by },
    };
    let selection = ListSelection::of::<Workspace>(ctx).into();
    let page = workspaces::list(app, viewer, list, &selection).await?;
    let (app, viewer) = (app.clone(), Arc::clone(viewer));
    let total = TotalCount::of_list(async move { workspaces::count(&app, &viewer).await });
    Ok(WorkspaceConnection::new(page, total))
}
