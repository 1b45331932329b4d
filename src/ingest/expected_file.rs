//! Files whose rows were inserted before their bytes were received: by a direct upload or an import.

use uuid::Uuid;

use crate::app::App;
use crate::content::mime::DeclaredType;
use crate::entity::file::Intent;
use crate::entity::workspace::Model as Workspace;
use crate::error::Result;
use crate::id::ImageId;
use crate::ingest::description::check_sha256;
use crate::ingest::{AccountImage, ImageRequest, IngestOutcome, ReceivedFile, Target, dedup, ingest, policy};
use crate::storage::spool::Spool;

/// A file row without bytes, and what is known about the bytes that were received for it.
pub struct ExpectedFile<'a> {
    pub workspace: &'a Workspace,
    /// The options of the request that inserted the row.
    pub intent: Intent,
    /// Type and name that the source states.
    pub declared: DeclaredType<'a>,
    pub image_id: ImageId,
    /// Whether its image requires signed URLs.
    pub signed: bool,
    /// The image, if the account has it already. Its size is not checked again, because the account may return a re-encoded
    /// original that is slightly larger than the limit.
    pub in_account: Option<&'a AccountImage>,
    /// The blob of these bytes, if they were written to the byte store already.
    pub stored: Option<Uuid>,
    pub target: Target<'a>,
}

impl ExpectedFile<'_> {
    /// Checks the bytes and makes the file ready.
    ///
    /// # Errors
    /// What [`policy::check_content`] and [`ingest`] refuse.
    pub async fn fill(self, app: &App, spool: &Spool) -> Result<IngestOutcome> {
        let Intent { image, on_duplicate, sha256, .. } = self.intent;
        let image = image.unwrap_or_default();
        let sha256 = sha256.as_deref().map(check_sha256).transpose()?;
        let provision = image.provision && self.in_account.is_none();
        let kind =
            policy::check_content(app, self.workspace, spool, sha256.as_ref(), self.declared, provision)
                .await?;
        let existing = match self.stored {
            Some(_) => None,
            None => dedup::find(&app.db.read, self.workspace.id, &spool.sha256).await?,
        };
        let received = ReceivedFile {
            workspace: self.workspace,
            spool,
            kind: &kind,
            existing: existing.as_ref(),
            stored: self.stored,
            on_duplicate: on_duplicate.unwrap_or(self.workspace.on_duplicate),
            image: ImageRequest {
                id: self.image_id,
                new: &image,
                signed: self.signed,
                in_account: self.in_account,
            },
            target: self.target,
        };
        ingest(app, &received).await
    }
}
