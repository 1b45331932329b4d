//! Insertion of workspaces and their members.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait};

use crate::entity::{StringList, membership, workspace};
use crate::error::Result;
use crate::id::{MembershipId, UserId, WorkspaceId};
use crate::normalization::{original_unless_nfc, to_nfc};

/// Inserts a workspace with the default policy.
pub async fn insert(
    transaction: &impl ConnectionTrait,
    name: &str,
    now: DateTime<Utc>,
) -> Result<workspace::Model> {
    let row = workspace::ActiveModel {
        id: Set(WorkspaceId::new(now)),
        name: Set(to_nfc(name).into_owned()),
        name_sent: Set(original_unless_nfc(name)),
        allowed_mime_types: Set(StringList::default()),
        max_file_size: Set(None),
        private_by_default: Set(false),
        exif_policy: Set(workspace::ExifPolicy::StripLocation),
        on_duplicate: Set(workspace::DuplicatePolicy::Create),
        trash_days: Set(30),
        created_at: Set(now),
        updated_at: Set(now),
    };
    Ok(row.insert(transaction).await?)
}

/// Inserts the membership of a user.
pub async fn insert_member(
    transaction: &impl ConnectionTrait,
    user: UserId,
    workspace: WorkspaceId,
    role: membership::Role,
    now: DateTime<Utc>,
) -> Result<membership::Model> {
    let row = membership::ActiveModel {
        id: Set(MembershipId::new(now)),
        workspace_id: Set(workspace),
        user_id: Set(user),
        role: Set(role),
        created_at: Set(now),
    };
    Ok(row.insert(transaction).await?)
}
