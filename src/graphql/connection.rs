//! Relay connections, written once for every list.

use std::sync::Arc;

use async_graphql::{Context, Enum, Object};
use tokio::sync::OnceCell;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::{Error, Result};
use crate::graphql::error::top_level;
use crate::graphql::scalar::ByteSize;
use crate::graphql::{
    api_token::ApiToken, file::File, image::Image, member::WorkspaceMember, semanticNonNull,
    workspace::Workspace,
};
use crate::query::page::{Count, PageArgs};
use crate::{api_token as tokens, workspace::member as members};
use crate::{file as files, image as images, workspace as workspaces};

/// The list behind a connection, for counting it.
#[derive(Debug, Clone)]
pub enum Counted {
    Workspaces,
    Files(files::FileList),
    Images(images::ImageList),
    Members(members::MemberList),
    ApiTokens(tokens::TokenList),
}

/// How many a list has: counted when the first field asks, and then known to the others.
pub struct Total {
    app: App,
    viewer: Arc<Viewer>,
    list: Counted,
    total: OnceCell<Count>,
}

impl Total {
    /// A count yet to be made.
    pub fn of(app: &App, viewer: &Arc<Viewer>, list: Counted) -> Arc<Total> {
        Arc::new(Total { app: app.clone(), viewer: Arc::clone(viewer), list, total: OnceCell::new() })
    }

    async fn get(&self) -> Result<Count> {
        let count = async {
            match &self.list {
                Counted::Workspaces => workspaces::count(&self.app, &self.viewer).await,
                Counted::Files(list) => files::count(&self.app, &self.viewer, list).await,
                Counted::Images(list) => images::count(&self.app, &self.viewer, list).await,
                Counted::Members(list) => members::count(&self.app, &self.viewer, list).await,
                Counted::ApiTokens(list) => tokens::count(&self.app, &self.viewer, list).await,
            }
        };
        self.total.get_or_try_init(|| count).await.copied()
    }

    async fn rows(&self) -> Option<async_graphql::Result<i32>> {
        let total = self.get().await.map_err(top_level);
        Some(total.map(|total| i32::try_from(total.rows).unwrap_or(i32::MAX)))
    }
}

/// How a count was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum CountPrecision {
    /// All were counted.
    Exact,
    /// Counting stopped at the server's cap; there are at least this many.
    AtLeast,
}

/// Paging arguments as GraphQL has them.
pub fn page_args(
    first: Option<i32>,
    after: Option<String>,
    last: Option<i32>,
    before: Option<String>,
) -> PageArgs {
    PageArgs { first: first.map(i64::from), after, last: last.map(i64::from), before, until: None }
}

/// Cost of a connection: what its selection costs, times the rows it may bring.
pub fn cost(first: Option<i32>, last: Option<i32>, child: usize) -> usize {
    let rows = first.or(last).and_then(|rows| usize::try_from(rows).ok()).unwrap_or(100);
    rows.min(100).saturating_mul(child).saturating_add(1)
}

/// Whether the selection asks what lies beyond the side a page was entered from.
pub fn wants_both_ends(ctx: &Context<'_>) -> bool {
    let info = ctx.look_ahead().field("pageInfo");
    info.field("hasNextPage").exists() || info.field("hasPreviousPage").exists()
}

/// Where a page lies in its list.
pub struct PageInfo {
    pub has_next: bool,
    pub has_previous: bool,
    pub start: Option<String>,
    pub end: Option<String>,
    /// `None` for a list that nobody counts.
    pub total: Option<Arc<Total>>,
}

/// Where a page lies in its list.
#[Object]
impl PageInfo {
    /// Whether there is more after this page.
    async fn has_next_page(&self) -> bool {
        self.has_next
    }

    /// Whether there is more before this page.
    async fn has_previous_page(&self) -> bool {
        self.has_previous
    }

    /// Cursor of the first item; null for an empty page.
    async fn start_cursor(&self) -> Option<&str> {
        self.start.as_deref()
    }

