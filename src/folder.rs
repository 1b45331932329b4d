//! Folders and files that only the server's own user may read, because they hold uploads and secrets.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::path::Path;

/// Creates a folder and its missing parents with mode 0700. With `durable` the new entries are synced to the disk.
///
/// # Errors
/// Those of the file system.
pub fn make(folder: &Path, durable: bool) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let created: Vec<&Path> = folder.ancestors().take_while(missing).collect();
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    if durable {
        for parent in created.into_iter().filter_map(Path::parent) {
            sync(parent)?;
        }
    }
    Ok(())
}

/// Creates a file unless it exists, and sets its mode to 0600. Used for the database before SQLite opens it, because SQLite
/// creates its log and index files with the permissions of the database file.
///
/// # Errors
/// Those of the file system.
pub fn make_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?;
    close(path)
}

/// Removes the permissions of other users from a file or folder. A missing path is ignored. Where the permissions cannot be
/// changed, as those of another user's file, a warning is logged.
///
/// # Errors
/// The metadata cannot be read.
pub fn close(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        const STICKY: u32 = 0o1000;
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(problem) => return Err(problem),
        };
        // A folder with the sticky bit, such as /tmp, is meant to be shared.
        if found.mode() & 0o077 == 0 || found.mode() & STICKY != 0 {
            return Ok(());
        }
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        if let Err(problem) = std::fs::set_permissions(path, Permissions::from_mode(mode)) {
            tracing::warn!(path = %path.display(), %problem, "other users can read this path, and its permissions cannot be changed");
        }
    }
    #[cfg(not(unix))]
    let _ = (path, Permissions::readonly);
    Ok(())
}

/// Syncs the entries of a folder to the disk. The empty path stands for the working directory.
///
/// # Errors
/// Those of the file system.
pub fn sync(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
