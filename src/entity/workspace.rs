//! Workspaces: the tenants.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use crate::access::WorkspaceAccess;
use crate::entity::StringList;
use crate::id::WorkspaceId;

/// What of a photo's metadata is kept.
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

/// What an upload of bytes already present in the workspace does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize)]
#[sea_orm(rs_type = "String", db_type = "Text")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DuplicatePolicy {
    /// Makes a file with its own id that shares the stored bytes.
    #[sea_orm(string_value = "CREATE")]
    Create,
    /// Answers the file that is there.
    #[sea_orm(string_value = "REUSE")]
    Reuse,
    #[sea_orm(string_value = "REJECT")]
    Reject,
}

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workspace")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WorkspaceId,
    /// In composed form.
    pub name: String,
    /// The name as it was sent, if that is another spelling.
    pub name_sent: Option<String>,
    /// Accepted types, `image/*` style wildcards among them; empty means any.
    pub allowed_mime_types: StringList,
    /// Largest accepted file in bytes; null means the server's limit.
    pub max_file_size: Option<i64>,
    /// New images need signed URLs unless told otherwise.
    pub private_by_default: bool,
    pub exif_policy: ExifPolicy,
    pub on_duplicate: DuplicatePolicy,
    /// Days a file stays in the trash; 0 deletes at once.
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

/// What of the metadata of a workspace's new images is kept, for the step that makes their rows.
pub async fn exif_policy(db: &impl ConnectionTrait, id: WorkspaceId) -> Result<ExifPolicy, DbErr> {
    Ok(kept_by(Entity::find_by_id(id).one(db).await?.as_ref()))
}

/// The policy of a workspace; the strictest for one that is gone: what nobody has a say in, nobody keeps.
pub fn kept_by(workspace: Option<&Model>) -> ExifPolicy {
    workspace.map_or(ExifPolicy::StripAll, |workspace| workspace.exif_policy)
}

/// The same of several workspaces.
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

/// Whether there is such a workspace, for commands, which act for nobody.
pub async fn exists(db: &impl ConnectionTrait, id: WorkspaceId) -> Result<bool, DbErr> {
    Ok(Entity::find_by_id(id).one(db).await?.is_some())
}
