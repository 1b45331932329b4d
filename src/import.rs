//! Files fetched from elsewhere. The request writes down what is wanted and answers at once; the worker fetches.

pub mod address;

pub mod fetch;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::percent_decode_str;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use url::Url;

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::editable;
use crate::content::mime::DeclaredType;
use crate::entity::api_token::Scope;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, Intent, Model, Status};
use crate::entity::{Failure, workspace as workspace_entity};
use crate::error::{Code, Error, Refusal, Result};
use crate::id::{ImageId, WorkspaceId};
use crate::idempotency::{self, Key};
use crate::import::fetch::FetchError;
use crate::ingest::expected_file::ExpectedFile;
use crate::ingest::filename::cleaned_filename;
use crate::ingest::{IngestOutcome, NewFileOptions, Target, Uploaded, first_result, policy};
use crate::job;
use crate::provision;
use crate::provision::refusal;
use crate::rows;

/// How often a source that does not answer properly is asked.
const MAX_ATTEMPTS: i32 = 4;
/// Gives up after this many internal failures, about four hours.
const MAX_FAULTS: i32 = 30;
/// Longest URL that is taken, in bytes.
const MAX_URL: usize = 4096;

/// A file to be fetched.
#[derive(Debug, Clone)]
pub struct NewImport {
    pub workspace_id: WorkspaceId,
    pub url: Url,
    pub options: NewFileOptions,
}

/// Makes a file that the worker fills with what it finds at a URL. It comes back as `PROCESSING`, and once it is over as
/// `READY`, or `FAILED` with the reason.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `SOURCE_FORBIDDEN` and `BAD_USER_INPUT` at `url` for one that can be refused unseen, and
/// what the options are refused for.
pub async fn import(app: &App, viewer: &Viewer, new: NewImport) -> Result<Uploaded> {
    viewer.require(Scope::FilesWrite)?;
    let workspace =
        editable::find_workspace(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let mut url = new.url;
    url.set_fragment(None);
    let request = ("importFile", workspace.id.to_string(), &new.options, url.as_str());
    let key = Key::new(viewer, new.options.idempotency_key.as_deref(), &request)?;
    if let Some(first) = first_result(app, viewer, key.as_ref()).await? {
        return Ok(first);
    }
    if url.as_str().len() > MAX_URL {
        return Err(Error::invalid("url", format!("A URL has at most {MAX_URL} bytes.")));
    }
    address::check_url(&url, app.config.import_allow_loopback).map_err(|e| e.at("url"))?;
    let options = new.options.validate(&workspace)?;
    if options.image.provision {
        refusal::require_free_id(app, options.image.custom_id.as_deref(), None).await?;
    }
    let now = app.clock.now();
    let named = options.filename.is_some();
    let filename = options.filename.clone().unwrap_or_else(|| name_in(&url));
    let intent = Intent {
        image: Some(options.image.clone()),
        on_duplicate: new.options.on_duplicate,
        sha256: new.options.sha256.clone(),
        mime_type: None,
        named,
    };
    let row = Model {
        status: Status::Processing,
        source_url: Some(url.into()),
        intent: Some(intent),
        due_at: Some(now),
        ..options.row(&workspace, viewer.user.id, filename, now)
    };
    let transaction = app.db.begin().await?;
    let file = rows::file::insert(&transaction, row).await?;
    if let Some(key) = &key
        && !key.insert(&transaction, file.id, None, false, now).await?
    {
        transaction.rollback().await?;
        return first_result(app, viewer, Some(key)).await?.ok_or_else(idempotency::gone);
    }
    rows::event::append(&transaction, EventKind::FileCreated, file.workspace_id, file.id, None, now).await?;
    transaction.commit().await?;
    app.imports.notify_one();
    Ok(Uploaded::new(file, false))
}

/// The worker's claim of files that are due to be fetched, at most `most`. The lease outlasts the attempt.
pub async fn claim_due(app: &App, most: u64) -> Result<Vec<Model>> {
    let now = app.clock.now();
    let due = file::imports_unscoped()
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

/// Fetches a claimed file, which is `READY` or `FAILED` then, or due again later.
pub async fn run_due(app: &App, file: &Model) -> Result<()> {
    match fill(app, file).await {
        Ok(()) => Ok(()),
        Err(FetchError::Final(why)) => settle_failed(app, file, why).await,
        Err(FetchError::Passing(why, _)) if file.attempts >= MAX_ATTEMPTS => {
            settle_failed(app, file, why).await
        }
        Err(FetchError::Passing(_, delay)) => {
            let backoff = job::backoff(file.attempts);
            let asked =
                delay.and_then(|delay| TimeDelta::from_std(delay.min(Duration::from_secs(3600))).ok());
            retry_at(app, file, app.clock.now() + asked.unwrap_or(backoff).max(backoff)).await
        }
        Err(FetchError::Fault(problem)) => {
            problem.log();
            if file.attempts >= MAX_FAULTS {
                return settle_failed(app, file, problem.public()).await;
            }
            retry_at(app, file, app.clock.now() + job::backoff(file.attempts)).await
        }
    }
}

async fn fill(app: &App, file: &Model) -> std::result::Result<(), FetchError> {
    let workspace =
        workspace_entity::by_id_unscoped(file.workspace_id).one(&app.db.read).await.map_err(Error::from)?;
    let source = file.source_url.as_deref().and_then(|url| Url::parse(url).ok());
    let (Some(workspace), Some(url)) = (workspace, source) else {
        return Err(Error::fault("importing a file", "its workspace or source is missing").into());
    };
    let intent = file.intent.clone().unwrap_or_default();
    let signed = intent.image.as_ref().and_then(|image| image.require_signed_urls);
    let fetched = fetch::fetch(app, &url, policy::max_size(app, &workspace)).await?;
    app.crash_point("fetched").await;
    let better = fetched.filename.filter(|_| !intent.named);
    let filename = Some(better.clone().unwrap_or_else(|| file.filename.clone()));
    let expected = ExpectedFile {
        workspace: &workspace,
        intent,
        declared: DeclaredType { mime_type: fetched.content_type.as_deref(), filename: filename.as_deref() },
        image_id: ImageId::new(app.clock.now()),
        signed: signed.unwrap_or(workspace.private_by_default),
        in_account: None,
        stored: None,
        target: Target::Import(file, better),
    };
    if let IngestOutcome::Ready(_, Some(image)) = expected.fill(app, &fetched.spool).await? {
        provision::provision(app, *image).await?;
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
    rows::event::append(&transaction, EventKind::FileFailed, file.workspace_id, file.id, None, now).await?;
    Ok(transaction.commit().await?)
}

/// Sets when a file is fetched again, unless it was filled or deleted since.
async fn retry_at(app: &App, file: &Model, due_at: DateTime<Utc>) -> Result<()> {
    job::reschedule_statement::<Entity>(file, Some(due_at))
        .filter(Column::Status.eq(Status::Processing))
        .filter(file::COLUMN.deleted_at.is_null())
        .exec(&app.db.write)
        .await?;
    Ok(())
}

/// The name in the last part of a URL's path.
fn name_in(url: &Url) -> String {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    cleaned_filename(&percent_decode_str(last).decode_utf8_lossy())
}

impl From<Error> for FetchError {
    fn from(problem: Error) -> Self {
        match problem {
            Error::Refusal(why) => FetchError::Final(why),
            fault @ Error::Fault { .. } => FetchError::Fault(fault),
        }
    }
}

/// The refusal of a source that does not answer with a file.
fn unreachable(message: impl Into<String>) -> Refusal {
    Error::refuse(Code::SourceUnreachable, message).public()
}
