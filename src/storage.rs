//! The byte store: objects by key in a directory, in memory, or in S3 or R2, through `object_store`.

pub mod spool;

use std::ops::Range;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::signer::{Method, Signer};
use object_store::{
    ClientOptions, GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::Url;
use uuid::Uuid;

use crate::config::{Config, Durability};
use crate::folder;
use crate::storage::spool::{FileReader, Spool};

/// Read timeout of S3 requests: the longest time without data from the store, which includes sending one part.
const S3_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Most retries of a call to S3.
const S3_RETRIES: usize = 3;
/// Longest time during which a call to S3 is retried.
const S3_RETRY_TIME: Duration = Duration::from_secs(15);

/// The key of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKey {
    /// The bytes of a file as they were sent. Each id is used once.
    Original(Uuid),
    /// Bytes that a client sends directly to the store, under the id of its direct upload. They are not checked yet.
    Incoming(Uuid),
}

impl BlobKey {
    fn path(self) -> Path {
        match self {
            BlobKey::Original(id) => Path::from(format!("originals/{id}")),
            BlobKey::Incoming(id) => Path::from(format!("incoming/{id}")),
        }
    }
}

/// The byte store.
#[derive(Clone)]
pub struct BlobStore {
    store: Arc<dyn ObjectStore>,
    /// The directory of a directory store.
    directory: Option<PathBuf>,
    /// Whether an object is on disk before a call returns.
    durable: bool,
    /// For S3: the signer of URLs at which clients send bytes to the store, and the prefix of all keys.
    signer: Option<(Arc<dyn Signer>, Path)>,
}

impl BlobStore {
    /// Opens the configured store. A missing directory is created.
    pub fn open(config: &Config) -> Result<BlobStore, OpenError> {
        let directory = match &config.store_url {
            None => config.data_dir.join("blobs"),
            Some(url) => match url.scheme() {
                "s3" => return Self::s3(config, url),
                "memory" => {
                    let store = Arc::new(InMemory::new());
                    return Ok(BlobStore { store, directory: None, durable: false, signer: None });
                }
                _ => url.to_file_path().map_err(|()| OpenError::Path)?,
            },
        };
        let durable = config.durability == Durability::Full;
        folder::create(&directory, durable)?;
        // With `with_fsync`, an object and the directory entries that lead to it are on disk before a call returns.
        let store = LocalFileSystem::new_with_prefix(&directory)?.with_fsync(durable);
        Ok(BlobStore { store: Arc::new(store), directory: Some(directory), durable, signer: None })
    }

