//! All settings, each with its flag, environment variable, default and meaning. No other module reads the environment.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cloudflare_images::client::Settings;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

// Headings of `--help` and docs/configuration.md.
const SERVER: &str = "Server";
const DATABASE: &str = "Database";
const STORE: &str = "Byte store";
const ACCOUNT: &str = "Cloudflare account";
const IMAGES: &str = "Images";
const LIMITS: &str = "Limits";
const LIVE: &str = "Live events";
const WORKER: &str = "Worker";
const LOG: &str = "Log";
const TESTS: &str = "Tests";

/// Characters that have to be percent-encoded in the path of a database URL.
const SPECIAL_IN_URL: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

/// Settings of the server. A flag takes precedence over an environment variable, and that over a `.env` file.
#[derive(Args, Clone)]
pub struct Config {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, global = true, help_heading = SERVER, env = "IMAGEGRAPH_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Folder of the SQLite database, the stored bytes, the emulator's store and uploads in progress
    #[arg(long, global = true, help_heading = SERVER, env = "IMAGEGRAPH_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// Where clients reach this server; its upload and download URLs, and the emulator's, begin with it [default: http:// and
    /// the address it listens on]
    #[arg(long, global = true, help_heading = SERVER,
          env = "IMAGEGRAPH_PUBLIC_URL", hide_env_values = true, value_parser = base_url)]
    pub public_url: Option<Url>,

    /// Token of the first admin, created on the first start; 32 characters or more, printable ASCII without spaces [default: a
    /// random one, printed once]
    #[arg(long, global = true, help_heading = SERVER,
          env = "IMAGEGRAPH_ADMIN_TOKEN", hide_env_values = true, value_parser = admin_token)]
    pub admin_token: Option<String>,

    /// Database: sqlite://path or postgres://user:password@host:port/name [default: imagegraph.sqlite in the data folder]
    #[arg(long, global = true, help_heading = DATABASE,
          env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub database_url: Option<String>,

    /// Maximum number of database connections of this process, 2 to 1000; SQLite uses one more for writing, PostgreSQL one
    /// more for events
    #[arg(long, global = true, help_heading = DATABASE, env = "IMAGEGRAPH_DATABASE_CONNECTIONS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub database_connections: u32,

    /// Byte store: file:///folder, s3://bucket/prefix, or memory:, which is lost when the process ends [default: blobs in the
    /// data folder]
    #[arg(long, global = true, help_heading = STORE,
          env = "IMAGEGRAPH_STORE_URL", hide_env_values = true, value_parser = store_url)]
    pub store_url: Option<Url>,

    /// When an upload is answered: `full` after its bytes and its row are on disk, `relaxed` before, so that a power cut loses
    /// the uploads of the last seconds
    #[arg(long, global = true, help_heading = STORE, env = "IMAGEGRAPH_DURABILITY", default_value = "full")]
    pub durability: Durability,

    /// Access key for an s3:// store
    #[arg(long, global = true, help_heading = STORE, env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub aws_access_key_id: Option<String>,

    /// Secret key for an s3:// store
    #[arg(long, global = true, help_heading = STORE, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub aws_secret_access_key: Option<String>,

    /// Region of an s3:// store; R2 calls it auto
    #[arg(long, global = true, help_heading = STORE, env = "AWS_REGION", default_value = "auto")]
    pub aws_region: String,

    /// Endpoint of an s3:// store that is not Amazon's, such as `https://ACCOUNT.r2.cloudflarestorage.com` for R2 [default:
    /// Amazon's]
    #[arg(long, global = true, help_heading = STORE,
          env = "AWS_ENDPOINT_URL", hide_env_values = true, value_parser = base_url)]
    pub aws_endpoint_url: Option<Url>,

    /// Cloudflare account; without it the built-in emulator is the account, and the other CLOUDFLARE_ settings are not used
    #[arg(long, global = true, help_heading = ACCOUNT, env = "CLOUDFLARE_ACCOUNT_ID", value_parser = account_id)]
    pub cloudflare_account_id: Option<String>,

    /// Cloudflare API token with the permission Images Write
    #[arg(long, global = true, help_heading = ACCOUNT, env = "CLOUDFLARE_API_TOKEN", hide_env_values = true)]
    pub cloudflare_api_token: Option<String>,

    /// E-mail address of the Cloudflare user, together with CLOUDFLARE_API_KEY, as an alternative to CLOUDFLARE_API_TOKEN
    #[arg(
        long,
        global = true,
        help_heading = ACCOUNT,
        env = "CLOUDFLARE_EMAIL",
        hide_env_values = true,
        requires = "cloudflare_api_key"
    )]
    pub cloudflare_email: Option<String>,

    /// Global API key of the Cloudflare user, together with CLOUDFLARE_EMAIL
    #[arg(
        long,
        global = true,
        help_heading = ACCOUNT,
        env = "CLOUDFLARE_API_KEY",
        hide_env_values = true,
        requires = "cloudflare_email"
    )]
    pub cloudflare_api_key: Option<String>,

    /// Base URL of Cloudflare's API
    #[arg(long, global = true, help_heading = ACCOUNT,
          env = "CLOUDFLARE_BASE_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://api.cloudflare.com/client/v4")]
    pub cloudflare_base_url: Url,

    /// Base URL of Cloudflare's batch host for Images
    #[arg(long, global = true, help_heading = ACCOUNT,
          env = "CLOUDFLARE_BATCH_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://batch.imagedelivery.net")]
    pub cloudflare_batch_url: Url,

    /// Base URL of Cloudflare's upload host for Images
    #[arg(long, global = true, help_heading = ACCOUNT,
          env = "CLOUDFLARE_UPLOAD_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://upload.imagedelivery.net")]
    pub cloudflare_upload_url: Url,

    /// Base URL of image delivery; with a custom domain it ends in /cdn-cgi/imagedelivery
    #[arg(long, global = true, help_heading = ACCOUNT,
          env = "CLOUDFLARE_DELIVERY_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://imagedelivery.net")]
    pub cloudflare_delivery_url: Url,

    /// Whether the account delivers transformations by URL. Cloudflare does not document an API call for it; without this
    /// setting they count as disabled if the account does not answer the undocumented one [default: the account is asked]
    #[arg(long, global = true, help_heading = ACCOUNT, env = "CLOUDFLARE_FLEXIBLE_VARIANTS")]
    pub cloudflare_flexible_variants: Option<bool>,

    /// Timeout in seconds of a call to Cloudflare, including its retries; a call that sends or fetches an image ends after so
    /// many seconds without progress instead; at most 45
    #[arg(long, global = true, help_heading = ACCOUNT,
          env = "IMAGEGRAPH_CLOUDFLARE_TIMEOUT", default_value = "15", value_parser = call_seconds)]
    pub cloudflare_timeout: Duration,

    /// Number of calls to Cloudflare's API in any five minutes, of which a fifth may come at once. Cloudflare counts all calls
    /// of a user, so several servers or other programs with the same user share its 1,200
    #[arg(long, global = true, help_heading = ACCOUNT, env = "IMAGEGRAPH_CLOUDFLARE_RATE",
          default_value_t = Settings::CLOUDFLARE_RATE)]
    pub cloudflare_rate: NonZeroU32,

    /// Number of calls in a second to the batch host, which takes the calls on images that the API's rate does not allow at
    /// once; 0 if it is not to be used
    #[arg(long, global = true, help_heading = ACCOUNT, env = "IMAGEGRAPH_CLOUDFLARE_BATCH_RATE",
          default_value_t = Settings::CLOUDFLARE_BATCH_RATE.get())]
    pub cloudflare_batch_rate: u32,

    /// Seconds an upload waits for Cloudflare before it is answered and the worker takes over; longer than the timeout of a
    /// call, so that the answer can tell why an image is queued
    #[arg(long, global = true, help_heading = IMAGES,
          env = "IMAGEGRAPH_PROVISION_WAIT", default_value = "20", value_parser = seconds)]
    pub provision_wait: Duration,

    /// Seconds after which provisioning an image fails for good, if there were at least 5 attempts
    #[arg(long, global = true, help_heading = IMAGES,
          env = "IMAGEGRAPH_PROVISION_TIME", default_value = "86400", value_parser = seconds)]
    pub provision_time: Duration,

    /// Number of attempts after which provisioning an image fails for good
    #[arg(long, global = true, help_heading = IMAGES, env = "IMAGEGRAPH_PROVISION_ATTEMPTS", default_value_t = 150,
          value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub provision_attempts: i32,

    /// Minimum lifetime in seconds of a signed delivery URL; the maximum is twice that
    #[arg(long, global = true, help_heading = IMAGES,
          env = "IMAGEGRAPH_SIGNED_URL_TTL", default_value = "3600", value_parser = seconds)]
    pub signed_url_ttl: Duration,

    /// Maximum size of a file in bytes
    #[arg(long, global = true, help_heading = LIMITS,
          env = "IMAGEGRAPH_MAX_FILE_SIZE", default_value_t = 100 * 1024 * 1024)]
    pub max_file_size: u64,

    /// Timeout in seconds of one attempt to import a file, from the connection to the last byte
    #[arg(long, global = true, help_heading = LIMITS,
          env = "IMAGEGRAPH_IMPORT_TIMEOUT", default_value = "60", value_parser = seconds)]
    pub import_timeout: Duration,

    /// Maximum number of concurrent imports, 1 to 64
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_IMPORT_CONCURRENCY", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub import_concurrency: u32,

    /// Maximum size of a GraphQL request without its files, in bytes
    #[arg(long, global = true, help_heading = LIMITS,
          env = "IMAGEGRAPH_MAX_QUERY_SIZE", default_value_t = 256 * 1024)]
    pub max_query_size: usize,

    /// Maximum number of file parts, and of paths in `map`, of a multipart request
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_UPLOAD_PARTS", default_value_t = 10)]
    pub max_upload_parts: usize,

    /// Number of rows at which counting the matches of a filter stops
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_COUNT", default_value_t = 10_000)]
    pub max_count: u64,

    /// Maximum depth of a query
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_DEPTH", default_value_t = 20)]
    pub max_depth: usize,

    /// Maximum cost of a query: one per field, times the page size inside connections
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_COMPLEXITY", default_value_t = 20_000)]
    pub max_complexity: usize,

    /// Maximum number of fields of a query with its fragments expanded
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_SELECTIONS", default_value_t = 5_000)]
    pub max_selections: usize,

    /// Maximum number of aliases in a query
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_ALIASES", default_value_t = 60)]
    pub max_aliases: usize,

    /// Maximum number of directives in a query
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_DIRECTIVES", default_value_t = 50)]
    pub max_directives: usize,

    /// Maximum number of lexical tokens in a query
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_TOKENS", default_value_t = 4_000)]
    pub max_tokens: usize,

    /// Maximum number of operations in a batched request; 0 refuses batches
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_BATCH", default_value_t = 10)]
    pub max_batch: usize,

    /// Maximum number of concurrent operations on a WebSocket
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_SOCKET_OPERATIONS", default_value_t = 20)]
    pub max_socket_operations: usize,

    /// Points an API token may spend per minute, 1000 or more; a GraphQL request costs as many as its query does, a REST
    /// request one and one for each image of its page [default: no limit]
    #[arg(long, global = true, help_heading = LIMITS,
          env = "IMAGEGRAPH_RATE_LIMIT", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub rate_limit: Option<u32>,

    /// Maximum number of open WebSockets and event streams per token
    #[arg(long, global = true, help_heading = LIMITS, env = "IMAGEGRAPH_MAX_CONNECTIONS", default_value_t = 100)]
    pub max_connections: usize,

    /// Seconds within which a WebSocket must send `connection_init`
    #[arg(long, global = true, help_heading = LIVE,
          env = "IMAGEGRAPH_SOCKET_INIT_TIMEOUT", default_value = "5", value_parser = seconds)]
    pub socket_init_timeout: Duration,

    /// Seconds between keep-alive messages on a WebSocket or event stream
    #[arg(long, global = true, help_heading = LIVE,
          env = "IMAGEGRAPH_KEEP_ALIVE", default_value = "12", value_parser = seconds)]
    pub keep_alive: Duration,

    /// Seconds after which a WebSocket or event stream is closed if its client does not read
    #[arg(long, global = true, help_heading = LIVE,
          env = "IMAGEGRAPH_SEND_TIMEOUT", default_value = "30", value_parser = seconds)]
    pub send_timeout: Duration,

    /// Seconds between two reads of the event table, for events without a notification
    #[arg(long, global = true, help_heading = LIVE,
          env = "IMAGEGRAPH_EVENT_POLL", default_value = "1", value_parser = seconds)]
    pub event_poll: Duration,

    /// Seconds between two checks of the worker for due work
    #[arg(long, global = true, help_heading = WORKER,
          env = "IMAGEGRAPH_WORKER_INTERVAL", default_value = "1", value_parser = seconds)]
    pub worker_interval: Duration,

    /// Age in seconds at which stored bytes that belong to no file are deleted; must be longer than the longest upload
    #[arg(long, global = true, help_heading = WORKER,
          env = "IMAGEGRAPH_SWEEP_AGE", default_value = "86400", value_parser = seconds)]
    pub sweep_age: Duration,

    /// Log filter, for example info or imagegraph=debug,tower_http=info
    #[arg(long, global = true, help_heading = LOG, env = "IMAGEGRAPH_LOG", default_value = "imagegraph=info,warn")]
    pub log: String,

    /// Log format
    #[arg(long, global = true, help_heading = LOG, env = "IMAGEGRAPH_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// For tests: seconds of the lease of a claimed row; longer than two calls to Cloudflare
    #[arg(long, global = true, help_heading = WORKER,
          env = "IMAGEGRAPH_LEASE", default_value = "120", value_parser = seconds, hide = true)]
    pub lease: Duration,

    /// For tests: seconds after which Cloudflare no longer carries out a request whose answer was not awaited
    #[arg(long, global = true, help_heading = WORKER,
          env = "IMAGEGRAPH_STRAY_CHECK", default_value = "300", value_parser = seconds, hide = true)]
    pub stray_check: Duration,

    /// Enable the emulator's fault injection, /faults, for everybody who can reach it; for tests only
    #[arg(long, global = true, help_heading = TESTS, env = "IMAGEGRAPH_EMULATOR_FAULTS")]
    pub emulator_faults: bool,

    /// For tests: allows imports from loopback addresses
    #[arg(long, global = true, help_heading = TESTS, env = "IMAGEGRAPH_IMPORT_ALLOW_LOOPBACK", hide = true)]
    pub import_allow_loopback: bool,

    /// For tests, in debug builds only: the crash point at which the server stops until it is killed
    #[arg(long, global = true, help_heading = TESTS, env = "IMAGEGRAPH_CRASH_POINT", hide = true)]
    pub crash_point: Option<String>,
}

