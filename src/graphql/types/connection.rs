//! Relay connections.

use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::{Context, Enum, Object};
use tokio::sync::OnceCell;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::Result;
use crate::graphql::ContextExt;
use crate::graphql::error::top_level;
use crate::query::page::{Count, PageArgs};

/// A list whose rows can be counted without its page.
#[async_trait]
pub trait CountRows: Send + Sync {
    /// Counts the rows of the whole list that the viewer may see.
    async fn count_rows(&self, app: &App, viewer: &Viewer) -> Result<Count>;
}

/// The size of the list behind a connection: counted when the first field asks for it, and shared with the others.
pub struct TotalCount {
    app: App,
    viewer: Arc<Viewer>,
    list: Box<dyn CountRows>,
    count: OnceCell<Count>,
}

impl TotalCount {
    /// The size of a list, not yet counted.
    pub fn new(ctx: &Context<'_>, list: impl CountRows + 'static) -> Arc<TotalCount> {
        let (app, viewer) = (ctx.app().clone(), Arc::clone(ctx.viewer()));
        Arc::new(TotalCount { app, viewer, list: Box::new(list), count: OnceCell::new() })
    }

    pub(super) async fn get(&self) -> Result<Count> {
        let count = self.count.get_or_try_init(|| self.list.count_rows(&self.app, &self.viewer));
        count.await.copied()
    }

    pub(super) async fn rows(&self) -> Option<async_graphql::Result<i32>> {
        let count = self.get().await.map_err(top_level);
        Some(count.map(|count| i32::try_from(count.rows).unwrap_or(i32::MAX)))
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
    pub total: Option<Arc<TotalCount>>,
}

/// Position of a page in its list.
#[Object]
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
    async fn total(&self) -> Option<async_graphql::Result<i32>> {
        self.total.as_ref()?.rows().await
    }
}

/// Defines a connection and its edge. `$more` are fields beyond those of Relay and `totalCount`.
macro_rules! connection {
    ($connection:ident, $edge:ident, $node:ident, $entity:ident, $page:literal, $item:literal $(, $($more:tt)+)?) => {
        #[doc = $page]
        pub struct $connection {
            rows: Vec<$edge>,
            has_next: bool,
            has_previous: bool,
            total: std::sync::Arc<$crate::graphql::types::connection::TotalCount>,
        }

        impl $connection {
            /// A page as a connection.
            pub fn new(
                page: $crate::query::page::Page<$entity::Entity>,
                total: std::sync::Arc<$crate::graphql::types::connection::TotalCount>,
            ) -> Self {
                let order = page.order;
                let rows = page.rows.into_iter().map(|row| $edge { node: $node(row), order }).collect();
                Self { rows, has_next: page.has_next, has_previous: page.has_previous, total }
            }
        }

        #[doc = $page]
        #[async_graphql::Object]
        impl $connection {
            /// The items, each with its cursor.
            async fn edges(&self) -> $crate::graphql::rows::Rows<'_, $edge> {
                $crate::graphql::rows::Rows(self.rows.iter().collect())
            }

            /// The items without their cursors.
            async fn nodes(&self) -> $crate::graphql::rows::Rows<'_, $node> {
                $crate::graphql::rows::Rows(self.rows.iter().map(|edge| &edge.node).collect())
            }

            /// Position of this page in the list.
            async fn page_info(&self) -> $crate::graphql::types::connection::PageInfo {
                $crate::graphql::types::connection::PageInfo {
                    has_next: self.has_next,
                    has_previous: self.has_previous,
                    start: self.rows.first().map($edge::cursor_text),
                    end: self.rows.last().map($edge::cursor_text),
                    total: Some(std::sync::Arc::clone(&self.total)),
                }
            }

            /// Number of items in the whole list, not in this page. Counted only when selected.
            #[graphql(directive = $crate::graphql::semanticNonNull::apply(None))]
            async fn total_count(&self) -> Option<async_graphql::Result<i32>> {
                self.total.rows().await
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

/// A connection of rows that have a size, and whose count may stop at the server's cap.
macro_rules! sized_connection {
    ($($head:tt)+) => {
        connection!(
            $($head)+,
            /// How exact `totalCount` is. A list without a filter is always counted in full.
            #[graphql(directive = $crate::graphql::semanticNonNull::apply(None))]
            async fn total_count_precision(&self) -> Option<
                async_graphql::Result<$crate::graphql::types::connection::CountPrecision>,
            > {
                let total = self.total.get().await.map_err($crate::graphql::error::top_level);
                Some(total.map(|total| if total.capped {
                    $crate::graphql::types::connection::CountPrecision::AtLeast
                } else {
                    $crate::graphql::types::connection::CountPrecision::Exact
                }))
            }

            /// Bytes of all items that `totalCount` counts. Computed only when selected. Null when counting stopped at
            /// the server's cap.
            async fn total_size(&self) -> Option<async_graphql::Result<$crate::graphql::types::scalar::ByteSize>> {
                let total = self.total.get().await.map_err($crate::graphql::error::top_level);
                total.map(|total| total.bytes.map($crate::graphql::types::scalar::ByteSize::from)).transpose()
            }
        );
    };
}
