//! The REST face: `/api/images`, by the same functions as GraphQL.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi, ToSchema};

use crate::app::App;
use crate::entity::image;
use crate::error::{Error, Result};
use crate::http::RequestId;
use crate::id::{FileId, ImageId, WorkspaceId};
use crate::image as images;
use crate::page::{MAX_PAGE, PageArgs};
use crate::rate;
use crate::viewer::Viewer;

/// Routes below `/api`.
pub fn router() -> Router<App> {
    Router::new()
        .route("/images", get(list_images))
        .route("/images/by-file/{file_id}", get(find_image_by_file))
        .route("/images/{id}", get(find_image).delete(delete_image))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
}

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(title = "imagegraph", description = "Images over a unified file model. The GraphQL face at /graphql has more."),
    paths(list_images, find_image, find_image_by_file, delete_image),
    security(("bearer" = [])),
    modifiers(&Bearer)
)]
pub struct ApiDoc;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token.")).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// An image: a file row with an `image/*` type that has been provisioned into Cloudflare Images.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Prefixed id, `img_…`.
    id: String,
    /// Prefixed id of the underlying file, `fil_…`.
    file_id: String,
    /// Prefixed id of the workspace, `wsp_…`.
    workspace_id: String,
    /// Id in Cloudflare Images.
    cf_image_id: String,
    /// Pixels after EXIF rotation; null for vector images without an intrinsic size.
    width: Option<i32>,
    /// Pixels after EXIF rotation; null for vector images without an intrinsic size.
    height: Option<i32>,
    /// Bytes of the original.
    size: i64,
    /// EXIF by tag name; empty when the image has none.
    #[schema(value_type = Object)]
    exif: serde_json::Value,
    /// Delivery URL; signed for an image that requires it. Null only while Cloudflare does not tell its variants or the key
    /// to sign with, and when every variant keeps metadata that the workspace's EXIF policy does not let out.
    url: Option<String>,
}

impl Image {
    async fn of(app: &App, row: image::Model) -> Image {
        let url = images::rendition::url(app, &row, images::exif_policy(app, row.workspace_id))
            .await
            .map(|(url, _)| url.into())
            .inspect_err(Error::log)
            .ok();
        Image {
            id: row.id.to_string(),
            file_id: row.file_id.to_string(),
            workspace_id: row.workspace_id.to_string(),
            cf_image_id: row.cf_image_id.unwrap_or_default(),
            width: row.width,
            height: row.height,
            size: row.size,
            exif: row.exif.unwrap_or_else(|| json!({})),
            url,
        }
    }
}

/// A page of images.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePage {
    data: Vec<Image>,
    page_info: PageInfo,
}

/// Where a page lies in its list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageInfo {
    /// Images of the whole list.
    total: i64,
    has_next_page: bool,
    has_previous_page: bool,
    /// Cursor of the first image of the page; null when it is empty.
    start_cursor: Option<String>,
    /// Cursor of the last image of the page; null when it is empty.
    end_cursor: Option<String>,
}

/// What a deletion did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    success: bool,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    error: ProblemBody,
}

/// What was refused, and why.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemBody {
    /// Machine-readable kind, the same as in GraphQL.
    code: &'static str,
    /// English, safe to show.
    message: String,
    /// The parameter it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// To find the request in the server's log.
    request_id: String,
}

/// Query of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Max items per page, 1-100; default 100.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// Keyset cursor: the page after this row.
    after: Option<String>,
    /// Keyset cursor: the page before this row.
    before: Option<String>,
    /// Comma-separated ids, at most 100. Narrows the caller's scope, never widens it.
    ids: Option<String>,
    /// Only images of this workspace; otherwise of every workspace the caller may see.
    workspace_id: Option<String>,
}

/// List images.
#[utoipa::path(get, path = "/api/images", params(ListQuery), responses(
    (status = 200, body = ImagePage),
    (status = 400, description = "A parameter is not acceptable.", body = Problem),
    (status = 401, description = "No usable API token.", body = Problem),
    (status = 429, description = "The token's points for this minute are spent; see Retry-After.", body = Problem),
))]
async fn list_images(
    State(app): State<App>,
    viewer: Viewer,
    id: RequestId,
    query: std::result::Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let page = async {
        let Query(query) = query.map_err(|_| Error::invalid("query", "The query string cannot be read."))?;
        let list = list_of(query)?;
        let rows = list.page.first.or(list.page.last).and_then(|rows| usize::try_from(rows).ok());
        rate::take(&app, &viewer, rows.unwrap_or(MAX_PAGE as usize))?;
        let page = images::list(&app, &viewer, list.clone()).await?;
        let total = images::count(&app, &viewer, &list).await?.rows;
        let (start, end) = (page.rows.first(), page.rows.last());
        let page_info = PageInfo {
            total,
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: start.map(|row| row.cursor.clone()),
            end_cursor: end.map(|row| row.cursor.clone()),
        };
        let mut data = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            data.push(Image::of(&app, row.model).await);
        }
        Ok(ImagePage { data, page_info })
    };
    answer(page.await, id)
}

