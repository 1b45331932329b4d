//! Start and stop of a server. Each error of the start names the setting to change.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, TransactionTrait};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Account, AccountError, router};
use crate::app::{App, Clock, Db};
use crate::bootstrap::{self, FirstStart};
use crate::config::{Config, Durability};
use crate::folder;
use crate::http;
use crate::storage::{self, BlobStore};
use crate::{event, tls, worker};
use cloudflare_images::client::Client;

/// How long requests in progress may take once the server is asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the database may take to close: it waits for running statements.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server.
pub struct Running {
    pub app: App,
    pub address: SocketAddr,
    /// Where clients reach it.
    pub public_url: Url,
    /// What this start has created, if it was the first one.
    pub first_start: Option<FirstStart>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the data folder {0}: {1}. Choose another with --data-dir or IMAGEGRAPH_DATA_DIR")]
    DataDir(PathBuf, #[source] std::io::Error),
    #[error("cannot listen on {0}: {1}. Choose another address with --listen or IMAGEGRAPH_LISTEN")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("cannot use the database: {0}. Check --database-url or DATABASE_URL")]
    Database(#[source] sea_orm::DbErr),
    #[error("cannot use the byte store: {0}. Check --store-url or IMAGEGRAPH_STORE_URL")]
    Store(#[from] storage::OpenError),
    #[error("cannot use the Cloudflare account: {0}")]
    Account(#[from] AccountError),
    #[error("cannot use the Cloudflare account: {0}")]
    Client(#[from] cloudflare_images::Error),
    #[error("cannot create the first admin: {0}")]
    Bootstrap(#[source] crate::error::Error),
}

/// Opens everything a server needs and starts it.
pub async fn start(mut config: Config, clock: Clock) -> Result<Running, StartError> {
    tls::install();
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|problem| StartError::Listen(config.listen, problem))?;
    let address = listener.local_addr().map_err(|problem| StartError::Listen(config.listen, problem))?;
    let public_url = match &config.public_url {
        Some(url) => url.clone(),
        None => own_url(address),
    };
    config.public_url = Some(public_url.clone());
    let db = open_database(&config).await?;
    let blobs = BlobStore::open(&config)?;
    // The server reaches its own emulator at the address it listens on; URLs for clients have the public one.
    let account = Account::open(&config, &public_url, &own_url(address)).await?;
    config.cloudflare_delivery_url = account.delivery.clone();
    let client = Client::new(account.settings)?;
    let cloudflare = if account.uses_batch_host { client.balanced() } else { client };
    let first_start = bootstrap::first_start(&db, &clock, config.admin_token.as_deref())
        .await
        .map_err(StartError::Bootstrap)?;
    let app = App::new(config, db, blobs, cloudflare, clock);
    let stop = app.connections.stop.clone();
    let tasks = spawn_tasks(&app, listener, account.emulator, &stop);
    Ok(Running { app, address, public_url, first_start, stop, tasks })
}

/// Starts the HTTP server, the worker, the analysis of images, and the delivery of events.
fn spawn_tasks(
    app: &App,
    listener: TcpListener,
    emulator: Option<Router>,
    stop: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let serving = http::serve(listener, router(app.clone(), emulator), stop.clone());
    let serving = async move {
        if let Err(problem) = serving.await {
            tracing::error!(%problem, "the server stopped accepting connections");
        }
    };
    vec![
        tokio::spawn(serving),
        tokio::spawn(worker::run(app.clone(), stop.clone())),
        tokio::spawn(worker::run_analysis(app.clone(), stop.clone())),
        tokio::spawn(event::run(app.clone(), stop.clone())),
    ]
}

/// Opens the database and brings its tables up to date.
pub async fn open_database(config: &Config) -> Result<Db, StartError> {
    make_data_dir(config)?;
    let (url, connections) = (config.database_url(), config.database_connections);
    let db = Db::open(&url, connections, config.durability).await.map_err(StartError::Database)?;
    migrate(&db).await.map_err(StartError::Database)?;
    Ok(db)
}

impl Running {
    /// Stops accepting requests, closes WebSockets and event streams, and waits for requests in progress and for the
    /// worker, each within a timeout.
    pub async fn stop(self) {
        self.stop.cancel();
        self.app.due.notify_one();
        self.app.connections.shut_down().await;
        for task in self.tasks {
            let _ = tokio::time::timeout(STOP_TIMEOUT, task).await;
        }
        // On close, SQLite writes its write-ahead log into the database file.
        let db = self.app.db.clone();
        let closed = async { (db.read.close().await, db.write.close().await) };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

/// The URL of a server with this address, for clients on the same machine.
pub fn own_url(address: SocketAddr) -> Url {
    let host = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let mut url = Url::parse("http://localhost").unwrap_or_else(|_| unreachable!("a constant URL"));
    let _ = url.set_host(Some(&host));
    let _ = url.set_port(Some(address.port()));
    url
}

fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let unusable = |problem| StartError::DataDir(config.data_dir.clone(), problem);
    let own_files = ["blobs", "emulator", "imagegraph.sqlite"];
    // The permissions of a folder that a server did not create are not changed, because other programs may use it.
    if own_files.iter().any(|name| config.data_dir.join(name).exists()) {
        folder::make_private(&config.data_dir).map_err(unusable)?;
    }
    folder::create(&config.data_dir, config.durability == Durability::Full).map_err(unusable)?;
    tempfile::tempfile_in(&config.data_dir).map_err(unusable)?;
    Ok(())
}

async fn migrate(db: &Db) -> Result<(), sea_orm::DbErr> {
    // Servers that start at the same time on one PostgreSQL migrate one after the other. The lock ends with the
    // transaction.
    let lock = match db.write.get_database_backend() {
        DbBackend::Postgres => {
            let transaction = db.write.connection().begin().await?;
            transaction.execute_unprepared("SELECT pg_advisory_xact_lock(7316512907)").await?;
            Some(transaction)
        }
        _ => None,
    };
    Migrator::up(db.write.connection(), None).await?;
    match lock {
        Some(transaction) => transaction.commit().await,
        None => db.write.sync().await,
    }
}
