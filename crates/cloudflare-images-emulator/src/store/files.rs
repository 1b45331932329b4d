//! The folder of image files, `files/ab/abcd…`, and the folder `incoming` of incomplete uploads.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use chrono::{DateTime, Utc};
use tempfile::TempPath;
use tokio_util::io::ReaderStream;

use crate::OpenError;
use crate::form::SpoolWriter;

/// Image files by name. A name is never reused.
pub(crate) struct Files {
    stored: PathBuf,
    incoming: PathBuf,
}

impl Files {
    /// Creates the folders and removes incomplete uploads of earlier processes.
    pub(super) fn open(data_dir: &Path, now: DateTime<Utc>) -> Result<Files, OpenError> {
        let files = Files { stored: data_dir.join("files"), incoming: data_dir.join("incoming") };
        for folder in [data_dir, &files.stored, &files.incoming] {
            create_folder(folder).map_err(|source| failed(folder, source))?;
        }
        for old in old_files(&files.incoming, now).map_err(|source| failed(&files.incoming, source))? {
            // Another process may have completed or removed it in the meantime.
            let _ = std::fs::remove_file(old);
        }
        Ok(files)
    }

    /// An empty file for an upload. It is removed when dropped, unless [`Files::persist`] has moved it.
    pub(crate) fn spool(&self) -> std::io::Result<SpoolWriter> {
        SpoolWriter::new(tempfile::NamedTempFile::new_in(&self.incoming)?)
    }

    /// Moves a complete upload to the stored files, waits until it is on the disk, and returns its new name.
    pub(crate) fn persist(&self, upload: TempPath) -> std::io::Result<String> {
        let name = hex::encode(rand::random::<[u8; 16]>());
        let path = self.path(&name);
        let folder = path.parent().unwrap_or(&self.stored);
        std::fs::create_dir_all(folder)?;
        std::fs::File::open(&upload)?.sync_all()?;
        upload.persist(&path).map_err(|error| error.error)?;
        for folder in [folder, &self.stored] {
            sync_folder(folder)?;
        }
        Ok(name)
    }

    /// The path of a stored file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let folder = name.get(..2).unwrap_or_default();
        self.stored.join(folder).join(name)
    }

    /// A stored file as a response body; `None` if it was deleted since its row was read.
    pub(crate) async fn body(&self, name: &str) -> std::io::Result<Option<Body>> {
        match tokio::fs::File::open(self.path(name)).await {
            Ok(file) => Ok(Some(Body::from_stream(ReaderStream::with_capacity(file, READ_BUFFER)))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a file that no row refers to.
    pub(crate) fn remove(&self, name: &str) {
        if let Err(error) = std::fs::remove_file(self.path(name)) {
            tracing::warn!(%error, name, "the Cloudflare Images emulator could not remove a file");
        }
    }

    /// Names of stored files that are so old that their row must have been inserted, if it ever will be.
    pub(super) fn old_blobs(&self, now: DateTime<Utc>) -> Result<Vec<String>, OpenError> {
        let mut names = Vec::new();
        let folders = std::fs::read_dir(&self.stored).map_err(|source| failed(&self.stored, source))?;
        for folder in folders.flatten() {
            let path = folder.path();
            let old = old_files(&path, now).map_err(|source| failed(&path, source))?;
            names.extend(old.iter().filter_map(|path| path.file_name()?.to_str()).map(str::to_owned));
        }
        Ok(names)
    }
}

/// Younger files may belong to an upload that another process on the same folder is receiving.
const MIN_ORPHAN_AGE: Duration = Duration::from_secs(60 * 60);
/// Size of the chunks of a response body, in bytes.
const READ_BUFFER: usize = 64 * 1024;

/// Creates a folder that only its owner can read, because it contains keys and credentials.
fn create_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    restrict_permissions(folder, 0o700)
}

/// Waits until the entries of a folder are on the disk.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Sets the mode of a file or folder that may have been created by another program or an earlier version.
pub(crate) fn restrict_permissions(path: &Path, mode: u32) -> std::io::Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

fn old_files(folder: &Path, now: DateTime<Utc>) -> std::io::Result<Vec<PathBuf>> {
    let now = SystemTime::from(now);
    let mut old = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let modified = entry.metadata()?.modified()?;
        if now.duration_since(modified).is_ok_and(|age| age > MIN_ORPHAN_AGE) {
            old.push(entry.path());
        }
    }
    Ok(old)
}

fn failed(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Files { path: path.to_owned(), source }
}
