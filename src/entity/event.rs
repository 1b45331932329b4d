//! Events: what happened to files and images, within a workspace in the order of commits.

use sea_orm::ExprTrait;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Query, SelectStatement, UnionType};

use crate::id::{FileId, ImageId, WorkspaceId};
use crate::viewer::Viewer;

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    #[sea_orm(string_value = "FILE_CREATED")]
    FileCreated,
    #[sea_orm(string_value = "FILE_READY")]
    FileReady,
    #[sea_orm(string_value = "FILE_FAILED")]
    FileFailed,
    #[sea_orm(string_value = "FILE_UPDATED")]
    FileUpdated,
    #[sea_orm(string_value = "FILE_TRASHED")]
    FileTrashed,
    #[sea_orm(string_value = "FILE_RESTORED")]
    FileRestored,
    #[sea_orm(string_value = "FILE_PURGED")]
    FilePurged,
    #[sea_orm(string_value = "IMAGE_PROVISIONED")]
    ImageProvisioned,
    #[sea_orm(string_value = "IMAGE_PROVISION_FAILED")]
    ImageProvisionFailed,
    #[sea_orm(string_value = "IMAGE_UPDATED")]
    ImageUpdated,
    #[sea_orm(string_value = "IMAGE_DELETED")]
    ImageDeleted,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// Grows within a workspace from commit to commit: see the migration `event_order`.
    #[sea_orm(primary_key)]
    pub seq: i64,
    pub workspace_id: WorkspaceId,
    pub kind: Kind,
    pub file_id: FileId,
    pub image_id: Option<ImageId>,
    pub at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The events of a workspace; `None` when the viewer may not see it.
pub fn visible_to(viewer: &Viewer, workspace: WorkspaceId) -> Option<Select<Entity>> {
    viewer.sees(workspace).then(|| Entity::find().filter(COLUMN.workspace_id.eq(workspace)))
}

/// Asks for the newest number of each of these workspaces: one end of the index each.
pub fn newest_of(workspaces: &[WorkspaceId]) -> Option<SelectStatement> {
    let mut parts = workspaces.iter().map(|workspace| {
        let newest = Query::select()
            .expr(Expr::col(Column::Seq).max())
            .from(Entity)
            .and_where(Expr::col(Column::WorkspaceId).eq(workspace.0))
            .to_owned();
        Query::select()
            .expr_as(Expr::val(workspace.0), Column::WorkspaceId)
            .expr_as(newest, Column::Seq)
            .to_owned()
    });
    let mut all = parts.next()?;
    for part in parts {
        all.union(UnionType::All, part);
    }
    Some(all)
}
