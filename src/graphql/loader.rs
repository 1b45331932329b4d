//! Data loaders: one statement for each relation of a page, whatever its size. Each request has its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_graphql::dataloader::{CacheFactory, CacheStorage, DataLoader, HashMapCache, Loader};
use tokio::sync::watch;

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::{
    api_token, columns, direct_upload, file, image, membership, user, workspace, workspace_usage,
};
use crate::error::Error;
use crate::id::{ApiTokenId, DirectUploadId, FileId, ImageId, MembershipId, UserId, WorkspaceId};
use crate::query::usage;
use crate::{api_token as tokens, workspace::member as members};
use crate::{direct_upload as direct_uploads, file as files, image as images, workspace as workspaces};

/// The loaders of one request.
pub type Loaders = DataLoader<ViewerLoader, FreshAfterMutation>;

/// Loads rows that the viewer may see.
pub struct ViewerLoader {
    app: App,
    viewer: Arc<Viewer>,
    /// The number of root fields of a mutation that have begun.
    mutations: Arc<AtomicU64>,
    /// Files that were read together with their images, sorted by id, with their columns, until the relation asks for them.
    joined: Mutex<Vec<(Vec<file::Column>, Vec<file::Model>)>>,
}

impl ViewerLoader {
    /// Keeps files that were read together with their images.
    pub fn keep_joined(&self, columns: Vec<file::Column>, mut files: Vec<file::Model>) {
        files.sort_unstable_by_key(|file| file.id);
        if let Ok(mut joined) = self.joined.lock() {
            joined.push((columns, files));
        }
    }

    /// Files that were kept with these columns, if all of these are among them.
    pub fn take_joined(&self, ids: &[FileId], columns: &[file::Column]) -> Option<Vec<file::Model>> {
        let mut joined = self.joined.lock().ok()?;
        let has = |files: &[file::Model], id| files.binary_search_by_key(id, |file| file.id).is_ok();
        let at = joined.iter().position(|(kept, files)| {
            columns::are_same(kept, columns) && ids.iter().all(|id| has(files, id))
        })?;
        Some(joined.swap_remove(at).1)
    }

    /// Begins a root field of a mutation: rows loaded before are not used any more. Returns the number of those before it.
    pub fn begin_mutation(&self) -> u64 {
        self.mutations.fetch_add(1, Ordering::AcqRel)
    }
}

/// Makes caches that are emptied when a root field of a mutation begins.
pub struct FreshAfterMutation(Arc<AtomicU64>);

impl CacheFactory for FreshAfterMutation {
    fn create<K, V>(&self) -> Box<dyn CacheStorage<Key = K, Value = V>>
    where
        K: Send + Sync + Clone + Eq + Hash + 'static,
        V: Send + Sync + Clone + 'static,
    {
        let mutations = Arc::clone(&self.0);
        Box::new(MutationScopedCache { mutations, seen: 0, entries: HashMapCache::default().create() })
    }
}

struct MutationScopedCache<K, V> {
    mutations: Arc<AtomicU64>,
    /// The number of mutations at the last access.
    seen: u64,
    entries: Box<dyn CacheStorage<Key = K, Value = V>>,
}

impl<K, V> MutationScopedCache<K, V>
where
    K: Send + Sync + Clone + Eq + Hash + 'static,
    V: Send + Sync + Clone + 'static,
{
    fn current(&mut self) -> &mut dyn CacheStorage<Key = K, Value = V> {
        let mutations = self.mutations.load(Ordering::Acquire);
        if mutations != self.seen {
            self.seen = mutations;
            self.entries.clear();
        }
        &mut *self.entries
    }
}

impl<K, V> CacheStorage for MutationScopedCache<K, V>
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
        self.entries.remove(key);
    }

    fn clear(&mut self) {
        self.entries.clear();
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (&'_ K, &'_ V)> + '_> {
        self.entries.iter()
    }
}

/// The key of an image by its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageByFile(pub FileId);

/// The key of an image by its id in Cloudflare Images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageByCloudflareId(pub String);

/// The key of the usage of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UsageByWorkspace(pub WorkspaceId);

/// The loaders of a request. A batch is loaded when the gate of the execution opens.
pub fn loaders(app: App, viewer: Arc<Viewer>, gate: &BatchGate) -> Loaders {
    let gate = gate.clone();
    let spawn = move |load| {
        let gate = gate.clone();
        tokio::spawn(async move {
            gate.opened().await;
            load.await
        })
    };
    let mutations = Arc::<AtomicU64>::default();
    let caches = FreshAfterMutation(Arc::clone(&mutations));
    DataLoader::with_cache(ViewerLoader { app, viewer, mutations, joined: Mutex::default() }, spawn, caches)
        .delay(Duration::ZERO)
}

/// Closed while the executor is polled.
///
/// All fields of a page request their keys within one poll of the execution. A loader that waits for the end of that poll has
/// all keys and needs one statement, without a delay by the clock, which would be too long on one machine and too short on
/// another.
#[derive(Clone, Default)]
pub struct BatchGate(Arc<watch::Sender<bool>>);

