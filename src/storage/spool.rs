//! Received bytes in temporary files, counted and hashed while they arrive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
#[cfg(target_os = "linux")]
use crate::folder;

/// Bytes that are written or read in one step. Each step is a task on the pool for blocking operations, whose start costs as
/// much as copying tens of kilobytes; most photos take one or a few.
const STEP_BYTES: usize = 256 * 1024;

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
            if gathered_bytes >= STEP_BYTES {
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
    pub fn reader(&self) -> FileReader {
        FileReader::new(Arc::clone(&self.file), 0..self.size)
    }
}

/// Reads a file up to an end, with its own position, because the position of the file is shared by all readers.
#[derive(Debug)]
pub struct FileReader {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl FileReader {
    /// A reader of these bytes of a file.
    pub fn new(file: Arc<File>, range: Range<u64>) -> FileReader {
        FileReader { file, position: range.start, end: range.end }
    }

    /// Bytes up to the end, or the largest `usize` if they are more.
    fn remaining(&self) -> usize {
        usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX)
    }

    /// The bytes in chunks, read on the pool for blocking operations. A file that is shorter ends the stream early.
    pub fn chunks(self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        stream::try_unfold(self, |mut reader| async move {
            let length = reader.remaining().min(STEP_BYTES);
            if length == 0 {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = Vec::with_capacity(length);
                let read = reader.by_ref().take(length as u64).read_to_end(&mut chunk);
                read.map(|_| (Bytes::from(chunk), reader))
            });
            let (chunk, reader) = read.await.map_err(io::Error::other)??;
            Ok((!chunk.is_empty()).then_some((chunk, reader)))
        })
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.remaining());
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        // This moves the shared position too, but no reader uses it.
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::End(offset) => (self.end, offset),
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    /// The lengths of the chunks of a range of a file with so many bytes.
    async fn chunk_lengths(bytes: usize, range: Range<u64>) -> Vec<usize> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; bytes]).unwrap();
        let chunks: Vec<Bytes> = FileReader::new(Arc::new(file), range).chunks().try_collect().await.unwrap();
        chunks.iter().map(Bytes::len).collect()
    }

    #[tokio::test]
    async fn a_range_is_read_in_steps() {
        assert_eq!(chunk_lengths(STEP_BYTES * 2, 10..STEP_BYTES as u64 + 30).await, [STEP_BYTES, 20]);
        assert_eq!(chunk_lengths(10, 3..3).await, [0usize; 0]);
    }

    #[tokio::test]
    async fn a_file_that_is_shorter_than_its_range_ends_the_stream() {
        assert_eq!(chunk_lengths(10, 4..100).await, [6]);
        assert_eq!(chunk_lengths(10, 20..100).await, [0usize; 0]);
    }
}
