//! All settings, each with its flag, environment variable, default and meaning. No other module reads the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

/// Characters that have to be percent-encoded in the path of a database URL.
const SPECIAL_IN_URL: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

/// Settings of the server. A flag takes precedence over an environment variable, and that over a `.env` file.
#[derive(Args, Clone)]
pub struct Config {
    /// Address and port to listen on; port 0 takes any free port
    #[arg(long, global = true, env = "IMAGEGRAPH_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Folder for the SQLite database, stored files, the emulator's data and uploads in progress
    #[arg(long, global = true, env = "IMAGEGRAPH_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// Base URL at which clients reach this server [default: http:// and the address it listens on]
    #[arg(long, global = true, env = "IMAGEGRAPH_PUBLIC_URL", hide_env_values = true, value_parser = base_url)]
    pub public_url: Option<Url>,

    /// API token of the first admin, created on the first start; at least 32 characters [default: a random token, printed once]
    #[arg(long, global = true, env = "IMAGEGRAPH_ADMIN_TOKEN", hide_env_values = true, value_parser = admin_token)]
    pub admin_token: Option<String>,

    /// Database URL: sqlite://path or postgres://user:password@host/name [default: imagegraph.sqlite in the data folder]
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub database_url: Option<String>,

    /// Maximum number of database connections of this process
    #[arg(long, global = true, env = "IMAGEGRAPH_DATABASE_CONNECTIONS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub database_connections: u32,

    /// Where files are stored: file:///folder, s3://bucket/prefix, or memory: [default: the folder blobs in the data folder]
    #[arg(long, global = true, env = "IMAGEGRAPH_STORE_URL", hide_env_values = true, value_parser = store_url)]
    pub store_url: Option<Url>,

    /// When an upload is acknowledged: `full` once its bytes and its row are written to the disk; `relaxed` before that, which is
    /// faster, and a power failure may lose the uploads of the last seconds
    #[arg(long, global = true, env = "IMAGEGRAPH_DURABILITY", default_value = "full")]
    pub durability: Durability,

    /// Access key for an s3:// store
    #[arg(long, global = true, env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub aws_access_key_id: Option<String>,

    /// Secret key for an s3:// store
    #[arg(long, global = true, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub aws_secret_access_key: Option<String>,

    /// Region of an s3:// store; for R2 it is auto
    #[arg(long, global = true, env = "AWS_REGION", default_value = "auto")]
    pub aws_region: String,

    /// Endpoint URL of an s3:// store that is not Amazon's, for R2 https:// followed by ACCOUNT.r2.cloudflarestorage.com
    #[arg(long, global = true, env = "AWS_ENDPOINT_URL", hide_env_values = true, value_parser = base_url)]
    pub aws_endpoint_url: Option<Url>,

    /// Id of the Cloudflare account; without it the server uses its built-in emulator
    #[arg(long, global = true, env = "CLOUDFLARE_ACCOUNT_ID", value_parser = account_id)]
    pub cloudflare_account_id: Option<String>,

    /// Cloudflare API token with the permission `Images Write`
    #[arg(long, global = true, env = "CLOUDFLARE_API_TOKEN", hide_env_values = true)]
    pub cloudflare_api_token: Option<String>,

