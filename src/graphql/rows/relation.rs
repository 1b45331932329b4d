//! Relations: rows that belong to the rows of a page, loaded together.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
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
    /// The rows that the viewer may see, with these columns.
    fn load<'a>(
        ctx: &'a Context<'a>,
        keys: Vec<K>,
        columns: &'a [Self::Column],
    ) -> BoxFuture<'a, Result<HashMap<K, Self>, Error>>;

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
    K: Copy + Eq + Hash + Send + Sync + 'static,
    U: LoadRows<K>,
{
    Preparation::Later(Box::pin(async move {
        let ctx = selected.ctx.with_field(selected.field);
        let plan = Plan::<U>::of(selected.ctx, selected.set());
        let keys: HashSet<K> = rows.iter().filter_map(|row| key(row)).collect();
        if keys.is_empty() {
            return Writer::new(|_, _, output| output.json.extend_from_slice(b"null"));
        }
        let found = match U::load(&ctx, keys.into_iter().collect(), plan.columns()).await {
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
        let (keys, related): (Vec<K>, Vec<U>) = found.into_iter().unzip();
        let places: HashMap<K, usize> = keys.into_iter().enumerate().map(|(at, key)| (key, at)).collect();
        let related: Vec<&U> = related.iter().collect();
        let written = write_rows(&plan, &related).await;
        Writer::new(move |index, row, output| match key(row).and_then(|key| places.get(&key)) {
            Some(place) => written.copy(*place, index, selected, output),
            None => output.json.extend_from_slice(b"null"),
        })
    }))
}
