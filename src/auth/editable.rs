//! Rows that a viewer may edit.

use sea_orm::{ColumnTrait, QueryFilter};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity::{file, image, workspace};
use crate::error::{Error, Result};
use crate::id::{FileId, ImageId, WorkspaceId};

/// A workspace that the viewer may edit.
///
/// # Errors
/// `NOT_FOUND` if the viewer may not see it, `FORBIDDEN` if they may only read it.
pub async fn find_workspace(app: &App, viewer: &Viewer, id: WorkspaceId) -> Result<workspace::Model> {
    let visible = workspace::visible_to(&viewer.access()).filter(workspace::COLUMN.id.eq(id));
    let found = visible.one(&app.db.read).await?.ok_or_else(|| Error::not_found("workspace"))?;
    viewer.require_editor(id)?;
    Ok(found)
}

/// A workspace that the viewer may edit, and its oldest file with these bytes, in one statement: every upload begins with it.
///
/// # Errors
/// Those of [`find_workspace`].
pub async fn find_workspace_and_content(
    app: &App,
    viewer: &Viewer,
    id: WorkspaceId,
    sha256: &[u8; 32],
) -> Result<(workspace::Model, Option<file::Model>)> {
    let visible = workspace::visible_to(&viewer.access()).filter(workspace::COLUMN.id.eq(id));
    let found = workspace::with_content(visible, id, sha256).one(&app.db.read).await?;
    let found = found.ok_or_else(|| Error::not_found("workspace"))?;
    viewer.require_editor(id)?;
    Ok(found)
}

/// A file that the viewer may edit, even if it is in the trash.
///
/// # Errors
/// `NOT_FOUND` if the viewer may not see it, `FORBIDDEN` if they may only read it.
pub async fn find_file(app: &App, viewer: &Viewer, id: FileId) -> Result<file::Model> {
    let visible = file::visible_to(&viewer.access()).filter(file::COLUMN.id.eq(id));
    let found = visible.one(&app.db.read).await?.ok_or_else(|| Error::not_found("file"))?;
    viewer.require_editor(found.workspace_id)?;
    Ok(found)
}

/// An image that the viewer may edit.
///
/// # Errors
/// `NOT_FOUND` if the viewer may not see it, `FORBIDDEN` if they may only read it.
pub async fn find_image(app: &App, viewer: &Viewer, id: ImageId) -> Result<image::Model> {
    let visible = image::visible_to(&viewer.access()).filter(image::COLUMN.id.eq(id));
    let found = visible.one(&app.db.read).await?.ok_or_else(|| Error::not_found("image"))?;
    viewer.require_editor(found.workspace_id)?;
    Ok(found)
}