    /// E-mail address of the Cloudflare user, together with CLOUDFLARE_API_KEY, as an alternative to CLOUDFLARE_API_TOKEN
    #[arg(
        long,
        global = true,
        env = "CLOUDFLARE_EMAIL",
        hide_env_values = true,
        requires = "cloudflare_api_key"
    )]
    pub cloudflare_email: Option<String>,

    /// Global API key of the Cloudflare user, together with CLOUDFLARE_EMAIL
    #[arg(
        long,
        global = true,
        env = "CLOUDFLARE_API_KEY",
        hide_env_values = true,
        requires = "cloudflare_email"
    )]
    pub cloudflare_api_key: Option<String>,

    /// Base URL of Cloudflare's API
    #[arg(long, global = true, env = "CLOUDFLARE_BASE_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://api.cloudflare.com/client/v4")]
    pub cloudflare_base_url: Url,

    /// Base URL of Cloudflare's batch host for Images
    #[arg(long, global = true, env = "CLOUDFLARE_BATCH_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://batch.imagedelivery.net")]
    pub cloudflare_batch_url: Url,

    /// Base URL of Cloudflare's upload host for Images
    #[arg(long, global = true, env = "CLOUDFLARE_UPLOAD_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://upload.imagedelivery.net")]
    pub cloudflare_upload_url: Url,

    /// Base URL of image delivery; for a custom domain it ends in /cdn-cgi/imagedelivery
    #[arg(long, global = true, env = "CLOUDFLARE_DELIVERY_URL", hide_env_values = true, value_parser = base_url,
          default_value = "https://imagedelivery.net")]
    pub cloudflare_delivery_url: Url,

    /// Whether flexible variants are enabled in the Cloudflare account [default: asked of Cloudflare, and off if it does not
    /// answer the question]
    #[arg(long, global = true, env = "CLOUDFLARE_FLEXIBLE_VARIANTS")]
    pub cloudflare_flexible_variants: Option<bool>,

    /// Timeout of a call to Cloudflare including its retries, in seconds, at most 45. For a call that transfers an image it is
    /// the longest time without progress
    #[arg(long, global = true, env = "IMAGEGRAPH_CLOUDFLARE_TIMEOUT", default_value = "15", value_parser = call_seconds)]
    pub cloudflare_timeout: Duration,

    /// Longest time a response waits for Cloudflare before provisioning goes on in the background, in seconds. With more than
    /// the timeout of a call the response can say why an image is queued
    #[arg(long, global = true, env = "IMAGEGRAPH_PROVISION_WAIT", default_value = "20", value_parser = seconds)]
    pub provision_wait: Duration,

    /// Time after which an image that cannot be provisioned fails, in seconds, but never before 5 attempts
    #[arg(long, global = true, env = "IMAGEGRAPH_PROVISION_TIME", default_value = "86400", value_parser = seconds)]
    pub provision_time: Duration,

    /// Number of attempts after which an image that cannot be provisioned fails
    #[arg(long, global = true, env = "IMAGEGRAPH_PROVISION_ATTEMPTS", default_value_t = 150,
          value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub provision_attempts: i32,

    /// Shortest validity of a signed delivery URL, in seconds; the longest is twice that
    #[arg(long, global = true, env = "IMAGEGRAPH_SIGNED_URL_TTL", default_value = "3600", value_parser = seconds)]
    pub signed_url_ttl: Duration,

    /// Maximum size of a file, in bytes
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_FILE_SIZE", default_value_t = 100 * 1024 * 1024)]
    pub max_file_size: u64,

    /// Timeout of one attempt to import a file from a URL, in seconds, until its last byte
    #[arg(long, global = true, env = "IMAGEGRAPH_IMPORT_TIMEOUT", default_value = "60", value_parser = seconds)]
    pub import_timeout: Duration,

    /// Maximum number of files imported from URLs at the same time
    #[arg(long, global = true, env = "IMAGEGRAPH_IMPORT_CONCURRENCY", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub import_concurrency: u32,

    /// Maximum size of a GraphQL request without its files, in bytes
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_QUERY_SIZE", default_value_t = 256 * 1024)]
    pub max_query_size: usize,

    /// Maximum number of file parts, and of paths in `map`, in one multipart request
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_UPLOAD_PARTS", default_value_t = 10)]
    pub max_upload_parts: usize,

    /// Number of rows at which counting the matches of a filter stops
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_COUNT", default_value_t = 10_000)]
    pub max_count: u64,

    /// Maximum nesting depth of a query
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_DEPTH", default_value_t = 20)]
    pub max_depth: usize,

    /// Maximum cost of a query: one point per field, times the page size inside connections
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_COMPLEXITY", default_value_t = 20_000)]
    pub max_complexity: usize,

    /// Maximum number of fields of a query after its fragments are expanded
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_SELECTIONS", default_value_t = 5_000)]
    pub max_selections: usize,

    /// Maximum number of aliases in a query
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_ALIASES", default_value_t = 60)]
    pub max_aliases: usize,

    /// Maximum number of directives in a query
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_DIRECTIVES", default_value_t = 50)]
    pub max_directives: usize,

    /// Maximum number of lexical tokens in a query
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_TOKENS", default_value_t = 4_000)]
    pub max_tokens: usize,

    /// Maximum number of operations in one batched request; 0 refuses batches
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_BATCH", default_value_t = 10)]
    pub max_batch: usize,

    /// Maximum number of concurrent operations on one WebSocket
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_SOCKET_OPERATIONS", default_value_t = 20)]
    pub max_socket_operations: usize,

    /// Rate limit of an API token, in points per minute. A GraphQL request costs what its query costs; a REST request costs one
    /// point, and one more for each image of its page [default: no limit]
    #[arg(long, global = true, env = "IMAGEGRAPH_RATE_LIMIT", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub rate_limit: Option<u32>,

    /// Maximum number of concurrent WebSockets and event streams of one API token
    #[arg(long, global = true, env = "IMAGEGRAPH_MAX_CONNECTIONS", default_value_t = 100)]
    pub max_connections: usize,

    /// Time within which a WebSocket client has to send `connection_init`, in seconds
    #[arg(long, global = true, env = "IMAGEGRAPH_SOCKET_INIT_TIMEOUT", default_value = "5", value_parser = seconds)]
    pub socket_init_timeout: Duration,

    /// Interval of keep-alive messages on WebSockets and event streams, in seconds
    #[arg(long, global = true, env = "IMAGEGRAPH_KEEP_ALIVE", default_value = "12", value_parser = seconds)]
    pub keep_alive: Duration,

    /// Time after which a WebSocket or an event stream is closed if its client does not read, in seconds
    #[arg(long, global = true, env = "IMAGEGRAPH_SEND_TIMEOUT", default_value = "30", value_parser = seconds)]
    pub send_timeout: Duration,

    /// Interval at which the database is searched for events that were not announced by a notification, in seconds
    #[arg(long, global = true, env = "IMAGEGRAPH_EVENT_POLL", default_value = "1", value_parser = seconds)]
    pub event_poll: Duration,

    /// Interval at which the background worker searches for due work, in seconds
    #[arg(long, global = true, env = "IMAGEGRAPH_WORKER_INTERVAL", default_value = "1", value_parser = seconds)]
    pub worker_interval: Duration,

    /// Age at which stored bytes that belong to no file are deleted, in seconds; must be longer than any upload takes
    #[arg(long, global = true, env = "IMAGEGRAPH_SWEEP_AGE", default_value = "86400", value_parser = seconds)]
    pub sweep_age: Duration,

    /// Log filter: a level, or levels by module, such as info or imagegraph=debug,tower_http=info
    #[arg(long, global = true, env = "IMAGEGRAPH_LOG", default_value = "imagegraph=info,warn")]
    pub log: String,

    /// Log format
    #[arg(long, global = true, env = "IMAGEGRAPH_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// For tests: time for which the worker holds a row, in seconds; must be longer than two calls to Cloudflare
    #[arg(long, global = true, env = "IMAGEGRAPH_LEASE", default_value = "120", value_parser = seconds, hide = true)]
    pub lease: Duration,

    /// For tests: time after which Cloudflare no longer carries out a request that timed out, in seconds
    #[arg(long, global = true, env = "IMAGEGRAPH_STRAY_CHECK", default_value = "300", value_parser = seconds, hide = true)]
    pub stray_check: Duration,

    /// Enable the emulator's fault injection at /faults (errors, lost responses, delays), for everyone who can reach it
    #[arg(long, global = true, env = "IMAGEGRAPH_EMULATOR_FAULTS")]
    pub emulator_faults: bool,

    /// For tests: allow imports from loopback addresses
    #[arg(long, global = true, env = "IMAGEGRAPH_IMPORT_ALLOW_LOOPBACK", hide = true)]
    pub import_allow_loopback: bool,

    /// For tests, in debug builds only: the step at which the process stops until it is killed
    #[arg(long, global = true, env = "IMAGEGRAPH_STAND_STILL_AT", hide = true)]
    pub stand_still_at: Option<String>,
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
        return Err("keys are expected in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and none in the URL"
            .to_owned());
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

/// Limited to 45 seconds, because the worker holds a row for 120 seconds and two calls have to fit into that.
fn call_seconds(text: &str) -> Result<Duration, String> {
    let duration = seconds(text)?;
    if duration > Duration::from_secs(45) {
        return Err("at most 45 seconds are expected".to_owned());
    }
    Ok(duration)
}
