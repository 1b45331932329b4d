//! The steps that bring an image into the account, and out of it again. A request takes them once, the worker as often
//! as it needs: each may be repeated, and each tolerates that it was done before.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};
use serde_json::{Map, Value};

use crate::app::App;
use crate::entity::Failure;
use crate::entity::file::{self, ImageStatus};
use crate::entity::image::{self, Column, Entity, Model, NewImage, State};
use crate::error::{Code, Error, Refusal, Result, bytes_missing};
use crate::file::presence;
use crate::id::{FileId, ImageId};
use crate::image::settings::{self, METADATA_FIELD};
use crate::image::{settle, update};
use crate::spelling::{as_sent, composed};
use crate::worker;
use cloudflare_images::client::{self, Body, ListQuery, MetaFilter, MetaTest, Upload};
use cloudflare_images::{Error as AccountError, wire};

/// The metadata an image of ours carries in the account: the user's, and our id.
pub fn metadata(id: ImageId, users: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut metadata = users.cloned().unwrap_or_default();
    metadata.insert(METADATA_FIELD.to_owned(), Value::String(id.to_string()));
    metadata
}

/// Provisions a claimed image and waits for it as long as an answer may wait.
pub async fn provision_in_time(app: &App, image: Model) {
    let task_app = app.clone();
    worker::in_time(app, async move { provision(&task_app, image).await }).await;
}

/// The worker's step for a claimed image, whatever it is due for.
pub async fn repeat(app: &App, image: Model) -> Result<()> {
    match image.state {
        State::Pending => provision(app, image).await,
        State::Ready if image.switching_to.is_some() => update::resume(app, &image).await,
        State::Ready => remove_strays(app, &image).await,
        State::Removing => match remove(app, &image).await {
            Ok(_) => Ok(()),
            Err(problem) => {
                problem.log();
                let until = app.clock.now() + worker::backoff(image.attempts);
                put_off(app, &image, Some(until)).await
            }
        },
        State::Failed => put_off(app, &image, None).await,
    }
}

/// Copies a file's bytes into the account and settles the image row: `READY`, `FAILED`, or `PENDING` until later.
pub async fn provision(app: &App, image: Model) -> Result<()> {
    match while_held(app, &image, adopt_or_create(app, &image)).await {
        Ok(Ok(made)) => {
            app.step("created").await;
            settle::ready(app, &image, &made).await
        }
        Ok(Err(AccountError::Source(cause))) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            settle::failed(app, &image, bytes_missing().public()).await
        }
        Ok(Err(AccountError::Source(cause))) => {
            Error::fault("reading the bytes of a file", cause).log();
            settle::later(app, &image, ours()).await
        }
        Ok(Err(problem)) => settle::problem(app, &image, &problem).await,
        Err(Error::Refusal(why)) => settle::failed(app, &image, why).await,
        Err(fault) => {
            fault.log();
            settle::later(app, &image, ours()).await
        }
    }
}

/// Does something for a claimed image, which stays claimed for as long as that takes.
async fn while_held<T>(app: &App, image: &Model, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(app.config.lease / 3, &mut work).await {
            Ok(done) => return done,
            Err(_) => {
                let until = app.lease(app.clock.now());
                if let Err(problem) = put_off(app, image, Some(until)).await {
                    problem.log();
                }
            }
        }
    }
}

/// What a client reads while the server's own parts fail: no request of theirs has an id for it.
fn ours() -> Refusal {
    let message = "The server cannot reach its own byte store or database at the moment; it tries again.";
    Error::refuse(Code::Internal, message).public()
}

/// Deletes an image from the account, with all strays of it, and then its row. False when the row has to stay a while,
/// because a create that was given up may yet be carried out; the worker comes back for it.
///
/// # Errors
/// A fault that names what the account did; the row stays.
pub async fn remove(app: &App, image: &Model) -> Result<bool> {
    let unremoved = |problem| Error::fault("removing an image from the account", problem);
    if let Some(id) = &image.cf_image_id {
        delete_ours(app, id, image.id).await.map_err(unremoved)?;
    }
    // A create whose answer was lost has left its copy under an id we never learned.
    let strays = match image.cf_image_id.is_none() || image.attempts > 1 {
        true => find_strays(app, image.id).await.map_err(unremoved)?,
        false => Vec::new(),
    };
    for stray in &strays {
        app.cloudflare.delete(&stray.id).await.map_err(unremoved)?;
    }
    app.step("removed").await;
    let in_doubt = image.cf_image_id.is_none() && image.attempts > 0 && strays.is_empty();
    let certain = image.updated_at + app.config.stray_check;
    if in_doubt && app.clock.now() < certain {
        put_off(app, image, Some(certain)).await?;
        return Ok(false);
    }
    Entity::delete_by_id(image.id).exec(&app.db.write).await?;
    Ok(true)
}

