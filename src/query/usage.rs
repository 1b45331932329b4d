//! What workspaces use: read from counters, at a cost that does not grow with what is counted.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, FromQueryResult, IdenStatic, QueryFilter, QuerySelect};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::api_token::Scope;
use crate::entity::workspace_usage::{self, Column, Model};
use crate::error::Result;
use crate::id::WorkspaceId;

/// Sums over several workspaces. The trash is part of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromQueryResult)]
pub struct Totals {
    pub file_count: i64,
    pub file_bytes: i64,
    pub trashed_count: i64,
    pub trashed_bytes: i64,
    pub image_count: i64,
    pub image_bytes: i64,
}

/// What each of the given workspaces uses, as far as the viewer may see them, in no order.
///
/// # Errors
/// `FORBIDDEN` without `FILES_READ`.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[WorkspaceId]) -> Result<Vec<Model>> {
    viewer.require(Scope::FilesRead)?;
    let of_ids = workspace_usage::COLUMN.workspace_id.is_in(ids.iter().copied());
    Ok(workspace_usage::visible_to(&viewer.access()).filter(of_ids).all(&app.db.read).await?)
}

/// What all workspaces of the viewer use together, or one of them, in one statement.
pub async fn totals(app: &App, viewer: &Viewer, only: Option<WorkspaceId>) -> Result<Totals> {
    let mut select = workspace_usage::visible_to(&viewer.access()).select_only();
    if let Some(only) = only {
        select = select.filter(workspace_usage::COLUMN.workspace_id.eq(only));
    }
    for column in [
        Column::FileCount,
        Column::FileBytes,
        Column::TrashedCount,
        Column::TrashedBytes,
        Column::ImageCount,
        Column::ImageBytes,
    ] {
        let name = column.as_str();
        // A sum of big integers is no big integer on PostgreSQL.
        let sum = Expr::cust(format!("CAST(coalesce(sum({name}), 0) AS bigint)"));
        select = select.expr_as(sum, name);
    }
    Ok(select.into_model::<Totals>().one(&app.db.read).await?.unwrap_or_default())
}
