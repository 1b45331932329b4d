//! Workspaces: the tenants of a server.

use std::collections::HashMap;

use row_object::PartialRow;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, IntoCondition};
use sea_orm::{JoinType, QueryOrder, QuerySelect, QueryTrait, SelectTwo};
use serde::{Deserialize, Serialize};

use crate::access::WorkspaceAccess;
use crate::entity::{StringList, file};
use crate::id::WorkspaceId;

/// Which part of an image's EXIF metadata is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ExifPolicy {
    #[sea_orm(string_value = "KEEP_ALL")]
    KeepAll,
    /// Everything but location and serial numbers.
    #[sea_orm(string_value = "STRIP_LOCATION")]
    StripLocation,
    /// Nothing but orientation and copyright.
    #[sea_orm(string_value = "COPYRIGHT_ONLY")]
    CopyrightOnly,
    #[sea_orm(string_value = "STRIP_ALL")]
    StripAll,
}

/// What happens when bytes are uploaded that the workspace has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize)]
#[sea_orm(rs_type = "String", db_type = "Text")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DuplicatePolicy {
    /// A new file is created that shares the stored bytes.
    #[sea_orm(string_value = "CREATE")]
    Create,
    /// The existing file is returned.
    #[sea_orm(string_value = "REUSE")]
    Reuse,
    /// The upload is refused.
    #[sea_orm(string_value = "REJECT")]
    Reject,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workspace", model_attrs(derive(PartialRow)))]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WorkspaceId,
    /// In composed form.
    pub name: String,
    /// The name as it was sent, if it differs from its composed form.
    pub name_sent: Option<String>,
    /// Accepted MIME types, with wildcards such as `image/*`; empty means any.
    pub allowed_mime_types: StringList,
    /// Maximum size of a file in bytes; null means the server's limit.
    pub max_file_size: Option<i64>,
    /// Whether new images require signed URLs by default.
    pub private_by_default: bool,
    pub exif_policy: ExifPolicy,
    pub on_duplicate: DuplicatePolicy,
    /// Days that a file stays in the trash; 0 means that it is deleted at once.
    pub trash_days: i32,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The name as it was sent.
    pub fn shown_name(&self) -> &str {
        self.name_sent.as_deref().unwrap_or(&self.name)
    }
}

/// The workspaces a viewer may see.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => Entity::find(),
        WorkspaceAccess::Only(ids) => Entity::find().filter(COLUMN.id.is_in(ids.iter().copied())),
    }
}

/// A workspace, selected by `workspace`, with its oldest file that has these bytes.
pub fn with_content(
    workspace: Select<Entity>,
    id: WorkspaceId,
    sha256: &[u8; 32],
) -> SelectTwo<Entity, file::Entity> {
    // By the id of the file and not by its hash, of which a workspace may have thousands.
    let oldest = file::of_content_unscoped(id, sha256)
        .select_only()
        .column(file::Column::Id)
        .order_by_asc(file::Column::Id)
        .limit(1)
        .into_query();
    let files: RelationDef =
        Entity::belongs_to(file::Entity).from(Column::Id).to(file::Column::WorkspaceId).into();
    let id = Expr::col((file::Entity, file::Column::Id)).eq(oldest);
    let files = files.on_condition(move |_, _| id.clone().into_condition());
    workspace.select_also(file::Entity).join(JoinType::LeftJoin, files)
}

/// The EXIF policy of a workspace, for work that the server does by itself; `STRIP_ALL` if the workspace does not exist.
pub async fn exif_policy(db: &impl ConnectionTrait, id: WorkspaceId) -> Result<ExifPolicy, DbErr> {
    Ok(exif_policy_of(Entity::find_by_id(id).one(db).await?.as_ref()))
}

/// The EXIF policy of a workspace; the strictest one if the workspace does not exist.
pub fn exif_policy_of(workspace: Option<&Model>) -> ExifPolicy {
    workspace.map_or(ExifPolicy::StripAll, |workspace| workspace.exif_policy)
}

/// The EXIF policies of several workspaces.
pub async fn exif_policies(
    db: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = WorkspaceId>,
) -> Result<HashMap<WorkspaceId, ExifPolicy>, DbErr> {
    let workspaces = Entity::find().filter(COLUMN.id.is_in(ids)).all(db).await?;
    Ok(workspaces.into_iter().map(|workspace| (workspace.id, workspace.exif_policy)).collect())
}

/// A workspace, for work that the server does by itself.
pub fn by_id_unscoped(id: WorkspaceId) -> Select<Entity> {
    Entity::find_by_id(id)
}

/// Whether there is such a workspace, for commands, which have no viewer.
pub async fn exists(db: &impl ConnectionTrait, id: WorkspaceId) -> Result<bool, DbErr> {
    Ok(Entity::find_by_id(id).one(db).await?.is_some())
}
