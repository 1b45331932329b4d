//! Events: changes of files and images. Within a workspace they have the order of commits.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Order, Query, SelectStatement, UnionType};
use sea_orm::{DbBackend, ExprTrait, QueryOrder};

use crate::access::WorkspaceAccess;
use crate::id::{FileId, ImageId, WorkspaceId};

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum EventKind {
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
    #[sea_orm(string_value = "IMAGE_ANALYSED")]
    ImageAnalysed,
    #[sea_orm(string_value = "IMAGE_PROVISION_DELAYED")]
    ImageProvisionDelayed,
    #[sea_orm(string_value = "IMAGE_DELETED")]
    ImageDeleted,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// Increases within a workspace in the order of commits; see the migration `event_order`.
    #[sea_orm(primary_key)]
    pub seq: i64,
    pub workspace_id: WorkspaceId,
    pub kind: EventKind,
    pub file_id: FileId,
    pub image_id: Option<ImageId>,
    pub at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The events of a workspace after a sequence number, oldest first; `None` if the viewer may not see the workspace.
///
/// On PostgreSQL the workspace is part of the row comparison and of the order, as in `query/page.rs`: with an equality the
/// planner may scan the primary key instead, and read the events of all other workspaces.
pub fn visible_to(
    access: &WorkspaceAccess,
    workspace: WorkspaceId,
    after: i64,
    backend: DbBackend,
) -> Option<Select<Entity>> {
    if !access.includes(workspace) {
        return None;
    }
    let events = match backend {
        DbBackend::Postgres => Entity::find()
            .filter(sort_key().gt(Expr::tuple([Expr::val(workspace.0), Expr::val(after)])))
            .filter(Expr::col(Column::WorkspaceId).lte(workspace.0))
            .order_by_asc(Column::WorkspaceId),
        _ => Entity::find().filter(COLUMN.workspace_id.eq(workspace)).filter(COLUMN.seq.gt(after)),
    };
    Some(events.order_by_asc(Column::Seq))
}

/// Query of the newest sequence number of each workspace. It reads one index entry per workspace.
pub fn newest_of(workspaces: &[WorkspaceId], backend: DbBackend) -> Option<SelectStatement> {
    let mut parts = workspaces.iter().map(|workspace| {
        let mut newest = Query::select();
        newest.column(Column::Seq).from(Entity).limit(1);
        match backend {
            DbBackend::Postgres => newest
                .and_where(sort_key().lte(Expr::tuple([Expr::val(workspace.0), Expr::val(i64::MAX)])))
                .and_where(Expr::col(Column::WorkspaceId).gte(workspace.0))
                .order_by(Column::WorkspaceId, Order::Desc),
            _ => newest.and_where(Expr::col(Column::WorkspaceId).eq(workspace.0)),
        };
        newest.order_by(Column::Seq, Order::Desc);
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

fn sort_key() -> Expr {
    Expr::tuple([Expr::col(Column::WorkspaceId), Expr::col(Column::Seq)])
}
