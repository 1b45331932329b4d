//! Files: finding and naming them, and the worker's last step for a deleted one; how they come, change and go is below.

pub mod spool;

pub mod kind;

pub mod exif;

pub mod description;

pub mod update;

pub mod trash;

pub mod policy;

pub mod mime;

pub mod content;

pub mod presence;

pub mod arrive;

pub mod upload;

pub mod list;

pub mod filter;

use chrono::{DateTime, Utc};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};
use unicode_segmentation::UnicodeSegmentation;

use crate::app::App;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, ImageStatus, Model};
use crate::entity::image as image_entity;
use crate::error::{Code, Error, Result};
pub use crate::file::list::{BY_CREATION, BY_FILENAME, BY_SIZE, BY_UPDATE, List, count, list};
use crate::id::FileId;
use crate::spelling::{self, composed};
use crate::viewer::Viewer;
use crate::{image, worker};

/// Longest file name, in characters.
const MAX_FILENAME: usize = 255;
/// Longest ending that a shortened name keeps, in characters without the dot.
const MAX_ENDING: usize = 20;

/// One file, if the viewer may see it.
pub async fn find(app: &App, viewer: &Viewer, id: FileId) -> Result<Option<Model>> {
    viewer.require(Scope::FilesRead)?;
    Ok(file::visible_to(viewer).filter(file::COLUMN.id.eq(id)).one(&app.db.read).await?)
}

/// Those of the given files that the viewer may see, in no order.
pub async fn find_many(app: &App, viewer: &Viewer, ids: &[FileId]) -> Result<Vec<Model>> {
    viewer.require(Scope::FilesRead)?;
    Ok(file::visible_to(viewer).filter(file::COLUMN.id.is_in(ids.iter().copied())).all(&app.db.read).await?)
}

/// The worker's step for a claimed file, whatever it is due for.
pub async fn repeat(app: &App, file: &Model) -> Result<()> {
    if file.removed_at.is_some() {
        return remove(app, file.id, file.attempts).await;
    }
    if file.deleted_at.is_some() {
        return trash::purge(app, file).await;
    }
    if file.image_status == ImageStatus::Removed && file.intent.is_some() {
        let again = image::provision_again(app, file).await;
        if again.is_err() {
            let until = app.clock.now() + worker::backoff(file.attempts);
            postpone(app, file.id, file.attempts, Some(until)).await?;
        }
        return again;
    }
    postpone(app, file.id, file.attempts, None).await
}

/// The worker's step for a deleted file: removes its image from the account, its bytes, and, when nothing is left that
/// hangs on it, the row. Each part may be gone already.
pub async fn remove(app: &App, id: FileId, attempts: i32) -> Result<()> {
    let now = app.clock.now();
    let Some(file) = file::for_step(id).one(&app.db.read).await? else { return Ok(()) };
    let mut left = false;
    for image in image_entity::of_file_for_step(id).all(&app.db.read).await? {
        // Not due: somebody may be sending it to the account, or removing it, at this moment.
        let removed = match image.due_at.is_some_and(|due| due <= now) {
            true => image::step::remove(app, &image).await.inspect_err(Error::log).unwrap_or(false),
            false => false,
        };
        left |= !removed;
    }
    app.step("image-removed").await;
    if let Some(blob_id) = file.blob_id
        && let Err(problem) = content::release(app, blob_id).await
    {
        problem.log();
        left = true;
    }
    app.step("bytes-removed").await;
    if left {
        return postpone(app, id, attempts, Some(now + worker::backoff(attempts))).await;
    }
    Entity::delete_by_id(id).exec(&app.db.write).await?;
    Ok(())
}

async fn postpone(app: &App, id: FileId, attempts: i32, until: Option<DateTime<Utc>>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(until))
        .filter(file::COLUMN.id.eq(id))
        .filter(file::COLUMN.attempts.eq(attempts))
        .exec(&app.db.write)
        .await?;
    Ok(())
}

/// A file the viewer may change.
pub async fn find_editable(app: &App, viewer: &Viewer, id: FileId) -> Result<Model> {
    let found = file::visible_to(viewer).filter(file::COLUMN.id.eq(id)).one(&app.db.read).await?;
    let Some(file) = found else { return Err(Error::not_found("file")) };
    viewer.require_editor(file.workspace_id)?;
    Ok(file)
}

/// Demands that a file is not in the trash.
///
/// # Errors
/// `CONFLICT`.
pub fn require_standing(file: &Model) -> Result<()> {
    if file.deleted_at.is_none() {
        return Ok(());
    }
    Err(Error::refuse(Code::Conflict, "This file is in the trash; restore it first."))
}

/// A name as the caller asked for it.
///
/// # Errors
/// `BAD_USER_INPUT` for names that are empty, too long, or have slashes, control characters or those that turn text around.
pub fn checked_filename(name: &str) -> Result<String> {
    let length = spelling::length(name);
    if matches!(name.trim(), "" | "." | "..")
        || length > MAX_FILENAME
        || name.contains(['/', '\\'])
        || name.chars().any(|c| c.is_control() || turns_text(c))
    {
        let message = format!(
            "A file name has 1 to {MAX_FILENAME} characters, no slash, no control character and none that turns text around, and is not `.` or `..`."
        );
        return Err(Error::invalid("filename", message));
    }
    Ok(name.to_owned())
}

/// A name as a client sent it along, made presentable: its last path component without control characters, and without
/// those that turn the text around, so that nothing looks like an ending that is none. A long one loses the end of its
/// stem, and keeps its ending.
pub fn cleaned_filename(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control() && !is_unseen(*c)).collect();
    match clean.trim() {
        "" | "." | ".." => "upload".to_owned(),
        name => shortened(name),
    }
}

/// Breaks of lines, and marks of direction that reach beyond their place: `gpj.exe` shown as `exe.jpg`.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is not seen and joins nothing.
fn is_unseen(c: char) -> bool {
    turns_text(c)
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// At most so many characters, none of them torn from what it belongs to.
fn shortened(name: &str) -> String {
    if spelling::length(name) <= MAX_FILENAME {
        return name.to_owned();
    }
    // Equivalent names are cut alike.
    let name = &*composed(name);
    let length = |text: &str| text.chars().count();
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && length(ending) <= MAX_ENDING => name.split_at(stem.len()),
        _ => (name, ""),
    };
    let (mut left, mut short) = (MAX_FILENAME - length(ending), String::new());
    for grapheme in stem.graphemes(true) {
        match left.checked_sub(length(grapheme)) {
            Some(rest) => left = rest,
            None => break,
        }
        short.push_str(grapheme);
    }
    if short.is_empty() {
        // One letter with more accents than a name has characters.
        short = stem.chars().take(left).collect();
    }
    short.truncate(short.trim_end().len());
    short + ending
}

/// Inserts a file row.
pub async fn insert(transaction: &impl ConnectionTrait, file: Model) -> Result<Model> {
    let row: file::ActiveModel = file.into();
    Ok(row.reset_all().insert(transaction).await?)
}
