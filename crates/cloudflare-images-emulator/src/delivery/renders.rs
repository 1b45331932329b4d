//! Transformations under way and done: bounded in memory and processors, and kept for the next request.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::negotiate::Work;
use super::{Format, Plan};
use crate::answer::Refusal;
use crate::transform::{Rendered, decode, geometry, render};

/// One transformation to be made.
pub(super) struct Job {
    /// Names the outcome: equal keys, equal bytes.
    pub(super) key: [u8; 32],
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Of the source, in pixels.
    pub(super) size: (u32, u32),
    pub(super) plan: Plan,
    pub(super) work: Work,
}

/// Makes transformations and remembers the latest outcomes.
pub(crate) struct Renders {
    /// Mebibytes decoded pixels may take up at a time.
    room: Arc<Semaphore>,
    /// Transformations at a time.
    workers: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

/// A processor and room in memory, given back when dropped.
pub(crate) struct Turn {
    _worker: Option<OwnedSemaphorePermit>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Renders {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |count| count.get());
        Renders {
            room: Arc::new(Semaphore::new(ROOM as usize)),
            workers: Arc::new(Semaphore::new(processors)),
            kept: Mutex::default(),
        }
    }
}

impl Renders {
    /// The outcome of a job, from memory if it was made before.
    pub(super) async fn get(&self, job: Job) -> Result<Rendered, Refusal> {
        if let Some(rendered) = self.kept().get(&job.key) {
            return Ok(rendered);
        }
        let turn = self.turn(bytes_needed(&job)).await;
        // Whoever was before us in the queue may have wanted the same.
        if let Some(rendered) = self.kept().get(&job.key) {
            return Ok(rendered);
        }
        let key = job.key;
        let held = move || {
            let _turn = turn;
            run(&job)
        };
        let rendered = tokio::task::spawn_blocking(held).await.map_err(|error| {
            tracing::error!(%error, "a transformation of the Cloudflare Images emulator failed");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 9523, "Internal error")
        })??;
        self.kept().put(key, rendered.clone());
        Ok(rendered)
    }

    /// Waits for a processor, and until `bytes` of pixels fit into memory beside those being worked on.
    ///
    /// The work must hold the turn itself: it goes on when the client has left whose future waits for it.
    pub(crate) async fn turn(&self, bytes: u64) -> Turn {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(ROOM).clamp(1, ROOM);
        // Closed semaphores give no permit; these are never closed.
        let worker = self.workers.clone().acquire_owned().await.ok();
        Turn { _worker: worker, _room: self.room.clone().acquire_many_owned(mebibytes).await.ok() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mebibytes of decoded pixels at a time; a single larger job waits for all of it.
const ROOM: u32 = 1024;
/// Bytes of outcomes that are remembered.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// Outcomes by key, the least recently used leaving first.
#[derive(Default)]
struct Kept {
    outcomes: HashMap<[u8; 32], (u64, Rendered)>,
    bytes: usize,
    uses: u64,
}

impl Kept {
    fn get(&mut self, key: &[u8; 32]) -> Option<Rendered> {
        self.uses += 1;
        let (used, rendered) = self.outcomes.get_mut(key)?;
        *used = self.uses;
        Some(rendered.clone())
    }

    fn put(&mut self, key: [u8; 32], rendered: Rendered) {
        self.uses += 1;
        self.bytes += rendered.bytes.len();
        if let Some((_, old)) = self.outcomes.insert(key, (self.uses, rendered)) {
            self.bytes -= old.bytes.len();
        }
        while self.bytes > MAX_KEPT {
            let oldest = self.outcomes.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            let Some((_, old)) = oldest.and_then(|key| self.outcomes.remove(&key)) else { break };
            self.bytes -= old.bytes.len();
        }
    }
}

fn run(job: &Job) -> Result<Rendered, Refusal> {
    match job.work {
        Work::Write(output) => render(&job.path, job.format, &job.plan, output, false),
        Work::Animate(output) => render(&job.path, job.format, &job.plan, output, true),
        Work::CleanSvg => {
            let clean = decode::sanitised_svg(&job.path)
                .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, 9516, error))?;
            Ok(Rendered { bytes: clean.into(), media_type: Format::Svg.media_type() })
        }
    }
}

/// Four bytes a pixel: of the source twice over, of the outcome three times, with what its encoder makes of it, and twice
/// more where it is blurred or sharpened. The source may lie on its side.
fn bytes_needed(job: &Job) -> u64 {
    let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let (width, height) = job.size;
    let outcome = |size| area(geometry::layout(size, job.plan.size(), job.plan.fit).canvas);
    let largest = outcome((width, height)).max(outcome((height, width)));
    let copies = if job.plan.blur.is_some() || job.plan.sharpen > 0.0 { 5 } else { 3 };
    (area(job.size) * 2).saturating_add(largest.saturating_mul(copies)).saturating_mul(4)
}
