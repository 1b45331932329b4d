//! The floor: what the answers cost without GraphQL. axum, prepared SQL with just the columns that are shown, serde structs, and
//! the look-up of the token in one statement.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use imagegraph::entity::api_token;
use imagegraph::id::{FileId, ImageId, WorkspaceId};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

type Parameters = Query<HashMap<String, String>>;
type Result<T, E = StatusCode> = std::result::Result<T, E>;

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct Images<T> {
    images: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    nodes: Vec<T>,
    page_info: PageInfo,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
}

#[derive(Serialize)]
struct Nodes<T> {
    nodes: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    #[serde(serialize_with = "display")]
    id: ImageId,
    #[serde(serialize_with = "display")]
    file_id: FileId,
    #[serde(serialize_with = "display")]
    workspace_id: WorkspaceId,
    cf_image_id: String,
    width: Option<i32>,
    height: Option<i32>,
    size: i64,
    exif: Option<Box<RawValue>>,
    url: String,
}

#[derive(Serialize)]
struct ImageWithFile {
    #[serde(flatten)]
    image: Image,
    file: File,
}

#[derive(Serialize)]
struct ImageWithRelations {
    #[serde(flatten)]
    image: Image,
    file: File,
    workspace: Workspace,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(serialize_with = "display")]
    id: FileId,
    filename: String,
    mime_type: Option<String>,
    size: i64,
}

#[derive(Serialize)]
struct Workspace {
    #[serde(serialize_with = "display")]
    id: WorkspaceId,
    name: String,
}

#[derive(Serialize)]
struct WorkspaceWithImages {
    #[serde(flatten)]
    workspace: Workspace,
    images: Nodes<Image>,
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A response with its JSON.
fn json(value: &impl Serialize) -> Response {
    let body = Bytes::from(serde_json::to_vec(value).unwrap());
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn uuid(parameters: &Parameters, name: &str) -> Result<Uuid> {
    parameters.get(name).and_then(|id| id.parse().ok()).ok_or(StatusCode::BAD_REQUEST)
}

/// Columns of [`Image`] in the order in which it is read.
const IMAGE: &str = "image.id, image.file_id, image.workspace_id, image.cf_image_id, image.width, image.height, image.size, {exif}, image.account_hash";
const FILE: &str = "file.id, file.filename, file.mime_type, file.size";

/// Texts of the statements of one database.
struct Sql {
    postgres: bool,
}

impl Sql {
    fn image(&self) -> String {
        IMAGE.replace("{exif}", if self.postgres { "image.exif::text" } else { "image.exif" })
    }

    fn viewer(&self) -> String {
        "SELECT u.role, t.scopes, m.workspace_id FROM api_token t JOIN \"user\" u ON u.id = t.user_id
         LEFT JOIN membership m ON m.user_id = u.id
         WHERE t.secret_hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)"
            .replace("t.scopes", if self.postgres { "t.scopes::text" } else { "t.scopes" })
    }

    /// A page of the images of workspace $1, from the row with key $2 and id $3 if there is one. The form of the conditions is
    /// the one of which each database makes a range of an index.
    fn page(&self, selected: &str, joined: &str, column: &str, from: bool) -> String {
        let key = if column.is_empty() { String::new() } else { format!("image.{column}, ") };
        let order = if column.is_empty() { String::new() } else { format!("image.{column} DESC, ") };
        let (place, id) = if column.is_empty() { ("", "$2") } else { ("$2, ", "$3") };
        let range = match (self.postgres, from) {
            (true, false) => "image.workspace_id >= $1 AND image.workspace_id <= $1".to_owned(),
            (true, true) => format!(
                "image.workspace_id >= $1 AND (image.workspace_id, {key}image.id) < ($1, {place}{id})"
            ),
            (false, false) => "image.workspace_id = $1".to_owned(),
            (false, true) if column.is_empty() => "image.workspace_id = $1 AND image.id < $2".to_owned(),
            (false, true) => format!("image.workspace_id = $1 AND ({key}image.id) < ({place}{id})"),
        };
        let workspace = if self.postgres { "image.workspace_id DESC, " } else { "" };
        format!(
            "SELECT {selected} FROM image {joined} WHERE image.state = 'READY' AND {range}
             ORDER BY {workspace}{order}image.id DESC LIMIT 101"
        )
    }

    /// The first five images of each workspace of the user of this token.
    fn workspaces(&self) -> String {
        let image = self.image();
        let chosen = "SELECT w.id, w.name FROM workspace w WHERE w.id IN (SELECT m.workspace_id FROM membership m
             JOIN api_token t ON t.user_id = m.user_id WHERE t.secret_hash = $1) ORDER BY w.name, w.id LIMIT 20";
        if self.postgres {
            return format!(
                "SELECT chosen.id, chosen.name, image.* FROM ({chosen}) chosen LEFT JOIN LATERAL (
                     SELECT {image} FROM image WHERE image.state = 'READY' AND image.workspace_id >= chosen.id
                     AND image.workspace_id <= chosen.id ORDER BY image.workspace_id DESC, image.id DESC LIMIT 5
                 ) image ON true ORDER BY chosen.name, chosen.id, image.id DESC"
            );
        }
        format!(
            "WITH chosen AS ({chosen}) SELECT chosen.id, chosen.name, {image} FROM chosen LEFT JOIN image ON image.id IN (
                 SELECT i.id FROM image i WHERE i.state = 'READY' AND i.workspace_id = chosen.id ORDER BY i.id DESC LIMIT 5
             ) ORDER BY chosen.name, chosen.id, image.id DESC"
        )
    }

    fn search(&self) -> String {
        let image = self.image();
        if self.postgres {
            return format!(
                "SELECT {image} FROM image WHERE state = 'READY' AND workspace_id >= $1 AND workspace_id <= $1
                 AND search_text ILIKE '%' || $2 || '%' AND width >= $3 ORDER BY workspace_id DESC, id DESC LIMIT 101"
            );
        }
        format!(
            "SELECT {image} FROM image WHERE state = 'READY' AND +workspace_id = $1 AND width >= $3
             AND image.id IN (SELECT id FROM image_text WHERE n IN
                (SELECT rowid FROM image_search WHERE image_search MATCH '\"' || $2 || '\"'))
             ORDER BY +id DESC LIMIT 101"
        )
    }
}

