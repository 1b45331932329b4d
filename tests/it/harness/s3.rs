//! An S3 server for one test: it verifies signatures, stores objects in a folder, and fails on request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use imagegraph::config::Config;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;

/// Failures of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It does not fail.
    None,
    /// Every request is answered with this status.
    Status(u16),
    /// Requests with this method are answered with this status.
    Method(&'static str, u16),
    /// Every answer is delayed by this time.
    Delay(Duration),
}

/// A bucket on a running server.
pub(crate) struct Bucket {
    pub(crate) url: String,
    folder: TempDir,
    state: Arc<Shared>,
}

struct Shared {
    service: S3Service,
    failure: Mutex<Failure>,
    methods: Mutex<Vec<String>>,
}

const PREFIX: &str = "bucket/some/prefix";

impl Bucket {
    pub(crate) async fn start() -> Bucket {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("id", "secret"));
        let (service, failure) = (builder.build(), Mutex::new(Failure::None));
        let state = Arc::new(Shared { service, failure, methods: Mutex::default() });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Bucket { url, folder, state }
    }

    /// Configures a server to store its bytes here.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.store_url = Some(format!("s3://{PREFIX}").parse().unwrap());
        config.aws_endpoint_url = Some(self.url.parse().unwrap());
        config.aws_access_key_id = Some("id".to_owned());
        config.aws_secret_access_key = Some("secret".to_owned());
    }

    /// The same as environment variables of a program.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("IMAGEGRAPH_STORE_URL", format!("s3://{PREFIX}")),
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ]
    }

    /// Lets the following requests fail.
    pub(crate) fn fail(&self, failure: Failure) {
        *self.state.failure.lock().unwrap() = failure;
    }

    /// Methods of the requests so far.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.state.methods.lock().unwrap().clone()
    }

    /// Names of the objects in a folder of the store.
    pub(crate) fn keys(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Path of the objects in a folder of the store.
    pub(crate) fn path(&self, folder: &str) -> std::path::PathBuf {
        self.folder.path().join(PREFIX).join(folder)
    }
}

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> Response {
    state.methods.lock().unwrap().push(request.method().to_string());
    let failure = *state.failure.lock().unwrap();
    match failure {
        Failure::Status(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Failure::Method(method, status) if request.method() == method => {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        Failure::Delay(pause) => tokio::time::sleep(pause).await,
        Failure::Method(..) | Failure::None => {}
    }
    match state.service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(answer) => answer.map(Body::new).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem:?}")).into_response(),
    }
}
