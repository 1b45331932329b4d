//! The program in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ADMIN;

/// A started program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Program {
    /// Starts a command and collects its standard output.
    pub(crate) fn start(command: Command) -> Program {
        Self::start_logging(command, Stdio::inherit())
    }

    /// Starts a command with its log redirected.
    pub(crate) fn start_logging(mut command: Command, log: impl Into<Stdio>) -> Program {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let (stdout, collected) = (child.stdout.take().unwrap(), Arc::clone(&output));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut collected = collected.lock().unwrap();
                collected.push_str(&line);
                collected.push('\n');
            }
        });
        Program { child, output }
    }

    /// Waits at most 20 seconds until the standard output contains `word`; returns the output.
    pub(crate) async fn output_until(&mut self, word: &str) -> String {
        for _ in 0..400 {
            let output = self.output.lock().unwrap().clone();
            if output.contains(word) {
                return output;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the program ended with {status} without printing {word:?}: {output}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the program did not print {word:?}: {}", self.output.lock().unwrap());
    }

    /// Its peak memory in MiB; `None` where the system does not report it.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        for _ in 0..200 {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "the program ended with {status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the program does not end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server in a process of its own, and functions to talk to it as the admin.
pub(crate) struct Remote {
    pub(crate) program: Program,
    pub(crate) url: String,
    pub(crate) workspace: String,
    pub(crate) http: reqwest::Client,
}

impl Remote {
    /// Starts the program on a folder with these settings only.
    pub(crate) async fn start(dir: &TempDir, variables: &[(&'static str, String)]) -> Remote {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_imagegraph")), dir, variables, Stdio::inherit()).await
    }

    /// The same with a command that runs the program, and its log redirected.
    pub(crate) async fn start_as(
        mut command: Command,
        dir: &TempDir,
        variables: &[(&'static str, String)],
        log: impl Into<Stdio>,
    ) -> Remote {
        command
            .env_clear()
            .env("IMAGEGRAPH_DATA_DIR", dir.path().join("data"))
            .env("IMAGEGRAPH_ADMIN_TOKEN", ADMIN)
            .env("IMAGEGRAPH_LISTEN", "127.0.0.1:0")
            .env("IMAGEGRAPH_WORKER_INTERVAL", "0.1")
            .env("IMAGEGRAPH_IMPORT_ALLOW_LOOPBACK", "true")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(dir.path());
        let mut program = Program::start_logging(command, log);
        let output = program.output_until("listens on").await;
        let address = output.lines().find_map(|line| line.split(" listens on ").nth(1)).unwrap().to_owned();
        let url = format!("http://{address}");
        let mut remote = Remote { program, url, workspace: String::new(), http: super::http() };
        let first = remote.query("{ workspaces { nodes { id } } }", json!({})).await;
        remote.workspace = first["workspaces"]["nodes"][0]["id"].as_str().unwrap().to_owned();
        remote
    }

    /// Runs an operation; returns its `data` and panics on top-level errors.
    pub(crate) async fn query(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let request = self.http.post(format!("{}/graphql", self.url)).bearer_auth(ADMIN).json(&body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
        answer["data"].clone()
    }

    /// Uploads bytes; returns the whole response.
    pub(crate) async fn upload(&self, name: &str, bytes: Vec<u8>) -> reqwest::Response {
        let input = json!({ "workspaceId": self.workspace, "file": null });
        let operations = json!({ "query": super::UPLOAD, "variables": { "input": input } });
        let form = Form::new()
            .text("operations", operations.to_string())
            .text("map", r#"{"0":["variables.input.file"]}"#)
            .part("0", Part::bytes(bytes).file_name(name.to_owned()));
        let request = self.http.post(format!("{}/graphql", self.url)).bearer_auth(ADMIN).multipart(form);
        request.send().await.unwrap()
    }

    /// Uploads bytes that are expected to be accepted; returns the file.
    pub(crate) async fn file(&self, name: &str, bytes: Vec<u8>) -> Value {
        let answer: Value = self.upload(name, bytes).await.json().await.unwrap();
        assert_eq!(answer["data"]["uploadFile"]["userErrors"], json!([]), "{answer:#}");
        answer["data"]["uploadFile"]["file"].clone()
    }
}
