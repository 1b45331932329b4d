//! Batched look-ups: one statement per relation of a page, whatever the page holds. One set per request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, HashMapCache, Loader};
use sea_orm::{ColumnTrait, QueryFilter};

use crate::app::App;
use crate::entity::{direct_upload, file, image, user, workspace};
use crate::error::Error;
use crate::id::{DirectUploadId, FileId, ImageId, UserId, WorkspaceId};
use crate::viewer::Viewer;
use crate::{direct_upload as direct_uploads, file as files, image as images};

/// The loaders of one request.
pub type Loaders = DataLoader<Scoped, HashMapCache>;

/// Loads what the viewer may see.
pub struct Scoped {
    app: App,
    viewer: Arc<Viewer>,
}

/// Key that finds an image by its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageOf(pub FileId);

/// A set of loaders for one request.
pub fn loaders(app: App, viewer: Arc<Viewer>) -> Loaders {
    // The fields of a page ask in one sweep of the executor; the delay only has to outlast that sweep.
    DataLoader::with_cache(Scoped { app, viewer }, tokio::spawn, HashMapCache::default())
        .delay(Duration::from_micros(200))
        .max_batch_size(1000)
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
        let found = workspace::visible_to(&self.viewer)
            .filter(workspace::COLUMN.id.is_in(keys.iter().copied()))
            .all(&self.app.db.read)
            .await
            .map_err(|problem| Arc::new(problem.into()))?;
        Ok(found.into_iter().map(|workspace| (workspace.id, workspace)).collect())
    }
}

impl Loader<UserId> for Scoped {
    type Value = user::Model;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, user::Model>, Arc<Error>> {
        let found = user::visible_to(&self.viewer)
            .filter(user::COLUMN.id.is_in(keys.iter().copied()))
            .all(&self.app.db.read)
            .await
            .map_err(|problem| Arc::new(problem.into()))?;
        Ok(found.into_iter().map(|user| (user.id, user)).collect())
    }
}
