//! What a selection needs of the database, before anything is read.

use async_graphql::Context;
use async_graphql::parser::types::{Field, Selection, SelectionSet};

use super::RowObject;
use super::plan::{Plan, add_columns};
use crate::query::page::PageSelection;

/// What is selected of a connection.
#[derive(Debug, Clone)]
pub struct ListSelection<C> {
    /// The columns that the items need.
    pub columns: Vec<C>,
    /// Whether cursors are selected.
    pub cursors: bool,
    /// Whether the page is needed, and not only the size of the list.
    pub page: bool,
    pub has_next_page: bool,
    pub has_previous_page: bool,
}

/// The columns that the selection of a field needs, whose value is a row.
pub fn selected_columns<T: RowObject>(ctx: &Context<'_>) -> Vec<T::Column> {
    let set = &ctx.item.node.selection_set;
    let ctx = ctx.with_selection_set(set);
    Plan::<T>::of(&ctx, &set.node).columns().to_vec()
}

/// The columns of a relation that is selected of a row, for reading both together. `None` if it is not selected just once, and if
/// the executor resolves it.
pub fn related_columns<T: RowObject, U: RowObject>(
    ctx: &Context<'_>,
    relation: &str,
) -> Option<Vec<U::Column>> {
    let set = &ctx.item.node.selection_set;
    let ctx = ctx.with_selection_set(set);
    if !super::writes_rows(&ctx) {
        return None;
    }
    let plan = Plan::<T>::of(&ctx, &set.node);
    let mut selected = plan.prepared(relation);
    let (Some(only), None) = (selected.next(), selected.next()) else { return None };
    Some(Plan::<U>::of(&ctx, only.set()).columns().to_vec())
}

/// The same of the items of a connection.
pub fn related_columns_of_items<T: RowObject, U: RowObject>(
    ctx: &Context<'_>,
    relation: &str,
) -> Option<Vec<U::Column>> {
    let set = &ctx.item.node.selection_set;
    let selection = ctx.with_selection_set(set);
    if !super::writes_rows(&selection) {
        return None;
    }
    let mut found = Vec::new();
    let mut add = |field: &Field| {
        for selected in Plan::<T>::of(&selection, &field.selection_set.node).prepared(relation) {
            found.push(Plan::<U>::of(&selection, selected.set()).columns().to_vec());
        }
    };
    each_field(ctx, &set.node, &mut |field| match field.name.node.as_str() {
        "nodes" => add(field),
        "edges" => each_field(ctx, &field.selection_set.node, &mut |field| {
            if field.name.node == "node" {
                add(field);
            }
        }),
        _ => {}
    });
    if found.len() > 1 { None } else { found.pop() }
}

impl<C> From<ListSelection<C>> for PageSelection<C> {
    fn from(list: ListSelection<C>) -> Self {
        PageSelection {
            rows: list.page,
            columns: list.columns,
            cursors: list.cursors,
            has_next: list.has_next_page,
            has_previous: list.has_previous_page,
        }
    }
}

impl<C: Copy> ListSelection<C> {
    /// The selection of a field whose value is a connection of these rows.
    pub fn of<T: RowObject<Column = C>>(ctx: &Context<'_>) -> Self {
        let set = &ctx.item.node.selection_set;
        let selection = ctx.with_selection_set(set);
        let mut list = ListSelection {
            columns: Vec::new(),
            cursors: false,
            page: false,
            has_next_page: false,
            has_previous_page: false,
        };
        let add_rows = |list: &mut Self, field: &Field| {
            let plan = Plan::<T>::of(&selection, &field.selection_set.node);
            add_columns(&mut list.columns, plan.columns());
        };
        each_field(ctx, &set.node, &mut |field| match field.name.node.as_str() {
            "nodes" => {
                list.page = true;
                add_rows(&mut list, field);
            }
            "edges" => {
                list.page = true;
                each_field(ctx, &field.selection_set.node, &mut |field| match field.name.node.as_str() {
                    "node" => add_rows(&mut list, field),
                    "cursor" => list.cursors = true,
                    _ => {}
                });
            }
            "pageInfo" => each_field(ctx, &field.selection_set.node, &mut |field| {
                match field.name.node.as_str() {
                    "hasNextPage" => list.has_next_page = true,
                    "hasPreviousPage" => list.has_previous_page = true,
                    "startCursor" | "endCursor" => list.cursors = true,
                    // Computed without the page.
                    "total" | "__typename" => return,
                    _ => {}
                }
                list.page = true;
            }),
            _ => {}
        });
        list
    }
}

/// Calls a function with each selected field, those of fragments included. The type of the object has no interface, so that every
/// fragment of a valid document applies.
fn each_field<'a>(ctx: &Context<'a>, set: &'a SelectionSet, add: &mut impl FnMut(&'a Field)) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => add(&field.node),
            Selection::InlineFragment(fragment) => {
                each_field(ctx, &fragment.node.selection_set.node, add);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = ctx.query_env.fragments.get(&spread.node.fragment_name.node) {
                    each_field(ctx, &fragment.node.selection_set.node, add);
                }
            }
        }
    }
}