/// Deletes an image of ours from the account; already gone is fine. An id that a user chose may be another image's by
/// now, which stays: Cloudflare's own ids are used once.
pub async fn delete_ours(app: &App, id: &str, image: ImageId) -> std::result::Result<(), AccountError> {
    if uuid::Uuid::try_parse(id).is_err() {
        let found = app.cloudflare.find(id).await?;
        let owner = found.and_then(|found| found.meta?.remove(METADATA_FIELD));
        if owner.is_some_and(|owner| owner != Value::String(image.to_string())) {
            return Ok(());
        }
    }
    app.cloudflare.delete(id).await.map(drop)
}

/// Claims a queued or failed image for an attempt now; `None` if somebody is at it already.
pub async fn claim_again(app: &App, file: FileId, new: &NewImage) -> Result<Option<Model>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    let before = image::of_file_for_step(file)
        .filter(Column::State.is_in([State::Pending, State::Failed]))
        .one(&transaction)
        .await?;
    let Some(before) = before else { return Ok(None) };
    let wanted = new.clone().or(before.settings());
    settings::check(&wanted, wanted.require_signed_urls.unwrap_or_default()).map_err(|e| e.under("image"))?;
    if !show_in_progress(&transaction, file, &[ImageStatus::Queued, ImageStatus::Failed]).await? {
        return Ok(None);
    }
    let claimed = Entity::update_many()
        .col_expr(Column::State, State::Pending.into())
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::WantedAt, Expr::val(now))
        .col_expr(Column::WantedAttempts, Expr::col(Column::Attempts))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .col_expr(Column::RequireSignedUrls, Expr::val(wanted.require_signed_urls.unwrap_or_default()))
        .col_expr(Column::AltSent, Expr::val(wanted.alt.as_deref().and_then(as_sent)))
        .col_expr(Column::Alt, Expr::val(wanted.alt.as_deref().map(|alt| composed(alt).into_owned())))
        .col_expr(Column::FocalX, Expr::val(wanted.focal_point.map(|point| point.x)))
        .col_expr(Column::FocalY, Expr::val(wanted.focal_point.map(|point| point.y)))
        .col_expr(Column::Creator, Expr::val(wanted.creator))
        .col_expr(Column::CfMetadata, Expr::val(wanted.cf_metadata.map(Value::Object)))
        .col_expr(Column::CustomId, Expr::val(wanted.custom_id))
        .filter(image::COLUMN.id.eq(before.id))
        .filter(Column::State.is_in([State::Pending, State::Failed]))
        .exec_with_returning(&transaction)
        .await?;
    transaction.commit().await?;
    Ok(claimed.into_iter().next())
}

/// Removes an image that was just marked from the account, unless somebody may still be sending it there: then the worker
/// does, when that is over.
pub async fn remove_in_time(app: &App, id: ImageId) {
    let claimed = async {
        let Some(row) = image::for_step(id).one(&app.db.read).await? else { return Ok(None) };
        claim_due(app, &row).await
    };
    match claimed.await {
        Ok(Some(image)) => {
            let task_app = app.clone();
            worker::in_time(app, async move { repeat(&task_app, image).await }).await;
        }
        Ok(None) => {}
        Err(problem) => Error::log(&problem),
    }
}

/// The worker's claim of one image that is due; `None` if somebody else was faster.
pub async fn claim_due(app: &App, due: &Model) -> Result<Option<Model>> {
    let now = app.clock.now();
    let transaction = app.db.begin().await?;
    if due.state == State::Pending {
        // In progress already: whoever had it died or gave up without a word.
        show_in_progress(&transaction, due.file_id, &[ImageStatus::Queued, ImageStatus::InProgress]).await?;
    }
    let claimed = Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(app.lease(now)))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(image::COLUMN.id.eq(due.id))
        .filter(Column::State.eq(due.state))
        .filter(image::COLUMN.due_at.lte(now))
        .exec_with_returning(&transaction)
        .await?;
    let Some(claimed) = claimed.into_iter().next() else { return Ok(None) };
    transaction.commit().await?;
    Ok(Some(claimed))
}

