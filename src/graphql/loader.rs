//! Batched look-ups: one statement per relation of a page, whatever the page holds. One set per request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_graphql::dataloader::{CacheFactory, CacheStorage, DataLoader, HashMapCache, Loader};
use tokio::sync::watch;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::{api_token, direct_upload, file, image, membership, user, workspace, workspace_usage};
use crate::error::Error;
use crate::id::{ApiTokenId, DirectUploadId, FileId, ImageId, MembershipId, UserId, WorkspaceId};
use crate::query::usage;
use crate::{api_token as tokens, workspace::member as members};
use crate::{direct_upload as direct_uploads, file as files, image as images, workspace as workspaces};

/// The loaders of one request.
pub type Loaders = DataLoader<Scoped, Fresh>;

/// Loads what the viewer may see.
pub struct Scoped {
    app: App,
    viewer: Arc<Viewer>,
    /// How many root fields of a mutation have begun.
    changes: Arc<AtomicU64>,
}

impl Scoped {
    /// Begins a change: what was loaded before it is not used after it. Answers how many came before it.
    pub fn change(&self) -> u64 {
        self.changes.fetch_add(1, Ordering::AcqRel)
    }
}

/// Makes caches that are empty after each change.
pub struct Fresh(Arc<AtomicU64>);

impl CacheFactory for Fresh {
    fn create<K, V>(&self) -> Box<dyn CacheStorage<Key = K, Value = V>>
    where
        K: Send + Sync + Clone + Eq + Hash + 'static,
        V: Send + Sync + Clone + 'static,
    {
        let changes = Arc::clone(&self.0);
        Box::new(UntilChange { changes, seen: 0, held: HashMapCache::default().create() })
    }
}

struct UntilChange<K, V> {
    changes: Arc<AtomicU64>,
    /// The number of changes when the cache was last looked at.
    seen: u64,
    held: Box<dyn CacheStorage<Key = K, Value = V>>,
}

impl<K, V> UntilChange<K, V>
where
    K: Send + Sync + Clone + Eq + Hash + 'static,
    V: Send + Sync + Clone + 'static,
{
    fn current(&mut self) -> &mut dyn CacheStorage<Key = K, Value = V> {
        let changes = self.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.seen = changes;
            self.held.clear();
        }
        &mut *self.held
    }
}

impl<K, V> CacheStorage for UntilChange<K, V>
where
    K: Send + Sync + Clone + Eq + Hash + 'static,
    V: Send + Sync + Clone + 'static,
{
    type Key = K;
    type Value = V;

    fn get(&mut self, key: &K) -> Option<&V> {
        self.current().get(key)
    }

    fn insert(&mut self, key: Cow<'_, K>, value: Cow<'_, V>) {
        self.current().insert(key, value);
    }

    fn remove(&mut self, key: &K) {
        self.held.remove(key);
    }

    fn clear(&mut self) {
        self.held.clear();
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (&'_ K, &'_ V)> + '_> {
        self.held.iter()
    }
}

/// Key that finds an image by its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageOf(pub FileId);

/// Key that finds an image by Cloudflare's id of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageOfAccount(pub String);

/// Key that finds what a workspace uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UsageOf(pub WorkspaceId);

/// A set of loaders for one request, which wait for the sweeps of its execution.
pub fn loaders(app: App, viewer: Arc<Viewer>, sweeps: &Sweeps) -> Loaders {
    let sweeps = sweeps.clone();
    let spawn = move |load| {
        let sweeps = sweeps.clone();
        tokio::spawn(async move {
            sweeps.end().await;
            load.await
        })
    };
    let changes = Arc::<AtomicU64>::default();
    let caches = Fresh(Arc::clone(&changes));
    DataLoader::with_cache(Scoped { app, viewer, changes }, spawn, caches).delay(Duration::ZERO)
}

/// Tells when the executor has gone through all the fields it can.
///
/// Whatever the fields of a page ask for, they ask within one poll of the execution. A loader that waits for the end of
/// that poll has all their keys: one statement, always, and no delay by the clock that is too long on one machine and
/// too short on another.
#[derive(Clone, Default)]
pub struct Sweeps(Arc<watch::Sender<bool>>);

