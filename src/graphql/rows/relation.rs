//! Relations: rows that belong to the rows of a page, loaded together.

use std::sync::Arc;

use async_graphql::Context;
use futures_util::future::BoxFuture;

use super::field::{Preparation, Selected, Writer};
use super::plan::{Plan, write_rows};
use super::{Row, RowObject};
use crate::error::Error;
use crate::graphql::error::from_loader;

/// Rows that are found by keys of this type.
pub trait LoadRows<K>: RowObject {
    /// The rows that the viewer may see, with these columns, each with its key, in no particular order.
    fn load<'a>(
        ctx: &'a Context<'a>,
        keys: Vec<K>,
        columns: &'a [Self::Column],
    ) -> BoxFuture<'a, Result<Vec<(K, Self)>, Error>>;

    /// The row with all its columns, by the loader of the request.
    fn load_one<'a>(ctx: &'a Context<'a>, key: K) -> BoxFuture<'a, Result<Option<Self>, Arc<Error>>>;
}

/// A related row for the executor.
pub async fn load_one<K, T: LoadRows<K>>(
    ctx: &Context<'_>,
    key: Option<K>,
) -> Option<async_graphql::Result<Row<T>>> {
    T::load_one(ctx, key?).await.map_err(from_loader).transpose().map(|row| row.map(Row))
}

/// Related rows of a page.
pub fn prepare<'a, T: RowObject, K, U>(
    selected: Selected<'a>,
    rows: &'a [&'a T],
    key: fn(&T) -> Option<K>,
) -> Preparation<'a, T>
where
    K: Copy + Ord + Send + Sync + 'static,
    U: LoadRows<K>,
{
    Preparation::Later(Box::pin(async move {
        let ctx = selected.ctx.with_field(selected.field);
        let plan = Plan::<U>::of(selected.ctx, selected.set());
        let mut keys: Vec<K> = rows.iter().filter_map(|row| key(row)).collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Writer::new(|_, _, output| output.json.extend_from_slice(b"null"));
        }
        let found = match U::load(&ctx, keys, plan.columns()).await {
            Ok(found) => found,
            Err(problem) => {
                let problem = from_loader(Arc::new(problem)).into_server_error(selected.field.pos);
                // A row without a key has no relation that could fail.
                return Writer::new(move |index, row, output| match key(row) {
                    Some(_) => output.fail(index, selected, problem.clone()),
                    None => output.json.extend_from_slice(b"null"),
                });
            }
        };
        let mut places: Vec<(K, usize)> = found.iter().map(|(key, _)| *key).zip(0..).collect();
        places.sort_unstable();
        let related: Vec<&U> = found.iter().map(|(_, related)| related).collect();
        let written = write_rows(&plan, &related).await;
        let place =
            move |key: K| places.binary_search_by(|(known, _)| known.cmp(&key)).map(|at| places[at].1);
        Writer::new(move |index, row, output| match key(row).map(&place) {
            Some(Ok(place)) => written.copy(place, index, selected, output),
            _ => output.json.extend_from_slice(b"null"),
        })
    }))
}