impl BatchGate {
    /// Runs an execution, with the gate closed during each poll.
    pub async fn run<F: Future>(self, execution: F) -> F::Output {
        // Without Tokio's cooperative budget, which would end a poll early and split a batch. The limits of a query bound the
        // work of a poll.
        let mut execution = pin!(tokio::task::unconstrained(execution));
        poll_fn(|context| {
            self.0.send_replace(true);
            let recorder =
                Arc::new(WakeRecorder { woken: AtomicBool::new(false), waker: context.waker().clone() });
            let polled = execution.as_mut().poll(&mut Context::from_waker(&Arc::clone(&recorder).into()));
            // The executor yields within a long page and wakes itself: the gate stays closed until it is polled again.
            if polled.is_ready() || !recorder.woken.load(Ordering::Acquire) {
                self.0.send_replace(false);
            }
            polled
        })
        .await
    }

    async fn opened(&self) {
        // An error means that the execution was dropped, and nobody waits for the batch.
        let _ = self.0.subscribe().wait_for(|closed| !closed).await;
    }
}

/// Forwards a wake-up and records it.
struct WakeRecorder {
    woken: AtomicBool,
    waker: Waker,
}

impl Wake for WakeRecorder {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }
}

impl Loader<FileId> for ViewerLoader {
    type Value = file::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[FileId]) -> Result<HashMap<FileId, file::Model>, Arc<Error>> {
        let found = files::find_many(&self.app, &self.viewer, keys, &columns::all::<file::Entity>())
            .await
            .map_err(Arc::new)?;
        Ok(found.into_iter().map(|file| (file.id, file)).collect())
    }
}

impl Loader<ImageId> for ViewerLoader {
    type Value = image::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ImageId]) -> Result<HashMap<ImageId, image::Model>, Arc<Error>> {
        let found = images::find_many(&self.app, &self.viewer, keys, &columns::all::<image::Entity>())
            .await
            .map_err(Arc::new)?;
        Ok(found.into_iter().map(|image| (image.id, image)).collect())
    }
}

impl Loader<DirectUploadId> for ViewerLoader {
    type Value = direct_upload::Model;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[DirectUploadId],
    ) -> Result<HashMap<DirectUploadId, direct_upload::Model>, Arc<Error>> {
        let found = direct_uploads::find_many(
            &self.app,
            &self.viewer,
            keys,
            &columns::all::<direct_upload::Entity>(),
        )
        .await
        .map_err(Arc::new)?;
        Ok(found.into_iter().map(|upload| (upload.id, upload)).collect())
    }
}

impl Loader<ImageByCloudflareId> for ViewerLoader {
    type Value = image::Model;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[ImageByCloudflareId],
    ) -> Result<HashMap<ImageByCloudflareId, image::Model>, Arc<Error>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0.as_str()).collect();
        let found = images::find_by_account_ids(&self.app, &self.viewer, &ids).await.map_err(Arc::new)?;
        let keyed = found
            .into_iter()
            .filter_map(|image| Some((ImageByCloudflareId(image.cf_image_id.clone()?), image)));
        Ok(keyed.collect())
    }
}

impl Loader<ImageByFile> for ViewerLoader {
    type Value = image::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ImageByFile]) -> Result<HashMap<ImageByFile, image::Model>, Arc<Error>> {
        let files: Vec<_> = keys.iter().map(|key| key.0).collect();
        let found = images::find_by_files(&self.app, &self.viewer, &files, &columns::all::<image::Entity>())
            .await
            .map_err(Arc::new)?;
        Ok(found.into_iter().map(|image| (ImageByFile(image.file_id), image)).collect())
    }
}

impl Loader<WorkspaceId> for ViewerLoader {
    type Value = workspace::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[WorkspaceId]) -> Result<HashMap<WorkspaceId, workspace::Model>, Arc<Error>> {
        let found =
            workspaces::find_many(&self.app, &self.viewer, keys, &columns::all::<workspace::Entity>())
                .await
                .map_err(Arc::new)?;
        Ok(found.into_iter().map(|workspace| (workspace.id, workspace)).collect())
    }
}

impl Loader<MembershipId> for ViewerLoader {
    type Value = membership::Model;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[MembershipId],
    ) -> Result<HashMap<MembershipId, membership::Model>, Arc<Error>> {
        let found = members::find_many(&self.app, &self.viewer, keys, &columns::all::<membership::Entity>())
            .await
            .map_err(Arc::new)?;
        Ok(found.into_iter().map(|member| (member.id, member)).collect())
    }
}

impl Loader<ApiTokenId> for ViewerLoader {
    type Value = api_token::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ApiTokenId]) -> Result<HashMap<ApiTokenId, api_token::Model>, Arc<Error>> {
        let found = tokens::find_many(&self.app, &self.viewer, keys, &columns::all::<api_token::Entity>())
            .await
            .map_err(Arc::new)?;
        Ok(found.into_iter().map(|token| (token.id, token)).collect())
    }
}

impl Loader<UsageByWorkspace> for ViewerLoader {
    type Value = workspace_usage::Model;
    type Error = Arc<Error>;

    async fn load(
        &self,
        keys: &[UsageByWorkspace],
    ) -> Result<HashMap<UsageByWorkspace, workspace_usage::Model>, Arc<Error>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let found = usage::find_many(&self.app, &self.viewer, &ids).await.map_err(Arc::new)?;
        Ok(found.into_iter().map(|usage| (UsageByWorkspace(usage.workspace_id), usage)).collect())
    }
}

impl Loader<UserId> for ViewerLoader {
    type Value = user::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, user::Model>, Arc<Error>> {
        let found = workspaces::find_users(&self.app, &self.viewer, keys, &columns::all::<user::Entity>())
            .await
            .map_err(Arc::new)?;
        Ok(found.into_iter().map(|user| (user.id, user)).collect())
    }
}
