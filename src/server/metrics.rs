//! Metrics in the text format of Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::auth::Viewer;
use crate::error::{Code, Error};
use crate::http::{RequestId, error};

fn account_failures(app: &App) -> String {
    let counts = app.cloudflare.failures.counts().into_iter();
    counts
        .map(|(kind, count)| format!("imagegraph_account_failures_total{{kind=\"{kind}\"}} {count}\n"))
        .collect()
}

/// The metrics of this server, for admins.
pub(super) async fn metrics(State(app): State<App>, viewer: Viewer, id: RequestId) -> Response {
    if !viewer.manages_server() {
        return error::respond::<()>(Err(Error::refuse(Code::Forbidden, "Metrics are for admins.")), id);
    }
    let text = format!(
        "# HELP imagegraph_sql_statements_total SQL statements run.\n\
         # TYPE imagegraph_sql_statements_total counter\n\
         imagegraph_sql_statements_total {}\n\
         # HELP imagegraph_connections Open WebSockets and event streams.\n\
         # TYPE imagegraph_connections gauge\n\
         imagegraph_connections {}\n\
         # HELP imagegraph_followers Subscriptions that follow a workspace.\n\
         # TYPE imagegraph_followers gauge\n\
         imagegraph_followers {}\n\
         # HELP imagegraph_account_failures_total Calls to the Cloudflare account that failed.\n\
         # TYPE imagegraph_account_failures_total counter\n{}",
        app.db.statements(),
        app.connections.count(),
        app.event_notifier.subscriber_count(),
        account_failures(&app)
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