/// What the acknowledgement of an upload guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// Acknowledged uploads survive a power failure.
    Full,
    /// Acknowledged uploads survive a crash of the process, but possibly not a crash of the machine.
    Relaxed,
}

/// Log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// The URL of the database: the setting, or that of the SQLite file in the data folder.
    pub fn database_url(&self) -> String {
        match &self.database_url {
            Some(url) => url.clone(),
            None => {
                let path = self.data_dir.join("imagegraph.sqlite");
                // Characters such as `?` in the path of the folder are not meant as URL syntax.
                let encoded = utf8_percent_encode(&path.to_string_lossy(), SPECIAL_IN_URL).to_string();
                format!("sqlite://{encoded}")
            }
        }
    }

    /// Keys, tokens and passwords, which the log and error messages must not contain.
    pub fn secrets(&self) -> Vec<String> {
        let plain = [
            &self.admin_token,
            &self.aws_access_key_id,
            &self.aws_secret_access_key,
            &self.cloudflare_api_token,
            &self.cloudflare_api_key,
        ];
        let mut secrets: Vec<String> = plain.into_iter().flatten().cloned().collect();
        if let Some(url) = self.database_url.as_deref().and_then(|url| Url::parse(url).ok()) {
            let in_query = url.query_pairs().find(|(name, _)| name == "password");
            secrets.extend(in_query.map(|(_, password)| password.into_owned()));
            if let Some(password) = url.password() {
                secrets.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
                secrets.push(password.to_owned());
            }
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets
    }

    /// Highest cost of a query that can ever be run: no query may cost more than a minute's points.
    pub fn highest_cost(&self) -> usize {
        let points = self.rate_limit.and_then(|points| usize::try_from(points).ok());
        self.max_complexity.min(points.unwrap_or(usize::MAX))
    }

    /// Whether the built-in emulator is used instead of a Cloudflare account.
    pub fn emulated(&self) -> bool {
        self.cloudflare_account_id.is_none()
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|problem| problem.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL without user and password is expected".to_owned());
    }
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err("an http:// or https:// URL without query and fragment is expected".to_owned());
    }
    Url::parse(text.trim_end_matches('/')).map_err(|problem| problem.to_string())
}

