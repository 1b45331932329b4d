//! Bytes by key: a directory, memory, or S3/R2, all through `object_store`.

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
use object_store::{ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::Url;
use uuid::Uuid;

use crate::config::{Config, Durability};
use crate::folder;

/// Longest silence of an S3 store, and longest time for one of its parts to be sent.
const S3_SILENCE: Duration = Duration::from_secs(30);
/// How often a call to an S3 store is repeated, and for how long.
const S3_RETRIES: usize = 3;
const S3_RETRY_TIME: Duration = Duration::from_secs(15);

/// Everything that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKey {
    /// The bytes of a file as they were sent, under a key used once.
    Original(Uuid),
    /// Bytes that are sent straight to the store for a direct upload, under its id; nobody has looked at them.
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
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The directory, when the store is one.
    directory: Option<PathBuf>,
    /// Who signs requests that clients send to the store themselves, when it is S3, and what its keys begin with.
    signer: Option<(Arc<dyn Signer>, Path)>,
}

impl Blobs {
    /// Opens the store that the settings name; makes a missing directory.
    pub fn open(config: &Config) -> Result<Blobs, OpenError> {
        let directory = match &config.store_url {
            None => config.data_dir.join("blobs"),
            Some(url) => match url.scheme() {
                "s3" => return Self::s3(config, url),
                "memory" => {
                    return Ok(Blobs { store: Arc::new(InMemory::new()), directory: None, signer: None });
                }
                _ => url.to_file_path().map_err(|()| OpenError::Path)?,
            },
        };
        let durable = config.durability == Durability::Full;
        folder::make(&directory, durable)?;
        // With this, an object's bytes and the folders that lead to it are on the disk before a call returns.
        let store = LocalFileSystem::new_with_prefix(&directory)?.with_fsync(durable);
        Ok(Blobs { store: Arc::new(store), directory: Some(directory), signer: None })
    }

    fn s3(config: &Config, url: &url::Url) -> Result<Blobs, OpenError> {
        let retry =
            RetryConfig { max_retries: S3_RETRIES, retry_timeout: S3_RETRY_TIME, ..RetryConfig::default() };
        // Silence is limited and not the whole time, which for a large file on a slow line is long.
        let client = ClientOptions::new().with_timeout_disabled().with_read_timeout(S3_SILENCE);
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
        Ok(Blobs { store, directory: None, signer: Some((signer, prefix)) })
    }

    /// Stores what `source` yields, and answers what that was. An object appears whole or not at all.
    pub async fn put(
        &self,
        key: BlobKey,
        source: impl Stream<Item = std::io::Result<Bytes>>,
    ) -> object_store::Result<Stored> {
        let mut writer = BufWriter::new(Arc::clone(&self.store), key.path());
        match copy(source, &mut writer).await {
            Ok(stored) => {
                // A shutdown that fails has ended the writer, which must not be aborted again.
                writer.shutdown().await.map_err(unwritten)?;
                Ok(stored)
            }
            Err(problem) => {
                let _ = writer.abort().await;
                Err(problem)
            }
        }
    }