    /// Cursor of the last item; null for an empty page.
    async fn end_cursor(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Same as `totalCount` of the connection; here for parity with the REST face. Relay keeps only the four
    /// cursor fields of a `@connection` up to date, so Relay clients should read `totalCount` instead.
    /// Null for the images of the Cloudflare account, which Cloudflare does not count by list.
    async fn total(&self) -> Option<async_graphql::Result<i32>> {
        self.total.as_ref()?.rows().await
    }
}

macro_rules! connection {
    ($connection:ident, $edge:ident, $node:ident, $model:ty, $page:literal, $item:literal $(, $($more:tt)+)?) => {
        #[doc = $page]
        pub struct $connection {
            rows: Vec<$edge>,
            has_next: bool,
            has_previous: bool,
            total: Arc<Total>,
        }

        impl $connection {
            /// A page as a connection.
            pub fn new(page: crate::query::page::Page<$model>, total: Arc<Total>) -> Self {
                let rows = page
                    .rows
                    .into_iter()
                    .map(|row| $edge { cursor: row.cursor, node: $node(row.model) })
                    .collect();
                Self { rows, has_next: page.has_next, has_previous: page.has_previous, total }
            }
        }

        #[doc = $page]
        #[Object]
        impl $connection {
            /// The items, each with its cursor.
            async fn edges(&self) -> &[$edge] {
                &self.rows
            }

            /// The items without their cursors.
            async fn nodes(&self) -> Vec<&$node> {
                self.rows.iter().map(|edge| &edge.node).collect()
            }

            /// Where this page lies in the list.
            async fn page_info(&self) -> PageInfo {
                PageInfo {
                    has_next: self.has_next,
                    has_previous: self.has_previous,
                    start: self.rows.first().map(|edge| edge.cursor.clone()),
                    end: self.rows.last().map(|edge| edge.cursor.clone()),
                    total: Some(Arc::clone(&self.total)),
                }
            }

            /// Matches of the whole list, not of this page. Counted only when asked for.
            #[graphql(directive = semanticNonNull::apply(None))]
            async fn total_count(&self) -> Option<async_graphql::Result<i32>> {
                self.total.rows().await
            }

            $($($more)+)?
        }

        #[doc = $item]
        pub struct $edge {
            cursor: String,
            node: $node,
        }

        #[doc = $item]
        #[Object]
        impl $edge {
            /// Leads back to this item: give it as `after` or `before`.
            async fn cursor(&self) -> &str {
                &self.cursor
            }

            /// The item.
            async fn node(&self) -> &$node {
                &self.node
            }
        }
    };
}

/// A connection whose matches may be many and have bytes.
macro_rules! sized_connection {
    ($($head:tt)+) => {
        connection!(
            $($head)+,
            /// How `totalCount` was made: a list without conditions is always counted in full.
            #[graphql(directive = semanticNonNull::apply(None))]
            async fn total_count_precision(&self) -> Option<async_graphql::Result<CountPrecision>> {
                let total = self.total.get().await.map_err(top_level);
                Some(total.map(|total| if total.capped { CountPrecision::AtLeast } else { CountPrecision::Exact }))
            }

            /// Bytes of all matches, whose number is `totalCount`. Counted only when asked for. Null when counting
            /// stopped at the server's cap.
            async fn total_size(&self) -> Option<async_graphql::Result<ByteSize>> {
                let total = self.total.get().await.map_err(top_level);
                total.map(|total| total.bytes.map(ByteSize::from)).transpose()
            }
        );
    };
}

connection!(
    WorkspaceConnection,
    WorkspaceEdge,
    Workspace,
    crate::entity::workspace::Model,
    "A page of workspaces.",
    "A workspace in a page."
);
sized_connection!(
    FileConnection,
    FileEdge,
    File,
    crate::entity::file::Model,
    "A page of files.",
    "A file in a page."
);
sized_connection!(
    ImageConnection,
    ImageEdge,
    Image,
    crate::entity::image::Model,
    "A page of images.",
    "An image in a page."
);

connection!(
    WorkspaceMemberConnection,
    WorkspaceMemberEdge,
    WorkspaceMember,
    crate::entity::membership::Model,
    "A page of members.",
    "A member in a page."
);
connection!(
    ApiTokenConnection,
    ApiTokenEdge,
    ApiToken,
    crate::entity::api_token::Model,
    "A page of API tokens.",
    "An API token in a page."
);

/// A loader's error, which several fields share, as this field's own.
pub fn shared(problem: Arc<Error>) -> async_graphql::Error {
    match Arc::try_unwrap(problem) {
        Ok(problem) => top_level(problem),
        Err(problem) => match &*problem {
            Error::Refusal(refusal) => top_level(Error::Refusal(refusal.clone())),
            Error::Fault { context, source, passing } => {
                top_level(Error::Fault { context, source: source.to_string().into(), passing: *passing })
            }
        },
    }
}
