//! The subscription root.

pub mod delivery;

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Subscription as Root};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::app::App;
use crate::auth::Credential;
use crate::direct_upload::progress;
use crate::entity::event;
use crate::error::Error;
use crate::event::{self as events, EventBatch};
use crate::graphql::error::{from_loader, top_level};
use crate::graphql::rows::selected_columns;
use crate::graphql::subscription::delivery::SubscriptionContext;
use crate::graphql::types::direct_upload::DirectUpload;
use crate::graphql::types::file::File;
use crate::graphql::types::image::Image;
use crate::graphql::types::scalar::DateTime;
use crate::graphql::{ContextExt, parse_id};
use crate::id::{DirectUploadId, WorkspaceId};

/// The source stream of a subscription. An error is its last item.
type SourceStream<T> = BoxStream<'static, Option<async_graphql::Result<T>>>;

/// Root of all subscriptions, over `graphql-transport-ws` or server-sent events.
pub struct Subscription;

/// Root of all subscriptions, over `graphql-transport-ws` or server-sent events.
#[Root]
impl Subscription {
    /// Events of the files and images of a workspace. With `after`, missed events are sent first. Needs the scope
    /// `FILES_READ`. Ends with an error when the caller loses the right to see them.
    async fn asset_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`wsp_` id.")] workspace_id: ID,
        #[graphql(desc = "Only these kinds. Default: all.")] kinds: Option<Vec<AssetEventKind>>,
        #[graphql(
            desc = "Cursor of the last event received; events are kept for 24 hours. Default: new events only."
        )]
        after: Option<String>,
    ) -> async_graphql::Result<SourceStream<AssetEvent>> {
        let subscription = Arc::clone(ctx.data_unchecked::<Arc<SubscriptionContext>>());
        let workspace = parse_id::<WorkspaceId>(&workspace_id, "workspaceId").map_err(top_level)?;
        if kinds.as_ref().is_some_and(Vec::is_empty) {
            let message = "Name at least one kind, or leave `kinds` out for all of them.";
            return Err(top_level(Error::invalid("kinds", message)));
        }
        let kinds: Option<Vec<event::EventKind>> =
            kinds.map(|kinds| kinds.into_iter().map(Into::into).collect());
        let batches = events::follow(ctx.app(), subscription.credential(), workspace, after.as_deref());
        let batches = batches.await.map_err(top_level)?;
        let selection = ctx.look_ahead();
        let preload =
            Preload { files: selection.field("file").exists(), images: selection.field("image").exists() };
        let (app, credential) = (ctx.app().clone(), Arc::clone(subscription.credential()));
        let events = batches.then(move |batch| {
            let (subscription, kinds) = (Arc::clone(&subscription), kinds.clone());
            async move {
                match batch {
                    Ok(batch) => deliver(batch, kinds.as_deref(), preload, &subscription).await,
                    Err(problem) => vec![Some(Err(top_level(problem)))],
                }
            }
        });
        Ok(while_allowed(events.flat_map(stream::iter).boxed(), app, credential, workspace))
    }

    /// Progress of one upload, at most twice a second, until it is closed.
    async fn upload_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`upl_` id.")] id: ID,
    ) -> async_graphql::Result<SourceStream<DirectUpload>> {
        let subscription = Arc::clone(ctx.data_unchecked::<Arc<SubscriptionContext>>());
        let id = parse_id::<DirectUploadId>(&id, "id").map_err(top_level)?;
        let columns = selected_columns::<DirectUpload>(ctx);
        let uploads = progress::follow(ctx.app(), subscription.credential(), id, &columns).await;
        let uploads = uploads.map_err(top_level)?;
        let delivered = uploads.map(move |upload| match upload {
            Ok((upload, viewer)) => {
                subscription.begin_delivery(viewer);
                Some(Ok(DirectUpload(upload)))
            }
            Err(problem) => Some(Err(top_level(problem))),
        });
        Ok(delivered.boxed())
    }
}