    /// The bytes as a stream.
    pub async fn get(
        &self,
        key: BlobKey,
    ) -> object_store::Result<BoxStream<'static, object_store::Result<Bytes>>> {
        Ok(self.store.get(&key.path()).await?.into_stream())
    }

    /// Part of an object of `size` bytes as a stream; `None` if there is no such object, or it has another size.
    pub async fn get_range(
        &self,
        key: BlobKey,
        size: u64,
        range: Range<u64>,
    ) -> object_store::Result<Option<BoxStream<'static, object_store::Result<Bytes>>>> {
        let options = GetOptions::default().with_range(Some(GetRange::Bounded(range)));
        match self.store.get_opts(&key.path(), options).await {
            Ok(found) if found.meta.size == size => Ok(Some(found.into_stream())),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(None),
            // A range beyond the end of an object that was cut off is an error of its own in every store.
            Err(problem) => match self.size(key).await? {
                Some(found) if found == size => Err(problem),
                _ => Ok(None),
            },
        }
    }

    /// How many bytes there are; `None` if nothing is.
    pub async fn size(&self, key: BlobKey) -> object_store::Result<Option<u64>> {
        match self.store.head(&key.path()).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Copies bytes within the store.
    pub async fn copy(&self, from: BlobKey, to: BlobKey) -> object_store::Result<()> {
        self.store.copy(&from.path(), &to.path()).await
    }

    /// Whether clients can send bytes to the store themselves.
    pub fn presigns(&self) -> bool {
        self.signer.is_some()
    }

    /// A URL to which a client can PUT the bytes itself, where the store is one that takes them.
    pub async fn put_url(&self, key: BlobKey, expires_in: Duration) -> object_store::Result<Option<Url>> {
        let Some((signer, prefix)) = &self.signer else { return Ok(None) };
        let path: Path = prefix.parts().chain(key.path().parts()).collect();
        signer.signed_url(Method::PUT, &path, expires_in).await.map(Some)
    }

    /// Removes the bytes; already gone is fine.
    pub async fn delete(&self, key: BlobKey) -> object_store::Result<()> {
        match self.store.delete(&key.path()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// The originals whose bytes have lain there for longer than `age`.
    pub async fn originals_older_than(
        &self,
        age: Duration,
        now: SystemTime,
    ) -> object_store::Result<Vec<Uuid>> {
        self.store
            .list(Some(&Path::from("originals")))
            .try_filter_map(|object| async move {
                let modified: SystemTime = object.last_modified.into();
                let old = now.duration_since(modified).is_ok_and(|lain| lain > age);
                Ok(object.location.filename().filter(|_| old).and_then(|name| Uuid::parse_str(name).ok()))
            })
            .try_collect()
            .await
    }

    /// Removes half-written objects that a killed process left in a directory store, where the library hides them.
    pub async fn sweep_half_written(&self, age: Duration, now: SystemTime) -> std::io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let folder = directory.join("originals");
        let swept = tokio::task::spawn_blocking(move || {
            let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
            for entry in entries {
                // `object_store` stages `<key>` as `<key>#<n>`.
                let path = entry?.path();
                let staged = path.file_name().is_some_and(|name| name.to_string_lossy().contains('#'));
                if staged {
                    // It may have been finished or removed in the meantime.
                    let modified = std::fs::metadata(&path).and_then(|data| data.modified());
                    if modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|lain| lain > age)) {
                        let _ = std::fs::remove_file(&path);
                    }
                }
            }
            Ok(())
        });
        swept.await.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)))
    }

    /// Whether the store answers.
    pub async fn check(&self) -> object_store::Result<()> {
        self.store.list(Some(&Path::from("health"))).next().await.transpose().map(drop)
    }
}

/// What was written into the store.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    pub sha256: [u8; 32],
}

async fn copy(
    source: impl Stream<Item = std::io::Result<Bytes>>,
    writer: &mut BufWriter,
) -> object_store::Result<Stored> {
    let (mut source, mut size, mut hasher) = (pin!(source), 0, Sha256::new());
    while let Some(chunk) = source.next().await {
        let chunk = chunk.map_err(unwritten)?;
        size += chunk.len() as u64;
        hasher.update(&chunk);
        // A store that does not find what is being written does not work: nothing of a file is missing.
        writer.put(chunk).await.map_err(|problem| unwritten(std::io::Error::other(problem)))?;
    }
    Ok(Stored { size, sha256: hasher.finalize().into() })
}

fn unwritten(problem: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "blob", source: problem.into() }
}

/// Why the byte store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store URL is not a path of this machine")]
    Path,
    #[error("the folder cannot be made")]
    Folder(#[from] std::io::Error),
    #[error("the store's settings are not usable")]
    Store(#[from] object_store::Error),
}
