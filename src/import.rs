//! Files fetched from elsewhere. The request writes down what is wanted and answers at once; the worker fetches.

pub mod address;

pub mod fetch;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::percent_decode_str;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use url::Url;

use crate::app::App;
use crate::entity::api_token::Scope;
use crate::entity::file::{self, Column, Entity, Intent, Model, Status};
use crate::entity::{Failure, event, workspace as workspace_entity};
use crate::error::{Code, Error, Refusal, Result};
use crate::file::arrive::{self, Arrival, ImageWish, Settled, Target, Wish};
use crate::file::mime::Declared;
use crate::file::upload::{Uploaded, first};
use crate::file::{self as files, policy};
use crate::id::{ImageId, WorkspaceId};
use crate::idempotency::{self, Key};
use crate::import::fetch::Trouble;
use crate::viewer::Viewer;
use crate::{event as events, image, worker, workspace};

/// How often a source that does not answer properly is asked.
const MAX_ATTEMPTS: i32 = 4;
/// After so many attempts that failed on our side the source is left in peace: some four hours.
const MAX_FAULTS: i32 = 30;
/// Longest URL that is taken, in bytes.
const MAX_URL: usize = 4096;

/// A file to be fetched.
#[derive(Debug, Clone)]
pub struct NewImport {
    pub workspace_id: WorkspaceId,
    pub url: Url,
    pub wish: Wish,
}

