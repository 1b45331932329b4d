//! Relay connections.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::Enum;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use row_object::row_object;

use crate::error::Result;
use crate::graphql::error::top_level;
use crate::graphql::rows::Row;
use crate::id::WorkspaceId;
use crate::query::page::{Count, PageArgs};

/// The size of the list behind a connection: counted when the first field asks for it, and shared with the others, and with the
/// lists of other workspaces that are counted by the same statement.
#[derive(Clone)]
pub struct TotalCount {
    counts: Shared<BoxFuture<'static, async_graphql::Result<Arc<Counts>>>>,
    workspace: Option<WorkspaceId>,
}

/// The sizes of lists. A list that is not below a workspace has no key.
type Counts = HashMap<Option<WorkspaceId>, Count>;

impl TotalCount {
    /// The size of a list, not yet counted.
    pub fn of_list(count: impl Future<Output = Result<Count>> + Send + 'static) -> Self {
        TotalCount::shared(async { Ok(HashMap::from([(None, count.await?)])) })
    }

    /// The sizes of the lists of several workspaces, not yet counted.
    pub fn of_workspaces(
        count: impl Future<Output = Result<HashMap<WorkspaceId, Count>>> + Send + 'static,
    ) -> impl Fn(WorkspaceId) -> TotalCount {
        let counts = async { Ok(count.await?.into_iter().map(|(id, count)| (Some(id), count)).collect()) };
        let all = TotalCount::shared(counts);
        move |workspace| TotalCount { workspace: Some(workspace), ..all.clone() }
    }

    fn shared(count: impl Future<Output = Result<Counts>> + Send + 'static) -> Self {
        let counts = async { count.await.map(Arc::new).map_err(top_level) };
        TotalCount { counts: counts.boxed().shared(), workspace: None }
    }

    /// Counts, unless that is done.
    pub async fn count(&self) {
        let _ = self.counts.clone().await;
    }

    /// What has been counted.
    pub fn counted(&self) -> async_graphql::Result<Count> {
        match self.counts.peek() {
            Some(Ok(counts)) => Ok(counts.get(&self.workspace).copied().unwrap_or(Count::exact(0, Some(0)))),
            Some(Err(problem)) => Err(problem.clone()),
            None => Ok(Count::exact(0, None)),
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> async_graphql::Result<i32> {
        self.counted().map(|count| i32::try_from(count.rows).unwrap_or(i32::MAX))
    }
}

/// How exact a count is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum CountPrecision {
    /// All items were counted.
    Exact,
    /// Counting stopped at the server's cap; there are at least this many.
    AtLeast,
}

/// Direction of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum OrderDirection {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// The paging arguments of a field.
pub fn page_args(
    first: Option<i32>,
    after: Option<String>,
    last: Option<i32>,
    before: Option<String>,
) -> PageArgs {
    PageArgs { first: first.map(i64::from), after, last: last.map(i64::from), before, until: None }
}

/// Position of a page in its list.
pub struct PageInfo {
    pub has_next: bool,
    pub has_previous: bool,
    pub start: Option<String>,
    pub end: Option<String>,
    /// `None` for a list that cannot be counted.
    pub total: Option<TotalCount>,
}

/// Position of a page in its list.
#[row_object]
impl PageInfo {
    /// Whether there are items after this page.
    async fn has_next_page(&self) -> bool {
        self.has_next
    }

    /// Whether there are items before this page.
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

    /// Same as `totalCount` of the connection; here for parity with the REST face. Relay keeps only the four cursor
    /// fields of a `@connection` up to date, so Relay clients should read `totalCount` instead. Null for the images of
    /// the Cloudflare account, because Cloudflare does not count them.
    #[page]
    async fn total(
        rows: &[&PageInfo],
        _ctx: &Context<'_>,
    ) -> impl Fn(&PageInfo) -> Option<async_graphql::Result<i32>> {
        for total in rows.iter().filter_map(|page| page.total.as_ref()) {
            total.count().await;
        }
        |page: &PageInfo| page.total.as_ref().map(TotalCount::rows)
    }
}

/// A connection below each of several workspaces, or why they could not be read.
pub struct ByWorkspace<T>(async_graphql::Result<HashMap<WorkspaceId, T>>);

impl<T: Clone> ByWorkspace<T> {
    /// The connections that a function made of each workspace.
    pub fn new(lists: Result<HashMap<WorkspaceId, T>>) -> Self {
        ByWorkspace(lists.map_err(top_level))
    }

