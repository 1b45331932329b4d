//! The REST face: `/api/images`, with the same domain functions as GraphQL.

mod openapi;

use std::str::FromStr;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::{OpenApi, ToSchema};

pub use openapi::ApiDoc;

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::rate;
use crate::entity::image::{self, Column};
use crate::error::{Error, Result};
use crate::http::error::{self, ErrorBody};
use crate::http::{RequestId, credential, rate_limit, revalidation};
use crate::id::{FileId, ImageId, ParseIdError, WorkspaceId};
use crate::image as images;
use crate::image::rendition::{self, DeliveryFacts, Renditions};
use crate::query::page::{self, MAX_PAGE, PageArgs, PageSelection};

/// Routes below `/api`.
pub fn router(app: &App) -> Router<App> {
    Router::new()
        .route("/images", get(list_images))
        .route("/images/by-file/{file_id}", get(find_image_by_file))
        .route("/images/{id}", get(find_image).delete(delete_image))
        .route("/openapi.json", get(openapi_document))
        .fallback(error::route_not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(middleware::from_fn(revalidation::revalidate))
        .layer(middleware::from_fn_with_state(app.clone(), authenticate))
}

/// Looks up the viewer of a request, and adds the rate-limit headers to its response.
async fn authenticate(State(app): State<App>, id: RequestId, mut request: Request, next: Next) -> Response {
    let viewer = match credential::viewer(&app, request.headers()).await {
        Ok(viewer) => viewer,
        Err(problem) => return error::respond::<()>(Err(problem), id),
    };
    request.extensions_mut().insert(viewer.clone());
    let mut response = next.run(request).await;
    rate_limit::add_headers(response.headers_mut(), &app, &viewer);
    response
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
    exif: Box<RawValue>,
    /// Delivery URL; signed for an image that requires it. Null only while Cloudflare does not provide the key
    /// to sign with, and when every variant keeps metadata that the workspace's EXIF policy does not allow.
    url: Option<String>,
}

/// The columns that [`Image`] shows, beyond those of its URL.
const SHOWN: [Column; 4] = [Column::Id, Column::FileId, Column::Size, Column::Exif];

/// The columns of an [`Image`].
fn columns() -> Vec<Column> {
    [&SHOWN[..], &DeliveryFacts::COLUMNS].concat()
}

impl Image {
    fn of(row: image::Model, facts: &DeliveryFacts) -> Image {
        let url = facts.url(&row).map(|(url, _)| url).inspect_err(Error::log).ok();
        Image {
            id: row.id.to_string(),
            file_id: row.file_id.to_string(),
            workspace_id: row.workspace_id.to_string(),
            cf_image_id: row.cf_image_id.unwrap_or_default(),
            width: row.width,
            height: row.height,
            size: row.size,
            exif: row.exif.and_then(|exif| RawValue::from_string(exif.into()).ok()).unwrap_or_else(no_exif),
            url,
        }
    }

    /// A single image.
    async fn of_one(app: &App, row: image::Model) -> Image {
        let facts = facts(app, &[&row]).await;
        Image::of(row, &facts)
    }
}

/// What the URLs of images depend on.
async fn facts(app: &App, images: &[&image::Model]) -> DeliveryFacts {
    let keeping_all = |workspaces| rendition::keeping_all(app, workspaces);
    DeliveryFacts::fetch(app, images, Renditions::Public, keeping_all).await
}

/// An empty object.
fn no_exif() -> Box<RawValue> {
    serde_json::value::to_raw_value(&json!({})).unwrap_or_default()
}

/// A page of images.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePage {
    data: Vec<Image>,
    page_info: PageInfo,
}

/// Position of a page in its list.
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

/// The result of a deletion.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deleted)]
pub struct DeleteResponse {
    success: bool,
}

/// The query parameters of a list; their values are described in [`openapi::ListParameters`].
#[derive(Debug, Deserialize)]
struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    ids: Option<String>,
    workspace_id: Option<String>,
}

/// List images.
#[utoipa::path(get, path = "/api/images", tag = "images", params(openapi::ListParameters), responses(
    (status = 200, description = "A page of images, newest first.", body = ImagePage),
    (status = 304, description = "The same as the answer whose `ETag` is in `If-None-Match`."),
    (status = 400, description = "A parameter is not acceptable.", body = ErrorBody),
))]
async fn list_images(
    State(app): State<App>,
    viewer: Viewer,
    id: RequestId,
    query: std::result::Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let page = async {
        let Query(query) = query.map_err(|_| Error::invalid("query", "The query string is malformed."))?;
        let list = parse_query(query)?;
        let rows = list.page.first.or(list.page.last).and_then(|rows| usize::try_from(rows).ok());
        rate::take(&app, &viewer, rows.unwrap_or(MAX_PAGE as usize))?;
        let selection = PageSelection {
            rows: true,
            columns: columns(),
            cursors: true,
            has_next: true,
            has_previous: true,
        };
        let page = images::list(&app, &viewer, list.clone(), &selection).await?;
        let total = images::count(&app, &viewer, &list).await?.rows;
        let cursor = |row| page::cursor(row, page.order);
        let page_info = PageInfo {
            total,
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: page.rows.first().map(cursor),
            end_cursor: page.rows.last().map(cursor),
        };
        let facts = facts(&app, &page.rows.iter().collect::<Vec<_>>()).await;
        let data = page.rows.into_iter().map(|row| Image::of(row, &facts)).collect();
        Ok(ImagePage { data, page_info })
    };
    error::respond(page.await, id)
}