fn store_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|problem| problem.to_string())?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(
            "keys are expected in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the URL".to_owned()
        );
    }
    match url.scheme() {
        "file" | "s3" | "memory" => Ok(url),
        _ => Err("file:///folder, s3://bucket/prefix or memory: is expected".to_owned()),
    }
}

/// Validates the URL here, because the error message of the database driver would contain the URL with its password.
fn database_url(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "sqlite://path or postgres://user:password@host:port/name is expected";
    if text.starts_with("sqlite:") {
        return Ok(text.to_owned());
    }
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(EXPECTED.to_owned());
    }
    let url = Url::parse(text)
        .map_err(|problem| format!("{problem}; {EXPECTED}, with special characters percent-encoded"))?;
    match url.query_pairs().find(|(name, _)| !is_postgres_parameter(name)) {
        Some((name, _)) => {
            let name: String =
                name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
            Err(format!("it has the unknown parameter {name}; {EXPECTED}"))
        }
        None => Ok(text.to_owned()),
    }
}

/// Whether the PostgreSQL driver knows this parameter of a URL.
fn is_postgres_parameter(name: &str) -> bool {
    const KNOWN: [&str; 18] = [
        "application_name",
        "dbname",
        "host",
        "hostaddr",
        "options",
        "password",
        "port",
        "ssl-ca",
        "ssl-cert",
        "ssl-key",
        "ssl-mode",
        "ssl-root-cert",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "statement-cache-capacity",
        "user",
    ];
    KNOWN.contains(&name) || name.starts_with("options[")
}

fn admin_token(text: &str) -> Result<String, String> {
    if text.chars().count() >= 32 && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("32 or more printable ASCII characters without spaces are expected".to_owned())
}

fn account_id(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    Err("the account id from Cloudflare's dashboard is expected: letters and digits only".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 31_536_000.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds above 0 is expected".to_owned()),
    }
}

/// Limited to 45 seconds, because the lease of a claimed row is 120 seconds, and a step makes up to two calls.
fn call_seconds(text: &str) -> Result<Duration, String> {
    let duration = seconds(text)?;
    if duration > Duration::from_secs(45) {
        return Err("at most 45 seconds are expected".to_owned());
    }
    Ok(duration)
}
