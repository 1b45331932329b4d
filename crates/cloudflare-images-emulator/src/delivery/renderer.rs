//! Runs transformations within limits of memory and processors, and caches their results.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::negotiate::Rendering;
use super::{Format, Transformation};
use crate::error::ApiError;
use crate::transform::{RenderedFile, decode, geometry, render};

/// A transformation of a stored file.
pub(super) struct RenderJob {
    /// Key in the cache: jobs with equal keys have equal results.
    pub(super) key: [u8; 32],
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Width and height of the source, in pixels.
    pub(super) size: (u32, u32),
    pub(super) transformation: Transformation,
    pub(super) rendering: Rendering,
}

/// Runs transformations and caches the latest results.
pub(crate) struct Renderer {
    /// One permit for each mebibyte of decoded pixels.
    memory: Arc<Semaphore>,
    /// One permit for each concurrent transformation.
    processors: Arc<Semaphore>,
    cache: Mutex<RenderCache>,
}

/// A processor and an amount of memory, which are released when this is dropped.
pub(crate) struct RenderPermit {
    _processor: Option<OwnedSemaphorePermit>,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Default for Renderer {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |count| count.get());
        Renderer {
            memory: Arc::new(Semaphore::new(MEMORY_MEBIBYTES as usize)),
            processors: Arc::new(Semaphore::new(processors)),
            cache: Mutex::default(),
        }
    }
}

impl Renderer {
    /// The result of a job, from the cache or by running it.
    pub(super) async fn render(&self, job: RenderJob) -> Result<RenderedFile, ApiError> {
        if let Some(rendered) = self.cache().get(&job.key) {
            return Ok(rendered);
        }
        let permit = self.permit(required_memory(&job)).await;
        // An equal job may have been run while this one waited.
        if let Some(rendered) = self.cache().get(&job.key) {
            return Ok(rendered);
        }
        let key = job.key;
        let work = move || {
            let _permit = permit;
            run(&job)
        };
        let rendered = tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "a transformation of the Cloudflare Images emulator failed");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, 9523, "Internal error")
        })??;
        self.cache().put(key, rendered.clone());
        Ok(rendered)
    }

    /// Waits for a processor and for memory for `bytes` of pixels.
    ///
    /// Move the permit into the blocking task: the task continues if the client disconnects and the future that waits for
    /// it is dropped.
    pub(crate) async fn permit(&self, bytes: u64) -> RenderPermit {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(MEMORY_MEBIBYTES).clamp(1, MEMORY_MEBIBYTES);
        // `acquire_owned` fails on closed semaphores only, and these are never closed.
        let processor = self.processors.clone().acquire_owned().await.ok();
        let memory = self.memory.clone().acquire_many_owned(mebibytes).await.ok();
        RenderPermit { _processor: processor, _memory: memory }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, RenderCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory for decoded pixels of concurrent transformations. A job that needs more waits for all of it and runs alone.
const MEMORY_MEBIBYTES: u32 = 1024;
/// Limit of the results in the cache together, in bytes.
const MAX_CACHED_BYTES: usize = 64 * 1024 * 1024;

/// Results by key. The least recently used are removed first.
#[derive(Default)]
struct RenderCache {
    /// Each result with the value of `uses` at its last use.
    results: HashMap<[u8; 32], (u64, RenderedFile)>,
    bytes: usize,
    uses: u64,
}

impl RenderCache {
    fn get(&mut self, key: &[u8; 32]) -> Option<RenderedFile> {
        self.uses += 1;
        let (used, rendered) = self.results.get_mut(key)?;
        *used = self.uses;
        Some(rendered.clone())
    }

    fn put(&mut self, key: [u8; 32], rendered: RenderedFile) {
        // A result that fits only without all others is not worth them.
        if rendered.bytes.len() > MAX_CACHED_BYTES {
            return;
        }
        self.uses += 1;
        self.bytes += rendered.bytes.len();
        if let Some((_, old)) = self.results.insert(key, (self.uses, rendered)) {
            self.bytes -= old.bytes.len();
        }
        while self.bytes > MAX_CACHED_BYTES {
            let oldest = self.results.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            let Some((_, old)) = oldest.and_then(|key| self.results.remove(&key)) else { break };
            self.bytes -= old.bytes.len();
        }
    }
}

fn run(job: &RenderJob) -> Result<RenderedFile, ApiError> {
    match job.rendering {
        Rendering::Still(output) => render(&job.path, job.format, &job.transformation, output, false),
        Rendering::Animated(output) => render(&job.path, job.format, &job.transformation, output, true),
        Rendering::SanitisedSvg => {
            let clean = decode::sanitised_svg(&job.path)
                .map_err(|error| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, 9516, error))?;
            Ok(RenderedFile { bytes: clean.into(), media_type: Format::Svg.media_type() })
        }
    }
}

/// Bytes that a job allocates at most, with four bytes per pixel: two copies of the source, and three of the result,
/// encoding included, or five if it is blurred or sharpened. The EXIF orientation may exchange the source's sides.
fn required_memory(job: &RenderJob) -> u64 {
    let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let (width, height) = job.size;
    let result_area =
        |size| area(geometry::layout(size, job.transformation.size(), job.transformation.fit).canvas);
    let largest_result = result_area((width, height)).max(result_area((height, width)));
    let copies = if job.transformation.blur.is_some() || job.transformation.sharpen > 0.0 { 5 } else { 3 };
    (area(job.size) * 2).saturating_add(largest_result.saturating_mul(copies)).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    const MEBIBYTE: usize = 1024 * 1024;

    fn cached(sizes: &[usize]) -> RenderCache {
        let mut cache = RenderCache::default();
        for (number, size) in (0..).zip(sizes) {
            cache.put([number; 32], RenderedFile { bytes: Bytes::from(vec![0; *size]), media_type: "" });
        }
        cache
    }

    fn kept(cache: &mut RenderCache) -> Vec<u8> {
        (0..u8::MAX).filter(|number| cache.get(&[*number; 32]).is_some()).collect()
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = cached(&[MEBIBYTE; 70]);
        assert_eq!(cache.bytes, MAX_CACHED_BYTES);
        assert_eq!(kept(&mut cache), (6..70).collect::<Vec<_>>());
        // One that exceeds the limit alone does not displace the others.
        let mut cache = cached(&[MEBIBYTE, MAX_CACHED_BYTES + 1, MEBIBYTE]);
        assert_eq!(kept(&mut cache), [0, 2]);
    }

    #[test]
    fn what_was_used_last_stays_in_the_cache() {
        let mut cache = cached(&[MAX_CACHED_BYTES / 2, MAX_CACHED_BYTES / 2]);
        assert!(cache.get(&[0; 32]).is_some());
        cache.put([2; 32], RenderedFile { bytes: Bytes::from_static(b"more"), media_type: "" });
        assert_eq!(kept(&mut cache), [0, 2]);
    }
}
