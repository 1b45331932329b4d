//! What every operation is given: the parts of a running server.

mod cached;

mod clock;

mod db;

mod event_notifier;

mod rate_buckets;

mod token_uses;

mod transaction;

mod writer;

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, OnceCell, Semaphore};
use url::Url;

pub use cached::Cached;
pub use clock::Clock;
pub use db::Db;
pub use event_notifier::EventNotifier;
pub use rate_buckets::{Balance, RATE_WINDOW, Rate, RateBuckets};
pub use token_uses::TokenUses;
pub use transaction::Transaction;
pub use writer::Writer;

use crate::config::Config;
use crate::connections::Connections;
use crate::error::{Error, Result};
use crate::id::{DirectUploadId, FileId};
use crate::storage::Blobs;
use cloudflare_images::client::Client;
use cloudflare_images::wire::{Key, Variant};

/// Most steps with images the worker takes at once.
const IMAGE_STEPS: usize = 32;

/// A running server's parts; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts, reached through [`App`].
pub struct Parts {
    pub config: Config,
    pub db: Db,
    pub blobs: Blobs,
    pub cloudflare: Client,
    /// Named variants of the account.
    pub variants: Cached<Vec<Variant>>,
    /// Signing keys of the account.
    pub keys: Cached<Vec<Key>>,
    /// Whether the account delivers transformations by URL options.
    pub flexible_variants: Cached<bool>,
    pub clock: Clock,
    /// What each token may still ask for.
    pub rate_buckets: RateBuckets,
    /// Wakes the worker when something became due.
    pub due: Notify,
    /// Turns of the worker's steps with images: each may hold a connection to the account for long.
    pub image_steps: Arc<Semaphore>,
    /// Which tokens were used when.
    pub token_uses: TokenUses,
    /// Wakes the worker when there is something to fetch.
    pub imports: Notify,
    /// How far down the list of files their bytes were looked for; from the newest on when there is nothing.
    pub checked_down_to: std::sync::Mutex<Option<FileId>>,
    /// Direct uploads whose bytes are arriving here.
    pub receiving: std::sync::Mutex<HashSet<DirectUploadId>>,
    /// What the server signs its own URLs with, once it was needed.
    pub url_secret: OnceCell<Vec<u8>>,
    /// Tells subscribers that a workspace has new events.
    pub event_notifier: EventNotifier,
    /// Sockets and event streams.
    pub connections: Connections,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(config: Config, db: Db, blobs: Blobs, cloudflare: Client, clock: Clock) -> App {
        App(Arc::new(Parts {
            config,
            db,
            blobs,
            cloudflare,
            variants: Cached::default(),
            keys: Cached::default(),
            flexible_variants: Cached::default(),
            clock,
            rate_buckets: RateBuckets::default(),
            due: Notify::new(),
            image_steps: Arc::new(Semaphore::new(IMAGE_STEPS)),
            token_uses: TokenUses::default(),
            imports: Notify::new(),
            checked_down_to: std::sync::Mutex::default(),
            receiving: std::sync::Mutex::default(),
            url_secret: OnceCell::new(),
            event_notifier: EventNotifier::default(),
            connections: Connections::default(),
        }))
    }

    /// Until when a claim made now holds.
    pub fn lease(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + self.config.lease
    }

    /// Where clients reach this server.
    pub fn public_url(&self) -> Result<Url> {
        self.config.public_url.clone().ok_or_else(|| Error::fault("naming the server", "it was not started"))
    }

    /// For tests that kill a server between two steps, in debug builds only: if `IMAGEGRAPH_CRASH_POINT` has this name,
    /// writes the file `crash-point-reached` into the data folder and waits until the process is killed.
    #[cfg(debug_assertions)]
    pub async fn crash_point(&self, name: &'static str) {
        if self.config.crash_point.as_deref() == Some(name) {
            let _ = std::fs::write(self.config.data_dir.join("crash-point-reached"), name);
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub async fn crash_point(&self, _: &'static str) {}
}
