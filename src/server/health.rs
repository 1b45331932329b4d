//! Readiness.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::error::{Error, Result};

/// Whether the database and the byte store answer. A Cloudflare account that is down does not take the server out of
/// service, because uploads are stored and provisioned later.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let database = app.db.read.ping().await.map_err(Error::from);
    let store = app.blobs.check().await.map_err(Error::from);
    let text = |result: &Result<()>| if result.is_ok() { "ok" } else { "failing" };
    let body = json!({ "database": text(&database), "store": text(&store) });
    let mut status = StatusCode::OK;
    for problem in [database, store].into_iter().filter_map(Result::err) {
        problem.log();
        status = StatusCode::SERVICE_UNAVAILABLE;
    }
    (status, Json(body)).into_response()
}