/// Makes a file that the worker fills with what it finds at a URL. It comes back as `PROCESSING`, and once it is over as
/// `READY`, or `FAILED` with the reason.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `SOURCE_FORBIDDEN` and `BAD_USER_INPUT` at `url` for one that can be refused unseen, and
/// what the wish is refused for.
pub async fn import(app: &App, viewer: &Viewer, new: NewImport) -> Result<Uploaded> {
    viewer.require(Scope::FilesWrite)?;
    let workspace =
        workspace::find_editable(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let mut url = new.url;
    url.set_fragment(None);
    let request = ("importFile", workspace.id.to_string(), &new.wish, url.as_str());
    let key = Key::new(viewer, new.wish.idempotency_key.as_deref(), &request)?;
    if let Some(first) = first(app, viewer, key.as_ref()).await? {
        return Ok(first);
    }
    if url.as_str().len() > MAX_URL {
        return Err(Error::invalid("url", format!("A URL has at most {MAX_URL} bytes.")));
    }
    address::check_url(&url, app.config.import_allow_loopback).map_err(|e| e.at("url"))?;
    let granted = new.wish.granted(&workspace)?;
    if granted.image.provision {
        image::settle::require_free_id(app, granted.image.custom_id.as_deref(), None).await?;
    }
    let now = app.clock.now();
    let named = granted.filename.is_some();
    let filename = granted.filename.clone().unwrap_or_else(|| name_in(&url));
    let intent = Intent {
        image: Some(granted.image.clone()),
        on_duplicate: new.wish.on_duplicate,
        sha256: new.wish.sha256.clone(),
        mime_type: None,
        named,
    };
    let row = Model {
        status: Status::Processing,
        source_url: Some(url.into()),
        intent: Some(intent),
        due_at: Some(now),
        ..granted.row(&workspace, viewer.user.id, filename, now)
    };
    let transaction = app.db.begin().await?;
    let file = files::insert(&transaction, row).await?;
    if let Some(key) = &key
        && !key.insert(&transaction, file.id, None, false, now).await?
    {
        transaction.rollback().await?;
        return first(app, viewer, Some(key)).await?.ok_or_else(idempotency::gone);
    }
    events::append(&transaction, event::Kind::FileCreated, file.workspace_id, file.id, None, now).await?;
    transaction.commit().await?;
    app.imports.notify_one();
    Ok(Uploaded::new(file, false))
}

/// The worker's claim of files that are due to be fetched, at most `most`. The lease outlasts the attempt.
pub async fn claim_due(app: &App, most: u64) -> Result<Vec<Model>> {
    let now = app.clock.now();
    let due = file::imports_for_step()
        .filter(Column::DueAt.lte(now))
        .order_by_asc(Column::DueAt)
        .limit(most)
        .all(&app.db.read)
        .await?;
    let attempt = TimeDelta::from_std(app.config.import_timeout).unwrap_or(TimeDelta::hours(1));
    let mut claimed = Vec::new();
    for file in due {
        let rows = Entity::update_many()
            .col_expr(Column::DueAt, Expr::val(app.lease(now) + attempt))
            .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
            .filter(file::COLUMN.id.eq(file.id))
            .filter(file::COLUMN.attempts.eq(file.attempts))
            .filter(Column::DueAt.lte(now))
            .filter(Column::Status.eq(Status::Processing))
            .filter(file::COLUMN.removed_at.is_null())
            .exec_with_returning(&app.db.write)
            .await?;
        claimed.extend(rows);
    }
    Ok(claimed)
}

/// The worker's step for a claimed file: fetches it, and settles it as `READY` or `FAILED`, or leaves it for later.
pub async fn step(app: &App, file: &Model) -> Result<()> {
    match fill(app, file).await {
        Ok(()) => Ok(()),
        Err(Trouble::Final(why)) => settle_failed(app, file, why).await,
        Err(Trouble::Passing(why, _)) if file.attempts >= MAX_ATTEMPTS => settle_failed(app, file, why).await,
        Err(Trouble::Passing(_, delay)) => {
            let backoff = worker::backoff(file.attempts);
            let wish = delay.and_then(|delay| TimeDelta::from_std(delay.min(Duration::from_secs(3600))).ok());
            put_off(app, file, app.clock.now() + wish.unwrap_or(backoff).max(backoff)).await
        }
        Err(Trouble::Fault(problem)) => {
            problem.log();
            if file.attempts >= MAX_FAULTS {
                return settle_failed(app, file, problem.public()).await;
            }
            put_off(app, file, app.clock.now() + worker::backoff(file.attempts)).await
        }
    }
}

async fn fill(app: &App, file: &Model) -> std::result::Result<(), Trouble> {
    let workspace =
        workspace_entity::for_step(file.workspace_id).one(&app.db.read).await.map_err(Error::from)?;
    let source = file.source_url.as_deref().and_then(|url| Url::parse(url).ok());
    let (Some(workspace), Some(url)) = (workspace, source) else {
        return Err(Error::fault("importing a file", "its workspace or source is missing").into());
    };
    let intent = file.intent.clone().unwrap_or_default();
    let wanted = intent.image.unwrap_or_default();
    let fetched = fetch::fetch(app, &url, policy::max_size(app, &workspace)).await?;
    app.step("fetched").await;
    let sha256 = intent.sha256.as_deref().map(files::description::check_sha256).transpose()?;
    let better = fetched.filename.filter(|_| !intent.named);
    let filename = Some(better.as_ref().unwrap_or(&file.filename).as_str());
    let declared = Declared { mime_type: fetched.content_type.as_deref(), filename };
    let spool = &fetched.spool;
    let kind =
        arrive::checked_kind(app, &workspace, spool, sha256.as_ref(), declared, wanted.provision).await?;
    let arrival = Arrival {
        workspace: &workspace,
        spool,
        kind: &kind,
        stored: None,
        on_duplicate: intent.on_duplicate.unwrap_or(workspace.on_duplicate),
        image: ImageWish {
            id: ImageId::new(app.clock.now()),
            new: &wanted,
            signed: wanted.require_signed_urls.unwrap_or(workspace.private_by_default),
            made: None,
        },
        target: Target::Import(file, better),
    };
    if let Settled::Ready(_, Some(image)) = arrive::settle(app, &arrival).await? {
        image::step::provision(app, *image).await?;
    }
    Ok(())
}

async fn settle_failed(app: &App, file: &Model, why: Refusal) -> Result<()> {
    let now = app.clock.now();
    tracing::info!(file = %file.id, code = why.code.as_str(), "an import did not work");
    let transaction = app.db.begin().await?;
    let failed = Entity::update_many()
        .col_expr(Column::Status, Status::Failed.into())
        .col_expr(Column::Failure, Expr::val(Failure::from(why)))
        .col_expr(Column::SourceUrl, Expr::val(None::<String>))
        .col_expr(Column::DueAt, Expr::val(None::<DateTime<Utc>>))
        .col_expr(Column::UpdatedAt, Expr::val(now))
        .filter(file::COLUMN.id.eq(file.id))
        .filter(file::COLUMN.attempts.eq(file.attempts))
        .filter(Column::Status.eq(Status::Processing))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::COLUMN.deleted_at.is_null())
        .exec(&transaction)
        .await?;
    if failed.rows_affected == 0 {
        return Ok(transaction.rollback().await?);
    }
    events::append(&transaction, event::Kind::FileFailed, file.workspace_id, file.id, None, now).await?;
    Ok(transaction.commit().await?)
}

async fn put_off(app: &App, file: &Model, until: DateTime<Utc>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(until))
        .filter(file::COLUMN.id.eq(file.id))
        .filter(file::COLUMN.attempts.eq(file.attempts))
        .filter(Column::Status.eq(Status::Processing))
        .filter(file::COLUMN.deleted_at.is_null())
        .exec(&app.db.write)
        .await?;
    Ok(())
}

/// The name in the last part of a URL's path.
fn name_in(url: &Url) -> String {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    files::cleaned_filename(&percent_decode_str(last).decode_utf8_lossy())
}

impl From<Error> for Trouble {
    fn from(problem: Error) -> Self {
        match problem {
            Error::Refusal(why) => Trouble::Final(why),
            fault @ Error::Fault { .. } => Trouble::Fault(fault),
        }
    }
}

/// The refusal of a source that does not answer with a file.
fn unreachable(message: impl Into<String>) -> Refusal {
    Error::refuse(Code::SourceUnreachable, message).public()
}
