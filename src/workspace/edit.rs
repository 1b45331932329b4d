//! Creating workspaces, and updating their names and policies.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};

use super::find;
use crate::app::App;
use crate::auth::Viewer;
use crate::content::mime;
use crate::entity::api_token::Scope;
use crate::entity::columns;
use crate::entity::workspace::{self, DuplicatePolicy, Entity, ExifPolicy, Model};
use crate::entity::{StringList, membership};
use crate::error::{Code, Error, Result};
use crate::id::WorkspaceId;
use crate::normalization::{self, original_unless_nfc, to_nfc};
use crate::rows;

/// Longest name, in characters.
const MAX_NAME: usize = 100;
/// Most MIME types of a policy.
const MAX_TYPES: usize = 50;
/// Longest retention time of the trash, in days.
const MAX_TRASH_DAYS: i32 = 365;

/// Changes to a policy; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct PolicyChange {
    /// MIME types; wildcards such as `image/*` are allowed. An empty list allows any type.
    pub allowed_mime_types: Option<Vec<String>>,
    /// In bytes.
    pub max_file_size: Option<u64>,
    pub private_by_default: Option<bool>,
    pub exif_policy: Option<ExifPolicy>,
    pub on_duplicate: Option<DuplicatePolicy>,
    pub trash_days: Option<i32>,
}

/// Creates a workspace with the viewer as its owner.
///
/// # Errors
/// `FORBIDDEN`, also for a token limited to a workspace; `BAD_USER_INPUT`.
pub async fn create(app: &App, viewer: &Viewer, name: &str, policy: &PolicyChange) -> Result<Model> {
    viewer.require(Scope::WorkspaceAdmin)?;
    if viewer.token.workspace_id.is_some() {
        let message = "The token in use is limited to one workspace and cannot create another.";
        return Err(Error::refuse(Code::Forbidden, message));
    }
    let name = checked_name(name)?;
    check_policy(app, policy)?;
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let workspace = rows::workspace::insert(&transaction, &name, now).await?;
    rows::workspace::insert_member(&transaction, viewer.user.id, workspace.id, membership::Role::Owner, now)
        .await?;
    let workspace = with_changes(workspace, None, policy, now).update(&transaction).await?;
    transaction.commit().await?;
    viewer.add_membership(workspace.id, membership::Role::Owner);
    Ok(workspace)
}

/// Updates the name or the policy of a workspace.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `BAD_USER_INPUT`.
pub async fn update(
    app: &App,
    viewer: &Viewer,
    id: WorkspaceId,
    name: Option<&str>,
    policy: &PolicyChange,
) -> Result<Model> {
    let workspace = find_owned(app, viewer, id).await.map_err(|e| e.at("id"))?;
    let name = name.map(checked_name).transpose()?;
    check_policy(app, policy)?;
    let row = with_changes(workspace, name, policy, app.clock.now());
    let updated = Entity::update_many()
        .set(row)
        .filter(workspace::COLUMN.id.eq(id))
        .exec_with_returning(&app.db.write)
        .await?;
    updated.into_iter().next().ok_or_else(|| Error::not_found("workspace").at("id"))
}

/// A workspace that the viewer may manage, as its owner or as an admin.
///
/// # Errors
/// `NOT_FOUND` when the viewer may not see it, `FORBIDDEN` when the viewer is neither, or the token has not the scope
/// `WORKSPACE_ADMIN`.
pub async fn find_owned(app: &App, viewer: &Viewer, id: WorkspaceId) -> Result<Model> {
    viewer.require(Scope::WorkspaceAdmin)?;
    let found = find(app, viewer, id, &columns::all::<Entity>()).await?;
    let Some(workspace) = found else { return Err(Error::not_found("workspace")) };
    viewer.require_owner(id)?;
    Ok(workspace)
}

fn with_changes(
    workspace: Model,
    name: Option<String>,
    policy: &PolicyChange,
    now: DateTime<Utc>,
) -> workspace::ActiveModel {
    let mut row: workspace::ActiveModel = workspace.into();
    if let Some(name) = name {
        row.name_sent = Set(original_unless_nfc(&name));
        row.name = Set(to_nfc(&name).into_owned());
    }
    if let Some(types) = &policy.allowed_mime_types {
        let mut types: Vec<String> = types.iter().map(|known| mime::essence(known)).collect();
        types.dedup();
        row.allowed_mime_types = Set(StringList(types));
    }
    if let Some(size) = policy.max_file_size {
        row.max_file_size = Set(i64::try_from(size).ok());
    }
    if let Some(private) = policy.private_by_default {
        row.private_by_default = Set(private);
    }
    if let Some(exif) = policy.exif_policy {
        row.exif_policy = Set(exif);
    }
    if let Some(duplicate) = policy.on_duplicate {
        row.on_duplicate = Set(duplicate);
    }
    if let Some(days) = policy.trash_days {
        row.trash_days = Set(days);
    }
    row.updated_at = Set(now);
    row
}

fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    if (1..=MAX_NAME).contains(&normalization::nfc_length(name)) && !name.chars().any(char::is_control) {
        return Ok(name.to_owned());
    }
    let message = format!("A workspace's name has 1 to {MAX_NAME} characters and no control character.");
    Err(Error::invalid("name", message))
}

fn check_policy(app: &App, policy: &PolicyChange) -> Result<()> {
    if let Some(types) = &policy.allowed_mime_types
        && (types.len() > MAX_TYPES
            || types.iter().any(|known| mime::parse_pattern(&mime::essence(known)).is_none()))
    {
        let message = format!(
            "At most {MAX_TYPES} MIME types such as `image/png` or `image/*` are listed; none means any."
        );
        return Err(Error::invalid("policy.allowedMimeTypes", message));
    }
    let max_size = app.config.max_file_size;
    if policy.max_file_size.is_some_and(|size| !(1..=max_size).contains(&size)) {
        let message = format!("The largest file has 1 to {max_size} bytes, the limit of this server.");
        return Err(Error::invalid("policy.maxFileSize", message));
    }
    if policy.trash_days.is_some_and(|days| !(0..=MAX_TRASH_DAYS).contains(&days)) {
        let message = format!("Files stay in the trash for 0 to {MAX_TRASH_DAYS} days.");
        return Err(Error::invalid("policy.trashRetentionDays", message));
    }
    Ok(())
}
