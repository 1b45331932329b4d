//! The state of a running server, which every operation receives.

mod cached;

mod clock;

mod db;

mod event_notifier;

mod rate_buckets;

mod token_uses;

mod reader;

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
pub use reader::Reader;
pub use token_uses::TokenUses;
pub use transaction::Transaction;
pub use writer::Writer;

use crate::config::Config;
use crate::connections::Connections;
use crate::error::{Error, Result};
use crate::id::{DirectUploadId, FileId};
use crate::storage::BlobStore;
use cloudflare_images::client::Client;
use cloudflare_images::wire::{Key, Variant};

/// Most image operations that the worker runs at once: as many as the batch host takes in a third of a second, in which a
/// call should be answered.
pub const MAX_IMAGE_OPERATIONS: usize = 64;

/// The state of a running server. Cloning is cheap.
#[derive(Clone)]
pub struct App {
    /// The client for the Cloudflare account.
    pub cloudflare: Client,
    parts: Arc<Parts>,
}

/// The fields of [`App`], which dereferences to them.
pub struct Parts {
    pub config: Config,
    pub db: Db,
    pub blobs: BlobStore,
    /// The named variants of the Cloudflare account.
    pub variants: Cached<Vec<Variant>>,
    /// The signing keys of the Cloudflare account.
    pub keys: Cached<Vec<Key>>,
    /// Whether the Cloudflare account delivers transformations by URL options.
    pub flexible_variants: Cached<bool>,
    pub clock: Clock,
    /// The rate limit of each token.
    pub rate_buckets: RateBuckets,
    /// Wakes the worker when a row is due.
    pub due: Notify,
    /// Permits for the worker's image operations, each of which may keep a connection to the account open for long.
    pub image_permits: Arc<Semaphore>,
    /// When tokens were used, until it is written to the database.
    pub token_uses: TokenUses,
    /// Wakes the worker when an import is due.
    pub imports: Notify,
    /// Progress of the check that files have their bytes: the file checked last, from the newest to the oldest. `None` to start
    /// with the newest.
    pub last_checked_file: std::sync::Mutex<Option<FileId>>,
    /// Direct uploads whose bytes this process is receiving.
    pub receiving: std::sync::Mutex<HashSet<DirectUploadId>>,
    /// The secret that signs the server's own URLs, loaded when it is first needed.
    pub url_secret: OnceCell<Vec<u8>>,
    /// Notifies subscriptions of new events in a workspace.
    pub event_notifier: EventNotifier,
    /// Open WebSockets and event streams.
    pub connections: Connections,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl App {
    /// Creates the state.
    pub fn new(config: Config, db: Db, blobs: BlobStore, cloudflare: Client, clock: Clock) -> App {
        let parts = Parts {
            config,
            db,
            blobs,
            variants: Cached::default(),
            keys: Cached::default(),
            flexible_variants: Cached::default(),
            clock,
            rate_buckets: RateBuckets::default(),
            due: Notify::new(),
            image_permits: Arc::new(Semaphore::new(MAX_IMAGE_OPERATIONS)),
            token_uses: TokenUses::default(),
            imports: Notify::new(),
            last_checked_file: std::sync::Mutex::default(),
            receiving: std::sync::Mutex::default(),
            url_secret: OnceCell::new(),
            event_notifier: EventNotifier::default(),
            connections: Connections::default(),
        };
        App { cloudflare, parts: Arc::new(parts) }
    }

    /// The same server for work that nobody waits for: its calls to the account leave a part of the rate to requests.
    pub fn in_background(&self) -> App {
        App { cloudflare: self.cloudflare.background(), parts: Arc::clone(&self.parts) }
    }

    /// When the lease of a row that is claimed now ends.
    pub fn lease(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + self.config.lease
    }

    /// The URL at which clients reach this server.
    ///
    /// # Errors
    /// Internal, before the server has started.
    pub fn public_url(&self) -> Result<Url> {
        self.config
            .public_url
            .clone()
            .ok_or_else(|| Error::fault("the public URL", "the server has not started"))
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