impl Sweeps {
    /// Runs an execution, noting each poll of it.
    pub async fn of<F: Future>(self, execution: F) -> F::Output {
        // Without a budget: a sweep cut short by the runtime would split its batch. The limits of a query bound it.
        let mut execution = pin!(tokio::task::unconstrained(execution));
        poll_fn(|context| {
            self.0.send_replace(true);
            let woken = Arc::new(Woken { again: AtomicBool::new(false), waker: context.waker().clone() });
            let polled = execution.as_mut().poll(&mut Context::from_waker(&Arc::clone(&woken).into()));
            // A long page yields in the middle of a sweep and asks to be polled again at once.
            if polled.is_ready() || !woken.again.load(Ordering::Acquire) {
                self.0.send_replace(false);
            }
            polled
        })
        .await
    }

    async fn end(&self) {
        // An error means that the execution is gone, and with it the need to wait.
        let _ = self.0.subscribe().wait_for(|sweeping| !sweeping).await;
    }
}

/// Passes a wake-up on and notes that there was one.
struct Woken {
    again: AtomicBool,
    waker: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }
}

impl Loader<FileId> for Scoped {
    type Value = file::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[FileId]) -> Result<HashMap<FileId, file::Model>, Arc<Error>> {
        let found = files::find_many(&self.app, &self.viewer, keys).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|file| (file.id, file)).collect())
    }
}

impl Loader<ImageId> for Scoped {
    type Value = image::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ImageId]) -> Result<HashMap<ImageId, image::Model>, Arc<Error>> {
        let found = images::find_many(&self.app, &self.viewer, keys).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|image| (image.id, image)).collect())
    }
}

impl Loader<DirectUploadId> for Scoped {
    type Value = direct_upload::Model;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[DirectUploadId],
    ) -> Result<HashMap<DirectUploadId, direct_upload::Model>, Arc<Error>> {
        let found = direct_uploads::find_many(&self.app, &self.viewer, keys).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|upload| (upload.id, upload)).collect())
    }
}

impl Loader<ImageOfAccount> for Scoped {
    type Value = image::Model;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[ImageOfAccount],
    ) -> Result<HashMap<ImageOfAccount, image::Model>, Arc<Error>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0.as_str()).collect();
        let found = images::find_by_account_ids(&self.app, &self.viewer, &ids).await.map_err(Arc::new)?;
        let keyed =
            found.into_iter().filter_map(|image| Some((ImageOfAccount(image.cf_image_id.clone()?), image)));
        Ok(keyed.collect())
    }
}

impl Loader<ImageOf> for Scoped {
    type Value = image::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ImageOf]) -> Result<HashMap<ImageOf, image::Model>, Arc<Error>> {
        let files: Vec<_> = keys.iter().map(|key| key.0).collect();
        let found = images::find_by_files(&self.app, &self.viewer, &files).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|image| (ImageOf(image.file_id), image)).collect())
    }
}

impl Loader<WorkspaceId> for Scoped {
    type Value = workspace::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[WorkspaceId]) -> Result<HashMap<WorkspaceId, workspace::Model>, Arc<Error>> {
        let found = workspaces::find_many(&self.app, &self.viewer, keys).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|workspace| (workspace.id, workspace)).collect())
    }
}

impl Loader<MembershipId> for Scoped {
    type Value = membership::Model;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[MembershipId],
    ) -> Result<HashMap<MembershipId, membership::Model>, Arc<Error>> {
        let found = members::find_many(&self.app, &self.viewer, keys).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|member| (member.id, member)).collect())
    }
}

impl Loader<ApiTokenId> for Scoped {
    type Value = api_token::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ApiTokenId]) -> Result<HashMap<ApiTokenId, api_token::Model>, Arc<Error>> {
        let found = tokens::find_many(&self.app, &self.viewer, keys).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|token| (token.id, token)).collect())
    }
}

impl Loader<UsageOf> for Scoped {
    type Value = workspace_usage::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UsageOf]) -> Result<HashMap<UsageOf, workspace_usage::Model>, Arc<Error>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let found = usage::find_many(&self.app, &self.viewer, &ids).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|usage| (UsageOf(usage.workspace_id), usage)).collect())
    }
}

impl Loader<UserId> for Scoped {
    type Value = user::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, user::Model>, Arc<Error>> {
        let found = workspaces::find_users(&self.app, &self.viewer, keys).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|user| (user.id, user)).collect())
    }
}
