//! From bytes in a temporary file to bytes in the store.

use std::path::{Path, PathBuf};

use super::Emulator;
use super::answer::Refusal;
use super::form::Spooled;
use super::probe::{self, Probe};

/// Stored bytes no row points at yet.
#[derive(Debug)]
pub(super) struct Stored {
    /// Name in the folder of files.
    pub(super) blob: String,
    pub(super) probe: Probe,
    /// At most 255 characters.
    pub(super) filename: String,
}

/// Checks the bytes and moves them into the store under a name no other image has.
///
/// The row comes after the file, so a row always has its file; a file whose row never came is swept at an open.
pub(super) async fn store(emulator: &Emulator, spooled: Spooled) -> Result<Stored, Refusal> {
    let path = spooled.path.to_path_buf();
    let mut found = blocking(path.clone(), probe::measure).await?;
    let decoded = u64::from(found.width) * u64::from(found.height) * 4 * 2;
    let turn = emulator.0.renders.turn(decoded).await;
    let verified = move |path: &Path| {
        let _turn = turn;
        probe::verify(path, &mut found).map(|()| found)
    };
    let found = blocking(path, verified).await?;
    let (shared, path) = (emulator.clone(), spooled.path);
    // It waits for the disk.
    let adopted = tokio::task::spawn_blocking(move || shared.0.store.files.adopt(path));
    let blob = adopted.await.map_err(std::io::Error::other)??;
    Ok(Stored { blob, probe: found, filename: spooled.filename.chars().take(MAX_FILENAME).collect() })
}

/// Longest file name that is kept, in characters.
const MAX_FILENAME: usize = 255;

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    look: impl FnOnce(&Path) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(move || look(&path)).await.map_err(Refusal::internal)?
}
