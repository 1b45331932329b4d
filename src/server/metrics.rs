//! Metrics in the text format of Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::app::App;
use crate::auth::Viewer;
use crate::error::{Code, Error};
use crate::http::{RequestId, error};

const SQL_STATEMENTS: &str = "imagegraph_sql_statements_total";
const CONNECTIONS: &str = "imagegraph_connections";
const FOLLOWERS: &str = "imagegraph_followers";
const ACCOUNT_FAILURES: &str = "imagegraph_account_failures_total";

/// The metrics of this server, for admins.
pub(super) async fn metrics(State(app): State<App>, viewer: Viewer, id: RequestId) -> Response {
    if !viewer.manages_server() {
        return error::respond::<()>(Err(Error::refuse(Code::Forbidden, "Metrics are for admins.")), id);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], render(&app)).into_response()
}

/// Renders the server's counters. Each scrape has a recorder of its own instead of the global one, because a process may run
/// several servers.
fn render(app: &App) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe_counter!(SQL_STATEMENTS, "SQL statements run.");
        counter!(SQL_STATEMENTS).absolute(app.db.statement_count());
        describe_gauge!(CONNECTIONS, "Open WebSockets and event streams.");
        gauge!(CONNECTIONS).set(app.connections.count() as f64);
        describe_gauge!(FOLLOWERS, "Subscriptions that follow a workspace.");
        gauge!(FOLLOWERS).set(app.event_notifier.subscriber_count() as f64);
        describe_counter!(ACCOUNT_FAILURES, "Calls to the Cloudflare account that failed.");
        for (kind, count) in app.cloudflare.failures.counts() {
            counter!(ACCOUNT_FAILURES, "kind" => kind).absolute(count);
        }
    });
    recorder.handle().render()
}
