//! Folders and files that only the server's own user may access, because they contain uploads and secrets.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::path::Path;

/// Creates a folder and its missing parents with mode 0700. With `durable`, the new directory entries are synced to disk.
///
/// # Errors
/// Those of the file system.
pub fn create(folder: &Path, durable: bool) -> io::Result<()> {
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
pub fn create_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?;
    make_private(path)
}

/// Removes the permissions of other users from a file or folder. A missing path is ignored. If the permissions cannot be
/// changed, for example because the file belongs to another user, a warning is logged.
///
/// # Errors
/// The metadata cannot be read.
pub fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        const STICKY: u32 = 0o1000;
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // A folder with the sticky bit, such as /tmp, is shared on purpose.
        if metadata.mode() & 0o077 == 0 || metadata.mode() & STICKY != 0 {
            return Ok(());
        }
        let mode = if metadata.is_dir() { 0o700 } else { 0o600 };
        if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(mode)) {
            tracing::warn!(path = %path.display(), %error, "other users can read this path, and its permissions cannot be changed");
        }
    }
    #[cfg(not(unix))]
    let _ = (path, Permissions::readonly);
    Ok(())
}

/// Syncs the entries of a folder to disk. The empty path is the working directory.
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
