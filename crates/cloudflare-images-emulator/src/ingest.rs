//! Checks received files and moves them into the store.

use std::path::{Path, PathBuf};

use super::Emulator;
use super::error::ApiError;
use super::form::SpooledFile;
use super::probe::{self, Probe};

/// A file in the store that no row refers to yet.
#[derive(Debug)]
pub(super) struct StoredFile {
    /// Name of the file in the store.
    pub(super) blob: String,
    pub(super) probe: Probe,
    /// At most 255 characters.
    pub(super) filename: String,
}

/// Checks a file and moves it into the store under a new name.
///
/// The file is stored before its row is inserted, so a row always has its file. A file without a row is removed when the
/// emulator is next opened.
pub(super) async fn store(emulator: &Emulator, spooled: SpooledFile) -> Result<StoredFile, ApiError> {
    let path = spooled.path.to_path_buf();
    let mut probe = blocking(path.clone(), probe::measure).await?;
    // Four bytes per pixel, for two frames.
    let decoded_bytes = u64::from(probe.width) * u64::from(probe.height) * 4 * 2;
    let permit = emulator.0.renderer.permit(decoded_bytes).await;
    let verify = move |path: &Path| {
        let _permit = permit;
        probe::verify(path, &mut probe).map(|()| probe)
    };
    let probe = blocking(path, verify).await?;
    let (emulator, path) = (emulator.clone(), spooled.path);
    // On a blocking thread, because it waits until the file is on the disk.
    let persisted = tokio::task::spawn_blocking(move || emulator.0.store.files.persist(path));
    let blob = persisted.await.map_err(std::io::Error::other)??;
    Ok(StoredFile { blob, probe, filename: spooled.filename.chars().take(MAX_FILENAME_CHARS).collect() })
}

/// Longer file names are cut.
const MAX_FILENAME_CHARS: usize = 255;

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    check: impl FnOnce(&Path) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(move || check(&path)).await.map_err(ApiError::internal)?
}
