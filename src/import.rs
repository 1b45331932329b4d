//! Imports: files fetched from a URL. The request inserts the file and returns at once; the worker fetches the bytes.

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
use crate::entity::Failure;
use crate::entity::api_token::Scope;
use crate::entity::event::EventKind;
use crate::entity::file::{self, Column, Entity, Intent, Model, Status};
use crate::entity::workspace::{self, Model as Workspace};
use crate::error::{Code, Error, Refusal, Result};
use crate::id::{ImageId, WorkspaceId};
use crate::idempotency::{self, IdempotencyKey};
use crate::import::fetch::FetchError;
use crate::ingest::expected_file::ExpectedFile;
use crate::ingest::filename::cleaned_filename;
use crate::ingest::{IngestOutcome, NewFileOptions, Target, Uploaded, first_result, policy};
use crate::job;
use crate::provision::claim::Claimed;
use crate::provision::{self, refusal};
use crate::rows;

/// Most attempts while the source fails.
const MAX_ATTEMPTS: i32 = 4;
/// Most attempts while this server fails: about four hours.
const MAX_INTERNAL_FAILURES: i32 = 30;
/// Longest URL, in bytes.
const MAX_URL: usize = 4096;
/// Longest `Retry-After` of a source that is followed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct NewImport {
    pub workspace_id: WorkspaceId,
    pub url: Url,
    pub options: NewFileOptions,
}

/// Creates a file that the worker fills with the bytes at a URL. Its status is `PROCESSING`, and later `READY`, or `FAILED`
/// with the reason.
///
/// # Errors
/// `NOT_FOUND`, `FORBIDDEN`, `SOURCE_FORBIDDEN` and `BAD_USER_INPUT` at `url` for a URL that can be refused without a
/// request to it, and what [`NewFileOptions::validate`] refuses.
pub async fn import(app: &App, viewer: &Viewer, new: NewImport) -> Result<Uploaded> {
    viewer.require(Scope::FilesWrite)?;
    let workspace =
        editable::find_workspace(app, viewer, new.workspace_id).await.map_err(|e| e.at("workspaceId"))?;
    let mut url = new.url;
    url.set_fragment(None);
    let request = ("importFile", workspace.id.to_string(), &new.options, url.as_str());
    let key = IdempotencyKey::new(viewer, new.options.idempotency_key.as_deref(), &request)?;
    if let Some(result) = first_result(app, viewer, key.as_ref()).await? {
        return Ok(result);
    }
    check_source(app, &url).map_err(|e| e.at("url"))?;
    let options = new.options.validate(&workspace)?;
    if options.image.provision {
        refusal::require_free_id(app, options.image.custom_id.as_deref(), None).await?;
    }
    let now = app.clock.now();
    let filename = options.filename.clone().unwrap_or_else(|| filename_from_url(&url));
    let row = Model {
        status: Status::Processing,
        source_url: Some(url.into()),
        intent: Some(intent(&new.options)),
        due_at: Some(now),
        ..options.row(&workspace, viewer.user.id, filename, now)
    };
    let transaction = app.db.begin().await?;
    let file = rows::file::insert(&transaction, row).await?;
    if let Some(key) = &key
        && !key.insert(&transaction, file.id, None, false, now).await?
    {
        transaction.rollback().await?;
        return first_result(app, viewer, Some(key)).await?.ok_or_else(idempotency::result_deleted);
    }
    rows::event::append_for_file(&transaction, EventKind::FileCreated, &file, now).await?;
    transaction.commit().await?;
    app.imports.notify_one();
    Ok(Uploaded::new(file, false))
}

fn check_source(app: &App, url: &Url) -> Result<()> {
    if url.as_str().len() > MAX_URL {
        return Err(Error::invalid("url", format!("A URL has at most {MAX_URL} bytes.")));
    }
    address::check_url(url, app.config.import_allow_loopback)
}

/// What the worker has to know of the options when it fetches the file.
fn intent(options: &NewFileOptions) -> Intent {
    Intent {
        image: Some(options.image.clone()),
        on_duplicate: options.on_duplicate,
        sha256: options.sha256.clone(),
        mime_type: None,
        named: options.filename.is_some(),
    }
}

/// Claims at most `most` files that are due to be fetched, for the worker. The lease is longer than one attempt can take.
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

