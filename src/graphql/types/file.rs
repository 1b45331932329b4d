//! `File`.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject};
use row_object::row_object;

use crate::download::DownloadUrls;
use crate::entity::file;
use crate::error::Result;
use crate::file as files;
use crate::graphql::context::parse_ids;
use crate::graphql::error::{UserError, top_level};
use crate::graphql::loader::ImageByFile;
use crate::graphql::rows::ListSelection;
use crate::graphql::types::connection::{OrderDirection, TotalCount};
use crate::graphql::types::filter::FileFilter;
use crate::graphql::types::image::Image;
use crate::graphql::types::scalar::{ByteSize, DateTime, Id, JsonRef, Url};
use crate::graphql::types::viewer::User;
use crate::graphql::types::workspace::Workspace;
use crate::graphql::{ContextExt, semanticNonNull};
use crate::id::{FileId, UserId, WorkspaceId};
use crate::query::page::{ListOrder, PageArgs};

/// A stored file of any type. An image file also has an `Image`, its projection in the image service.
pub struct File(pub file::Model);

/// A stored file of any type. An image file also has an `Image`, its projection in the image service.
#[row_object(file)]
impl File {
    /// Prefixed, globally unique, opaque id.
    pub async fn id(&self) -> Id<FileId> {
        Id(self.0.id)
    }

    /// Id of the workspace it belongs to.
    async fn workspace_id(&self) -> Id<WorkspaceId> {
        Id(self.0.workspace_id)
    }

    /// The workspace it belongs to.
    #[graphql(directive = semanticNonNull::apply(None))]
    #[relation(Workspace)]
    async fn workspace(&self) -> Option<WorkspaceId> {
        Some(self.0.workspace_id)
    }

    /// Name with extension, as it was sent. It is compared, searched and sorted in Unicode's composed form (NFC), so
    /// that canonically equivalent spellings are equal.
    #[columns(filename, filename_sent)]
    async fn filename(&self) -> &str {
        self.0.shown_filename()
    }

    /// Type detected from the bytes. For text formats and types without a known signature, the declared type. Null
    /// until the bytes have arrived.
    async fn mime_type(&self) -> Option<&str> {
        self.0.mime_type.as_deref()
    }

    /// Null until the bytes have arrived.
    async fn size(&self) -> Option<ByteSize> {
        // There is no empty file.
        (self.0.size > 0).then(|| self.0.size.into())
    }

    /// Lower-case hex SHA-256 of the bytes. Null until they have arrived.
    async fn sha256(&self) -> Option<String> {
        self.0.sha256.as_ref().map(hex::encode)
    }

    /// State of its bytes.
    async fn status(&self) -> FileStatus {
        self.0.status.into()
    }

    /// Why `status` is `FAILED`.
    #[nested]
    async fn failure(&self) -> Option<UserError> {
        self.0.failure.as_ref().map(UserError::from)
    }

    /// The image projection. Null for a file that is not an image, and while it is not provisioned.
    #[relation(Image)]
    async fn image(&self) -> Option<ImageByFile> {
        (self.0.image_status == file::ImageStatus::Ready).then_some(ImageByFile(self.0.id))
    }

    /// State of the image projection. Independent of `status`: the file stays usable when provisioning fails.
    async fn image_status(&self) -> ImageProvisionStatus {
        self.0.image_status.into()
    }

    /// Why `imageStatus` is `FAILED`, is still `QUEUED` after an attempt, or is `REMOVED` for a restored file that had an image.
    #[nested]
    async fn image_failure(&self) -> Option<UserError> {
        self.0.image_failure.as_ref().map(UserError::from)
    }

    /// Free labels, at most 50, each of 1-100 characters. Canonically equivalent labels are one.
    #[columns(tags, tags_sent)]
    async fn tags(&self) -> &[String] {
        self.0.shown_tags()
    }

    /// User-owned JSON object, at most 16 KiB. Null when there is none.
    async fn metadata(&self) -> Option<JsonRef<'_>> {
        self.0.metadata.as_ref().map(JsonRef)
    }

    /// Short-lived signed URL of the original bytes, which needs no token. Null unless `status` is `READY`, and in the
    /// trash. All requests within a window of `expiresIn` seconds get the same URL, which is valid for at least that
    /// long and at most twice as long.
    #[page]
    #[columns(id, status, deleted_at, removed_at, filename, filename_sent)]
    async fn download_url(
        _rows: &[&File],
        ctx: &Context<'_>,
        #[graphql(desc = "Seconds the URL stays valid at least, 60-86400.", default_with = "Some(900)")]
        expires_in: Option<i32>,
        #[graphql(
            desc = "Serve with `Content-Disposition: attachment`. Files that a browser could execute are always served that way.",
            default_with = "Some(false)"
        )]
        attachment: Option<bool>,
    ) -> impl Fn(&File) -> Option<async_graphql::Result<Url>> {
        let (expires_in, attachment) = (i64::from(expires_in.unwrap_or(900)), attachment.unwrap_or_default());
        let urls = DownloadUrls::new(ctx.app(), ctx.viewer(), expires_in, attachment).await;
        let urls = urls.map_err(top_level);
        move |file: &File| {
            let url = urls.as_ref().map_err(Clone::clone).map(|urls| urls.of(&file.0));
            url.transpose().map(|url| url.map(Url))
        }
    }

    /// Who uploaded it. Null when the user was deleted or shares no workspace with the caller.
    #[relation(User)]
    async fn created_by(&self) -> Option<UserId> {
        self.0.created_by
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }

    /// Set while the file is in the trash.
    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.deleted_at.map(DateTime)
    }

    /// When it will be deleted from the trash. Null for a file that is not in the trash.
    async fn purge_at(&self) -> Option<DateTime> {
        self.0.deleted_at.and(self.0.due_at).map(DateTime)
    }
}

