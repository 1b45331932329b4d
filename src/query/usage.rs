//! Storage usage of workspaces, read from counters that triggers maintain.

use std::collections::HashMap;

use sea_orm::sea_query::Expr;
use sea_orm::{FromQueryResult, IdenStatic, QuerySelect};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::columns;
use crate::entity::workspace_usage::{self, Column, Model};
use crate::error::Result;
use crate::id::WorkspaceId;

/// The columns that are summed.
const COUNTERS: [Column; 6] = [
    Column::FileCount,
    Column::FileBytes,
    Column::TrashedCount,
    Column::TrashedBytes,
    Column::ImageCount,
    Column::ImageBytes,
];

/// Sums over several workspaces. Files in the trash are included in `file_count` and `file_bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromQueryResult)]
pub struct Totals {
    pub file_count: i64,
    pub file_bytes: i64,
    pub trashed_count: i64,
    pub trashed_bytes: i64,
    pub image_count: i64,
    pub image_bytes: i64,
}

/// The usage of each of the given workspaces that the viewer may see, in no particular order.
///
/// # Errors
/// `FORBIDDEN` without `FILES_READ`.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[WorkspaceId]) -> Result<Vec<Model>> {
    viewer.require(Scope::FilesRead)?;
    let access = viewer.access().narrowed_to_each(ids);
    Ok(workspace_usage::visible_to(&access).all(&app.db.read).await?)
}

/// The usage of one workspace, or the sum over all workspaces that the viewer may see, in one statement.
pub async fn totals(app: &App, viewer: &Viewer, workspace: Option<WorkspaceId>) -> Result<Totals> {
    if let Some(id) = workspace {
        return Ok(totals_by_workspace(app, viewer, &[id]).await?.remove(&id).unwrap_or_default());
    }
    let mut select = workspace_usage::visible_to(&viewer.access()).select_only();
    for column in COUNTERS {
        let name = column.as_str();
        // PostgreSQL returns the sum of a `bigint` column as `numeric`.
        let sum = Expr::cust(format!("CAST(coalesce(sum({name}), 0) AS bigint)"));
        select = select.expr_as(sum, name);
    }
    Ok(select.into_model::<Totals>().one(&app.db.read).await?.unwrap_or_default())
}

/// The usage of each of the given workspaces that the viewer may see, without a scope.
pub async fn totals_by_workspace(
    app: &App,
    viewer: &Viewer,
    workspaces: &[WorkspaceId],
) -> Result<HashMap<WorkspaceId, Totals>> {
    let select = workspace_usage::visible_to(&viewer.access().narrowed_to_each(workspaces));
    let found = columns::fetch(&app.db.read, select, &columns::with(&COUNTERS, Column::WorkspaceId)).await?;
    Ok(found.into_iter().map(|usage| (usage.workspace_id, usage.into())).collect())
}

impl From<Model> for Totals {
    fn from(usage: Model) -> Self {
        Totals {
            file_count: usage.file_count,
            file_bytes: usage.file_bytes,
            trashed_count: usage.trashed_count,
            trashed_bytes: usage.trashed_bytes,
            image_count: usage.image_count,
            image_bytes: usage.image_bytes,
        }
    }
}