/// Get an image.
#[utoipa::path(get, path = "/api/images/{id}", params(("id" = String, Path, description = "The image's `img_` id.")),
    responses(
        (status = 200, body = Image),
        (status = 400, description = "Not an image id.", body = Problem),
        (status = 401, description = "No usable API token.", body = Problem),
        (status = 404, description = "No such image, or not yours.", body = Problem),
))]
async fn find_image(State(app): State<App>, viewer: Viewer, id: RequestId, image: PathId) -> Response {
    let found = async {
        let image: ImageId = image.id("id")?;
        let row = images::find(&app, &viewer, image).await?.ok_or_else(|| Error::not_found("image"))?;
        Ok(Image::of(&app, row).await)
    };
    answer(found.await, id)
}

/// Get an image by its file.
#[utoipa::path(get, path = "/api/images/by-file/{file_id}",
    params(("file_id" = String, Path, description = "The underlying file's `fil_` id.")),
    responses(
        (status = 200, body = Image),
        (status = 400, description = "Not a file id.", body = Problem),
        (status = 401, description = "No usable API token.", body = Problem),
        (status = 404, description = "The file has no image, or is not yours.", body = Problem),
))]
async fn find_image_by_file(State(app): State<App>, viewer: Viewer, id: RequestId, file: PathId) -> Response {
    let found = async {
        let file: FileId = file.id("file_id")?;
        let row =
            images::find_by_file(&app, &viewer, file).await?.ok_or_else(|| Error::not_found("image"))?;
        Ok(Image::of(&app, row).await)
    };
    answer(found.await, id)
}

/// Delete the image projection (the underlying file is unaffected).
#[utoipa::path(delete, path = "/api/images/{id}", params(("id" = String, Path, description = "The image's `img_` id.")),
    responses(
        (status = 200, body = Deleted),
        (status = 400, description = "Not an image id.", body = Problem),
        (status = 401, description = "No usable API token.", body = Problem),
        (status = 403, description = "You may only read this workspace.", body = Problem),
        (status = 404, description = "No such image, or not yours.", body = Problem),
))]
async fn delete_image(State(app): State<App>, viewer: Viewer, id: RequestId, image: PathId) -> Response {
    let deleted = async {
        images::delete(&app, &viewer, image.id::<ImageId>("id")?).await?;
        Ok(Deleted { success: true })
    };
    answer(deleted.await, id)
}

/// An id in a path, which may be any bytes.
type PathId = std::result::Result<Path<String>, axum::extract::rejection::PathRejection>;

trait ParsePath {
    fn id<T: std::str::FromStr<Err = crate::id::ParseIdError>>(&self, field: &str) -> Result<T>;
}

impl ParsePath for PathId {
    fn id<T: std::str::FromStr<Err = crate::id::ParseIdError>>(&self, field: &str) -> Result<T> {
        parse(self.as_ref().map_or("", |path| path.as_str()), field)
    }
}

async fn unknown_route(_: Viewer, id: RequestId) -> Response {
    answer::<()>(Err(Error::not_found("route")), id)
}

async fn wrong_method(_: Viewer, id: RequestId) -> Response {
    let mut response =
        answer::<()>(Err(Error::invalid("method", "This route does not take this method.")), id);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

fn list_of(query: ListQuery) -> Result<images::List> {
    let limit = match query.limit.as_deref().map(str::parse::<u64>) {
        None => None,
        Some(Ok(limit @ 1..=MAX_PAGE)) => i64::try_from(limit).ok(),
        Some(_) => return Err(Error::invalid("limit", format!("A page has 1 to {MAX_PAGE} items."))),
    };
    let page = match (query.after, query.before) {
        (Some(_), Some(_)) => return Err(Error::invalid("before", "Give `after` or `before`, not both.")),
        (after, None) => PageArgs { first: limit, after, ..PageArgs::default() },
        (None, before) => PageArgs { last: limit, before, ..PageArgs::default() },
    };
    let ids = match query.ids.as_deref() {
        None => None,
        Some(text) => {
            let ids: Vec<&str> = text.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
            if ids.len() as u64 > MAX_PAGE {
                return Err(Error::invalid("ids", format!("At most {MAX_PAGE} ids are given at once.")));
            }
            Some(ids.into_iter().map(|id| parse(id, "ids")).collect::<Result<_>>()?)
        }
    };
    let workspace_id: Option<WorkspaceId> =
        query.workspace_id.map(|id| parse(&id, "workspace_id")).transpose()?;
    let filter = images::filter::Filter::default();
    Ok(images::List { workspace_id, ids, filter, page, order: images::BY_CREATION, both_ends: true })
}

fn parse<T: std::str::FromStr<Err = crate::id::ParseIdError>>(text: &str, field: &str) -> Result<T> {
    text.parse().map_err(|problem| Error::from(problem).at(field))
}

/// A result as JSON, with the status its code asks for.
pub fn answer<T: Serialize>(result: Result<T>, id: RequestId) -> Response {
    let problem = match result {
        Ok(value) => return Json(value).into_response(),
        Err(problem) => problem,
    };
    problem.log();
    let refusal = problem.public();
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = Problem {
        error: ProblemBody {
            code: refusal.code.as_str(),
            message: refusal.message,
            field: refusal.field.map(|path| path.join(".")),
            request_id: id.to_string(),
        },
    };
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(delay) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    response
}
