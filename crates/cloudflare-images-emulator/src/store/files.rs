//! The folder of image files: `files/ab/abcd…`, and `incoming` for uploads that are not complete.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use tempfile::TempPath;

use crate::OpenError;
use crate::form::SpoolFile;
use crate::hex;

/// Files by name; a name is never used twice.
pub(crate) struct Files {
    kept: PathBuf,
    incoming: PathBuf,
}

impl Files {
    /// Makes the folders and removes uploads an earlier process left incomplete.
    pub(super) fn open(data_dir: &Path, now: DateTime<Utc>) -> Result<Files, OpenError> {
        let files = Files { kept: data_dir.join("files"), incoming: data_dir.join("incoming") };
        for folder in [data_dir, &files.kept, &files.incoming] {
            make_folder(folder).map_err(|source| failed(folder, source))?;
        }
        for old in old_files(&files.incoming, now).map_err(|source| failed(&files.incoming, source))? {
            // Another process may have finished it meanwhile.
            let _ = std::fs::remove_file(old);
        }
        Ok(files)
    }

    /// An empty file for an upload, removed unless it is adopted.
    pub(crate) fn spool(&self) -> std::io::Result<SpoolFile> {
        SpoolFile::new(tempfile::NamedTempFile::new_in(&self.incoming)?)
    }

    /// Moves a complete upload to its place, on the disk, and answers its name.
    pub(crate) fn adopt(&self, upload: TempPath) -> std::io::Result<String> {
        let name = hex(&rand::random::<[u8; 16]>());
        let path = self.path(&name);
        let folder = path.parent().unwrap_or(&self.kept);
        std::fs::create_dir_all(folder)?;
        std::fs::File::open(&upload)?.sync_all()?;
        upload.persist(&path).map_err(|error| error.error)?;
        for folder in [folder, &self.kept] {
            sync_folder(folder)?;
        }
        Ok(name)
    }

    /// Where a file is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let folder = name.get(..2).unwrap_or_default();
        self.kept.join(folder).join(name)
    }

    /// Removes a file no row points at any more.
    pub(crate) fn remove(&self, name: &str) {
        if let Err(error) = std::fs::remove_file(self.path(name)) {
            tracing::warn!(%error, name, "the Cloudflare Images emulator could not remove a file");
        }
    }

    /// Names of files old enough to have got their row, if ever they will.
    pub(super) fn old_blobs(&self, now: DateTime<Utc>) -> Result<Vec<String>, OpenError> {
        let mut names = Vec::new();
        let folders = std::fs::read_dir(&self.kept).map_err(|source| failed(&self.kept, source))?;
        for folder in folders.flatten() {
            let path = folder.path();
            let old = old_files(&path, now).map_err(|source| failed(&path, source))?;
            names.extend(old.iter().filter_map(|path| path.file_name()?.to_str()).map(str::to_owned));
        }
        Ok(names)
    }
}

/// A younger file may belong to an upload of another process on the same folder.
const OLD: Duration = Duration::from_secs(60 * 60);

/// Keys and credentials are in it: nobody else may look.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    close(folder, 0o700)
}

/// Writes the names in a folder to the disk.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Takes what was made by an earlier version, or by hand, away from everybody else.
pub(crate) fn close(path: &Path, mode: u32) -> std::io::Result<()> {
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
        if now.duration_since(modified).is_ok_and(|age| age > OLD) {
            old.push(entry.path());
        }
    }
    Ok(old)
}

fn failed(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Files { path: path.to_owned(), source }
}
