//! Received bytes in temporary files, counted and hashed while they arrive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::error::{Code, Error, Result};

/// Size of the chunks that are read, in bytes.
const CHUNK_SIZE: usize = 1024 * 1024;

/// Received bytes in a temporary file without a name: the operating system removes it even if the process is killed.
#[derive(Clone)]
pub struct Spool {
    file: Arc<File>,
    pub size: u64,
    pub sha256: [u8; 32],
}

impl Spool {
    /// Writes a stream to a temporary file in `folder`.
    ///
    /// # Errors
    /// `FILE_TOO_LARGE` as soon as more than `max` bytes have arrived; errors of `chunks`.
    pub async fn receive<S, E>(folder: &Path, max: u64, mut chunks: S) -> Result<Spool>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
        Error: From<E>,
    {
        let file =
            tempfile::tempfile_in(folder).map_err(|io| Error::outage("creating a temporary file", io))?;
        let mut output = tokio::fs::File::from_std(file);
        let (mut size, mut hasher) = (0u64, Sha256::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > max {
                return Err(too_large(max));
            }
            hasher.update(&chunk);
            output.write_all(&chunk).await.map_err(|io| Error::outage("writing a temporary file", io))?;
        }
        output.flush().await.map_err(|io| Error::outage("writing a temporary file", io))?;
        let file = Arc::new(output.into_std().await);
        Ok(Spool { file, size, sha256: hasher.finalize().into() })
    }

    /// A reader at the start of the bytes. Each reader has its own position.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader { file: Arc::clone(&self.file), size: self.size, position: 0 }
    }

    /// The bytes in chunks of up to 1 MiB, read on the pool for blocking operations.
    pub fn chunks(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        stream::try_unfold(self.reader(), |mut reader| async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = Vec::with_capacity(
                    CHUNK_SIZE.min(usize::try_from(reader.remaining()).unwrap_or(CHUNK_SIZE)),
                );
                let read = reader.by_ref().take(CHUNK_SIZE as u64).read_to_end(&mut chunk);
                read.map(|_| (Bytes::from(chunk), reader))
            });
            let (chunk, reader) = read.await.map_err(io::Error::other)??;
            Ok((!chunk.is_empty()).then_some((chunk, reader)))
        })
    }
}

/// Reads a [`Spool`] with its own position, because the position of the file is shared by all readers.
#[derive(Debug)]
pub struct SpoolReader {
    file: Arc<File>,
    size: u64,
    position: u64,
}

impl SpoolReader {
    fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        // This moves the shared position too, but no reader uses it.
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SpoolReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::End(offset) => (self.size, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        let before_start = || io::Error::new(io::ErrorKind::InvalidInput, "seek to a negative position");
        self.position = base.checked_add_signed(offset).ok_or_else(before_start)?;
        Ok(self.position)
    }
}

/// `FILE_TOO_LARGE` for a limit of `max` bytes.
pub fn too_large(max: u64) -> Error {
    Error::refuse(Code::FileTooLarge, format!("The file is larger than the limit of {max} bytes."))
}