/// States of a file's bytes. More states may be added: clients need a default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "file::Status")]
pub enum FileStatus {
    /// A direct upload exists; its bytes have not arrived.
    AwaitingUpload,
    /// The server is fetching the bytes.
    Processing,
    /// Usable.
    Ready,
    /// Not usable; see `failure`. With `BYTES_MISSING` it becomes usable again when its bytes are recovered.
    Failed,
}

/// States of a file's image projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "file::ImageStatus")]
pub enum ImageProvisionStatus {
    /// The file is not an image that the image service accepts, or its bytes have not arrived.
    NotApplicable,
    /// Waiting for a worker.
    Queued,
    /// Being copied into the image service.
    InProgress,
    /// `image` is available.
    Ready,
    /// Could not be provisioned; see `imageFailure`. `provisionImage` tries again.
    Failed,
    /// Not provisioned on request, or deleted since. `provisionImage` creates a new one.
    Removed,
}

/// Order of files.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct FileOrder {
    /// Sort key.
    pub field: FileOrderField,
    /// Sort direction.
    pub direction: OrderDirection,
}

/// Sort keys of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum FileOrderField {
    /// When it was created.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
    /// Name in Unicode's composed form, byte by byte.
    Filename,
    /// Size in bytes; a file without bytes sorts as empty.
    Size,
}

impl Default for FileOrder {
    fn default() -> Self {
        FileOrder { field: FileOrderField::CreatedAt, direction: OrderDirection::Desc }
    }
}

sized_connection!(FileConnection, FileEdge, File, file, "A page of files.", "A file in a page.");

connections_by_workspace!(FileConnection, file);

/// A page of files.
pub async fn list_files(
    ctx: &Context<'_>,
    workspace_id: Option<WorkspaceId>,
    ids: Option<Vec<ID>>,
    filter: Option<FileFilter>,
    page: PageArgs,
    order: Option<FileOrder>,
) -> Result<FileConnection> {
    let list = list(workspace_id, ids, filter, page, order)?;
    let selection = ListSelection::of::<File>(ctx).into();
    let (app, viewer) = (ctx.app(), ctx.viewer());
    let page = files::list(app, viewer, list.clone(), &selection).await?;
    let (app, viewer) = (app.clone(), Arc::clone(viewer));
    let total = TotalCount::of_list(async move { files::count(&app, &viewer, &list).await });
    Ok(FileConnection::new(page, total))
}

/// A page of the files of each of these workspaces.
pub async fn files_by_workspace(
    ctx: &Context<'_>,
    workspaces: &[WorkspaceId],
    ids: Option<Vec<ID>>,
    filter: Option<FileFilter>,
    page: PageArgs,
    order: Option<FileOrder>,
) -> Result<HashMap<WorkspaceId, FileConnection>> {
    let list = list(None, ids, filter, page, order)?;
    let selection = ListSelection::of::<File>(ctx).into();
    let (app, viewer, order) = (ctx.app(), ctx.viewer(), list.order);
    let pages = files::list_by_workspace(app, viewer, workspaces, list.clone(), &selection).await?;
    let (app, viewer, of) = (app.clone(), Arc::clone(viewer), workspaces.to_vec());
    let total = async move { files::count_by_workspace(&app, &viewer, &of, &list).await };
    let total = TotalCount::of_workspaces(total);
    Ok(FileConnection::by_workspace(workspaces, pages, order, total))
}

/// The arguments of a list.
fn list(
    workspace_id: Option<WorkspaceId>,
    ids: Option<Vec<ID>>,
    filter: Option<FileFilter>,
    page: PageArgs,
    order: Option<FileOrder>,
) -> Result<files::FileList> {
    let order = order.unwrap_or_default();
    let by = match order.field {
        FileOrderField::CreatedAt => files::BY_CREATION,
        FileOrderField::UpdatedAt => files::BY_UPDATE,
        FileOrderField::Filename => files::BY_FILENAME,
        FileOrderField::Size => files::BY_SIZE,
    };
    Ok(files::FileList {
        workspace_id,
        ids: parse_ids(ids)?,
        filter: filter.unwrap_or_default().decode()?,
        page,
        order: ListOrder { descending: order.direction == OrderDirection::Desc, ..by },
    })
}
