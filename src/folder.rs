//! Folders and files of this server's own, into which nobody else may look: uploads lie there, and secrets.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::path::Path;

/// Makes a folder and those it lies in, closed to everybody else. With `durable` they outlast a power cut.
pub fn make(folder: &Path, durable: bool) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = folder.ancestors().take_while(missing).collect();
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    if durable {
        for parent in made.into_iter().filter_map(Path::parent) {
            sync(parent)?;
        }
    }
    Ok(())
}

/// Makes a missing file, and closes it to everybody else: the database, whose log and index SQLite makes with the same
/// permissions.
pub fn make_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?;
    close(path)
}

/// Closes a file or a folder to everybody else, if it is there. One that belongs to another user stays as it is.
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
        // A folder with this bit is everybody's, such as one for temporary files.
        if found.mode() & 0o077 == 0 || found.mode() & STICKY != 0 {
            return Ok(());
        }
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        if let Err(problem) = std::fs::set_permissions(path, Permissions::from_mode(mode)) {
            tracing::warn!(path = %path.display(), %problem, "others may read this, and it cannot be changed");
        }
    }
    #[cfg(not(unix))]
    let _ = (path, Permissions::readonly);
    Ok(())
}

/// Writes the entries of a folder to the disk; the empty path is the working folder.
pub fn sync(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