/// The worker's step for a claimed file: fetches it. After that it is `READY` or `FAILED`, or due again later.
pub async fn run_due(app: &App, file: &Model) -> Result<()> {
    match fill(app, file).await {
        Ok(()) => Ok(()),
        Err(FetchError::Permanent(reason)) => fail(app, file, reason).await,
        Err(FetchError::Transient(reason, _)) if file.attempts >= MAX_ATTEMPTS => {
            fail(app, file, reason).await
        }
        Err(FetchError::Transient(_, retry_after)) => {
            let requested =
                retry_after.and_then(|delay| TimeDelta::from_std(delay.min(MAX_RETRY_AFTER)).ok());
            retry(app, file, requested.unwrap_or_default()).await
        }
        Err(FetchError::Internal(problem)) => {
            problem.log();
            if file.attempts >= MAX_INTERNAL_FAILURES {
                return fail(app, file, problem.public()).await;
            }
            retry(app, file, TimeDelta::zero()).await
        }
    }
}

async fn fill(app: &App, file: &Model) -> std::result::Result<(), FetchError> {
    let Some(url) = file.source_url.as_deref().and_then(|url| Url::parse(url).ok()) else {
        return Err(Error::fault("importing a file", "its source is missing").into());
    };
    let intent = file.intent.clone().unwrap_or_default();
    let signed = intent.image.as_ref().and_then(|image| image.require_signed_urls);
    let max_size = policy::max_size(app, &workspace_of(app, file).await?);
    let fetched = fetch::fetch(app, &url, max_size).await?;
    app.crash_point("fetched").await;
    // Read again: its policy may have changed while the file was fetched, which can take long.
    let workspace = workspace_of(app, file).await?;
    // A name that the caller gave is kept.
    let new_filename = fetched.filename.filter(|_| !intent.named);
    let filename = Some(new_filename.clone().unwrap_or_else(|| file.filename.clone()));
    let expected = ExpectedFile {
        workspace: &workspace,
        intent,
        declared: DeclaredType { mime_type: fetched.content_type.as_deref(), filename: filename.as_deref() },
        image_id: ImageId::new(app.clock.now()),
        signed: signed.unwrap_or(workspace.private_by_default),
        in_account: None,
        stored: None,
        target: Target::Import(file, new_filename),
    };
    if let IngestOutcome::Ready(file, Some(image)) = expected.fill(app, &fetched.spool).await? {
        provision::provision(app, Claimed { image: *image, file: Some(*file) }).await?;
    }
    Ok(())
}

async fn workspace_of(app: &App, file: &Model) -> Result<Workspace> {
    let found = workspace::by_id_unscoped(file.workspace_id).one(&app.db.read).await?;
    found.ok_or_else(|| Error::fault("importing a file", "its workspace is missing"))
}

/// Sets a claimed file to `FAILED`, unless it was filled, deleted or claimed again in the meantime.
async fn fail(app: &App, file: &Model, reason: Refusal) -> Result<()> {
    let now = app.clock.now();
    tracing::info!(file = %file.id, code = reason.code.as_str(), "import failed");
    let transaction = app.db.begin().await?;
    let failed = Entity::update_many()
        .col_expr(Column::Status, Status::Failed.into())
        .col_expr(Column::Failure, Expr::val(Failure::from(reason)))
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
    rows::event::append_for_file(&transaction, EventKind::FileFailed, file, now).await?;
    Ok(transaction.commit().await?)
}

/// Makes a file due again after its backoff, but not before `min_delay`, unless it was filled or deleted in the meantime.
async fn retry(app: &App, file: &Model, min_delay: TimeDelta) -> Result<()> {
    let delay = job::backoff(file.attempts).max(min_delay);
    job::reschedule_statement::<Entity>(file, Some(app.clock.now() + delay))
        .filter(Column::Status.eq(Status::Processing))
        .filter(file::COLUMN.deleted_at.is_null())
        .exec(&app.db.write)
        .await?;
    Ok(())
}

/// The last segment of a URL's path as a filename.
fn filename_from_url(url: &Url) -> String {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    cleaned_filename(&percent_decode_str(last).decode_utf8_lossy())
}

impl From<Error> for FetchError {
    fn from(problem: Error) -> Self {
        match problem {
            Error::Refusal(reason) => FetchError::Permanent(reason),
            fault @ Error::Fault { .. } => FetchError::Internal(fault),
        }
    }
}

/// The refusal of a source that cannot be reached or does not return a file.
fn source_unreachable(message: impl Into<String>) -> Refusal {
    Error::refuse(Code::SourceUnreachable, message).public()
}