/// Get an image.
#[utoipa::path(get, path = "/api/images/{id}", tag = "images", params(openapi::ImagePath),
    responses(
        (status = 200, description = "The image.", body = Image),
        (status = 304, description = "The same as the answer whose `ETag` is in `If-None-Match`."),
        (status = 400, description = "Not an image id.", body = ErrorBody),
        (status = 404, description = "No such image, or not yours.", body = ErrorBody),
))]
async fn find_image(State(app): State<App>, viewer: Viewer, id: RequestId, image: PathId) -> Response {
    let found = async {
        let image: ImageId = path_id(&image, "id")?;
        let row = images::find(&app, &viewer, image, &columns()).await?;
        Ok(Image::of_one(&app, row.ok_or_else(|| Error::not_found("image").at("id"))?).await)
    };
    error::respond(found.await, id)
}

/// Get an image by its file.
#[utoipa::path(get, path = "/api/images/by-file/{file_id}", tag = "images", params(openapi::FilePath),
    responses(
        (status = 200, description = "The image.", body = Image),
        (status = 304, description = "The same as the answer whose `ETag` is in `If-None-Match`."),
        (status = 400, description = "Not a file id.", body = ErrorBody),
        (status = 404, description = "The file has no image, or is not yours.", body = ErrorBody),
))]
async fn find_image_by_file(State(app): State<App>, viewer: Viewer, id: RequestId, file: PathId) -> Response {
    let found = async {
        let file: FileId = path_id(&file, "file_id")?;
        let row = images::find_by_files(&app, &viewer, &[file], &columns()).await?.pop();
        Ok(Image::of_one(&app, row.ok_or_else(|| Error::not_found("image").at("file_id"))?).await)
    };
    error::respond(found.await, id)
}

/// Delete the image projection (the underlying file is unaffected).
#[utoipa::path(delete, path = "/api/images/{id}", tag = "images", params(openapi::ImagePath),
    responses(
        (status = 200, description = "The image is gone.", body = DeleteResponse),
        (status = 400, description = "Not an image id.", body = ErrorBody),
        (status = 404, description = "No such image, or not yours.", body = ErrorBody),
))]
async fn delete_image(State(app): State<App>, viewer: Viewer, id: RequestId, image: PathId) -> Response {
    let deleted = async {
        images::delete(&app, &viewer, path_id::<ImageId>(&image, "id")?).await?;
        Ok(DeleteResponse { success: true })
    };
    error::respond(deleted.await, id)
}

/// An id in a path. Percent-encoded bytes that are not UTF-8 make it a rejection.
type PathId = std::result::Result<Path<String>, PathRejection>;

fn path_id<T: FromStr<Err = ParseIdError>>(path: &PathId, field: &str) -> Result<T> {
    parse(path.as_ref().map_or("", |path| path.as_str()), field)
}

async fn openapi_document(_: Viewer) -> Json<utoipa::openapi::OpenApi> {
    Json(ApiDoc::openapi())
}

fn parse_query(query: ListQuery) -> Result<images::ImageList> {
    // An HTML form sends an empty parameter for a field that is left empty.
    let nonempty = |text: Option<String>| text.filter(|text| !text.is_empty());
    let limit = match nonempty(query.limit).as_deref().map(str::parse::<u64>) {
        None => None,
        Some(Ok(limit @ 1..=MAX_PAGE)) => i64::try_from(limit).ok(),
        Some(_) => return Err(Error::invalid("limit", format!("A page has 1 to {MAX_PAGE} items."))),
    };
    let page = match (nonempty(query.after), nonempty(query.before)) {
        (None, before @ Some(_)) => PageArgs { last: limit, before, ..PageArgs::default() },
        (after, until) => PageArgs { first: limit, after, until, ..PageArgs::default() },
    };
    let ids = nonempty(query.ids).as_deref().map(parse_ids).transpose()?.filter(|ids| !ids.is_empty());
    let workspace_id: Option<WorkspaceId> =
        nonempty(query.workspace_id).map(|id| parse(&id, "workspace_id")).transpose()?;
    let filter = images::filter::ImageFilter::default();
    Ok(images::ImageList { workspace_id, ids, filter, page, order: images::BY_CREATION })
}

fn parse_ids(text: &str) -> Result<Vec<ImageId>> {
    let ids: Vec<&str> = text.split(',').map(|id| id.trim_matches(' ')).filter(|id| !id.is_empty()).collect();
    if ids.len() as u64 > MAX_PAGE {
        return Err(Error::invalid("ids", format!("At most {MAX_PAGE} ids are accepted.")));
    }
    ids.into_iter().map(|id| parse(id, "ids")).collect()
}

fn parse<T: FromStr<Err = ParseIdError>>(text: &str, field: &str) -> Result<T> {
    text.parse().map_err(|problem| Error::from(problem).at(field))
}
