//! Received bytes in temporary files, counted and hashed while they arrive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
#[cfg(target_os = "linux")]
use crate::folder;

/// Size of the chunks that are read, in bytes.
const CHUNK_SIZE: usize = 1024 * 1024;

/// Received bytes are gathered up to this number, and then hashed and written at once: a photo in one step.
const GATHERED_BYTES: usize = 256 * 1024;

/// A temporary file that is being written.
struct Output {
    file: File,
    hasher: Sha256,
}

impl Output {
    /// Hashes and writes bytes, on the pool for blocking operations.
    async fn write(self, chunks: Vec<Bytes>) -> Result<Output> {
        let Output { mut file, mut hasher } = self;
        let written = tokio::task::spawn_blocking(move || {
            for chunk in &chunks {
                hasher.update(chunk);
                file.write_all(chunk)?;
            }
            Ok(Output { file, hasher })
        });
        let written = written.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        written.map_err(|io| Error::outage("writing a temporary file", io))
    }
}

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
        let mut output = Output { file, hasher: Sha256::new() };
        let (mut size, mut gathered, mut gathered_bytes) = (0u64, Vec::new(), 0);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > max {
                return Err(too_large(max));
            }
            gathered_bytes += chunk.len();
            gathered.push(chunk);
            if gathered_bytes >= GATHERED_BYTES {
                output = output.write(std::mem::take(&mut gathered)).await?;
                gathered_bytes = 0;
            }
        }
        let Output { file, hasher } = output.write(gathered).await?;
        Ok(Spool { file: Arc::new(file), size, sha256: hasher.finalize().into() })
    }

    /// Gives the file this name as well, in a folder that is created if it is missing. With `durable`, bytes and name are on
    /// disk when this returns.
    ///
    /// # Errors
    /// Those of the file system: the folder may be on another one, or not support links to nameless files.
    #[cfg(target_os = "linux")]
    pub fn link(&self, path: &Path, durable: bool) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, linkat};
        use std::os::fd::AsRawFd;
        let parent = path.parent().unwrap_or(Path::new(""));
        if !parent.exists() {
            folder::create(parent, durable)?;
        }
        if durable {
            self.file.sync_data()?;
        }
        let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        if durable { folder::sync(parent) } else { Ok(()) }
    }

    /// Other systems have no names for nameless files.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn link(&self, _: &Path, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
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