/// Replaces each event that the credential may no longer see with an error. The rights are looked up for each event, because
/// sending a batch may take long.
fn while_allowed(
    events: SourceStream<AssetEvent>,
    app: App,
    credential: Arc<Credential>,
    workspace: WorkspaceId,
) -> SourceStream<AssetEvent> {
    let checked = events.then(move |event| {
        let (app, credential) = (app.clone(), Arc::clone(&credential));
        async move {
            match events::still_allowed(&app, &credential, workspace).await {
                Ok(()) => event,
                Err(problem) => Some(Err(top_level(problem))),
            }
        }
    });
    checked.boxed()
}

/// The objects that are selected for each event.
#[derive(Clone, Copy)]
struct Preload {
    files: bool,
    images: bool,
}

/// Begins a delivery with the events of the given kinds.
async fn deliver(
    EventBatch { mut events, viewer }: EventBatch,
    kinds: Option<&[event::EventKind]>,
    preload: Preload,
    subscription: &SubscriptionContext,
) -> Vec<Option<async_graphql::Result<AssetEvent>>> {
    events.retain(|event| kinds.is_none_or(|kinds| kinds.contains(&event.kind)));
    let loaders = subscription.begin_delivery(viewer);
    // Loads the objects of all events with one statement. An error is dropped here: the field that needs the object loads it
    // again and reports it.
    if preload.files {
        let _ = loaders.load_many(events.iter().map(|event| event.file_id)).await;
    }
    if preload.images {
        let _ = loaders.load_many(events.iter().filter_map(|event| event.image_id)).await;
    }
    events.into_iter().map(|event| Some(Ok(AssetEvent(event)))).collect()
}

/// Something that happened to a file or image.
pub struct AssetEvent(event::Model);

/// Something that happened to a file or image.
#[Object]
impl AssetEvent {
    /// What happened.
    async fn kind(&self) -> AssetEventKind {
        self.0.kind.into()
    }

    /// Cursor of this event: give it as `after` to continue from here.
    async fn cursor(&self) -> String {
        events::cursor(&self.0)
    }

    /// When it happened.
    async fn at(&self) -> DateTime {
        DateTime(self.0.at)
    }

    /// The workspace it happened in.
    async fn workspace_id(&self) -> ID {
        self.0.workspace_id.to_string().into()
    }

    /// The file concerned, or the file of the image concerned.
    async fn file_id(&self) -> ID {
        self.0.file_id.to_string().into()
    }

    /// The file as it is when the event is delivered. Null once the file is deleted.
    async fn file(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<File>> {
        let file = ctx.loaders().load_one(self.0.file_id).await;
        file.map_err(from_loader).transpose().map(|row| row.map(File))
    }

    /// The image concerned. Null for an event of a file alone.
    async fn image_id(&self) -> Option<ID> {
        self.0.image_id.map(|id| id.to_string().into())
    }

    /// The image as it is when the event is delivered. Null for an event of a file alone, and once the image is
    /// deleted.
    async fn image(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Image>> {
        let image = ctx.loaders().load_one(self.0.image_id?).await;
        image.map_err(from_loader).transpose().map(|row| row.map(Image))
    }
}

/// Kinds of events. More may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "event::EventKind")]
pub enum AssetEventKind {
    /// A file was created. Its bytes may not have arrived yet.
    FileCreated,
    /// The bytes of a file have arrived, or were recovered.
    FileReady,
    /// The bytes of a file were rejected or lost; see its `failure`.
    FileFailed,
    /// A file was renamed, or its description changed.
    FileUpdated,
    /// A file was moved to the trash.
    FileTrashed,
    /// A file was restored from the trash.
    FileRestored,
    /// A file was deleted for good.
    FilePurged,
    /// An image was provisioned and can be delivered.
    ImageProvisioned,
    /// The image service rejected an image; see `imageFailure` of its file.
    ImageProvisionFailed,
    /// An image's description or access changed.
    ImageUpdated,
    /// An image was analysed: its placeholder, colours and transparency are available, or it is certain that they
    /// cannot be determined. An image that is analysed before it is provisioned has them when `IMAGE_PROVISIONED` is
    /// sent.
    ImageAnalysed,
    /// An attempt to provision an image failed and will be repeated; `imageFailure` of its file tells why and when.
    ImageProvisionDelayed,
    /// An image was deleted. Its file may still exist.
    ImageDeleted,
}