    fn s3(config: &Config, url: &url::Url) -> Result<BlobStore, OpenError> {
        let retry =
            RetryConfig { max_retries: S3_RETRIES, retry_timeout: S3_RETRY_TIME, ..RetryConfig::default() };
        // A read timeout and no total timeout, because a large file may take long on a slow connection.
        let client = ClientOptions::new().with_timeout_disabled().with_read_timeout(S3_READ_TIMEOUT);
        let mut builder = AmazonS3Builder::new()
            .with_retry(retry)
            .with_client_options(client)
            .with_bucket_name(url.host_str().unwrap_or_default())
            .with_region(&config.aws_region);
        if let Some(endpoint) = &config.aws_endpoint_url {
            builder = builder
                .with_endpoint(endpoint.as_str().trim_end_matches('/'))
                .with_allow_http(endpoint.scheme() == "http");
        }
        if let (Some(id), Some(secret)) = (&config.aws_access_key_id, &config.aws_secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        let prefix = Path::from(url.path().trim_matches('/'));
        let s3 = builder.build()?;
        let signer: Arc<dyn Signer> = Arc::new(s3.clone());
        let store = Arc::new(PrefixStore::new(s3, prefix.clone()));
        Ok(BlobStore { store, directory: None, durable: true, signer: Some((signer, prefix)) })
    }

    /// Stores received bytes; false if the store then has other bytes under the key. A directory on the file system of the spool
    /// gets a link to its file, so that the bytes are written once; every other store gets a copy.
    pub async fn put_spool(&self, key: BlobKey, spool: &Spool) -> object_store::Result<bool> {
        if let Some(directory) = &self.directory {
            let path = directory.join(key.path().as_ref());
            let (file, durable) = (spool.clone(), self.durable);
            let linked = tokio::task::spawn_blocking(move || {
                file.link(&path, durable)?;
                Ok::<_, std::io::Error>(std::fs::metadata(&path)?.len())
            });
            // What a link cannot do, a copy can: another file system, or one without nameless files. It also has the error
            // if it cannot.
            if let Ok(Ok(size)) = linked.await {
                return Ok(size == spool.size);
            }
        }
        let stored = self.put(key, spool.reader().chunks()).await?;
        let received = StoredObject { size: spool.size, sha256: spool.sha256 };
        Ok(stored == received && self.size(key).await? == Some(spool.size))
    }

    /// Stores the bytes of `source`, and returns their size and hash. The object becomes visible when it is complete.
    async fn put(
        &self,
        key: BlobKey,
        source: impl Stream<Item = std::io::Result<Bytes>>,
    ) -> object_store::Result<StoredObject> {
        let mut writer = BufWriter::new(Arc::clone(&self.store), key.path());
        match copy(source, &mut writer).await {
            Ok(stored) => {
                // After a failed shutdown the writer must not be aborted: it has ended already.
                writer.shutdown().await.map_err(io_error)?;
                Ok(stored)
            }
            Err(error) => {
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    /// The bytes of an object as a stream.
    pub async fn get(
        &self,
        key: BlobKey,
    ) -> object_store::Result<BoxStream<'static, object_store::Result<Bytes>>> {
        Ok(stream_of(self.store.get(&key.path()).await?))
    }

    /// A range of an object as a stream; `None` if the object is missing or does not have `size` bytes.
    pub async fn get_range(
        &self,
        key: BlobKey,
        size: u64,
        range: Range<u64>,
    ) -> object_store::Result<Option<BoxStream<'static, object_store::Result<Bytes>>>> {
        let options = GetOptions::default().with_range(Some(GetRange::Bounded(range)));
        match self.store.get_opts(&key.path(), options).await {
            Ok(found) if found.meta.size == size => Ok(Some(stream_of(found))),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(None),
            // The object may have been truncated, and each store reports a range beyond its end differently.
            Err(error) => match self.size(key).await? {
                Some(found) if found == size => Err(error),
                _ => Ok(None),
            },
        }
    }

    /// Size of an object in bytes; `None` if it is missing.
    pub async fn size(&self, key: BlobKey) -> object_store::Result<Option<u64>> {
        match self.store.head(&key.path()).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Copies an object within the store.
    pub async fn copy(&self, from: BlobKey, to: BlobKey) -> object_store::Result<()> {
        self.store.copy(&from.path(), &to.path()).await
    }

    /// Whether the store accepts bytes from clients, at presigned URLs.
    pub fn can_presign(&self) -> bool {
        self.signer.is_some()
    }

    /// A URL to which a client can PUT the bytes of an object; `None` if the store has no presigned URLs.
    pub async fn presigned_put_url(
        &self,
        key: BlobKey,
        expires_in: Duration,
    ) -> object_store::Result<Option<Url>> {
        let Some((signer, prefix)) = &self.signer else { return Ok(None) };
        let path: Path = prefix.parts().chain(key.path().parts()).collect();
        signer.signed_url(Method::PUT, &path, expires_in).await.map(Some)
    }

    /// Deletes an object. A missing object is not an error.
    pub async fn delete(&self, key: BlobKey) -> object_store::Result<()> {
        match self.store.delete(&key.path()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// The ids of the originals that are older than `age`.
    pub async fn originals_older_than(
        &self,
        age: Duration,
        now: SystemTime,
    ) -> object_store::Result<Vec<Uuid>> {
        self.store
            .list(Some(&Path::from("originals")))
            .try_filter_map(|object| async move {
                let modified: SystemTime = object.last_modified.into();
                let old = now.duration_since(modified).is_ok_and(|elapsed| elapsed > age);
                Ok(object.location.filename().filter(|_| old).and_then(|name| Uuid::parse_str(name).ok()))
            })
            .try_collect()
            .await
    }

    /// Removes the incomplete objects that a killed process left in a directory store. `object_store` does not list them.
    pub async fn remove_incomplete(&self, age: Duration, now: SystemTime) -> std::io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let folder = directory.join("originals");
        let removed = tokio::task::spawn_blocking(move || {
            let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
            for entry in entries {
                // `object_store` writes `<key>` to `<key>#<n>` and renames it when it is complete.
                let path = entry?.path();
                let is_incomplete = path.file_name().is_some_and(|name| name.to_string_lossy().contains('#'));
                if is_incomplete {
                    // Another process may have completed or removed it in the meantime, so errors are ignored.
                    let modified = std::fs::metadata(&path).and_then(|data| data.modified());
                    if modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|elapsed| elapsed > age)) {
                        let _ = std::fs::remove_file(&path);
                    }
                }
            }
            Ok(())
        });
        removed.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
    }

    /// Checks that the store responds.
    pub async fn check(&self) -> object_store::Result<()> {
        self.store.list(Some(&Path::from("health"))).next().await.transpose().map(drop)
    }
}

/// The bytes of an object that was found. `object_store` would read a file 8 KiB at a time, each in a task of its own.
fn stream_of(found: GetResult) -> BoxStream<'static, object_store::Result<Bytes>> {
    match found.payload {
        GetResultPayload::File(file, _) => {
            let chunks = FileReader::new(Arc::new(file), found.range).chunks();
            chunks.map_err(io_error).boxed()
        }
        GetResultPayload::Stream(stream) => stream,
    }
}

/// Size and hash of stored bytes.
#[derive(Debug, PartialEq, Eq)]
struct StoredObject {
    /// In bytes.
    size: u64,
    sha256: [u8; 32],
}

/// Writes the bytes of `source`, and computes their size and hash.
async fn copy(
    source: impl Stream<Item = std::io::Result<Bytes>>,
    writer: &mut BufWriter,
) -> object_store::Result<StoredObject> {
    let (mut source, mut size, mut hasher) = (pin!(source), 0, Sha256::new());
    while let Some(chunk) = source.next().await {
        let chunk = chunk.map_err(io_error)?;
        size += chunk.len() as u64;
        hasher.update(&chunk);
        // `NotFound` from a write is an error of the store. As `NotFound` it would be taken for a missing file.
        writer.put(chunk).await.map_err(|error| io_error(std::io::Error::other(error)))?;
    }
    Ok(StoredObject { size, sha256: hasher.finalize().into() })
}

fn io_error(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "blob", source: error.into() }
}

/// Why the byte store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store URL is not a path on this machine")]
    Path,
    #[error("the folder cannot be created")]
    Folder(#[from] std::io::Error),
    #[error("the settings of the store are invalid")]
    Store(#[from] object_store::Error),
}
