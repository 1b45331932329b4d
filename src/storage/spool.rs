//! Bytes on their way in: streamed to a nameless temporary file, counted and hashed as they arrive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::error::{Code, Error, Result};

/// How much is read at once.
const CHUNK: usize = 1024 * 1024;

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
        let file =
            tempfile::tempfile_in(folder).map_err(|io| Error::outage("making a temporary file", io))?;
        let mut to = tokio::fs::File::from_std(file);
        let (mut size, mut hasher) = (0u64, Sha256::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > max {
                return Err(too_large(max));
            }
            hasher.update(&chunk);
            to.write_all(&chunk).await.map_err(|io| Error::outage("spooling an upload", io))?;
        }
        to.flush().await.map_err(|io| Error::outage("spooling an upload", io))?;
        let file = Arc::new(to.into_std().await);
        Ok(Spool { file, size, sha256: hasher.finalize().into() })
    }

    /// Reads the bytes from the start. Each reader has a position of its own: any number reads at once.
    pub fn reader(&self) -> Reader {
        Reader { file: Arc::clone(&self.file), size: self.size, at: 0 }
    }

    /// The bytes from the start, in chunks; reading them blocks nobody.
    pub fn chunks(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        stream::try_unfold(self.reader(), |mut reader| async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk =
                    Vec::with_capacity(CHUNK.min(usize::try_from(reader.left()).unwrap_or(CHUNK)));
                let read = reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
                read.map(|_| (Bytes::from(chunk), reader))
            });
            let (chunk, reader) = read.await.map_err(io::Error::other)??;
            Ok((!chunk.is_empty()).then_some((chunk, reader)))
        })
    }
}

/// Reads spooled bytes. It never moves the position of the file, which all readers of it share.
#[derive(Debug)]
pub struct Reader {
    file: Arc<File>,
    size: u64,
    at: u64,
}

impl Reader {
    fn left(&self) -> u64 {
        self.size.saturating_sub(self.at)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.at)?;
        // Moves the shared position too, which no reader looks at.
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(offset) => (self.size, offset),
            SeekFrom::Current(offset) => (self.at, offset),
        };
        let before_start = || io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start");
        self.at = base.checked_add_signed(offset).ok_or_else(before_start)?;
        Ok(self.at)
    }
}

/// The refusal of a file above the limit.
pub fn too_large(max: u64) -> Error {
    Error::refuse(Code::FileTooLarge, format!("The file is larger than the {max} bytes that are accepted."))
}
