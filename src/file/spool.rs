//! Bytes on their way in: streamed to a nameless temporary file, counted and hashed as they arrive.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::error::{Code, Error, Result};

/// Received bytes. The file behind it has no name, so nothing is left when the process dies.
#[derive(Clone)]
pub struct Spool {
    file: Arc<File>,
    pub size: u64,
    pub sha256: [u8; 32],
}

impl Spool {
    /// Receives a stream, at most `max` bytes of it, in a temporary file of `folder`.
    ///
    /// # Errors
    /// `FILE_TOO_LARGE` as soon as the limit is passed; whatever `chunks` fails with.
    pub async fn receive<S, E>(folder: &Path, max: u64, mut chunks: S) -> Result<Spool>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
        Error: From<E>,
    {
        let file = tempfile::tempfile_in(folder).map_err(|io| Error::fault("making a temporary file", io))?;
        let mut to = tokio::fs::File::from_std(file);
        let (mut size, mut hasher) = (0u64, Sha256::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > max {
                return Err(too_large(max));
            }
            hasher.update(&chunk);
            to.write_all(&chunk).await.map_err(|io| Error::fault("spooling an upload", io))?;
        }
        to.flush().await.map_err(|io| Error::fault("spooling an upload", io))?;
        let file = Arc::new(to.into_std().await);
        Ok(Spool { file, size, sha256: hasher.finalize().into() })
    }

    /// Reads the bytes from the start. Readers share one position: use one at a time.
    pub fn reader(&self) -> std::io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

/// The refusal of a file above the limit.
pub fn too_large(max: u64) -> Error {
    Error::refuse(Code::FileTooLarge, format!("The file is larger than the {max} bytes that are accepted."))
}
