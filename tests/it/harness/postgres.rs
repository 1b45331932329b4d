//! PostgreSQL for tests: the server of `TEST_DATABASE_URL`, or a temporary cluster.
//!
//! The cluster runs under a shell that waits for the end of its standard input, which comes when this process ends in
//! any way; then the shell stops the server and removes the folder. PostgreSQL refuses to run as root, so root starts
//! it as another user.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use uuid::Uuid;

/// Prefix of the names of test databases.
const PREFIX: &str = "imagegraph_it_";

struct Cluster {
    /// URL without a database name.
    url: String,
    /// What a temporary cluster writes about itself.
    log: Option<PathBuf>,
    /// Kept open while the tests run.
    _lifeline: Option<ChildStdin>,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();

/// Whether there is a server, which is started on first use.
pub(crate) fn is_there() -> bool {
    cluster().is_some()
}

fn cluster() -> Option<&'static Cluster> {
    let cluster = CLUSTER.get_or_init(|| match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => {
            let mut url = url::Url::parse(&url).expect("TEST_DATABASE_URL is a URL");
            url.set_path("");
            Some(Cluster { url: url.as_str().trim_end_matches('/').to_owned(), log: None, _lifeline: None })
        }
        Err(_) => start(),
    });
    cluster.as_ref()
}

/// Creates an empty database and returns its URL.
///
/// A server that ended in the middle of a run, on a full disk for example, fails each later test at once and with the
/// end of its log, instead of after a timeout.
pub(crate) async fn fresh_database() -> String {
    let Cluster { url: server, log, .. } = cluster().expect("PostgreSQL");
    let mut options = ConnectOptions::new(format!("{server}/postgres"));
    options.max_connections(1);
    let attempt = async {
        let address = url::Url::parse(server).expect("a URL");
        let host = (address.host_str().unwrap_or("127.0.0.1").to_owned(), address.port().unwrap_or(5432));
        tokio::net::TcpStream::connect(host).await.map_err(|error| error.to_string())?;
        Database::connect(options).await.map_err(|error| error.to_string())
    };
    let admin = match attempt.await {
        Ok(admin) => admin,
        Err(error) => panic!("PostgreSQL does not answer: {error}\n{}", last_lines(log.as_deref())),
    };
    let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    admin.close().await.unwrap();
    format!("{server}/{name}")
}

fn start() -> Option<Cluster> {
    let bin = binaries()?;
    let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
    let dir = std::env::temp_dir().join(format!("{PREFIX}{}", Uuid::new_v4().simple()));
    std::fs::create_dir(&dir).ok()?;
    let script = format!(
        "set -e
         trap 'rm -rf {dir}/*' EXIT
         {bin}/initdb -D {dir}/data -U postgres --auth=trust --no-sync >{dir}/log 2>&1
         {bin}/postgres -D {dir}/data -p {port} -h 127.0.0.1 -k '' -F -c max_connections=600 >>{dir}/log 2>&1 &
         server=$!
         cat >/dev/null
         kill -INT $server
         wait $server || true",
        dir = dir.display(),
        bin = bin.display(),
    );
    let mut command = if is_root() {
        let user = "postgres";
        Command::new("chown").arg(user).arg(&dir).status().ok().filter(|status| status.success())?;
        let mut command = Command::new("runuser");
        command.args(["-u", user, "--", "sh", "-c", &script]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).current_dir("/").spawn().ok()?;
    let lifeline = child.stdin.take();
    for _ in 0..300 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            // It accepts connections a moment before it accepts queries.
            std::thread::sleep(Duration::from_millis(500));
            return Some(Cluster {
                url: format!("postgres://postgres@127.0.0.1:{port}"),
                log: Some(dir.join("log")),
                _lifeline: lifeline,
            });
        }
        if child.try_wait().ok()?.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    panic!("PostgreSQL is installed but does not start:\n{log}");
}

fn last_lines(log: Option<&Path>) -> String {
    let text = log.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Folder of `initdb`: on the path, or where Debian installs it.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let on_path = std::env::split_paths(&path).find(|dir| dir.join("initdb").exists());
    on_path.or_else(|| {
        let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .collect();
        versions.sort();
        versions.into_iter().rfind(|dir| dir.join("initdb").exists())
    })
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
