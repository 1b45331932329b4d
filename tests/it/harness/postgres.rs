//! PostgreSQL for tests: the server of `TEST_DATABASE_URL`, or a temporary cluster.
//!
//! The cluster runs under a shell that waits for the end of its standard input, which comes when this process ends in
//! any way; then the shell stops the server and removes the folder. PostgreSQL refuses to run as root, so root starts
//! it as another user.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database};
use uuid::Uuid;

/// Prefix of the names of test databases.
const PREFIX: &str = "imagegraph_it_";

struct Cluster {
    /// URL without a database name.
    url: String,
    /// Kept open while the tests run.
    _lifeline: Option<ChildStdin>,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();

/// The URL of a server, started on first use; `None` if there is none.
pub(crate) fn cluster() -> Option<&'static str> {
    let cluster = CLUSTER.get_or_init(|| match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => {
            let mut url = url::Url::parse(&url).expect("TEST_DATABASE_URL is a URL");
            url.set_path("");
            Some(Cluster { url: url.as_str().trim_end_matches('/').to_owned(), _lifeline: None })
        }
        Err(_) => start(),
    });
    cluster.as_ref().map(|cluster| cluster.url.as_str())
}

/// Creates an empty database and returns its URL.
pub(crate) async fn fresh_database() -> String {
    let server = cluster().expect("PostgreSQL");
    let admin = Database::connect(format!("{server}/postgres")).await.unwrap();
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
