//! Deduplication: the files of a workspace that have the same bytes share one blob.
//!
//! A new file shares the blob of another file only in a transaction that has locked the row of that file. A blob is deleted
//! only after the last file that owns it was marked as removed. Marking needs the same lock, so either it waits until the
//! new file is committed, and then finds another owner, or the new file finds no file to share with.

use sea_orm::{ConnectionTrait, DbBackend, QueryOrder, QuerySelect, Select};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::{App, Transaction};
use crate::entity::file::{self, Column, Entity, Model};
use crate::entity::workspace::DuplicatePolicy;
use crate::error::{Error, Result};
use crate::id::{WorkspaceId, uuid_v7};
use crate::storage::BlobKey;
use crate::storage::spool::Spool;

/// Blobs that a new file can have.
#[derive(Debug, Clone, Copy)]
pub struct CandidateBlobs {
    /// The blob that was stored for the new file.
    pub new: Option<Uuid>,
    /// The blob of another file with the same content, which the byte store has.
    pub verified: Option<Uuid>,
}

/// Result of looking for content in a workspace.
#[derive(Debug)]
pub enum ContentLookup {
    /// The blob for the file that is written in this transaction.
    Blob(Uuid),
    /// The workspace has a file with these bytes, and the policy allows no second one.
    Duplicate(Box<Model>),
    /// No file has the bytes, and they were not stored for the new file.
    NotStored,
    /// This file has the bytes according to its row. The caller has to check that the byte store has them.
    Unverified(Box<Model>),
}

/// Writes received bytes into the byte store under a new key.
///
/// # Errors
/// A fault if the store does not work, or has other bytes than were received.
pub async fn store(app: &App, spool: &Spool) -> Result<Uuid> {
    let blob_id = uuid_v7(app.clock.now());
    let key = BlobKey::Original(blob_id);
    if !app.blobs.put_spool(key, spool).await? {
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
    Ok(oldest(workspace, sha256).one(db).await?)
}

fn oldest(workspace: WorkspaceId, sha256: &[u8; 32]) -> Select<Entity> {
    file::of_content_unscoped(workspace, sha256).order_by_asc(Column::Id).limit(1)
}

/// Locks content of a workspace until the end of the transaction: waits until no other transaction has locked the same content.
/// SQLite needs no lock: it has one writer at a time.
pub async fn lock_content(
    transaction: &Transaction,
    workspace: WorkspaceId,
    sha256: &[u8; 32],
) -> Result<()> {
    if transaction.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let digest = Sha256::new().chain_update(workspace.0.as_bytes()).chain_update(sha256).finalize();
    let lock = digest.iter().take(8).fold(0i64, |lock, byte| lock << 8 | i64::from(*byte));
    transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({lock})")).await?;
    Ok(())
}

/// Decides which blob a new file with locked content gets, and locks the row of a file that has the same content.
pub async fn choose_blob(
    transaction: &Transaction,
    workspace: WorkspaceId,
    sha256: &[u8; 32],
    policy: DuplicatePolicy,
    blobs: CandidateBlobs,
) -> Result<ContentLookup> {
    // A row that was deleted before it could be locked is left out, and the next one locked.
    let locked = oldest(workspace, sha256).lock_exclusive().one(transaction).await?;
    let Some(file) = locked else {
        return Ok(blobs.new.map_or(ContentLookup::NotStored, ContentLookup::Blob));
    };
    if file.blob_id != blobs.verified {
        return Ok(ContentLookup::Unverified(Box::new(file)));
    }
    Ok(match (policy, file.blob_id) {
        (DuplicatePolicy::Create, Some(blob_id)) => ContentLookup::Blob(blob_id),
        _ => ContentLookup::Duplicate(Box::new(file)),
    })
}

/// Deletes the blob of a file that is marked as removed, unless another file owns it too.
pub async fn release(app: &App, blob_id: Uuid) -> Result<()> {
    // Read on the connection that writes, because a snapshot of the reading pool may be older than the mark.
    if file::owners_unscoped(blob_id).limit(1).one(&app.db.write).await?.is_none() {
        app.blobs.delete(BlobKey::Original(blob_id)).await?;
    }
    Ok(())
}

/// Deletes a blob that was stored for a file which did not need it. If that fails, the sweep deletes it later.
pub async fn discard(app: &App, blob_id: Uuid) {
    if let Err(problem) = app.blobs.delete(BlobKey::Original(blob_id)).await {
        Error::from(problem).log();
    }
}

/// Deletes blobs that no file owns and that are older than `IMAGEGRAPH_SWEEP_AGE`.
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
            tracing::info!(blob = %id, "deleting stored bytes that no file owns");
            app.blobs.delete(BlobKey::Original(*id)).await?;
        }
    }
    Ok(())
}
