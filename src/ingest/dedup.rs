//! Stored bytes and the files that own them. Files of one workspace with the same bytes share them.
//!
//! A file takes a share only in a transaction that holds the row of a standing owner, and bytes are removed only when no
//! standing file owns them, which is asked after the last owner was marked: whoever marks it waits for the share to be
//! committed, or the share finds nobody to take it from.

use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, QueryFilter, QueryOrder, QuerySelect};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::{App, Transaction};
use crate::entity::file::{self, Column, Model};
use crate::entity::workspace::DuplicatePolicy;
use crate::error::{Error, Result};
use crate::id::{WorkspaceId, uuid_v7};
use crate::storage::spool::Spool;
use crate::storage::{BlobKey, StoredObject};

/// What a claim on content found.
#[derive(Debug)]
pub enum Claim {
    /// The bytes lie here, for the file that is written in this transaction.
    Bytes(Uuid),
    /// The workspace has a file with these bytes, and no other is wanted.
    Exists(Box<Model>),
    /// Nobody has stored the bytes yet.
    Missing,
    /// This file has them by its row; whether they are there is to be looked at first.
    Unverified(Box<Model>),
}

/// Puts received bytes into the byte store under a key nobody else will use.
///
/// # Errors
/// A fault when the store does not work, or has other bytes than were received.
pub async fn store(app: &App, spool: &Spool) -> Result<Uuid> {
    let blob_id = uuid_v7(app.clock.now());
    let key = BlobKey::Original(blob_id);
    let stored = app.blobs.put(key, spool.chunks()).await?;
    let received = StoredObject { size: spool.size, sha256: spool.sha256 };
    if stored != received || app.blobs.size(key).await? != Some(spool.size) {
        discard(app, blob_id).await;
        return Err(Error::fault("storing an upload", "the store has other bytes than were received"));
    }
    Ok(blob_id)
}

/// The oldest file of a workspace that has these bytes and is not in the trash.
pub async fn find(
    db: &impl ConnectionTrait,
    workspace: WorkspaceId,
    sha256: &[u8; 32],
) -> Result<Option<Model>> {
    Ok(file::of_content_unscoped(workspace, sha256).order_by_asc(Column::Id).limit(1).one(db).await?)
}

/// Decides in a transaction where the bytes of a new file lie. `own` are those just stored for it, `verified_blob` those of a file
/// with the same content that were looked for and found. One transaction at a time decides on the same content of a
/// workspace.
pub async fn claim(
    transaction: &Transaction,
    workspace: WorkspaceId,
    sha256: &[u8; 32],
    policy: DuplicatePolicy,
    own: Option<Uuid>,
    verified_blob: Option<Uuid>,
) -> Result<Claim> {
    take_turn(transaction, workspace, sha256).await?;
    loop {
        let Some(standing) = find(transaction, workspace, sha256).await? else {
            return Ok(own.map_or(Claim::Missing, Claim::Bytes));
        };
        let held = file::of_content_unscoped(workspace, sha256)
            .filter(file::COLUMN.id.eq(standing.id))
            .lock_exclusive()
            .one(transaction)
            .await?;
        // Gone between the two: there may be another one.
        let Some(held) = held else { continue };
        if held.blob_id != verified_blob {
            return Ok(Claim::Unverified(Box::new(held)));
        }
        return Ok(match (policy, held.blob_id) {
            (DuplicatePolicy::Create, Some(blob_id)) => Claim::Bytes(blob_id),
            _ => Claim::Exists(Box::new(held)),
        });
    }
}

/// Removes the bytes of a file that is marked as removed, unless another one owns them too.
pub async fn release(app: &App, blob_id: Uuid) -> Result<()> {
    // Not from a reading pool that may lag behind the mark.
    if file::owners_unscoped(blob_id).limit(1).one(&app.db.write).await?.is_none() {
        app.blobs.delete(BlobKey::Original(blob_id)).await?;
    }
    Ok(())
}

/// Removes bytes that were stored for a file which then did not need them. What cannot be removed the sweep finds.
pub async fn discard(app: &App, blob_id: Uuid) {
    if let Err(problem) = app.blobs.delete(BlobKey::Original(blob_id)).await {
        Error::from(problem).log();
    }
}

/// Waits for others who decide on the same content. SQLite has one writer at a time anyway.
async fn take_turn(transaction: &Transaction, workspace: WorkspaceId, sha256: &[u8; 32]) -> Result<()> {
    if transaction.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let digest = Sha256::new().chain_update(workspace.0.as_bytes()).chain_update(sha256).finalize();
    let lock = digest.iter().take(8).fold(0i64, |lock, byte| lock << 8 | i64::from(*byte));
    transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({lock})")).await?;
    Ok(())
}

/// Removes stored bytes that no file owns.
pub async fn remove_unowned(app: &App) -> Result<()> {
    let (age, now) = (app.config.sweep_age, app.clock.now());
    for ids in app.blobs.originals_older_than(age, now.into()).await?.chunks(500) {
        let owned: Vec<_> = file::with_bytes_unscoped(ids)
            .all(&app.db.read)
            .await?
            .into_iter()
            .filter_map(|file| file.blob_id)
            .collect();
        for id in ids.iter().filter(|id| !owned.contains(id)) {
            tracing::info!(blob = %id, "removing bytes that no file owns");
            app.blobs.delete(BlobKey::Original(*id)).await?;
        }
    }
    Ok(())
}
