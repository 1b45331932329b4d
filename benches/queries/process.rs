//! The processes that are measured, and what the system says of them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use crate::load::{Endpoint, exchange};

/// Token of the first admin: the benchmark makes the others.
pub(crate) const ADMIN: &str = "admin-token-for-benches-0123456789abcdef";

/// A server in a process of its own; ended when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// The program as shipped, on a free port.
    pub(crate) fn program(url: &str, dir: &Path, wrapper: Option<&[&str]>) -> Process {
        Self::start(&mut Self::command(url, dir, wrapper), "listens on ")
    }

    /// The command of [`Process::program`].
    pub(crate) fn command(url: &str, dir: &Path, wrapper: Option<&[&str]>) -> Command {
        let mut command = wrapped(env!("CARGO_BIN_EXE_imagegraph"), wrapper);
        command
            .current_dir(dir)
            .env("IMAGEGRAPH_LISTEN", "127.0.0.1:0")
            .env("IMAGEGRAPH_DATA_DIR", dir)
            .env("DATABASE_URL", url)
            .env("IMAGEGRAPH_ADMIN_TOKEN", ADMIN)
            .env("IMAGEGRAPH_LOG", "warn")
            // The worker looks for work once and then leaves the machine to the queries.
            .env("IMAGEGRAPH_WORKER_INTERVAL", "3600");
        command
    }

    /// The floor: this executable, which serves instead of measuring.
    pub(crate) fn floor(url: &str, delivery: &str, wrapper: Option<&[&str]>) -> Process {
        let this = std::env::current_exe().unwrap();
        let mut command = wrapped(this.to_str().unwrap(), wrapper);
        command.args(["--floor", url, delivery]);
        Self::start(&mut command, "floor listens on ")
    }

    /// Starts a command and waits until it prints its address, behind this text.
    pub(crate) fn start(command: &mut Command, before_address: &str) -> Process {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the process ended at once").unwrap();
            if let Some((_, address)) = line.split_once(before_address) {
                let address = address.split_whitespace().next().unwrap();
                break address.trim_end_matches('.').parse().unwrap();
            }
        };
        // What it prints later is read and dropped, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Process { child, address }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Time on a processor since its start.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Most memory it has had, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// SQL statements that one request takes, by the program's own counter.
    pub(crate) async fn statements_of(&self, request: &[u8]) -> u64 {
        const REQUESTS: u64 = 10;
        // A scrape counts as well: two without anything between them tell how much.
        let (first, second) = (self.statements().await, self.statements().await);
        for _ in 0..REQUESTS {
            exchange(&Endpoint { address: self.address, request: request.into() }).await;
        }
        (self.statements().await - second - (second - first)) / REQUESTS
    }

    /// SQL statements since its start.
    pub(crate) async fn statements(&self) -> u64 {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN}\r\n\r\n",
            self.address
        );
        let text = exchange(&Endpoint { address: self.address, request: request.into_bytes().into() }).await;
        let text = String::from_utf8(text).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("imagegraph_sql_statements_total "));
        count.expect("the counter of statements").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wrapped(program: &str, wrapper: Option<&[&str]>) -> Command {
    match wrapper {
        None => Command::new(program),
        Some(wrapper) => {
            let mut command = Command::new(wrapper[0]);
            command.args(&wrapper[1..]).arg(program);
            command
        }
    }
}

/// Time on a processor of a process, threads that have ended included, in steps of 10 ms.
fn cpu_of(pid: u32) -> Duration {
    /// `USER_HZ`, the unit in which Linux shows times.
    const TICK: Duration = Duration::from_millis(10);
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Duration::ZERO };
    // The name, in parentheses, may have spaces; behind it are 11 fields before the times in user mode and in the kernel.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum::<u32>() * TICK
}

/// The processes of a PostgreSQL server on this machine.
pub(crate) struct Postgres {
    postmaster: u32,
    _connection: DatabaseConnection,
}

impl Postgres {
    /// `None` for SQLite, and for a server on another machine.
    pub(crate) async fn of(url: &str) -> Option<Postgres> {
        if !url.starts_with("postgres") {
            return None;
        }
        let connection = Database::connect(url).await.unwrap();
        let statement = Statement::from_string(DbBackend::Postgres, "SELECT pg_backend_pid() AS pid");
        let pid: i32 = connection.query_one_raw(statement).await.unwrap()?.try_get("", "pid").unwrap();
        let postmaster = parent_of(u32::try_from(pid).unwrap())?;
        Some(Postgres { postmaster, _connection: connection })
    }

    /// Time on a processor of the processes that run now: the pools keep theirs.
    pub(crate) fn cpu(&self) -> Duration {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| parent_of(*id) == Some(self.postmaster)).map(cpu_of).sum()
    }
}

fn parent_of(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have spaces; behind it are the state and the parent.
    text.rsplit_once(") ")?.1.split_whitespace().nth(1)?.parse().ok()
}