/// Shows on a standing file that its image is on the way, if it showed one of `from`; false if it did not.
async fn show_in_progress(
    transaction: &impl ConnectionTrait,
    file: FileId,
    from: &[ImageStatus],
) -> Result<bool> {
    let shown = file::Entity::update_many()
        .col_expr(file::Column::ImageStatus, ImageStatus::InProgress.into())
        .col_expr(file::Column::ImageFailure, Expr::val(None::<Failure>))
        .filter(file::COLUMN.id.eq(file))
        .filter(file::COLUMN.removed_at.is_null())
        .filter(file::Column::ImageStatus.is_in(from.iter().copied()))
        .exec(transaction)
        .await?;
    Ok(shown.rows_affected == 1)
}

/// The account's own answer, or a fault of ours.
type Made = Result<std::result::Result<wire::Image, AccountError>>;

/// Takes over what an earlier attempt made, or makes the image.
async fn adopt_or_create(app: &App, image: &Model) -> Made {
    // Only a first attempt can be sure that there is nothing of it in the account.
    if image.attempts > 1 {
        match find_strays(app, image.id).await {
            // One with other access was made before the wish changed; the check for strays removes it.
            Ok(mut strays) => {
                strays.retain(|stray| stray.require_signed_urls == image.require_signed_urls);
                if let Some(stray) = strays.pop() {
                    return Ok(Ok(stray));
                }
            }
            Err(problem) => return Ok(Err(problem)),
        }
    }
    create(app, image).await
}

async fn create(app: &App, image: &Model) -> Made {
    let file = file::for_step(image.file_id).one(&app.db.read).await?;
    let Some(file) = file else { return Err(bytes_missing()) };
    let bytes = presence::read(app, &file).await?;
    let upload = Upload {
        filename: image.filename.clone(),
        content_type: image.mime_type.clone(),
        length: u64::try_from(image.size).unwrap_or(0),
        stream: Box::pin(bytes.map_err(std::io::Error::other)),
    };
    let new = client::NewImage {
        id: image.custom_id.as_deref(),
        metadata: Some(&metadata(image.id, image.cf_metadata.as_ref().and_then(Value::as_object))),
        require_signed_urls: image.require_signed_urls,
        creator: image.creator.as_deref(),
    };
    let made = app.cloudflare.create(new, Body::Upload(upload)).await;
    let (Err(AccountError::Conflict(_)), Some(id)) = (&made, new.id) else { return Ok(made) };
    // What has the id may be what an earlier attempt made, although no list shows it yet.
    match app.cloudflare.find(id).await {
        Ok(Some(found)) if is_ours(&found, image.id) && !found.draft => Ok(Ok(found)),
        _ => Ok(made),
    }
}

/// Whether an image of the account carries the id of one of ours.
pub fn is_ours(found: &wire::Image, image: ImageId) -> bool {
    let owner = found.meta.as_ref().and_then(|meta| meta.get(METADATA_FIELD));
    owner.and_then(Value::as_str) == Some(&image.to_string())
}

/// The account's images that carry our id.
pub async fn find_strays(app: &App, id: ImageId) -> std::result::Result<Vec<wire::Image>, AccountError> {
    let query = ListQuery {
        per_page: Some(100),
        meta: vec![MetaFilter { field: METADATA_FIELD.to_owned(), test: MetaTest::EqString(id.to_string()) }],
        ..ListQuery::default()
    };
    Ok(app.cloudflare.list(&query).await?.images)
}

/// Removes copies of a provisioned image that a given-up request made after all.
async fn remove_strays(app: &App, image: &Model) -> Result<()> {
    let Ok(strays) = find_strays(app, image.id).await else {
        return put_off(app, image, Some(app.clock.now() + worker::backoff(image.attempts))).await;
    };
    if !strays.is_empty() && !strays.iter().any(|stray| Some(&stray.id) == image.cf_image_id.as_ref()) {
        // None of them is the one we know: a change of access that was given up was carried out after all, and gave the
        // image another id. Nothing here is one too many.
        return update::resume(app, image).await;
    }
    for stray in strays.iter().filter(|stray| Some(&stray.id) != image.cf_image_id.as_ref()) {
        tracing::info!(image = %image.id, "removing a second copy from the account");
        if app.cloudflare.delete(&stray.id).await.is_err() {
            return put_off(app, image, Some(app.clock.now() + worker::backoff(image.attempts))).await;
        }
    }
    put_off(app, image, None).await
}

/// Moves the moment the worker looks at a claimed row again, or says that it need not.
pub async fn put_off(app: &App, image: &Model, until: Option<DateTime<Utc>>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::DueAt, Expr::val(until))
        .filter(image::COLUMN.id.eq(image.id))
        .filter(image::COLUMN.attempts.eq(image.attempts))
        .exec(&app.db.write)
        .await?;
    Ok(())
}