    /// That of a workspace.
    pub fn of(&self, workspace: WorkspaceId) -> Option<async_graphql::Result<T>> {
        match &self.0 {
            Ok(lists) => lists.get(&workspace).cloned().map(Ok),
            Err(problem) => Some(Err(problem.clone())),
        }
    }
}

/// A connection at the root of a query, or below an object that is not a row.
pub fn connection<T>(list: Result<T>) -> Option<async_graphql::Result<Row<T>>> {
    Some(list.map(Row).map_err(top_level))
}

/// Defines a connection and its edge. `$more` are fields beyond those of Relay and `totalCount`.
macro_rules! connection {
    ($connection:ident, $edge:ident, $node:ident, $entity:ident, $page:literal, $item:literal $(, $($more:tt)+)?) => {
        #[doc = $page]
        #[derive(Clone)]
        pub struct $connection {
            rows: std::sync::Arc<[$edge]>,
            has_next: bool,
            has_previous: bool,
            total: $crate::graphql::types::connection::TotalCount,
        }

        impl $connection {
            /// A page as a connection.
            pub fn new(
                page: $crate::query::page::Page<$entity::Entity>,
                total: $crate::graphql::types::connection::TotalCount,
            ) -> Self {
                let order = page.order;
                let rows = page.rows.into_iter().map(|row| $edge { node: $node(row), order }).collect();
                Self { rows, has_next: page.has_next, has_previous: page.has_previous, total }
            }
        }

        #[doc = $page]
        #[row_object::row_object]
        impl $connection {
            /// The items, each with its cursor.
            #[of_rows]
            async fn edges(&self) -> Vec<&$edge> {
                self.rows.iter().collect()
            }

            /// The items without their cursors.
            #[of_rows]
            async fn nodes(&self) -> Vec<&$node> {
                self.rows.iter().map(|edge| &edge.node).collect()
            }

            /// Position of this page in the list.
            #[page(row)]
            async fn page_info(
                _rows: &[&$connection],
                _ctx: &async_graphql::Context<'_>,
            ) -> impl Fn(&$connection) -> $crate::graphql::types::connection::PageInfo {
                |page: &$connection| $crate::graphql::types::connection::PageInfo {
                    has_next: page.has_next,
                    has_previous: page.has_previous,
                    start: page.rows.first().map($edge::cursor_text),
                    end: page.rows.last().map($edge::cursor_text),
                    total: Some(page.total.clone()),
                }
            }

            /// Number of items in the whole list, not in this page. Counted only when selected.
            #[graphql(directive = $crate::graphql::semanticNonNull::apply(None))]
            #[page]
            async fn total_count(
                rows: &[&$connection],
                _ctx: &async_graphql::Context<'_>,
            ) -> impl Fn(&$connection) -> Option<async_graphql::Result<i32>> {
                for page in rows {
                    page.total.count().await;
                }
                |page: &$connection| Some(page.total.rows())
            }

            $($($more)+)?
        }

        #[doc = $item]
        pub struct $edge {
            node: $node,
            order: $crate::query::page::ListOrder<$entity::Column>,
        }

        impl $edge {
            fn cursor_text(&self) -> String {
                $crate::query::page::cursor(&self.node.0, self.order)
            }
        }

        #[doc = $item]
        #[row_object::row_object]
        impl $edge {
            /// Cursor of this item, for `after` or `before`.
            async fn cursor(&self) -> String {
                self.cursor_text()
            }

            /// The item.
            #[of_row]
            async fn node(&self) -> &$node {
                &self.node
            }
        }
    };
}

/// A connection of the rows of workspaces: one for each of several workspaces.
macro_rules! connections_by_workspace {
    ($connection:ident, $entity:ident) => {
        impl $connection {
            /// The pages of these workspaces as connections. One without a page has an empty list.
            pub fn by_workspace(
                workspaces: &[$crate::id::WorkspaceId],
                mut pages: std::collections::HashMap<
                    $crate::id::WorkspaceId,
                    $crate::query::page::Page<$entity::Entity>,
                >,
                order: $crate::query::page::ListOrder<$entity::Column>,
                total: impl Fn($crate::id::WorkspaceId) -> $crate::graphql::types::connection::TotalCount,
            ) -> std::collections::HashMap<$crate::id::WorkspaceId, Self> {
                let connection = |id: &$crate::id::WorkspaceId| {
                    let page = pages.remove(id);
                    let page = page.unwrap_or_else(|| $crate::query::page::Page::empty(order));
                    (*id, Self::new(page, total(*id)))
                };
                workspaces.iter().map(connection).collect()
            }
        }
    };
}

/// A connection of rows that have a size, and whose count may stop at the server's cap.
macro_rules! sized_connection {
    ($($head:tt)+) => {
        connection!(
            $($head)+,
            /// How exact `totalCount` is. A list without a filter is always counted in full.
            #[graphql(directive = $crate::graphql::semanticNonNull::apply(None))]
            #[page]
            async fn total_count_precision(
                rows: &[&Self],
                _ctx: &async_graphql::Context<'_>,
            ) -> impl Fn(&Self) -> Option<
                async_graphql::Result<$crate::graphql::types::connection::CountPrecision>,
            > {
                for page in rows {
                    page.total.count().await;
                }
                |page: &Self| Some(page.total.counted().map(|total| if total.capped {
                    $crate::graphql::types::connection::CountPrecision::AtLeast
                } else {
                    $crate::graphql::types::connection::CountPrecision::Exact
                }))
            }

            /// Bytes of all items that `totalCount` counts. Computed only when selected. Null when counting stopped at
            /// the server's cap.
            #[page]
            async fn total_size(
                rows: &[&Self],
                _ctx: &async_graphql::Context<'_>,
            ) -> impl Fn(&Self) -> Option<async_graphql::Result<$crate::graphql::types::scalar::ByteSize>> {
                for page in rows {
                    page.total.count().await;
                }
                |page: &Self| {
                    let bytes = page.total.counted().map(|total| total.bytes);
                    bytes.map(|bytes| bytes.map($crate::graphql::types::scalar::ByteSize::from)).transpose()
                }
            }
        );
    };
}