/// Serves the floor on a free port, which it prints.
pub(crate) async fn serve(database_url: &str, delivery_url: &str) {
    let router = if database_url.starts_with("postgres") {
        postgres::router(database_url, delivery_url).await
    } else {
        sqlite::router(database_url, delivery_url).await
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("floor listens on {}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

macro_rules! floor_on {
    ($module:ident, $database:ty, $row:ty, $postgres:literal) => {
        mod $module {
            use super::*;

            struct Floor {
                pool: sqlx::Pool<$database>,
                /// What stands before the id in delivery URLs, less the account's hash.
                delivery: String,
                viewer: String,
                /// By column: the first page, and the one from a row on.
                pages: HashMap<&'static str, (String, String)>,
                with_relations: String,
                image: String,
                file: String,
                workspaces: String,
                search: String,
            }

            pub(super) async fn router(url: &str, delivery: &str) -> Router {
                let sql = Sql { postgres: $postgres };
                let image = sql.image();
                let columns = ["", "updated_at", "filename", "size", "width_key", "height_key", "taken_at_key"];
                let pages = columns
                    .map(|column| (column, (sql.page(&image, "", column, false), sql.page(&image, "", column, true))));
                let relations = "JOIN file ON file.id = image.file_id JOIN workspace ON workspace.id = image.workspace_id";
                let floor = Floor {
                    pool: sqlx::pool::PoolOptions::new().max_connections(10).test_before_acquire(false).connect(url).await.unwrap(),
                    delivery: delivery.rsplit_once('/').unwrap().0.to_owned(),
                    viewer: sql.viewer(),
                    pages: pages.into(),
                    with_relations: sql.page(&format!("{image}, {FILE}, workspace.id, workspace.name"), relations, "", false),
                    image: format!("SELECT {image}, {FILE} FROM image JOIN file ON file.id = image.file_id WHERE image.state = 'READY' AND image.id = $1"),
                    file: format!("SELECT {FILE}, file.workspace_id FROM file WHERE removed_at IS NULL AND id = $1"),
                    workspaces: sql.workspaces(),
                    search: sql.search(),
                };
                Router::new()
                    .route("/images", get(images))
                    .route("/images-with-relations", get(images_with_relations))
                    .route("/image", get(image_with_file))
                    .route("/file", get(file))
                    .route("/count", get(count))
                    .route("/workspaces", get(workspaces))
                    .route("/search", get(search))
                    .with_state(Arc::new(floor))
            }

            impl Floor {
                /// The workspaces that the bearer of a token may see.
                async fn viewer(&self, headers: &HeaderMap) -> Result<Vec<Uuid>> {
                    let hash = token_hash(headers)?;
                    let rows = sqlx::query(AssertSqlSafe(self.viewer.as_str())).bind(hash).bind(Utc::now());
                    let rows = rows.fetch_all(&self.pool).await.unwrap();
                    let first = rows.first().ok_or(StatusCode::UNAUTHORIZED)?;
                    let scopes: Vec<&str> = serde_json::from_str(first.get_unchecked::<&str, _>(1)).unwrap();
                    if !scopes.contains(&"IMAGES_READ") {
                        return Err(StatusCode::FORBIDDEN);
                    }
                    Ok(rows.iter().filter_map(|row| row.get::<Option<Uuid>, _>(2)).collect())
                }

                async fn workspace(&self, headers: &HeaderMap, parameters: &Parameters) -> Result<Uuid> {
                    let workspace = uuid(parameters, "workspace")?;
                    let seen = self.viewer(headers).await?;
                    seen.contains(&workspace).then_some(workspace).ok_or(StatusCode::NOT_FOUND)
                }

                fn image(&self, row: &$row, at: usize) -> Image {
                    let (cf_image_id, hash): (String, &str) = (row.get(at + 3), row.get(at + 8));
                    let exif: Option<String> = row.get_unchecked(at + 7);
                    Image {
                        id: ImageId(row.get(at)),
                        file_id: FileId(row.get(at + 1)),
                        workspace_id: WorkspaceId(row.get(at + 2)),
                        width: row.get(at + 4),
                        height: row.get(at + 5),
                        size: row.get(at + 6),
                        exif: exif.map(|text| RawValue::from_string(text).unwrap()),
                        url: format!("{}/{hash}/{cf_image_id}/public", self.delivery),
                        cf_image_id,
                    }
                }

                fn page(&self, mut rows: Vec<$row>) -> Response {
                    let has_next_page = rows.len() > 100;
                    rows.truncate(100);
                    let nodes = rows.iter().map(|row| self.image(row, 0)).collect();
                    json(&Data { data: Images { images: Page { nodes, page_info: PageInfo { has_next_page } } } })
                }
            }

            fn file_of(row: &$row, at: usize) -> File {
                File { id: FileId(row.get(at)), filename: row.get(at + 1), mime_type: row.get(at + 2), size: row.get(at + 3) }
            }

            async fn images(State(floor): State<Arc<Floor>>, parameters: Parameters, headers: HeaderMap) -> Result<Response> {
                let workspace = floor.workspace(&headers, &parameters).await?;
                let column = parameters.get("order").map_or("", String::as_str);
                let (first, deep) = floor.pages.get(column).ok_or(StatusCode::BAD_REQUEST)?;
                let Ok(id) = uuid(&parameters, "id") else {
                    let query = sqlx::query(AssertSqlSafe(first.as_str())).bind(workspace);
                    return Ok(floor.page(query.fetch_all(&floor.pool).await.unwrap()));
                };
                let (query, key) = (sqlx::query(AssertSqlSafe(deep.as_str())).bind(workspace), &parameters["key"]);
                let query = match column {
                    "" => query,
                    "filename" => query.bind(key),
                    "updated_at" | "taken_at_key" => query.bind(key.parse::<DateTime<Utc>>().unwrap()),
                    _ => query.bind(key.parse::<i64>().unwrap()),
                };
                Ok(floor.page(query.bind(id).fetch_all(&floor.pool).await.unwrap()))
            }

            async fn images_with_relations(State(floor): State<Arc<Floor>>, parameters: Parameters, headers: HeaderMap) -> Result<Response> {
                let workspace = floor.workspace(&headers, &parameters).await?;
                let query = sqlx::query(AssertSqlSafe(floor.with_relations.as_str())).bind(workspace);
                let mut rows = query.fetch_all(&floor.pool).await.unwrap();
                let has_next_page = rows.len() > 100;
                rows.truncate(100);
                let node = |row: &$row| ImageWithRelations {
                    image: floor.image(row, 0),
                    file: file_of(row, 9),
                    workspace: Workspace { id: WorkspaceId(row.get(13)), name: row.get(14) },
                };
                let nodes: Vec<_> = rows.iter().map(node).collect();
                Ok(json(&Data { data: Images { images: Page { nodes, page_info: PageInfo { has_next_page } } } }))
            }

            async fn image_with_file(State(floor): State<Arc<Floor>>, parameters: Parameters, headers: HeaderMap) -> Result<Response> {
                let seen = floor.viewer(&headers).await?;
                let query = sqlx::query(AssertSqlSafe(floor.image.as_str())).bind(uuid(&parameters, "id")?);
                let row = query.fetch_optional(&floor.pool).await.unwrap().ok_or(StatusCode::NOT_FOUND)?;
                let found = ImageWithFile { image: floor.image(&row, 0), file: file_of(&row, 9) };
                if !seen.contains(&found.image.workspace_id.0) {
                    return Err(StatusCode::NOT_FOUND);
                }
                Ok(json(&Data { data: HashMap::from([("image", found)]) }))
            }

            async fn file(State(floor): State<Arc<Floor>>, parameters: Parameters, headers: HeaderMap) -> Result<Response> {
                let seen = floor.viewer(&headers).await?;
                let query = sqlx::query(AssertSqlSafe(floor.file.as_str())).bind(uuid(&parameters, "id")?);
                let row = query.fetch_optional(&floor.pool).await.unwrap().ok_or(StatusCode::NOT_FOUND)?;
                if !seen.contains(&row.get(4)) {
                    return Err(StatusCode::NOT_FOUND);
                }
                Ok(json(&Data { data: HashMap::from([("node", file_of(&row, 0))]) }))
            }

            async fn count(State(floor): State<Arc<Floor>>, parameters: Parameters, headers: HeaderMap) -> Result<Response> {
                let workspace = floor.workspace(&headers, &parameters).await?;
                let query = sqlx::query("SELECT image_count FROM workspace_usage WHERE workspace_id = $1").bind(workspace);
                let row = query.fetch_one(&floor.pool).await.unwrap();
                let count = HashMap::from([("totalCount", row.get::<i64, _>(0))]);
                Ok(json(&Data { data: Images { images: count } }))
            }

            async fn workspaces(State(floor): State<Arc<Floor>>, headers: HeaderMap) -> Result<Response> {
                floor.viewer(&headers).await?;
                let query = sqlx::query(AssertSqlSafe(floor.workspaces.as_str())).bind(token_hash(&headers)?);
                let rows = query.fetch_all(&floor.pool).await.unwrap();
                let mut nodes: Vec<WorkspaceWithImages> = Vec::new();
                for row in &rows {
                    let id = WorkspaceId(row.get(0));
                    if nodes.last().is_none_or(|last| last.workspace.id != id) {
                        let workspace = Workspace { id, name: row.get(1) };
                        nodes.push(WorkspaceWithImages { workspace, images: Nodes { nodes: Vec::new() } });
                    }
                    if row.get::<Option<Uuid>, _>(2).is_some() && let Some(last) = nodes.last_mut() {
                        last.images.nodes.push(floor.image(row, 2));
                    }
                }
                Ok(json(&Data { data: HashMap::from([("workspaces", Nodes { nodes })]) }))
            }

            async fn search(State(floor): State<Arc<Floor>>, parameters: Parameters, headers: HeaderMap) -> Result<Response> {
                let workspace = floor.workspace(&headers, &parameters).await?;
                let width: i32 = parameters["width"].parse().map_err(|_| StatusCode::BAD_REQUEST)?;
                let query = sqlx::query(AssertSqlSafe(floor.search.as_str()));
                let query = query.bind(workspace).bind(&parameters["word"]).bind(width);
                Ok(floor.page(query.fetch_all(&floor.pool).await.unwrap()))
            }
        }
    };
}

fn token_hash(headers: &HeaderMap) -> Result<Vec<u8>> {
    let token =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    Ok(api_token::hash(token.ok_or(StatusCode::UNAUTHORIZED)?))
}

floor_on!(postgres, sqlx::Postgres, sqlx::postgres::PgRow, true);
floor_on!(sqlite, sqlx::Sqlite, sqlx::sqlite::SqliteRow, false);
